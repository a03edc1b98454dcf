"""Which modality is path, graph and omic, and why some sets of modalities are not taken."""

from __future__ import annotations

from collections.abc import Mapping

from fusionbench import ModalitySpec
from fusionbench_pathomic_fusion.options import PathomicOptions

Roles = dict[str, ModalitySpec]
"""`path`, `graph` where there are three modalities, and `omic`, in this order."""


def not_two_or_three(specs: Mapping[str, ModalitySpec], options: PathomicOptions) -> str | None:
    """A reason unless there are two or three modalities whose roles are clear."""
    names = ", ".join(map(repr, specs)) or "none"
    if options.alone:
        return _not_alone(specs, options)
    if len(specs) not in (2, 3):
        return f"fuses two or three modalities; there are {len(specs)}: {names}"
    for role, name in (("path", options.path), ("omic", options.omic)):
        if name and name not in specs:
            return f"{role}={name} is none of the modalities {names}"
    omic = _omic(specs, options)
    if omic is None:
        return f"needs a vector (a table) as omic; there is none among {names}"
    if specs[omic].kind != "vector":
        return f"omic={omic} is a {specs[omic].kind}; omic is a vector"
    if options.path == omic:
        return f"path and omic are both {omic!r}: two modalities are needed"
    return None


def _not_alone(specs: Mapping[str, ModalitySpec], options: PathomicOptions) -> str | None:
    if len(specs) != 1:
        return f"alone={options.alone} takes one modality; there are {len(specs)}: {', '.join(map(repr, specs))}"
    (spec,) = specs.values()
    if options.alone == "omic" and spec.kind != "vector":
        return f"alone=omic takes a vector (a table); {spec.name!r} is a {spec.kind}"
    return None


def roles(specs: Mapping[str, ModalitySpec], options: PathomicOptions) -> Roles:
    """The modality of each role, of a set that is taken."""
    if options.alone:
        return dict.fromkeys([options.alone], next(iter(specs.values())))
    omic = _omic(specs, options)
    assert omic is not None
    others = [name for name in specs if name != omic]
    path = options.path or next((name for name in others if specs[name].kind != "vector"), others[0])
    graph = next((name for name in others if name != path), None)
    named = (("path", path), ("graph", graph), ("omic", omic))
    return {role: specs[name] for role, name in named if name is not None}


def _omic(specs: Mapping[str, ModalitySpec], options: PathomicOptions) -> str | None:
    vectors = [name for name, spec in specs.items() if spec.kind == "vector" and name != options.path]
    return options.omic or (vectors[-1] if vectors else None)

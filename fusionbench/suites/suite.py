"""Find and parse `benchmarks/<name>.toml`; every problem of a suite in one SuiteError, before any compute."""

from __future__ import annotations

import os
import tomllib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError

from fusionbench.core.class_files import in_file
from fusionbench.core.errors import SuiteError, did_you_mean, file_problem
from fusionbench.core.options import names_file, path_options
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.protocol import ParameterGroup, Protocol, TrainRecipe, overlay
from fusionbench.core.registry import FOLDER_NAMES, Registry, names_folder
from fusionbench.core.stages import Stage

BASE = "base"


def _ref(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return PluginRef.parse(value)
    except SuiteError as error:
        raise ValueError(str(error)) from error


def _sets(value: Any) -> Any:
    """Refuse what is neither a list of lists nor a table of them, before the union makes two riddles of it."""
    for sets in value.values() if isinstance(value, Mapping) else [value]:
        lists = isinstance(sets, (list, tuple)) and all(isinstance(s, (list, tuple)) for s in sets)
        if not lists or not sets or not all(isinstance(name, str) for s in sets for name in s):
            raise ValueError('write lists of names, [["clinical"], ["clinical", "omic"]], or such lists per dataset')
    return value


Ref = Annotated[PluginRef, BeforeValidator(_ref)]
ModalitySets = tuple[tuple[str, ...], ...]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Scope(_Strict):
    """What a variant is limited to; empty means everything.

    Attributes:
        models: names of models.
        datasets: names of datasets.
    """

    models: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()


class Variant(_Strict):
    """A named change of the suite; a name may stand again where the datasets it is limited to are others.

    Attributes:
        name: of the variant, as tables show it.
        protocol: keys of `[protocol]` to change.
        train: keys of `[train]` to change.
        model: model name to options to change.
        only: the models and datasets that it is limited to.
    """

    name: str
    protocol: Mapping[str, Any] = Field(default_factory=dict)
    train: Mapping[str, Any] = Field(default_factory=dict)
    model: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    only: Scope = Scope()


class External(_Strict):
    """Cohorts on which every model that was fitted on a dataset of the suite is tested.

    Attributes:
        train: a dataset of the suite, as it is written there.
        test: other cohorts, each `NAME` or `NAME[option=value]`.
    """

    train: Ref
    test: tuple[Ref, ...] = Field(min_length=1)


class Suite(_Strict):
    """A benchmark suite as written.

    Attributes:
        name: of a file of the user's own, the key `name`, else the stem of the file; an installed suite's is its stem.
        title: what it asks, for headings.
        datasets: cohorts, each `NAME` or `NAME[option=value]`.
        models: each `NAME` or `NAME[option=value]`.
        modalities: the same sets for every dataset, or one list of sets per dataset name.
        metrics: what predictions are scored with; the first one ranks. A metric that is added scores what is stored.
        seed: of every random choice.
        protocol: splits, masks and what is scored.
        train: how torch models are trained.
        variant: named changes, each run as a suite of its own beside the unchanged one.
        base: whether the unchanged suite runs beside its variants.
        external: cohorts that fitted models are tested on as a whole, beside the test folds.
        reference: CSV file of published rows beside the suite.
        claims: CSV file of published claims beside the suite.
        counts: CSV file of published counts of the cohorts beside the suite.
        tuned: file of options that `fusionbench tune` has found, beside the suite.
    """

    name: str
    title: str
    datasets: tuple[Ref, ...] = Field(min_length=1)
    models: tuple[Ref, ...] = Field(min_length=1)
    modalities: Annotated[ModalitySets | Mapping[str, ModalitySets], BeforeValidator(_sets)]
    metrics: tuple[str, ...] = Field(("harrell_c_index",), min_length=1)
    seed: int = Field(0, ge=0)
    protocol: Protocol = Protocol()
    train: TrainRecipe = TrainRecipe()
    variant: tuple[Variant, ...] = ()
    base: bool = True
    external: tuple[External, ...] = ()
    reference: str | None = None
    claims: str | None = None
    counts: str | None = None
    tuned: str | None = None
    _file: Traversable | None = PrivateAttr(None)
    _kept: Mapping[str, str] = PrivateAttr(default_factory=dict)
    _narrowed: bool = PrivateAttr(False)
    _added: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @property
    def added(self) -> Mapping[str, str]:
        """Models that runs added to those of its file, as they are written, to the file of their class or nothing."""
        return {name: file for name, file in self._added.items() if name in map(str, self.models)}

    def with_added(self, models: Mapping[str, str]) -> Suite:
        """The suite with further models, each with the file of its class or nothing."""
        known = {str(model) for model in self.models}
        new = {ref: file for name, file in models.items() if str(ref := PluginRef.parse(name)) not in known}
        made = self.model_copy(update={"models": (*self.models, *new)})
        made._added = {**self._added, **{str(ref): file for ref, file in new.items()}}
        return made

    @property
    def narrowed(self) -> bool:
        """Whether the command line left out datasets, so that a metric may score none of those that stay."""
        return self._narrowed

    @property
    def file(self) -> Traversable | None:
        """The file that the suite was read from; None where it was made from a text."""
        return self._file

    def read_beside(self, key: str, name: str) -> tuple[str, str]:
        """The file beside the suite that one of its keys names: its path as messages show it, and its text.

        Raises:
            SuiteError: the file cannot be read as UTF-8 text.
        """
        folder = getattr(self._file, "parent", None)
        if folder is None and name in self._kept:
            return name, self._kept[name]
        try:
            if folder is None:
                raise FileNotFoundError("the suite is no file on disk")
            path = folder / os.path.expanduser(name)
            return str(path), path.read_text(encoding="utf-8")
        except (OSError, ValueError) as why:  # also no UTF-8, or a name that no file can have
            raise SuiteError(f"{self._file}: {key}: {file_problem(name, why, 'name a file of UTF-8 text')}") from why

    def variants(self) -> tuple[Variant, ...]:
        """Every variant to run, the unchanged suite first."""
        base = (Variant(name=BASE),) if self.base or not self.variant else ()
        return (*base, *self.variant)

    def sets_of(self, dataset: str) -> ModalitySets:
        """The modality sets asked of one dataset."""
        return self.modalities.get(dataset, ()) if isinstance(self.modalities, Mapping) else self.modalities


def load_suite(registry: Registry, name: str) -> Suite:
    """A suite by name, or by the path of its file.

    Raises:
        SuiteError: unknown name, TOML syntax (file and line), or every problem of its content at once.
    """
    if not is_path(name):
        folder_name = name.replace(":", ".")  # a colon is no part of a folder's name everywhere
        return read_suite(registry, folder_name, registry.suite(name))
    path = Path(name).expanduser()
    return read_suite(registry, name_of_file(registry, path), path)


def read_suite(registry: Registry, name: str, path: Traversable) -> Suite:
    """The suite in a file, under the name that it is known by.

    Raises:
        SuiteError: TOML syntax (file and line), or every problem of its content at once.
    """
    suite = parse_suite(name, _text(path), str(path))
    if isinstance(path, Path):

        def seen(ref: PluginRef) -> PluginRef:
            return dataset_from_folder(ref, registry, path.parent)

        external = tuple(External(train=seen(e.train), test=tuple(map(seen, e.test))) for e in suite.external)
        suite = suite.model_copy(update={"datasets": tuple(map(seen, suite.datasets)), "external": external})
        if problems := [*_list_problems(suite), *_external_problems(suite)]:  # `./a.toml` and `a.toml` are one file
            raise SuiteError(problem_text(str(path), problems))
    suite._file = path
    return suite


def name_of_file(registry: Registry, path: Path) -> str:
    """The name of a suite file of the user's own: its key `name`, else its stem. It names the folder of its results.

    Raises:
        SuiteError: no such file, or it cannot be read; or its name is an installed suite's, whose results it would mix
            with its own, or cannot name a folder.
    """
    if not path.is_file():
        raise SuiteError(f"{path}: no such suite file; an installed suite is named without path and ending")
    found = _toml(_text(path), str(path)).get("name", path.stem)
    if not isinstance(found, str) or not names_folder(found):
        raise SuiteError(f"{path}: {found!r} names the folder of its results; {FOLDER_NAMES}")
    if found in registry.names("suites"):
        raise SuiteError(
            f"{path}: an installed suite is called {found!r}, too: {registry.suite(found)}; {how_to_rename(path)}"
        )
    return found


def how_to_rename(path: Path) -> str:
    """What to do about a suite file whose name is taken."""
    return f'write a line `name = "..."` at the top of {path}'


def is_path(name: str) -> bool:
    """Whether a suite is named by the path of its file."""
    return name.endswith(".toml") or "/" in name or os.sep in name


def _text(path: Traversable) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SuiteError(f"{path}: not UTF-8 text: {error}") from error
    except OSError as error:
        raise SuiteError(file_problem(path, error, "name a file that can be read")) from error


def _toml(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SuiteError(f"{where}: not valid TOML: {error}") from error


def dataset_from_folder(ref: PluginRef, registry: Registry, folder: Path) -> PluginRef:
    """A dataset as a file in `folder` writes it: relative paths among its options begin there.

    A dataset without paths, and one that is not installed, stays as it is.
    """
    paths = _paths_of(ref, registry)
    if not paths:
        return ref
    written = ref.with_options({key: value for key, value in paths.items() if key in dict(ref.options)})
    return replace(written, folder="" if folder == Path() else folder.as_posix())


def dataset_for_folder(ref: PluginRef, registry: Registry, folder: Path) -> PluginRef:
    """A dataset as a file in another folder has to write it, so that it reads the same files. Absolute paths stay."""
    paths = {
        key: os.path.join(ref.folder, os.path.expanduser(value)) for key, value in _paths_of(ref, registry).items()
    }
    moved = {key: path if os.path.isabs(path) else os.path.relpath(path, folder) for key, path in paths.items()}
    return replace(ref.with_options({key: Path(path).as_posix() for key, path in moved.items()}), folder="")


def _paths_of(ref: PluginRef, registry: Registry) -> dict[str, str]:
    """The paths among a dataset's options, written or by default, without `./` and repeated separators."""
    if not registry.knows("datasets", ref.name):
        return {}
    options = registry.dataset(ref.name).Options
    given = dict(ref.options)
    paths = {key: given.get(key, options.model_fields[key].default) for key in path_options(options)}
    return {key: Path(path).as_posix() for key, path in paths.items() if names_file(options, key, path)}


def parse_suite(name: str, text: str, where: str, kept: Mapping[str, str] = MappingProxyType({})) -> Suite:
    """A suite from its text.

    Args:
        where: names the file in messages.
        kept: path as the suite writes it to the text of a file beside it, for a suite that is no file on disk.
    """
    raw = _toml(text, where)
    if raw.get("name", name) != name:
        raise SuiteError(f"{where}: name is {raw['name']!r}, but an installed suite is called as its file, {name!r}")
    try:
        suite = Suite.model_validate({**raw, "name": name})
    except ValidationError as error:
        raise SuiteError(problem_text(where, _lines(error, Suite))) from error
    named = [str(m) for m in (*suite.models, *suite.datasets) if in_file(m.name)]
    # Suites and locks may be others': they name what is installed.
    problems = [f"{name!r} is a class of a file, which only the command line may name: -m {name!r}" for name in named]
    problems += [*_list_problems(suite), *_variant_problems(suite), *_external_problems(suite)]
    if problems:
        raise SuiteError(problem_text(where, problems))
    suite._kept = dict(kept)
    return suite


def problem_text(where: str, problems: Sequence[str]) -> str:
    """One message for every problem of a suite; `where` names its file."""
    if len(problems) == 1:
        return f"{where}: {problems[0]}"
    return f"{where}: {len(problems)} problems\n" + "\n".join(f"  - {p}" for p in problems)


def _lines(error: ValidationError, root: type[BaseModel]) -> list[str]:
    """One line a fault of what was to become a `root`."""
    errors = error.errors()
    at_fault = {e["loc"][:n] for e in errors for n in range(len(e["loc"]))}
    misspelt = {e["loc"] for e in errors if e["type"] == "extra_forbidden"}
    return [
        _line(e, root)
        for e in errors
        # A list whose only items are faulty is also called too short, and a misspelt key is also missing.
        if (e["type"] != "too_short" or e["loc"] not in at_fault)
        and not (e["type"] == "missing" and _meant(e, misspelt))
    ]


def _meant(missing: Any, misspelt: Collection[tuple[int | str, ...]]) -> bool:
    """Whether a key that is not there stands beside its place misspelt."""
    *place, key = missing["loc"]
    beside = [str(loc[-1]) for loc in misspelt if list(loc[:-1]) == place]
    return bool(get_close_matches(str(key), beside))


_PLAIN: Mapping[str, str] = {
    "missing": "the key is missing",
    "too_short": "it is empty; list at least one",
    "tuple_type": 'write a list, ["NAME", ...]',
}
"""Kind of a fault to what is said of it; of others, what pydantic says."""


def _line(error: Any, root: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        place = root
        for part in error["loc"][:-1]:  # positions in lists stay where they are
            place = _PLACES.get(str(part), place)
        return f"{key}: {did_you_mean('key', str(error['loc'][-1]), place.model_fields)}"
    seen = "" if error["type"] == "missing" else f" (got {error['input']!r})"
    said = _PLAIN.get(error["type"], error["msg"].removeprefix("Value error, "))
    if error["type"] == "tuple_type" and error["loc"][-1] in ("stage", "group"):
        said = f"write it as tables, [[{key}]]"
    return f"{key}: {said}{seen}"


_PLACES: Mapping[str, type[BaseModel]] = {
    "protocol": Protocol,
    "train": TrainRecipe,
    "stage": Stage,
    "group": ParameterGroup,
    "variant": Variant,
    "only": Scope,
    "external": External,
}


def _list_problems(suite: Suite) -> list[str]:
    """What is listed twice, and modality sets of datasets that are not listed."""
    lists: dict[str, Sequence[Any]] = {"datasets": suite.datasets, "models": suite.models, "metrics": suite.metrics}
    problems = []
    if isinstance(suite.modalities, Mapping):
        known = {d.name for d in suite.datasets}
        lists |= {f"modalities.{name}": sets for name, sets in suite.modalities.items()}
        problems += [f"modalities: {did_you_mean('dataset', d, known)}" for d in suite.modalities if d not in known]
    else:
        lists["modalities"] = suite.modalities
    for part, items in lists.items():
        shown = [str(i) if isinstance(i, PluginRef) else i for i in items]
        problems += [f"{part}: {i!r} is listed twice" for i in dict.fromkeys(shown) if shown.count(i) > 1]
    return problems


def _external_problems(suite: Suite) -> Iterator[str]:
    """What is wrong with `[[external]]` by itself; cohorts are compared once they have been read."""
    trained = [str(e.train) for e in suite.external]
    known = [str(d) for d in suite.datasets]
    for name in trained:
        if name not in known:
            yield f"external: {did_you_mean('dataset of this suite', name, known)}"
        if trained.count(name) > 1:
            yield f"external: train = {name!r} stands there twice; list all its test cohorts in one"
    for one in suite.external:
        tests = [str(test) for test in one.test]
        if str(one.train) in tests:
            yield f"external: {str(one.train)!r} is tested on itself; its test folds are that already"
        yield from (f"external: {name!r} is listed twice" for name in dict.fromkeys(tests) if tests.count(name) > 1)


def _named_twice(suite: Suite) -> Iterator[str]:
    """Variants of one name that run on one dataset."""
    everywhere = tuple(d.name for d in suite.datasets)
    places = [(v.name, d) for v in suite.variants() for d in dict.fromkeys(v.only.datasets or everywhere)]
    yield from (name for (name, _), n in Counter(places).items() if n > 1)


def _variant_problems(suite: Suite) -> list[str]:
    problems = [f"variant {name!r} is named twice" for name in sorted(set(_named_twice(suite)))]
    for variant in suite.variant:
        for part, value in (("protocol", suite.protocol), ("train", suite.train)):
            try:
                overlay(value, getattr(variant, part))
            except ValidationError as error:
                problems += [f"variant {variant.name!r}: {part}.{line}" for line in _lines(error, type(value))]
        known_models = {m.name for m in suite.models}
        known_datasets = {d.name for d in suite.datasets}
        scopes = [
            *(("model", m, known_models) for m in (*variant.model, *variant.only.models)),
            *(("dataset", d, known_datasets) for d in variant.only.datasets),
        ]
        for kind, name, known in scopes:
            if name not in known:
                problems.append(f"variant {variant.name!r}: {did_you_mean(kind + ' of this suite', name, known)}")
    covered = {d for v in suite.variants() for d in (v.only.datasets or [r.name for r in suite.datasets])}
    left_out = [d.name for d in suite.datasets if d.name not in covered]
    problems += [f"dataset {name!r} is in no variant, and base = false" for name in left_out]
    return problems

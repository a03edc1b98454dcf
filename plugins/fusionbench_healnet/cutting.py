"""What a modality is cut into, and how wide a token is; arithmetic that a plan asks for, without torch."""

from __future__ import annotations

from fusionbench import ModalitySpec
from fusionbench_healnet.options import HealnetOptions, TokenOptions

OTHERS = "columns of no group"


def parts_of(spec: ModalitySpec, options: HealnetOptions | TokenOptions) -> dict[str, tuple[int, ...]]:
    """What a vector is cut into, each token's name with its columns; empty where it stays one token.

    Under tokens="group" the non-empty groups, then the columns outside all of them.
    """
    if spec.kind != "vector" or options.tokens == "single":
        return {}
    if options.tokens == "feature":
        return {name: (i,) for i, name in enumerate(spec.columns)}
    groups = {name: tuple(columns) for name, columns in spec.groups.items() if columns}
    grouped = {column for columns in groups.values() for column in columns}
    rest = tuple(column for column in range(spec.dim) if column not in grouped)
    parts = {**groups, OTHERS: rest} if rest else groups
    return parts if len(parts) > 1 else {}


def is_placed(spec: ModalitySpec, options: HealnetOptions | TokenOptions) -> bool:
    """Whether tokens carry the encoding of their positions."""
    return options.positions == "all" or (options.positions == "grids" and spec.kind == "grid")


def token_width(spec: ModalitySpec, options: HealnetOptions | TokenOptions) -> int:
    """Channels of a token: of an instance or what a vector's part is embedded in, then the encoded position."""
    placed = is_placed(spec, options)
    position = max(spec.axes, 1) * (2 * options.bands + 1) if placed else 0
    if not parts_of(spec, options):
        return spec.dim + position
    return (1 if options.tokens == "feature" and placed else options.token_dim) + position

"""docs/keys.md: every key of a cohort's and a suite's TOML, from the schemas; `python -m tests.key_docs` writes it."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import annotated_types
import tomli_w
from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from fusionbench.builtin.table.outcome_schema import ClassOutcomeSchema, OutcomeSchema
from fusionbench.builtin.table.schema import CohortSchema, ColumnSchema, FileSchema, ModalitySchema
from fusionbench.core.protocol import ParameterGroup, Protocol, TrainRecipe
from fusionbench.core.stages import Stage
from fusionbench.suites.suite import External, Scope, Suite, Variant

TO = Path(__file__).parents[1] / "docs" / "keys.md"
HEAD = """# Every key

`python -m tests.key_docs` writes this page from the schemas. A key that is not listed here is an error, which names
the nearest one. TOML has no null: where a default is none, leave the key out, or write "none" in `[protocol]` and
`[train]`.
"""
COHORT: tuple[tuple[str, type[BaseModel], tuple[str, ...]], ...] = (
    (
        "Top of a cohort's TOML",
        CohortSchema,
        (
            """title = "Our patients"
table = "patients.csv"
id = "patient"
group = "hospital"
folds = "fold"
missing = ["", "NA", "?"]
separator = ";"
decimal = ","
thousands = "."
units = ["%", "kg"]
encoding = "cp1252"
exclude = ["0017", "0108"]
citation = "Ours et al. 2026"
licence = "CC BY 4.0"

[outcome]
time = "days"
unit = "day"
event = "died"

[modality.clinical]
columns = ["age", "sex"]

[file."rna.csv"]
transposed = true

[column.sex]
replace = {F = "f"}
""",
            """table = "patients.csv"
id = "patient"
splits = ["splits"]

[modality.clinical]
columns = ["age", "sex"]
""",
        ),
    ),
    (
        "`[outcome]`",
        OutcomeSchema,
        (
            """task = "survival"
time = "months"
unit = "month"
event = "status"
observed = ["dead", "progressed"]
censored = "alive"
endpoint = "progression-free survival"
""",
            """time = "days"
unit = "day"
censorship = "lost"
""",
        ),
    ),
    (
        "`[outcome]` of classes",
        ClassOutcomeSchema,
        (
            """task = "binary"
column = "hpv"
positive = ["positive", "p16+"]
negative = ["negative", "p16-"]
endpoint = "HPV status"
""",
            """task = "multiclass"
column = "grade"
classes = {low = ["G1", "G2"], high = "G3", undifferentiated = "G4"}
""",
            """task = "binary"
column = "response"
classes = ["no", "yes"]
""",
        ),
    ),
    (
        "`[modality.NAME]`",
        ModalitySchema,
        (
            """table = "rna.csv"
id = "sample"
columns = ["age"]
prefix = "gene_"
suffix = ["_cnv"]
exclude = "gene_7"
categorical = ["stage"]
groups = {kinases = ["gene_0", "gene_1"]}
absent = "ignore"
unknown = "ignore"
options = {clip = 3.0}
""",
            """folder = "features"
map = "slides.csv"
slide = "file"
case = "patient"
dataset = "feats"
""",
            """table = "regions.csv"
bag = true
ignore = true
""",
        ),
    ),
    (
        '`[file."NAME"]`',
        FileSchema,
        (
            """separator = ";"
encoding = "utf-16"
sheet = "values"
header = 3
transposed = true
repeated = "last"
decimal = ","
thousands = "."
units = "%"
missing = ["unknown"]
""",
        ),
    ),
    (
        "`[column.NAME]`",
        ColumnSchema,
        (
            """decimal = ","
thousands = "."
units = ["kg"]
missing = "-"
replace = {"<50" = "49", "F" = "f", "not done" = ""}
""",
        ),
    ),
)
"""Heading, schema, and TOML in which every key stands at least once."""
SUITE: tuple[tuple[str, type[BaseModel], tuple[str, ...]], ...] = (
    (
        "Top of a suite's TOML",
        Suite,
        (
            """title = "Does fusion help our patients?"
datasets = ["table[file=cohort.toml]"]
models = ["cox", "survival-forest[min_leaf=5]"]
modalities = [["clinical"], ["clinical", "slides"]]
metrics = ["harrell_c_index", "ibs"]
seed = 1
base = false
reference = "published.csv"
claims = "claims.csv"
counts = "counts.csv"
tuned = "tuned.toml"

[protocol]
folds = 3

[train]
epochs = 10

[[variant]]
name = "wide"
model = {healnet = {latent_dim = 32}}

[[external]]
train = "hancock"
test = ["table[file=ours.toml]"]
""",
        ),
    ),
    ("`[protocol]`", Protocol, ()),
    ("`[train]`", TrainRecipe, ()),
    (
        "`[[train.group]]`",
        ParameterGroup,
        (
            """parameters = ["factors.*"]
lr = 0.003
weight_decay = 0.0
""",
        ),
    ),
    (
        "`[[train.stage]]`",
        Stage,
        (
            """name = "fusion alone"
epochs = 4
train = ["*"]
frozen = ["encode.*"]
frozen_dropout = ["encode.omic.*"]
lr_factor = 0.1
warmup = 1.0
""",
        ),
    ),
    (
        "`[[variant]]`",
        Variant,
        (
            """name = "cox-loss"
protocol = {bins = 8}
train = {loss = "cox"}
model = {healnet = {depth = 2}}
only = {models = ["healnet"]}
""",
        ),
    ),
    (
        "`[variant.only]`",
        Scope,
        (
            """models = ["healnet", "mcat"]
datasets = ["hancock"]
""",
        ),
    ),
    (
        "`[[external]]`",
        External,
        (
            """train = "metabric"
test = ["tcga-brca[shared=true]", "table[file=ours.toml]"]
""",
        ),
    ),
)
EXAMPLES: Mapping[type[BaseModel], Sequence[Mapping[str, Any]]] = {
    Protocol: [
        {
            "base": "as-published",
            "unit": "slide",
            "fold_source": "published",
            "folds": 10,
            "repeats": 3,
            "validation": 0.2,
            "bins": 8,
            "bins_from": "cohort",
            "fitted_on": "cohort",
            "impute": "mean",
            "clip": "none",
            "scale": False,
            "vectors": "joined",
            "test_patterns": ["full", "drop:*"],
            "mask_draws": 5,
            "train_pattern": "rate:0.25",
            "horizon": 36.0,
            "sd_ddof": 0,
        }
    ],
    TrainRecipe: [
        {
            "base": "as-published",
            "optimizer": "sgd",
            "lr": 1e-3,
            "weight_decay": 0.0,
            "momentum": 0.9,
            "batch_size": 8,
            "accumulate": 4,
            "epochs": 50,
            "schedule": "onecycle",
            "loss": "nll",
            "alpha": 0.4,
            "clamp": 1e-7,
            "class_weights": "inverse",
            "label_smoothing": 0.0,
            "weight_sum": "one",
            "weight_on": "likelihood",
            "cox_reduction": "cases",
            "l1": 1e-5,
            "l1_factor": 16.0,
            "grad_clip": 1.0,
            "patience": "none",
            "validation_loss": "as-trained",
            "restore_best": False,
            "max_instances": 4096,
            "instance_order": "shuffled",
            "max_tokens": 65536,
            "amp": False,
            "eval_batch_size": 8,
            "compile": True,
        },
        {
            "optimizer": "radamw",
            "betas": [0.5, 0.999],
            "lookahead": 6,
            "lookahead_rate": 0.8,
            "lookahead_start": "first-sync",
            "decay_on": "matrices",
            "l1_on": ["*.weight"],
            "schedule": "linear",
            "warmup": 1.0,
            "hold": 9.0,
            "group": [{"parameters": ["head.*"], "lr": 1e-3}],
            "stage": [{"name": "fusion", "epochs": 4, "frozen": ["encode.*"]}, {"name": "all"}],
        },
    ],
}
"""Examples that have each key of the two tables of switches; some keys do not go together."""
ABOUT: Mapping[type[BaseModel], str] = {
    TrainRecipe: """The recipe of every torch model of a suite. A model's published recipe is an option of the model,
`lmf[recipe=own]`: these keys with other values, in a row that the table marks with "own recipe" and whose cells have
all keys in their records ([plugins.md](plugins.md#a-recipe-of-its-own)). Names of parameters are those of the model's
module: a suite gives such lists in a variant of one model.""",
}
"""What stands above a table."""
BOUNDS = {annotated_types.Gt: ">", annotated_types.Ge: ">=", annotated_types.Lt: "<", annotated_types.Le: "<="}
PLAIN = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "any value"}


def examples(schema: type[BaseModel], written: tuple[str, ...]) -> tuple[str, ...]:
    """TOML that has every key of a schema."""
    return written or tuple(tomli_w.dumps(example) for example in EXAMPLES[schema])


def keys(schema: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """The keys that a TOML may have; a suite's name is its file's."""
    return {name: field for name, field in schema.model_fields.items() if (schema, name) != (Suite, "name")}


def said(schema: type[BaseModel]) -> Mapping[str, str]:
    """Key to what the schema's docstring says of it."""
    text = (inspect.getdoc(schema) or "").partition("Attributes:\n")[2]
    found: dict[str, str] = {}
    names: list[str] = []
    for line in text.splitlines():
        entry = re.fullmatch(r"    (\w+(?:, \w+)*): (.*)", line)
        if entry:
            names = entry[1].split(", ")
        elif not line.startswith("     "):
            names = []
        for name in names:
            found[name] = f"{found.get(name, '')} {entry[2] if entry else line.strip()}".strip()
    return found


def kind(annotation: Any, metadata: typing.Sequence[Any] = ()) -> str:
    """The type of a key in words."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return kind(args[0], args[1:])
    if annotation in PLAIN:
        bounds = [
            f"{sign} {value:g}"
            for m in metadata
            for t, sign in BOUNDS.items()
            if isinstance(m, t)
            for value in [getattr(m, {">": "gt", ">=": "ge", "<": "lt", "<=": "le"}[sign])]
        ]
        return " ".join([PLAIN[annotation], " and ".join(bounds)]).strip()
    if origin is typing.Literal:
        return " or ".join(f"`{toml(value)}`" for value in args)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(kind(a, metadata) for a in args if a is not type(None)))
    if origin is tuple:
        of = kind(args[0])
        several = f"list of {'texts' if of == 'text' else of if of.startswith('table') else f'({of})'}"
        single = any(isinstance(m, BeforeValidator) for m in metadata)
        return f"{of}, or a {several}" if single else several
    if origin is not None and issubclass(origin, Mapping):
        return f"table of {kind(args[1])}" if args[1] is not Any else "table"
    return "table" if inspect.isclass(annotation) and issubclass(annotation, BaseModel) else "text"


def toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, BaseModel) or value in (None, (), {}):
        return "" if value != () else "[]"
    return (
        tomli_w.dumps({"x": list(value) if isinstance(value, tuple) else value}, multiline_strings=False)[4:]
        .replace("\n    ", " ")
        .replace(",\n]", "]")
        .replace("[ ", "[")
        .strip()
    )


def default(field: FieldInfo) -> str:
    """The default as TOML, or that there is none."""
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    return f"`{toml(value)}`" if toml(value) else "none"


def lines(heading: str, schema: type[BaseModel], written: tuple[str, ...]) -> Iterator[str]:
    """One table of keys, and examples that have all of them."""
    yield f"\n### {heading}\n\n{ABOUT[schema]}" if schema in ABOUT else f"\n### {heading}"
    yield "\n| key | type | default | says |\n|---|---|---|---|"
    about = said(schema)
    for name, field in keys(schema).items():
        of = kind(field.annotation, field.metadata)
        yield f"| `{name}` | {of} | {default(field)} | {about[name]} |"
    for example in examples(schema, written):
        yield f"\n```toml\n{example.strip()}\n```"


def page() -> str:
    """The whole page."""
    parts = [HEAD, "\n## A cohort of your own\n\n[own-data.md](own-data.md) shows how they work together."]
    parts += [line for entry in COHORT for line in lines(*entry)]
    parts += [
        "\n## A suite\n\n[suites.md](suites.md) has those that are there; [protocol.md](protocol.md) has the switches."
    ]
    parts += [line for entry in SUITE for line in lines(*entry)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)) + "\n"


if __name__ == "__main__":
    TO.write_text(page(), encoding="utf-8")

"""What docs/reference/documents.md says: the keys of what `--json` writes, from the classes that it is made of."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from bnfold.checking import CheckReport, OutputComparison
from bnfold.checking.location import Location, TensorError
from bnfold.checking.truth import Truth
from bnfold.folding.inspection import AffineInfo
from bnfold.folding.rounds import Folded, Kept, Settlement
from bnfold.inserting.estimates import Calibrated
from bnfold.inserting.insert import Inserted
from bnfold.inserting.sites import Skipped
from bnfold.report.documents import SCHEMA

HEAD = f"""# Documents

Every command writes its outcome as one JSON document with `--json FILE`, to stdout with `--json -`. The keys are part
of the public contract: `schema`, now {SCHEMA}, rises when one of them goes or changes its meaning, and `tests/api.txt`
holds all of them. A number that is not finite is `null`, as JSON has no other word for it. Written by
`python docs/reference.py`, from the classes that the Python calls give back: a key means what the attribute means.
"""

HEADER = {
    "schema": "integer: the version of the keys",
    "bnfold": "string: the version of bnfold",
    "model": "string: the path that was read",
}
OUTPUT = {"output": "string or null: the path that was written, null where nothing was"}
REMARKS = {"remarks": "list of string: what a person should know besides"}
CHECK = {"check": "[check](#check) or null: the proof, null where none was made"}
PLACEMENT = "object: by provider, how many nodes of each operator it took of the"


@dataclass(frozen=True)
class Table:
    """One kind of object in a document.

    Attributes:
        title: its heading.
        kind: the class it is made of; None for one that only documents have.
        verdicts: properties of the class that a document has too.
        own: keys that the class has not, or has in another form, with their types and meanings.
        intro: a sentence in front of the table.
    """

    title: str
    kind: type | None = None
    verdicts: tuple[str, ...] = ()
    own: Mapping[str, str] = field(default_factory=dict)
    intro: str = ""

    @property
    def rows(self) -> dict[str, str]:
        """Key to its type and meaning."""
        fields = _fields(self.kind, besides=self.own) if self.kind else {}
        return {**fields, **_verdicts(self.kind, self.verdicts), **self.own}

    @property
    def text(self) -> str:
        """The section of the page."""
        intro = f"\n{self.intro}\n" if self.intro else ""
        lines = "".join(f"| `{key}` | {_cell(meaning)} |\n" for key, meaning in self.rows.items())
        return f"\n## {self.title}\n{intro}\n| key | what it is |\n|---|---|\n{lines}"


def _listed(title: str) -> str:
    return f"list of [{title}](#{title.replace(' ', '-')})"


COMMANDS = (
    Table(
        "`bnfold fold`",
        own={
            **HEADER,
            **OUTPUT,
            "folded": f"{_listed('folded')}: every affine that is gone",
            "kept": f"{_listed('kept')}: every BatchNormalization that is still there",
            "settled": f"{_listed('settled')}: what was done with what could not go altogether",
            **REMARKS,
            **CHECK,
        },
    ),
    Table(
        "`bnfold fold` of several models",
        own={
            "schema": HEADER["schema"],
            "bnfold": HEADER["bnfold"],
            "models": "list of object: for each model the document of `bnfold fold`; of one that failed `model` and "
            "`error`, with its exit `status` and `text`",
            "summary": "object: how many `models`, `written`, `folded`, `kept` in all, and the exit `status`",
        },
    ),
    Table(
        "`bnfold inspect`", own={**HEADER, "affines": f"{_listed('affine')}: every affine of the graph, in its order"}
    ),
    Table(
        "`bnfold check`",
        own={
            "schema": HEADER["schema"],
            "bnfold": HEADER["bnfold"],
            "before": "string: the path of the original",
            "after": "string: the path of the other model",
        },
        intro="Besides what every [check](#check) has:",
    ),
    Table(
        "`bnfold insert`",
        own={
            **HEADER,
            **OUTPUT,
            "inserted": f"{_listed('inserted')}: every BatchNormalization that was put in",
            "skipped": f"{_listed('skipped')}: every linear operator behind which none goes",
            **REMARKS,
            **CHECK,
        },
    ),
    Table(
        "`bnfold calibrate`",
        own={
            **HEADER,
            **OUTPUT,
            "calibrated": f"{_listed('calibrated')}: every BatchNormalization with new statistics, or in a new form",
            "skipped": f"{_listed('skipped')}: those that stay as they are",
            **REMARKS,
            **CHECK,
        },
    ),
    Table(
        "`bnfold train`",
        own={
            **HEADER,
            "output": "string: the path of the trained model",
            "folded_output": "string: the path of its fold",
            "inserted": f"{_listed('inserted')}: every BatchNormalization that was put in",
            "frozen": "list of string: the initializers that were not trained",
            "epochs": f"{_listed('epoch')}: what came of each",
            "best_epoch": "integer: the one whose state was taken; 0 for that before the first",
            "interrupted": "boolean: whether it was stopped by hand, and is shorter than was asked for",
            "diverged": "string or null: where and how it diverged and what to try; null where it did not",
            "scores": "object: `loss` and `accuracy` on the validation data `before`, in the `best` epoch, of the "
            "`trained` model and of the `folded` one",
            "agreement": "number or null: for how many of the validation examples both name the same class, as a share",
            "folded": f"{_listed('folded')}: what the fold of the trained model took out",
            "kept": f"{_listed('kept')}: what it left",
            **REMARKS,
            "check": "[check](#check): the proof that the fold computes what the trained model does",
        },
    ),
)

OBJECTS = (
    Table("folded", Folded),
    Table("kept", Kept),
    Table("settled", Settlement),
    Table("affine", AffineInfo),
    Table("inserted", Inserted),
    Table("skipped", Skipped),
    Table("calibrated", Calibrated),
    Table(
        "epoch",
        own={
            "epoch": "integer: counted from 1",
            "lr": "number: the learning rate at its start",
            "loss": "number: the mean over its batches, each before its step",
            "accuracy": "number or null: the share that was right there; null where the loss knows no classes",
            "validation_loss": "number or null: the same behind it, on the validation data",
            "validation_accuracy": "number or null: likewise",
            "best": "boolean: whether it is the best state so far",
            "seconds": "number: how long it took, validation included",
        },
        intro="A line of `--log` is one too.",
    ),
    Table(
        "check",
        CheckReport,
        own={
            "equal": "boolean: whether the two models compute the same, which is the exit status too",
            "comparisons": f"{_listed('comparison')}: one for each place where the two were compared",
            "location": "[location](#location) or null: the first tensor that differs, with `--locate`",
            "truths": f"{_listed('truth')}: how far each model is from float64, with `--reference float64`",
        },
    ),
    Table(
        "comparison",
        own={
            "provider_before": "string: where the original ran",
            "provider_after": "string: where the other model ran",
            "optimized": "boolean: whether onnxruntime was let rewrite both, as it does where they are deployed",
            "placement_before": f"{PLACEMENT} original",
            "placement_after": f"{PLACEMENT} other model",
            "outputs": f"{_listed('output')}: one for each output of the graph, in its order",
        },
    ),
    Table("output", OutputComparison, ("equal", "ok", "needed")),
    Table(
        "location",
        Location,
        ("sentence",),
        own={
            "first": "[tensor](#tensor) or null: the first that is different, or is moved on the way to a wrong output",
            "tensors": f"{_listed('tensor')}: all that were compared, in the order of computation",
            "agreeing": f"{_listed('tensor')}: the last in front of `first` that are equal",
            "moved": f"{_listed('tensor')}: those between them and `first`, which are moved per channel",
        },
    ),
    Table("tensor", TensorError),
    Table("truth", Truth, ("ok",)),
)

WORDS = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "None": "null"}


def text() -> str:
    """The whole page."""
    return HEAD + "".join(table.text for table in (*COMMANDS, *OBJECTS))


def _fields(kind: type, *, besides: Mapping[str, str]) -> dict[str, str]:
    """The fields of a class, with their types and what its docstring says of them.

    Raises:
        KeyError: the docstring says nothing of one.
    """
    said = _attributes(kind)
    own = [each for each in dataclasses.fields(kind) if each.name not in besides]
    return {each.name: f"{_type(str(each.type))}: {said[each.name]}" for each in own}


def _attributes(kind: type) -> dict[str, str]:
    """Attribute to its meaning, from the section of a Google docstring."""
    section = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")[2].partition("\n\n")[0]
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    return {name: _sentence(meaning) for name, meaning in entries}


def _verdicts(kind: type | None, names: tuple[str, ...]) -> dict[str, str]:
    getters = {name: vars(kind)[name].fget for name in names}
    return {
        name: f"{_type(get.__annotations__['return'])}: {_sentence(inspect.getdoc(get) or '')}"
        for name, get in getters.items()
    }


def _sentence(prose: str) -> str:
    prose = prose.replace("``", "`").replace("`None`", "null").replace("None", "null").replace("a tuple", "a list")
    joined = " ".join(prose.split()).removesuffix(".")
    return joined[0].lower() + joined[1:]


def _type(annotation: str) -> str:
    """A Python type as JSON has it."""
    if found := re.fullmatch(r"tuple\[(.+), \.\.\.\]", annotation):
        return f"list of {_type(found[1])}"
    if found := re.fullmatch(r"tuple\[(\w+), .+\]", annotation):
        return f"list of {_type(found[1])}"
    if annotation.startswith(("dict[", "Mapping[")):
        return "object" + (" or null" if annotation.endswith("| None") else "")
    return " or ".join(WORDS[part.strip()] for part in annotation.split("|"))


def _cell(prose: str) -> str:
    return prose.replace("|", "\\|")

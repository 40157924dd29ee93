"""The commands that write models, each in a folder of its own with an older result in the place of the new one."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto
from support import graph_model, normal, statistics

import bnfold


@dataclass(frozen=True)
class Case:
    """One command.

    Attributes:
        name: what to call it.
        arguments: of the command line; paths are relative to the folder.
        prepare: makes the folder.
        targets: the models that it writes.
        leaves: what it may leave besides: archives where it is not done, for another call to go on from, and reports.
        keeps: on Ctrl-C it writes models of what it has by then, which are neither old nor new.
    """

    name: str
    arguments: tuple[str, ...]
    prepare: Callable[[Path], None]
    targets: tuple[str, ...] = ("out.onnx",)
    leaves: tuple[str, ...] = ()
    keeps: bool = False

    def ended_by(self, numbers: Sequence[signal.Signals]) -> Sequence[signal.Signals]:
        """Those of some signals after which the targets are old or new."""
        return [number for number in numbers if not self.keeps or number != signal.SIGINT]


def network(seed: int, width: int = 48) -> ModelProto:
    """Conv, BatchNormalization, and a MatMul that nothing changes."""
    scale, bias, mean, variance = statistics(width, seed=seed)
    return graph_model(
        f"""(float[N,{width},5,5] x, float[2,256] u) => (float[N,{width},5,5] y, float[2,256] w) {{
            c = Conv<pads = [1, 1, 1, 1]>(x, W)
            y = BatchNormalization(c, s, b, m, v)
            w = MatMul(u, M)
        }}""",
        W=normal(width, width, 3, 3, seed=seed),
        M=normal(256, 256, seed=seed),
        s=scale,
        b=bias,
        m=mean,
        v=variance,
    )


def plain(seed: int) -> ModelProto:
    """Nothing to fold."""
    return graph_model("(float[2,256] u) => (float[2,256] w) { w = MatMul(u, M) }", M=normal(256, 256, seed=seed))


def save(model: ModelProto, path: Path, *, external: bool = False) -> None:
    onnx.save(model, path, save_as_external_data=external, location=f"{path.name}.in", size_threshold=1024)


def _inline(folder: Path) -> None:
    save(network(1), folder / "m.onnx")
    _older(folder)


def _external(folder: Path) -> None:
    save(network(1), folder / "m.onnx", external=True)
    _older(folder, form="external")


def _older(folder: Path, place: str = "out.onnx", form: str = "inline") -> None:
    """What an earlier call has left in the place of the result."""
    bnfold.fold(network(0)).save(folder / place, form)


def _reported(folder: Path) -> None:
    _inline(folder)
    (folder / "report.json").write_text("{}\n")


def _with_data(folder: Path) -> None:
    _inline(folder)
    np.savez(folder / "data.npz", x=normal(8, 48, 5, 5, seed=2), u=normal(2, 256, seed=3))


def _two(folder: Path) -> None:
    for seed, name in enumerate("ab"):
        save(network(seed + 1), folder / f"{name}.onnx", external=name == "b")
    (folder / "out").mkdir()
    for name in "ab":
        _older(folder, f"out/{name}.folded.onnx")


def _elsewhere(folder: Path) -> None:
    save(plain(1), folder / "m.onnx", external=True)
    (folder / "out").mkdir()


FOLD = ("fold", "m.onnx", "-o", "out.onnx")

CASES = (
    Case("fold", FOLD, _inline),
    Case("fold --no-check", (*FOLD, "--no-check"), _inline),
    Case("fold of a model with a data file", FOLD, _external),
    Case("fold --no-check of a model with a data file", (*FOLD, "--no-check"), _external),
    Case("fold --external-data", (*FOLD, "--external-data"), _inline),
    Case("fold --inline", (*FOLD, "--inline"), _external),
    Case("fold over the model itself", ("fold", "m.onnx", "-o", "m.onnx"), _inline, ("m.onnx",)),
    Case("fold over the model itself, with a data file", ("fold", "m.onnx", "-o", "m.onnx"), _external, ("m.onnx",)),
    Case(
        "fold of a model in which nothing folds",
        ("fold", "m.onnx", "--out-dir", "out"),
        _elsewhere,
        ("out/m.folded.onnx",),
    ),
    Case(
        "fold with reports, of which one is there",
        (*FOLD, "--json", "report.json", "--html", "report.html"),
        _reported,
        leaves=("report.json", "report.html"),
    ),
    Case("insert", ("insert", "m.onnx", "-o", "out.onnx", "--include-classifier"), _inline),
    Case("calibrate", ("calibrate", "m.onnx", "--data", "data.npz", "-o", "out.onnx"), _with_data),
)


def _training(folder: Path) -> None:
    rows = {"x": normal(64, 48, 5, 5, seed=2), "target": normal(64, 48, 5, 5, seed=3)}
    model = network(1)
    del model.graph.input[1], model.graph.output[1], model.graph.node[2], model.graph.initializer[1]
    save(model, folder / "m.onnx")
    np.savez(folder / "train.npz", allow_pickle=False, **rows)
    for name in ("out.onnx", "out.folded.onnx"):
        _older(folder, name)


TRAIN = Case(
    "train",
    ("train", "m.onnx", "--data", "train.npz", "--loss", "mse", "--epochs", "4", "--lr", "0.001", "-o", "out.onnx"),
    _training,
    ("out.onnx", "out.folded.onnx"),
    ("out.checkpoint",),
    keeps=True,
)

MANY = Case(
    "fold of two models, --jobs 2",
    ("fold", "a.onnx", "b.onnx", "--out-dir", "out", "--jobs", "2"),
    _two,
    ("out/a.folded.onnx", "out/b.folded.onnx"),
)


def two_models(folder: Path) -> Path:
    """The folder, with two models of the same sizes: m with its weights in it, and e with a data file."""
    save(network(1), folder / "m.onnx")
    save(network(2), folder / "e.onnx", external=True)
    return folder


def names(folder: Path) -> list[str]:
    """What is in a folder, in order."""
    return sorted(path.name for path in folder.iterdir())


def listing(folder: Path) -> dict[str, bytes]:
    """All files below a folder, with what they hold."""
    paths: Iterable[Path] = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.is_file()}


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def parts(folder: Path, target: str) -> dict[str, bytes]:
    """A model and the data files that it refers to, by name, as they are."""
    path = folder / target
    if not path.exists():
        return {}
    model = onnx.load(path, load_external_data=False)
    names = {
        entry.value for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"
    }
    files = [path, *(path.parent / name for name in sorted(names))]
    onnx.load(path)  # onnx takes the model with its data
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def is_written_to(folder: Path) -> bool:
    """Whether a process holds a file in the folder that has no name, or a temporary one."""
    if any(path.name.endswith(".bnfold.tmp") for path in folder.iterdir()):
        return True
    return any(place.startswith(f"{folder}/#") for process in os.listdir("/proc") for place in _open_in(process))


def _open_in(process: str) -> Iterator[str]:
    """The files that a process has open, if it is one, still there, and one's own."""
    with suppress(OSError):
        for descriptor in os.listdir(f"/proc/{process}/fd"):
            yield os.readlink(f"/proc/{process}/fd/{descriptor}")

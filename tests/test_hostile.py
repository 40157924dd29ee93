"""Hostile models: a clear error or a result, and never a traceback, a hang, a crash, memory without bound, or a file
that nobody asked for. Each is tried with every command, and with the functions of the package, in a process of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hostile import CASES, data_files, texts
from hostile.case import MODEL, STAYS, Case, conv_bn
from hostile.client import Client, Ended
from hostile.large import million_relus, row_of_normalizations
from onnx import AttributeProto

import bnfold

OUT = "out.onnx"
LONGEST = 15.0
"""Seconds that a call may take; on an idle machine none takes three."""
MOST = 1 << 30
"""By how many bytes the memory of a call may grow."""

PLAIN = ("fold", MODEL, "--no-check", "-o", OUT)
READING = [PLAIN, ("inspect", MODEL), ("insert", MODEL, "--no-check", "-o", OUT), ("api",)]
RUNNING = [
    ("fold", MODEL, "-o", OUT),
    ("calibrate", MODEL, "--data", "data.npz", "-o", OUT),
    ("check", MODEL, MODEL),
]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client() as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a model lies: beside what it must not touch."""
    place = tmp_path / "models"
    place.mkdir()
    np.savez(place / "data.npz", x=np.ones((2, 3, 5, 5), np.float32))
    return place


def contents(folder: Path) -> dict[Path, bytes | str]:
    """Every file beside the models and in their folder, and what it holds; of all else, that it is there."""
    places = sorted(folder.parent.rglob("*"))
    return {place: place.read_bytes() if place.is_file() and not place.is_symlink() else "" for place in places}


def assert_harmless(ended: Ended, folder: Path, before: dict[Path, bytes | str]) -> None:
    """What must hold of any call. Its output is removed."""
    assert not ended.signal, ended
    assert ended.status in {0, 1, 2}, ended
    assert ended.seconds < LONGEST, ended
    if ended.status == 2:
        assert re.fullmatch(r"bnfold: [^\n]+\n", ended.err), ended.err
    assert all(line.isprintable() for line in (ended.out + ended.err).split("\n")), ended
    for name in (OUT, f"{OUT}.data"):
        (folder / name).unlink(missing_ok=True)
    assert contents(folder) == before


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_hostile_model(case: Case, client: Client, folder: Path) -> None:
    case.write(folder)
    before = contents(folder)
    ended = client.call(folder, *PLAIN)
    if case.is_refused:
        assert ended.status == 2, ended
        assert re.search(case.outcome, ended.err), ended.err
    else:
        assert ended.status == 0, ended
        assert ((folder / OUT).read_bytes() == before[folder / MODEL]) == (case.outcome == STAYS)
    assert_harmless(ended, folder, before)
    assert ended.peak < MOST
    for arguments in READING[1:]:
        ended = client.call(folder, *arguments)
        assert_harmless(ended, folder, before)
        assert ended.peak < MOST, arguments
    for arguments in RUNNING if case.is_run else []:
        assert_harmless(client.call(folder, *arguments), folder, before)


# --- What grows with the size of a model ---


@pytest.mark.parametrize("make", [million_relus, row_of_normalizations])
def test_the_time_of_a_fold_grows_with_the_number_of_nodes_and_no_faster(
    make: Callable[[int], bytes], client: Client, folder: Path
) -> None:
    counts = (100, 200, 400) if make is row_of_normalizations else (5_000, 20_000, 80_000)
    few, some, many = counts

    def seconds(count: int) -> float:
        (folder / MODEL).write_bytes(make(count))
        ended = client.call(folder, *PLAIN)
        assert ended.status == 0, ended
        return ended.seconds

    def grows_evenly() -> bool:
        first, second, third = map(seconds, counts)
        return (third - second) / (many - some) < 2.5 * (second - first) / (some - few)

    # What grows with the square does so each time; a machine that is busy for a moment does not.
    assert any(grows_evenly() for _ in range(3))


# --- What a caller of the package can do that no file can ---


def test_a_thousand_nested_ifs_as_a_message_are_folded_or_refused() -> None:
    """protobuf parses no file that is nested so deeply, and lets a program make such a message."""
    model = conv_bn()
    graph = model.graph
    for number in range(1000):
        node = graph.node.add(op_type="If", name=f"if{number}", input=["cond"], output=[f"o{number}"])
        graph = node.attribute.add(name="then_branch", type=AttributeProto.GRAPH).g
        graph.name = "body"
    assert bnfold.fold(model)
    assert bnfold.inspect(model)


# --- Where a result goes ---


def test_an_output_name_that_leaves_the_folder_is_the_callers_and_takes_its_data_along(
    client: Client, folder: Path
) -> None:
    (folder / MODEL).write_bytes(conv_bn(channels=200).SerializeToString())
    ended = client.call(folder, "fold", MODEL, "--no-check", "--external-data", "-o", "../out.onnx")
    assert ended.status == 0, ended
    assert {path.name for path in folder.parent.iterdir()} == {"models", "out.onnx", "out.onnx.data"}


@pytest.mark.parametrize("target", ["model.data", "./model.data", "link"])
def test_an_output_that_holds_the_weights_of_the_model_is_refused(target: str, client: Client, folder: Path) -> None:
    data_files.external(folder, location="model.data", length=str(data_files.LENGTH))
    (folder / "link").symlink_to("model.data")
    before = contents(folder)
    ended = client.call(folder, "fold", MODEL, "--no-check", "-o", target)
    assert ended.status == 2
    assert_harmless(ended, folder, before)


def test_data_of_an_unchanged_model_go_nowhere_but_beside_the_output(client: Client, folder: Path) -> None:
    """What is copied keeps its name, which can not lead out of the folder: such a name is refused when it is read."""
    data_files.secret(folder)
    model = texts.staying("bn")
    data_files.external(folder, model=model, location="../secret", length=str(data_files.LENGTH))
    (folder / "deep").mkdir()
    before = contents(folder)
    ended = client.call(folder, "fold", MODEL, "--no-check", "-o", "deep/out.onnx")
    assert ended.status == 2
    assert_harmless(ended, folder, before)

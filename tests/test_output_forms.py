"""Where a result goes and in which form: over the model itself, into one file or two, past what one file can hold."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import Run
from onnx import ModelProto, TensorProto, helper, numpy_helper
from support import Array, graph_model, normal, statistics

import bnfold
from bnfold.model import forms
from bnfold.model.copying import METHODS, write
from bnfold.model.external import all_tensors, entries, external_tensors, is_external
from bnfold.model.mapped_file import open_source
from bnfold.model.references import Range, Segment


def parameters() -> dict[str, Any]:
    return dict(zip("sbmv", statistics(16), strict=True))


def two_branches(*, folds: bool = True) -> ModelProto:
    """Conv, BatchNormalization; beside it a MatMul with two weights that nothing touches, one of them a Constant's."""
    model = graph_model(
        """(float[N,3,5,5] x, float[N,64] u) => (float[N,16,5,5] y, float[N,32] w) {
            c = Conv<pads = [1, 1, 1, 1]>(x, W)
            y = BatchNormalization(c, s, b, m, v)
            h = MatMul(u, M)
            w = MatMul(h, K)
        }""",
        W=normal(16, 3, 3, 3),
        M=normal(64, 64),
        **parameters(),
    )
    constant = helper.make_node("Constant", [], ["K"], value=numpy_helper.from_array(normal(64, 32), "K"))
    model.graph.node.insert(0, constant)
    if not folds:
        model.graph.output.add(name="c")
    return model


def inline(path: Path, *, folds: bool = True) -> Path:
    onnx.save(two_branches(folds=folds), path)
    return path


def external(path: Path, *, folds: bool = True, one_file: bool = True) -> Path:
    """Every initializer in a data file, or in one each."""
    model = two_branches(folds=folds)
    location = f"{path.name}.data" if one_file else None
    onnx.save(
        model,
        path,
        save_as_external_data=True,
        all_tensors_to_one_file=one_file,
        location=location,
        size_threshold=0,
        convert_attribute=True,
    )
    return path


def skeleton(path: Path) -> ModelProto:
    return onnx.load(path, load_external_data=False)


def external_names(path: Path) -> set[str]:
    return {tensor.name for tensor in external_tensors(skeleton(path))}


def values(path: Path) -> dict[str, Array]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in all_tensors(onnx.load(path))}


def assert_same_model(path: Path, wanted: Path) -> None:
    """The same nodes and numbers, wherever they lie."""
    made, expected = onnx.load(path), onnx.load(wanted)
    assert [(n.op_type, n.input, n.output) for n in made.graph.node] == [
        (n.op_type, n.input, n.output) for n in expected.graph.node
    ]
    assert [t.name for t in made.graph.initializer] == [t.name for t in expected.graph.initializer]
    numbers, wanted_numbers = values(path), values(wanted)
    assert numbers.keys() == wanted_numbers.keys()
    for name, array in numbers.items():
        np.testing.assert_array_equal(array, wanted_numbers[name], strict=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# Over the model itself.


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the fold of `two_branches` is."""
    folder = tmp_path_factory.mktemp("elsewhere")
    result = bnfold.fold(inline(folder / "in.onnx"))
    assert result
    result.save(folder / "wanted.onnx")
    return folder / "wanted.onnx"


@pytest.mark.parametrize("check", ["--check", "--no-check"])
@pytest.mark.parametrize("how", ["same", "relative", "link", "dotted"])
def test_a_model_is_folded_over_itself(
    run: Run, tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, how: str, check: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = inline(tmp_path / "m.onnx")
    path.chmod(0o640)
    (tmp_path / "link.onnx").symlink_to(path)
    target = {"same": path, "relative": "m.onnx", "link": "link.onnx"}.get(how)
    outcome = run("fold", path, check, "-o", target or tmp_path / ".." / tmp_path.name / "m.onnx")
    assert (outcome.status, outcome.err) == (0, "")
    assert ("tolerance" in outcome.out) == (check == "--check")
    assert_same_model(path, elsewhere)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert (tmp_path / "link.onnx").is_symlink()
    assert names(tmp_path) == ["link.onnx", "m.onnx"]


def test_a_hard_link_to_the_model_becomes_the_result_and_the_model_stays(
    run: Run, tmp_path: Path, elsewhere: Path
) -> None:
    path = inline(tmp_path / "m.onnx")
    (tmp_path / "hard.onnx").hardlink_to(path)
    before = path.read_bytes()
    assert run("fold", path, "-o", tmp_path / "hard.onnx").status == 0
    assert path.read_bytes() == before
    assert_same_model(tmp_path / "hard.onnx", elsewhere)


def test_a_model_that_was_opened_by_a_link_is_folded_over_itself(run: Run, tmp_path: Path, elsewhere: Path) -> None:
    path = inline(tmp_path / "m.onnx")
    (tmp_path / "link.onnx").symlink_to(path)
    assert run("fold", tmp_path / "link.onnx", "-o", path).status == 0
    assert_same_model(path, elsewhere)


@pytest.mark.parametrize("store", [inline, external])
def test_a_fold_over_itself_that_does_not_check_touches_nothing(
    run: Run, tmp_path: Path, store: Callable[[Path], Path]
) -> None:
    path = store(tmp_path / "m.onnx")
    before, inode = files(tmp_path), path.stat().st_ino
    outcome = run("fold", path, "-o", path, "--atol", "0", "--rtol", "0")
    assert outcome.status == 1
    assert "nothing was written" in outcome.err
    assert "note" not in outcome.out
    assert files(tmp_path) == before
    assert path.stat().st_ino == inode


def test_a_model_with_external_data_is_folded_over_itself_and_its_old_data_stay(
    run: Run, tmp_path: Path, elsewhere: Path
) -> None:
    path = external(tmp_path / "m.onnx")
    other = tmp_path / "other.onnx"
    other.write_bytes(path.read_bytes())
    data = (tmp_path / "m.onnx.data").read_bytes()
    outcome = run("fold", path, "-o", path)
    assert outcome.status == 0
    assert f"note '{tmp_path / 'm.onnx.data'}' held weights of the model that is replaced, and stays" in outcome.out
    assert names(tmp_path) == ["m.onnx", "m.onnx.1.data", "m.onnx.data", "other.onnx"]
    assert (tmp_path / "m.onnx.data").read_bytes() == data, "the other model still needs it"
    assert_same_model(path, elsewhere)
    assert {entries(tensor)["location"] for tensor in external_tensors(skeleton(path))} == {"m.onnx.1.data"}


def test_data_that_the_new_model_refers_to_are_not_said_to_be_left(run: Run, tmp_path: Path) -> None:
    path = external(tmp_path / "m.onnx", folds=False)
    before = files(tmp_path)
    outcome = run("fold", path, "-o", path)
    assert (outcome.status, files(tmp_path)) == (0, before)
    assert "byte for byte" in outcome.out
    assert "note" not in outcome.out
    assert "note" not in run("fold", external(tmp_path / "m.onnx"), "-o", tmp_path / "out.onnx").out


@pytest.mark.parametrize("inside", [False, True], ids=["file", "in a folder"])
def test_a_model_is_not_written_over_the_data_of_its_check(run: Run, tmp_path: Path, inside: bool) -> None:
    (tmp_path / "data").mkdir()
    path, data = inline(tmp_path / "m.onnx"), tmp_path / "data" / "inputs.npz"
    np.savez(data, allow_pickle=False, x=normal(2, 3, 5, 5), u=normal(2, 64))
    before = data.read_bytes()
    for option in ("-o", "--json"):
        outcome = run("fold", path, option, data, "--data", data.parent if inside else data)
        assert outcome.status == 2
        assert "holds its weights or the data" in outcome.err
    assert data.read_bytes() == before
    assert run("fold", path, "-o", path, "--data", data).status == 0


def test_a_result_that_is_saved_over_its_model_can_be_used_on(tmp_path: Path, elsewhere: Path) -> None:
    result = bnfold.fold(inline(tmp_path / "m.onnx"))
    assert result.save(tmp_path / "m.onnx") == ()
    assert_same_model(tmp_path / "m.onnx", elsewhere)
    result.save(tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()
    assert result.model == onnx.load(tmp_path / "m.onnx")


def test_saving_over_a_model_with_external_data_says_what_is_left(tmp_path: Path) -> None:
    path = external(tmp_path / "m.onnx", one_file=False)
    old = set(names(tmp_path)) - {"m.onnx"}
    remarks = bnfold.fold(path).save(path)
    assert len(remarks) == len(old) > 1
    assert all(any(f"'{tmp_path / name}'" in remark for remark in remarks) for name in old)


def test_an_insertion_is_never_saved_over_the_weights_of_its_model(tmp_path: Path) -> None:
    path = external(tmp_path / "m.onnx")
    before = files(tmp_path)
    with pytest.raises(bnfold.TargetError, match="holds the weights"):
        bnfold.insert(path).save(tmp_path / "m.onnx.data")
    assert files(tmp_path) == before


def test_weights_are_not_written_where_a_link_would_not_find_them(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out.onnx").symlink_to(tmp_path / "real" / "out.onnx")
    result = bnfold.fold(external(tmp_path / "m.onnx"))
    with pytest.raises(bnfold.TargetError, match="is a link into another folder"):
        result.save(tmp_path / "out.onnx")
    assert names(tmp_path / "real") == []
    result.save(tmp_path / "out.onnx", form="inline")
    assert names(tmp_path / "real") == ["out.onnx"]


# The form that is asked for.


@pytest.mark.parametrize("check", ["--check", "--no-check"])
@pytest.mark.parametrize("store", [inline, external])
def test_external_data_puts_what_is_large_into_one_file_beside_the_model(
    run: Run, tmp_path: Path, elsewhere: Path, store: Callable[[Path], Path], check: str
) -> None:
    path, out = store(tmp_path / "m.onnx"), tmp_path / "out.onnx"
    assert run("fold", path, "-o", out, "--external-data", check).status == 0
    assert external_names(out) == {"W", "M", "K"}
    assert {entries(tensor)["location"] for tensor in external_tensors(skeleton(out))} == {"out.onnx.data"}
    assert all(int(entries(tensor)["offset"]) % 4096 == 0 for tensor in external_tensors(skeleton(out)))
    assert_same_model(out, elsewhere)
    assert bnfold.check(path, out)


@pytest.mark.parametrize("check", ["--check", "--no-check"])
@pytest.mark.parametrize("store", [inline, external])
def test_inline_brings_all_tensors_into_the_model(
    run: Run, tmp_path: Path, elsewhere: Path, store: Callable[[Path], Path], check: str
) -> None:
    path, out = store(tmp_path / "m.onnx"), tmp_path / "out.onnx"
    before = set(names(tmp_path))
    assert run("fold", path, "-o", out, "--inline", check).status == 0
    assert external_names(out) == set()
    assert set(names(tmp_path)) - before == {"out.onnx"}
    assert_same_model(out, elsewhere)
    assert bnfold.check(path, out)


def test_without_either_a_model_keeps_its_form(run: Run, tmp_path: Path) -> None:
    for store, wanted in ((inline, set()), (external, {"W", "M", "K"})):
        assert run("fold", store(tmp_path / "m.onnx"), "-o", tmp_path / "out.onnx").status == 0
        assert external_names(tmp_path / "out.onnx") == wanted


@pytest.mark.parametrize(
    ("store", "option", "place"),
    [(inline, "--external-data", "in a data file beside it"), (external, "--inline", "in its own file")],
)
def test_the_form_changes_where_nothing_folds_and_that_is_proved_too(
    run: Run, tmp_path: Path, store: Callable[..., Path], option: str, place: str
) -> None:
    path, out = store(tmp_path / "m.onnx", folds=False), tmp_path / "out.onnx"
    outcome = run("fold", path, "-o", out, option)
    assert outcome.status == 0
    assert f"nothing folds: the model is written with its weights {place}\n" in outcome.out
    assert "byte for byte" not in outcome.out
    assert "tolerance" in outcome.out
    assert external_names(out) == ({"W", "M", "K"} if option == "--external-data" else set())
    assert_same_model(out, path)


@pytest.mark.parametrize(("store", "option"), [(external, "--external-data"), (inline, "--inline")])
def test_a_model_that_has_the_form_and_does_not_fold_is_copied(
    run: Run, tmp_path: Path, store: Callable[..., Path], option: str
) -> None:
    path = store(tmp_path / "m.onnx", folds=False)
    outcome = run("fold", path, "-o", tmp_path / "out.onnx", option)
    assert outcome.status == 0
    assert "byte for byte" in outcome.out
    assert (tmp_path / "out.onnx").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("folds", [False, True])
def test_external_data_makes_one_file_of_many(run: Run, tmp_path: Path, folds: bool) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    path = external(tmp_path / "in" / "m.onnx", folds=folds, one_file=False)
    assert run("fold", path, "-o", tmp_path / "out" / "m.onnx", "--external-data").status == 0
    assert names(tmp_path / "out") == ["m.onnx", "m.onnx.data"]
    assert bnfold.check(path, tmp_path / "out" / "m.onnx")


def test_a_model_whose_external_weights_are_all_folded_is_external_again(run: Run, tmp_path: Path) -> None:
    model = graph_model(
        """(float[N,3,5,5] x) => (float[N,16,3,3] y) { c = Conv(x, W) y = BatchNormalization(c, s, b, m, v) }""",
        W=normal(16, 3, 3, 3),
        **parameters(),
    )
    path = tmp_path / "m.onnx"
    onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=1024)
    outcome = run("fold", path)
    assert outcome.status == 0
    assert "note" not in outcome.out
    assert external_names(tmp_path / "m.folded.onnx") == {"W"}


def test_a_model_is_brought_inline_over_itself_and_back(run: Run, tmp_path: Path, elsewhere: Path) -> None:
    path = external(tmp_path / "m.onnx")
    outcome = run("fold", path, "-o", path, "--inline")
    assert outcome.status == 0
    assert "m.onnx.data' held weights of the model that is replaced" in outcome.out
    (tmp_path / "m.onnx.data").unlink()
    assert_same_model(path, elsewhere)
    assert run("fold", path, "-o", path, "--external-data").status == 0
    assert names(tmp_path) == ["m.onnx", "m.onnx.data"]
    assert_same_model(path, elsewhere)


def test_numbers_in_typed_fields_go_external_as_bytes(tmp_path: Path) -> None:
    model = two_branches()
    (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == "M"]
    tensor.CopyFrom(helper.make_tensor("M", TensorProto.FLOAT, [64, 64], normal(64, 64).ravel()))
    assert len(tensor.float_data) == 64 * 64
    bnfold.fold(model).save(tmp_path / "out.onnx", form="external")
    assert external_names(tmp_path / "out.onnx") == {"W", "M", "K"}
    np.testing.assert_array_equal(values(tmp_path / "out.onnx")["M"], normal(64, 64))
    assert bnfold.check(model, tmp_path / "out.onnx")


def test_an_insertion_has_the_forms_too(tmp_path: Path) -> None:
    bare = bnfold.fold(inline(tmp_path / "m.onnx")).model
    result = bnfold.insert(bare)
    assert result
    result.save(tmp_path / "inline.onnx")
    result.save(tmp_path / "external.onnx", form="external")
    assert external_names(tmp_path / "external.onnx") == {"W", "M", "K"}
    assert_same_model(tmp_path / "external.onnx", tmp_path / "inline.onnx")


def test_a_form_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        bnfold.UsageError, match="'outline' is no form of a model; give one of as-it-came, external, in"
    ):
        bnfold.fold(two_branches()).save(tmp_path / "out.onnx", form="outline")
    assert names(tmp_path) == []


# Past what one file can hold.


def test_inline_is_refused_where_protobuf_can_not_hold_it(run: Run, tmp_path: Path) -> None:
    """The 2 GiB are a hole in a file."""
    path = external(tmp_path / "m.onnx")
    large = TensorProto(name="large", dims=[2**29], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    large.external_data.add(key="location", value="large.data")
    model = skeleton(path)
    model.graph.initializer.append(large)
    path.write_bytes(model.SerializeToString())
    with (tmp_path / "large.data").open("wb") as file:
        file.truncate(2**31)
    before = names(tmp_path)
    outcome = run("fold", path, "-o", tmp_path / "out.onnx", "--inline", "--no-check")
    assert outcome.status == 2
    assert "can not be written with all weights in it: one protobuf file holds less than 2 GiB" in outcome.err
    assert names(tmp_path) == before


@pytest.mark.parametrize("folds", [False, True])
def test_what_does_not_fit_into_one_file_goes_external_by_itself(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folds: bool
) -> None:
    monkeypatch.setattr(forms, "INLINE_LIMIT", 20_000)
    path, out = inline(tmp_path / "m.onnx", folds=folds), tmp_path / "out.onnx"
    outcome = run("fold", path, "-o", out, "--no-check")
    assert outcome.status == 0
    assert "note the model does not fit into one protobuf file, which holds less than 2 GiB" in outcome.out
    assert "its weights are in 'out.onnx.data'" in outcome.out
    assert external_names(out) == {"W", "M", "K"}
    assert bnfold.check(path, out)


# Copying.


def test_tensors_that_stand_one_behind_the_other_are_copied_at_once(tmp_path: Path) -> None:
    data = normal(4, 1024).tobytes()
    (tmp_path / "in").write_bytes(data)
    source = open_source(tmp_path / "in")
    asked = []

    def counted(descriptor: int, offset: int, length: int, target: int) -> int:
        asked.append((offset, length))
        return METHODS[0](descriptor, offset, length, target)

    pages = [Range(source, start, 4096) for start in (4096, 8192, 0, 12288)]
    pieces: list[Segment] = [pages[0], pages[1], b"between", *pages[2:]]
    with (tmp_path / "out").open("wb") as file:
        write(file, pieces, (counted,))
    assert asked == [(4096, 8192), (0, 4096), (12288, 4096)]
    assert (tmp_path / "out").read_bytes() == data[4096:12288] + b"between" + data[:4096] + data[12288:]


PEAK = """
import sys
import bnfold

def peak():
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1])

result = bnfold.fold(sys.argv[1])
before = peak()
result.save(sys.argv[2], form=sys.argv[3])
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not say how much memory was used")
@pytest.mark.parametrize("form", ["as-it-came", "inline"])
def test_external_weights_of_any_size_are_written_with_little_memory(tmp_path: Path, form: str) -> None:
    path, size = external(tmp_path / "m.onnx"), 2**28
    large = TensorProto(name="large", dims=[size], data_type=TensorProto.INT8, data_location=TensorProto.EXTERNAL)
    large.external_data.add(key="location", value="large.data")
    model = skeleton(path)
    model.graph.initializer.append(large)
    path.write_bytes(model.SerializeToString())
    with (tmp_path / "large.data").open("wb") as file:
        file.truncate(size)
    out = tmp_path / "out.onnx"
    used = subprocess.run(
        [sys.executable, "-c", PEAK, str(path), str(out), form], check=True, capture_output=True, text=True
    ).stdout
    assert int(used) < 20_000, "kilobytes, of 256 MiB"
    (made,) = [tensor for tensor in all_tensors(skeleton(out)) if tensor.name == "large"]
    assert is_external(made) == (form == "as-it-came")
    assert sum(file.stat().st_size for file in tmp_path.glob("out.onnx*")) > size


def test_a_data_file_that_comes_along_can_be_read_by_those_who_may_read_a_new_file(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    mask = os.umask(0o022)
    try:
        bnfold.fold(external(tmp_path / "m.onnx", folds=False)).save(tmp_path / "out" / "m.onnx")
    finally:
        os.umask(mask)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").iterdir()} == {0o644}

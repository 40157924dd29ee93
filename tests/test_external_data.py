"""Weights in a file of their own: read from where they lie, kept as they are, and written so that the result runs."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from support import Array, graph_model, normal, run_ort, statistics

import bnfold
from bnfold.model.external import all_tensors, entries, external_tensors

FEEDS = {"x": normal(2, 3, 5, 5), "u": normal(2, 64)}


def two_branches() -> ModelProto:
    """Conv, BatchNormalization; and beside it a MatMul whose weight nothing touches."""
    scale, bias, mean, variance = statistics(16)
    return graph_model(
        """(float[N,3,5,5] x, float[N,64] u) => (float[N,16,5,5] y, float[N,64] w) {
            c = Conv<pads = [1, 1, 1, 1]>(x, W)
            y = BatchNormalization(c, s, b, m, v)
            w = MatMul(u, M)
        }""",
        W=normal(16, 3, 3, 3),
        M=normal(64, 64),
        s=scale,
        b=bias,
        m=mean,
        v=variance,
    )


def stored(folder: Path, model: ModelProto | None = None, *, data: str = "model.onnx.data") -> Path:
    """The model in `folder`, every weight external."""
    folder.mkdir(exist_ok=True)
    copy = ModelProto()
    copy.CopyFrom(model or two_branches())
    (folder / data).unlink(missing_ok=True)  # onnx appends
    onnx.save(copy, folder / "model.onnx", save_as_external_data=True, location=data, size_threshold=0)
    return folder / "model.onnx"


def skeleton(path: Path) -> ModelProto:
    return onnx.load(path, load_external_data=False)


def rewrite(path: Path, change: Callable[[ModelProto], None]) -> None:
    model = skeleton(path)
    change(model)
    path.write_bytes(model.SerializeToString())


def tensor_named(model: ModelProto, name: str) -> TensorProto:
    (found,) = [tensor for tensor in all_tensors(model) if tensor.name == name]
    return found


def said_of(name: str, **said: str) -> Callable[[ModelProto], None]:
    """Let a tensor say something else of where it lies."""

    def change(model: ModelProto) -> None:
        tensor = tensor_named(model, name)
        kept = {**entries(tensor), **said}
        del tensor.external_data[:]
        for key, value in kept.items():
            tensor.external_data.add(key=key, value=value)

    return change


def outputs_of(path: Path) -> list[Array]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [np.asarray(output) for output in session.run(None, FEEDS)]


def assert_runs_as_before(path: Path) -> None:
    for made, wanted in zip(outputs_of(path), run_ort(two_branches(), FEEDS), strict=True):
        np.testing.assert_allclose(made, wanted, atol=1e-4)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_result_runs_from_the_same_folder_and_the_original_data_stay(tmp_path: Path) -> None:
    path = stored(tmp_path)
    before = (path.read_bytes(), (tmp_path / "model.onnx.data").read_bytes())
    result = bnfold.fold(path)
    assert result
    result.save(tmp_path / "out.onnx")
    assert (path.read_bytes(), (tmp_path / "model.onnx.data").read_bytes()) == before
    assert names(tmp_path) == ["model.onnx", "model.onnx.data", "out.onnx", "out.onnx.data"]
    assert [entries(t)["location"] for t in external_tensors(skeleton(tmp_path / "out.onnx"))] == ["out.onnx.data"] * 2
    assert_runs_as_before(tmp_path / "out.onnx")


def test_the_result_runs_from_another_folder_without_the_original(tmp_path: Path) -> None:
    path = stored(tmp_path / "in")
    (tmp_path / "out").mkdir()
    bnfold.fold(path).save(tmp_path / "out" / "model.onnx")
    shutil.rmtree(tmp_path / "in")
    assert_runs_as_before(tmp_path / "out" / "model.onnx")


@pytest.mark.parametrize("other", [False, True], ids=["same numbers", "other numbers"])
def test_saving_over_an_older_result_never_writes_over_its_data(tmp_path: Path, other: bool) -> None:
    older = two_branches()
    if other:
        older.graph.initializer[1].CopyFrom(numpy_helper.from_array(normal(64, 64, seed=1), "M"))
    bnfold.fold(stored(tmp_path, older)).save(tmp_path / "out.onnx")
    older_data = (tmp_path / "out.onnx.data").read_bytes()
    bnfold.fold(stored(tmp_path)).save(tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx.data").read_bytes() == older_data
    assert (tmp_path / "out.onnx.1.data").exists() == other
    assert_runs_as_before(tmp_path / "out.onnx")


def test_saving_over_the_model_itself_leaves_a_model_that_runs(tmp_path: Path) -> None:
    path = stored(tmp_path)
    bnfold.fold(path).save(path)
    assert not bnfold.fold(path)
    assert_runs_as_before(path)


def test_what_nothing_touches_keeps_its_bytes_and_keys_that_bnfold_does_not_know(tmp_path: Path) -> None:
    path = stored(tmp_path)
    rewrite(path, said_of("M", checksum="0123", vendor="x"))
    rewrite(path, said_of("W", checksum="4567"))
    bnfold.fold(path).save(tmp_path / "out.onnx")
    made = skeleton(tmp_path / "out.onnx")
    said = entries(tensor_named(made, "M"))
    assert (said["checksum"], said["vendor"]) == ("0123", "x")
    assert "checksum" not in entries(tensor_named(made, "W")), "of bytes that are no more"
    start = int(said["offset"])
    data = (tmp_path / "out.onnx.data").read_bytes()
    assert data[start : start + int(said["length"])] == normal(64, 64).tobytes()


def test_large_new_weights_go_to_the_data_file_and_small_ones_into_the_model(tmp_path: Path) -> None:
    bnfold.fold(stored(tmp_path)).save(tmp_path / "out.onnx")
    made = skeleton(tmp_path / "out.onnx")
    assert {tensor.name for tensor in external_tensors(made)} == {"W", "M"}
    assert {tensor.name for tensor in made.graph.initializer} == {"W", "M", "W.bias"}
    assert all(int(entries(tensor)["offset"]) % 4096 == 0 for tensor in external_tensors(made))


def nothing_folds(model: ModelProto) -> None:
    model.graph.output.add(name="c")


@pytest.mark.parametrize("data", ["model.onnx.data", "weights/all.bin", "./a b.bin"])
def test_where_nothing_folds_the_data_come_along_to_another_folder(tmp_path: Path, data: str) -> None:
    (tmp_path / "in" / "weights").mkdir(parents=True)
    path = stored(tmp_path / "in", data=data)
    rewrite(path, nothing_folds)
    (tmp_path / "out").mkdir()
    result = bnfold.fold(path)
    assert not result
    result.save(tmp_path / "out" / "other.onnx")
    assert (tmp_path / "out" / "other.onnx").read_bytes() == path.read_bytes()
    assert (tmp_path / "out" / data).read_bytes() == (tmp_path / "in" / data).read_bytes()
    result.save(tmp_path / "out" / "other.onnx")  # over itself: the same data again


def test_where_nothing_folds_and_other_data_are_in_the_way_nothing_is_written(tmp_path: Path) -> None:
    path = stored(tmp_path / "in")
    rewrite(path, nothing_folds)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.onnx.data").write_bytes(b"of another model")
    with pytest.raises(bnfold.TargetError, match=r"model\.onnx\.data' exists and holds other data"):
        bnfold.fold(path).save(tmp_path / "out" / "model.onnx")
    assert names(tmp_path / "out") == ["model.onnx.data"]
    assert (tmp_path / "out" / "model.onnx.data").read_bytes() == b"of another model"


def test_bytes_and_protos_take_the_folder_as_base_dir(tmp_path: Path) -> None:
    path = stored(tmp_path / "in")
    model = skeleton(path)
    before = model.SerializeToString()
    both: tuple[ModelProto | bytes, ...] = (model, path.read_bytes())
    for number, given in enumerate(both):
        result = bnfold.fold(given, base_dir=path.parent)
        assert result
        result.save(tmp_path / f"{number}.onnx")
        assert_runs_as_before(tmp_path / f"{number}.onnx")
        assert len(bnfold.inspect(given, base_dir=path.parent)) == 1
        with pytest.raises(bnfold.ExternalDataError, match=r"tensor '.' lies in a file of its own.*base_dir="):
            bnfold.fold(given)
    assert model.SerializeToString() == before, "fold changed what the caller passed"


def test_the_api_checks_models_with_external_data(tmp_path: Path) -> None:
    path = stored(tmp_path)
    assert bnfold.fold(path, check=True)
    assert bnfold.fold(skeleton(path), base_dir=tmp_path, check=True)
    assert names(tmp_path) == ["model.onnx", "model.onnx.data"]


def absent(folder: Path) -> None:
    (folder / "model.onnx.data").unlink()


def a_folder(folder: Path) -> None:
    absent(folder)
    (folder / "model.onnx.data").mkdir()


def cut_off(folder: Path) -> None:
    os.truncate(folder / "model.onnx.data", 100)


def a_link_out_of_the_folder(folder: Path) -> None:
    (folder / "model.onnx.data").rename(folder.parent / "elsewhere")
    (folder / "model.onnx.data").symlink_to(folder.parent / "elsewhere")


def a_circle_of_links(folder: Path) -> None:
    absent(folder)
    (folder / "model.onnx.data").symlink_to("model.onnx.data")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (absent, "there is no such file"),
        (a_folder, "there is no such file"),
        (cut_off, "wants bytes .* which has 100: the file is cut off"),
        (a_link_out_of_the_folder, "outside the model's folder"),
        (a_circle_of_links, "there is no such file"),
    ],
)
def test_data_that_are_not_there_are_told_with_the_tensor(
    tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    path = stored(tmp_path / "in")
    spoil(path.parent)
    for function in (bnfold.fold, bnfold.inspect):
        with pytest.raises(bnfold.ExternalDataError, match=rf"^tensor '\w' .*{said}"):
            function(path)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"location": ""}, "does not say in which file"),
        ({"location": "../in/model.onnx.data"}, "outside the model's folder"),
        ({"location": "weights/../../in/model.onnx.data"}, "outside the model's folder"),
        ({"location": "/etc/hostname"}, "outside the model's folder"),
        ({"location": "."}, "there is no such file"),
        ({"location": "a\0b"}, "there is no such file"),
        ({"location": "x" * 5000}, "there is no such file"),
        ({"offset": "-4"}, "offset is '-4', not a number of bytes"),
        ({"offset": "garbage"}, "offset is 'garbage', not a number of bytes"),
        ({"offset": "1e3"}, "offset is '1e3', not a number of bytes"),
        ({"offset": str(10**30)}, "the file is cut off"),
        ({"length": "-1"}, "length is '-1', not a number of bytes"),
        ({"length": ""}, "length is '', not a number of bytes"),
        ({"length": str(10**9)}, "the file is cut off"),
    ],
    ids=str,
)
def test_a_place_that_can_not_be_is_told_with_the_tensor(tmp_path: Path, entry: dict[str, str], said: str) -> None:
    path = stored(tmp_path / "in")
    rewrite(path, said_of("W", **entry))
    with pytest.raises(bnfold.ExternalDataError, match=rf"^tensor 'W'.*{said}"):
        bnfold.fold(path)


def test_fewer_bytes_than_the_shape_wants_are_a_model_error(tmp_path: Path) -> None:
    path = stored(tmp_path)
    rewrite(path, said_of("W", length="8"))
    with pytest.raises(bnfold.ModelError, match="tensor 'W' does not hold what it declares"):
        bnfold.fold(path)


def test_an_external_tensor_of_no_bytes_is_not_looked_for_in_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stored(tmp_path / "in")
    rewrite(path, said_of("W", length="0"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(bnfold.ModelError, match="tensor 'W' does not hold what it declares"):
        bnfold.fold(path)


def test_a_link_within_the_folder_is_followed_as_onnxruntime_does(tmp_path: Path) -> None:
    path = stored(tmp_path / "in")
    (tmp_path / "in" / "model.onnx.data").rename(tmp_path / "in" / "blob")
    (tmp_path / "in" / "model.onnx.data").symlink_to("blob")
    assert_runs_as_before(path)
    result = bnfold.fold(path)
    assert result
    result.save(tmp_path / "in" / "out.onnx")
    assert_runs_as_before(tmp_path / "in" / "out.onnx")
    rewrite(path, nothing_folds)
    (tmp_path / "out").mkdir()
    bnfold.fold(path).save(tmp_path / "out" / "model.onnx")
    assert names(tmp_path / "out") == ["model.onnx", "model.onnx.data"], "the name that the model gives them"


def test_external_data_of_training_and_sparse_tensors_come_along(tmp_path: Path) -> None:
    model = two_branches()
    training = model.training_info.add()
    training.algorithm.initializer.append(numpy_helper.from_array(normal(3), "rate"))
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(normal(2), "values"), numpy_helper.from_array(np.array([0, 1]), "indices"), [3]
    )
    model.graph.node.append(helper.make_node("Constant", [], ["unused"], sparse_value=sparse))
    path = stored(tmp_path / "in", model)
    (tmp_path / "in" / "extra.data").write_bytes(b"".join(bytes(t.raw_data) for t in all_tensors(model))[-1024:])

    def outside(skeleton: ModelProto) -> None:
        for tensor in all_tensors(skeleton):
            if tensor.name in {"rate", "values", "indices"}:
                tensor.ClearField("raw_data")
                tensor.data_location = TensorProto.EXTERNAL
                said_of(tensor.name, location="extra.data", offset="8", length="12")(skeleton)

    rewrite(path, outside)
    (tmp_path / "out").mkdir()
    result = bnfold.fold(path)
    assert result
    result.save(tmp_path / "out" / "out.onnx")
    made = skeleton(tmp_path / "out" / "out.onnx")
    data = (tmp_path / "out" / "out.onnx.data").read_bytes()
    for name in ("rate", "values", "indices"):
        said = entries(tensor_named(made, name))
        start = int(said["offset"])
        assert said["location"] == "out.onnx.data"
        assert data[start : start + 12] == (tmp_path / "in" / "extra.data").read_bytes()[8:20]


def test_the_data_of_a_model_that_is_refused_are_not_left_behind(tmp_path: Path) -> None:
    result = bnfold.fold(stored(tmp_path / "in"))
    (tmp_path / "out").mkdir()
    with result.staged(tmp_path / "out" / "out.onnx") as work:
        assert_runs_as_before(work.model)
    assert names(tmp_path / "out") == []


def test_data_that_shrink_between_reading_and_saving_leave_no_result(tmp_path: Path) -> None:
    result = bnfold.fold(stored(tmp_path / "in"))
    cut_off(tmp_path / "in")
    (tmp_path / "out").mkdir()
    with pytest.raises(bnfold.ExternalDataError, match=r"^tensor '\w' .*the file is cut off"):
        result.save(tmp_path / "out" / "out.onnx")
    assert names(tmp_path / "out") == []


def test_saving_over_the_weights_of_the_model_is_refused(tmp_path: Path) -> None:
    path = stored(tmp_path)
    weights = tmp_path / "model.onnx.data"
    before = weights.read_bytes()
    with pytest.raises(bnfold.TargetError, match="holds the weights"):
        bnfold.fold(path).save(weights)
    assert weights.read_bytes() == before


def test_a_constant_node_whose_tensor_is_external_is_read_from_the_models_folder(tmp_path: Path) -> None:
    weight = normal(16, 3, 3, 3)
    (tmp_path / "weights.bin").write_bytes(weight.tobytes())
    tensor = TensorProto(name="t", dims=weight.shape, data_type=TensorProto.FLOAT)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    model = two_branches()
    kept = [entry for entry in model.graph.initializer if entry.name != "W"]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    model.graph.node.insert(0, helper.make_node("Constant", [], ["W"], value=tensor))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    result = bnfold.fold(tmp_path / "model.onnx")
    assert not result.kept
    result.save(tmp_path / "folded.onnx")
    assert bnfold.check(tmp_path / "model.onnx", tmp_path / "folded.onnx")

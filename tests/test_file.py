"""A model goes out as it came in, but for what the plan names; and it is there whole, or not at all."""

import json
import os
import random
import signal
import stat
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf.message import Message
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper
from onnx.backend.test.runner import Runner
from support import MODELS, feeds_for, graph_model, normal, run_ort, statistics

import bnfold

BACKEND_DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"


def named(names: str, values: Iterable[Any]) -> dict[str, Any]:
    """Keywords of one letter each."""
    return dict(zip(names, values, strict=True))


def conv_bn(*, ir: int = 10, opset: int = 20) -> ModelProto:
    """x -> Conv 'conv' -> c -> BatchNormalization 'bn' -> y, and a Relu 'other' beside it."""
    model = graph_model(
        """(float[N,3,5,5] x) => (float[N,4,5,5] y, float[N,3,5,5] z) {
            c = Conv<pads = [1, 1, 1, 1]>(x, W, B)
            y = BatchNormalization(c, s, b, m, v)
            z = Relu(x)
        }""",
        ir=ir,
        opset=opset,
        W=normal(4, 3, 3, 3),
        B=normal(4),
        **named("sbmv", statistics(4)),
    )
    for node, name in zip(model.graph.node, ("conv", "bn", "other"), strict=True):
        node.name = name
    if ir < 4:
        listed = [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in model.graph.initializer]
        model.graph.input.extend(listed)
    return model


def folded_by_hand(model: ModelProto, numbers: ModelProto) -> ModelProto:
    """What folding `conv_bn` comes to, decorations and all; the new numbers alone are taken from `numbers`."""
    made = ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    conv, bn = (next(node for node in graph.node if node.name == name) for name in ("conv", "bn"))
    conv.output[0] = "y"
    graph.node.remove(bn)
    for tensor in graph.initializer:
        if tensor.name in {"W", "B"}:
            (new,) = [t for t in numbers.graph.initializer if t.name == tensor.name]
            tensor.raw_data = new.raw_data
    remove(made, lambda name: name in {"s", "b", "m", "v", "c"})
    return made


def remove(model: ModelProto, gone: Callable[[str], bool]) -> None:
    """Take initializers, inputs, outputs and value_info out by name."""
    graph = model.graph
    fields: tuple[Any, ...] = (graph.initializer, graph.input, graph.output, graph.value_info)
    for repeated in fields:
        for entry in [entry for entry in repeated if gone(entry.name)]:
            repeated.remove(entry)


def wire(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def unknown_field(text: str) -> bytes:
    """Field 5000, which no message of ONNX has, on the wire."""
    return b"\xc2\xb8\x02" + bytes([len(text)]) + text.encode()


Decoration = Callable[[ModelProto], None]


def unknown_fields(model: ModelProto) -> None:
    graph = model.graph
    value_info = graph.value_info.add(name="x")
    messages: list[Message] = [model, graph, value_info, model.opset_import[0], graph.input[0], graph.output[0].type]
    messages += [*graph.node, *graph.initializer, graph.node[0].attribute[0], graph.input[0].type.tensor_type.shape]
    for number, message in enumerate(messages):
        message.MergeFromString(unknown_field(f"vendor {number}"))


def sparse_initializer(model: ModelProto) -> None:
    values = numpy_helper.from_array(np.array([2.0], np.float32), "sparse")
    indices = numpy_helper.from_array(np.array([1], np.int64), "")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3]))


def training_info(model: ModelProto) -> None:
    step = graph_model("(float[1] g) => (float[1] h) { h = Neg(g) }", w=normal(3)).graph
    info = model.training_info.add(initialization=step, algorithm=step)
    info.update_binding.add(key="rate", value="h")
    model.graph.initializer.append(numpy_helper.from_array(np.array([0.1], np.float32), "rate"))


def functions(model: ModelProto) -> None:
    node = helper.make_node("Relu", ["a"], ["b"], name="in the function", doc_string="inner")
    function = helper.make_function("my.domain", "Mine", ["a"], ["b"], [node], [helper.make_opsetid("", 20)])
    function.doc_string, function.overload = "a function", "second"
    function.value_info.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, [1]))
    function.attribute_proto.append(helper.make_attribute("alpha", 0.5))
    function.metadata_props.add(key="k", value="v")
    model.functions.append(function)
    model.opset_import.add(domain="my.domain", version=3)


def metadata(model: ModelProto) -> None:
    graph = model.graph
    holders: list[Any] = [model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output]
    for number, holder in enumerate(holders):
        holder.metadata_props.add(key="z", value=str(number))
        holder.metadata_props.add(key="a", value="twice, and not in order")
        holder.metadata_props.add(key="a", value="twice, and not in order")


def doc_strings(model: ModelProto) -> None:
    graph = model.graph
    holders: list[Any] = [model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output]
    for number, holder in enumerate(holders):
        holder.doc_string = f"doc {number}"
    graph.node[0].attribute[0].doc_string = "pads"


def quantization_annotation(model: ModelProto) -> None:
    for name in ("x", "c", "nowhere"):
        annotation = model.graph.quantization_annotation.add(tensor_name=name)
        annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="x_scale")
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.1, np.float32), "x_scale"))


def opset_imports(model: ModelProto) -> None:
    model.opset_import.add(domain="ai.onnx", version=20)
    model.opset_import.add(domain="ai.onnx.ml", version=3)
    model.opset_import.insert(0, helper.make_opsetid("com.vendor", 7))


def producer(model: ModelProto) -> None:
    model.producer_name, model.producer_version, model.domain, model.model_version = "p", "1", "d", -3


def value_info(model: ModelProto) -> None:
    for name in ("nobody", "c", "x", "y", "s", "W", "c"):
        model.graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    model.graph.value_info.append(helper.make_tensor_value_info("typeless", TensorProto.UNDEFINED, None))


def dead_ends(model: ModelProto) -> None:
    unread = TensorProto(name="unread", data_type=TensorProto.FLOAT, dims=[2], float_data=[1, 2])
    model.graph.initializer.insert(0, unread)
    model.graph.node.insert(0, helper.make_node("Neg", ["unread"], ["dead"], name="dead"))
    model.graph.node.append(helper.make_node("Constant", [], ["unused"], value_float=1.0))


def node_attributes(model: ModelProto) -> None:
    body = graph_model("() => (float[1] o) { o = Constant<value = float[1] {1}>() }").graph
    model.opset_import.add(domain="com.vendor", version=1)
    model.graph.node.append(
        helper.make_node("Odd", ["x", "", "z"], ["odd", ""], domain="com.vendor", overload="o", ints=[3, 1], f=0.5)
    )
    node = model.graph.node[-1]
    node.attribute.extend([helper.make_attribute("body", body), helper.make_attribute("more", [body, body])])
    node.attribute.append(helper.make_attribute("type", helper.make_tensor_type_proto(TensorProto.FLOAT, ["a-b.c:0"])))
    node.attribute.append(helper.make_attribute("strings", [b"\xff\x00", b""]))
    node.attribute.add(name="without a type")
    node.device_configurations.add(configuration_id="gpu")


def interface(model: ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("unread input", TensorProto.INT64, ["N", 2]))
    model.graph.input[0].type.denotation = "IMAGE"
    model.graph.input[0].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    model.graph.output.append(model.graph.output[0])
    model.graph.output.append(model.graph.input[0])


def stored_in_typed_fields(model: ModelProto) -> None:
    model.graph.initializer.add(name="text", data_type=TensorProto.STRING, dims=[1], string_data=[b"\xfe"])
    model.graph.initializer.add(name="half", data_type=TensorProto.FLOAT16, dims=[2], int32_data=[1, 2])
    model.graph.initializer.add(name="nibbles", data_type=TensorProto.INT4, dims=[3], raw_data=b"\x21\x03")


def nothing(model: ModelProto) -> None:
    """The plain model."""


DECORATIONS: list[Decoration] = [
    nothing,
    unknown_fields,
    sparse_initializer,
    training_info,
    functions,
    metadata,
    doc_strings,
    quantization_annotation,
    opset_imports,
    producer,
    value_info,
    dead_ends,
    node_attributes,
    interface,
    stored_in_typed_fields,
]
each_decoration = pytest.mark.parametrize("decorate", DECORATIONS, ids=lambda decorate: decorate.__name__)


@each_decoration
def test_folding_changes_what_it_names_and_loses_nothing(decorate: Decoration, tmp_path: Path) -> None:
    model = conv_bn()
    decorate(model)
    before = wire(model)
    result = bnfold.fold(model)
    assert [folded.node for folded in result.folded] == ["bn"]
    assert wire(result.model) == wire(folded_by_hand(model, result.model))
    assert wire(model) == before, "fold changed what the caller passed"
    result.save(tmp_path / "out.onnx")
    assert wire(ModelProto.FromString((tmp_path / "out.onnx").read_bytes())) == wire(result.model)


@each_decoration
def test_a_model_in_which_nothing_folds_is_written_byte_for_byte(decorate: Decoration, tmp_path: Path) -> None:
    model = conv_bn()
    decorate(model)
    model.graph.output.add(name="c")  # the wire between the two is seen, so nothing folds
    raw = unknown_field("first, where protobuf would write it last") + model.SerializeToString()
    (tmp_path / "in.onnx").write_bytes(raw)
    for given in (tmp_path / "in.onnx", str(tmp_path / "in.onnx"), raw):
        result = bnfold.fold(given)
        assert not result
        result.save(tmp_path / "out.onnx")
        assert (tmp_path / "out.onnx").read_bytes() == raw
    bnfold.fold(model).save(tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").read_bytes() == model.SerializeToString()
    assert wire(bnfold.fold(model).model) == wire(model)


@pytest.mark.parametrize("ir", [3, 4, 7, 8, 10, 13])
def test_the_ir_version_stays(ir: int) -> None:
    model = conv_bn(ir=ir)
    result = bnfold.fold(model)
    assert result
    assert wire(result.model) == wire(folded_by_hand(model, result.model))


def test_below_ir_version_4_new_initializers_are_inputs_too_and_dropped_ones_are_not() -> None:
    model = conv_bn(ir=3)
    del model.graph.node[0].input[2]  # no bias: a new one is made
    model.graph.initializer.remove(model.graph.initializer[1])
    model.graph.input.remove(model.graph.input[2])
    assert [entry.name for entry in model.graph.input] == ["x", "W", "s", "b", "m", "v"]
    folded = bnfold.fold(model).model
    assert [entry.name for entry in folded.graph.input] == ["x", "W", "W.bias"]
    assert [tensor.name for tensor in folded.graph.initializer] == ["W", "W.bias"]
    onnx.checker.check_model(folded, full_check=True)
    assert np.allclose(run_ort(folded, feeds_for(model))[0], run_ort(model, feeds_for(model))[0], atol=1e-4)


def test_from_ir_version_4_on_new_initializers_are_no_inputs() -> None:
    model = conv_bn(ir=4)
    del model.graph.node[0].input[2]
    folded = bnfold.fold(model).model
    assert [entry.name for entry in folded.graph.input] == ["x"]
    assert "W.bias" in {tensor.name for tensor in folded.graph.initializer}


@pytest.mark.parametrize("given", [None, 3, ["a.onnx"], bytearray(b"x"), GraphProto(), np.zeros(2)], ids=repr)
def test_what_is_no_path_no_bytes_and_no_model_is_a_usage_error(given: Any) -> None:
    for function in (bnfold.fold, bnfold.inspect):
        with pytest.raises(bnfold.UsageError, match=r"a model is a path, bytes, an onnx\.ModelProto, .*, not "):
            function(given)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "is empty"),
        (b"not a model, only text\n" * 20, "is not an ONNX model"),
        (b"\x08\x07", "it has no graph"),
        (ModelProto(graph=GraphProto(name="g")).SerializeToString(), "it states no IR version"),
        (ModelProto(ir_version=8, graph=GraphProto(name="g")).SerializeToString(), "it imports no opset|imports no op"),
        (conv_bn().SerializeToString()[:-40], "cut off"),
    ],
    ids=["empty", "text", "no graph", "no IR version", "no opset", "truncated"],
)
def test_bytes_that_are_no_model_are_a_model_error(raw: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(raw)
    with pytest.raises(bnfold.ModelError, match=said):
        bnfold.fold(raw)
    with pytest.raises(bnfold.ModelError, match=rf"m\.onnx.*({said})"):
        bnfold.fold(tmp_path / "m.onnx")


def test_a_missing_file_and_a_folder_are_model_errors(tmp_path: Path) -> None:
    with pytest.raises(bnfold.ModelError, match="does not exist"):
        bnfold.fold(tmp_path / "none.onnx")
    with pytest.raises(bnfold.ModelError, match="is a folder"):
        bnfold.fold(tmp_path)


def damaged(raw: bytes, seed: int) -> bytes:
    """A few bytes changed, lost or put in."""
    chance, made = random.Random(seed), bytearray(raw)
    for _ in range(chance.choice((1, 1, 2, 4))):
        place, byte = chance.randrange(len(made)), chance.randrange(256)
        made[place : place + chance.randrange(2)] = bytes([byte])[: chance.randrange(2)]
    return bytes(made)


@pytest.mark.parametrize("hundred", range(6))
def test_a_damaged_model_is_a_model_or_an_error_of_bnfold_s_own_kind(hundred: int) -> None:
    model = conv_bn()
    value_info(model)
    functions(model)
    raw = model.SerializeToString()
    outcomes: set[type[object]] = set()
    for seed in range(100 * hundred, 100 * hundred + 100):
        try:
            outcomes.add(type(bnfold.fold(damaged(raw, seed)).model))
        except bnfold.BnfoldError as error:
            outcomes.add(type(error))
    assert outcomes >= {ModelProto, bnfold.ModelError}


@pytest.mark.parametrize("where", ["value", "node", "graph", "operator"])
def test_a_name_that_is_no_text_is_told(where: str) -> None:
    model = conv_bn()
    mark = "XXXX"
    if where == "value":
        model.graph.node[0].output[0] = model.graph.node[1].input[0] = mark
    elif where == "node":
        model.graph.node[0].name = mark
    elif where == "graph":
        model.graph.name = mark
    else:
        model.graph.node[2].op_type = mark
    with pytest.raises(bnfold.ModelError, match=r"holds a name that is no text, b'\\xff"):
        bnfold.fold(model.SerializeToString().replace(mark.encode(), b"\xff\xfe\xfd\xfc"))


def test_an_attribute_of_the_wrong_type_is_told() -> None:
    model = conv_bn()
    model.graph.node[1].attribute.append(helper.make_attribute("epsilon", "small"))
    with pytest.raises(bnfold.ModelError, match="BatchNormalization 'bn' has an attribute 'epsilon' of the wrong type"):
        bnfold.fold(model)


# --- every backend test model of the installed onnx ------------------------------------------------------------------


def graft(model: ModelProto) -> bool:
    """Add a Conv and a BatchNormalization, unconnected to the rest, at the end; whether the model's opset has them."""
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    if opsets.get("", opsets.get("ai.onnx", 0)) < 7 or model.ir_version < 3:
        return False
    parts = conv_bn(ir=model.ir_version).graph
    fields: tuple[Any, ...] = (model.graph.initializer, parts.initializer), (model.graph.input, parts.input)
    for repeated, added in fields:
        for entry in added:
            entry.name = f"grafted {entry.name}"
        repeated.extend(added)
    for node in parts.node[:2]:
        node.input[:] = [f"grafted {name}" for name in node.input]
        node.output[:] = [f"grafted {name}" for name in node.output]
        model.graph.node.append(node)
    parts.output[0].name = "grafted y"
    model.graph.output.append(parts.output[0])
    return True


def pruned(model: ModelProto) -> ModelProto:
    """The model without what is grafted onto it."""
    copy = ModelProto()
    copy.CopyFrom(model)
    remove(copy, lambda name: name.startswith("grafted "))
    for node in [node for node in copy.graph.node if node.output and node.output[0].startswith("grafted ")]:
        copy.graph.node.remove(node)
    return copy


@pytest.fixture(scope="module")
def backend_models() -> list[tuple[str, bytes]]:
    """Every model that onnx tests backends with: one per operator and case, exported ones, and whole networks."""
    from onnx.backend.test.loader import load_node_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # onnx's own test cases compute with overflow
        cases = load_node_model_tests()
    stored = [(str(path.relative_to(BACKEND_DATA)), path.read_bytes()) for path in BACKEND_DATA.rglob("*.onnx")]
    return sorted(stored) + [(case.name, case.model.SerializeToString()) for case in cases if case.model is not None]


Models = list[tuple[str, bytes]]


def test_every_backend_model_in_which_nothing_folds_is_written_as_it_is(backend_models: Models, tmp_path: Path) -> None:
    unchanged = 0
    for name, raw in backend_models:
        result = bnfold.fold(raw)
        if not result:
            result.save(tmp_path / "out.onnx")
            assert (tmp_path / "out.onnx").read_bytes() == raw, name
            assert result.model.SerializeToString() == ModelProto.FromString(raw).SerializeToString(), name
            unchanged += 1
    assert unchanged > 1500


def test_every_backend_model_keeps_every_field_when_something_beside_it_folds(backend_models: Models) -> None:
    grafted = 0
    for name, raw in backend_models:
        model = ModelProto.FromString(raw)
        if bnfold.fold(raw) or not graft(model):  # whole networks and chains of constants fold themselves
            continue
        result = bnfold.fold(model)
        assert [folded.into for folded in result.folded] == [("conv",)], name
        assert wire(pruned(result.model)) == wire(ModelProto.FromString(raw)), name
        grafted += 1
    assert grafted > 1500


@pytest.mark.parametrize("name", ["densenet121", "inception_v2", "resnet50", "shufflenet"])
def test_backend_networks_that_fold_keep_their_other_nodes_and_their_stored_outputs(name: str) -> None:
    stored = BACKEND_DATA / "light" / f"light_{name}.onnx"
    result = bnfold.fold(stored)
    model, folded = result.container.proto, result.model
    assert len(result.folded) > 40
    touched = result.rounds[0].patch.removed | set(result.plan.changes)
    others = [
        wire(node)
        for node, view in zip(model.graph.node, result.plan.graph.main.nodes, strict=True)
        if view.address not in touched and node.op_type not in {"ConstantOfShape", "Unsqueeze"}
    ]  # these make the weights
    remaining = iter([wire(node) for node in folded.graph.node])
    assert all(node in remaining for node in others), "a node that the plan does not name is changed, gone or moved"
    given = {tensor.name for tensor in model.graph.initializer}
    (entry,) = [entry for entry in model.graph.input if entry.name not in given]
    feed = Runner.generate_dummy_data(entry, seed=0, name=f"light_{name}", random=False)
    (made,) = run_ort(folded, {entry.name: feed})
    expected = TensorProto.FromString(stored.with_name(f"light_{name}_output_0.pb").read_bytes())
    np.testing.assert_allclose(made, numpy_helper.to_array(expected), rtol=1e-3, atol=1e-7)


# --- writing, whole or not at all ------------------------------------------------------------------------------------

# Runs in a process of its own, for an audit hook can not be taken back. It forks once per save; what befalls the save
# is real: a signal, or an error out of the system call that the hook precedes.
SAVING = """
import errno, json, os, random, shutil, signal, sys, time
from pathlib import Path
import onnx, bnfold

folder, how = Path(sys.argv[1]), sys.argv[2]
old, new = (bnfold.fold(folder / name / "in.onnx") for name in ("old", "new"))
for result, name in ((old, "old"), (new, "new")):
    result.save(folder / name / "out.onnx")

def loaded(path):
    return onnx.load(path).SerializeToString(deterministic=True)

wanted = {loaded(folder / name / "out.onnx"): name for name in ("old", "new")}

def prepared(number):
    run = folder / f"run {number}"
    run.mkdir()
    for path in (folder / "old").glob("out.onnx*"):
        shutil.copy(path, run)
    return run

def befall():
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise KeyboardInterrupt if how == "interrupt" else OSError(errno.ENOSPC, "No space left on device")

def save_until(step, target):
    seen = 0
    def hook(event, _):
        nonlocal seen
        if event in {"open", "os.rename", "os.chmod", "os.link"}:
            seen += 1
            if seen == step or (how == "disk full" and seen > step):  # a disk that is full stays so
                befall()
    sys.addaudithook(hook)
    new.save(target)

def save_for_ever(target):
    while True:
        new.save(target)
        old.save(target)

def forked(action, seconds=None):
    child = os.fork()
    if child == 0:
        try:
            action()
        except bnfold.TargetError:
            os._exit(2)
        except KeyboardInterrupt:
            os._exit(130)
        except BaseException:
            os._exit(3)
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def tell(number, status, run):
    try:
        found = wanted.get(loaded(run / "out.onnx"), "broken")
    except Exception as error:
        found = f"broken: {error}"
    stray = sorted({p.name for p in run.iterdir()} - {"out.onnx", "out.onnx.data", "out.onnx.1.data"})
    print(json.dumps({"status": status, "found": found, "stray": stray}))

if how == "random":
    chance = random.Random(0)
    for number in range(25):
        run = prepared(number)
        tell(number, forked(lambda: save_for_ever(run / "out.onnx"), chance.uniform(0.001, 0.06)), run)
else:
    status = None
    for number in range(1, 60):
        run = prepared(number)
        status = forked(lambda: save_until(number, run / "out.onnx"))
        tell(number, status, run)
"""


def large_conv_bn(seed: int) -> ModelProto:
    """Conv, BatchNormalization, and a MatMul that nothing changes; half a megabyte of weights."""
    return graph_model(
        """(float[N,32,5,5] x, float[2,256] u) => (float[N,64,5,5] y, float[2,256] w) {
            c = Conv<pads = [1, 1, 1, 1]>(x, W)
            y = BatchNormalization(c, s, b, m, v)
            w = MatMul(u, M)
        }""",
        W=normal(64, 32, 3, 3, seed=seed),
        M=normal(256, 256, seed=seed),
        **named("sbmv", statistics(64, seed=seed)),
    )


def outcomes(tmp_path: Path, how: str, *, external: bool) -> list[dict[str, Any]]:
    """What each of many saves over an older result, each disturbed at another moment, leaves behind."""
    for seed, name in enumerate(("old", "new")):
        (tmp_path / name).mkdir()
        model = large_conv_bn(seed)
        onnx.save(model, tmp_path / name / "in.onnx", save_as_external_data=external, location="in.data")
    command = [sys.executable, "-c", SAVING, str(tmp_path), how]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


each_storage = pytest.mark.parametrize("external", [False, True], ids=["inline", "external"])


@each_storage
def test_a_save_that_is_killed_at_any_moment_leaves_the_old_file_or_the_new_one(tmp_path: Path, external: bool) -> None:
    found = outcomes(tmp_path, "random", external=external)
    assert [entry["status"] for entry in found] == [-signal.SIGKILL] * 25
    assert {entry["found"] for entry in found} == {"old", "new"}


@each_storage
def test_a_save_that_is_killed_at_each_step_leaves_the_old_file_or_the_new_one(tmp_path: Path, external: bool) -> None:
    found = outcomes(tmp_path, "kill", external=external)
    assert {entry["status"] for entry in found} == {-signal.SIGKILL, 0}, "the last save was to get through"
    assert {entry["found"] for entry in found} == {"old", "new"}
    assert [e["found"] for e in found] == sorted((e["found"] for e in found), reverse=True), "old first, then new"


@each_storage
@pytest.mark.parametrize(("how", "status"), [("disk full", 2), ("interrupt", 130)])
def test_a_save_that_fails_at_any_step_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, how: str, status: int, external: bool
) -> None:
    found = outcomes(tmp_path, how, external=external)
    failed = [entry for entry in found if entry["status"]]
    assert len(failed) >= 4
    assert {entry["status"] for entry in failed} == {status}
    assert {entry["found"] for entry in found} == {"old", "new"}
    assert [entry["stray"] for entry in found] == [[]] * len(found)


def test_a_full_disk_is_a_target_error_and_the_old_file_stays(tmp_path: Path) -> None:
    onnx.save(large_conv_bn(0), tmp_path / "in.onnx")
    (tmp_path / "out.onnx").write_bytes(b"old")
    script = f"""
import resource, bnfold
result = bnfold.fold({str(tmp_path / "in.onnx")!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    result.save({str(tmp_path / "out.onnx")!r})
except bnfold.TargetError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == f"'{tmp_path / 'out.onnx'}' can not be written: File too large\n"
    assert (tmp_path / "out.onnx").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.onnx", "out.onnx"]


def test_a_target_that_is_a_folder_or_in_none_is_a_target_error(tmp_path: Path) -> None:
    result = bnfold.fold(conv_bn())
    with pytest.raises(bnfold.TargetError, match="is a folder; name a file in it"):
        result.save(tmp_path)
    with pytest.raises(bnfold.TargetError, match="can not be written: No such file or directory"):
        result.save(tmp_path / "none" / "out.onnx")
    (tmp_path / "file").touch()
    with pytest.raises(bnfold.TargetError, match="can not be written: Not a directory"):
        result.save(tmp_path / "file" / "out.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder in which not even root can write")
def test_a_folder_that_can_not_be_written_is_a_target_error() -> None:
    with pytest.raises(bnfold.TargetError, match=r"'/proc/out\.onnx' can not be written"):
        bnfold.fold(conv_bn()).save("/proc/out.onnx")


def test_a_pipe_or_a_device_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(bnfold.TargetError, match="is a device or a pipe"):
        bnfold.fold(conv_bn()).save(tmp_path / "pipe")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_symbolic_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    for name, link in (("old.onnx", "link.onnx"), ("missing.onnx", "dangling.onnx")):
        (tmp_path / link).symlink_to(tmp_path / "real" / name)
    (tmp_path / "real" / "old.onnx").touch()
    result = bnfold.fold(conv_bn())
    for name, link in (("old.onnx", "link.onnx"), ("missing.onnx", "dangling.onnx")):
        result.save(tmp_path / link)
        assert (tmp_path / link).is_symlink()
        assert not (tmp_path / "real" / name).is_symlink()
        assert wire(onnx.load(tmp_path / "real" / name)) == wire(result.model)


def test_the_permissions_of_a_replaced_file_stay_and_a_new_file_gets_the_usual_ones(tmp_path: Path) -> None:
    result = bnfold.fold(conv_bn())
    (tmp_path / "old.onnx").touch()
    (tmp_path / "old.onnx").chmod(0o640)
    result.save(tmp_path / "old.onnx")
    assert stat.S_IMODE((tmp_path / "old.onnx").stat().st_mode) == 0o640
    mask = os.umask(0o027)
    try:
        result.save(tmp_path / "new.onnx")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "new.onnx").stat().st_mode) == 0o640


@pytest.mark.parametrize("stem", ["a b", "ü", "x" * 250, "-o", ".hidden", "n\newline"], ids=ascii)
def test_odd_file_names_are_written_and_read(tmp_path: Path, stem: str) -> None:
    result = bnfold.fold(MODELS / "mlp.onnx")
    result.save(tmp_path / f"{stem}.onnx")
    assert [path.name for path in tmp_path.iterdir()] == [f"{stem}.onnx"]
    assert not bnfold.fold(tmp_path / f"{stem}.onnx").folded

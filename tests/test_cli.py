"""The command line: what goes to which stream, which status comes out, and that nothing is lost on the way."""

import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import Outcome, Run, bnfold_process
from onnx import ModelProto, numpy_helper
from support import MODELS, graph_model, normal, op_types, statistics

import bnfold
from bnfold.report import write_json


def assert_refused(outcome: Outcome, said: str) -> None:
    """Status 2, one sentence on stderr, and no traceback."""
    assert outcome.status == 2, outcome
    assert re.fullmatch(rf"bnfold: [^\n]*({said})[^\n]*\n", outcome.err), outcome.err


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def conv_bn(weight: onnx.TensorProto | None = None, *, more: str = "", outputs: str = "float[N,4,3,3] y") -> ModelProto:
    body = f"(float[N,3,5,5] x) => ({outputs}) {{ c = Conv(x, W) y = BatchNormalization(c, s, b, m, v) {more} }}"
    model = graph_model(body)
    model.graph.node[0].name, model.graph.node[1].name = "conv", "bn"
    parameters = dict(zip(("s", "b", "m", "v"), statistics(4), strict=True))
    weight = weight or numpy_helper.from_array(normal(4, 3, 3, 3), "W")
    model.graph.initializer.append(weight)
    model.graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in parameters.items())
    return model


def seen_wire() -> ModelProto:
    """Nothing folds: the wire between the two is an output."""
    return conv_bn(outputs="float[N,4,3,3] y, float[N,4,3,3] c")


def blind() -> ModelProto:
    """Folds, and its output is the same whatever the input: a comparison shows nothing."""
    return conv_bn(numpy_helper.from_array(np.zeros((4, 3, 3, 3), np.float32), "W"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A model that folds."""
    return Path(shutil.copy(MODELS / "mlp.onnx", tmp_path / "m.onnx"))


def saved(model: ModelProto, path: Path) -> Path:
    onnx.save(model, path)
    return path


# --- fold ------------------------------------------------------------------------------------------------------------


def test_fold_writes_beside_the_model_and_proves_it(run: Run, path: Path, tmp_path: Path) -> None:
    before = path.read_bytes()
    outcome = run("fold", path)
    assert outcome.status == 0
    assert outcome.err == ""
    assert names(tmp_path) == ["m.folded.onnx", "m.onnx"]
    assert path.read_bytes() == before
    assert "BatchNormalization" not in op_types(onnx.load(tmp_path / "m.folded.onnx"))
    assert "m.onnx: 2 of 2 BatchNormalizations folded" in outcome.out
    assert "inputs: seed 0, 4 draws of pixels float32[2, 64] and pixels float32[1, 64]\n" in outcome.out
    assert "onnxruntime, CPUExecutionProvider, graph optimisation off\n" in outcome.out
    heading, row = outcome.out.splitlines()[5:7]
    assert re.split(r"  +", heading.strip()) == ["output", "max |y-y'|", "noise", "tolerance", "over max|y|"]
    output, absolute, _, tolerance, relative, verdict = row.split()
    assert (output, verdict) == ("logits", "equal")
    assert 0 < float(absolute) < float(tolerance) < 1e-2
    assert 0 < float(relative) < 1e-5
    assert "tolerance: 32 x float32 epsilon x max|y|" in outcome.out
    assert outcome.out.endswith(f"wrote {tmp_path / 'm.folded.onnx'}\n")


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("m.onnx", "m.folded.onnx"),
        ("m.ONNX", "m.ONNX.folded.onnx"),
        ("model", "model.folded.onnx"),
        ("a.b.onnx", "a.b.folded.onnx"),
        (".onnx", ".folded.onnx"),
        ("ü x.onnx", "ü x.folded.onnx"),
    ],
)
def test_the_default_output_is_called_after_the_model(run: Run, tmp_path: Path, name: str, beside: str) -> None:
    shutil.copy(MODELS / "mlp.onnx", tmp_path / name)
    assert run("fold", "--no-check", tmp_path / name).status == 0
    assert names(tmp_path) == sorted([name, beside])


@pytest.mark.parametrize("option", ["-o", "--output"])
def test_output_says_where(run: Run, path: Path, tmp_path: Path, option: str) -> None:
    (tmp_path / "out").mkdir()
    assert run("fold", path, option, tmp_path / "out" / "x.onnx").status == 0
    assert names(tmp_path / "out") == ["x.onnx"]
    assert names(tmp_path) == ["m.onnx", "out"]


def test_no_check_writes_without_a_proof(run: Run, path: Path, tmp_path: Path) -> None:
    outcome = run("fold", "--no-check", path)
    assert outcome.status == 0
    assert "tolerance" not in outcome.out
    assert (tmp_path / "m.folded.onnx").exists()


def test_a_model_in_which_nothing_folds_is_written_as_it_came_in(run: Run, tmp_path: Path) -> None:
    path = saved(seen_wire(), tmp_path / "m.onnx")
    outcome = run("fold", path)
    assert outcome.status == 0
    assert "0 of 1 BatchNormalizations folded" in outcome.out
    assert re.search(r"stays bn: 'c', .*\[graph-output\]", outcome.out)
    assert "nothing folds: the model is written as it came in, byte for byte" in outcome.out
    assert (tmp_path / "m.folded.onnx").read_bytes() == path.read_bytes()


def test_a_name_that_is_the_code_of_an_emoji_is_shown_as_it_is(run: Run, tmp_path: Path) -> None:
    model = seen_wire()
    model.graph.node[1].name = "block:x:norm"
    path = saved(model, tmp_path / "a:x:b.onnx")
    outcome = run("fold", "--no-check", path, "-o", tmp_path / ":smile:.onnx")
    assert re.search(r"^a:x:b.onnx: 0 of 1 .*\n  stays block:x:norm: (.|\n)*^wrote .*:smile:.onnx$", outcome.out, re.M)


def test_only_a_process_of_its_own_looks_for_cycles_rarely(run: Run) -> None:
    """Who calls `bnfold.cli.main` in a process that goes on would pay at once, minutes later, for all of it."""
    before = gc.get_threshold(), gc.isenabled()
    assert run("--version").status == 0
    assert (gc.get_threshold(), gc.isenabled()) == before
    script = """
import gc, sys
from bnfold.__main__ import program
sys.modules["bnfold.cli.main"].leave = lambda status: print(status, gc.get_threshold()[0], gc.isenabled())
program()
"""
    call = [sys.executable, "-c", script, "--version"]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 10000000 True"


def test_strict_tells_by_its_status_that_something_stays(run: Run, path: Path, tmp_path: Path) -> None:
    stays = saved(seen_wire(), tmp_path / "stays.onnx")
    assert run("fold", "--strict", stays).status == 1
    assert (tmp_path / "stays.folded.onnx").exists()
    assert run("fold", "--strict", path).status == 0


def test_what_does_not_check_is_not_written(run: Run, path: Path, tmp_path: Path) -> None:
    """Folding rounds, so no fold is equal to the last bit."""
    (tmp_path / "m.folded.onnx").write_bytes(b"older result")
    outcome = run("fold", path, "--atol", "0", "--rtol", "0")
    assert outcome.status == 1
    assert re.fullmatch(
        r"bnfold: nothing was written: output 'logits' is off by \S+, and 0.00e\+00 is tolerated .*\n", outcome.err
    )
    assert "different" in outcome.out
    assert "wrote" not in outcome.out
    assert names(tmp_path) == ["m.folded.onnx", "m.onnx"]
    assert (tmp_path / "m.folded.onnx").read_bytes() == b"older result"


def test_a_check_that_shows_nothing_is_not_passed_unless_that_is_allowed(run: Run, tmp_path: Path) -> None:
    path = saved(blind(), tmp_path / "m.onnx")
    outcome = run("fold", path)
    assert outcome.status == 1
    assert re.fullmatch(r"bnfold: nothing was written: output 'y' shows nothing: it .*\n", outcome.err)
    assert "vacuous" in outcome.out
    assert names(tmp_path) == ["m.onnx"]
    assert run("fold", path, "--allow-vacuous").status == 0
    assert names(tmp_path) == ["m.folded.onnx", "m.onnx"]


def test_freeze_initializers_makes_constants_of_inputs_that_have_a_default(run: Run, tmp_path: Path) -> None:
    model = conv_bn()
    for tensor in model.graph.initializer:
        model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    path = saved(model, tmp_path / "m.onnx")
    outcome = run("fold", path)
    assert (outcome.status, "--freeze-initializers" in outcome.out) == (0, True)
    assert (tmp_path / "m.folded.onnx").read_bytes() == path.read_bytes()
    assert run("fold", path, "--freeze-initializers").status == 0
    folded = onnx.load(tmp_path / "m.folded.onnx")
    assert (op_types(folded), [entry.name for entry in folded.graph.input]) == (["Conv"], ["x"])


def test_data_are_what_the_check_runs_on(run: Run, path: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", pixels=normal(5, 64))
    outcome = run("fold", path, "--data", tmp_path / "in.npz")
    assert outcome.status == 0
    assert "pixels float32[5, 64]" in outcome.out
    np.savez(tmp_path / "in.npz", other=normal(5, 64))
    assert_refused(run("fold", path, "--data", tmp_path / "in.npz", "-o", tmp_path / "o.onnx"), "'pixels' is missing")
    assert_refused(run("fold", path, "--data", tmp_path / "no.npz", "-o", tmp_path / "o.onnx"), "can not be read")
    assert not (tmp_path / "o.onnx").exists()


@pytest.mark.parametrize(
    ("option", "value"), [("--seed", "-1"), ("--rtol", "-1"), ("--atol", "nan"), ("--rtol", "inf")]
)
def test_numbers_that_make_no_sense_are_told(run: Run, path: Path, tmp_path: Path, option: str, value: str) -> None:
    assert_refused(run("fold", path, option, value), "has to be")
    assert names(tmp_path) == ["m.onnx"]


# --- JSON ------------------------------------------------------------------------------------------------------------


def test_json_tells_all_of_a_fold(run: Run, path: Path, tmp_path: Path) -> None:
    outcome = run("fold", path, "--json", tmp_path / "r.json")
    document = json.loads((tmp_path / "r.json").read_text("utf-8"))
    assert list(document) == ["schema", "bnfold", "model", "output", "folded", "kept", "settled", "remarks", "check"]
    assert (document["schema"], document["bnfold"]) == (2, bnfold.__version__)
    assert (document["model"], document["output"]) == (str(path), str(tmp_path / "m.folded.onnx"))
    assert [entry["op_type"] for entry in document["folded"]] == ["BatchNormalization"] * 2
    assert document["check"]["equal"] is True
    assert document["check"]["comparisons"][0]["outputs"][0]["ok"] is True
    assert "2 of 2" in outcome.out


def test_json_to_stdout_stands_there_alone(run: Run, path: Path) -> None:
    outcome = run("fold", path, "--json", "-")
    assert json.loads(outcome.out)["check"]["equal"] is True
    assert outcome.err == ""


def test_json_tells_of_a_check_that_failed_too(run: Run, path: Path) -> None:
    outcome = run("fold", path, "--atol", "0", "--json", "-")
    document = json.loads(outcome.out)
    assert (outcome.status, document["output"], document["check"]["equal"]) == (1, None, False)
    assert "nothing was written" in outcome.err


def test_json_without_a_check_has_none(run: Run, path: Path) -> None:
    assert json.loads(run("fold", path, "--no-check", "--json", "-").out)["check"] is None


def test_json_holds_no_number_that_json_does_not_know(tmp_path: Path) -> None:
    write_json({"a": [float("nan"), 1.5], "b": {"c": float("-inf")}}, str(tmp_path / "r.json"))
    assert json.loads((tmp_path / "r.json").read_text("utf-8")) == {"a": [None, 1.5], "b": {"c": None}}


def test_inspect_lists_every_affine_with_what_becomes_of_it(run: Run, tmp_path: Path) -> None:
    model = conv_bn(more="k = Constant<value_float = 2.0>() r = Softmax(y) z = Mul(r, k)", outputs="float[N,4,3,3] z")
    model.graph.node[-1].name = "[red]scale[/]"
    before = names(tmp_path)
    outcome = run("inspect", saved(model, tmp_path / "m.onnx"))
    assert (outcome.status, outcome.err) == (0, "")
    rows = [re.split(r"  +", line.strip()) for line in outcome.out.splitlines()]
    assert rows[0] == ["node", "operator", "channels", "what, and why"]
    assert rows[1] == ["bn", "BatchNormalization", "4", "folds into conv"]
    assert rows[2][:3] == ["[red]scale[/]", "Mul", "1"]
    assert re.fullmatch(r"stays: .*Softmax.* \[\w+\]", rows[2][3])
    assert [*before, "m.onnx"] == names(tmp_path)


def test_inspect_as_json(run: Run, path: Path, tmp_path: Path) -> None:
    document = json.loads(run("inspect", path, "--json", "-").out)
    assert list(document) == ["schema", "bnfold", "model", "affines"]
    assert [list(entry) for entry in document["affines"]] == [
        ["node", "op_type", "channels", "folds", "into", "code", "reason"]
    ] * 2
    assert [(entry["channels"], entry["folds"], entry["code"]) for entry in document["affines"]] == [
        (64, True, ""),
        (32, True, ""),
    ]
    stays = json.loads(run("inspect", saved(seen_wire(), tmp_path / "s.onnx"), "--json", "-").out)["affines"][0]
    assert (stays["folds"], stays["code"], stays["into"]) == (False, "graph-output", [])


def test_inspect_says_that_there_is_nothing(run: Run, tmp_path: Path) -> None:
    model = graph_model("(float[2] x) => (float[2] y) { y = Relu(x) }")
    assert run("inspect", saved(model, tmp_path / "m.onnx")).out == "no affine in this graph\n"


def test_a_long_name_stands_on_one_line_where_no_terminal_reads_it(run: Run, tmp_path: Path) -> None:
    model = conv_bn()
    model.graph.node[1].name = "/model/" + "layer" * 60 + "/bn"
    outcome = run("inspect", saved(model, tmp_path / "m.onnx"))
    assert any(line.startswith(model.graph.node[1].name) for line in outcome.out.splitlines())


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["fold", "inspect"])
def test_what_is_no_model_is_told_in_a_sentence(run: Run, tmp_path: Path, command: str) -> None:
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "text.onnx").write_text("This is not a model.\n" * 100)
    (tmp_path / "noise.onnx").write_bytes(np.random.default_rng(0).bytes(5000))
    before = names(tmp_path)
    assert_refused(run(command, tmp_path / "none.onnx"), "does not exist")
    assert_refused(run(command, tmp_path), "is a folder")
    assert_refused(run(command, ""), "is a folder")
    assert_refused(run(command, "/"), "is a folder")
    assert_refused(run(command, tmp_path / "empty.onnx"), "is empty")
    assert_refused(run(command, tmp_path / "text.onnx"), "is not an ONNX model")
    assert_refused(run(command, tmp_path / "noise.onnx"), "is not an ONNX model")
    assert_refused(run(command, tmp_path / "text.onnx" / "m.onnx"), "can not be read|does not exist")
    assert_refused(run(command, "x" * 5000), "can not be read: File name too long")
    assert names(tmp_path) == before


def test_a_model_that_is_cut_off_anywhere_is_told_in_a_sentence_or_is_a_model(run: Run, tmp_path: Path) -> None:
    model = conv_bn()
    model.doc_string, model.producer_name = "d" * 20, "p"
    model.metadata_props.add(key="k", value="v" * 10)
    raw = model.SerializeToString()
    statuses = []
    for length in [*range(0, len(raw), 5), *range(len(raw) - 60, len(raw))]:
        (tmp_path / "cut.onnx").write_bytes(raw[:length])
        outcome = run("fold", tmp_path / "cut.onnx", "-o", tmp_path / "out.onnx")
        statuses.append(outcome.status)
        assert outcome.status in {0, 2}, (length, outcome)
        assert (tmp_path / "out.onnx").exists() == (outcome.status == 0)
        if outcome.status == 0:
            onnx.checker.check_model(onnx.load(tmp_path / "out.onnx"))
            (tmp_path / "out.onnx").unlink()
        else:
            assert_refused(outcome, "")
    assert statuses.count(0) < 10 < statuses.count(2), "what follows the graph in the file may be lost unseen"


def test_weights_that_are_missing_are_told_with_the_tensor(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(conv_bn(), path, save_as_external_data=True, location="m.data", size_threshold=0)
    (tmp_path / "m.data").unlink()
    for command in ("fold", "inspect"):
        assert_refused(run(command, path), "tensor 'W' lies in 'm.data', and there is no such file")
    assert names(tmp_path) == ["m.onnx"]


def test_a_model_that_does_not_run_is_told_and_not_written(run: Run, tmp_path: Path) -> None:
    model = conv_bn(more="z = vendor.Odd(y)", outputs="float[N,4,3,3] z")
    model.opset_import.add(domain="vendor", version=1)
    assert_refused(run("fold", saved(model, tmp_path / "m.onnx")), "the model before can not be loaded: .*Odd")
    assert names(tmp_path) == ["m.onnx"]
    assert run("fold", "--no-check", tmp_path / "m.onnx").status == 0


def test_a_target_that_can_not_be_written_is_told(run: Run, path: Path, tmp_path: Path) -> None:
    assert_refused(run("fold", path, "-o", tmp_path / "none" / "o.onnx"), "can not be written: No such file or dir")
    assert_refused(run("fold", path, "-o", "x" * 5000), "can not be written: File name too long")
    assert_refused(run("fold", path, "-o", tmp_path), "is a folder; name a file in it")
    assert_refused(run("fold", path, "-o", path / "o.onnx"), "can not be written: Not a directory")
    assert_refused(run("fold", path, "-o", "/dev/null"), "is a device or a pipe")
    if Path("/proc/self").is_dir():
        assert_refused(run("fold", path, "-o", "/proc/o.onnx"), "'/proc/o.onnx' can not be written")
    assert not Path("/dev/null").is_file()
    assert names(tmp_path) == ["m.onnx"]


def test_json_that_can_not_be_written_is_told(run: Run, path: Path, tmp_path: Path) -> None:
    for command in ("fold", "inspect"):
        assert_refused(run(command, path, "--json", tmp_path / "none" / "r.json"), "can not be written: No such file")


@pytest.mark.parametrize("how", ["same", "relative", "link", "hard link", "dotted"])
def test_no_document_is_written_over_the_model(
    run: Run, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.onnx").symlink_to(path)
    (tmp_path / "hard.onnx").hardlink_to(path)
    target = {"same": path, "relative": "m.onnx", "link": "link.onnx", "hard link": "hard.onnx"}.get(how)
    target = target or tmp_path / ".." / tmp_path.name / "m.onnx"
    before = path.read_bytes()
    for command in ("fold", "inspect"):
        assert_refused(run(command, path, "--json", target), "is the model itself")
    assert path.read_bytes() == before
    assert names(tmp_path) == ["hard.onnx", "link.onnx", "m.onnx"]


@pytest.mark.parametrize("option", ["-o", "--json"])
def test_nothing_is_written_over_the_weights_of_the_model(run: Run, tmp_path: Path, option: str) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(conv_bn(), path, save_as_external_data=True, location="m.data", size_threshold=0)
    before = (tmp_path / "m.data").read_bytes()
    assert_refused(run("fold", path, option, tmp_path / "m.data"), "holds its weights")
    assert (tmp_path / "m.data").read_bytes() == before
    assert names(tmp_path) == ["m.data", "m.onnx"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fold", "m.onnx", "--bogus"], "No such option: --bogus"),
        (["fold"], "Missing argument 'MODEL...'"),
        (["melt", "m.onnx"], "No such command 'melt'"),
        (["fold", "m.onnx", "--seed", "x"], "Invalid value for '--seed'"),
        (["fold", "m.onnx", "-o"], "Option '-o' requires an argument"),
        (["inspect", "m.onnx", "n.onnx"], "unexpected extra argument"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_usage_is_told(run: Run, arguments: list[str], said: str) -> None:
    outcome = run(*arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert said in outcome.err


def test_external_weights_come_along(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    model = conv_bn(
        numpy_helper.from_array(normal(4, 3, 3, 3), "W"),
        more="z = MatMul(x, M)",
        outputs="float[N,4,3,3] y, float[N,3,5,90] z",
    )
    model.graph.initializer.append(numpy_helper.from_array(normal(5, 90), "M"))
    onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=0)
    before = (path.read_bytes(), (tmp_path / "m.data").read_bytes())
    assert run("fold", path).status == 0
    assert (path.read_bytes(), (tmp_path / "m.data").read_bytes()) == before
    assert names(tmp_path) == ["m.data", "m.folded.onnx", "m.folded.onnx.data", "m.onnx"]
    outcome = run("fold", path, "-o", tmp_path / "no.onnx", "--atol", "0")
    assert (outcome.status, names(tmp_path)) == (1, ["m.data", "m.folded.onnx", "m.folded.onnx.data", "m.onnx"])


# --- the process -----------------------------------------------------------------------------------------------------


def test_version_and_help(run: Run) -> None:
    assert run("--version") == (0, f"bnfold {bnfold.__version__}\n", "")
    for arguments in (["--help"], ["fold", "--help"], ["inspect", "--help"]):
        outcome = run(*arguments)
        assert (outcome.status, outcome.err) == (0, "")
        assert re.match(r"Usage: (python -m pytest\.)?bnfold ", outcome.out), "how pytest was called is seen"
    assert all(command in run("--help").out for command in ("fold", "inspect"))


def test_python_m_bnfold_is_the_command() -> None:
    assert bnfold_process("--version") == (0, f"bnfold {bnfold.__version__}\n", "")
    installed = Path(sys.executable).with_name("bnfold")
    done = subprocess.run([installed, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"bnfold {bnfold.__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_the_commands(shell: str) -> None:
    environment = {"COMP_WORDS": "bnfold insp", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "bnfold insp"}
    environment["_TYPER_COMPLETE_FISH_ACTION"] = "get-args"
    installed = Path(sys.executable).with_name("bnfold")
    done = subprocess.run(
        [installed],
        capture_output=True,
        text=True,
        env={**os.environ, **environment, "_BNFOLD_COMPLETE": f"complete_{shell}"},
        check=False,
    )
    assert "inspect" in done.stdout
    assert "Fold BatchNormalizations" not in done.stdout, "what does not begin so is not offered"
    shown = subprocess.run([installed, "--show-completion", shell], capture_output=True, text=True, check=True)
    assert "_BNFOLD_COMPLETE=complete_" in shown.stdout


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["fold", "--help"], ["fold", "m.onnx", "--bogus"], []]
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    script = """
import atexit, sys
heavy = {"onnx", "numpy", "onnxruntime", "torch", "google.protobuf", "ml_dtypes"}
atexit.register(lambda: print("LOADED", *sorted(heavy & set(sys.modules)), file=sys.stderr))
from bnfold.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert done.stderr.endswith("LOADED\n")


def test_no_check_loads_no_onnxruntime_and_works_without_it(path: Path, tmp_path: Path) -> None:
    outcome = without_onnxruntime("fold", str(path), "--no-check")
    assert outcome.status == 0
    assert (tmp_path / "m.folded.onnx").exists()
    assert without_onnxruntime("inspect", str(path)).status == 0


def test_a_check_without_onnxruntime_says_how_to_install_it_and_writes_nothing(path: Path, tmp_path: Path) -> None:
    outcome = without_onnxruntime("fold", str(path))
    assert_refused(outcome, r"onnxruntime, which runs the models, can not be imported .*pip install 'bnfold\[cpu\]'")
    assert names(tmp_path) == ["m.onnx"]


def without_onnxruntime(*arguments: str) -> Outcome:
    """As where it is not installed: None in `sys.modules` makes its import fail."""
    script = "import sys; sys.modules['onnxruntime'] = None; from bnfold.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}, {"TERM": "xterm-256color"}], ids=str)
def test_what_is_piped_has_no_colour(path: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    saved(seen_wire(), tmp_path / "stays.onnx")
    for arguments in (["fold", path, "--no-check"], ["fold", tmp_path / "stays.onnx"], ["inspect", path], ["--help"]):
        outcome = bnfold_process(*arguments, **environment)
        assert outcome.status == 0
        assert "\x1b" not in outcome.out + outcome.err


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs pseudo terminals")
@pytest.mark.parametrize("no_color", [False, True])
def test_a_terminal_has_colour_unless_no_color_is_set(tmp_path: Path, no_color: bool) -> None:
    path = saved(seen_wire(), tmp_path / "stays.onnx")
    environment = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "FORCE_COLOR"}}
    environment |= {"TERM": "xterm", "COLUMNS": "100"} | ({"NO_COLOR": "1"} if no_color else {})
    master, slave = os.openpty()
    subprocess.run([sys.executable, "-m", "bnfold", "fold", path], stdout=slave, env=environment, check=True)
    os.close(slave)
    shown = os.read(master, 100_000).decode()
    os.close(master)
    assert "stays" in shown
    assert ("\x1b[33m" in shown) != no_color


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_lacks_a_letter_gets_its_number(tmp_path: Path, encoding: str) -> None:
    model = conv_bn()
    model.graph.node[1].name = "重み"
    path = saved(model, tmp_path / "m.onnx")
    outcome = bnfold_process("inspect", path, PYTHONIOENCODING=encoding)
    assert outcome.status == 0
    assert "\\u91cd\\u307f" in outcome.out
    missing = bnfold_process("inspect", tmp_path / "重み.onnx", PYTHONIOENCODING=encoding)
    assert_refused(missing, r"\\u91cd\\u307f\.onnx' does not exist")


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes")
def test_a_file_name_that_is_no_text_is_read_and_told(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.onnx")
    shutil.copy(MODELS / "mlp.onnx", path)
    outcome = bnfold_process("fold", path, "--no-check", "--json", "-")
    assert outcome.status == 0
    assert json.loads(outcome.out)["model"] == path


def test_a_reader_that_goes_away_is_no_fault(tmp_path: Path) -> None:
    nodes = " ".join(f"v{k + 1} = Mul(v{k}, k)" for k in range(1500))
    model = graph_model(f"(float[2] v0) => (float[2] v1500) {{ k = Constant<value_float = 1.0>() {nodes} }}")
    path = saved(model, tmp_path / "m.onnx")
    with subprocess.Popen(
        [sys.executable, "-m", "bnfold", "inspect", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
    assert process.returncode != 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a file that can not be read to its end")
def test_an_interrupt_ends_it_without_a_traceback(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.onnx")
    command = [sys.executable, "-m", "bnfold", "fold", str(tmp_path / "m.onnx"), "--no-check", "-o", "out.onnx"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
        (tmp_path / "m.onnx").open("wb"),  # opens once the other side reads
    ):
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert names(tmp_path) == ["m.onnx"]


def test_a_fault_of_its_own_is_told_with_a_traceback(run: Run, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr("bnfold.cli.fold.open_console", broken)
    outcome = run("fold", path)
    assert outcome.status == 3
    assert "RuntimeError: on purpose" in outcome.err
    assert outcome.err.endswith("bnfold: this is a fault of bnfold's own; please report it with the lines above\n")

"""The benchmarks compare what computes the same, and the judge of the peers judges right."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from corpus import CASES, Case, affines_left
from docs_script import load
from onnx import ModelProto, helper, numpy_helper
from support import ROOT, passes_checker, run_ort

import bnfold

sys.path.insert(0, str(ROOT / "benchmarks"))

from peer_judge import Verdict, draws_of, is_settled, judge
from peer_process import Died, Process, last_error
from peer_report import BEGIN, END, Result, section, write
from residual_scenarios import EXACT_BUT, SCENARIOS, Scenario
from timing import Setting, input_for, interleaved, ratio

# --- Residuals ---


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.label for scenario in SCENARIOS])
def test_all_forms_of_a_residual_compute_the_same(scenario: Scenario) -> None:
    forms = dict(scenario.build(scenario.small))
    assert all(passes_checker(model) for model in forms.values())
    outputs = {name: run_ort(model, input_for(model))[0] for name, model in forms.items()}
    base = next(iter(outputs.values()))
    off = {name: np.abs(values - base).max() / np.abs(base).max() for name, values in outputs.items()}
    assert {name for name, error in off.items() if error > 3e-6} == EXACT_BUT & forms.keys()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.label for scenario in SCENARIOS])
def test_every_size_of_a_scenario_is_a_valid_model(scenario: Scenario) -> None:
    assert len({str(size) for size in scenario.sizes}) == len(scenario.sizes)
    smallest = min(scenario.sizes, key=lambda size: next(iter(scenario.build(size).values())).ByteSize())
    assert all(passes_checker(model) for model in scenario.build(smallest).values())


def test_times_are_taken_in_rounds_of_all_forms() -> None:
    scenario = SCENARIOS[0]
    times = interleaved(scenario.build(scenario.small), Setting("all", 1), seconds=0.01)
    assert len({len(values) for values in times.values()}) == 1
    assert all((values > 0).all() for values in times.values())


@pytest.mark.parametrize(
    ("factor", "verdict"), [(0.9, "pays"), (0.99, "even"), (1.0, "even"), (1.01, "even"), (1.1, "costs")]
)
def test_a_form_pays_that_takes_less_time_than_the_base(factor: float, verdict: str) -> None:
    base = np.array([1.0, 1.1, 1.5, 1.2, 9.0])
    measured = ratio(factor * base, base)
    assert measured.verdict == verdict
    assert measured.median == pytest.approx(factor)


# --- The judge of the peers ---

CASE_OF = {case.label: case for case in CASES}
Edit = Callable[[ModelProto], None]


def no_bn(model: ModelProto) -> None:
    """Drops the BatchNormalization, as if it were the identity."""
    index = next(i for i, node in enumerate(model.graph.node) if node.op_type == "BatchNormalization")
    node = model.graph.node[index]
    model.graph.node[index].CopyFrom(helper.make_node("Identity", [node.input[0]], [node.output[0]]))


def renamed_output(model: ModelProto) -> None:
    model.graph.node[-1].output[0] = "renamed"
    model.graph.output[0].name = "renamed"


def other_weight(model: ModelProto) -> None:
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "W")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.001), "W"))


def baked_in(model: ModelProto) -> None:
    del model.graph.input[1:]


def deaf(model: ModelProto) -> None:
    """Reads a copy of the weight: the listed input is there, and without effect."""
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "W")
    model.graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(weight), "copy"))
    model.graph.node[0].input[1] = "copy"


def undefined(model: ModelProto) -> None:
    model.graph.node[0].input[0] = "nowhere"


def as_inference(model: ModelProto) -> None:
    node = model.graph.node[-1]
    node.attribute[0].i = 1


JUDGED: dict[str, tuple[str, Edit, str, str]] = {
    "a lost BatchNormalization": ("traps: a shared weight", no_bn, "wrong", "off by"),
    "another weight": ("traps: a shared weight", other_weight, "wrong", "off by"),
    "a renamed output": ("traps: the graph output is a BN's", renamed_output, "wrong", "is gone"),
    "a baked in input": ("traps: an overridable weight", baked_in, "wrong", "input 'W' is gone"),
    "an input without effect": ("traps: an overridable weight", deaf, "wrong", "off by"),
    "training as inference": ("traps: opset 6, is_test = 0", as_inference, "wrong", "training"),
    "an undefined wire": ("traps: a shared weight", undefined, "invalid", "checker"),
}


def judged(case: Case, edit: Edit | None = None, result: ModelProto | None = None) -> Verdict:
    model = case.build()
    made = ModelProto()
    made.CopyFrom(model if result is None else result)
    if edit is not None:
        edit(made)
    return judge(case, model, made, draws_of(case, model))


@pytest.mark.parametrize(("label", "edit", "outcome", "text"), JUDGED.values(), ids=JUDGED)
def test_what_is_broken_is_told(label: str, edit: Edit, outcome: str, text: str) -> None:
    verdict = judged(CASE_OF[label], edit)
    assert verdict.outcome == outcome
    assert text in verdict.text


SOME = [case for case in CASES if case.left < affines_left(case.build())][::40]


@pytest.mark.parametrize("case", SOME, ids=[case.label for case in SOME])
def test_the_original_counts_as_left(case: Case) -> None:
    assert judged(case) == Verdict("left")


def test_what_bnfold_makes_counts_as_folded() -> None:
    case = CASE_OF["matmul: BN"]
    assert judged(case) == Verdict("left")
    assert judged(case, result=bnfold.fold(case.build()).model) == Verdict("folded")


def test_half_of_a_fold_counts_as_partly() -> None:
    case = next(case for case in CASES if case.left == 1 and affines_left(case.build()) == 3)
    whole = bnfold.fold(case.build()).model
    assert judged(replace(case, left=0), result=whole).outcome == "partly"


def test_leaving_a_trap_alone_is_right() -> None:
    case = CASE_OF["traps: the batch grows"]
    assert is_settled(case, case.build())
    assert judged(case).outcome not in ("wrong", "invalid", "crashed")


# --- The process, the page ---

ECHO = "import json, os, sys\nprint('{}', flush=True)\nfor line in sys.stdin:\n job = json.loads(line)\n "


def test_a_process_that_dies_loses_one_answer() -> None:
    body = "exec(job['do'])\n print(json.dumps(job), flush=True)"
    process = Process([sys.executable, "-c", ECHO + body], seconds=5.0)
    assert process.ask({"do": "", "n": 1})["n"] == 1
    with pytest.raises(Died, match="ValueError: no"):
        process.ask({"do": "raise ValueError('no')"})
    with pytest.raises(Died, match="SIGKILL"):
        process.ask({"do": "os.kill(os.getpid(), 9)"})
    assert process.ask({"do": "", "n": 2})["n"] == 2
    process.close()


def test_a_process_that_hangs_is_ended() -> None:
    process = Process([sys.executable, "-c", ECHO + "import time; time.sleep(60)"], seconds=0.2)
    with pytest.raises(Died, match="no answer"):
        process.ask({})
    process.close()


def test_the_error_is_the_first_of_a_traceback() -> None:
    link = "The above exception was the direct cause of the following exception:"
    caught = "Traceback (most recent call last):\nKeyError: caught and told\nwarned\n"
    text = (
        f"{caught}Traceback (most recent call last):\n  File x\nValueError: a\n\n{link}\n\nTraceback:\nm.PassError: b\n"
    )
    assert last_error(text) == "ValueError: a"
    assert last_error("one\ntwo\n") == "two"


RESULTS = [
    Result("one", "f", "f: a", settled=False, trap=False, outcome="folded"),
    Result("one", "f", "f: b", settled=False, trap=False, outcome="crashed", text="`|`"),
    Result("one", "t", "t: c", settled=True, trap=True, outcome="left"),
    Result("two", "f", "f: a", settled=False, trap=False, outcome="left"),
    Result("two", "f", "f: b", settled=False, trap=False, outcome="partly"),
    Result("two", "t", "t: c", settled=True, trap=True, outcome="wrong", text="off"),
]


def test_the_tables_count_every_case_once() -> None:
    text = section(RESULTS, versions="one 1, two 2", seconds=30)
    assert "| f | 2 | 1 / 0 / 0 (1 crashed) | 0 / 1 / 1 |" in text
    assert "| traps | 1 | 1 right | 0 right (1 wrong) |" in text
    assert "- crashed: f: b: `'/'`" in text
    assert "one: of 2 cases where something folds 1 folded, 0 partly, 0 left; of 1 where nothing may go 1 right" in text


def test_a_table_without_cases_does_not_divide_by_zero() -> None:
    assert "No cases." in section(RESULTS[:1], versions="one 1", seconds=30)


def test_the_page_keeps_the_section_of_the_peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coverage = load("coverage")
    page = tmp_path / "coverage.md"
    monkeypatch.setattr(coverage, "TABLE", page)
    page.write_text(coverage.text([]), encoding="utf-8")
    before = page.read_text(encoding="utf-8")
    for text in ("first\n", "second\n"):
        write(page, text)
    written = page.read_text(encoding="utf-8")
    assert written.startswith(before)
    assert written.count(BEGIN) == written.count(END) == 1
    assert "second" in written
    assert "first" not in written
    assert coverage.text([]) == written

"""What a fold costs is measured on valid models, by whole processes, and docs/performance.md says what was found."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from support import ROOT, passes_checker

import bnfold

sys.path.insert(0, str(ROOT / "benchmarks"))

import fold_models
import fold_profile
import fold_results
import performance_report
from fold_process import Cost, Miss, cost
from fold_run import Place, measure
from fold_scenarios import IMPORTS, NETWORKS, SCENARIOS, Scenario, beside
from fold_targets import (
    Growth,
    Imported,
    Measured,
    Over,
    Peak,
    PeakOver,
    Processor,
    Target,
    Way,
    pairs,
    per_pair,
    quartiles,
    verdict,
)

OURS, THEIRS = Way("bnfold", "chain-11"), Way("other", "chain-11")

# --- Models ---


@pytest.mark.parametrize(
    ("name", "normals"),
    [
        ("chain-3", 3),
        ("chain-2x16", 2),
        ("concat-5", 5),
        ("readers-5", 1),
        ("streamed-2x16", 2),
        ("external-chain-3", 3),
    ],
)
def test_a_model_is_valid_and_folds_completely(name: str, normals: int, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.onnx"
    fold_models.build(name, path)
    onnx.checker.check_model(path, full_check=True)
    assert fold_models.count(path) == normals
    result = bnfold.fold(path, check=True)
    assert len(result.folded) == normals
    result.save(tmp_path / "folded.onnx")
    assert fold_models.count(tmp_path / "folded.onnx") == 0


def test_readers_of_one_normalization_are_as_many_as_asked_for(tmp_path: Path) -> None:
    fold_models.build("readers-5", tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    (normal,) = (node for node in model.graph.node if node.op_type == "BatchNormalization")
    readers = [node.op_type for node in model.graph.node if normal.output[0] in node.input]
    assert readers == ["Conv"] * 5


def test_streamed_weights_are_those_of_the_chain(tmp_path: Path) -> None:
    for kind in ("chain", "streamed"):
        fold_models.build(f"{kind}-2x16", tmp_path / f"{kind}.onnx")
    chain, streamed = (onnx.load(tmp_path / f"{kind}.onnx") for kind in ("chain", "streamed"))
    assert (tmp_path / "streamed.onnx.data").stat().st_size == 2 * 4 * 16 * 16 * 9
    weights = [[tensor.raw_data for tensor in model.graph.initializer] for model in (chain, streamed)]
    assert weights[0] == weights[1]
    assert passes_checker(chain)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_names_models_that_can_be_built_and_ways_that_it_runs(name: str) -> None:
    scenario = SCENARIOS[name]
    kinds = [part for model in scenario.models for part in model.removeprefix("external-").split("-")[:1]]
    assert set(kinds) <= fold_models.KINDS.keys()
    for target in scenario.targets:
        text = str(target)
        assert any(str(way) in text or way.model.startswith(text.split()[1].rstrip(":")) for way in scenario.ways)


def test_the_networks_and_their_external_form_are_measured() -> None:
    assert {f"{name}{form}" for name in NETWORKS for form in ("", "_external")} <= SCENARIOS.keys()


# --- Processes ---


def test_a_process_costs_its_own_time_and_memory() -> None:
    program = "import time; x = bytearray(80_000_000); x[::4096] = b'1' * len(x[::4096]); time.sleep(0.3)"
    found = cost([sys.executable, "-c", program], os.environ, 60.0)
    assert isinstance(found, Cost)
    assert found.wall > max(0.3, found.cpu - 0.1)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # a child starts from what its parent had
    assert 80e6 < found.peak < max(80e6, own) + 200e6


def test_a_process_that_takes_too_long_is_ended() -> None:
    found = cost([sys.executable, "-c", "import time; time.sleep(60)"], os.environ, 0.2)
    assert found == Miss("> 0.2 s", over=0.2)


def test_a_process_that_fails_says_why() -> None:
    found = cost([sys.executable, "-c", "raise ValueError('no')"], os.environ, 60.0)
    assert found == Miss("status 1: ValueError: no")


# --- Numbers ---


def costs(*walls: float, cpu: float = 1.0, peak: int = 0) -> list[Cost]:
    return [Cost(wall, cpu, peak) for wall in walls]


def measured(ours: list[Cost] | Miss, theirs: list[Cost] | Miss, imports: frozenset[str] = frozenset()) -> Measured:
    return Measured({OURS: ours, THEIRS: theirs}, {"chain-11": 1_000_000}, {}, imports)


def test_quartiles_are_those_of_numpy() -> None:
    assert quartiles([5.0, 1.0, 2.0, 4.0, 3.0]) == [2.0, 3.0, 4.0]
    assert quartiles([7.0]) == [7.0, 7.0, 7.0]


TARGETS: dict[str, tuple[Target, float]] = {
    "the ratio within a round": (Over(OURS, THEIRS, 0.5), 0.5),
    "what is free does not count": (Over(OURS, THEIRS, 0.4, free=0.2), 0.4),
    "memory over the model": (PeakOver(OURS, 3.0), 3.0),
    "memory in MB": (Peak(OURS, 3.0), 3.0),
    "processor time in ms": (Processor(OURS, 40.0), 40.0),
    "imports": (Imported(("numpy", "onnx")), 1.0),
}


@pytest.mark.parametrize(("target", "value"), TARGETS.values(), ids=TARGETS)
def test_a_target_is_the_median_of_the_rounds(target: Target, value: float) -> None:
    ours, theirs = costs(1.0, 2.0, 30.0, cpu=0.04, peak=3_000_000), costs(2.0, 4.5, 59.6)
    ours[1] = ours[1]._replace(wall=2.0)
    found = verdict(target, measured(ours, theirs, frozenset({"numpy", "typer"})))
    assert found["value"] is not None
    assert found["value"][1] == pytest.approx(value, rel=0.02)
    assert found["met"] == (found["value"][1] <= target.limit)


@pytest.mark.parametrize(("wall", "met"), [(1.0, True), (20.0, None)])
def test_a_ratio_over_what_did_not_end_is_a_bound(wall: float, met: bool | None) -> None:
    found = verdict(Over(OURS, THEIRS, 0.2), measured(costs(wall), Miss("> 10 s", over=10.0)))
    assert found["bound"]
    assert found["value"] == [wall / 10] * 3
    assert found["met"] is met


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    found = verdict(Over(OURS, THEIRS, 0.2), measured(costs(1.0), Miss("not installed")))
    assert (found["value"], found["bound"], found["met"]) == (None, False, None)


@pytest.mark.parametrize("target", [Over(OURS, THEIRS, 0.2), Peak(OURS, 1.0), Growth(OURS, (OURS,), 1.5)], ids=str)
def test_a_fold_that_does_not_end_misses_its_target(target: Target) -> None:
    found = verdict(target, measured(Miss("> 10 s", over=10.0), costs(1.0)))
    assert (found["value"], found["met"]) == (None, False)


def test_growth_is_per_pair_beyond_the_smallest_model() -> None:
    start, small, large = (Way("bnfold", f"chain-{size}") for size in (1, 11, 101))
    times = {start: costs(9.0, cpu=1.0), small: costs(9.0, cpu=2.0), large: costs(9.0, cpu=21.0)}
    found = Measured(times, {}, {})
    assert per_pair(large, start, found) == [20.0 / 100]
    assert Growth(start, (small, large), 1.5).values(found) == [(20.0 / 100) / (1.0 / 10)]
    assert pairs("chain-56x512") == 56


def test_a_row_is_compared_with_the_first_way_of_its_model() -> None:
    ours, theirs = costs(1.0, 4.0, cpu=0.5), costs(2.0, 5.0, cpu=2.0)
    row = fold_results.row(THEIRS, measured(ours, theirs))
    assert row["bnfold_wall"] == quartiles([0.5, 0.8])
    assert row["bnfold_cpu"] == [0.25] * 3
    assert fold_results.row(OURS, measured(ours, theirs))["bnfold_wall"] is None


# --- One round, the file, the page ---

TINY = beside("Tiny", "chain-3", ("cp", IMPORTS, "onnxsim"), PeakOver(Way("bnfold", "chain-3"), 1e9))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """fold.json after one round of a tiny chain, beside a tool that is not there, and of `bnfold --help`."""
    folder = tmp_path_factory.mktemp("fold")
    for name, scenario in {"tiny": TINY, "help": SCENARIOS["help"]}.items():
        _put(name, scenario, folder)
    return folder


def _put(name: str, scenario: Scenario, folder: Path) -> None:
    found = measure(scenario, Place(folder, folder / "venvs", 60.0), rounds=1)
    made = fold_results.entry(scenario, found, 1, folder / "venvs", [0.0, 0.0])
    fold_results.put(name, made, folder / "fold.json")


def test_a_round_gives_times_memory_and_what_is_left(results: Path) -> None:
    entry = json.loads((results / "fold.json").read_text(encoding="utf-8"))["tiny"]
    ours, copy, imports, missing = entry["rows"]
    assert [row["tool"] for row in entry["rows"]] == ["bnfold", "cp", IMPORTS, "onnxsim"]
    assert ours["left"] == 0
    assert copy["left"] is None
    assert min(row["wall"][1] for row in (ours, imports, copy)) > 0  # which is the slower, a busy machine decides
    assert copy["bnfold_wall"][1] == pytest.approx(ours["wall"][1] / copy["wall"][1])
    assert ours["peak"][1] > 10e6
    assert (missing["wall"], missing["missed"]) == (None, "not installed")
    assert entry["bytes"]["chain-3"] == (results / "chain-3.onnx").stat().st_size
    assert entry["versions"]["bnfold"] == bnfold.__version__


def test_help_imports_nothing_heavy(results: Path) -> None:
    entry = fold_results.read(results / "fold.json")["help"]
    (heavy,) = (target for target in entry["targets"] if "imports" in target["text"])
    assert heavy["value"] == [0.0] * 3
    assert heavy["met"]


def test_a_scenario_replaces_only_its_own_entry(results: Path, tmp_path: Path) -> None:
    path = tmp_path / "fold.json"
    before = fold_results.read(results / "fold.json")
    for name, entry in before.items():
        fold_results.put(name, entry, path)
    fold_results.put("tiny", {**before["tiny"], "title": "Other"}, path)
    after = fold_results.read(path)
    assert after["help"] == before["help"]
    assert after["tiny"]["title"] == "Other"
    assert list(after) == ["help", "tiny"]


INFERENCE = {
    "date": "2026-01-02",
    "machine": "some",
    "versions": {"onnxruntime": "1"},
    "rows": [
        {
            "model": model,
            "batch": 1,
            "provider": "cpu",
            "form": form,
            "run_ratio": [run - 0.1, run, run + 0.1],
            "open_ratio": [1.0, 1.0, 1.0],
            "nodes": 3,
            "affines": 3 if form == "original" else 1,
            "off": None if form == "bound" else 1e-7,
        }
        for model, ours, bound in [("m", 0.9, 0.89), ("n", 1.05, 0.8)]
        for form, run in {"original": 1.0, "bnfold": ours, "bound": bound}.items()
    ],
}


def test_the_page_that_is_written_is_up_to_date_until_the_results_change(results: Path, tmp_path: Path) -> None:
    page, folder = tmp_path / "performance.md", tmp_path / "results"
    folder.mkdir()
    page.write_text(performance_report.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "fold.json").write_bytes((results / "fold.json").read_bytes())
    assert _report("--check", page, folder) == 1
    assert _report("--write", page, folder) == 0
    assert _report("--check", page, folder) == 0
    written = page.read_text(encoding="utf-8")
    assert "| chain-3 | onnxsim | not installed |" in written
    assert "\nNot measured yet.\n" in written
    (folder / "inference.json").write_text(json.dumps(INFERENCE), encoding="utf-8")
    assert _report("--check", page, folder) == 1
    assert _report("--write", page, folder) == 0
    written = page.read_text(encoding="utf-8")
    assert "| m, 1, cpu | 0.90 | 0.89 |" in written
    assert "| left |\n|---|---:|---:|---:|---:|\n| n, 1, cpu | 1.05 | 0.80 | 3 | 1 |\n\n" in written, (
        "m is at its bound"
    )
    assert "within 2% of the original's time, in 1; it is slower than the original by more than 2% in 1." in written


def _report(mode: str, page: Path, folder: Path) -> int:
    program = [sys.executable, performance_report.__file__, "--page", str(page), "--results", str(folder)]
    told = [*program, "--check"] if mode == "--check" else program
    return subprocess.run(told, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True).returncode


def test_the_committed_page_says_what_the_committed_results_say() -> None:
    text = performance_report.PAGE.read_text(encoding="utf-8")
    assert performance_report.page(text, performance_report.sections(performance_report.RESULTS)) == text


def test_a_page_without_a_place_for_a_section_is_told() -> None:
    with pytest.raises(ValueError, match="<!-- times: written by"):
        performance_report.page("# Performance\n", {"times": "x"})


def test_the_parts_of_a_fold_are_all_there(tmp_path: Path) -> None:
    model = tmp_path / "chain.onnx"
    fold_models.build("chain-20", model)
    parts = fold_profile.measured(model, 1)
    assert {
        "start and end of Python",
        "imports: numpy",
        "opening and planning",
        "computing and writing",
    } < parts.keys()
    assert min(parts.values()) >= 0
    assert parts["imports: numpy"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["chain.onnx"]

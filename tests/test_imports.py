"""What a command imports is what it costs before it does anything: counted, as a clock can not be trusted."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from support import MODELS
from typer.main import get_command

from bnfold.cli import app
from bnfold.cli.commands import SUMMARIES

HEAVY = {"onnx", "numpy", "onnxruntime", "torch", "google.protobuf", "ml_dtypes", "pydantic"}
PARALLEL = {"multiprocessing", "concurrent.futures", "asyncio"}
THREADS = Path("/proc/self/task")
DRAWING = {"rich.markdown", "rich.traceback", "rich.syntax", "rich.progress", "pygments"}

wants_pydantic = tuple(map(int, version("typer").split(".")[:2])) >= (0, 29)
needs_light_typer = pytest.mark.skipif(
    wants_pydantic, reason=f"typer {version('typer')} imports pydantic; pyproject.toml asks for one that does not"
)


def imported(*arguments: str | Path) -> set[str]:
    """The modules that a call has imported when it ends."""
    script = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, sep="\\n", file=sys.stderr))
from bnfold.cli import main
main()
"""
    call = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert "bnfold.cli.main" in done.stderr
    return set(done.stderr.splitlines())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Path(shutil.copy(MODELS / "mlp.onnx", tmp_path / "m.onnx"))


def test_help_imports_no_command_and_little_else() -> None:
    modules = imported("--help")
    assert not modules & (HEAVY | PARALLEL)
    assert not {name for name in modules if name.startswith(("rich.", "pygments"))}
    assert not modules & {f"bnfold.cli.{name}" for name in SUMMARIES}
    assert len(modules) <= 215


@needs_light_typer
@pytest.mark.parametrize("command", list(SUMMARIES))
def test_the_help_of_a_command_imports_only_that(command: str) -> None:
    modules = imported(command, "--help")
    assert not modules & (HEAVY | PARALLEL | DRAWING)
    assert modules & {f"bnfold.cli.{name}" for name in SUMMARIES} == {f"bnfold.cli.{command}"}


def test_a_fold_without_a_check_imports_nothing_to_run_to_draw_or_to_share_work(path: Path) -> None:
    modules = imported("fold", path, "--no-check")
    assert not modules & (PARALLEL | DRAWING | {"onnxruntime", "torch", "bnfold.runtime", "bnfold.checking"})
    assert (path.parent / "m.folded.onnx").exists()


@pytest.mark.parametrize("options", [[], ["--json", "-"]], ids=["text", "document"])
def test_a_fold_into_a_pipe_imports_no_rich_where_nothing_is_styled(path: Path, options: list[str]) -> None:
    modules = imported("fold", path, "--no-check", *options)
    assert not {name for name in modules if name.split(".")[0] in {"rich", "pygments"}}


@pytest.mark.skipif(not THREADS.is_dir(), reason="needs a system that lists the threads of a process")
@pytest.mark.parametrize("command", [["fold", "--no-check"], ["inspect"]], ids=["fold", "inspect"])
def test_what_multiplies_no_matrices_has_no_threads_for_it(path: Path, command: list[str]) -> None:
    script = f"""
import atexit, os, sys
atexit.register(lambda: print("threads:", len(os.listdir({str(THREADS)!r})), "numpy" in sys.modules))
from bnfold.cli import main
main()
"""
    call = [sys.executable, "-c", script, *command, str(path)]
    variables = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run(call, capture_output=True, text=True, check=True, env=variables)
    assert done.stdout.endswith("threads: 1 True\n")


@needs_light_typer
def test_a_fold_without_a_check_imports_no_pydantic_and_a_bounded_number_of_modules(path: Path) -> None:
    modules = imported("fold", path, "--no-check")
    assert "pydantic" not in modules
    assert len(modules) <= 575


def test_several_models_are_shared_out_without_importing_what_folds_them(path: Path) -> None:
    other = shutil.copy(path, path.with_name("n.onnx"))
    modules = imported("fold", path, other, "--no-check")
    assert not modules & (HEAVY - {"pydantic"} | {"bnfold.folding"})
    assert (path.parent / "n.folded.onnx").exists()


@pytest.mark.parametrize("command", list(SUMMARIES))
def test_the_summary_of_a_command_is_the_first_line_of_its_docstring(command: str) -> None:
    module = __import__(f"bnfold.cli.{command}", fromlist=[command])
    assert SUMMARIES[command] == getattr(module, command).__doc__.partition("\n")[0]


def test_the_group_has_each_command() -> None:
    assert list(getattr(get_command(app), "commands")) == list(SUMMARIES)  # noqa: B009 (typer's type of it has none)

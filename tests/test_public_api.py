"""The names that a user imports: all there, all light, and the same whatever is imported first."""

import importlib
import inspect
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import bnfold


def python(script: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_all_is_sorted_and_each_name_is_there() -> None:
    assert list(bnfold.__all__) == sorted(bnfold.__all__)
    assert dir(bnfold) == bnfold.__all__
    for name in bnfold.__all__:
        assert getattr(bnfold, name) is not None


def test_every_error_is_public_and_of_one_family() -> None:
    errors = importlib.import_module("bnfold.errors")
    named = {name for name, value in vars(errors).items() if inspect.isclass(value)}
    assert named <= set(bnfold.__all__)
    assert all(issubclass(getattr(bnfold, name), bnfold.BnfoldError) for name in named)


def test_every_public_name_is_documented_with_its_arguments() -> None:
    for name in set(bnfold.__all__) - {"__version__"}:
        value = getattr(bnfold, name)
        assert (value.__doc__ or "").strip(), name
        if inspect.isfunction(value):
            for parameter in inspect.signature(value).parameters:
                assert f"{parameter}: " in (value.__doc__ or ""), f"{name}({parameter})"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'bnfold' has no attribute 'fuse'"):
        _ = bnfold.fuse


def test_importing_bnfold_costs_next_to_nothing() -> None:
    script = "import sys, bnfold; print(*sorted({'onnx', 'numpy', 'onnxruntime', 'torch', 'typer'} & set(sys.modules)))"
    assert python(script) == ""
    assert python(script.replace("import sys, bnfold", "import sys, bnfold.errors, bnfold.cli")) == "typer"


def test_folding_needs_neither_onnxruntime_nor_torch(tmp_path: Path) -> None:
    model = Path(__file__).parent.parent / "models" / "mlp.onnx"
    script = f"""
import sys, bnfold
result = bnfold.fold({str(model)!r})
result.save({str(tmp_path / "out.onnx")!r})
bnfold.inspect({str(model)!r})
print(len(result.folded), *sorted({{"onnxruntime", "torch", "sympy", "onnx_ir"}} & set(sys.modules)))
"""
    assert python(script) == "2"


MODULES_OF_ALL_ROOMS = sorted(
    ".".join(path.relative_to(Path(bnfold.__file__).parent.parent).with_suffix("").parts)
    for path in Path(bnfold.__file__).parent.rglob("*.py")
    if path.name not in {"__main__.py", "__init__.py"}
)

NEEDING = {
    "torch": ("bnfold.torch.", "bnfold.training."),
    "onnx_ir": ("bnfold.passes", "bnfold.model.ir_", "bnfold.model.foreign"),
}
"""What can only be imported where an extra is installed, which the tests do without."""

MISSING = tuple(start for extra, starts in NEEDING.items() if find_spec(extra) is None for start in starts)

MODULES = [name for name in MODULES_OF_ALL_ROOMS if not name.startswith(MISSING)]


@pytest.mark.does_more
def test_functions_stay_functions_whatever_is_imported_first() -> None:
    """A module that is imported becomes an attribute of its package, and would hide a function of its name."""
    script = f"""
import importlib
for name in {MODULES!r}:
    importlib.import_module(name)
import bnfold
print(*(type(getattr(bnfold, name)).__name__ for name in ("fold", "check", "inspect")))
"""
    assert python(script) == "function function function"


@pytest.mark.does_more
def test_every_module_can_be_imported_first() -> None:
    script = f"""
import importlib, sys
for name in {MODULES!r}:
    for loaded in [key for key in sys.modules if key.split(".")[0] == "bnfold"]:
        del sys.modules[loaded]
    importlib.import_module(name)
print("all")
"""
    assert python(script) == "all"


def test_star_imports_exactly_what_is_public() -> None:
    assert (
        python("from bnfold import *; print(fold.__name__, check.__name__, inspect.__name__)") == "fold check inspect"
    )


def test_the_version_is_that_of_the_package() -> None:
    from importlib.metadata import version

    assert bnfold.__version__ == version("bnfold")


def test_the_package_says_that_it_is_typed() -> None:
    assert Path(bnfold.__file__).with_name("py.typed").exists()

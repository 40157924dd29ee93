"""Execution providers: their names, the options that make a run repeatable, and why one can not be used.

onnxruntime lists a provider as available when the package was built with it, whether or not there is a device. What is
really missing has to be looked for: the package, the driver, a device, or a library that the provider is linked to.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import metadata
from io import StringIO
from pathlib import Path
from typing import Any

from bnfold.errors import RuntimeUnavailable, UsageError
from bnfold.model.undisturbed import undisturbed

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
_SUFFIX = "ExecutionProvider"

TF32_VARIABLE = "NVIDIA_TF32_OVERRIDE"
"""Turns TF32 off in every NVIDIA library; `use_tf32` alone was seen to miss convolutions of cuDNN's frontend."""

_PIP = {CPU: "pip install 'bnfold[cpu]'", CUDA: "pip install 'bnfold[cuda]'"}
_TELLS_PLACEMENT = "get_provider_graph_assignment_info"
_PACKAGES = ("onnxruntime", "onnxruntime-gpu")
_WARNING, _FATAL = 2, 4
_set_here = False


def provider_name(name: str) -> str:
    """Onnxruntime's name of a provider: `"cuda"`, `"CUDA"` and `"CUDAExecutionProvider"` are one.

    Raises:
        UsageError: onnxruntime knows no such provider.
        RuntimeUnavailable: onnxruntime is not installed.
    """
    if name.lower() in ("cpu", CPU.lower()):
        return CPU  # known without onnxruntime, whose absence is told when it is needed
    known = import_onnxruntime(CUDA if name.lower().startswith("cuda") else CPU).get_all_providers()
    spelled: dict[str, str] = {full.lower(): full for full in known} | {
        full.removesuffix(_SUFFIX).lower(): full for full in known
    }
    if name.lower() not in spelled:
        short = ", ".join(sorted(full.removesuffix(_SUFFIX).lower() for full in known))
        raise UsageError(f"onnxruntime knows no execution provider {name!r}; there are: {short}, and all")
    return spelled[name.lower()]


def installed_providers() -> tuple[str, ...]:
    """What the installed onnxruntime was built with, usable or not; the CPU first.

    Raises:
        RuntimeUnavailable: onnxruntime is not installed.
    """
    return tuple(sorted(import_onnxruntime(CPU).get_available_providers(), key=lambda name: name != CPU))


def import_onnxruntime(provider: str) -> Any:  # noqa: ANN401 - onnxruntime ships no types
    """The module onnxruntime.

    Args:
        provider: What it is wanted for, which decides the package that a message names.

    Raises:
        RuntimeUnavailable: It is not installed.
    """
    try:
        with undisturbed():  # what a signal raises while its C++ begins is lost, or told as an import that failed
            import onnxruntime
    except ImportError as error:
        command = _PIP.get(provider, _PIP[CPU])
        raise RuntimeUnavailable(
            f"onnxruntime, which runs the models, can not be imported ({error}); install it with: {command}"
        ) from error
    return onnxruntime


def require_installed(provider: str) -> Any:  # noqa: ANN401 - onnxruntime ships no types
    """The module onnxruntime, with that provider built in.

    Raises:
        RuntimeUnavailable: onnxruntime is not installed, too old, or was built without the provider.
    """
    runtime = import_onnxruntime(provider)
    found = ", ".join(_distributions()) or "onnxruntime"
    if not hasattr(runtime.InferenceSession, _TELLS_PLACEMENT):
        raise RuntimeUnavailable(
            f"{found} can not say which provider took which node, as onnxruntime 1.24.1 and later can; "
            f"{_advice(provider)}"
        )
    available = runtime.get_available_providers()
    if provider in available:
        return runtime
    advice = f"; {_advice(provider)}" if provider in _PIP else ""
    raise RuntimeUnavailable(f"{found} has no {provider}, only {', '.join(available)}{advice}")


def provider_options(provider: str, *, tf32: bool) -> dict[str, str]:
    """The options under which two runs of one graph give the same.

    TF32 alone moves a result by more than any fold does (onnxruntime#19288); an exhaustive search may pick another
    kernel on every run (onnxruntime#19822).
    """
    if provider != CUDA:
        return {}
    return {"use_tf32": "1" if tf32 else "0", "cudnn_conv_algo_search": "HEURISTIC"}


def prepare(runtime: Any, provider: str, *, tf32: bool) -> None:  # noqa: ANN401 - onnxruntime ships no types
    """What has to be done in this process before the first session on a provider.

    The variable `NVIDIA_TF32_OVERRIDE` is set to 0, for good: the libraries read it when they are first used. One that
    was set by the caller is left alone.

    Raises:
        RuntimeUnavailable: There is no driver, or no device. Without one onnxruntime would log, and run on the CPU.
    """
    global _set_here
    if provider != CUDA:
        return
    problem = driver_problem()
    if problem:
        raise RuntimeUnavailable(f"{provider} can not be used: {problem}")
    if not tf32 and TF32_VARIABLE not in os.environ:
        os.environ[TF32_VARIABLE], _set_here = "0", True
    elif tf32 and _set_here:
        del os.environ[TF32_VARIABLE]
        _set_here = False
    if hasattr(runtime, "preload_dlls"):
        with redirect_stdout(StringIO()):  # it prints what it does not find, which may be found elsewhere
            runtime.preload_dlls()


@contextmanager
def quiet(runtime: Any, provider: str) -> Iterator[None]:  # noqa: ANN401 - onnxruntime ships no types
    """Keep onnxruntime from logging that a provider can not be loaded: what is missing is told as an error.

    Only for the providers that are libraries of their own. The level can not be asked for: afterwards it is the default
    again, which is to log warnings.
    """
    if provider == CPU:
        yield
        return
    runtime.set_default_logger_severity(_FATAL)
    try:
        yield
    finally:
        runtime.set_default_logger_severity(_WARNING)


def why_unusable(provider: str) -> str:
    """What a provider lacks on this machine, as far as that can be found out, in a clause."""
    if provider != CUDA:
        return "either its device is missing, or it has none of the model's operators"
    both = [name for name in _PACKAGES if name in {found.split()[0] for found in _distributions()}]
    if len(both) > 1:
        return "onnxruntime and onnxruntime-gpu are both installed, in one folder; uninstall both, then install one"
    return driver_problem() or library_problem() or "the device is there, but has none of the model's operators"


def versions() -> dict[str, str]:
    """What decides the numbers of a run: the versions of onnxruntime, and of CUDA and cuDNN where it has them."""
    found = dict(entry.split() for entry in _distributions())
    for name in ("nvidia-cuda-runtime", "nvidia-cudnn-cu13", "nvidia-cudnn-cu12"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _distributions() -> list[str]:
    """The packages that bring the module onnxruntime along, with their versions."""
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found


def _advice(provider: str) -> str:
    installed = [entry.split()[0] for entry in _distributions()]
    remove = f"pip uninstall {' '.join(installed)}, then " if installed else ""
    return f"install it with: {remove}{_PIP[provider]}"


def driver_problem() -> str | None:
    """What NVIDIA's driver lacks; it is asked itself, through its own library."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return f"there is no NVIDIA driver on this machine ({name} can not be loaded)"
    count = ctypes.c_int(0)
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if status:
        return f"the NVIDIA driver finds no device it can use (error {status} of the driver)"
    return None if count.value else "the NVIDIA driver finds no device"


def library_problem() -> str | None:
    """Which library onnxruntime's CUDA provider is linked to and can not find."""
    import onnxruntime

    folder = Path(onnxruntime.__file__).parent / "capi"
    file = "{}.dll" if sys.platform == "win32" else "lib{}.so"
    try:
        for name in ("onnxruntime_providers_shared", "onnxruntime_providers_cuda"):
            ctypes.CDLL(str(folder / file.format(name)), mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        return f"a library is missing: {error}; install CUDA and cuDNN with: {_PIP[CUDA]}"
    return None

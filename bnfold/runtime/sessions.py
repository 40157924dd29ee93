"""Sessions of onnxruntime on one named execution provider, with proof of which node ran where.

onnxruntime does not insist on the provider it was asked for: without a usable device it warns and computes on the CPU.
Every session here records its placement, and one on which the provider took no node is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from numpy.typing import NDArray

from bnfold.errors import ModelError, RuntimeUnavailable
from bnfold.runtime import bfloat16
from bnfold.runtime.functions import refuse_endless_calls
from bnfold.runtime.placement import computes, describe_placement, placement_of
from bnfold.runtime.providers import CPU, prepare, provider_options, quiet, require_installed, why_unusable
from bnfold.runtime.threads import threads

Array: TypeAlias = NDArray[Any]
ModelSource: TypeAlias = str | os.PathLike[str] | bytes

FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})

_SILENT = 4  # only fatal messages: everything else arrives as an exception, and is told once
_SPELLING = {"float": "float32", "double": "float64"}


@dataclass(frozen=True)
class Port:
    """One input or output of a graph.

    Attributes:
        name: Its name in the graph.
        dtype: The element type of a tensor as numpy and ml_dtypes spell it (`"float32"`, `"bfloat16"`), or
            `"string"`; for anything else onnxruntime's words, such as `"seq(tensor(float))"`.
        shape: A number per fixed axis, a name per symbolic one, `None` per unknown one. Empty for a scalar, and for
            an unknown rank as well: onnxruntime does not tell the two apart.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]

    @property
    def is_tensor(self) -> bool:
        """Whether it is a dense tensor, rather than a sequence, a map or an optional."""
        return "(" not in self.dtype


class Session:
    """A model, loaded on one provider and ready to run; made by `open_session`.

    Attributes:
        inputs: What a run has to be given, in graph order; initializers that may be overridden are not among them.
        outputs: What a run returns, in graph order.
        label: The name that messages give the model.
        placement: For each provider that took nodes, their operator types, one per node. Empty when no node is left.
    """

    def __init__(self, inference: Any, label: str) -> None:  # noqa: ANN401 - onnxruntime ships no types
        self._inference = inference
        self.label = label
        self.inputs = tuple(_port(argument) for argument in inference.get_inputs())
        self.outputs = tuple(_port(argument) for argument in inference.get_outputs())
        self.placement = placement_of(inference)

    def run(self, feeds: Mapping[str, Array], names: Sequence[str] | None = None) -> dict[str, Array]:
        """Run the model once.

        Args:
            feeds: One array per input, of the input's own element type and shape.
            names: The outputs to return; all of them when `None`.

        Returns:
            The outputs by name, in the order asked for.

        Raises:
            ModelError: onnxruntime rejects the inputs or fails in a node; the text carries its reason.
        """
        wanted = [port.name for port in self.outputs] if names is None else list(names)
        runner = bfloat16.run if self._has_bfloat16 else _run
        with _model_errors(f"{self.label} can not be run"):
            arrays = runner(self._inference, wanted, feeds)
        return dict(zip(wanted, arrays, strict=True))

    @property
    def _has_bfloat16(self) -> bool:
        return any(port.dtype == bfloat16.NAME for port in self.inputs + self.outputs)


def open_session(
    model: ModelSource,
    *,
    optimized: bool = False,
    provider: str = CPU,
    tf32: bool = False,
    label: str | None = None,
    base_dir: str | os.PathLike[str] | None = None,
) -> Session:
    """Load a model on one execution provider.

    Args:
        model: A path, or a serialized ModelProto.
        optimized: Let onnxruntime rewrite the graph at load (`ORT_ENABLE_ALL`). Off by default, because onnxruntime
            then folds normalizations itself and a comparison would see the same graph twice.
        provider: onnxruntime's name of the provider. Nodes that it can not take go to the CPU, as `placement` shows.
        tf32: Let CUDA round the factors of a product to 10 bits; off by option and environment otherwise.
        label: The name of the model in messages; its path by default.
        base_dir: The folder of external data, for a serialized model.

    Raises:
        RuntimeUnavailable: onnxruntime or the provider is not installed, or the provider took no node that computes.
        ModelError: onnxruntime can not load the model; the text carries its reason.
    """
    runtime = require_installed(provider)
    prepare(runtime, provider, tf32=tf32)
    name = label or ("the model" if isinstance(model, bytes) else os.fspath(model))
    refuse_endless_calls(model, name)
    with quiet(runtime, provider), _model_errors(f"{name} can not be loaded"):
        inference = runtime.InferenceSession(
            model if isinstance(model, bytes) else os.fspath(model),
            _session_options(runtime, optimized, base_dir),
            providers=[(provider, provider_options(provider, tf32=tf32))],
            enable_fallback=0,
        )
        session = Session(inference, name)  # in here, since names may be no text
    _require_placed(session, inference.get_providers(), provider)
    return session


def _require_placed(session: Session, registered: Sequence[str], provider: str) -> None:
    if provider in registered and computes(session.placement, provider):
        return
    found = describe_placement(session.placement, provider)
    raise RuntimeUnavailable(f"{provider} does not run {session.label} ({found}): {why_unusable(provider)}")


def _session_options(runtime: Any, optimized: bool, base_dir: str | os.PathLike[str] | None) -> Any:  # noqa: ANN401
    levels = runtime.GraphOptimizationLevel
    options = runtime.SessionOptions()
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    options.log_severity_level = _SILENT
    options.use_deterministic_compute = True
    options.intra_op_num_threads = threads()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if base_dir is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.fspath(base_dir))
    return options


def _port(argument: Any) -> Port:  # noqa: ANN401
    tensor = re.fullmatch(r"tensor\((\w+)\)", argument.type)
    dtype = _SPELLING.get(tensor[1], tensor[1]) if tensor else argument.type
    return Port(argument.name, dtype, tuple(argument.shape))


def _run(inference: Any, names: list[str], feeds: Mapping[str, Array]) -> list[Array]:  # noqa: ANN401
    arrays: list[Array] = inference.run(names, dict(feeds))
    return arrays


@contextmanager
def _model_errors(what: str) -> Iterator[None]:
    """Turn whatever onnxruntime raises inside the block into a `ModelError` that begins with `what`."""
    try:
        yield
    except _runtime_errors() as error:
        raise ModelError(f"{what}: {_reason(error)}") from error


def _runtime_errors() -> tuple[type[Exception], ...]:
    """All of onnxruntime's exceptions, which share no base and grow in number, and those of its Python layer."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = (item for item in vars(state).values() if isinstance(item, type) and issubclass(item, Exception))
    return (*own, ValueError, TypeError, RuntimeError)


_LONGEST = 3000
"""How much of a reason is told: it may hold a name of any length, and looking through it takes the square of that."""


def _reason(error: Exception) -> str:
    """The text of onnxruntime in one line, without its status prefix and the place in its sources."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", " ".join(str(error)[:_LONGEST].split()))
    return re.sub(r"\S+\.(?:h|hpp|cc|cpp|cu):\d+ (?:(?:\w+ )?\S+\(.*?\)|\w+) ", "", text)

"""Tensors inside two graphs: what those hold that both have under one name, a chunk of them at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx import NodeProto, helper

from bnfold.checking.statistics import Array
from bnfold.checking.subject import Subject
from bnfold.checking.tensors import Tensor
from bnfold.checking.trials import Feeds, Shapes, shapes_of
from bnfold.errors import ModelError
from bnfold.runtime import Session, open_session, showing

CHUNK_BYTES = 2**28
"""How much of the tensors of both graphs may be in memory at a time, of all runs together."""

_FEW = 16
"""How many tensors make a chunk where their sizes can not be measured."""

_LARGEST_ELEMENT = 8
"""Bytes; sizes are counted in elements, of whatever type."""


@dataclass(frozen=True)
class Place:
    """Where and how models are run to look inside: as `bnfold.runtime.open_session` takes it."""

    provider: str
    optimized: bool = False


def values_of(
    models: Sequence[Subject], tensors: Iterable[Tensor], feeds: Sequence[Feeds], places: Sequence[Place], limit: int
) -> Iterator[tuple[Tensor, list[list[Array]]]]:
    """What each tensor holds in each model, for each of the inputs; one chunk of tensors is in memory at a time.

    Args:
        models: All of them have these tensors.
        tensors: Those to be looked at; those that turn out to be sequences or maps are left out.
        feeds: The inputs, for one run each.
        places: Where to run each of the models.
        limit: Bytes of a chunk. A tensor that is larger is a chunk of its own.

    Yields:
        A tensor and, for each run, one array per model.

    Raises:
        ModelError: A model can not be loaded or run.
    """
    for chunk in chunks(models[0], tensors, feeds, places[0], limit // len(models)):
        names = [tensor.name for tensor in chunk]
        sessions = [session_with(model, place, names) for model, place in zip(models, places, strict=True)]
        runs = [[session.run(given, names) for session in sessions] for given in feeds]
        del sessions
        for tensor in chunk:
            yield tensor, [[held.pop(tensor.name) for held in run] for run in runs]


def chunks(
    model: Subject, tensors: Iterable[Tensor], feeds: Sequence[Feeds], place: Place, limit: int
) -> Iterator[list[Tensor]]:
    """The tensors in their order, in pieces that come to at most `limit` bytes over all runs."""
    wanted = _dense(model, place, list(tensors))
    sizes = _sizes(model, place, wanted, feeds) or dict.fromkeys((tensor.name for tensor in wanted), limit // _FEW)
    chunk: list[Tensor] = []
    room = limit
    for tensor in wanted:
        if chunk and sizes[tensor.name] > room:
            yield chunk
            chunk, room = [], limit
        chunk.append(tensor)
        room -= sizes[tensor.name]
    if chunk:
        yield chunk


def _dense(model: Subject, place: Place, tensors: list[Tensor]) -> list[Tensor]:
    """Those that are dense tensors; nothing is run for that."""
    ports = {port.name: port for port in session_with(model, place, [tensor.name for tensor in tensors]).outputs}
    return [tensor for tensor in tensors if ports[tensor.name].is_tensor]


def _sizes(model: Subject, place: Place, tensors: list[Tensor], feeds: Sequence[Feeds]) -> dict[str, int]:
    """Bytes per tensor, at most, for all runs: a Size behind each one counts without keeping them.

    Empty where the model takes no such node.
    """
    counts = {f"{tensor.name}/bnfold/size": tensor.name for tensor in tensors}
    nodes = [helper.make_node("Size", [name], [count]) for count, name in counts.items()]
    try:
        session = session_with(model, place, list(counts), nodes)
        seen: dict[Shapes, dict[str, Array]] = {}
        for given in feeds:
            if shapes_of(given) not in seen:
                seen[shapes_of(given)] = session.run(given, list(counts))
    except ModelError:
        return {}
    runs = [seen[shapes_of(given)] for given in feeds]
    return {name: _LARGEST_ELEMENT * sum(int(run[count]) for run in runs) for count, name in counts.items()}


def session_with(model: Subject, place: Place, outputs: Sequence[str], nodes: Sequence[NodeProto] = ()) -> Session:
    """The model with further outputs, of types that onnxruntime finds out, and with further nodes."""
    there = {entry.name for entry in model.proto.graph.output}
    source = showing(model.source, [name for name in outputs if name not in there], nodes)
    return open_session(
        source,
        optimized=place.optimized,
        provider=place.provider,
        tf32=model.tf32,
        label=model.label,
        base_dir=None if isinstance(model.source, bytes) else Path(model.source).parent,
    )

"""One of the two models of a check: where it comes from, what it is made of, and its sessions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from bnfold.errors import ExternalDataError, ModelError
from bnfold.runtime import CPU, ModelSource, Session, open_session

if TYPE_CHECKING:
    import onnx_ir as ir
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto
    from torch.onnx import ONNXProgram

    from bnfold.model.skeleton import Skeleton

    Model: TypeAlias = ModelSource | ModelProto | ir.Model | ONNXProgram


class Subject:
    """A model that is checked.

    Args:
        model: A path, a serialized model, a ModelProto, an onnx_ir.Model or a torch.onnx.ONNXProgram.
        label: What messages call it.
        tf32: Let CUDA round the factors of its products to 10 bits.

    Raises:
        ModelError: A model that is no file can not be serialized.
        UsageError: `model` is none of these.
    """

    def __init__(self, model: Model, label: str, *, tf32: bool = False) -> None:
        self.source = _source(model)
        self.label = label
        self.tf32 = tf32
        self._open: dict[tuple[str, bool], Session] = {}

    @property
    def proto(self) -> ModelProto:
        """The model; large weights are references to where they lie, and are not loaded.

        Raises:
            ModelError: It can not be parsed.
        """
        return self._opened.proto

    @cached_property
    def _opened(self) -> Skeleton:
        """The model, and the file or bytes that its references need; onnxruntime reads the weights by itself."""
        from bnfold.model.mapped_file import open_skeleton, skeleton_of

        return skeleton_of(self.source) if isinstance(self.source, bytes) else open_skeleton(self.source)

    @cached_property
    def fits_into_one_message(self) -> bool:
        """Whether a copy with all its weights can be edited and serialized: protobuf takes less than 2 GiB."""
        from bnfold.model.external import stored_bytes
        from bnfold.model.forms import INLINE_LIMIT

        folder = None if isinstance(self.source, bytes) else Path(self.source).parent
        try:
            return stored_bytes(self.proto, folder) <= INLINE_LIMIT
        except ExternalDataError:
            return False

    def loaded(self) -> ModelProto:
        """A copy of the model for edits, with all its weights.

        Raises:
            ModelError: It can not be parsed, or a file with weights can not be read.
        """
        return _loaded(self.source)

    @cached_property
    def nodes(self) -> list[NodeProto]:
        """The nodes of its graph, of the subgraphs, and of its functions."""
        return every_node(self.proto)

    @cached_property
    def random(self) -> tuple[str, ...]:
        """Its nodes that draw random numbers, such as `"Bernoulli 'n3'"`."""
        return tuple(_named(node) for node in self.nodes if _is_random(node))

    @cached_property
    def stateful(self) -> tuple[str, ...]:
        """Its nodes in training mode: onnxruntime may update their statistics in place, from run to run."""
        return tuple(_named(node) for node in self.nodes if _trains(node))

    def session(self, provider: str = CPU, *, optimized: bool = False, fresh: bool = False) -> Session:
        """A session of the model.

        Args:
            provider: onnxruntime's name of the provider.
            optimized: Let onnxruntime rewrite the graph.
            fresh: Never one that was used before, if what was run on it could matter.

        Raises:
            ModelError: onnxruntime can not load it.
            RuntimeUnavailable: The provider can not run it.
        """
        key = (provider, optimized)
        if key not in self._open or (fresh and (self.random or self.stateful)):
            self._open[key] = open_session(
                self.source, provider=provider, optimized=optimized, tf32=self.tf32, label=self.label
            )
        return self._open[key]

    def session_if_possible(self, provider: str = CPU, *, optimized: bool = False) -> Session | None:
        """A session, or nothing where onnxruntime can not load the model so."""
        try:
            return self.session(provider, optimized=optimized, fresh=True)
        except ModelError:
            return None

    def close(self) -> None:
        """Let go of the sessions, and of the memory that they hold."""
        self._open.clear()


def every_node(model: ModelProto) -> list[NodeProto]:
    """The nodes of the graph, of its subgraphs, and of the model's functions."""
    found = list(_nodes(model.graph.node))
    return found + [node for function in model.functions for node in _nodes(function.node)]


def subgraphs(attribute: AttributeProto) -> list[GraphProto]:
    """The graphs that an attribute holds."""
    return [attribute.g, *attribute.graphs] if attribute.HasField("g") else list(attribute.graphs)


def _nodes(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in subgraphs(attribute):
                yield from _nodes(graph.node)


_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


def _is_random(node: NodeProto) -> bool:
    if node.domain not in ("", "ai.onnx"):
        return False
    return node.op_type in _RANDOM or (node.op_type == "Dropout" and len(node.input) > 2 and bool(node.input[2]))


def _trains(node: NodeProto) -> bool:
    """A BatchNormalization in training mode: by attribute, or by the outputs it lists in opsets before 14."""
    if node.op_type != "BatchNormalization" or node.domain not in ("", "ai.onnx"):
        return False
    flags = {attribute.name: attribute.i for attribute in node.attribute}
    return bool(flags.get("training_mode", 0)) or len([name for name in node.output if name]) > 1


def _named(node: NodeProto) -> str:
    return f"{node.op_type} {node.name or next(iter(node.output), '')!r}"


def _source(model: Model) -> ModelSource:
    if isinstance(model, str | bytes | os.PathLike):
        return model
    from google.protobuf.message import EncodeError

    from bnfold.model.container import as_proto

    try:
        return bytes(as_proto(model).SerializeToString())
    except (ValueError, EncodeError) as error:
        raise ModelError(f"the model can not be serialized ({error}); save it and pass its path") from error


def _loaded(source: ModelSource) -> ModelProto:
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.checker import ValidationError

    try:
        if isinstance(source, bytes):
            return onnx.load_model_from_string(source)
        return onnx.load_model(source)
    except (DecodeError, OSError, ValueError, ValidationError) as error:
        raise ModelError(f"the model can not be read: {error}") from error

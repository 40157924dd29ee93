"""An ONNX graph as a `torch.nn.Module`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from bnfold.model.container import ModelLike, open_model
from bnfold.model.graph import Graph
from bnfold.torch import operators as operators  # fills the registry
from bnfold.torch.functions import without_calls
from bnfold.torch.interface import Interface, bind
from bnfold.torch.names import attribute_name
from bnfold.torch.operators_normalization import BatchNormalization
from bnfold.torch.program import Translation
from bnfold.torch.roles import Role
from bnfold.torch.stored import Stored
from bnfold.torch.values import Context, Host


def to_module(model: ModelLike, *, base_dir: str | os.PathLike[str] | None = None) -> GraphModule:
    """The graph as a module that computes it, in float32 as in the graph and on the CPU until it is moved.

    Args:
        model: a path, the bytes of a file, or a ModelProto; not changed.
        base_dir: where external data lies; a path's own folder unless said otherwise.

    Returns:
        The module, in `eval()` mode: it computes what the graph computes.

    Raises:
        ModelError: an operator, one of its attributes, or a type has no translation; the text names it.
        ExternalDataError: a file that holds weights is missing, too short or out of bounds.
    """
    container = open_model(model, base_dir=base_dir)
    graph = Graph(without_calls(container.proto))
    return GraphModule(graph, Stored(graph, container.base_dir)).eval()


class GraphModule(torch.nn.Module):
    """Computes an ONNX graph; made by `to_module`.

    Parameters are the initializers that train, buffers the running statistics and the constants. Each is one attribute,
    however many nodes read it. Nodes that depend on `train()` and `eval()` (BatchNormalization, Dropout) are modules
    of their own, in `modes`: ``module.modes["bn1"].eval()`` freezes the statistics of one.

    Attributes:
        input_names: what `forward` takes, in order.
        output_names: what it gives, in order.
        onnx_names: name of a parameter or buffer to name of its initializer; 1:1.
        modes: those nodes, by their labels in the graph, with what an attribute's name can not have replaced by ``_``.
    """

    _anchor: Tensor

    def __init__(self, graph: Graph, stored: Stored) -> None:
        super().__init__()
        self._interface = Interface.of(graph)
        self.input_names = self._interface.input_names
        self.output_names = self._interface.output_names
        self.onnx_names: dict[str, str] = {}
        self.register_buffer("_anchor", torch.zeros(()), persistent=False)  # moves and converts with the module
        self._held: list[tuple[int, str]] = []
        self._numbers: list[tuple[int, Host]] = []
        translation = Translation(graph, stored)
        self.modes = torch.nn.ModuleDict(translation.modes)
        self._program = translation.program
        self._store(graph, stored, translation)
        self._size = len(translation)

    def _store(self, graph: Graph, stored: Stored, translation: Translation) -> None:
        taken = set(dir(self))
        for value, role in stored.roles.items():
            content, place = stored.content(value), translation.place(value)
            if isinstance(content, Host):
                self._numbers.append((place, content))
                continue
            name = attribute_name(value.name, taken)
            self._held.append((place, name))
            is_own = value.tensor is not None and value.scope is graph.main
            if is_own:
                self.onnx_names[name] = value.name
            if role is Role.PARAMETER:
                self.register_parameter(name, torch.nn.Parameter(content))
            else:
                self.register_buffer(name, content, persistent=is_own)

    def synchronize(self, group: dist.ProcessGroup | None = None) -> None:
        """Let every BatchNormalization take its batch's statistics over all processes, as `SyncBatchNorm` does.

        `torch.nn.SyncBatchNorm.convert_sync_batchnorm` finds none of torch's own layers here.

        Args:
            group: the processes; all of them for None. The process group has to be initialized.
        """
        for mode in self.modes.values():
            if isinstance(mode, BatchNormalization):
                mode.process_group = group or dist.group.WORLD

    def forward(self, *inputs: Tensor | Mapping[str, Tensor], **named: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Compute the graph.

        Args:
            inputs: a tensor per graph input in order, or one mapping from their names.
            named: the same by name.

        Returns:
            The output; a tuple of them in graph order where the graph has several.

        Raises:
            UsageError: an input is missing, unknown, of another rank, of another size where the graph fixes one, or of
                another kind of type.
        """
        bound = bind(self._interface, inputs, named)
        slots: list[Any] = [None] * self._size
        for place, name in self._held:
            slots[place] = getattr(self, name)
        for place, known in self._numbers:
            slots[place] = known
        for place, tensor in zip(self._program.inputs, bound, strict=True):
            slots[place] = tensor
        context = Context(self._anchor.device, self._anchor.dtype, slots)
        outputs = tuple(context.tensor(value) for value in self._program.run(context))
        return outputs[0] if len(outputs) == 1 else outputs

"""The only code that changes a graph: edits as a value, and applying them to a copy.

The name of a graph input or output, its type and its place never change. What becomes unread by the edits goes
(initializers, and the nodes that computed only it), with its `value_info`; what was unread before stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, helper

from bnfold.errors import ModelError
from bnfold.model.graph import Address, Graph, Node, Scope, Value, subgraphs
from bnfold.model.names import Names
from bnfold.model.recipes import Recipe
from bnfold.model.spool import Spool
from bnfold.model.tensors import item_size


@dataclass
class Patch:
    """Edits to one graph; nothing happens until `apply`.

    Attributes:
        removed: nodes that go.
        inputs: per node, input index to the name that is read instead.
        dropped: per node, inputs that go, so that those behind them move up.
        outputs: per node, output index to the name that is produced instead.
        attributes: per node, attributes to set; None removes one.
        op_types: per node, the operator that it becomes.
        behind: per node, the nodes to insert behind it.
        in_front: per node, the nodes to insert in front of it.
        added: per scope, new constants.
        replaced: values whose initializer gets other numbers under the same name, type and shape.
        delisted: initializers that stop being graph inputs.
        spool: where the numbers of large new constants wait; None for in memory.
        recipes: what makes the numbers of other constants when they are read.
        room: how many bytes of constants may come; None for any number.
    """

    removed: set[Address] = field(default_factory=set)
    inputs: dict[Address, dict[int, str]] = field(default_factory=dict)
    dropped: dict[Address, set[int]] = field(default_factory=dict)
    outputs: dict[Address, dict[int, str]] = field(default_factory=dict)
    attributes: dict[Address, dict[str, Any]] = field(default_factory=dict)
    op_types: dict[Address, str] = field(default_factory=dict)
    behind: dict[Address, list[NodeProto]] = field(default_factory=dict)
    in_front: dict[Address, list[NodeProto]] = field(default_factory=dict)
    added: dict[int, list[TensorProto]] = field(default_factory=dict)
    replaced: dict[Value, TensorProto] = field(default_factory=dict)
    delisted: set[str] = field(default_factory=set)
    spool: Spool | None = None
    recipes: list[Recipe] = field(default_factory=list)
    room: int | None = None

    def read_instead(self, node: Node, index: int, name: str) -> None:
        """Let the node read `name` at that input."""
        self.inputs.setdefault(node.address, {})[index] = name

    def drop_input(self, node: Node, index: int) -> None:
        """Let the node, which takes any number of inputs, have one less."""
        self.read_instead(node, index, "")
        self.dropped.setdefault(node.address, set()).add(index)

    def produce_instead(self, node: Node, index: int, name: str) -> None:
        """Let the node produce `name` at that output."""
        self.outputs.setdefault(node.address, {})[index] = name

    def set_attribute(self, node: Node, name: str, value: Any) -> None:  # noqa: ANN401 (an attribute is of any type)
        """Set an attribute, or remove it with None."""
        self.attributes.setdefault(node.address, {})[name] = value

    def add_constant(self, scope: Scope, tensor: TensorProto) -> None:
        """Give the scope one more constant; its name has to be new.

        Raises:
            ModelError: there is no more room.
        """
        if self.room is not None:
            self.room -= prod(tensor.dims[:]) * item_size(tensor.data_type)
            if self.room < 0:
                raise ModelError(
                    f"with '{tensor.name}' the folded model would be many times as large as it was: a weight that many "
                    "nodes share, or that is computed when it runs, becomes constants; fold a part, with --max-folds"
                )
        self.added.setdefault(scope.number, []).append(self._kept(tensor))

    def replace_constant(self, value: Value, tensor: TensorProto) -> None:
        """Let the value's initializer have other numbers under the same name, type and shape."""
        self.replaced[value] = self._kept(tensor)

    def deferred(self, tensor: TensorProto, recipe: Recipe) -> TensorProto:
        """A copy of the tensor whose numbers are made when they are read."""
        self.recipes.append(recipe)
        return recipe.reference(tensor)

    def _kept(self, tensor: TensorProto) -> TensorProto:
        return tensor if self.spool is None else self.spool.put(tensor)

    def insert_behind(self, node: Node, new: NodeProto) -> None:
        """Put a node into the file right behind `node`."""
        self.behind.setdefault(node.address, []).append(new)

    def insert_right_behind(self, node: Node, new: NodeProto) -> None:
        """Put a node into the file right behind `node`, in front of what was put there before."""
        self.behind.setdefault(node.address, []).insert(0, new)

    def insert_in_front(self, node: Node, new: NodeProto) -> None:
        """Put a node into the file right in front of `node`."""
        self.in_front.setdefault(node.address, []).append(new)

    @property
    def fresh_names(self) -> frozenset[str]:
        """Names of the initializers whose numbers this patch makes."""
        added = {tensor.name for tensors in self.added.values() for tensor in tensors}
        return frozenset(added | {value.name for value in self.replaced})


def apply(patch: Patch, graph: Graph) -> ModelProto:
    """A copy of the graph's model with the edits made; the original is not touched."""
    dead = _Dead(patch, graph)
    model = ModelProto()
    model.CopyFrom(graph.model)
    _edit_nodes(patch, graph.scopes_of(model))
    for scope, proto in zip(graph.scopes, graph.scopes_of(model), strict=True):
        _edit_constants(patch, graph, scope, proto, dead)
    for scope, proto in zip(graph.scopes, graph.scopes_of(model), strict=True):
        _rebuild_nodes(patch, graph, scope, proto, dead)
    return model


class _Dead:
    """What nothing reads any more once the edits are made.

    Attributes:
        nodes: nodes that go.
        values: values that go.
        touched: the addresses of those nodes, and of those beside which new ones come.
    """

    def __init__(self, patch: Patch, graph: Graph) -> None:
        self.nodes: set[Address] = set(patch.removed)
        self.values: set[Value] = set()
        self._patch = patch
        self._graph = graph
        inserted = (*patch.behind.items(), *patch.in_front.items())
        new = [(at.scope, node) for at, nodes in inserted for node in nodes]
        read = ((scope, graph.scopes[scope].find(name), name) for scope, node in new for name in node.input[:])
        self._read_by_new = {(value.scope.number if value else scope, name) for scope, value, name in read}
        self._read_by_new |= {
            (value.scope.number, value.name)
            for at, names in patch.inputs.items()
            for name in names.values()
            if at not in patch.removed and (value := graph.scopes[at.scope].find(name)) is not None
        }
        self._made_by_new = {(scope, name) for scope, node in new for name in node.output[:]}
        self._made_by_new |= {(at.scope, name) for at, names in patch.outputs.items() for name in names.values()}
        pending = [v for node in graph.nodes() if node.address in patch.removed for v in (*node.inputs, *node.outputs)]
        for node in graph.nodes():
            pending += [node.inputs[k] for k in patch.inputs.get(node.address, {}) if k < len(node.inputs)]
        self._spread([value for value in dict.fromkeys(pending) if value is not None])
        self.touched = self.nodes | patch.behind.keys() | patch.in_front.keys()
        self._names: dict[int, set[str]] = {}
        for value in self.values:
            self._names.setdefault(value.scope.number, set()).add(value.name)

    def _spread(self, pending: list[Value]) -> None:
        while pending:
            value = pending.pop()
            if value in self.values or self._is_alive(value):
                continue
            self.values.add(value)
            node = value.producer
            if node is None or node.address in self.nodes or not self._may_go(node):
                continue
            self.nodes.add(node.address)
            pending.extend(v for v in node.inputs if v is not None)

    def _is_alive(self, value: Value) -> bool:
        if value.is_output or (value.scope.number, value.name) in self._read_by_new or self._is_fed(value):
            return True
        for node, index in value.readers:  # a million times in a large graph, so without a generator
            if node.address not in self.nodes and index not in self._patch.inputs.get(node.address, ()):
                return True
        return False

    def _is_fed(self, value: Value) -> bool:
        """Whether a caller may feed the value, or not: then it stays an input, though nothing reads it."""
        return self._graph.is_overridable(value) and value.name not in self._patch.delisted

    def _may_go(self, node: Node) -> bool:
        """Whether a node, one of whose outputs is dead, has no other use."""
        if node.address in self._patch.outputs or subgraphs(node.proto):
            return False
        return not any(v is not None and self._is_alive(v) for v in node.outputs)

    def names(self, scope: Scope) -> set[str]:
        """Names that the scope no longer has: a name that moved to another node is still there."""
        gone = set(self._names.get(scope.number, ()))
        for node in scope.nodes:
            moved = self._patch.outputs.get(node.address, {})
            gone |= {node.proto.output[k] for k in moved}
        return {name for name in gone if (scope.number, name) not in self._made_by_new}


def _edit_nodes(patch: Patch, protos: Sequence[GraphProto | FunctionProto]) -> None:
    """Change inputs, outputs and attributes of the copy's nodes in place; the copy's scopes are given."""
    for address in patch.op_types.keys() | patch.inputs.keys() | patch.outputs.keys() | patch.attributes.keys():
        copy = protos[address.scope].node[address.place]
        if address in patch.op_types:
            copy.op_type = patch.op_types[address]
        for index, name in patch.inputs.get(address, {}).items():
            copy.input.extend([""] * (index + 1 - len(copy.input)))
            copy.input[index] = name
        for index in sorted(patch.dropped.get(address, ()), reverse=True):
            del copy.input[index]
        for index, name in patch.outputs.get(address, {}).items():
            copy.output[index] = name
        for name, value in patch.attributes.get(address, {}).items():
            _set_attribute(copy, name, value)


def _set_attribute(node: NodeProto, name: str, value: Any) -> None:  # noqa: ANN401 (an attribute is of any type)
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    if len(kept) != len(node.attribute):
        _keep_only(node.attribute, kept)
    if value is not None:
        node.attribute.append(helper.make_attribute(name, value))


def _edit_constants(patch: Patch, graph: Graph, scope: Scope, proto: GraphProto | FunctionProto, dead: _Dead) -> None:
    """Replace, drop and add initializers, and drop the `value_info` of names that are gone."""
    gone = dead.names(scope)
    _keep_only(proto.value_info, [entry for entry in proto.value_info if entry.name not in gone])
    if isinstance(proto, FunctionProto):
        return
    for tensor in proto.initializer:
        replacement = patch.replaced.get(scope.values[tensor.name])
        if replacement is not None:
            tensor.CopyFrom(replacement)
    initializers = {tensor.name for tensor in proto.initializer}
    _keep_only(proto.initializer, [tensor for tensor in proto.initializer if tensor.name not in gone])
    # Below IR version 4 every initializer is listed among the inputs: such an entry goes with its initializer.
    delisted = patch.delisted if scope is graph.main else set()
    delisted = delisted | (gone & initializers)
    if delisted:
        _keep_only(proto.input, [entry for entry in proto.input if entry.name not in delisted])
    if _holds_initializers(graph, scope):
        _add_initializers(patch.added.get(scope.number, ()), graph, proto)


def _holds_initializers(graph: Graph, scope: Scope) -> bool:
    """Whether new constants can be initializers: not in functions, nor in bodies before IR version 4."""
    return not scope.is_function and (scope is graph.main or graph.model.ir_version >= 4)


def _add_initializers(tensors: Iterable[TensorProto], graph: Graph, proto: GraphProto) -> None:
    for tensor in tensors:
        proto.initializer.append(tensor)
        if graph.model.ir_version < 4:
            proto.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))


def _rebuild_nodes(patch: Patch, graph: Graph, scope: Scope, proto: GraphProto | FunctionProto, dead: _Dead) -> None:
    """Drop dead nodes and put new ones in their places. Last, since it moves every node."""
    constants = [] if _holds_initializers(graph, scope) else patch.added.get(scope.number, [])
    if not constants and not any(node.address in dead.touched for node in scope.nodes):
        return
    originals = list(proto.node)
    kept = [_appended(proto, _constant_node(tensor)) for tensor in constants]
    for node, copy in zip(scope.nodes, originals, strict=True):
        kept += [_appended(proto, new) for new in patch.in_front.get(node.address, ())]
        if node.address not in dead.nodes:
            kept.append(copy)
        kept += [_appended(proto, new) for new in patch.behind.get(node.address, ())]
    _keep_only(proto.node, kept)


def _constant_node(tensor: TensorProto) -> NodeProto:
    return helper.make_node("Constant", [], [tensor.name], value=tensor)


def _appended(proto: GraphProto | FunctionProto, new: NodeProto) -> NodeProto:
    proto.node.append(new)
    return proto.node[-1]


def _keep_only(repeated: Any, kept: list[Any]) -> None:  # noqa: ANN401 (protobuf's repeated field)
    """Keep those messages of a repeated field, in that order, without copying any: sort, then cut the end off."""
    everything = list(repeated)
    if len(kept) == len(everything) and all(one is other for one, other in zip(kept, everything, strict=True)):
        return
    # Python objects for the same message are the same object as long as one is held, which `everything` does.
    order = {id(message): place for place, message in enumerate(kept)}
    repeated.sort(key=lambda message: order.get(id(message), len(kept)))
    del repeated[len(kept) :]


__all__ = ["Names", "Patch", "apply"]

"""Putting the bodies of model-local functions in the place of calls: of exactly those calls that are named.

`onnx.inliner` knows functions, not calls: it puts in all calls of a function or none, sends the model through its
bytes, which can not be more than 2 GiB, and says nothing of where a node came from. So the bodies are put in here.

A node that comes from a call is named ``call/node``, a value ``call/value``, or so with a number behind it: no scope
uses either name already. Outputs of the call keep their names. The nodes keep their doc strings, metadata and fields
that nobody knows; what the model declares of a body's values comes along without its symbols, since a symbol of a
function means another number in every call. A function that nothing calls any more goes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, ValueInfoProto, helper

from bnfold.model.calls import Calls, called_by, called_keys, key_of, outermost
from bnfold.model.graph import ONNX_DOMAIN, Address, Node, Scope, refuse_bytes, scope_protos, subgraphs
from bnfold.model.names import Names
from bnfold.model.patch import _appended, _keep_only

CallPath: TypeAlias = tuple[Address, ...]
"""A call and the calls that lead to it: the first by its place in the model, each further one by its place in the
function that the one before calls. Of a node that comes from a call: that call's, then the node's own place."""

IDENTITY_OF_ALL_TYPES = 16
"""From this opset on Identity takes every type: tensors, sequences and optionals."""


@dataclass
class Inlined:
    """A model with bodies in the place of calls.

    Attributes:
        model: a copy; the original is not touched.
        origins: names of nodes that come from calls, which no other node has, to where they come from.
    """

    model: ModelProto
    origins: dict[str, CallPath] = field(default_factory=dict)


def inline(calls: Calls, chosen: Collection[CallPath]) -> Inlined:
    """A copy of the model in which the chosen calls are replaced by the bodies of their functions.

    Args:
        calls: of the model, sound.
        chosen: calls that `may_inline` allows; with each one all that lead to it.
    """
    made = Inlined(ModelProto())
    made.model.CopyFrom(calls.graph.model)
    bodies = _Bodies(calls, frozenset(chosen), made.origins)
    copies = scope_protos(made.model)
    for path in sorted({path[:1] for path in chosen}):
        host = copies[outermost(calls.graph.scopes[path[0].scope]).number]
        _import_opsets(calls, path, chosen, made.model if isinstance(host, GraphProto) else host)
    for scope, copy in zip(calls.graph.scopes, copies, strict=True):
        if any((node.address,) in bodies.chosen for node in scope.nodes):
            _replace_calls(scope, copy, bodies)
    _drop_functions(made.model, calls)
    return made


def may_inline(call: Node, function: Scope, opsets: Mapping[str, int]) -> bool:
    """Whether the function's body means the same in the place of the call.

    Args:
        call: the call.
        function: what it calls.
        opsets: what the place of the call imports.
    """
    proto = function.proto
    if not isinstance(proto, FunctionProto) or not proto.opset_import:
        return False
    if any(opsets.get(domain, version) != version for domain, version in function.opsets.items()):
        return False
    if len(call.proto.input) > len(proto.input) or len(call.proto.output) > len(proto.output):
        return False
    referring = (attribute for node in proto.node for attribute in node.attribute if attribute.ref_attr_name)
    if any(_holds_graph(attribute) for attribute in (*call.proto.attribute, *proto.attribute_proto, *referring)):
        return False  # a graph names the values of the place where it is written, not of the one where it would stand
    if any(value.producer is None and not value.is_input for value in function.values.values()):
        return False
    omitted = {name for index, name in enumerate(proto.input) if not any(call.proto.input[index : index + 1])}
    passed_on = [proto.output[index] for index in _passes_on(proto)]
    if omitted.intersection(passed_on):
        return False
    return not passed_on or opsets.get(ONNX_DOMAIN, 0) >= IDENTITY_OF_ALL_TYPES


def _holds_graph(attribute: AttributeProto) -> bool:
    is_said = attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) and not attribute.ref_attr_name
    return is_said or attribute.HasField("g") or bool(attribute.graphs)


def _passes_on(function: FunctionProto) -> list[int]:
    """The outputs that no node of the body makes for them alone: an input as it is, or another output once more."""
    seen = set(function.input)
    found = []
    for index, name in enumerate(function.output):
        if name in seen:
            found.append(index)
        seen.add(name)
    return found


def _import_opsets(
    calls: Calls, path: CallPath, chosen: Collection[CallPath], host: ModelProto | FunctionProto
) -> None:
    """Let the host import what the bodies import, where it does not import that domain yet."""
    present = {ONNX_DOMAIN if entry.domain == "ai.onnx" else entry.domain for entry in host.opset_import}
    for each in sorted(other for other in chosen if other[:1] == path):
        function = calls.called(node_at(calls, each[-1]))
        for domain, version in (function.opsets if function else {}).items():
            if domain not in present:
                present.add(domain)
                host.opset_import.append(helper.make_opsetid(domain, version))


def node_at(calls: Calls, address: Address) -> Node:
    """The node that stands there."""
    return calls.graph.scopes[address.scope].nodes[address.place]


def _replace_calls(scope: Scope, copy: GraphProto | FunctionProto, bodies: _Bodies) -> None:
    """Put bodies in the place of the calls in one scope of the copy; its other nodes stay the very same messages."""
    kept: list[NodeProto] = []
    for node, original in zip(scope.nodes, list(copy.node), strict=True):
        if (node.address,) not in bodies.chosen:
            kept.append(original)
            continue
        nodes, infos = bodies.of(original, (node.address,))
        kept += [_appended(copy, made) for made in nodes]
        copy.value_info.extend(infos)
    _keep_only(copy.node, kept)


def _drop_functions(model: ModelProto, calls: Calls) -> None:
    """Drop the functions that were called and are no more; then those that only they called."""
    before, left = called_keys(calls.graph.model), called_keys(model)
    functions = {key_of(function): function for function in model.functions}
    gone = [key for key in functions if left[key] == 0 < before[key]]
    for key in gone:  # grows by the functions that only those in it called
        for called, count in called_by(functions[key].node).items():
            left[called] -= count
            if not left[called] and called in functions:
                gone.append(called)
    dropped = set(gone)
    kept = [function for function in model.functions if key_of(function) not in dropped]
    if len(kept) < len(model.functions):
        _keep_only(model.functions, kept)


@dataclass
class _Call:
    """A call whose body is being put in.

    Attributes:
        path: the call.
        prefix: what stands in front of the names of its nodes and values.
        attributes: what its function's attributes are in it.
        infos: what the model declares of the values that come from it.
    """

    path: CallPath
    prefix: str
    attributes: Mapping[str, AttributeProto]
    infos: list[ValueInfoProto]


class _Bodies:
    """Makes the nodes that take the place of calls."""

    def __init__(self, calls: Calls, chosen: frozenset[CallPath], origins: dict[str, CallPath]) -> None:
        self.chosen = chosen
        self._calls = calls
        self._origins = origins
        self._names = Names(calls.graph)

    def of(self, call: NodeProto, path: CallPath) -> tuple[list[NodeProto], list[ValueInfoProto]]:
        """The nodes that take the place of a call, and what is declared of their values.

        Args:
            call: the call with the names and attributes that hold where the nodes will stand.
            path: the call.
        """
        function = self._calls.called(node_at(self._calls, path[-1]))
        if function is None or not isinstance(function.proto, FunctionProto):
            raise AssertionError(f"{path} is no call")
        prefix = call.name or next((name for name in call.output if name), call.op_type)
        made = _Call(path, prefix, _attributes(call, function.proto), [])
        names = self._interface(call, function.proto)
        own = [name for name in function.values if name not in names]
        names.update({name: self._names.fresh(f"{prefix}/{name}") for name in own})
        nodes = self._nodes(function, [_copy(node.proto) for node in function.nodes], names, made)
        nodes += self._identities(call, function.proto, names, made)
        made.infos[:0] = [_info(entry, names) for entry in function.proto.value_info if entry.name in own]
        return nodes, made.infos

    def _interface(self, call: NodeProto, function: FunctionProto) -> dict[str, str]:
        """The names of the function's inputs, and of the outputs that the call takes, in the place of the call."""
        given = [*call.input, *[""] * (len(function.input) - len(call.input))]
        names = {"": "", **dict(zip(function.input, given, strict=True))}
        passed_on = _passes_on(function)
        for index, name in enumerate(call.output):
            if name and index not in passed_on:
                names[function.output[index]] = name
        return names

    def _identities(
        self, call: NodeProto, function: FunctionProto, names: Mapping[str, str], made: _Call
    ) -> Iterator[NodeProto]:
        for index in _passes_on(function):
            if index < len(call.output) and call.output[index]:
                name = self._names.fresh(f"{made.prefix}/Identity")
                yield helper.make_node("Identity", [names[function.output[index]]], [call.output[index]], name=name)

    def _nodes(self, scope: Scope, copies: list[NodeProto], names: Mapping[str, str], made: _Call) -> list[NodeProto]:
        """The copies of a scope's nodes as they read in the place of the call, with the bodies of chosen calls."""
        found: list[NodeProto] = []
        for node, copy in zip(scope.nodes, copies, strict=True):
            path = (*made.path, node.address)
            _resolve_attributes(copy, made.attributes)
            copy.input[:] = [names[name] for name in copy.input]
            copy.output[:] = [names[name] for name in copy.output]
            copy.name = self._names.fresh(f"{made.prefix}/{copy.name or copy.op_type}")
            for body, inner in zip(subgraphs(copy), self._calls.bodies.get(node.address, ()), strict=True):
                self._rename_body(body, inner, names, made)
            if path in self.chosen:
                nodes, infos = self.of(copy, path)
                found += nodes
                made.infos.extend(infos)
            else:
                self._origins[copy.name] = path
                found.append(copy)
        return found

    def _rename_body(self, body: GraphProto, scope: Scope, outer: Mapping[str, str], made: _Call) -> None:
        """Give new names to all that a body defines: in the place of the call they might hide others."""
        names = {**outer, **{name: self._names.fresh(f"{made.prefix}/{name}") for name in scope.values if name}}
        inside = _Call(made.path, made.prefix, made.attributes, [])
        nodes = self._nodes(scope, [_copy(node) for node in body.node], names, inside)
        del body.node[:]
        body.node.extend(nodes)
        for entry in (*body.input, *body.output):
            entry.CopyFrom(_info(entry, names))
        for tensor in body.initializer:
            tensor.name = names[tensor.name]
        for sparse in body.sparse_initializer:
            sparse.values.name = names[sparse.values.name]
        infos = [_info(entry, names) for entry in body.value_info if entry.name in scope.values]
        del body.value_info[:]
        body.value_info.extend([*infos, *inside.infos])
        for annotation in body.quantization_annotation:
            annotation.tensor_name = names.get(annotation.tensor_name, annotation.tensor_name)
            for parameter in annotation.quant_parameter_tensor_names:
                parameter.value = names.get(parameter.value, parameter.value)


def _copy(node: NodeProto) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy


def _attributes(call: NodeProto, function: FunctionProto) -> dict[str, AttributeProto]:
    """What the call sets, else what the function states for a call that does not."""
    return {attribute.name: attribute for attribute in (*function.attribute_proto, *call.attribute)}


def _resolve_attributes(node: NodeProto, attributes: Mapping[str, AttributeProto]) -> None:
    """Put what the call sets where the node refers to it; one that is not set is absent (ONNX IR, functions)."""
    for attribute in list(node.attribute):
        if not attribute.ref_attr_name:
            continue
        found, name = attributes.get(attribute.ref_attr_name), attribute.name
        refuse_bytes(name)
        if found is None:
            node.attribute.remove(attribute)
            continue
        attribute.CopyFrom(found)
        attribute.name = name


def _info(entry: ValueInfoProto, names: Mapping[str, str]) -> ValueInfoProto:
    """What is declared of a value, under its new name; a symbol means something in its function only."""
    copy = ValueInfoProto()
    copy.CopyFrom(entry)
    copy.name = names.get(entry.name, entry.name)
    for dim in copy.type.tensor_type.shape.dim if copy.type.tensor_type.HasField("shape") else ():
        if dim.HasField("dim_param"):
            dim.ClearField("dim_param")
    return copy

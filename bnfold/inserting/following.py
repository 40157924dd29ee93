"""What follows a wire: a normalization, a quantizer, an activation, or an output with no linear operator in between."""

from __future__ import annotations

from bnfold.inserting.view import View
from bnfold.model.graph import ONNX_DOMAIN, Address, Node, Value

_LAYOUT = frozenset({"Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_SCALING, _SHIFTING = frozenset({"Div", "Mul"}), frozenset({"Add", "Sub"})
ACTIVATIONS = frozenset(
    {
        "Celu",
        "Clip",
        "Elu",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Mish",
        "PRelu",
        "Relu",
        "Selu",
        "Sigmoid",
        "Softplus",
        "Softsign",
        "Swish",
        "Tanh",
        "ThresholdedRelu",
    }
)


class Following:
    """Answers about what is computed from a wire.

    Args:
        view: the graph.
        linear: the addresses of its linear operators with constant weights.
    """

    def __init__(self, view: View, linear: frozenset[Address]) -> None:
        self.view = view
        self.linear = linear

    def normalization(self, value: Value) -> str | None:
        """A normalization that a wire goes into, through layout, activations and constants; in words.

        One that an exporter has written out is a product with a constant per channel, and a shift by another.
        """
        seen, pending = set[tuple[Value, frozenset[bool]]](), [(value, frozenset[bool]())]
        while pending:
            wire, written = pending.pop()
            if (wire, written) in seen:
                continue
            seen.add((wire, written))
            gated = self.activation(wire)
            pending += [(gated, written)] if gated is not None else []
            for node, output in self.view.next_values(wire):
                if node is None or self._lets_pass(node):
                    pending.append((output, written))
                elif node.op_type == "BatchNormalization" and node.domain == ONNX_DOMAIN:
                    if node.inputs[0] is wire:
                        return f"BatchNormalization '{node.label}'"
                elif self._is_per_channel(node, _SCALING | _SHIFTING):
                    written = written | {node.op_type in _SCALING}
                    if len(written) > 1:
                        return f"a normalization that is written out, up to {node.op_type} '{node.label}'"
                    pending.append((output, written))
        return None

    def quantizer(self, value: Value) -> bool:
        """Whether a wire is quantized, right away or behind layout and activations."""
        seen, pending = set[Value](), [value]
        while pending:
            wire = pending.pop()
            if any(node.op_type == "QuantizeLinear" for node, _ in wire.readers):
                return True
            seen.add(wire)
            passed = [out for node, out in self.view.next_values(wire) if node is None or self._lets_pass(node)]
            pending += [output for output in passed if output not in seen]
        return False

    def reaches_output(self, value: Value) -> bool:
        """Whether a way leads from a wire to an output of the model with no linear operator on it."""
        pending = [value]
        seen: set[Value] = set()
        while pending:
            wire = pending.pop()
            if self.view.is_graph_output(wire):
                return True
            if wire in seen:
                continue
            seen.add(wire)
            pending += [out for node, out in self.view.next_values(wire) if node is None or not self._is_linear(node)]
        return False

    def activation(self, value: Value) -> Value | None:
        """The output of the activation that is all that reads a wire: one node, or ``x * sigmoid(x)``."""
        if value.is_output:
            return None
        readers = [node for node, _ in value.readers]
        if any(node.scope is not value.scope for node in readers):
            return None
        if len(readers) == 1 and _is_activation(readers[0]) and value.readers[0][1] == 0:
            return readers[0].outputs[0]
        gates = [node for node in readers if node.op_type in ("Sigmoid", "HardSigmoid")]
        products = [node for node in readers if node.op_type == "Mul"]
        if len(readers) == 2 and len(gates) == len(products) == 1 and gates[0].outputs[0] in products[0].inputs:
            return products[0].outputs[0]
        return None

    def _is_linear(self, node: Node) -> bool:
        return node.address in self.linear

    def _lets_pass(self, node: Node) -> bool:
        return node.domain == ONNX_DOMAIN and (node.op_type in _LAYOUT or _is_activation(node))

    def _is_per_channel(self, node: Node, op_types: frozenset[str]) -> bool:
        """Whether a node is a product or sum with a constant that is not the same for all channels."""
        if node.domain != ONNX_DOMAIN or node.op_type not in op_types:
            return False
        op = self.view.operator(node)
        constant = op.constant(0) or op.constant(1)
        return constant is not None and sum(size > 1 for size in constant.shape) == 1


def _is_activation(node: Node) -> bool:
    return node.domain == ONNX_DOMAIN and node.op_type in ACTIVATIONS

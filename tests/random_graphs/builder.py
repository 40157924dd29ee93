"""A graph under construction: typed wires of any rank, constants in any form, bodies and functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import FunctionProto, NodeProto, TensorProto, helper, numpy_helper
from support import Array

from random_graphs.options import Options

LARGEST = 3000
"""Wires of more elements are not made: they would only cost time."""
HIGHEST_RANK = 5


class Unfit(Exception):
    """The step does not fit the wire, or the opset; the graph is what it was."""


@dataclass(frozen=True)
class Wire:
    """A value with its shape for the sizes that the graph will be fed, and its element type."""

    name: str
    shape: tuple[int, ...]
    kind: int

    @property
    def rank(self) -> int:
        return len(self.shape)


@dataclass
class Whole:
    """What all scopes of one model share.

    Attributes:
        simple: how many of its constants are plain initializers.
        shared: how many are ones that it has already, of the same shape.
        quantized: how many of its weights are integers behind DequantizeLinear.
    """

    options: Options
    rng: np.random.Generator
    taken: set[str] = field(default_factory=set)
    tempting: list[str] = field(default_factory=list)
    functions: list[FunctionProto] = field(default_factory=list)
    conditions: list[str] = field(default_factory=list)
    overridable: list[str] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    simple: float = 0.6
    shared: float = 0.1
    quantized: float = 0.07

    def name(self, stem: str) -> str:
        """A new name in the style of this graph."""
        number, style = len(self.taken), self.options.names
        name = f"{stem}{number}" if style == "plain" else f"/layer.{number}/{stem}_output:0"
        if style == "colliding":
            name = f"{stem}{number}"
            if self.tempting and self.rng.random() < 0.3:
                name = self.tempting.pop()
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name

    def tempt(self, name: str) -> None:
        """Names that bnfold might give to what it adds beside `name`."""
        if self.options.names == "colliding":
            self.tempting += [f"{name}.folded", f"{name}.bias", f"{name}_bias", f"{name}.product"]


@dataclass(eq=False)
class Builder:
    """One scope: the main graph, a body, or a function.

    Attributes:
        whole: the model.
        outer: the scope that this one captures from.
        in_function: a function has Constant nodes alone.
    """

    whole: Whole
    outer: Builder | None = None
    in_function: bool = False
    nodes: list[NodeProto] = field(default_factory=list)
    initializers: list[TensorProto] = field(default_factory=list)
    outputs: list[Wire] = field(default_factory=list)
    shared: dict[tuple[tuple[int, ...], int, str], list[str]] = field(default_factory=dict)

    @property
    def rng(self) -> np.random.Generator:
        return self.whole.rng

    @property
    def opset(self) -> int:
        return self.whole.options.opset

    @property
    def kind(self) -> int:
        return self.whole.options.kind

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def pick(self, *choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def number(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both possible."""
        return int(self.rng.integers(low, high + 1))

    def require(self, fits: bool) -> None:
        if not fits:
            raise Unfit

    def add(
        self, op_type: str, inputs: Sequence[str], shape: Sequence[int], kind: int | None = None, **attributes: Any
    ) -> Wire:
        """A node with one output of that shape."""
        return self.add_many(op_type, inputs, [shape], kind, **attributes)[0]

    def add_many(
        self,
        op_type: str,
        inputs: Sequence[str],
        shapes: Sequence[Sequence[int]],
        kind: int | None = None,
        domain: str = "",
        **attributes: Any,
    ) -> list[Wire]:
        """A node with an output per shape."""
        for shape in shapes:
            self.require(0 < int(np.prod(shape, dtype=np.int64)) <= LARGEST and len(shape) <= HIGHEST_RANK)
        kind = self.kind if kind is None else kind
        wires = [Wire(self.whole.name("w"), tuple(int(n) for n in shape), kind) for shape in shapes]
        name = self.whole.name(f"{op_type}_") if self.chance(0.5) else ""
        stated = {key: value for key, value in attributes.items() if value is not None}
        outputs = [wire.name for wire in wires]
        self.nodes.append(helper.make_node(op_type, list(inputs), outputs, name=name, domain=domain, **stated))
        self.whole.used.append(op_type)
        return wires

    def unary(self, op_type: str, wire: Wire, **attributes: Any) -> Wire:
        return self.add(op_type, [wire.name], wire.shape, wire.kind, **attributes)

    def integers(self, values: Sequence[int]) -> str:
        """A constant of int64, as operators take shapes and axes."""
        array = np.asarray(values, np.int64)
        if self.chance(0.1) and not self.in_function and self.opset >= 9:
            narrow = self.stored(np.clip(array, -(2**31), 2**31 - 1).astype(np.int32))
            return self.derived("Cast", [narrow], to=TensorProto.INT64)
        return self.in_node(array) if self.in_function or self.chance(0.2) else self.stored(array)

    def stored(self, values: Array, stem: str = "k") -> str:
        """An initializer of this scope, or of the outermost one."""
        home = self
        if self.chance(0.5):
            while home.outer is not None and not home.in_function:
                home = home.outer
        if home.in_function:
            return self.in_node(values)
        name = self.whole.name(stem)
        home.initializers.append(numpy_helper.from_array(values, name))
        self.whole.tempt(name)
        return name

    def in_node(self, values: Array) -> str:
        """A Constant node."""
        name = self.whole.name("c")
        tensor = numpy_helper.from_array(values, name)
        self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        self.whole.tempt(name)
        return name

    def derived(self, op_type: str, inputs: Sequence[str], **attributes: Any) -> str:
        """A node that computes a constant from constants."""
        name = self.whole.name("d")
        self.nodes.append(helper.make_node(op_type, list(inputs), [name], **attributes))
        self.whole.tempt(name)
        return name

    def body(self, *, in_function: bool = False) -> Builder:
        """A scope inside this one."""
        return Builder(self.whole, None if in_function else self, in_function)

    def mark(self) -> Callable[[], None]:
        """Gives what takes back all that is added from now on."""
        counts = len(self.nodes), len(self.initializers), len(self.outputs), len(self.whole.functions)
        conditions, overridable, used = (
            len(self.whole.conditions),
            len(self.whole.overridable),
            len(self.whole.used),
        )
        shared = {key: list(names) for key, names in self.shared.items()}
        outer = None if self.outer is None else self.outer.mark()

        def undo() -> None:
            del self.nodes[counts[0] :], self.initializers[counts[1] :], self.outputs[counts[2] :]
            del self.whole.functions[counts[3] :], self.whole.conditions[conditions:]
            del self.whole.overridable[overridable:], self.whole.used[used:]
            self.shared = shared
            if outer is not None:
                outer()

        return undo


def dtype(kind: int) -> npt.DTypeLike:
    """numpy's name of an ONNX element type."""
    return helper.tensor_dtype_to_np_dtype(kind)

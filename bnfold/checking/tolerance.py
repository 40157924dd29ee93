"""How far two outputs may be apart before they count as different, and why so far.

Three things move the output of a graph that is rewritten without changing its mathematics:

* **Noise.** Another order of the same operations rounds otherwise. How much that matters in *this* model is measured:
  onnxruntime runs the original as it stands and as it would itself rewrite it, and the two differ by the noise. Where
  that does not explain a difference, it also runs with its weights one rounding off (`bnfold.checking.rerounded`).
  Where that does not either, and a few seconds are enough to evaluate both graphs in float64, what a run is off from
  that is noise too, if the other graph is no further from the truth than the original (`bnfold.checking.truth`).
* **Rounding of the constants.** A fold rounds every weight once more. Each linear operator then adds an independent
  error of about one epsilon of the largest |y|, and independent errors grow as the square root of their number:

      floor = k * sqrt(1 + L) * epsilon * max|y|        L: linear operators of the graph

  k is 16 for float32 and float64, whose sums round at every addition: on real models the noise of a float32 graph
  reaches 7 * sqrt(1 + L) epsilon, a fold's own error is 1 to 2 epsilon, 12 on a face detector with 52 convolutions.
  k is 4 for float16 and bfloat16, which the CPU provider sums up in float32 and rounds once per operator: folds were
  measured at 0.4 to 0.9 epsilon.

* **Steps.** A QuantizeLinear turns a rounding into a whole step of its scale where a value lies between two integers.
  What a few such steps do to an output is measured on the original, and the graphs are compared without their
  quantizers as well (see `bnfold.checking.quantizers`). On models with
  quantized activations a hair of a 64th of a step moved the outputs by 1e-3 to 1.5e-2 of max|y|, folds by 1e-3 to 9e-3,
  and the same folds with the quantizers taken out by 3e-6 to 3e-5: that difference is the steps. A bias in int32 is
  rounded to steps as well; where the other model has new ones, half of such a step is part of what is measured.

The epsilon is that of the narrowest float type that the graph works with, whatever the type of its outputs.
The tolerance is the largest of 4 * noise, 4 * steps and the floor. Types that are not rounded have to be equal, but for
integers that a quantizer moves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

from bnfold.checking.subject import Subject, subgraphs
from bnfold.runtime import FLOATS

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

TF32 = "tf32"
"""What CUDA may round the factors of a float32 product to: the exponents of float32, the 10 bits of float16."""

_EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, TF32: 2.0**-10, "bfloat16": 2.0**-7}
_ROUNDINGS = {"float64": 16, "float32": 16, "float16": 4, TF32: 4, "bfloat16": 4}
_NOISE_FACTOR = 4
LINEAR = frozenset(
    {
        "Conv",
        "ConvTranspose",
        "DeformConv",
        "Einsum",
        "FusedConv",
        "FusedMatMul",
        "GRU",
        "Gemm",
        "LSTM",
        "MatMul",
        "RNN",
    }
)
"""Operators that add up products, and with them roundings."""


@dataclass(frozen=True)
class Precision:
    """What of a graph decides how finely its outputs can be compared.

    Attributes:
        narrowest: The narrowest float type among its inputs, constants and casts; `None` when it has none.
        linear: How many linear operators it has, in subgraphs and functions too.
    """

    narrowest: str | None
    linear: int


@dataclass(frozen=True)
class Tolerance:
    """A rule for one output: `absolute + relative * max|y|`, and where it comes from in words."""

    absolute: float
    relative: float
    basis: str

    def at(self, max_y: float) -> float:
        """The tolerance for a largest |y|."""
        return self.absolute + self.relative * max_y


def precision_of(model: Subject, *, tf32: bool = False) -> Precision:
    """Read from a model what decides its tolerance; weights in other files are not loaded.

    Args:
        model: The model.
        tf32: Whether it runs where products of float32 are rounded to TF32.

    Raises:
        ModelError: The model can not be parsed.
    """
    types = {_name(code) for code in _element_types(model.proto.graph, model.nodes)}
    if tf32 and "float32" in types:
        types.add(TF32)
    narrowest = max((name for name in types if name in _EPSILON), key=_EPSILON.__getitem__, default=None)
    return Precision(narrowest, sum(node.op_type in LINEAR for node in model.nodes))


def tolerance_for(dtype: str, precision: Precision, noise: float, steps: float = 0.0) -> Tolerance:
    """The tolerance of an output whose own noise is `noise * max|y|`.

    Args:
        dtype: The element type of the output.
        precision: That of the original graph.
        noise: The largest ratio of noise to max|y| over the draws.
        steps: The same for what a few steps of its integers do.
    """
    if dtype not in FLOATS:
        return _tolerance_of_steps(steps) if steps else Tolerance(0.0, 0.0, f"{dtype} values have to be equal")
    narrowest = max((dtype, precision.narrowest or dtype), key=_EPSILON.__getitem__)
    factor = _ROUNDINGS[narrowest] * sqrt(1 + precision.linear)
    floor = factor * _EPSILON[narrowest]
    if steps > noise and _NOISE_FACTOR * steps > floor:
        return _tolerance_of_steps(steps)
    if _NOISE_FACTOR * noise > floor:
        basis = f"{_NOISE_FACTOR} x the original's own rounding noise, {noise:.1e} x max|y|"
        return Tolerance(0.0, _NOISE_FACTOR * noise, basis)
    basis = f"{factor:.0f} x {narrowest} epsilon x max|y|, for {precision.linear} linear operators"
    return Tolerance(0.0, floor, basis)


def _tolerance_of_steps(steps: float) -> Tolerance:
    basis = f"{_NOISE_FACTOR} x what a few steps of its integers do to the original, {steps:.1e} x max|y|"
    return Tolerance(0.0, _NOISE_FACTOR * steps, basis)


def tolerance_given(dtype: str, rtol: float | None, atol: float | None) -> Tolerance:
    """The tolerance that the caller asks for; one that is not given is 0. Types that are not rounded stay exact."""
    if dtype not in FLOATS:
        return Tolerance(0.0, 0.0, f"{dtype} values have to be equal")
    absolute, relative = atol or 0.0, rtol or 0.0
    return Tolerance(absolute, relative, f"as given: {absolute:g} + {relative:g} x max|y|")


def _element_types(graph: GraphProto, nodes: Iterable[NodeProto]) -> Iterator[int]:
    """The types of a graph's inputs and initializers, and those that any node casts to or holds as a constant."""
    yield from (value.type.tensor_type.elem_type for value in graph.input)
    yield from (tensor.data_type for tensor in graph.initializer)
    for node in nodes:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to":
                yield attribute.i
            if attribute.HasField("t"):
                yield attribute.t.data_type
            yield from (tensor.data_type for inner in subgraphs(attribute) for tensor in inner.initializer)


def _name(code: int) -> str:
    """The name of an ONNX element type as numpy and ml_dtypes spell it."""
    import onnx

    name = onnx.TensorProto.DataType.Name(code).lower() if code in onnx.TensorProto.DataType.values() else ""
    return {"float": "float32", "double": "float64"}.get(name, name)

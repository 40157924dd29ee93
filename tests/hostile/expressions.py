"""Constant expressions of a few bytes that would fill any memory, or never end."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, helper, numpy_helper
from support import graph_model, normal, statistics

from hostile.case import FOLDS, STAYS, hostile


def with_weight(expression: str, *, into: str = "W", **constants: npt.ArrayLike) -> ModelProto:
    """A Conv and a BatchNormalization; the expression makes the Conv's weight, or another constant."""
    model = graph_model(
        f"(float[N,3,5,5] x) => (float[A,B,C,D] y) "
        f"{{ {expression} c = Conv(x, W) y = BatchNormalization(c, s, b, m, v) }}",
    )
    for key, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), key))
    if into != "W":
        model.graph.initializer.append(numpy_helper.from_array(normal(4, 3, 3, 3), "W"))
    for key, values in zip("sbmv", statistics(4), strict=True):
        if key != into:
            model.graph.initializer.append(numpy_helper.from_array(values, key))
    return model


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


@hostile(STAYS, is_run=False)
def constant_of_shape_of_a_terabyte() -> ModelProto:
    return with_weight("W = ConstantOfShape(d)", d=ints(4, 3, 2**19, 2**19))


@hostile(STAYS, is_run=False)
def constant_of_shape_of_8_gigabytes() -> ModelProto:
    return with_weight("W = ConstantOfShape(d)", d=ints(4, 2**9, 2**10, 2**10))


@hostile(STAYS)
def constant_of_shape_overflows() -> ModelProto:
    return with_weight("W = ConstantOfShape(d)", d=ints(4, 2**62, 4, 1))


@hostile(STAYS)
def constant_of_shape_is_negative() -> ModelProto:
    return with_weight("W = ConstantOfShape(d)", d=ints(4, -3, -3, 3))


@hostile(STAYS, is_run=False)
def expand_to_a_terabyte() -> ModelProto:
    return with_weight("W = Expand(w, d)", w=normal(4, 3, 1, 1), d=ints(4, 3, 2**19, 2**19))


@hostile(STAYS, is_run=False)
def expand_to_8_gigabytes() -> ModelProto:
    return with_weight("e = Expand(w, d) W = Neg(e)", w=normal(4, 3, 1, 1), d=ints(4, 3, 2**13, 2**14))


@hostile(STAYS, is_run=False)
def tile_to_a_terabyte() -> ModelProto:
    return with_weight("W = Tile(w, d)", w=normal(4, 3, 1, 1), d=ints(1, 1, 2**19, 2**19))


@hostile(STAYS, is_run=False)
def range_of_10_to_the_12() -> ModelProto:
    return with_weight(
        "r = Range(zero, end, one) W = Reshape(r, to)",
        zero=np.float32(0),
        one=np.float32(1),
        end=np.float32(1e12),
        to=ints(4, 3, -1, 1),
    )


@hostile(STAYS, is_run=False)
def thirty_doublings() -> ModelProto:
    """Each Concat reads the one before it twice."""
    model = with_weight("W = Identity(w30)", w0=normal(4, 3, 1, 1))
    doublings = [helper.make_node("Concat", [f"w{k}"] * 2, [f"w{k + 1}"], axis=3) for k in range(30)]
    nodes = [*doublings, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


@hostile(STAYS, is_run=False)
def a_hundred_tiles_of_a_gigabyte() -> ModelProto:
    """Each of them is small enough to be made; all of them together are not."""
    tiles = " ".join(f"t{k} = Tile(w, d)" for k in range(100))
    summed = ", ".join(f"t{k}" for k in range(100))
    return with_weight(f"{tiles} W = Sum({summed})", w=normal(4, 3, 1, 1), d=ints(1, 1, 2**11, 2**12))


@hostile(STAYS, is_run=False)
def a_thousand_copies_of_a_weight() -> ModelProto:
    """A row of operators, each as large as the weight in front."""
    row = " ".join(f"t{k + 1} = Neg(t{k})" for k in range(1000))
    return with_weight(f"t0 = ConstantOfShape(d) {row} W = Identity(t1000)", d=ints(4, 3, 2**11, 2**11))


@hostile(STAYS, is_run=False)
def gather_repeats_a_row_without_end() -> ModelProto:
    return with_weight(
        "i = ConstantOfShape<value = int64[1] {0}>(d) W = Gather(w, i)", w=normal(4, 3, 2**10, 1), d=ints(2**20)
    )


@hostile(STAYS)
def gather_is_out_of_range() -> ModelProto:
    return with_weight("W = Gather(w, i)", w=normal(4, 3, 3, 3), i=ints(0, 1, 2, 2**40))


@hostile(STAYS, is_run=False)
def add_broadcasts_to_a_terabyte() -> ModelProto:
    return with_weight("a = ConstantOfShape(d) b2 = Reshape(a, e) W = Add(a, b2)", d=ints(2**20), e=ints(2**20, 1))


@hostile(STAYS, is_run=False)
def scale_is_a_terabyte() -> ModelProto:
    return with_weight("s = ConstantOfShape(d)", into="s", d=ints(2**38))


@hostile(STAYS, is_run=False)
def cast_of_ones_to_8_gigabytes() -> ModelProto:
    return with_weight("a = ConstantOfShape(d) W = Cast<to = 11>(a)", d=ints(4, 3, 2**13, 2**14))


@hostile(FOLDS)
def expression_is_three_thousand_deep() -> ModelProto:
    row = " ".join(f"t{k + 1} = Neg(t{k})" for k in range(3000))
    return with_weight(f"{row} W = Identity(t3000)", t0=normal(4, 3, 3, 3))


@hostile(FOLDS)
def expression_reads_each_value_twice() -> ModelProto:
    """2^200 ways lead to the first value; each is computed once."""
    row = " ".join(f"t{k + 1} = Max(t{k}, t{k})" for k in range(200))
    return with_weight(f"{row} W = Identity(t200)", t0=normal(4, 3, 3, 3))


@hostile(STAYS)
def slice_steps_are_zero() -> ModelProto:
    return with_weight("W = Slice(w, a, e, x, z)", w=normal(4, 3, 3, 3), a=ints(0), e=ints(3), x=ints(0), z=ints(0))


@hostile(STAYS)
def pow_is_not_finite() -> ModelProto:
    return with_weight("W = Pow(w, p)", w=-np.abs(normal(4, 3, 3, 3)), p=np.float32(1e30))


@hostile(STAYS)
def split_has_a_million_parts() -> ModelProto:
    model = with_weight("W = Identity(p0)", w=normal(4, 3, 3, 3))
    split = helper.make_node("Split", ["w"], [f"p{k}" for k in range(100_000)], axis=0, num_outputs=100_000)
    model.graph.node.insert(0, split)
    return model


def quantized(expression: str) -> ModelProto:
    """`with_weight` of integers behind DequantizeLinear."""
    return with_weight(f"t0 = DequantizeLinear(q, k) {expression}", q=np.ones((4, 3, 3, 3), np.int8), k=np.float32(0.5))


@hostile(STAYS)
def expression_of_integers_is_three_thousand_deep() -> ModelProto:
    return quantized(" ".join(f"t{k + 1} = Neg(t{k})" for k in range(3000)) + " W = Identity(t3000)")


@hostile(STAYS)
def expression_of_integers_reads_each_value_twice() -> ModelProto:
    return quantized(" ".join(f"t{k + 1} = Max(t{k}, t{k})" for k in range(200)) + " W = Identity(t200)")


@hostile("does not hold what it declares")
def gather_of_a_type_that_nobody_knows() -> ModelProto:
    model = with_weight("W = Gather(w, i)", w=normal(4, 3, 3, 3), i=ints(0, 1, 2, 3))
    next(tensor for tensor in model.graph.initializer if tensor.name == "w").data_type = 65536
    return model

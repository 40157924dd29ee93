"""Shapes that disagree with the bytes, sizes that overflow, and little files that say they are large."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, SparseTensorProto, TensorProto, helper, numpy_helper
from support import graph_model, normal, statistics

from hostile.case import FOLDS, STAYS, conv_bn, hostile, replaced, tensor_of

DAMAGED = "does not hold what it declares"


def with_dims(name: str, *dims: int) -> ModelProto:
    """`conv_bn`, one of whose tensors declares another shape."""
    model = conv_bn()
    tensor_of(model, name).dims[:] = dims
    return model


@hostile(DAMAGED)
def weight_is_larger_than_its_bytes() -> ModelProto:
    return with_dims("W", 4, 3, 3, 300)


@hostile(DAMAGED)
def weight_is_smaller_than_its_bytes() -> ModelProto:
    return with_dims("W", 4, 3, 1, 1)


@hostile(DAMAGED)
def weight_has_negative_sizes() -> ModelProto:
    return with_dims("W", 4, 3, -3, -3)


@hostile(DAMAGED)
def weight_has_one_size_of_minus_one() -> ModelProto:
    return with_dims("W", 4, 3, 3, -1)


@hostile(DAMAGED)
def weight_is_2_to_the_62_wide() -> ModelProto:
    return with_dims("W", 4, 3, 3, 2**62)


@hostile(DAMAGED)
def sizes_overflow_to_the_true_size() -> ModelProto:
    """4 * 3 * (2^62 + 9) is 108 in 64 bits."""
    return with_dims("W", 4, 3 * 9, 2**62 + 1, 1)


@hostile(DAMAGED)
def sizes_overflow_to_zero() -> ModelProto:
    return with_dims("W", 4, 2**32, 2**32, 1)


@hostile(DAMAGED)
def weight_has_a_thousand_axes() -> ModelProto:
    return with_dims("W", 4, 3, 3, 3, *[1] * 1000)


@hostile(DAMAGED)
def parameter_is_longer_than_its_bytes() -> ModelProto:
    return with_dims("s", 4_000_000_000)


@hostile(STAYS)
def parameters_are_a_matrix() -> ModelProto:
    return with_dims("s", 2, 2)


@hostile(STAYS)
def parameters_are_of_another_length() -> ModelProto:
    return replaced(conv_bn(), "s", numpy_helper.from_array(normal(5)))


@hostile(DAMAGED)
def weight_holds_nothing() -> ModelProto:
    model = conv_bn()
    tensor_of(model, "W").ClearField("raw_data")
    return model


@hostile(DAMAGED)
def weight_holds_a_part_of_a_number() -> ModelProto:
    model = conv_bn()
    tensor = tensor_of(model, "W")
    tensor.raw_data = tensor.raw_data[:-1]
    return model


@hostile(FOLDS)
def weight_holds_its_numbers_twice() -> ModelProto:
    """In two fields. ``raw_data`` counts, as for onnx and onnxruntime."""
    model = conv_bn()
    tensor_of(model, "W").float_data.extend([7.0] * 108)
    return model


@hostile(FOLDS)
def value_declares_2_to_the_62_channels() -> ModelProto:
    model = conv_bn()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 2**62
    return model


@hostile(FOLDS)
def input_is_2_to_the_62_wide() -> ModelProto:
    model = conv_bn()
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 2**62
        model.graph.output[0].type.tensor_type.shape.dim[axis].ClearField("dim_value")
    return model


def flattened(side: int) -> ModelProto:
    """A map over 4 channels of a large image, flattened in front of a Gemm: one number per pixel."""
    model = graph_model(
        f"(float[1,4,{side},{side}] x) => (float[1,7] y) "
        "{ n = BatchNormalization(x, s, b, m, v) f = Flatten(n) y = Gemm(f, W) }",
        W=normal(4, 7),
    )
    for key, values in zip("sbmv", statistics(4), strict=True):
        model.graph.initializer.append(numpy_helper.from_array(values, key))
    return model


@hostile(STAYS)
def map_over_2_to_the_34_pixels_is_flattened() -> ModelProto:
    return flattened(2**16)


@hostile(STAYS)
def map_over_2_to_the_62_pixels_is_flattened() -> ModelProto:
    return flattened(2**31)


@hostile(STAYS)
def map_is_flattened_behind_a_weight_that_declares_as_much() -> ModelProto:
    model = flattened(2**16)
    tensor_of(model, "W").dims[:] = [2**34, 7]
    return model


def reshaped(shape: str, to: list[int], back: str = "float[N,M] y") -> ModelProto:
    """A Conv, a Reshape behind it, and a map over what is made."""
    return graph_model(
        f"({shape} x) => ({back}) {{ c = Conv(x, W) r = Reshape(c, to) y = Mul(r, k) }}",
        W=normal(4, 3, 1, 1),
        to=np.array(to, np.int64),
        k=normal(4, 1),
    )


@hostile(FOLDS)
def reshape_makes_2_to_the_60_columns() -> ModelProto:
    return reshaped(f"float[1,3,{2**30},{2**30}]", [4, 2**60])


@hostile(STAYS)
def reshape_overflows() -> ModelProto:
    return reshaped("float[1,3,8,8]", [4, 2**62, 4])


@hostile("a map over 1099511627776 channels")
def depth_to_space_by_a_million() -> ModelProto:
    model = graph_model(
        f"(float[1,{2**40},1,1] x) => (float[A,B,C,D] y) "
        f"{{ d = DepthToSpace<blocksize = {2**19}>(x) y = BatchNormalization(d, s, b, m, v) }}"
    )
    for key, values in zip("sbmv", statistics(4), strict=True):
        model.graph.initializer.append(numpy_helper.from_array(values, key))
    return model


@hostile(FOLDS)
def conv_is_in_2_to_the_40_groups() -> ModelProto:
    model = conv_bn()
    model.graph.node[0].attribute.append(helper.make_attribute("group", 2**40))
    return model


@hostile(FOLDS)
def conv_is_in_0_groups() -> ModelProto:
    model = conv_bn()
    model.graph.node[0].attribute.append(helper.make_attribute("group", 0))
    return model


@hostile(FOLDS)
def conv_is_in_minus_1_groups() -> ModelProto:
    model = conv_bn()
    model.graph.node[0].attribute.append(helper.make_attribute("group", -1))
    return model


@hostile(FOLDS)
def pads_and_strides_are_out_of_all_reason() -> ModelProto:
    model = conv_bn()
    for name in ("pads", "strides", "dilations"):
        model.graph.node[0].attribute.append(helper.make_attribute(name, [2**62] * (4 if name == "pads" else 2)))
    return model


def sparse(dims: list[int], values: TensorProto, indices: TensorProto) -> SparseTensorProto:
    return SparseTensorProto(values=values, indices=indices, dims=dims)


def with_sparse_weight(dims: list[int], places: list[int]) -> ModelProto:
    """`conv_bn` with a weight of a few numbers that says how large it is."""
    model = conv_bn()
    model.graph.initializer.remove(tensor_of(model, "W"))
    values = numpy_helper.from_array(np.ones(len(places), np.float32), "W")
    indices = numpy_helper.from_array(np.array(places, np.int64), "W_indices")
    model.graph.sparse_initializer.append(sparse(dims, values, indices))
    return model


@hostile(STAYS, is_run=False)
def sparse_weight_is_a_terabyte() -> ModelProto:
    return with_sparse_weight([4, 3, 2**18, 2**18], [0, 1])


@hostile(STAYS)
def sparse_weight_overflows() -> ModelProto:
    return with_sparse_weight([4, 2**62, 4, 1], [0, 1])


@hostile(STAYS, is_run=False)
def sparse_weight_is_a_gigabyte() -> ModelProto:
    return with_sparse_weight([4, 3, 2**12, 2**13], [0, 1])


@hostile("is damaged")
def sparse_weight_lies_outside_itself() -> ModelProto:
    return with_sparse_weight([4, 3, 3, 3], [0, 108])


@hostile("is damaged")
def sparse_weight_lies_before_itself() -> ModelProto:
    return with_sparse_weight([4, 3, 3, 3], [-1, 1])


def with_blocks(size: int) -> ModelProto:
    """A DepthToSpace of blocks of any size between a Conv and a BatchNormalization."""
    model = conv_bn()
    node = helper.make_node("DepthToSpace", ["c"], ["d"], blocksize=size)
    model.graph.node.insert(1, node)
    model.graph.node[2].input[0] = "d"
    return model


@hostile(STAYS)
def blocks_of_depth_to_space_are_of_size_0() -> ModelProto:
    return with_blocks(0)


@hostile(STAYS)
def blocks_of_depth_to_space_are_of_size_minus_1() -> ModelProto:
    return with_blocks(-1)


@hostile(FOLDS)
def input_has_a_thousand_axes() -> ModelProto:
    model = conv_bn(more="")
    for _ in range(1000):
        model.graph.input[0].type.tensor_type.shape.dim.add(dim_value=1)
    return model


@hostile(STAYS)
def map_is_over_a_value_of_a_thousand_axes() -> ModelProto:
    model = graph_model("(float[4] x) => (float[4] y) { m = Mul(x, k) y = Reshape(m, to) }", k=normal(4), to=[4])
    for _ in range(1000):
        model.graph.input[0].type.tensor_type.shape.dim.add(dim_value=1)
    return model


@hostile(FOLDS)
def external_tensor_beside_it_is_of_no_known_type() -> ModelProto:
    model = conv_bn()
    model.graph.initializer.append(TensorProto(name="odd", data_type=12345, dims=[2**62]))
    return model


def shared(count: int, weight: str, **constants: npt.ArrayLike) -> ModelProto:
    """So many Convs with one weight, and a BatchNormalization behind each, with which each needs one of its own."""
    nodes = " ".join(f"c{k} = Conv(x, W) y{k} = BatchNormalization(c{k}, s, b, m, v)" for k in range(count))
    outputs = ", ".join(f"float[A,B,C,D] y{k}" for k in range(count))
    model = graph_model(f"(float[N,4,5,5] x) => ({outputs}) {{ {weight} {nodes} }}")
    parameters = dict(zip("sbmv", statistics(4), strict=True))
    for key, values in {**parameters, **constants}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), key))
    return model


@hostile("many times as large", is_run=False)
def computed_weight_is_shared_by_two_hundred() -> ModelProto:
    """A file of 20 kB, of which 13 GB would come."""
    return shared(200, "W = ConstantOfShape(d)", d=np.array([4, 4, 2**10, 2**10], np.int64))


@hostile(FOLDS)
def small_weight_is_shared_by_a_hundred() -> ModelProto:
    return shared(100, "", W=normal(4, 4, 3, 3))

"""Parameters and weights that are no numbers to compute with."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper
from support import normal

from hostile.case import FOLDS, STAYS, conv_bn, hostile, replaced, tensor_of, with_values

NAN, INF = float("nan"), float("inf")


@hostile(STAYS)
def scale_is_nan() -> ModelProto:
    return with_values("s", [1, NAN, 1, 1])


@hostile(STAYS)
def bias_is_infinite() -> ModelProto:
    return with_values("b", [1, INF, 1, 1])


@hostile(STAYS)
def mean_is_infinite() -> ModelProto:
    return with_values("m", [-INF, 0, 1, 1])


@hostile(STAYS)
def variance_is_nan() -> ModelProto:
    return with_values("v", [1, NAN, 1, 1])


@hostile(STAYS)
def variance_is_negative() -> ModelProto:
    return with_values("v", [1, -1, 1, 1])


@hostile(STAYS)
def variance_is_zero_and_epsilon_too() -> ModelProto:
    model = with_values("v", [1, 0, 1, 1])
    model.graph.node[1].attribute.append(helper.make_attribute("epsilon", 0.0))
    return model


@hostile(STAYS)
def epsilon_is_nan() -> ModelProto:
    model = conv_bn()
    model.graph.node[1].attribute.append(helper.make_attribute("epsilon", NAN))
    return model


@hostile(STAYS)
def weight_is_nan() -> ModelProto:
    return with_values("W", np.full((4, 3, 3, 3), NAN))


@hostile(STAYS)
def weight_overflows_when_it_is_folded() -> ModelProto:
    return replaced(with_values("s", [3e38] * 4), "W", numpy_helper.from_array(np.full((4, 3, 3, 3), 3e38, np.float32)))


@hostile(STAYS)
def weight_is_of_strings() -> ModelProto:
    strings = TensorProto(name="W", data_type=TensorProto.STRING, dims=[4, 3, 3, 3], string_data=[b"w"] * 108)
    return replaced(conv_bn(), "W", strings)


@hostile(STAYS)
def parameters_are_of_strings() -> ModelProto:
    strings = TensorProto(name="s", data_type=TensorProto.STRING, dims=[4], string_data=[b"\xff"] * 4)
    return replaced(conv_bn(), "s", strings)


@hostile(STAYS)
def weight_has_no_type() -> ModelProto:
    model = conv_bn()
    tensor_of(model, "W").data_type = TensorProto.UNDEFINED
    return model


@hostile(STAYS)
def weight_is_of_a_type_that_nobody_knows() -> ModelProto:
    model = conv_bn()
    tensor_of(model, "W").data_type = 12345
    return model


@hostile(STAYS)
def weight_is_complex() -> ModelProto:
    return replaced(conv_bn(), "W", numpy_helper.from_array(normal(4, 3, 3, 3).astype(np.complex64)))


@hostile(FOLDS)
def scale_is_all_zero() -> ModelProto:
    return with_values("s", [0, 0, 0, 0])


@hostile(FOLDS)
def numbers_are_denormal() -> ModelProto:
    return with_values("m", [1e-45] * 4)

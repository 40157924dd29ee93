"""Write the small models that the how-to pages begin with.

    python docs/howto/situations.py transposed     # writes transposed.onnx, and prints its operators
    python docs/howto/situations.py                # prints the names

A page is about a situation; a model here is the smallest in which it occurs. Weights are random, from a seed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, numpy_helper

Array: TypeAlias = npt.NDArray[Any]

BN = "BatchNormalization (c, scale, bias, mean, var)"
LARGE = 256
"""Channels of the large model: two weights of 2.4 MB."""


def main() -> None:
    """Write the models that are named, or print all names."""
    if len(sys.argv) == 1:
        print(*SITUATIONS)
    for name in sys.argv[1:]:
        SITUATIONS[name](Path(f"{name}.onnx"))
        print(f"{name}.onnx:", *(node.op_type for node in onnx.load(f"{name}.onnx").graph.node))


def _three_that_stay(path: Path) -> None:
    """Behind a Sigmoid; with a second reader of what is in front; with a graph output in front."""
    body = """(float[N,3,8,8] x) => (float[N,8,8,8] y, float[N,8,8,8] z, float[N,8,8,8] features) {
        [first] a = Conv <pads = [1, 1, 1, 1]> (x, w3)
        [gate] s = Sigmoid (a)
        [bn_gate] n = BatchNormalization (s, scale, bias, mean, var)
        [second] b = Conv <pads = [1, 1, 1, 1]> (n, w8)
        [bn_branch] m = BatchNormalization (b, scale, bias, mean, var)
        [skip] y = Mul (m, b)
        [third] features = Conv <pads = [1, 1, 1, 1]> (m, w8)
        [bn_last] z = BatchNormalization (features, scale, bias, mean, var)
    }"""
    _save(path, body, {"w3": _normal(8, 3, 3, 3), "w8": _normal(8, 8, 3, 3), **_statistics(8)})


def _overridable(path: Path) -> None:
    """Initializers that are graph inputs too, as exports before 2020 have them."""
    body = f"""(float[N,3,8,8] x, float[8,3,3,3] w, float[8] scale, float[8] bias, float[8] mean, float[8] var)
        => (float[N,8,6,6] y) {{ [conv] c = Conv (x, w) [bn] y = {BN} }}"""
    _save(path, body, {"w": _normal(8, 3, 3, 3), **_statistics(8)})


def _training(path: Path) -> None:
    """In training mode: exported from a network that was not switched to inference."""
    body = """(float[N,3,8,8] image) => (float[N,8,6,6] y) {
        [conv] c = Conv (image, w)
        [bn] n, new_mean, new_var = BatchNormalization <training_mode = 1> (c, scale, bias, mean, var)
        [relu] y = Relu (n)
    }"""
    _save(path, body, {"w": _normal(8, 3, 3, 3), **_statistics(8)})


def _transposed(path: Path) -> None:
    """Groups: the weight is [in, out / group, kernel], so that the output channels are axis 1 of each group."""
    body = f"""(float[N,8,5,5] x) => (float[N,12,9,9] y) {{
        [up] c = ConvTranspose <group = 2, strides = [2, 2], pads = [1, 1, 1, 1]> (x, w) [bn] y = {BN}
    }}"""
    _save(path, body, {"w": _normal(8, 6, 3, 3), **_statistics(12)})


def _shared(path: Path) -> None:
    """One weight that two convolutions read, with a BatchNormalization of its own behind each."""
    body = f"""(float[N,3,8,8] left, float[N,3,8,8] right) => (float[N,8,6,6] y, float[N,8,6,6] z) {{
        [conv_left] c = Conv (left, w) [bn_left] y = {BN}
        [conv_right] d = Conv (right, w) [bn_right] z = BatchNormalization (d, scale, mean, bias, var)
    }}"""
    _save(path, body, {"w": _normal(8, 3, 3, 3), **_statistics(8)})


def _half(path: Path) -> None:
    """float16: the first folds; the weight 2 times the scale 60000 of the second is more than float16 can hold."""
    body = """(float16[N,3,8,8] x) => (float16[N,8,4,4] y) {
        [conv] c = Conv (x, w) [bn] n = BatchNormalization (c, scale, bias, mean, var) [clip] r = Clip (n, low, high)
        [conv_wide] d = Conv (r, v) [bn_wide] y = BatchNormalization (d, wide, bias, zero, one)
    }"""
    kernel = _normal(8, 8, 3, 3)
    kernel[1], kernel[1, 0, 1, 1] = 0, 2
    wide = np.array([1, 60000, 1, 1, 1, 1, 1, 1])
    weights = {"w": _normal(8, 3, 3, 3), "v": kernel, "wide": wide, "zero": np.zeros(8), "one": np.ones(8)}
    constants = {**weights, **_statistics(8), "low": np.array(0), "high": np.array(0.1)}
    _save(path, body, {name: values.astype(np.float16) for name, values in constants.items()})


def _mixed(path: Path) -> None:
    """float16 weights and float32 statistics, as ONNX allows from opset 15 on and as autocast exports them."""
    body = f"(float16[N,3,8,8] x) => (float16[N,8,6,6] y) {{ [conv] c = Conv (x, w) [bn] y = {BN} }}"
    statistics = _statistics(8)
    half = {"w": _normal(8, 3, 3, 3), **{name: statistics.pop(name) for name in ("scale", "bias")}}
    _save(path, body, {**{name: values.astype(np.float16) for name, values in half.items()}, **statistics})


def _bodies(path: Path) -> None:
    """In both branches of an If, and in a function that is called twice."""
    text = f"""<ir_version: 10, opset_import: ["" : 20, "blocks" : 1]>
    situation (float[N,3,8,8] x, bool deep) => (float[N,8,6,6] y) {{
        [call] a = blocks.conv_bn (x, w, scale, bias, mean, var)
        [choice] b = If (deep) <
            then_branch = deep_branch () => (float[N,8,6,6] t) {{ [conv_then] c = Conv (x, w) [bn_then] t = {BN} }},
            else_branch = flat_branch () => (float[N,8,6,6] e) {{ [negate] e = Neg (a) }}>
        [again] d = blocks.conv_bn (x, v, scale, bias, mean, var)
        [sum] y = Add (b, d)
    }}
    <domain: "blocks", opset_import: ["" : 20]>
    conv_bn (x, w, scale, bias, mean, var) => (n) {{
        [conv] c = Conv (x, w) [bn] n = {BN}
    }}"""
    weights = {"w": _normal(8, 3, 3, 3), "v": _normal(8, 3, 3, 3, seed=1), **_statistics(8)}
    onnx.save(_model(text, weights), path)


def _written(path: Path) -> None:
    """A BatchNormalization that an exporter has written as Sub, Mul and Add, with Identities in between."""
    body = """(float[N,3,8,8] x) => (float[N,8,6,6] y) {
        [conv] c = Conv (x, w) [identity] i = Identity (c)
        [sub] m = Sub (i, mean) [mul] s = Mul (m, scale) [add] y = Add (s, bias)
    }"""
    shaped = {name: values.reshape(8, 1, 1) for name, values in _statistics(8).items() if name != "var"}
    _save(path, body, {"w": _normal(8, 3, 3, 3), **shaped})


def _scaled_input(path: Path) -> None:
    """Means and deviations of the training images, taken off at the input."""
    body = """(float[N,3,16,16] image) => (float[N,8,14,14] y) {
        [minus_mean] m = Sub (image, mean) [over_deviation] n = Div (m, deviation) [conv] y = Conv (n, w)
    }"""
    mean = np.array([0.485, 0.456, 0.406], np.float32).reshape(3, 1, 1)
    deviation = np.array([0.229, 0.224, 0.225], np.float32).reshape(3, 1, 1)
    _save(path, body, {"w": _normal(8, 3, 3, 3), "mean": mean, "deviation": deviation})


def _before(path: Path) -> None:
    """A BatchNormalization in front of a convolution, behind a pooling that several read."""
    body = f"""(float[N,8,8,8] x) => (float[N,8,2,2] y, float[N,8,4,4] z) {{
        [pool] c = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)
        [bn] n = {BN} [conv] y = Conv (n, w) [other] z = Relu (c)
    }}"""
    _save(path, body, {"w": _normal(8, 8, 3, 3), **_statistics(8)})


def _large(path: Path) -> None:
    """Weights in a file of their own beside the model."""
    body = f"""(float[1,{LARGE},8,8] x) => (float[1,{LARGE},4,4] y) {{
        [conv1] a = Conv (x, w1) [bn1] c = BatchNormalization (a, scale, bias, mean, var)
        [conv2] b = Conv (c, w2) [bn2] y = BatchNormalization (b, scale, bias, mean, var)
    }}"""
    weights = {f"w{number}": _normal(LARGE, LARGE, 3, 3, seed=number) for number in (1, 2)}
    model = _model(body, {**weights, **_statistics(LARGE)})
    onnx.save(model, path, save_as_external_data=True, location=f"{path.stem}.data")


def _double(path: Path) -> None:
    """float64, in which onnxruntime's CPU provider has no Conv."""
    body = f"(double[N,3,8,8] x) => (double[N,8,6,6] y) {{ [conv] c = Conv (x, w) [bn] y = {BN} }}"
    _save(path, body, {n: v.astype(np.float64) for n, v in {"w": _normal(8, 3, 3, 3), **_statistics(8)}.items()})


def _integers(path: Path) -> None:
    """A weight in int8 behind DequantizeLinear."""
    body = f"""(float[N,3,8,8] x) => (float[N,8,6,6] y) {{
        [dequantize] w = DequantizeLinear <axis = 0> (q, steps) [conv] c = Conv (x, w) [bn] y = {BN}
    }}"""
    integers = np.clip(_normal(8, 3, 3, 3) * 200, -127, 127).astype(np.int8)
    _save(path, body, {"q": integers, "steps": np.full(8, 0.005, np.float32), **_statistics(8)})


def _random(path: Path) -> None:
    """Draws random numbers: every run is another."""
    _save(path, "(float[2,4] x) => (float[2,4] y) { [draw] r = RandomUniformLike (x) [product] y = Mul (r, x) }", {})


def _constant(path: Path) -> None:
    """An output that no input changes, as of a network whose weights were never trained."""
    body = "(float[2,4] x) => (float[2,4] y) { [nothing] z = Mul (x, zero) [all] y = Add (z, one) }"
    _save(path, body, {"zero": np.zeros(4, np.float32), "one": np.ones(4, np.float32)})


SITUATIONS: Mapping[str, Callable[[Path], None]] = MappingProxyType(
    {
        "three_that_stay": _three_that_stay,
        "overridable": _overridable,
        "training": _training,
        "transposed": _transposed,
        "shared": _shared,
        "half": _half,
        "mixed": _mixed,
        "bodies": _bodies,
        "written": _written,
        "scaled_input": _scaled_input,
        "before": _before,
        "large": _large,
        "double": _double,
        "integers": _integers,
        "random": _random,
        "constant": _constant,
    }
)


def _save(path: Path, body: str, constants: Mapping[str, Array]) -> None:
    onnx.save(_model(body, constants), path)


def _model(body: str, constants: Mapping[str, Array]) -> ModelProto:
    header = "" if body.startswith("<") else '<ir_version: 10, opset_import: ["" : 20]> situation '
    model = onnx.parser.parse_model(header + body)
    for name, values in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    onnx.checker.check_model(model, full_check=True)
    return model


def _normal(*shape: int, seed: int = 0) -> Array:
    """Weights of about the size that keeps a signal's."""
    fan_in = int(np.prod(shape[1:]))
    drawn: Array = np.random.default_rng([seed, *shape]).normal(size=shape, scale=fan_in**-0.5)
    return drawn.astype(np.float32)


def _statistics(channels: int) -> dict[str, Array]:
    rng = np.random.default_rng(channels)
    drawn = {
        "scale": rng.uniform(0.5, 2, channels),
        "bias": rng.normal(size=channels),
        "mean": rng.normal(size=channels),
        "var": rng.uniform(0.5, 2, channels),
    }
    return {name: values.astype(np.float32) for name, values in drawn.items()}


if __name__ == "__main__":
    main()

"""Every operator that the bridge has is right in every case of ONNX's own tests, and what it has not is refused."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from docs_script import load
from support import graph_model, normal, run_ort

from bnfold.errors import ModelError

pytest.importorskip("torch", reason="torch is not installed")
import torch

from bnfold.torch import to_module


@cache
def page() -> Any:
    """docs/torch_operators.py, which runs the cases."""
    return load("torch_operators")


@pytest.mark.filterwarnings("ignore:Casting complex values:UserWarning")
@pytest.mark.parametrize("as_constants", [False, True], ids=["as inputs", "as initializers"])
def test_no_case_of_onnx_s_own_tests_is_silently_wrong(as_constants: bool) -> None:
    outcomes = page().outcomes(as_constants=as_constants)
    assert [(outcome.case, outcome.remark) for outcome in outcomes if outcome.verdict == "wrong"] == []
    right = sum(outcome.verdict == "right" for outcome in outcomes)
    assert right > len(outcomes) / 2


def test_the_table_of_the_page_is_what_the_cases_say() -> None:
    if f"onnx {onnx.__version__}" not in page().PAGE.read_text(encoding="utf-8"):
        pytest.skip("the table was written with another version of onnx, which has other cases")
    assert page().PAGE.read_text(encoding="utf-8") == page().text(page().outcomes())


@pytest.mark.parametrize(
    ("body", "opset", "named"),
    [
        ("(float[2] x) => (float[2] y) { y = Bernoulli(x) }", 20, r"Bernoulli 'Bernoulli -> y' .*ai.onnx, version 15"),
        ("(float[2] x) => (float[2] y) { y = my.own.Thing(x) }", 20, r"Thing .*domain my.own"),
        ("(float[2] x) => (float[2] y) { y = Relu(x) }", 99, r"Relu .*opset 99, unknown"),
        ("(float[2] x) => (float[2] y) { y = Relu<slope = 2>(x) }", 20, "attribute 'slope'"),
        ('(float[1,1,4] x) => (float[1,1,2] y) { y = MaxPool<kernel_shape=[2], auto_pad="MOST">(x) }', 20, "auto_pad"),
        ('(float[4] x) => (float[4] y) { y = Gelu<approximate="sigmoid">(x) }', 20, "approximation 'sigmoid'"),
        ("(float[4] x) => (uint16[4] y) { y = Cast<to=4>(x) }", 20, "uint16"),
        ("(string[4] x) => (string[4] y) { y = Identity(x) }", 20, "string"),
        ("(seq(float[4]) x) => (float y) { i = Constant<value_int=0>() y = SequenceAt(x, i) }", 20, "no tensor"),
    ],
    ids=lambda value: value.split("=> ")[-1] if isinstance(value, str) and "{" in value else "",
)
def test_what_has_no_translation_is_refused_by_name_at_conversion(body: str, opset: int, named: str) -> None:
    model = graph_model(body, opset=opset)
    if "my.own" in body:
        model.opset_import.add(domain="my.own", version=1)
    with pytest.raises(ModelError, match=named):
        to_module(model)


BODIES = {
    "a batch in a Reshape": "(float[N,6] x) => (y) { s = Shape(x) i = Constant<value_int=0>() n = Gather(s, i) "
    "z = Constant<value_ints=[0]>() n1 = Unsqueeze(n, z) t = Constant<value_ints=[3,2]>() "
    "u = Concat<axis=0>(n1, t) y = Reshape(x, u) }",
    "an Expand as torch writes it": "(float[N,6] x) => (y) { s = Shape(x) m = Constant<value_ints=[-1,6]>() "
    "o = Constant<value_int=-1>() e = Equal(m, o) w = Where(e, s, m) y = Expand(x, w) }",
    "half of a size": "(float[N,6] x) => (y) { s = Shape(x) two = Constant<value_int=2>() h = Div(s, two) "
    "z = Constant<value_ints=[0]>() one = Constant<value_ints=[1]>() end = Constant<value_ints=[2]>() "
    "e = Slice(h, one, end, z) y = Slice(x, z, e, one) }",
    "a size computed in floats": "(float[N,6] x) => (y) { s = Shape(x) f = Cast<to=1>(s) "
    "h = Constant<value_float=0.5>() p = Mul(f, h) q = Ceil(p) i = Cast<to=7>(q) "
    "z = Constant<value_ints=[0,0]>() y = Slice(x, z, i) }",
    "ones of a shape": "(float[N,6] x) => (y) { s = Shape(x) o = ConstantOfShape(s) y = Add(o, x) }",
    "negative indices": "(float[N,6] x) => (y) { i = Constant<value_ints=[-1,0,-6]>() y = Gather<axis=1>(x, i) }",
    "a cropping Pad": '(float[N,6] x) => (y) { p = Constant<value_ints=[0,-2,0,1]>() y = Pad<mode="edge">(x, p) }',
    "an old Softmax": "(float[N,3,2] x) => (y) { y = Softmax<axis=1>(x) }",
    "whole numbers divided": "(float[N,6] x) => (y) { i = Cast<to=7>(x) t = Constant<value_int=-3>() y = Div(i, t) }",
}


@pytest.mark.parametrize("name", sorted(BODIES))
@pytest.mark.parametrize("count", [1, 3])
def test_a_graph_computes_what_onnxruntime_does_for_every_batch(name: str, count: int) -> None:
    body = BODIES[name]
    model = graph_model(
        body.replace("(y)", "(float y)" if "i, t)" not in body else "(int64 y)"), opset=12 if "old" in name else 20
    )
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    shape = (count, 3, 2) if "3,2] x" in body else (count, 6)
    feeds = {"x": 9 * normal(*shape)}
    (expected,) = run_ort(model, feeds)
    made = to_module(model)(torch.from_numpy(feeds["x"]))
    assert made.shape == expected.shape
    assert np.allclose(made.numpy(), expected, rtol=1e-6, atol=1e-6)

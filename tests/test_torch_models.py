"""The module that the bridge makes of a model computes what onnxruntime does, and all of it trains."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from support import MODELS, REAL_MODELS, needs_real_models

from bnfold.errors import ModelError
from bnfold.runtime import SizeSearch, draw_inputs, open_session

pytest.importorskip("torch", reason="torch is not installed")
import torch

from bnfold.torch import to_module, to_onnx

OURS = [path.stem for path in sorted(MODELS.glob("*.onnx"))]
REAL = [
    "burn_mnist",
    "fastai_tabular",
    "fsanet_1x1",
    "gtcrn_simple",
    "keras3_source_cnn",
    "meso4_tf2onnx",
    "nids_mlp_gemm_bn",
    "nobn_mnist8_cntk",
    "ort_fuse_conv_bn_mul_add_unsqueeze",
    "polygraphy_residual_block",
    "rapidocr_cls_paddle",
    "ultraface_rfb320",
    "ultraface_rfb320_folded_ref",
]
SIZES = {"rapidocr_cls_paddle": {"x[0]": 2, "x[2]": 48, "x[3]": 192}}
"""Where the first sizes with which onnxruntime runs leave nothing of the image: a pool of no element."""

WITHOUT_PARAMETERS = {"rapidocr_cls_paddle"}
"""All of its weights are Constant nodes, which do not train."""

IN_EVAL_ALONE = {"burn_mnist"}
"""Its batch is frozen to one, in front of a Gemm and a normalization."""

CASES = [pytest.param(MODELS / f"{name}.onnx", id=name) for name in OURS]
CASES += [pytest.param(REAL_MODELS / f"{name}.onnx", id=name, marks=needs_real_models) for name in REAL]
each_model = pytest.mark.parametrize("path", CASES)


def inputs_of(path: Path) -> dict[str, Any]:
    session = open_session(path)
    sizes = SIZES.get(path.stem) or SizeSearch(session, 0).first()
    return draw_inputs(session.inputs, seed=0, draw=0, sizes=sizes)


def outputs_of(module: Any, feeds: dict[str, Any]) -> list[Any]:
    made = module({name: torch.from_numpy(values) for name, values in feeds.items()})
    return list(made) if isinstance(made, tuple) else [made]


@each_model
def test_a_model_computes_what_onnxruntime_does(path: Path) -> None:
    feeds, module = inputs_of(path), to_module(path)
    made = dict(zip(module.output_names, outputs_of(module, feeds), strict=True))
    expected = open_session(path).run(feeds)
    assert made.keys() == expected.keys()
    for name, wanted in expected.items():
        assert np.abs(made[name].detach().numpy() - wanted).max() <= 1e-5 * np.abs(wanted).max(), name


@each_model
def test_every_parameter_gets_a_gradient(path: Path) -> None:
    module = to_module(path).train(path.stem not in IN_EVAL_ALONE)
    parameters = dict(module.named_parameters())
    assert bool(parameters) == (path.stem not in WITHOUT_PARAMETERS)
    if parameters:
        sum(made.square().sum() for made in outputs_of(module, inputs_of(path))).backward()
    assert [name for name, p in parameters.items() if p.grad is None or not p.grad.abs().sum() > 0] == []


@each_model
def test_what_was_not_trained_is_written_back_as_the_same_bytes(path: Path) -> None:
    original = onnx.load(path, load_external_data=False)
    assert to_onnx(to_module(path), path).SerializeToString() == original.SerializeToString()


@needs_real_models
def test_an_operator_that_onnx_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match="ImageScaler 'scalerPreprocessor'"):
        to_module(REAL_MODELS / "nobn_candy_style.onnx")

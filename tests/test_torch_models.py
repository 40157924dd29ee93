"""The module that the bridge makes of a model computes what onnxruntime does, and all of it trains."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from support import MODELS

from bnfold.runtime import SizeSearch, draw_inputs, open_session

pytest.importorskip("torch", reason="torch is not installed")
import torch

from bnfold.torch import to_module, to_onnx

OURS = sorted(MODELS.glob("*.onnx"))


def inputs_of(path: Path, draw: int = 0) -> dict[str, Any]:
    session = open_session(path)
    return draw_inputs(session.inputs, seed=0, draw=draw, sizes=SizeSearch(session, 0).first())


def outputs_of(module: Any, feeds: dict[str, Any]) -> list[Any]:
    made = module({name: torch.from_numpy(values) for name, values in feeds.items()})
    return list(made) if isinstance(made, tuple) else [made]


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_a_model_computes_what_onnxruntime_does(path: Path) -> None:
    feeds = inputs_of(path)
    module = to_module(path)
    for (name, expected), made in zip(open_session(path).run(feeds).items(), outputs_of(module, feeds), strict=True):
        assert np.abs(made.detach().numpy() - expected).max() <= 1e-5 * np.abs(expected).max(), name


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_every_parameter_gets_a_gradient(path: Path) -> None:
    module = to_module(path).train()
    feeds = inputs_of(path)
    sum(made.square().sum() for made in outputs_of(module, feeds)).backward()
    assert [name for name, p in module.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_what_was_not_trained_is_written_back_as_the_same_bytes(path: Path) -> None:
    assert to_onnx(to_module(path), path).SerializeToString() == onnx.load(path).SerializeToString()

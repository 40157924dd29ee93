"""The torch bridge: an ONNX graph as a `torch.nn.Module`, and what it was trained to back in the graph.

    >>> from bnfold.torch import to_module, to_onnx
    >>> module = to_module("model.onnx")        # doctest: +SKIP
    >>> trained = to_onnx(module, "model.onnx")  # doctest: +SKIP

The only room that imports torch. What it takes and what it refuses: docs/torch.md.
"""

from __future__ import annotations

from importlib.util import find_spec

from bnfold.errors import RuntimeUnavailable

if find_spec("torch") is None:
    raise RuntimeUnavailable("training needs torch, which is not installed: pip install 'bnfold[train]'")

from bnfold.torch.module import GraphModule, to_module
from bnfold.torch.writing import to_onnx

__all__ = ["GraphModule", "to_module", "to_onnx"]

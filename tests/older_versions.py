"""What older versions of onnx and onnxruntime do not know or compute wrongly, and so can not be tested with.

bnfold itself works with every version of the ranges in pyproject.toml (`tests/versions.py`).
"""

from __future__ import annotations

from importlib.metadata import version
from typing import NamedTuple

import pytest
from packaging.version import Version


class Since(NamedTuple):
    """A test that holds from a version on: the first one that it was seen to hold with."""

    test: str
    package: str
    first: str
    reason: str


VALID = "its reference evaluator takes VALID for SAME, with several axes"
ACTIVATION = "it does not run this activation alone inside of a normalization: a choice of its kernels, not of bnfold"
OPSET_26, OPSET_27 = "it does not know opset 26", "it does not know opset 27"
NEWER = [
    Since("at_any_opset[26-", "onnxruntime", "1.25.0", OPSET_26),
    Since("of_every_opset_folds[opset 26]", "onnxruntime", "1.25.0", OPSET_26),
    Since("at_any_opset[27-", "onnxruntime", "1.32.0", OPSET_27),
    Since("at_the_first_and_the_last_opset[27-", "onnxruntime", "1.32.0", OPSET_27),
    Since("of_every_opset_folds[opset 27]", "onnxruntime", "1.32.0", OPSET_27),
    Since("test_training_mode_is_refused[27]", "onnxruntime", "1.32.0", OPSET_27),
    Since("of_other_opsets_folds[newest opset]", "onnxruntime", "1.32.0", OPSET_27),
    Since("share_the_map[space to depth, opset 28", "onnx", "1.23.2", "it does not know opset 28"),
    Since("is_refused[tiles where runs are due]", "onnxruntime", "1.32.0", "it does not know opset 28"),
    Since("takes_the_batch_normalization_behind_it[auto_pad VALID", "onnx", "1.23.2", VALID),
    Since("a_fold_of_a_case_computes_the_same[conv: SAME_LOWER, strides]", "onnx", "1.23.2", VALID),
    Since("a_fold_of_a_case_computes_the_same[conv: VALID]", "onnx", "1.23.2", VALID),
    Since("a_fold_of_a_case_computes_the_same[push into conv: VALID]", "onnx", "1.23.2", VALID),
    Since("another_type_than_the_scales", "onnx", "1.23.2", "its reference evaluator does not know output_dtype"),
    Since(
        "test_file.py::test_every_backend_model",
        "onnx",
        "1.23.2",
        "it can not list the cases that backends are tried with",
    ),
    Since("that_counts_zeros_of_the_padding[SAME_UPPER]", "onnxruntime", "1.27.0", "it counts SAME padding wrongly"),
    Since("puts_constants_is_refused[the channels, among axes]", "onnxruntime", "1.27.0", "it takes axes in order"),
    Since("means_the_function_of_its_overload", "onnxruntime", "1.27.0", "it does not tell overloads apart"),
    Since("a_pool_that_onnxruntime_refuses", "onnxruntime", "1.32.0", "it does not refuse that pool"),
    Since("hostile_model[weight_has_a_thousand_axes]", "onnxruntime", "1.29.0", "it ends the process"),
    Since("protobuf_refuses_is_refused[a length of six bytes]", "protobuf", "7.34.0", "it takes that encoding"),
    Since("random_network_keeps_its_function[220]", "onnx", "1.23.2", "its reference evaluator fails for an RNN"),
    Since("test_random_quantized.py", "onnxruntime", "1.32.0", "its optimiser ends the process for some graphs"),
    Since("those_activations_alone_inside_of_a_normalization", "onnxruntime", "1.32.0", ACTIVATION),
]


def skip(items: list[pytest.Item]) -> None:
    """Mark those that the installed versions are too old for."""
    old = [since for since in NEWER if Version(version(since.package)) < Version(since.first)]
    for item in items:
        for since in old:
            if since.test in item.nodeid:
                reason = f"{since.package} {version(since.package)} is older than {since.first}: {since.reason}"
                item.add_marker(pytest.mark.skip(reason=reason))

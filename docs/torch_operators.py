"""Write docs/torch.md's table: what the torch bridge makes of every case of ONNX's own operator tests.

    python docs/torch_operators.py            # write the table
    python docs/torch_operators.py --check    # fail if the committed table says something else

(It can not be called torch.py: a script's own folder is where Python looks for modules first.)
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from kept import keep
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

from bnfold.errors import ModelError
from bnfold.torch import to_module
from bnfold.torch.arrays import to_tensor
from bnfold.torch.registry import known

PAGE = Path(__file__).resolve().parent / "torch.md"
BEGIN = "<!-- table: written by docs/torch_operators.py -->\n"

RANDOM = ("test_bernoulli", "test_training_dropout")
"""Cases whose outputs are drawn, here by other generators than numpy's. Those that draw nothing are left in."""
DRAWS_NOTHING = ("test_training_dropout_zero_ratio", "test_training_dropout_zero_ratio_mask")

RIGHT, REFUSED, WRONG, RANDOM_RESULT = "right", "refused", "wrong", "random"


@dataclass(frozen=True)
class Outcome:
    """What became of one case.

    Attributes:
        case: its name.
        operator: what it is a case of.
        verdict: right, refused, wrong, or random.
        remark: why it is refused, or what is wrong with it.
    """

    case: str
    operator: str
    verdict: str
    remark: str = ""


@cache
def cases() -> tuple[Any, ...]:
    """Every case; they are made in memory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, of the values that some cases are about
        from onnx.backend.test.case.node import collect_testcases

        return tuple(collect_testcases(""))


def outcomes(*, as_constants: bool = False) -> list[Outcome]:
    """What becomes of every case.

    Args:
        as_constants: give the inputs as initializers, as most graphs have their axes, shapes and bounds.
    """
    operators = {case.name: _first_operator(case.model) for case in cases()}
    return [
        _outcome(case, operators.get(case.name.split("_expanded")[0], operators[case.name]), as_constants)
        for case in cases()
    ]


def _first_operator(model: ModelProto) -> str:
    node = model.graph.node[0]
    return f"{node.domain}.{node.op_type}" if node.domain else str(node.op_type)


def _outcome(case: Any, operator: str, as_constants: bool) -> Outcome:  # noqa: ANN401 (onnx's TestCase is untyped)
    if case.name.startswith(RANDOM) and case.name not in DRAWS_NOTHING:
        return Outcome(case.name, operator, RANDOM_RESULT)
    for inputs, expected in case.data_sets:
        given = [] if as_constants else inputs
        try:
            module = to_module(_with_initializers(case.model, inputs) if as_constants else case.model)
            with torch.no_grad():
                made = module.train(_trains(case.model))(*[to_tensor(_array(value)) for value in given])
        except ModelError as error:  # at conversion; of one Resize only where it runs, as the sizes decide
            return Outcome(case.name, operator, REFUSED, str(error))
        remark = _difference(case, made if isinstance(made, tuple) else (made,), expected)
        if remark:
            return Outcome(case.name, operator, WRONG, remark)
    return Outcome(case.name, operator, RIGHT)


def _trains(model: ModelProto) -> bool:
    """Whether the case is one of training mode, which in a module is a mode of the module."""
    of_node = any(a.name == "training_mode" and a.i for node in model.graph.node for a in node.attribute)
    return of_node or any(node.op_type == "Dropout" and len(node.input) > 2 for node in model.graph.node)


def _unit(values: torch.Tensor) -> float:
    """One unit in the last place of the largest value of half precision."""
    if values.dtype not in {torch.float16, torch.bfloat16} or not values.numel():
        return 0.0
    return torch.finfo(values.dtype).eps * float(values.abs().nan_to_num(0, 0, 0).max())


def _with_initializers(model: ModelProto, inputs: Sequence[Any]) -> ModelProto:
    copy = ModelProto.FromString(model.SerializeToString())
    if all(entry.type.HasField("tensor_type") for entry in copy.graph.input):  # else it is refused all the same
        for entry, value in zip(copy.graph.input, inputs, strict=True):
            copy.graph.initializer.append(numpy_helper.from_array(_array(value), entry.name))
        del copy.graph.input[:]
    return copy


def _array(value: Any) -> NDArray[Any]:  # noqa: ANN401 (an array, or for some cases a TensorProto)
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)


def _difference(case: Any, made: Sequence[torch.Tensor], expected: Sequence[NDArray[Any]]) -> str:  # noqa: ANN401
    """What is wrong with the outputs; empty when nothing is.

    The case says how much they may be off, which at times is less than half precision can tell apart.
    """
    for tensor, wanted in zip(made, map(_array, expected), strict=True):
        reference = to_tensor(wanted)
        if (tensor.dtype, tensor.shape) != (reference.dtype, reference.shape):
            return f"{tensor.dtype} {list(tensor.shape)} instead of {reference.dtype} {list(reference.shape)}"
        one, other = (values.detach().to(torch.float64).numpy() for values in (tensor, reference))
        if not np.allclose(one, other, rtol=case.rtol, atol=max(case.atol, _unit(reference)), equal_nan=True):
            return f"off by {np.abs(one - other).max():.3g}"
    return ""


def table(found: Sequence[Outcome]) -> str:
    """The table: a line per operator that the bridge has, then the names of those that it has not."""
    counts = Counter((outcome.operator, outcome.verdict) for outcome in found)
    names = {f"{domain}.{name}" if domain else name for domain, name, _ in known()} | {"Constant"}  # is stored
    tested = sorted({outcome.operator for outcome in found})
    lines = [f"With onnx {onnx.__version__}.\n", "| operator | right | refused | all |", "|---|---:|---:|---:|"]
    for name in sorted(names):
        right, refused = counts[name, RIGHT], counts[name, REFUSED]
        total = sum(counts[name, verdict] for verdict in (RIGHT, REFUSED, WRONG, RANDOM_RESULT))
        lines.append(f"| {name} | {right} | {refused} | {total} |")
    totals = [sum(outcome.verdict == verdict for outcome in found) for verdict in (RIGHT, REFUSED)]
    lines.append(f"| **all operators of ONNX** | {totals[0]} | {totals[1]} | {len(found)} |")
    missing = ", ".join(name for name in tested if name not in names)
    return "\n".join(lines) + f"\n\nNot in the bridge, and refused by name: {missing}.\n"


def text(found: Sequence[Outcome]) -> str:
    """The whole page: what people wrote, and the table."""
    written = PAGE.read_text(encoding="utf-8").partition(BEGIN)[0]
    return written + BEGIN + table(found)


def main() -> int:
    """Write or check the table."""
    return keep({PAGE: text(outcomes())}, "torch_operators.py")


if __name__ == "__main__":
    sys.exit(main())

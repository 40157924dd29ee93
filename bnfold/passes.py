"""A fold as a pass of `onnx_ir`, for pipelines that speak it: onnxscript, torch's exporter, Olive.

    >>> import onnx_ir as ir
    >>> from bnfold.passes import FoldPass
    >>> model = ir.load("model.onnx")             # doctest: +SKIP
    >>> FoldPass()(model).modified                # doctest: +SKIP
    True
    >>> ir.passes.Sequential(FoldPass(), ir.passes.common.CheckerPass())(model)  # doctest: +SKIP

The only part of bnfold that imports onnx_ir by itself (`pip install 'bnfold[ir]'`).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from bnfold.errors import ModelError, RuntimeUnavailable, UsageError

if find_spec("onnx_ir") is None:
    raise RuntimeUnavailable("bnfold.passes needs onnx_ir, which is not installed: pip install 'bnfold[ir]'")

import onnx_ir as ir

from bnfold.api import FoldOptions, fold
from bnfold.folding.options import Options
from bnfold.folding.rounds import Folded, Kept, Settlement
from bnfold.model.ir_reading import refuse_ambiguous_names

if TYPE_CHECKING:
    from typing import Unpack

__all__ = ["FoldPass", "FoldPassResult"]


@dataclass
class FoldPassResult(ir.passes.PassResult):
    """What a `FoldPass` came to.

    Attributes:
        model: the model that was given, folded.
        modified: whether anything was folded.
        folded, kept, settled, remarks: as those of `bnfold.FoldResult`.
    """

    folded: tuple[Folded, ...] = ()
    kept: tuple[Kept, ...] = ()
    settled: tuple[Settlement, ...] = ()
    remarks: tuple[str, ...] = ()


class FoldPass(ir.passes.InPlacePass):
    """`bnfold.fold`, in an `onnx_ir.Model` in place.

    1. Nodes that only change stay the same objects, with their metadata; so does every value that keeps its name.
    2. Weights that are not folded stay the same tensors, and large ones are not read.
    3. New weights are computed at once, but for those that lie in files: these are computed when they are read, as
       `onnx_ir.save` does, so that they are never in memory together.
    4. Names, types and order of inputs and outputs stay. An output that another node produces now is a new
       `onnx_ir.Value`, which says all that the old one said.
    5. A fold that raises has changed nothing.

    Before and after it, names have to say which value is meant, as in every model that can be written to a file; else
    the pass raises `onnx_ir.passes.PreconditionError`, or `PostconditionError`, which would be a fault of bnfold's own.
    """

    def __init__(self, **options: Unpack[FoldOptions]) -> None:
        """A pass with the options of `bnfold.fold`.

        Raises:
            UsageError: an option makes no sense.
        """
        unknown = options.keys() - FoldOptions.__annotations__.keys()
        if unknown:
            raise UsageError(f"bnfold.fold has no option {' and '.join(map(repr, sorted(unknown)))}")
        self._options = options
        given = {name: value for name, value in options.items() if name in Options.__dataclass_fields__}
        Options(**given)  # type: ignore[arg-type]  # what each field takes is what FoldOptions says

    def __call__(self, model_or_result: ir.Model | ir.passes.PassResult, /) -> FoldPassResult:
        """Run the pass, with what has to hold before and after it.

        Raises:
            BnfoldError: as `bnfold.fold`; something else was given than an `onnx_ir.Model`.
            onnx_ir.passes.PreconditionError, onnx_ir.passes.PostconditionError: as `requires` and `ensures`.
        """
        if not isinstance(model_or_result, ir.Model | ir.passes.PassResult):
            kind = type(model_or_result).__name__
            raise UsageError(f"a pass takes an onnx_ir.Model, not {kind}; of a torch.onnx.ONNXProgram it is .model")
        result = super().__call__(model_or_result)
        assert isinstance(result, FoldPassResult), "it is what `call` gives"
        return result

    def requires(self, model: ir.Model) -> None:
        """See that the model can be written to a file.

        Raises:
            onnx_ir.passes.PreconditionError: names do not say which value is meant, or an initializer has no values.
        """
        try:
            refuse_ambiguous_names(model)
        except ModelError as error:
            raise ir.passes.PreconditionError(str(error)) from error

    def call(self, model: ir.Model) -> FoldPassResult:
        """Fold.

        Raises:
            BnfoldError: as `bnfold.fold`.
        """
        result = fold(model, **self._options)
        if result and result.container.foreign is not None:
            result.container.foreign.change(result.rounds[-1].model)
        return FoldPassResult(model, bool(result), result.folded, result.kept, result.settled, result.remarks)

    def ensures(self, model: ir.Model) -> None:
        """See that the model can be written to a file.

        Raises:
            onnx_ir.passes.PostconditionError: it can not.
        """
        try:
            refuse_ambiguous_names(model)
        except ModelError as error:
            raise ir.passes.PostconditionError(str(error)) from error

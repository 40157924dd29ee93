"""The functions of the public contract: they stand on all rooms, and hold nothing of their own."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from bnfold.checking import check as _check
from bnfold.errors import DifferenceFound
from bnfold.folding import fold as _folding
from bnfold.folding.inspection import Inspection, inspection_of
from bnfold.model.container import ModelLike, open_model
from bnfold.model.writing import staged
from bnfold.report import describe_failure

check = _check


def fold(
    model: ModelLike,
    *,
    check: bool = False,
    freeze_initializers: bool = False,
    base_dir: str | os.PathLike[str] | None = None,
) -> _folding.FoldResult:
    """Fold every BatchNormalization, and every constant Mul, Add, Sub, Div, that can be folded exactly.

    Args:
        model: a path, the bytes of a file, or an `onnx.ModelProto`. It is never changed.
        check: run the original and the result on onnxruntime, and compare (as `bnfold.check`).
        freeze_initializers: treat initializers that are graph inputs too as constants, and stop listing them as
            inputs: from IR version 4 on a caller may override such a value, so that it is no constant.
        base_dir: the folder of external data, when the model is not given as a path.

    Returns:
        The result: ``.model``, ``.folded``, ``.kept`` with reasons, ``.save(path)``; true where something was folded.

    Raises:
        ModelError, ExternalDataError: the model, or a tensor that is needed, can not be read.
        UsageError: `model` is no model.
        DifferenceFound: `check` was asked for, and the two graphs do not compute the same.
        RuntimeUnavailable: `check` was asked for, and onnxruntime is not installed.
    """
    result = _folding.fold(model, freeze_initializers=freeze_initializers, base_dir=base_dir)
    if check and result:
        _prove(result)
    return result


def _prove(result: _folding.FoldResult) -> None:
    """Compare the original with the result, both as files, since weights may lie in files of their own.

    Raises:
        DifferenceFound: they do not compute the same, or the comparison shows nothing.
    """
    container = result.container
    with TemporaryDirectory(prefix="bnfold-") as folder:
        before, after = Path(folder, "before.onnx"), Path(folder, "after.onnx")
        with staged(container.raw or container.proto, before, container.base_dir) as work:
            work.commit()
        result.save(after)
        report = check(before, after)
    if not report:
        raise DifferenceFound(describe_failure(report))


def inspect(
    model: ModelLike,
    *,
    freeze_initializers: bool = False,
    base_dir: str | os.PathLike[str] | None = None,
) -> Inspection:
    """Every affine of a model: what `fold` would do with it, and why.

    Args:
        model: a path, the bytes of a file, or an `onnx.ModelProto`. It is never changed.
        freeze_initializers: as for `fold`.
        base_dir: the folder of external data, when the model is not given as a path.

    Raises:
        ModelError, ExternalDataError: the model, or a tensor that is needed, can not be read.
        UsageError: `model` is no model.
    """
    container = open_model(model, base_dir=base_dir)
    return inspection_of(_folding.plan_for(container, freeze_initializers=freeze_initializers))

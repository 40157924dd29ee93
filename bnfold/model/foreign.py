"""Models that other libraries hold in memory: an `onnx_ir.Model`, and a `torch.onnx.ONNXProgram`, which holds one.

Who has such a model has imported the library; nothing is imported here to find out that somebody has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bnfold.errors import ModelError
from bnfold.model.ir_editing import carry_over
from bnfold.model.ir_reading import Reading, read, unmarked
from bnfold.model.references import materialized

if TYPE_CHECKING:
    import onnx_ir as ir
    from onnx import ModelProto


class Foreign:
    """A model of another library, and what it says.

    Attributes:
        given: what the caller gave; not changed but by `change`.
        model: it, or the onnx_ir model that it holds.
        reading: the same as a ModelProto.
        marked: that, each node marked.
    """

    def __init__(self, given: Any, model: ir.Model) -> None:  # noqa: ANN401 (onnx_ir.Model or torch.onnx.ONNXProgram)
        """Read the onnx_ir model that `given` is or holds.

        Raises:
            ModelError, ExternalDataError: it can not be read.
        """
        self.given, self.model = given, model
        self.reading: Reading = read(model)
        self.marked = self.reading.marked(model)

    @property
    def has_files(self) -> bool:
        """Whether weights of it lie in files."""
        return any(source.is_in_a_file for source in self.reading.sources)

    def whole(self, *, marked: bool = False) -> ModelProto:
        """The same as a ModelProto that holds all weights; with the marks, if asked for.

        Raises:
            ExternalDataError, ModelError: one of them can not be read.
        """
        return materialized(self.marked if marked else self.reading.proto)

    def unmarked(self, model: ModelProto) -> ModelProto:
        """A copy of what was made of `marked`, without the marks."""
        return unmarked(model)

    def with_changes(self, after: ModelProto, before: ModelProto | None = None) -> Any:  # noqa: ANN401 (as given)
        """A model of the same kind that says what `after` says; weights that are the same are shared.

        Args:
            after: made of a copy of `marked`.
            before: what it was made of, if of another message with the same marks.

        Raises:
            ModelError: the model can not be copied.
            ExternalDataError: a weight that is needed can not be read.
        """
        try:
            model = self.model.clone()
        except RuntimeError as error:
            raise ModelError(
                "the onnx_ir model can not be copied, as when its nodes are in no order: run "
                f"onnx_ir.passes.common.TopologicalSortPass first ({error.__cause__ or error})"
            ) from error
        model.meta.update(self.model.meta)
        carry_over(model, self.marked if before is None else before, after)
        if self.given is self.model:
            return model
        return type(self.given)(model, self.given.exported_program)

    def change(self, after: ModelProto) -> None:
        """Make the model itself say what `after` says.

        Args:
            after: made of a copy of `marked`.

        Raises:
            ExternalDataError, ModelError: a weight that is needed can not be read.
        """
        carry_over(self.model, self.marked, after)

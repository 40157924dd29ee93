"""How much larger a folded model is, and why."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from onnx import TensorProto

from bnfold.folding.rounds import Round
from bnfold.model.container import Container
from bnfold.model.references import size_of_tensor
from bnfold.model.tensors import item_size

NAMED = 3
"""How many of the largest new constants are named."""


def growth_remark(container: Container, rounds: Sequence[Round]) -> str:
    """A sentence when the model grows by more than half: by how much, and for which constants; else nothing.

    A weight that was made by ConstantOfShape has to be written out, and a weight with other readers is cloned.
    """
    added = [tensor for done in rounds for tensors in done.patch.added.values() for tensor in tensors]
    size = sum(map(size_of_tensor, added))
    before = _size(container)
    if 2 * size <= before:
        return ""
    largest = sorted(added, key=size_of_tensor, reverse=True)[:NAMED]
    names = ", ".join(f"'{tensor.name}' ({size_of_tensor(tensor):,d} bytes)" for tensor in largest)
    return (
        f"the model grows from {before:,d} bytes by {size:,d}: weights that were computed when it runs, or that others "
        f"read too, are written as constants of their own; the largest are {names}"
    )


def _size(container: Container) -> int:
    """Bytes of the model, and of the weights that lie in files of their own, as it declares them."""
    return container.own_size + sum(_declared(tensor) for tensor in container.external)


def _declared(tensor: TensorProto) -> int:
    return prod(tensor.dims) * item_size(tensor.data_type)

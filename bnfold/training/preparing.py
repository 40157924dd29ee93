"""A model on its way into a training: what it takes, the normalizations that it gets, and what stays as it is."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from onnx import ModelProto

from bnfold.errors import UsageError
from bnfold.inserting.batch_frozen import find_frozen
from bnfold.inserting.feeds import Feeds
from bnfold.inserting.insert import InsertResult, insert
from bnfold.inserting.options import Options
from bnfold.model.container import Container
from bnfold.runtime import Port, open_session
from bnfold.torch.freezing import freeze
from bnfold.torch.module import GraphModule
from bnfold.training.biases import normalized_biases


@dataclass(frozen=True, eq=False)
class Prepared:
    """A model that can be trained.

    Attributes:
        container: the model as it came in.
        model: with what was inserted.
        inserted: what that is; None where nothing was to be.
    """

    container: Container
    model: ModelProto
    inserted: InsertResult | None = None

    @property
    def fresh(self) -> frozenset[str]:
        """The names of the initializers that are new."""
        return frozenset() if self.inserted is None else self.inserted.fresh


def ports_of(container: Container) -> tuple[Port, ...]:
    """The inputs of a model.

    Raises:
        UsageError: its batch is frozen, so that no other batch can be trained on.
    """
    frozen = find_frozen(container.proto)
    if frozen is not None:
        raise UsageError(
            f"the batch of {container.name} is frozen at {frozen.size}, and training takes batches of any size: open "
            "it first, with bnfold insert --batch symbolic"
        )
    source = container.path or container.raw or container.proto.SerializeToString()
    return open_session(source, base_dir=container.base_dir, label=container.name).inputs


def prepare(container: Container, feeds: Iterable[Feeds], options: Options | None) -> Prepared:
    """Put BatchNormalizations where there are none, with the statistics of their places over the training data.

    Args:
        container: the model.
        feeds: the training data.
        options: where they go; None for nowhere.
    """
    if options is None:
        return Prepared(container, container.proto)
    made = insert(container.path or container.proto, feeds, options, base_dir=container.base_dir)
    return Prepared(container, made.model, made)


def freeze_parameters(module: GraphModule, model: ModelProto, patterns: Collection[str]) -> tuple[str, ...]:
    """Let what was asked for take no gradient, and biases that a normalization takes out again.

    Returns:
        The names of the initializers that are frozen.

    Raises:
        UsageError: a pattern is that of no parameter, or nothing is left to train.
    """
    parameters = {module.onnx_names.get(name) for name, _ in module.named_parameters()}
    return freeze(module, {*patterns, *(name for name in normalized_biases(model) if name in parameters)})

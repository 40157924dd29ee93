"""What a training reads: the batches of its epochs, the examples that states are compared on, and inputs to measure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from bnfold.errors import UsageError
from bnfold.inserting.feeds import Feeds
from bnfold.runtime import Port
from bnfold.torch.losses import Loss
from bnfold.torch.module import GraphModule
from bnfold.torch.scores import Batch, module_outputs
from bnfold.torch.training import Examples
from bnfold.training.examples import HeldOut, Shuffled, Table
from bnfold.training.functions import epochs_of, found, guarded, is_name
from bnfold.training.reading import ExamplesLike, Tell, read_table
from bnfold.training.rules import TARGET
from bnfold.training.streams import Stream

TrainingLike: TypeAlias = ExamplesLike | Examples | Callable[..., Iterable[Any]]
"""What a caller may train on or compare states on: files or arrays; an object with `steps` and `epoch` that makes
batches of its own; or a function that yields those of an epoch, itself or as "module:function"."""


@dataclass(frozen=True, eq=False)
class Sources:
    """The data of a training.

    Attributes:
        examples: the batches of its epochs.
        held_out: what states are compared on.
        feeds: inputs to measure statistics over; can be gone through again and again.
        tables: the examples whose targets can be looked at before the work begins.
        streams: those whose targets are looked at when it is their turn.
    """

    examples: Examples
    held_out: HeldOut
    feeds: Iterable[Feeds]
    tables: tuple[Table, ...]
    streams: tuple[Stream, ...] = ()

    def refuse_targets(self, module: GraphModule, loss: Loss) -> None:
        """Look at all targets, with an output of the module beside them to know how many classes there are.

        Raises:
            UsageError: there are targets that the loss does not take; of streams, from now on.
        """
        output = module_outputs(module, _first_two(next(iter(self.held_out.batches()))))[0]
        sets: list[HeldOut] = [*self.tables, *self.streams]
        for one in sets:
            one.refuse_targets(partial(loss.refuse_range, output.shape))


def sources_for(
    data: TrainingLike,
    validation: TrainingLike | None,
    ports: Sequence[Port],
    batch_size: int,
    seed: int,
    tell: Tell = lambda text: None,
) -> Sources:
    """The data of a training.

    Args:
        data: what to train on.
        validation: what states are compared on; None holds a tenth of the training data out.
        ports: the inputs of the model.
        batch_size: rows of a training batch, where the data are no batches yet.
        seed: of the order, and of what is held out.
        tell: told what is being done.

    Raises:
        UsageError: the data do not fit the model, are too few, or are batches with nothing to compare states on; or
            the model has no inputs, or one that is called as the target is.
    """
    _refuse_ports(ports)
    examples = _read(data, ports, "the training data", tell)
    if validation is not None:
        held_out = _read(validation, ports, "the validation data", tell)
    elif isinstance(examples, Stream):
        raise UsageError("data that come as batches need validation data beside them, to compare states on")
    else:
        examples, held_out = examples.split(seed)
    both = (examples, held_out)
    return Sources(
        examples if isinstance(examples, Stream) else Shuffled(examples, batch_size, seed),
        held_out,
        examples.feeds(),
        tuple(one for one in both if isinstance(one, Table)),
        tuple(one for one in both if isinstance(one, Stream)),
    )


def _refuse_ports(ports: Sequence[Port]) -> None:
    if not ports:
        raise UsageError("the model has no inputs: there is nothing to train it on")
    if any(port.name == TARGET for port in ports):
        raise UsageError(f"the model has an input called '{TARGET}', the name of what should come out; rename it")


def _read(data: TrainingLike, ports: Sequence[Port], where: str, tell: Tell) -> Table | Stream:
    name = _name_in(data, where)
    if name is not None:
        return _named(name, ports, where, tell)
    if isinstance(data, Examples) and not isinstance(data, type):
        return Stream(data.epoch, ports, where, steps=data.steps)
    if callable(data):
        return _called(data, ports, f"{where} {getattr(data, '__name__', type(data).__name__)}", tell)
    return read_table(data, ports, where, tell)


def _name_in(data: TrainingLike, where: str) -> str | None:
    """The `module:function` that the data are, alone or as the only one of a list."""
    listed = data if isinstance(data, list | tuple) else [data]
    names = [one for one in listed if isinstance(one, str) and is_name(one)]
    if names and len(listed) > 1:
        raise UsageError(f"{where} are files, or one function, and '{names[0]}' is one of {len(listed)}")
    return names[0] if names else None


def _named(name: str, ports: Sequence[Port], where: str, tell: Tell) -> Stream:
    made, named = found(name), f"{where} {name}"
    if isinstance(made, Examples) and not isinstance(made, type):
        return Stream(guarded(made.epoch, named), ports, named, steps=made.steps, place=f" of {named}", tell=tell)
    if not callable(made):
        raise UsageError(f"'{name}' is of type {type(made).__name__}, and should be a function that yields batches")
    return _called(made, ports, named, tell)


def _called(function: Callable[..., object], ports: Sequence[Port], named: str, tell: Tell) -> Stream:
    return Stream(epochs_of(function, named), ports, named, place=f" of {named}", tell=tell)


def _first_two(batch: Batch) -> Batch:
    """Enough to see the shape of an output."""
    return Batch({name: array[:2] for name, array in batch.inputs.items()}, batch.target[:2])

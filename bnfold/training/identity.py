"""What makes a training the one that it is: a checkpoint goes on with nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace

import numpy as np

from bnfold.inserting.options import Options as InsertOptions
from bnfold.model.container import Container
from bnfold.torch.checkpoint import DIGEST
from bnfold.torch.recipe import Recipe
from bnfold.training.examples import Table
from bnfold.training.preparing import Prepared
from bnfold.training.sources import Sources

SAMPLE = 1024
"""Rows of a table, spread over all of it, that are held against those of the checkpoint: more would take long."""


def identity_of(prepared: Prepared, sources: Sources, choices: Mapping[str, str]) -> dict[str, str]:
    """What has to be the same, by the name that it has for a person.

    Not the device, and not the numbers that were measured for inserted normalizations: what the checkpoint holds takes
    their place, and another processor rounds them differently.

    Args:
        prepared: the model with what was inserted.
        sources: the data.
        choices: what the caller chose besides.
    """
    nodes = (node.SerializeToString(deterministic=True) for node in prepared.model.graph.node)
    return {
        **choices,
        "the model": _digest(_content(prepared.container)),
        "the graph with what is inserted": _digest(nodes),
        **{_role(table, sources): _digest(_sample(table)) for table in sources.tables},
        "the number of steps in an epoch": str(sources.examples.steps),
    }


def _role(table: Table, sources: Sources) -> str:
    return "the validation data" if table is sources.held_out else "the training data"


def choices_of(recipe: Recipe, insertion: InsertOptions | None) -> dict[str, str]:
    """What two sets of options say, a name that is left out as what it stands for."""
    numbers = asdict(replace(recipe, lr=recipe.rate, weight_decay=recipe.decay))
    numbers.pop("device")
    fields = {} if insertion is None else asdict(insertion)
    return {
        **{name: f"{value}" for name, value in numbers.items()},
        "insert": f"{insertion is not None}",
        **{f"{name} of the insertion": f"{value}" for name, value in fields.items()},
    }


def _content(container: Container) -> Iterator[bytes]:
    """The model's file and those of its weights."""
    yield container.raw or container.proto.SerializeToString(deterministic=True)
    for path in container.data_files:
        with path.open("rb") as file:
            yield hashlib.file_digest(file, "sha256").digest()


def _sample(table: Table) -> Iterator[bytes]:
    """Which rows there are, of which types and shapes, and the values of some."""
    count = min(SAMPLE, len(table))
    batch = table.batch(table.rows[np.linspace(0, len(table) - 1, count).astype(np.int64)])
    yield f"{len(table)}".encode()
    for name, array in sorted((*batch.inputs.items(), ("target", batch.target))):
        yield f"{name} {array.dtype.str} {array.shape}".encode()
        yield np.ascontiguousarray(array).tobytes()


def _digest(parts: Iterable[bytes]) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())  # of one length each, so that no two rows of parts read the same
    return DIGEST + whole.hexdigest()

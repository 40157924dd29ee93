"""Affines that meet at one node: those behind all outputs of it, or in front of all its inputs.

One by one, each would have the node asked again, with the maps of all that came before it. And some go only together,
as the two branches of a sum under one scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeAlias

from bnfold.folding.sources import Source
from bnfold.model.graph import Address, Node, Value

Sources: TypeAlias = Mapping[Address, Source]

Meeting: TypeAlias = Callable[[Node, Sources], Iterator[Source]]
"""Finds the affines that meet at a node."""


def in_front(source: Source) -> Node | None:
    """The node that the affine is pulled towards, if there may be others."""
    node = source.wire.producer
    return node if node is not None and len(node.outputs) > 1 else None


def behind(source: Source) -> Node | None:
    """The node that the affine is pushed towards, if there may be others."""
    node = _only_reader(source.output)
    return node if node is not None and len(node.inputs) > 1 else None


def pulled_towards(node: Node, sources: Sources) -> Iterator[Source]:
    """The affines that alone read an output of the node, in the order of the outputs."""
    for value in _each_once(node.outputs):
        reader = _only_reader(value)
        source = None if reader is None else sources.get(reader.address)
        if source is not None and source.wire is value:
            yield source


def pushed_towards(node: Node, sources: Sources) -> Iterator[Source]:
    """The affines that the node alone reads, in the order of its inputs."""
    for value in _each_once(node.inputs):
        source = None if value.producer is None else sources.get(value.producer.address)
        if source is not None and source.output is value and _only_reader(value) is node:
            yield source


def _each_once(values: Iterable[Value | None]) -> Iterator[Value]:
    return (value for value in dict.fromkeys(values) if value is not None)


def _only_reader(value: Value) -> Node | None:
    """The one node that reads the value, be it more than once."""
    readers = value.value_readers
    if not readers or any(node is not readers[0][0] for node, _ in readers):
        return None
    return readers[0][0]

"""The models: those of the corpus and of the fuzzer, random graphs, and random networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from corpus import CASES
from fuzz import seeds
from onnx import ModelProto
from random_graphs import STEPS
from random_graphs import build as build_graph
from random_graphs.run import drawn
from random_networks import build as build_network

SEED = 21
GRAPHS, NETWORKS, BLOCKS = 300, 40, 3


def corpus() -> Iterator[tuple[str, ModelProto]]:
    """Small graphs with a known answer, and those that the fuzzer starts from."""
    yield from ((case.label, case.build()) for case in CASES)
    yield from ((f"fuzz: {name}", model) for name, model in seeds.models() if name != "external")


def graphs() -> Iterator[tuple[str, ModelProto]]:
    """Random graphs of a few steps, and every step alone between two affines."""
    for number in range(GRAPHS):
        yield f"graph {number}", build_graph(*drawn(SEED, number)).model
    for step in sorted(STEPS):
        for number, first in enumerate(("Conv or Gemm, then BatchNormalization", "scalar constant")):
            yield f"{step}, {number}", build_graph([first, step, "BatchNormalization"], SEED + number).model


def networks() -> Iterator[tuple[str, ModelProto]]:
    """Random networks of a few blocks each."""
    yield from ((f"network {k}", build_network(SEED, number=k, most=BLOCKS).model) for k in range(NETWORKS))


SECTIONS: dict[str, Callable[[], Iterator[tuple[str, ModelProto]]]] = {
    "corpus": corpus,
    "graphs": graphs,
    "networks": networks,
}

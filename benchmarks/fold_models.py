"""The models on which folding is measured.

    python benchmarks/fold_models.py chain-500 chain.onnx       # write one
    python benchmarks/fold_models.py --count chain.onnx         # print how many BatchNormalizations it has

A name is a kind, and after a hyphen its size or what it is made of. Weights are drawn from a seed, by fan-in, and
statistics are nothing special. benchmarks/fold.py runs this as a process of its own: what a process has had resident
counts for those that it starts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import onnx
from fold_graph import IMAGE, Graph

LEAST_EXTERNAL = 1024
"""Bytes from which a weight goes to the data file, onnx's own default."""


def main() -> None:
    """Write a model, or count in one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", nargs="?", help="what to write")
    parser.add_argument("path", type=Path)
    parser.add_argument("--count", action="store_true", help="print how many BatchNormalizations there are")
    options = parser.parse_args()
    if options.count:
        print(count(options.path))
    elif options.name is None:
        parser.error("say which model to write, as chain-500, or --count")
    else:
        build(options.name, options.path)


def build(name: str, path: Path) -> None:
    """Write the model of that name.

    Raises:
        KeyError: There is no kind of that name.
        ValueError: The size is no number.
    """
    kind, _, argument = name.partition("-")
    KINDS[kind](argument, path)


def count(path: Path) -> int:
    """BatchNormalizations of the graph and of model-local functions; weights in other files are not read."""
    model = onnx.load(path, load_external_data=False)
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    return sum(node.op_type == "BatchNormalization" for node in nodes)


# --- One kind each ---


def chain(argument: str, path: Path) -> None:
    """As many Conv(8x8x3x3)-BatchNormalization-Relu in a row; `chain-56x512` has 512 channels."""
    pairs, _, channels = argument.partition("x")
    _chain(int(pairs), Graph(int(channels or 8)), path)


def streamed(argument: str, path: Path) -> None:
    """The same, written with the weights in a file beside it that are never all in memory."""
    pairs, _, channels = argument.partition("x")
    _chain(int(pairs), Graph(int(channels or 8), data=path.with_name(f"{path.name}.data")), path)


def _chain(pairs: int, graph: Graph, path: Path) -> None:
    x = "x"
    for _ in range(pairs):
        x = graph.pair(x)
    graph.save(path)


def concat(argument: str, path: Path) -> None:
    """One Concat of as many branches Conv-BatchNormalization-Relu, all of the same input."""
    graph = Graph(8)
    graph.node("Concat", *[graph.pair("x") for _ in range(int(argument))], axis=1)
    graph.save(path, channels=8 * int(argument))


def readers(argument: str, path: Path) -> None:
    """One BatchNormalization behind a Sigmoid, which can not take it in, and as many Conv that read it, which can.

    They have no padding: a shift in front of zeros is another function at the border than one behind them.
    """
    graph, number = Graph(8), int(argument)
    normal = graph.normal(graph.node("Sigmoid", "x"))
    graph.node("Concat", *[graph.conv(normal, pads=[0] * 4) for _ in range(number)], axis=1)
    graph.save(path, channels=8 * number, image=IMAGE - 2)


def pushed(argument: str, path: Path) -> None:
    """As many branches Sigmoid-BatchNormalization, one Concat of them, and a Conv, which takes all maps in."""
    graph, number = _met(int(argument))
    graph.node("Conv", graph.last, graph.weight(8, 8 * number, 1, 1), kernel_shape=[1, 1])
    graph.save(path)


def merged(argument: str, path: Path) -> None:
    """The same with a Sigmoid in the place of the Conv: the BatchNormalizations become one behind the Concat."""
    graph, number = _met(int(argument))
    graph.node("Sigmoid", graph.last)
    graph.save(path, channels=8 * number)


def _met(number: int) -> tuple[Graph, int]:
    graph = Graph(8)
    graph.node("Concat", *[graph.normal(graph.node("Sigmoid", "x")) for _ in range(number)], axis=1)
    return graph, number


def siblings(argument: str, path: Path) -> None:
    """As many BatchNormalizations that read the same value, each between two Sigmoid: all of them stay."""
    graph, number = Graph(8), int(argument)
    read = graph.node("Sigmoid", "x")
    graph.node("Concat", *[graph.node("Sigmoid", graph.normal(read)) for _ in range(number)], axis=1)
    graph.save(path, channels=8 * number)


def pieces(argument: str, path: Path) -> None:
    """A Conv, a Split of its channels into as many pieces, and behind each a BatchNormalization that the Conv takes."""
    graph, number = Graph(8), int(argument)
    whole = graph.node("Conv", "x", graph.weight(8 * number, 8, 1, 1), kernel_shape=[1, 1])
    normal = [graph.node("Relu", graph.normal(piece)) for piece in graph.split(whole, number)]
    graph.node("Concat", *normal, axis=1)
    graph.save(path, channels=8 * number)


def beside(argument: str, path: Path) -> None:
    """As many blocks in a row, each of a Conv with a BatchNormalization and of a BatchNormalization alone, added."""
    graph = Graph(8)
    x = graph.node("Relu", "x")
    for _ in range(int(argument)):
        x = graph.node("Relu", graph.node("Add", graph.normal(graph.conv(x, pads=[1] * 4)), graph.normal(x)))
    graph.save(path)


def summed(argument: str, path: Path) -> None:
    """A BatchNormalization behind the Sum of as many Conv, each of which takes its scale."""
    graph = Graph(8)
    graph.normal(graph.node("Sum", *[graph.conv("x", pads=[1] * 4) for _ in range(int(argument))]))
    graph.save(path)


def shared(argument: str, path: Path) -> None:
    """As many Conv with one weight, a BatchNormalization behind each: each gets a weight of its own."""
    graph, number = Graph(8), int(argument)
    weight = graph.weight(8, 8, 1, 1)
    convs = [graph.node("Conv", "x", weight, kernel_shape=[1, 1]) for _ in range(number)]
    graph.node("Concat", *[graph.node("Relu", graph.normal(conv)) for conv in convs], axis=1)
    graph.save(path, channels=8 * number)


def external(argument: str, path: Path) -> None:
    """Another model, its weights in a file beside it."""
    build(argument, path)
    model = onnx.load(path)
    path.unlink()
    location = f"{path.name}.data"
    onnx.save(model, path, save_as_external_data=True, location=location, size_threshold=LEAST_EXTERNAL)


def network(name: str) -> Callable[[str, Path], None]:
    """A torch definition of benchmarks/architectures.py, which is imported where it is asked for: it needs torch."""

    def written(_: str, path: Path) -> None:
        import_module("architectures").build(name, path)

    return written


def checked(_: str, path: Path) -> None:
    """The network of benchmarks/check.py, and beside it its fold."""
    import_module("check").write(path, path.with_suffix(".after.onnx"))


KINDS: dict[str, Callable[[str, Path], None]] = {
    **{name: network(name) for name in ("resnet50", "mobilenet_v3_large", "densenet121")},
    "chain": chain,
    "streamed": streamed,
    "concat": concat,
    "readers": readers,
    "pushed": pushed,
    "merged": merged,
    "siblings": siblings,
    "pieces": pieces,
    "summed": summed,
    "shared": shared,
    "beside": beside,
    "external": external,
    "checked": checked,
}


if __name__ == "__main__":
    main()

"""What is measured: for every row of the targets the models, the tools beside bnfold, and the numbers to keep."""

from __future__ import annotations

from dataclasses import dataclass

from fold_targets import Growth, Imported, Over, Peak, PeakOver, Processor, Target, Way
from peer_programs import PEERS

NETWORKS = ("resnet50", "mobilenet_v3_large", "densenet121")
BASIC = "onnxruntime-basic"
EIGHT_GB = "streamed-1000x480"
SIZES, SMALLER = (500, 2000, 8000), (125, 500, 2000)
IMPORTS = "imports alone"
"""A process that imports what bnfold depends on, as cheaply as that goes, and does nothing: no command is faster."""
IMPORTING = "import os; os.environ['OPENBLAS_NUM_THREADS'] = '1'; import numpy, onnx, typer; os._exit(0)"
HEAVY = ("onnx", "numpy", "onnxruntime", "torch")
GROWN = (1000, 10_000, 50_000)


@dataclass(frozen=True)
class Scenario:
    """Ways that are run in turns.

    Attributes:
        title: as a heading.
        ways: the first of a model is bnfold's, to which the others are compared.
        targets: what has to hold.
        by_default: whether it runs where nothing is asked for by name.
    """

    title: str
    ways: tuple[Way, ...]
    targets: tuple[Target, ...] = ()
    by_default: bool = True

    @property
    def models(self) -> tuple[str, ...]:
        """All that have to be built."""
        return tuple(dict.fromkeys(way.model for way in self.ways if way.model))


def beside(title: str, model: str, tools: tuple[str, ...], *targets: Target, by_default: bool = True) -> Scenario:
    """What bnfold does with one model beside what others do."""
    return Scenario(title, tuple(Way(tool, model) for tool in ("bnfold", *tools)), targets, by_default)


def over(model: str, limits: dict[str, float]) -> tuple[Over, ...]:
    """How long bnfold takes for a model, over how long others take."""
    return tuple(Over(Way("bnfold", model), Way(tool, model), limit) for tool, limit in limits.items())


def wide(title: str, kind: str) -> Scenario:
    """Graphs of one kind and several sizes; on that of 2 000 onnxruntime too, and what imports take alone."""
    start, *others = (Way("bnfold", f"{kind}-{size}") for size in (1, *SIZES))
    targets: tuple[Target, ...] = (*over(f"{kind}-2000", {BASIC: 1.0}), Growth(start, tuple(others), 1.5))
    beside = (Way(BASIC, f"{kind}-2000"), Way(IMPORTS, f"{kind}-2000"))
    return Scenario(title, (start, *others, *beside), targets)


def growing(title: str, kind: str, sizes: tuple[int, ...] = SIZES) -> Scenario:
    """Graphs of one kind and several sizes: what a pair costs in each."""
    start, *others = (Way("bnfold", f"{kind}-{size}") for size in (1, *sizes))
    return Scenario(title, (start, *others), (Growth(start, tuple(others), 1.5),))


_RESNET = {BASIC: 0.8, "onnxoptimizer": 0.4, "onnxscript": 0.4, "onnxslim": 0.25, "onnxsim": 0.12}
_CHAINS: dict[int, dict[str, float]] = {500: {}, 2000: {BASIC: 1.0}, 8000: {BASIC: 0.2}}
_CHECK, _BARE = Way("bnfold check", "checked"), Way("bare", "checked")
_COPIED = Way("bnfold", "chain-56x512")
_LARGE = Way("bnfold", EIGHT_GB)
_HELP = Way("bnfold --help")

SCENARIOS: dict[str, Scenario] = {
    "help": Scenario("`bnfold --help`", (_HELP,), (Processor(_HELP, 150), Imported(HEAVY))),
    "resnet50": beside(
        "ResNet-50",
        "resnet50",
        (*PEERS, "cp", IMPORTS),
        *over("resnet50", _RESNET),
        PeakOver(Way("bnfold", "resnet50"), 1.5),
    ),
    "mobilenet_v3_large": beside("MobileNetV3-large", "mobilenet_v3_large", (*PEERS, "cp")),
    "densenet121": beside("DenseNet-121", "densenet121", (*PEERS, "cp")),
    **{
        f"{name}_external": beside(
            f"{name}, external weights", f"external-{name}", ("cp",), Peak(Way("bnfold", f"external-{name}"), 150)
        )
        for name in NETWORKS
    },
    "chain_528mb": beside(
        "528 MB, weights inline", _COPIED.model, ("cp",), Over(_COPIED, Way("cp", _COPIED.model), 3.0, free=0.3)
    ),
    "external_8gb": beside(
        "8 GB, external weights",
        EIGHT_GB,
        ("cp",),
        Over(_LARGE, Way("cp", EIGHT_GB), 3.0),
        Peak(_LARGE, 300),
        by_default=False,
    ),
    **{
        f"chain_{size}": beside(f"Chain of {size} pairs", f"chain-{size}", tuple(PEERS), *over(f"chain-{size}", limits))
        for size, limits in _CHAINS.items()
    },
    "growth": growing("Chains: time per pair", "chain", GROWN),
    "wide_concat": wide("One Concat of many branches", "concat"),
    "wide_readers": wide("Many readers of one BatchNormalization", "readers"),
    "wide_pushed": growing("BatchNormalizations pushed through one Concat", "pushed"),
    "wide_merged": growing("BatchNormalizations that become one behind a Concat", "merged", SMALLER),
    "wide_siblings": growing("BatchNormalizations that read one value, and stay", "siblings"),
    "check": Scenario("`bnfold check` on ResNet-50", (_CHECK, _BARE), (Over(_CHECK, _BARE, 1.3),)),
}
"""By the name that --only takes. `check` is the last, because it makes this process larger: see fold_run.py."""

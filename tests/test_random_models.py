"""Random networks of realistic shape: inserted into, calibrated and folded in any order, they keep their function.

`random_models` runs the same by the ten thousand outside CI. What was ever found wrong is pinned below, by its symptom.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, numpy_helper
from random_models import Tally, levels_of, tried
from random_networks import FAMILIES, build
from random_networks.changes import CHANGES, Given, Result
from random_networks.properties import SIFTED, way_of
from random_networks.style import KINDS
from support import Feeds

SEED = 1
CHUNK = 20
COUNT = 300


@pytest.mark.parametrize("first", range(0, COUNT, CHUNK))
def test_a_random_network_keeps_its_function(first: int) -> None:
    tally = Tally()
    for number in range(first, first + CHUNK):
        outcome = tried(SEED, number)
        assert not isinstance(outcome, str), f"{outcome}\n    tried({SEED}, {number})"
        if outcome is not None:
            tally.note(*outcome)
    assert len(tally.sizes) >= CHUNK * 3 // 4, "too many networks show nothing"
    assert tally.gone.total() > CHUNK, "where nothing folds, nothing is shown"
    assert len(tally.off) >= CHUNK // 2, "too few ran on onnxruntime"


def test_all_kinds_of_networks_are_among_them() -> None:
    networks = [build(SEED, number=number) for number in range(COUNT)]
    families = Counter(network.family for network in networks)
    assert families.keys() == FAMILIES.keys()
    assert min(families.values()) >= COUNT // 30
    kinds = Counter(network.options.kind for network in networks)
    assert kinds.keys() == set(KINDS)
    assert kinds[TensorProto.FLOAT] > COUNT // 2
    assert len({network.options.opset for network in networks}) >= 18
    sizes = sorted(sum(network.used.values()) for network in networks)
    assert sizes[COUNT // 2] >= 20
    assert sizes[-1] >= 200
    used = {op_type for network in networks for op_type in network.used}
    assert {"If", "Loop", "LSTM", "ConvTranspose", "Resize", "Softmax", "DequantizeLinear"} <= used
    assert sum(network.style.training for network in networks) >= COUNT // 30
    assert sum(bool(network.model.functions) for network in networks) >= COUNT // 30
    assert {network.options.open_axes for network in networks} == {"none", "batch", "space", "all"}


def test_every_level_of_optimisation_is_among_them() -> None:
    assert {level for number in range(COUNT) for level in levels_of(number)} == {"off", "basic", "extended", "all"}


def test_the_same_seed_makes_the_same_network() -> None:
    one, other = (build(SEED, number=17).model.SerializeToString(deterministic=True) for _ in range(2))
    assert one == other


def test_fewer_blocks_make_a_smaller_network() -> None:
    whole = build(SEED, number=4)
    part = build(SEED, number=4, most=1)
    assert 0 < len(part.model.graph.node) < len(whole.model.graph.node)


def test_every_change_is_among_the_ways() -> None:
    made = {name for number in range(COUNT) for name in way_of(number, can_run=True)}
    assert made == CHANGES.keys()


def a_weight_off(model: ModelProto) -> None:
    """By a hundredth, in one channel."""
    weight = max(model.graph.initializer, key=lambda tensor: len(tensor.dims))
    values = numpy_helper.to_array(weight).copy()
    values[0] *= np.asarray(1.01, values.dtype)
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))


def another_output(model: ModelProto) -> None:
    model.graph.output[0].name += "_"
    for node in model.graph.node:
        node.output[:] = [f"{name}_" if f"{name}_" == model.graph.output[0].name else name for name in node.output]


def a_weight_gone(model: ModelProto) -> None:
    del model.graph.initializer[0]


def another_text_each_time(model: ModelProto) -> None:
    model.doc_string += "again"


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (a_weight_off, "is off by"),
        (another_output, "inputs or outputs changed"),
        (a_weight_gone, "invalid model"),
        (another_text_each_time, "again: finds something"),
    ],
)
def test_a_fold_with_a_fault_is_found_out(
    fault: Callable[[ModelProto], None], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = CHANGES["fold"]

    def wrong(model: Given, data: Sequence[Feeds]) -> Result:
        result = right.make(model, data)
        fault(result.model)
        return result

    number = next(k for k in range(COUNT) if way_of(k, can_run=True) == ("fold",) and k % SIFTED and _is_usual(k))
    assert not isinstance(tried(SEED, number), str)
    monkeypatch.setitem(CHANGES, "fold", replace(right, make=wrong))
    assert told in str(tried(SEED, number))


def _is_usual(number: int) -> bool:
    """In float32, with something to fold."""
    network = build(SEED, number=number)
    return network.options.kind == TensorProto.FLOAT and network.used["Conv"] >= 2 and not network.style.training

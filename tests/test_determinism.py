"""The same model gives the same bytes: in every process, from every form of source, folded once or again."""

import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from command_line import bnfold_process
from digests import ENVIRONMENTS, differing
from onnx import ModelProto
from random_networks import Network, build
from random_networks.changes import CHANGES
from random_networks.onnxruntime_levels import run_at
from support import MODELS

import bnfold

SEED = 3
NETWORKS = 4
RUN = next(number for number in range(100) if build(SEED, number=number).options.kind == onnx.TensorProto.FLOAT)
SHIPPED = ("mlp.onnx", "residual.onnx", "source_cnn.onnx")


def stored(model: ModelProto) -> bytes:
    return model.SerializeToString(deterministic=True)


def runnable() -> Network:
    network = build(SEED, number=RUN)
    run_at(network.model, network.feeds, "off")
    return network


def test_processes_with_other_hash_seeds_and_threads_make_the_same() -> None:
    total, differ = differing(NETWORKS)
    assert not differ
    assert total >= 4 * NETWORKS


def test_some_processes_have_other_hash_seeds_and_threads() -> None:
    assert len({tuple(environment.items()) for environment in ENVIRONMENTS}) == len(ENVIRONMENTS)
    assert {environment.get("BNFOLD_THREADS") for environment in ENVIRONMENTS} >= {"1", "2"}


@pytest.mark.parametrize("name", CHANGES)
def test_a_path_bytes_and_a_model_make_the_same(name: str, tmp_path: Path) -> None:
    network, make = runnable(), CHANGES[name].make
    path = tmp_path / "model.onnx"
    path.write_bytes(stored(network.model))
    made = {stored(make(source, network.data).model) for source in (network.model, stored(network.model), path)}
    assert len(made) == 1


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("prefer", ["speed", "no-batchnorm"])
def test_a_fold_of_a_fold_is_the_same_bytes(name: str, prefer: str) -> None:
    once = bnfold.fold(MODELS / name, prefer=prefer)
    assert once
    assert stored(bnfold.fold(once.model, prefer=prefer).model) == stored(once.model)


@pytest.mark.parametrize("form", ["--inline", "--external-data"])
def test_files_of_two_processes_and_of_a_fold_of_a_fold_are_the_same_bytes(form: str, tmp_path: Path) -> None:
    sources = {"one": MODELS / "residual.onnx", "other": MODELS / "residual.onnx"}
    sources["again"] = tmp_path / "one" / "model.onnx"
    made = {}
    for number, (name, source) in enumerate(sources.items()):
        target = tmp_path / name / "model.onnx"
        target.parent.mkdir()
        outcome = bnfold_process("fold", source, "-o", target, "--no-check", form, PYTHONHASHSEED=str(number))
        assert outcome.status == 0, outcome.err
        made[name] = {file.name: file.read_bytes() for file in target.parent.iterdir()}
    assert made["one"] == made["other"] == made["again"]
    assert len(made["one"]) == (2 if form == "--external-data" else 1)


TRAINING = """
import hashlib, sys
import numpy as np
import torch
import bnfold
torch.set_num_threads(1)
rng = np.random.default_rng(0)
data = {"pixels": rng.standard_normal((64, 64)).astype(np.float32), "target": rng.integers(0, 10, 64)}
result = bnfold.train(sys.argv[1], data, epochs=1)
for model in (result.model, result.folded.model):
    print(hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest())
"""


def test_trainings_of_two_processes_with_other_hash_seeds_make_the_same() -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    command = [sys.executable, "-W", "ignore", "-c", TRAINING, str(MODELS / "mlp.onnx")]
    made = [
        subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": seed}, check=True
        ).stdout.split()
        for seed in ("0", "1")
    ]
    assert made[0] == made[1]
    assert len(set(made[0])) == 2

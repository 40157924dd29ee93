"""Two processes with synchronized statistics make the step of one with the whole batch."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import MODELS, ROOT, normal

pytest.importorskip("torch", reason="torch is not installed")
import torch

from bnfold.torch import to_module

needs_gloo = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="torch has no gloo here"
)


@needs_gloo
def test_two_processes_make_the_step_of_one(tmp_path: Path) -> None:
    model, images = MODELS / "residual.onnx", normal(10, 1, 8, 8)
    np.save(tmp_path / "images.npy", images)
    command = [sys.executable, str(ROOT / "tests" / "torch_processes.py")]
    rest = [tmp_path / "store", model, tmp_path / "images.npy", tmp_path / "state.pt"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    processes = [subprocess.Popen([*command, str(rank), *map(str, rest)], env=environment) for rank in (0, 1)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]

    module = to_module(model).double().train()
    made = module(torch.from_numpy(images).double())
    made.square().mean().backward()
    torch.optim.SGD(module.parameters(), 0.1).step()
    state = torch.load(tmp_path / "state.pt")
    assert state.keys() == module.state_dict().keys()
    for name, expected in module.state_dict().items():
        assert torch.allclose(state[name], expected, rtol=1e-8, atol=1e-10), name

"""onnxsim's bn_recovery over one model: run by the interpreter of onnxsim's own environment, so it imports no more.

    PYTHON insertion_peer.py SOURCE DATA.npz IDENTITY MEASURED    # stdout: onnxsim's version

DATA holds the inputs of each batch as ``NUMBER/NAME``. Measured is told to match the activations of SOURCE itself, the
one of its ways that keeps the function; by default it makes the values behind each node standard normal.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Any

import numpy as np
import onnx
from onnxsim import bn_recovery


def main() -> None:
    """Write both models."""
    source, data, identity, measured = sys.argv[1:]
    batches: dict[str, dict[str, Any]] = {}
    with np.load(data) as arrays:
        for key in arrays.files:
            number, name = key.split("/", 1)
            batches.setdefault(number, {})[name] = arrays[key]
    made, _ = bn_recovery.insert_identity_bn(onnx.load(source))
    onnx.save(made, identity)
    target = onnx.load(source)
    onnx.save(bn_recovery.calibrate_recovered_bn(made, list(batches.values()), target_model=target), measured)
    print(version("onnxsim"))


if __name__ == "__main__":
    main()

"""The text of models/README.md, with every number measured."""

from __future__ import annotations

import hashlib
import platform
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import NamedTuple

from digits import SEED, TEST_SHARE
from export import OPSET
from networks import BATCH, EPOCHS, LEARNING_RATE

PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "scikit-learn", "numpy")


class Row(NamedTuple):
    """What is measured of one model."""

    name: str
    text: str
    operators: Counter[str]
    data: bytes
    correct: int
    tested: int


def render(rows: Sequence[Row]) -> str:
    """Write the whole README."""
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    table = "\n".join(_table_line(row) for row in rows)
    paragraphs = "\n".join(_paragraph(row) for row in rows)
    return f"""# Models

Written by `models/build.py`; do not edit.

Six small networks, trained on the handwritten digits of scikit-learn (`load_digits`, 8x8 pixels scaled to [0, 1];
{1 - TEST_SHARE:.0%} for training, {rows[0].tested} images for the test, every class in both) and exported by
`torch.onnx.export(..., dynamo=True, optimize=False)` in inference mode, so that every BatchNormalization is still
there, with the statistics of its training. The batch dimension is open; the output is `logits` [batch, 10].

| file | BN | nodes | bytes | test accuracy | sha256, first 12 digits |
|---|---|---|---|---|---|
{table}

{paragraphs}
torch's exporter spells `Flatten` with an open batch as Shape, Squeeze, Reshape, Concat and Reshape, and that is kept;
the pooling it would spell as ReduceMean, and `models/export.py` has it write GlobalAveragePool. The exporter's notes
on each node (stack traces with the paths of the machine) are removed.

## How they were made

    pip install -e ".[cpu,models]"
    python models/build.py

Seed {SEED}, {EPOCHS} epochs of Adam at {LEARNING_RATE} in batches of {BATCH}, opset {OPSET}. Python \
{platform.python_version()}, {versions}.
The same versions on the same kind of processor give the same bytes; elsewhere, sums may round differently, so
`python models/build.py NAME...` builds the named models alone and leaves the others as they are.
The test accuracy is onnxruntime's, on the CPU.
"""


def _table_line(row: Row) -> str:
    digest = hashlib.sha256(row.data).hexdigest()[:12]
    accuracy = f"{row.correct / row.tested:.4f} ({row.correct} of {row.tested})"
    batch_norms, nodes = row.operators["BatchNormalization"], row.operators.total()
    return f"| `{row.name}` | {batch_norms} | {nodes} | {len(row.data)} | {accuracy} | `{digest}` |"


def _paragraph(row: Row) -> str:
    operators = ", ".join(f"{count} {name}" for name, count in row.operators.most_common())
    return f"**`{row.name}`** {row.text}\nNodes: {operators}.\n"

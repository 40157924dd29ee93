"""Draw docs/images/fold.svg: the source's network before and after a fold, from the two graphs themselves.

python docs/picture.py            # write it
python docs/picture.py --check    # fail if the committed picture is another
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import onnx
from kept import keep
from onnx import ModelProto, NodeProto

import bnfold

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "source_cnn.onnx"
PICTURE = ROOT / "docs" / "images" / "fold.svg"

BOX, GAP, HEIGHT = 70, 26, 32
LEFT, BEFORE, AFTER = 64, 62, 128
"""Where the boxes begin, and the upper edges of the two rows."""

SHORT = {"BatchNormalization": "BN"}

HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" \
role="img" aria-label="{label}">
<style>
  text {{ font: 13px sans-serif; text-anchor: middle; fill: #24292f }}
  .row {{ text-anchor: start; fill: #57606a }}
  rect {{ fill: #ddf4ff; stroke: #0969da }}
  rect.affine {{ fill: #fff1e5; stroke: #bc4c00 }}
  path {{ fill: none; stroke: #57606a }}
  path.fold {{ stroke: #bc4c00; stroke-dasharray: 4 3 }}
  .tip {{ fill: #57606a; stroke: none }}
  .tip.fold {{ fill: #bc4c00 }}
  @media (prefers-color-scheme: dark) {{
    text {{ fill: #e6edf3 }}
    .row {{ fill: #9198a1 }}
    rect {{ fill: #0c2d4a; stroke: #4493f8 }}
    rect.affine {{ fill: #3d1d00; stroke: #f0883e }}
    path {{ stroke: #9198a1 }}
    .tip {{ fill: #9198a1 }}
    path.fold {{ stroke: #f0883e }}
    .tip.fold {{ fill: #f0883e }}
  }}
</style>
"""


def picture() -> str:
    """The whole file."""
    model = onnx.load(MODEL)
    result = bnfold.fold(model)
    nodes = chain(model)
    columns = {node.name: LEFT + number * (BOX + GAP) for number, node in enumerate(nodes)}
    left = [node for node in nodes if node.name in {node.name for node in result.model.graph.node}]
    width = LEFT + len(nodes) * (BOX + GAP) - GAP + 8
    label = f"{' '.join(_names(nodes))} becomes {' '.join(_names(left))}"
    parts = [HEAD.format(width=width, height=AFTER + HEIGHT + 8, label=label)]
    parts += _row("before", nodes, columns, BEFORE)
    parts += _row("after", left, columns, AFTER)
    for folded in result.folded:
        parts += [_arc(columns[folded.node], columns[target]) for target in folded.into]
    return "".join([*parts, "</svg>\n"])


def chain(model: ModelProto) -> list[NodeProto]:
    """The nodes from the graph's input to its output, along the first input of each."""
    value, found = model.graph.input[0].name, []
    while following := [node for node in model.graph.node if node.input and node.input[0] == value]:
        node = next(node for node in following if node.op_type != "Shape")
        found.append(node)
        value = node.output[0]
    return found


def _names(nodes: Iterable[NodeProto]) -> list[str]:
    return [SHORT.get(node.op_type, node.op_type) for node in nodes]


def _row(title: str, nodes: list[NodeProto], columns: Mapping[str, int], top: int) -> list[str]:
    middle = top + HEIGHT // 2
    parts = [f'<text class="row" x="8" y="{middle + 4}">{title}</text>\n']
    for node, following in zip(nodes, [*nodes[1:], None], strict=True):
        x = columns[node.name]
        kind = ' class="affine"' if node.op_type == "BatchNormalization" else ""
        parts.append(f'<rect{kind} x="{x}" y="{top}" width="{BOX}" height="{HEIGHT}" rx="5"/>\n')
        parts.append(f'<text x="{x + BOX // 2}" y="{middle + 4}">{_names([node])[0]}</text>\n')
        if following is not None:
            end = columns[following.name]
            parts.append(f'<path d="M{x + BOX} {middle}H{end - 6}"/>\n')
            parts.append(f'<path class="tip" d="M{end - 7} {middle - 4}l7 4l-7 4z"/>\n')
    return parts


def _arc(start: int, end: int) -> str:
    """From the top of one box to that of another, above everything in between."""
    a, b, top = start + BOX // 2, end + BOX // 2, BEFORE
    lift = 14 + abs(b - a) // 8
    path = f'<path class="fold" d="M{a} {top}C{a} {top - lift} {b} {top - lift} {b} {top - 6}"/>\n'
    tip = f'<path class="tip fold" d="M{b - 4} {top - 7}h8l-4 7z"/>\n'
    label = f'<text x="{(a + b) // 2}" y="{top - lift - 4}">a x + b</text>\n'
    return path + tip + label


def main() -> int:
    """Write or check the picture."""
    return keep({PICTURE: picture()}, "picture.py")


if __name__ == "__main__":
    sys.exit(main())

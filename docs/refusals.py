"""Write docs/refusals.md: every code of a refusal, what unblocks it, and a graph that is refused with it.

    python docs/refusals.py            # write the page
    python docs/refusals.py --check    # fail if the committed page says something else

The codes come from `bnfold.ops.codes`; every graph below is folded, and has to be refused with its code.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import onnx
from kept import keep

import bnfold
from bnfold.ops.codes import CODES
from bnfold.ops.rule import Refusal

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "refusals.md"

HEAD = """# Refusals

Every affine that stays has a reason: `kept` of a fold's result, `bnfold inspect`, and the table that `bnfold fold`
prints all show a code, a sentence that names the node that blocks, and what would unblock it. What follows is written
by `python docs/refusals.py`: each graph was folded, and the sentence below it is what bnfold said. Graphs are in
[ONNX's text format](https://github.com/onnx/onnx/blob/main/docs/Syntax.md), opset 20 unless something else is said;
their constants are

```onnx
{constants}
```

An affine that can go neither way has two reasons, first the one towards the inputs, then the one towards the outputs;
its code is that of the first. [Rules](reference/rules.md) has the conditions of every operator, and the codes that
it may refuse with.
"""

CONSTANTS = {
    "a": "float[2] a = {1, 2}",
    "b": "float[3] b = {1, 2, 3}",
    "c": "float[2,1,1] c = {1, 2}",
    "w": "float[2,2,1,1] w = {1, 2, 3, 4}",
    "d": "float[1,3,1,1] d = {1, 2, 3}",
    "m": "float[2,2] m = {1, 2, 3, 4}",
    "n": "float[2,1,1] n = {-1, 2}",
    "o": "float[2,1,1] o = {0, 2}",
    "e": "float[4] e = {1, 2, 3, 4}",
    "s": "float s = {2}",
    "h": "float[2,2,1,1] h = {30000, 1, 0.0001, 0.0001}",
    "g": "float[2,1,1] g = {3, 2}",
    "l": "float[2,1,1] l = {1, 0.01}",
    "bad": "float[2] bad = {1, -9}",
    "roi": "float[8] roi = {0, 0, -0.5, 0, 1, 1, 1.5, 1}",
    "twice": "float[4] twice = {1, 1, 2, 2}",
    "q": "int8[2,2,1,1] q = {1, 2, 3, 4}",
    "f": "float f = {0.5}",
    "thirds": "int64[2] thirds = {3, 2}",
    "pads": "int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1}",
    "one": "int64[1] one = {1}",
    "two": "int64[1] two = {2}",
    "flat": "int64[2] flat = {1, 4}",
}
"""The constants of the graphs, by name; a graph gets those that it reads."""


class Example(NamedTuple):
    """A graph that is refused.

    Attributes:
        nodes: in ONNX text.
        inputs: of the graph.
        outputs: of the graph.
        says: a part of the sentence of the direction that the code is about, where that is the other one.
        opset: which the graph imports.
        functions: the model's own, in ONNX text.
        options: of the fold.
    """

    nodes: str
    inputs: str = "float[1,2,4,4] x"
    outputs: str = "float[] y"
    says: str = ""
    opset: int = 20
    functions: str = ""
    options: Mapping[str, Any] = MappingProxyType({})

    @property
    def text(self) -> str:
        """The graph without its constants, one node a line."""
        lines = "".join(f"    {line.strip()}\n" for line in self.nodes.strip().splitlines())
        return f"({self.inputs}) => ({self.outputs}) {{\n{lines}}}\n{self.functions}"

    @property
    def model(self) -> onnx.ModelProto:
        """The graph as a model."""
        read = set(re.findall(r"\w+", self.nodes))
        constants = ", ".join(text for name, text in CONSTANTS.items() if name in read)
        domains = '"" : {0}, "own" : 1' if self.functions else '"" : {0}'
        header = f"<ir_version: 10, opset_import: [{domains.format(self.opset)}]>"
        graph = f"({self.inputs}) => ({self.outputs}) <{constants}> {{ {self.nodes} }}"
        return onnx.parser.parse_model(f"{header} g {graph} {self.functions}")


CONV = "t = Conv (x, w)\n"
BN = "y = BatchNormalization ({}, a, a, a, a)"
HALF = "i = Cast <to = 10> (h)\nj = Cast <to = 10> ({})\nt = Conv (x, i)\ny = Mul (t, j)"
FIRST = "t = BatchNormalization (x, a, a, a, a)\n"

EXAMPLES: dict[str, Example] = {
    "axis": Example(CONV + "u = AveragePool <kernel_shape = [1, 2]> (t)\ny = Mul (u, b)"),
    "axes": Example(CONV + "u = Reshape (t, flat)\ny = Mul (u, e)", inputs="float[1,2,1,2] x"),
    "barrier": Example(CONV + "u = Sigmoid (t)\n" + BN.format("u")),
    "broadcast": Example(CONV + "u = Add (t, z)\n" + BN.format("u"), inputs="float[1,2,4,4] x, float[1,1,4,4] z"),
    "captured": Example(
        CONV + "y = If (z) <then_branch = yes () => (float[] i) { i = Mul (t, c) }, "
        "else_branch = no () => (float[] j) { j = Identity (x) }>",
        inputs="float[1,2,4,4] x, bool z",
    ),
    "channels": Example(FIRST + "y = Conv (t, d)", inputs="float[1,C,4,4] x", says="has 3 channels"),
    "cycle": Example("t = Conv (v, w)\nu = BatchNormalization (t, a, a, a, a)\nv = Relu (u)\ny = Add (x, v)"),
    "dynamic-axes": Example(CONV + "u = ReduceMean (t, z)\n" + BN.format("u"), inputs="float[1,2,4,4] x, int64[1] z"),
    "dynamic-bias": Example("t = Conv (x, w, z)\n" + BN.format("t"), inputs="float[1,2,4,4] x, float[2] z"),
    "dynamic-bounds": Example(CONV + "u = Clip (t, z)\ny = Mul (u, s)", inputs="float[1,2,4,4] x, float z"),
    "dynamic-pad": Example(CONV + "u = Pad (t, z)\n" + BN.format("u"), inputs="float[1,2,4,4] x, int64[8] z"),
    "dynamic-parameter": Example(
        CONV + "y = BatchNormalization (t, z, a, a, a)", inputs="float[1,2,4,4] x, float[2] z"
    ),
    "dynamic-slice": Example(
        "t = Conv (x, w)\nu = Slice (t, z, two, one)\n" + BN.format("u"), inputs="float[1,2,4,4] x, int64[1] z"
    ),
    "dynamic-weight": Example("t = Conv (x, z)\n" + BN.format("t"), inputs="float[1,2,4,4] x, float[2,2,1,1] z"),
    "extrapolation": Example(
        CONV
        + 'u = Resize <mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize"> (t, roi, twice)\n'
        + BN.format("u")
    ),
    "function-attribute": Example(
        CONV + "y = own.norm <eps = 0.001> (t, a)",
        functions='<domain: "own", opset_import: ["" : 19]>\nnorm <eps> (i, k) => (o) {\n'
        "    o = BatchNormalization <epsilon: float = @eps> (i, k, k, k, k)\n}",
    ),
    "graph-input": Example(FIRST + "y = Sigmoid (t)"),
    "graph-output": Example(CONV + BN.format("t"), outputs="float[] t, float[] y"),
    "inconsistent": Example("t = Conv (x, w, b)\n" + BN.format("t")),
    "legacy-broadcast": Example(
        CONV + "u = Add <broadcast = 1> (t, z)\ny = BatchNormalization <is_test = 1> (u, a, a, a, a)",
        inputs="float[1,2,4,4] x, float[4] z",
        opset=6,
    ),
    "malformed": Example(CONV + "y = BatchNormalization (t, a, a, a, b)"),
    "max-folds": Example(CONV + BN.format("t"), options={"max_folds": 0}),
    "merged": Example("t = Sigmoid (x)\nu = Mul (t, c)\ny = Mul (u, e)"),
    "negative-scale": Example(CONV + "u = Relu (t)\ny = Mul (u, n)"),
    "no-gain": Example("t = MatMul (x, m)\ny = Add (t, a)", inputs="float[1,2] x"),
    "not-finite": Example(CONV + "y = BatchNormalization (t, a, a, a, bad)"),
    "not-uniform": Example(CONV + "u = Clip (t, s)\n" + BN.format("u")),
    "one-branch": Example(FIRST + "y = Add (t, z)", inputs="float[1,2,4,4] x, float[1,2,4,4] z", says="adds branches"),
    "opset": Example(CONV + BN.format("t"), opset=9999),
    "other-input": Example(
        "t = Mul (z, a)\ny = Gemm (x, m, t)", inputs="float[1,2] x, float[1,2] z", says="without its addend"
    ),
    "other-output": Example(CONV + "u, v = Dropout (t)\ny = Mul (v, s)", opset=7),
    "overflow": Example(HALF.format("g"), inputs="float16[1,2,4,4] x", outputs="float16[] y"),
    "overridable": Example("t = Conv (x, w)\n" + BN.format("t"), inputs="float[1,2,4,4] x, float[2,2,1,1] w"),
    "padding": Example(FIRST + "y = Conv <pads = [1, 1, 1, 1]> (t, w)", says="pads with zeros"),
    "quantized": Example(
        "r = DequantizeLinear (q, f)\nt = Conv (x, r)\n" + BN.format("t"), outputs="float[] y", opset=11
    ),
    "reshape": Example(CONV + "u = Reshape (t, thirds)\ny = Mul (u, a)", inputs="float[1,2,1,3] x"),
    "several-readers": Example(CONV + BN.format("t") + "\nz = Relu (t)", outputs="float[] y, float[] z"),
    "shift": Example(CONV + "u = Relu (t)\n" + BN.format("u")),
    "skipped": Example(CONV + BN.format("t"), options={"skip": ["Conv -> t"]}),
    "spatial": Example(CONV + "y = BatchNormalization <spatial = 0> (t, a, a, a, a)", opset=7),
    "split": Example(
        CONV + "u, v = Split <axis = 2, num_outputs = 2> (t)\n" + BN.format("u") + "\nz = Relu (v)",
        outputs="float[] y, float[] z",
    ),
    "statistics": Example(CONV + "y, z = BatchNormalization (t, a, a, a, a)", outputs="float[] y, float[] z", opset=14),
    "training": Example(CONV + "y, i, j = BatchNormalization <training_mode = 1> (t, a, a, a, a)"),
    "type": Example(CONV + "u = Cast <to = 7> (t)\nv = Cast <to = 1> (u)\n" + BN.format("v")),
    "underflow": Example(HALF.format("l"), inputs="float16[1,2,4,4] x", outputs="float16[] y"),
    "unknown-shape": Example(CONV + "u = Squeeze (t)\n" + BN.format("u"), inputs="float[N,2,H,W] x"),
    "unknown-type": Example(
        "t = own.layer (x)\nu = Pad (t, pads)\ny = Add (u, s)",
        functions="",
    ),
    "zero-scale": Example(
        CONV + "u, v = MaxPool <kernel_shape = [2, 2]> (t)\ny = Mul (u, o)", outputs="float[] y, int64[] v"
    ),
}

INNER = {
    "both": "It ends an attempt on the way; bnfold has found no graph yet for which it is the reason in the end.",
    "depth": "It ends an attempt on the way, and is never the reason in the end.",
    "row": "That are 64. It is the reason in the end only where several hundred stand in a row.",
    "taken": "It ends an attempt on the way; bnfold has found no graph yet for which it is the reason in the end.",
}
"""Codes without an example, and why they have none."""

PENDING: dict[str, str] = {}
"""Codes whose example waits for what the code is about; an entry goes when its example comes."""


def refusals_of(example: Example) -> list[Refusal]:
    """Why the affines of the example stay."""
    outcomes = bnfold.fold(example.model, **example.options).plan.outcomes
    return [outcome.refusal for outcome in outcomes if outcome.refusal is not None]


def refused(code: str, example: Example) -> Refusal | None:
    """The refusal of the example's graph that has the code, in either direction; None when there is none."""
    for refusal in refusals_of(example):
        if refusal.code == code or (refusal.other is not None and refusal.other.code == code):
            return refusal
        if example.says and example.says in refusal.text.partition("; the other way, ")[2]:
            return refusal
    return None


def section(code: str) -> str:
    """What the page says of one code.

    Raises:
        AssertionError: the graph of the code is not refused with it.
    """
    meaning, unblock = CODES[code]
    way = f"{unblock[0].upper()}{unblock[1:]}" if unblock.startswith("nothing") else f"To unblock it: {unblock}"
    head = f"\n## `{code}`\n\n{meaning}\n\n{way}.\n"
    if code not in EXAMPLES:
        return head + ("\n" + INNER[code] + "\n" if code in INNER else "")
    refusal = refused(code, EXAMPLES[code])
    if refusal is None:
        raise AssertionError(f"the graph of '{code}' is refused with {refusals_of(EXAMPLES[code])}")
    opset = "" if EXAMPLES[code].opset == 20 else f"\nOpset {EXAMPLES[code].opset}:\n"
    if EXAMPLES[code].options:
        opset += "\nWith " + ", ".join(f"`{name}={value!r}`" for name, value in EXAMPLES[code].options.items()) + ":\n"
    return f"{head}{opset}\n```onnx\n{EXAMPLES[code].text.rstrip()}\n```\n\n> {refusal.reason}\n"


def text() -> str:
    """The whole page."""
    head = HEAD.format(constants="\n".join(CONSTANTS.values()))
    return head + "".join(section(code) for code in sorted(CODES))


def main() -> int:
    """Write or check the page."""
    return keep({PAGE: text()}, "refusals.py")


if __name__ == "__main__":
    sys.exit(main())

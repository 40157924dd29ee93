"""Names made for the terminal of whoever looks at them, or for what reads lines."""

from __future__ import annotations

from onnx import ModelProto

from hostile.case import FOLDS, STAYS, conv_bn, hostile

ESCAPES = "\x1b[2J\x1b]0;owned\x07\x1b[31m\x9b31m"
"""Clear the screen, set the title, ring, and write red, in seven bits and in eight."""


def staying(name: str) -> ModelProto:
    """A BatchNormalization that stays, so that its name is told."""
    model = conv_bn(name=name)
    model.graph.output.add().CopyFrom(model.graph.output[0])
    model.graph.output[1].name = "c"
    return model


@hostile(STAYS)
def name_holds_escape_sequences() -> ModelProto:
    return staying(f"bn{ESCAPES}")


@hostile(STAYS)
def name_holds_lines() -> ModelProto:
    return staying("bn\nbnfold: all is well\r\n\x0b\x0c\x85\u2028\u2029")


@hostile(STAYS)
def name_is_written_from_right_to_left() -> ModelProto:
    return staying("bn\u202egnp.xnno\u2066\u200f")


@hostile(STAYS)
def name_is_markup() -> ModelProto:
    return staying("[red]bn[/] [link=http://example.com]x[/link] [/nothing]")


@hostile(STAYS)
def name_is_a_megabyte() -> ModelProto:
    return staying("b" * 2**20)


@hostile(STAYS)
def name_holds_nulls_and_surrogates() -> ModelProto:
    return staying("bn\0\ufffe\ufeff")


@hostile(FOLDS)
def name_of_a_folded_node_holds_escape_sequences() -> ModelProto:
    return conv_bn(name=f"bn{ESCAPES}")


@hostile(STAYS)
def name_of_a_wire_holds_escape_sequences() -> ModelProto:
    model = staying("")
    for node in model.graph.node:
        node.input[:] = [f"{name}{ESCAPES}" for name in node.input]
        node.output[:] = [f"{name}{ESCAPES}" for name in node.output]
    for entry in (*model.graph.input, *model.graph.output):
        entry.name = f"{entry.name}{ESCAPES}"
    for tensor in model.graph.initializer:
        tensor.name = f"{tensor.name}{ESCAPES}"
    return model


@hostile("is defined twice")
def refusal_holds_escape_sequences() -> ModelProto:
    model = conv_bn(name=f"bn\n{ESCAPES}")
    model.graph.node[0].output[0] = model.graph.node[1].output[0] = f"y\n{ESCAPES}"
    return model

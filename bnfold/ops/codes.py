"""Every code of a refusal: what it means, and what a person can do about it.

A refusal says its code, a sentence that names the node, and what would unblock it. The last is the code's own clause,
unless the refusal knows better (see `bnfold.ops.rule.Refusal`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Code(NamedTuple):
    """What a code means.

    Attributes:
        meaning: one sentence.
        unblock: a clause that tells a person what to do; `NOTHING` where nothing helps.
    """

    meaning: str
    unblock: str


NOTHING = "nothing unblocks it"

TRAIN = "put the BatchNormalization right behind a linear operator when the network is trained"
AGAIN = "fold the result once more"
INFERENCE = "export the model in inference mode"
WIDER = "keep the operator's constants in a wider type"

CODES: Mapping[str, Code] = MappingProxyType(
    {
        "axes": Code("The affine lies over several axes, and the operator takes maps over one.", NOTHING),
        "axis": Code(
            "The operator works along the axis on which the channels of the affine lie, or has its own on another.",
            "let the operator work along another axis than the channels",
        ),
        "barrier": Code("The operator lets no affine pass: it is not linear, or bnfold has no rule for it.", TRAIN),
        "both": Code("The operator would have to pass maps on in both directions at once.", AGAIN),
        "broadcast": Code(
            "Two values are added, one of which is broadcast along the channels.",
            "give both values the same static number of channels",
        ),
        "captured": Code(
            "A value crosses into the body of a control-flow operator.",
            "take the reader out of the body, or the affine into it",
        ),
        "channels": Code(
            "The operator and the affine have different numbers of channels.",
            "give the affine as many channels as the operator has",
        ),
        "cycle": Code("A node depends on itself.", "repair the model: no node may depend on its own output"),
        "depth": Code("The search stopped here on purpose, to compare places.", NOTHING),
        "dynamic-axes": Code("The axes are computed when the model runs.", "make the axes an initializer"),
        "dynamic-bias": Code(
            "The bias or addend is computed when the model runs, so that no constant can take the shift in.",
            "make the bias an initializer",
        ),
        "dynamic-bounds": Code("The bounds of a Clip are no constant scalars.", "make the bounds constant scalars"),
        "dynamic-pad": Code(
            "The amounts or the value of a padding are no constants.",
            "make the amounts and the value of the padding initializers",
        ),
        "dynamic-parameter": Code(
            "A parameter of the BatchNormalization is computed when the model runs.",
            "export the model with its parameters as initializers",
        ),
        "dynamic-slice": Code(
            "The bounds of a slice of the channels are no constants.", "make the bounds initializers"
        ),
        "dynamic-weight": Code(
            "The weight is computed when the model runs, so that no constant can take the map in.",
            "make the weight an initializer",
        ),
        "extrapolation": Code(
            "A Resize puts a constant where it reads outside of its input.",
            "resize with another coordinate_transformation_mode than tf_crop_and_resize",
        ),
        "function-attribute": Code(
            "The node stands in a function and takes an attribute from the call.",
            "inline the functions of the model (onnx.inliner)",
        ),
        "graph-input": Code(
            "In front of the affine is an input of the graph or a constant, and no operator that could absorb it.",
            "apply the map to the data before they are fed",
        ),
        "graph-output": Code(
            "The value is an output of the graph too, which has to stay what it is.",
            "take the value off the outputs of the graph",
        ),
        "inconsistent": Code(
            "Sizes, ranks or lists that the operator puts together do not fit each other.",
            "repair the model: onnxruntime does not run it either",
        ),
        "legacy-broadcast": Code(
            "The operator broadcasts by the rules before opset 7.",
            "convert the model to opset 7 or newer (onnx.version_converter)",
        ),
        "malformed": Code(
            "The node does not fit its own specification.", "repair the model: onnx.checker says what is wrong"
        ),
        "max-folds": Code("--max-folds is reached.", "raise --max-folds"),
        "merged": Code(
            "The node has taken in another affine and stays in its place.",
            "nothing is left to do: the two are one node",
        ),
        "negative-scale": Code(
            "The operator lets a map pass only if no scale is below zero.",
            "put the BatchNormalization in front of that operator when the network is trained",
        ),
        "no-gain": Code(
            "The affine could go, but a new node would take its place.", "nothing is to be gained: leave it as it is"
        ),
        "not-finite": Code(
            "The parameters, or several affines together, come to a map that is not finite.",
            "repair the parameters: variance + epsilon has to be above 0, and every number finite",
        ),
        "not-uniform": Code(
            "The operator has one number for all channels, and the affine differs between them.", TRAIN
        ),
        "one-branch": Code(
            "Branches are joined, and the map can not be given to all of them.", "put the same scale on every branch"
        ),
        "opset": Code(
            "The installed onnx does not know the operator's opset, so nothing is known of the operator.",
            "install a newer onnx, or convert the model to an older opset",
        ),
        "other-input": Code("Several inputs of the operator come without their maps at once.", NOTHING),
        "other-output": Code("The map lies on an output that the operator's rule does not speak of.", NOTHING),
        "overflow": Code("A folded constant would not be finite in its own type.", WIDER),
        "overridable": Code(
            "A constant that the fold needs is a graph input too, so that a caller may override it.",
            "--freeze-initializers makes such inputs constants",
        ),
        "padding": Code(
            "A shift in front of zero padding would be missing at the border.",
            "use --prefer no-batchnorm, which leaves an Add, a Max or a constant map",
        ),
        "quantized": Code(
            "The weight is stored in integers, which can not hold the folded numbers.",
            "fold the model before it is quantized",
        ),
        "reshape": Code(
            "The channels are merged with other axes, so that the map would differ along several of them.",
            "give the model static shapes, and keep the channels apart from other axes",
        ),
        "row": Code("More affines stand in a row than are looked at together.", AGAIN),
        "several-readers": Code(
            "Something else reads the value, and would see the map.",
            "give the other readers a copy of the node that they read from",
        ),
        "shift": Code("The operator lets a scale pass and no shift.", TRAIN),
        "skipped": Code("--skip named the node, or --only did not.", "change --skip or --only"),
        "spatial": Code(
            "The BatchNormalization has one mean per element and not per channel.", "export the model with spatial = 1"
        ),
        "split": Code(
            "A value is split along another axis than the channels, and not all pieces have the map.",
            "put the same affine on every piece",
        ),
        "statistics": Code("The normalization gives its statistics as outputs, and they are used.", INFERENCE),
        "taken": Code("Another affine goes through the same node in the other direction.", AGAIN),
        "training": Code("The node is in training mode: what it computes depends on each batch.", INFERENCE),
        "type": Code(
            "The operator or a constant has a type in which bnfold computes nothing.",
            "keep it in float32, float64, float16 or bfloat16",
        ),
        "underflow": Code("A folded weight would be lost below the smallest normal number of its type.", WIDER),
        "unknown-shape": Code(
            "A shape or a number of channels that the rule needs is not known.", "give the model static shapes"
        ),
        "unknown-type": Code(
            "The type of a constant that the fold would make is not known.",
            "declare the type of the operator's output in the model (value_info)",
        ),
        "zero-scale": Code(
            "A channel has the scale 0, behind which nothing of the value is left to be made up for.",
            "remove the channels whose scale is 0 from the network",
        ),
    }
)
"""By code, in the order of the alphabet."""

"""The options that more than one command has, once each."""

from __future__ import annotations

from typing import Annotated, Any

import typer

Model = Annotated[str, typer.Argument(metavar="MODEL", help="An ONNX file.")]
Models = Annotated[list[str], typer.Argument(metavar="MODEL...", help="ONNX files; several are folded each by itself.")]
Freeze = Annotated[
    bool,
    typer.Option(
        "--freeze-initializers",
        help="Treat initializers that are graph inputs too as constants, and stop listing them as inputs.",
    ),
]
Json = Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write the outcome as JSON; - for stdout.")]
Html = Annotated[str | None, typer.Option("--html", metavar="FILE", help="Write a page to look at; - for stdout.")]
ExternalData = Annotated[
    bool | None,
    typer.Option(
        "--external-data/--inline",
        help="Write the weights into one data file beside the model, or all into the model; by default as they came.",
        show_default=False,
    ),
]

# How two models are compared.
Provider = Annotated[
    str,
    typer.Option(
        metavar="cpu|cuda|NAME|all",
        help="The execution provider to run on; all: each that can, and the CPU against the others.",
    ),
]
Data = Annotated[
    list[str] | None,
    typer.Option(
        metavar="INPUTS.npz",
        help="Inputs by name: a .npz file, a folder of them, or a folder of one .npy per input; drawn by default.",
    ),
]
Shape = Annotated[
    list[str] | None,
    typer.Option("--shape", metavar="N=4,H=224", help="Sizes of open axes for drawn inputs; again for more sizes."),
]
Seed = Annotated[int, typer.Option(help="Seed of the drawn inputs.")]
Rtol = Annotated[float | None, typer.Option(help="Tolerance over max|y|, instead of the derived one.")]
Atol = Annotated[float | None, typer.Option(help="Absolute tolerance, instead of the derived one.")]
AllowVacuous = Annotated[bool, typer.Option("--allow-vacuous", help="Accept outputs whose comparison shows nothing.")]
Tf32 = Annotated[
    bool, typer.Option("--tf32", help="Let CUDA round factors of float32 products to 10 bits, and tolerate that.")
]
Optimized = Annotated[
    bool, typer.Option("--optimized", help="Compare as deployed too, with onnxruntime's own rewriting on.")
]

# Where a BatchNormalization goes.
Position = Annotated[
    str, typer.Option(metavar="before-activation|after-activation", help="On which side of the activation.")
]
IncludeClassifier = Annotated[
    bool, typer.Option("--include-classifier", help="Also behind the last linear operator of a path to an output.")
]

# How data are read.
BatchSize = Annotated[
    int | None, typer.Option("--batch-size", metavar="N", help="Rows of a batch; by default each file is one.")
]


def form_of(external_data: bool | None) -> str:
    """The name of the form (`bnfold.model.forms.Form`) that the option asks for."""
    return {None: "as-it-came", True: "external", False: "inline"}[external_data]


def how_to_check(shape: list[str] | None, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - as for `bnfold.check`
    """The options of `bnfold.check`, with shapes as they are written on the command line.

    Raises:
        UsageError: a shape can not be read.
    """
    from bnfold.runtime import parse_shapes

    return {"shapes": [parse_shapes(text) for text in shape or ()], **options}

"""Draw the validation accuracy of several trainings, from the logs that `bnfold train --log` writes.

python docs/plots.py accuracy.png with=with.jsonl without=without.jsonl
python docs/plots.py                # run docs/tutorial.md, and keep its pictures in docs/images
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "tutorial.md"
IMAGES = ROOT / "docs" / "images"
PICTURES = ("curves.png", "accuracy.png")
"""What the tutorial draws; each is kept with the name of the page in front."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")


def accuracies(log: Path) -> list[float]:
    """The validation accuracy of each epoch of a training."""
    return [json.loads(line)["validation_accuracy"] for line in log.read_text(encoding="utf-8").splitlines()]


def draw(curves: Mapping[str, list[float]], path: Path) -> None:
    """Draw a curve per training, by its name."""
    figure = Figure(figsize=(5.0, 3.2), layout="constrained")
    axes = figure.subplots()
    for (name, values), colour in zip(curves.items(), COLOURS, strict=False):
        axes.plot(range(1, len(values) + 1), values, marker="o", color=colour, label=name)
    axes.set(xlabel="epoch", ylabel="validation accuracy")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=100, metadata={"Software": None})


def keep_tutorial() -> None:
    """Run the tutorial, and keep what it drew."""
    from sessions import differences, furnish

    with tempfile.TemporaryDirectory() as folder:
        furnish(Path(folder))
        differences(PAGE.read_text(encoding="utf-8"), Path(folder))
        for name in PICTURES:
            with Image.open(Path(folder, name)) as picture:  # in few colours, a third of the size
                picture.convert("RGB").quantize(32).save(IMAGES / f"tutorial-{name}", optimize=True)


def main() -> None:
    """Draw what is asked for, or the tutorial's pictures."""
    if len(sys.argv) == 1:
        keep_tutorial()
        return
    target, *logs = sys.argv[1:]
    named = dict(log.split("=", 1) for log in logs)
    draw({name: accuracies(Path(log)) for name, log in named.items()}, Path(target))


if __name__ == "__main__":
    main()

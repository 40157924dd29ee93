"""ResNet-50, MobileNetV3-large and DenseNet-121 as files, with random weights and statistics that are nothing special.

    python benchmarks/architectures.py DIR

Weights are drawn as in He et al., arXiv:1502.01852. Statistics are what one batch of noise shows, then drawn a little
off, as those of a trained network are for any one batch: so activations neither explode nor vanish, and no
BatchNormalization is near the identity. The batch is open; the same file in every run on one machine.

Exported by torch's older exporter, which keeps every BatchNormalization when told to keep the mode and writes nothing
else. The newer one folds them itself, or, with its optimizer off, puts a zero bias in front of each convolution that is
computed by five nodes: files that nobody has, and on which every tool would spend its time.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from network_densenet import densenet121
from network_mobilenet import mobilenet_v3_large
from network_resnet import resnet50
from torch import nn

SEED, OPSET = 0, 17
SHAPE = (3, 224, 224)
"""Of an image."""
_BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "resnet50": resnet50,
    "mobilenet_v3_large": mobilenet_v3_large,
    "densenet121": densenet121,
}
NAMES: tuple[str, ...] = tuple(_BUILDERS)
"""What `build` knows."""
_SEEN = 8
"""Images of noise on which statistics are taken."""


def main() -> None:
    """Write all of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        path = folder / f"{name}.onnx"
        build(name, path)
        print(f"{path}: {path.stat().st_size / 1e6:.0f} MB")


def build(name: str, path: Path) -> None:
    """Write one of `NAMES` as an ONNX file with its weights inside.

    Its input is `image`, float32 ``[batch, 3, 224, 224]``, its output `logits`, ``[batch, 1000]``.

    Raises:
        KeyError: There is no network of that name.
    """
    made, example = network(name), torch.zeros(2, *SHAPE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the exporter, about itself
        torch.onnx.export(
            made,
            (example,),
            path,
            input_names=["image"],
            output_names=["logits"],
            opset_version=OPSET,
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
            dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE,  # in the mode EVAL it fuses, constant folding or not
            do_constant_folding=False,
        )


def network(name: str) -> nn.Module:
    """The torch module in eval mode, weights and statistics drawn."""
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        made = _BUILDERS[name]()
        for module in made.modules():
            _draw_weights(module)
        _take_statistics(made)
    return made.eval()


def _draw_weights(module: nn.Module) -> None:
    """Weights that keep the size of activations; scales and shifts away from 1 and 0."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            nn.init.normal_(module.bias, std=0.1)
    if isinstance(module, nn.BatchNorm2d):
        nn.init.uniform_(module.weight, 0.5, 1.5)
        nn.init.normal_(module.bias, std=0.2)


@torch.no_grad()
def _take_statistics(made: nn.Module) -> None:
    """Of one batch of noise, each then moved by a tenth of a deviation and scaled by up to a quarter."""
    normalizations = [module for module in made.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [module.momentum for module in normalizations]
    for module in normalizations:
        module.momentum = 1.0  # the statistics of this batch alone
    made.train()(torch.randn(_SEEN, *SHAPE))
    for module, momentum in zip(normalizations, momenta, strict=True):
        module.momentum = momentum
        mean, var = module.running_mean, module.running_var
        assert mean is not None
        assert var is not None
        mean += 0.1 * var.sqrt() * torch.randn_like(mean)
        var *= torch.empty_like(var).uniform_(0.8, 1.25)


if __name__ == "__main__":
    main()

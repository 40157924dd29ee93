"""BatchNormalization and Dropout, which depend on the module's mode; the other normalizations, which do not."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from bnfold.errors import UsageError
from bnfold.torch.registry import Run, Spec, name_of, operator
from bnfold.torch.synchronizing import batch_statistics
from bnfold.torch.values import Context, Host, number


class BatchNormalization(torch.nn.Module):
    """ONNX's BatchNormalization: in training ``running = momentum * running + (1 - momentum) * batch``.

    The batch's variance is the biased one, both for the output and for the running variance (ONNX
    BatchNormalization-9 and later; torch's own layers keep the unbiased one and call ``1 - momentum`` momentum).

    Attributes:
        epsilon: is added to the variance.
        momentum: how much of a running statistic stays.
        process_group: the processes over which the statistics of a batch are taken; None for this one alone.
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.epsilon: float = spec.get("epsilon", 1e-5)
        self.momentum: float = spec.get("momentum", 0.9)
        self.process_group: dist.ProcessGroup | None = None
        self._gives_statistics = bool(spec.get("training_mode", 0))
        self._keeps = spec.keeps[3:5] == (True, True) and spec.node.inputs[3] is not spec.node.inputs[4]
        self._name = name_of(spec.node)

    def forward(
        self, _: Context, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor
    ) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """x: [N, C, ...]; the others [C]. The running statistics come second and third in a training-mode node."""
        if not self.training:
            y = self._affine(x, scale, bias, mean, var)
            return (y, mean, var) if self._gives_statistics else y
        y, batch_mean, batch_var, correction = self._normalized(x, scale, bias)
        if self._keeps and not self._gives_statistics:
            self._update(mean, var, batch_mean, batch_var, correction)
            return y
        new_mean, new_var = self._blended(mean, batch_mean), self._blended(var, batch_var * correction)
        if self._keeps:
            mean.copy_(new_mean)
            var.copy_(new_var)
        return y, new_mean, new_var

    def _normalized(self, x: Tensor, scale: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor, float]:
        """The output, mean and variance of the batch, ``[C]``, and by what the variance is to be multiplied."""
        if self.process_group is not None:
            mean, var, count = batch_statistics(x, self.process_group)
            self._refuse_what_can_not_train(x, count)
            return self._affine(x, scale, bias, mean, var), mean, var, 1.0
        count = x.numel() // x.shape[1]
        self._refuse_what_can_not_train(x, count)
        mean, var = torch.zeros_like(scale), torch.zeros_like(scale)
        # A torch momentum of 1 puts the batch's own statistics there; torch's variance is over count - 1.
        y = torch.batch_norm(x, scale, bias, mean, var, True, 1.0, self.epsilon, torch.backends.cudnn.enabled)
        return y, mean, var, (count - 1) / count

    def _affine(self, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        """The map that given statistics come to; torch's own function has no gradient for them."""
        if not (mean.requires_grad or var.requires_grad):
            return F.batch_norm(x, mean, var, scale, bias, False, 0.0, self.epsilon)
        shape = [-1] + [1] * (x.ndim - 2)
        factor = scale * torch.rsqrt(var + self.epsilon)
        return (x - mean.reshape(shape)) * factor.reshape(shape) + bias.reshape(shape)

    def _update(self, mean: Tensor, var: Tensor, batch_mean: Tensor, batch_var: Tensor, correction: float) -> None:
        """`_blended`, in place and in two operations each: a small network's step is as long as their number."""
        share = 1 - self.momentum
        with torch.no_grad():
            mean.mul_(self.momentum).add_(batch_mean, alpha=share)
            var.mul_(self.momentum).add_(batch_var, alpha=share * correction)

    def _blended(self, running: Tensor, batch: Tensor) -> Tensor:
        with torch.no_grad():
            return running * self.momentum + batch * (1 - self.momentum)

    def _refuse_what_can_not_train(self, x: Tensor, count: float) -> None:
        if count == 1:
            raise UsageError(
                f"{self._name} needs more than one value per channel to train, and was given {list(x.shape)}: "
                "use a larger batch, and drop a last one of a single sample"
            )
        if not self._keeps and not self._gives_statistics:
            raise UsageError(
                f"{self._name} can not train: its running statistics are shared with something else or computed by "
                "other nodes; give it a mean and a variance of its own (`bnfold insert` does)"
            )


@operator("BatchNormalization", 7, 9, 14, 15)
def _batch_normalization(spec: Spec) -> Run:
    if spec.version == 7:
        spec.refuse_unless(spec.get("spatial", 1) == 1, "normalizes per position (spatial = 0)")
    legacy = [index for index in range(1, 5) if spec.has_output(index)]
    spec.refuse_unless(spec.version >= 14 or not legacy, "gives the statistics of version 9's training mode")
    return BatchNormalization(spec)


class Dropout(torch.nn.Module):
    """ONNX's Dropout: in training each element is zero with probability `ratio`, else divided by ``1 - ratio``."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self._ratio: float = spec.get("ratio", 0.5) if spec.version < 12 else 0.5
        self._gives_mask = spec.has_output(1)

    def forward(
        self, _: Context, x: Tensor, ratio: Tensor | Host | None = None, training_mode: Tensor | Host | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """The mask has the shape of x, which may be any. The module's mode decides, whatever `training_mode` says."""
        share = self._ratio if ratio is None else float(number(ratio))
        if not self._gives_mask:
            return F.dropout(x, share, self.training)
        kept = torch.rand_like(x) >= share if self.training else torch.ones_like(x, dtype=torch.bool)
        return (torch.where(kept, x / (1 - share), 0) if self.training and share < 1 else x * kept), kept


@operator("Dropout", 7, 10, 12, 13, 22, numbers=(1, 2))
def _dropout(spec: Spec) -> Run:
    spec.get("seed")  # torch's generator has its own
    return Dropout(spec)

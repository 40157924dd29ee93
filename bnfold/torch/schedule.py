"""How the learning rate goes down over a training."""

from __future__ import annotations

from math import cos, pi


def cosine(done: float) -> float:
    """The factor of the learning rate after a share of the training: from 1 to 0 along half a cosine.

    Loshchilov & Hutter 2017 (arXiv 1608.03983), equation 5, without restarts.

    Args:
        done: 0 at the start, 1 at the end.
    """
    return (1 + cos(pi * min(done, 1.0))) / 2

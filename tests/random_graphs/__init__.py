"""Random graphs of all operators that have rules: folded equals original, whatever the graph."""

from random_graphs import (  # importing a module of steps registers them
    affines,
    bodies,
    convolution,
    cropping,
    dense,
    joining,
    layout,
    normalizing,
    pointwise,
    pooling,
    recurrent,
)
from random_graphs.build import Built, build
from random_graphs.steps import KEEPING, STEPS

MODULES = (affines, bodies, convolution, cropping, dense, joining, layout, normalizing, pointwise, pooling, recurrent)

__all__ = ["KEEPING", "MODULES", "STEPS", "Built", "build"]

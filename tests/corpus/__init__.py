"""A conformance corpus: small graphs, each with what the mathematics leaves of its affines, and why.

The expected numbers come from the law (what an operator does with an affine map), never from what bnfold does.
"""

from corpus import (
    beside,
    bodies,
    chains,
    constants,
    convolution,
    dense,
    elementwise,
    functions,
    joining,
    layout,
    normalizing,
    pooling,
    precision,
    preparing,
    pushing,
    pushing_dense,
    pushing_through,
    quantized,
    readers,
    sequences,
    sources,
    traps,
)
from corpus.case import Case, Direction, Family
from corpus.counting import affines_left

MODULES = (
    convolution,
    dense,
    elementwise,
    pooling,
    layout,
    normalizing,
    sequences,
    joining,
    beside,
    sources,
    constants,
    pushing,
    pushing_dense,
    pushing_through,
    preparing,
    readers,
    chains,
    bodies,
    functions,
    precision,
    quantized,
    traps,
)
FAMILIES: tuple[Family, ...] = tuple(
    thing for module in MODULES for thing in vars(module).values() if isinstance(thing, Family)
)
CASES: tuple[Case, ...] = tuple(case for family in FAMILIES for case in family.cases)

__all__ = ["CASES", "FAMILIES", "Case", "Direction", "Family", "affines_left"]

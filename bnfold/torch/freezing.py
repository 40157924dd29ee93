"""Parameters that a training leaves as they are."""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase

from bnfold.errors import UsageError
from bnfold.torch.module import GraphModule


def freeze(module: GraphModule, patterns: Collection[str]) -> tuple[str, ...]:
    """Let some parameters take no gradient.

    Args:
        module: what `to_module` made; its parameters are changed.
        patterns: names of initializers, or globs of them.

    Returns:
        The names of the initializers that are frozen.

    Raises:
        UsageError: a pattern is that of no parameter, or nothing is left to train.
    """
    waiting, frozen = set(patterns), []
    parameters = {module.onnx_names.get(name, name): parameter for name, parameter in module.named_parameters()}
    for name, parameter in parameters.items():
        matching = {pattern for pattern in patterns if name == pattern or fnmatchcase(name, pattern)}
        if matching:
            parameter.requires_grad_(False)
            frozen.append(name)
        waiting -= matching
    if waiting:
        missing = ", ".join(f"'{pattern}'" for pattern in sorted(waiting))
        raise UsageError(f"no parameter of the model is called {missing}; they are {', '.join(sorted(parameters))}")
    if len(frozen) == len(parameters):
        raise UsageError("every parameter is frozen, or there is none: nothing is left to train")
    return tuple(frozen)

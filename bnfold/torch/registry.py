"""Which function computes which operator: by domain, name, and the version that gave it its present meaning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from bnfold.errors import ModelError
from bnfold.model.graph import ONNX_DOMAIN, Node

Run: TypeAlias = Callable[..., Any]
"""``run(context, *inputs)`` gives the output, or a tuple of them."""

HostRun: TypeAlias = Callable[..., Any]
"""``run(*inputs)`` on numbers alone; None where the result is none that a `Host` can hold."""


class Spec:
    """A node as its builder sees it. Remembers what was asked for: an attribute that nobody reads is refused.

    Args:
        node: the node.
        bodies: the programs of the bodies that it holds, by attribute.
        keeps: for each input, whether it is a running statistic that the module keeps.
    """

    def __init__(self, node: Node, bodies: dict[str, Any], keeps: tuple[bool, ...]) -> None:
        self.node = node
        self.version = node.since_version
        self.keeps = keeps
        self._bodies = bodies
        self._read: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 (an attribute is of any type)
        """The attribute as set, else as specified, else `default`."""
        self._read.add(name)
        return self.node.attribute(name, default)

    def body(self, name: str) -> Any:  # noqa: ANN401 (a Program, which is made of what stands here)
        """The program of the body that the attribute holds."""
        self._read.add(name)
        return self._bodies[name]

    def has_input(self, index: int) -> bool:
        """Whether the input is there."""
        return index < len(self.node.inputs) and self.node.inputs[index] is not None

    def has_output(self, index: int) -> bool:
        """Whether the output is wanted."""
        return index < len(self.node.outputs) and self.node.outputs[index] is not None

    def refuse(self, why: str) -> ModelError:
        """The error that says that the node, as it is, has no translation."""
        return ModelError(f"{name_of(self.node)} {why}")

    def refuse_unless(self, holds: bool, why: str) -> None:
        """Raise where the node is none that has a translation.

        Raises:
            ModelError: `holds` is false.
        """
        if not holds:
            raise self.refuse(why)

    def refuse_unread(self) -> None:
        """Raise where an attribute is set that the builder did not look at.

        Raises:
            ModelError: the translation does not know the attribute.
        """
        for attribute in self.node.proto.attribute:
            if attribute.name not in self._read:
                raise self.refuse(f"has an attribute '{attribute.name}' that has no translation to torch")


Build: TypeAlias = Callable[[Spec], Run]


@dataclass(frozen=True)
class Operator:
    """The translation of one version of an operator.

    Attributes:
        build: makes what runs from the node.
        numbers: inputs that it takes as numbers where they are known, and that are never trained.
        fixed: inputs that it takes as tensors and that are never trained.
        pointwise: a scalar constant among its inputs is a part of the formula, and is not trained.
        is_differentiable: whether a gradient goes through it.
    """

    build: Build
    numbers: frozenset[int] = frozenset()
    fixed: frozenset[int] = frozenset()
    pointwise: bool = False
    is_differentiable: bool = True


_OPERATORS: dict[tuple[str, str, int], Operator] = {}
_HOSTED: dict[str, Callable[[Spec], HostRun]] = {}


def operator(
    op_type: str,
    *versions: int,
    domain: str = ONNX_DOMAIN,
    numbers: tuple[int, ...] = (),
    fixed: tuple[int, ...] = (),
    pointwise: bool = False,
    is_differentiable: bool = True,
) -> Callable[[Build], Build]:
    """Register the translation of an operator.

    Args:
        op_type: the operator.
        versions: exactly those that it is right for; a version that is not named is refused.
        domain: its domain.
        numbers: as in `Operator`.
        fixed: as in `Operator`.
        pointwise: as in `Operator`.
        is_differentiable: as in `Operator`.

    Raises:
        ValueError: there is one for that version already.
    """

    def register(build: Build) -> Build:
        entry = Operator(build, frozenset(numbers), frozenset(fixed), pointwise, is_differentiable)
        for version in versions:
            key = (domain, op_type, version)
            if key in _OPERATORS:
                raise ValueError(f"two translations of {key}")
            _OPERATORS[key] = entry
        return build

    return register


def hosted(*op_types: str) -> Callable[[Callable[[Spec], HostRun]], Callable[[Spec], HostRun]]:
    """Register what the operators make of numbers; tried first, where all inputs are numbers.

    Raises:
        ValueError: there is one for the operator already.
    """

    def register(build: Callable[[Spec], HostRun]) -> Callable[[Spec], HostRun]:
        for op_type in op_types:
            if op_type in _HOSTED:
                raise ValueError(f"two translations of {op_type} on numbers")
            _HOSTED[op_type] = build
        return build

    return register


def find(node: Node) -> Operator:
    """The translation of the node's operator.

    Raises:
        ModelError: there is none.
    """
    found = _OPERATORS.get((node.domain, node.op_type, node.since_version))
    if found is None:
        raise ModelError(f"{name_of(node)} has no translation to torch; docs/torch.md lists the operators that have")
    if node.refers_to_function_attributes:
        raise ModelError(f"{name_of(node)} takes an attribute from a function that could not be put in its place")
    return found


def find_hosted(node: Node) -> Callable[[Spec], HostRun] | None:
    """What the node's operator makes of numbers, None where it has to have tensors."""
    return _HOSTED.get(node.op_type) if node.domain == ONNX_DOMAIN else None


def known() -> list[tuple[str, str, int]]:
    """Every (domain, operator, version) that has a translation, in order."""
    return sorted(_OPERATORS)


def name_of(node: Node) -> str:
    """The node in a message, with all that tells which definition it follows."""
    version = f"version {node.since_version}" if node.since_version else f"opset {node.opset}, unknown"
    return f"{node.op_type} '{node.label}' (domain {node.domain or 'ai.onnx'}, {version})"

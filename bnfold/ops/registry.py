"""Which rule holds for which operator, in which direction, from which version on.

Register with `@pull("Relu")` and `@push("Relu")`. A rule holds from one version of an operator on, until a later one is
registered; no rule makes the operator a barrier. A rule is asked for maps over one axis, and for maps over several only
if it is registered with ``several_axes=True``; for every other rule such a map is refused here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, NamedTuple, TypeAlias

from bnfold.model.graph import ONNX_DOMAIN, Node
from bnfold.ops.rule import Operator, Placed, Refusal, Spread, Taken

Maps: TypeAlias = Mapping[int, Placed]
"""Index of an output (pull) or of an input (push) to the map there; those without one stay as they are."""

Rule: TypeAlias = Callable[[Operator, Placed], Taken | Refusal]
EachRule: TypeAlias = Callable[[Operator, Maps], Taken | Refusal]


class Entry(NamedTuple):
    """What is registered for one operator from one version on.

    Attributes:
        domain: of the operator.
        op_type: its name.
        since: the first version for which the rule holds.
        several_axes: whether the rule is asked for maps over several axes.
        written: the rule as it is written, with its docstring.
    """

    domain: str
    op_type: str
    since: int
    several_axes: bool
    written: Callable[..., Any]


class Registry:
    """The rules of one direction.

    Args:
        side: what the maps of this direction lie on, for messages: "output" or "input".
    """

    def __init__(self, side: str) -> None:
        self._side = side
        self._rules: dict[tuple[str, str], list[tuple[int, EachRule]]] = {}
        self._entries: list[Entry] = []

    def each(
        self, *op_types: str, since: int = 1, domain: str = ONNX_DOMAIN, several_axes: bool = False
    ) -> Callable[[EachRule], EachRule]:
        """Register a rule that sees all maps at once.

        Args:
            op_types: the operators.
            since: the first version for which it holds.
            domain: their domain.
            several_axes: the rule knows maps over several axes.

        Raises:
            ValueError: there is a rule for that operator and version already.
        """

        def register(rule: EachRule) -> EachRule:
            for op_type in op_types:
                rules = self._rules.setdefault((domain, op_type), [])
                if any(version == since for version, _ in rules):
                    raise ValueError(f"two rules for {domain or 'ai.onnx'}::{op_type} since {since}")
                rules.append((since, rule if several_axes else self._for_one_axis(rule)))
                rules.sort(key=lambda entry: entry[0])
                self._entries.append(Entry(domain, op_type, since, several_axes, inspect.unwrap(rule)))
            return rule

        return register

    def _for_one_axis(self, rule: EachRule) -> EachRule:
        """The rule, never asked for a map over several axes."""

        @wraps(rule)
        def guarded(op: Operator, maps: Maps) -> Taken | Refusal:
            wide = next((placed for placed in maps.values() if isinstance(placed, Spread)), None)
            if wide is None:
                return rule(op, maps)
            axes = " and ".join(map(str, wide.axes))
            text = f"takes a map over one axis of its {self._side}, and the affine differs along axes {axes}"
            return op.refuse("axes", text)

        return guarded

    def __call__(
        self, *op_types: str, since: int = 1, domain: str = ONNX_DOMAIN, several_axes: bool = False
    ) -> Callable[[Rule], Rule]:
        """Register a rule for operators of which the first output (input) alone can have a map; as `each`."""

        def register(rule: Rule) -> Rule:
            @wraps(rule)
            def first_only(op: Operator, maps: Maps) -> Taken | Refusal:
                if set(maps) != {0}:
                    return op.refuse(f"other-{self._side}", f"has a rule for its first {self._side} only")
                return rule(op, maps[0])

            self.each(*op_types, since=since, domain=domain, several_axes=several_axes)(first_only)
            return rule

        return register

    def rule(self, node: Node) -> EachRule | None:
        """The rule that holds for the node's version of its operator."""
        for since, rule in reversed(self._rules.get((node.domain, node.op_type), ())):
            if since <= node.since_version:
                return rule
        return None

    def table(self) -> dict[tuple[str, str], tuple[int, ...]]:
        """(domain, operator) to the versions from which on a rule of its own holds; for documentation and tests."""
        return {key: tuple(since for since, _ in rules) for key, rules in sorted(self._rules.items())}

    def entries(self) -> list[Entry]:
        """All that is registered, by domain, operator and version; for documentation and tests."""
        return sorted(self._entries, key=lambda entry: entry[:3])


pull = Registry("output")
push = Registry("input")

parallel = Registry("input")
"""Rules by which a linear operator takes in the affine of its own input that is added to its output."""

replacing_pull = Registry("output")
"""Rules by which an operator that refuses a map at its output becomes another operator, which takes it."""
replacing_push = Registry("input")
"""Rules by which an operator that refuses a map at its input takes it with a node more behind it."""

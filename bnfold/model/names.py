"""The one allocator of names: never one that any scope of the model already uses."""

from __future__ import annotations

from bnfold.model.graph import Graph


class Names:
    """Hands out names that nothing in the graph has.

    A body sees the names of the scopes around it, and tools flatten scopes into one: so a name is new only if no
    scope at all uses it, for a value, a node, or an entry of `value_info`.
    """

    def __init__(self, graph: Graph) -> None:
        self._taken: set[str] = set()
        for scope in graph.scopes:
            self._taken.update(scope.values)
            self._taken.update(node.proto.name for node in scope.nodes)
            self._taken.update(entry.name for entry in scope.proto.value_info)
        self._taken.discard("")
        self._numbers: dict[str, int] = {}  # the one that was new last, per hint: thousands may have the same

    def fresh(self, hint: str) -> str:
        """`hint`, or `hint` with the first number behind it that makes it new. Taken from then on."""
        name, number = hint, self._numbers.get(hint, 0)
        while name in self._taken:
            number += 1
            name = f"{hint}_{number}"
        self._numbers[hint] = number
        self._taken.add(name)
        return name

"""Where a source file can be changed, and into what; cosmic-ray's operators say so."""

from __future__ import annotations

import ast
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

_ARBITRARY = ("_Eq_Is", "_Eq_IsNot", "_NotEq_Is", "_NotEq_IsNot")
"""Whether `is` differs from `==` on numbers and strings is an accident of the interpreter."""


class Mutant(NamedTuple):
    """One change of one file."""

    path: str
    line: int
    column: int
    operator: str
    occurrence: int

    def source(self) -> str:
        """The text of the file with the change."""
        made = mutate_code(Path(self.path).read_text(encoding="utf-8"), get_operator(self.operator)(), self.occurrence)
        assert made is not None, self
        return str(made)

    def change(self) -> tuple[str, str]:
        """The first line that differs, as it is and as it is made."""
        lines = zip(Path(self.path).read_text(encoding="utf-8").splitlines(), self.source().splitlines(), strict=False)
        before, after = next((was, now) for was, now in lines if was != now)
        return before.strip(), after.strip()


def sample(paths: Sequence[Path], count: int, seed: int) -> list[Mutant]:
    """`count` places of the files, each as likely as any other, and at each one of the changes there are."""
    chosen = random.Random(seed)
    places = [mutants for path in paths for mutants in _places(path)]
    some = chosen.sample(places, min(count, len(places)))
    return [chosen.choice(mutants) for mutants in some]


def count_places(paths: Sequence[Path]) -> int:
    """How many places there are to choose from."""
    return sum(1 for path in paths for _ in _places(path))


def _places(path: Path) -> Iterator[list[Mutant]]:
    """The mutants of a file, place by place."""
    at: dict[tuple[int, int], list[Mutant]] = defaultdict(list)
    for mutant in _mutants(path):
        at[mutant.line, mutant.column].append(mutant)
    for place in sorted(at):
        yield at[place]


def _mutants(path: Path) -> Iterator[Mutant]:
    source = path.read_text(encoding="utf-8")
    idle = list(_never_run(ast.parse(source)))
    nodes = list(ast_nodes(get_ast(source)))
    for name in operator_names():
        kind = get_operator(name)
        if kind.arguments() or name.endswith(_ARBITRARY):
            continue
        operator = kind()
        positions = (position for node in nodes for position in operator.mutation_positions(node))
        for occurrence, (start, _) in enumerate(positions):
            if not any(first <= start < last for first, last in idle):
                yield Mutant(str(path), start[0], start[1], name, occurrence)


def _never_run(tree: ast.Module) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """The extents of annotations, which are not evaluated, and of aliases of types."""
    for node in ast.walk(tree):
        found = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        if isinstance(node, ast.AnnAssign) and isinstance(node.annotation, ast.Name):
            found.append(node.value if node.annotation.id == "TypeAlias" else None)
        for part in found:
            if isinstance(part, ast.expr):
                end = part.end_lineno or part.lineno, part.end_col_offset or part.col_offset
                yield (part.lineno, part.col_offset), end

"""What the residual benchmark prints: tables, who wins against whom, when a form pays."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from residual_chains import BOUND
from timing import Ratio, Setting, Times, ratio


@dataclass(frozen=True)
class Measured:
    """One scenario at one size in one setting: the times of every form, in rounds."""

    scenario: str
    size: str
    setting: Setting
    times: Mapping[str, Times]

    def against(self, form: str, base: str) -> Ratio:
        """One form over another."""
        return ratio(self.times[form], self.times[base])

    @property
    def base(self) -> str:
        """The form that the others are compared with: the affine as it was written."""
        return next(iter(self.times))


FEWER = ", fewer"
QUESTIONS: tuple[tuple[str, str, str], ...] = (
    # (question, the form, over which form)
    ("one BatchNormalization for Sub, Mul, Add", "BN", "Sub, Mul, Add"),
    ("one BatchNormalization for Mul, Add", "BN", "Mul, Add"),
    ("Mul, Add for Sub, Mul, Add", "Mul, Add", "Sub, Mul, Add"),
    ("one BatchNormalization behind the Transpose for Sub, Mul, Add in front of it", "BN, axis 1", "Sub, Mul, Add"),
    ("one BatchNormalization behind the Transpose for one Add in front of it", "BN, axis 1", "Add"),
    ("one Add for one BatchNormalization", "Add", "BN"),
    ("one Add for Mul, Add", "Add", "Mul, Add"),
    ("one Add for Sub, Mul, Add", "Add", "Sub, Mul, Add"),
    ("one Max for Relu and BatchNormalization", "Max", "BN"),
    ("one Max for Relu, Mul, Add", "Max", "Mul, Add"),
    ("one Max for Relu, Sub, Mul, Add", "Max", "Sub, Mul, Add"),
    ("one Max for Relu and Add", "Max", "Add"),
    ("a border map for one BatchNormalization", "border map", "BN"),
    ("a border map for one Add", "border map", "Add"),
    ("a border map for Sub, Mul, Add", "border map", "Sub, Mul, Add"),
    ("BatchNormalization on fewer elements", f"BN{FEWER}", "BN"),
    ("Mul, Add on fewer elements", f"Mul, Add{FEWER}", "Mul, Add"),
    ("Add on fewer elements", f"Add{FEWER}", "Add"),
    ("Max on fewer elements", f"Max{FEWER}", "Max"),
    ("one Add on fewer elements for one BatchNormalization where it is", f"Add{FEWER}", "BN"),
    ("one Add on fewer elements for one BatchNormalization there too", f"Add{FEWER}", f"BN{FEWER}"),
    ("nothing at all (the bound) for one BatchNormalization", BOUND, "BN"),
    ("nothing at all (the bound) for Sub, Mul, Add", BOUND, "Sub, Mul, Add"),
)


def tables(found: Sequence[Measured]) -> Iterator[str]:
    """Lines: a table per scenario and setting, a row per form, a column per size."""
    groups: defaultdict[tuple[str, Setting], list[Measured]] = defaultdict(list)
    for one in found:
        groups[one.scenario, one.setting].append(one)
    for (scenario, setting), group in groups.items():
        yield from ("", f"{scenario}: {setting}; ratio to {group[0].base}")
        yield f"{'':24}" + "".join(f"{one.size:>24}" for one in group)
        for form in group[0].times:
            yield f"{form:24}" + "".join(f"{_cell(one.against(form, one.base)):>24}" for one in group)


def _cell(value: Ratio) -> str:
    return f"{value.median:.2f} ({value.low:.2f}-{value.high:.2f}) {value.best:.2f}"


def answers(found: Iterable[Measured]) -> Iterator[str]:
    """Lines: for each question and setting how often the form pays over the other, and by how much."""
    measured = list(found)
    for question, form, base in QUESTIONS:
        yield from ("", f"{question}:")
        for setting in _settings(measured):
            where = [one for one in measured if one.setting == setting and {form, base} <= one.times.keys()]
            for scenario, ratios in _by_scenario(where, form, base).items():
                yield f"    {setting}; {scenario}: {_summary(ratios)}"


def _settings(measured: Iterable[Measured]) -> list[Setting]:
    return list(dict.fromkeys(one.setting for one in measured))


def _by_scenario(where: Iterable[Measured], form: str, base: str) -> dict[str, list[Ratio]]:
    ratios: defaultdict[str, list[Ratio]] = defaultdict(list)
    for one in where:
        ratios[one.scenario].append(one.against(form, base))
    return ratios


def _summary(ratios: Sequence[Ratio]) -> str:
    counts = Counter(each.verdict for each in ratios)
    medians = " ".join(f"{each.median:.2f}" for each in ratios)
    return f"pays {counts['pays']}, even {counts['even']}, costs {counts['costs']} ({medians})"


def verdicts(found: Iterable[Measured]) -> Iterator[str]:
    """Lines: for each form, where it pays over the affine as it was written, in each setting."""
    measured = list(found)
    forms = dict.fromkeys(form for one in measured for form in one.times if form not in (one.base, BOUND))
    for form in forms:
        for setting in _settings(measured):
            where = [one for one in measured if one.setting == setting and form in one.times and form != one.base]
            if where:
                yield f"{form} ({setting}) pays when: {_when(form, where)}"


def _when(form: str, where: Sequence[Measured]) -> str:
    won: defaultdict[str, list[Measured]] = defaultdict(list)
    for one in where:
        won[f"{one.scenario} instead of {one.base}"].append(one)
    parts = []
    for place, group in won.items():
        paying = [one for one in group if one.against(form, one.base).verdict == "pays"]
        if paying:
            gain = median(one.against(form, one.base).median for one in paying)
            parts.append(f"{place} ({len(paying)} of {len(group)} sizes, {gain:.2f})")
    return "; ".join(parts) or f"never ({len(where)} measured)"


def noise(found: Iterable[Measured]) -> str:
    """One line: how wide the quartiles of a ratio are."""
    widths = []
    for one in found:
        for form in one.times:
            if form != one.base:
                value = one.against(form, one.base)
                widths.append((value.high - value.low) / value.median)
    return (
        f"noise: half of the rounds of a form lie within {median(widths):.1%} (median over all rows), "
        f"{sorted(widths)[int(0.9 * (len(widths) - 1))]:.1%} (nine rows in ten)"
    )

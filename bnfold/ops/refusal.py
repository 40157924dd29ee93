"""Why an affine can not go further. Data, not an exception."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bnfold.ops.codes import CODES
from bnfold.ops.codes import NOTHING as NO_REMEDY


@dataclass(frozen=True)
class Refusal:
    """Why an affine can not go further. Data, not an exception.

    Attributes:
        code: a stable, machine-readable word; `bnfold.ops.codes` says what each means.
        node: the label of the node that blocks.
        text: one sentence for a person.
        remedy: what would unblock this very one, where the clause of the code does not say it.
        other: why the affine can not go the other way either.
    """

    code: str
    node: str
    text: str
    remedy: str = ""
    other: Refusal | None = None

    @property
    def unblock(self) -> str:
        """A clause that says what a person can do: about either direction, if there are two."""
        own = self.remedy or (CODES[self.code].unblock if self.code in CODES else "")
        # A map that was pushed to the end of the graph would go nowhere if the value were no output either.
        others = self.other.unblock if self.other and self.other.code != "graph-output" else ""
        ways = [way for way in (own, others) if way and way != NO_REMEDY]
        return ", or ".join(dict.fromkeys(ways)) or own

    @property
    def reason(self) -> str:
        """The sentence with what would unblock it, where it does not say so itself."""
        unblock = self.unblock
        return self.text if not unblock or unblock in self.text else f"{self.text}; {unblock}"

    def unblocked_by(self, remedy: str) -> Refusal:
        """The same refusal, with a remedy of its own."""
        return replace(self, remedy=remedy)

    def with_operator_beside(self, other: Refusal) -> Refusal:
        """This refusal, together with that of an operator beside the affine, which reads the same value."""
        return replace(self, text=f"{self.text}; beside it, {other.text}")

    def beside(self, other: Refusal) -> Refusal:
        """This refusal of one direction, together with that of the other."""
        if self.text == other.text:
            return self
        return replace(self, text=f"{self.text}; the other way, {other.text}", other=other)

"""Whether limits are exceeded, by bounds: not exceeded, exceeded, or cannot be shown.

'Not exceeded' needs every upper bound below the limit. Each has the full error probability: if any true value is above
the limit, its own bound is wrong with at most that probability (intersection-union test; Berger 1982). 'Exceeded' needs
one lower bound above the limit, and these are corrected for their number (Bonferroni), over all limits together.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

ALPHA = 0.05
"""Probability of a wrong 'not exceeded', and of a wrong 'exceeded', at most."""


class Decision(StrEnum):
    """What a limit's bounds show of it."""

    NOT_EXCEEDED = "not_exceeded"
    EXCEEDED = "exceeded"
    CANNOT_BE_SHOWN = "cannot_be_shown"

    @property
    def words(self) -> str:
        """As a page says it."""
        return {
            Decision.NOT_EXCEEDED: "not exceeded by the attacks tried",
            Decision.EXCEEDED: "exceeded",
            Decision.CANNOT_BE_SHOWN: "cannot be shown",
        }[self]


@dataclass(frozen=True)
class Bounded:
    """What was measured by `by`: its estimate, None where there is none, and one-sided bounds of the true value.

    low: corrected for the number of all lower bounds. high: not corrected; None where no upper bound is known.
    """

    by: str
    estimate: float | None
    low: float
    high: float | None


def decide(values: Sequence[Bounded], limit: float) -> Decision:
    """Of one limit. Without a value nothing is shown. A value that equals the limit does not exceed it."""
    if any(value.low > limit for value in values):
        return Decision.EXCEEDED
    if values and all(value.high is not None and value.high < limit for value in values):
        return Decision.NOT_EXCEEDED
    return Decision.CANNOT_BE_SHOWN


def decide_epsilon(stated: float, stated_unit: str, limit: float, unit: str) -> Decision:
    """Of a guarantee's epsilon: one for a person is one for a record, too, and not the other way round."""
    if unit == "person" and stated_unit != "person":
        return Decision.CANNOT_BE_SHOWN
    return Decision.EXCEEDED if stated > limit else Decision.NOT_EXCEEDED


def together(decisions: Iterable[Decision]) -> Decision:
    """Of a policy: exceeded if any limit is, not exceeded if none is and each is shown not to be."""
    found = list(decisions)
    if Decision.EXCEEDED in found:
        return Decision.EXCEEDED
    shown = bool(found) and all(one is Decision.NOT_EXCEEDED for one in found)
    return Decision.NOT_EXCEEDED if shown else Decision.CANNOT_BE_SHOWN

"""Limits of a policy answered by bounds, with the reasons for whatever cannot be shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analysis.release.gates import Reason, reasons
from analysis.release.release_evidence import CopiesFound, Evidence, Scored
from mia_core.metrics.attack_bounds import (
    auc_bounded,
    exact_copies_bounded,
    excess_copies,
    lower_tail,
    tpr_bounded,
    worst_bounded,
    worst_of,
)
from mia_core.metrics.decisions import ALPHA, Bounded, Decision, decide, decide_epsilon, together
from mia_core.metrics.worst_persons import WORST, WorstPersons
from study.spec.policy import Limits, Policy

AUC, TPR, COPIES, PERSON, EPSILON = "auc", "tpr_at_1pct_fpr", "copies", "worst_person", "epsilon"
SHORT = {AUC: "AUC", TPR: "TPR at 1 % FPR", COPIES: "copies", PERSON: "worst persons"}
"""Limits in words of a reason."""
MOST_TIMES = 100
"""As many records are named as what would settle a limit; an estimate at the limit needs any number."""


@dataclass(frozen=True)
class Measured:
    """One attack's bounds, as limits are compared with, and its worst persons."""

    attack: Scored
    auc: Bounded
    tpr: Bounded
    person: Bounded
    worst: WorstPersons | None


@dataclass(frozen=True)
class Answer:
    """One limit, None where none was given: what it is compared with, the answer and why it is no other one."""

    name: str
    limit: float | None
    values: Sequence[Bounded]
    decision: Decision
    reasons: Sequence[Reason] = ()

    @property
    def strongest(self) -> Bounded | None:
        """The value with the highest upper bound; one without is above all."""
        return max(self.values, key=lambda one: 2.0 if one.high is None else one.high, default=None)


@dataclass(frozen=True)
class Answers:
    """All of a release. gates: what keeps attacks from answering any limit."""

    decision: Decision
    answers: Sequence[Answer]
    measured: Sequence[Measured]
    gates: Sequence[Reason]

    @property
    def reasons(self) -> list[Reason]:
        """Each reason once: of all limits, then of single ones."""
        found = [*self.gates, *(reason for answer in self.answers for reason in answer.reasons)]
        return list(dict.fromkeys(found))


def answer(evidence: Evidence, policy: Policy | None) -> Answers:
    """By the bounds of `mia_core.metrics.attack_bounds`, and the gates that must hold before they mean anything."""
    tail = lower_tail(len(evidence.full))
    measured = [measure(attack, tail) for attack in evidence.full]
    gates = [*reasons(evidence), *_turned(evidence, measured)]
    limits: dict[str, Any] = policy.limits.to_dict() if policy else {}
    found = [
        _of_attacks(AUC, limits.get(AUC), [one.auc for one in measured], gates, evidence),
        _of_attacks(TPR, limits.get(TPR), [one.tpr for one in measured], gates, evidence),
        _of_copies(limits.get(COPIES), evidence.copies, gates, tail),
        _of_attacks(PERSON, limits.get(PERSON), [one.person for one in measured], gates, evidence),
        *([_of_guarantee(policy.limits, evidence)] if policy and EPSILON in limits else []),
    ]
    return Answers(together(one.decision for one in found), found, measured, gates)


def measure(attack: Scored, tail: float) -> Measured:
    """One attack's bounds; tail: error probability of each lower bound."""
    arguments = (attack.label, attack.score, attack.member, tail, attack.persons)
    worst = worst_of(attack.score, attack.member, tail, attack.persons)
    return Measured(attack, auc_bounded(*arguments), tpr_bounded(*arguments), worst_bounded(attack.label, worst), worst)


def _turned(evidence: Evidence, measured: Sequence[Measured]) -> list[Reason]:
    """Attacks whose AUC is below 1/2 by more than chance: their members look less like members than others do."""
    found = []
    for one in measured:
        below = auc_bounded(one.attack.label, one.attack.score, ~one.attack.member, ALPHA / len(measured),
                            one.attack.persons)  # fmt: skip
        if below.low > 0.5:
            found.append(
                Reason(
                    f"By {one.attack.label}, non-members look more like members than the members do (AUC "
                    f"{one.auc.estimate:.3f}): folders are exchanged, or differ by more than the release.",
                    "The cause of an AUC below 1/2.",
                )
            )
    return found


def _of_attacks(
    name: str, limit: float | None, values: Sequence[Bounded], gates: Sequence[Reason], evidence: Evidence
) -> Answer:
    if limit is None:
        return Answer(name, None, values, Decision.CANNOT_BE_SHOWN)
    decision = _gated(decide(values, limit), gates)
    return Answer(name, limit, values, decision, _open(name, limit, values, evidence))


def _gated(decision: Decision, gates: Sequence[Reason]) -> Decision:
    """What bounds say, unless a gate keeps it from being said."""
    stopped = any(gate.both for gate in gates) if decision is Decision.EXCEEDED else bool(gates)
    return Decision.CANNOT_BE_SHOWN if stopped else decision


def _open(name: str, limit: float, values: Sequence[Bounded], evidence: Evidence) -> list[Reason]:
    """Why bounds say neither that a limit is exceeded nor that it is not, and what would settle it; else nothing."""
    if decide(values, limit) is not Decision.CANNOT_BE_SHOWN:
        return []
    found = []
    if few := [value.by for value in values if value.high is None]:
        words = f"{SHORT[name]}: fewer than {WORST} member persons are judged by {', '.join(few)}."
        found.append(Reason(words, f"At least {WORST} member persons."))
    beyond = [(value, value.high) for value in values if value.high is not None and value.high >= limit]
    if beyond:
        beyond.sort(key=lambda pair: -pair[1])
        said = ", ".join(f"{value.by} may be at {high:.3f}" for value, high in beyond)
        remedy = _settled_by(limit, [value for value, _ in beyond], int(evidence.given["judged_non_members"]))
        found.append(Reason(f"{SHORT[name]}: {said}, and the limit is {limit:g}.", remedy))
    return found


def _settled_by(limit: float, values: Sequence[Bounded], records: int) -> str:
    """What would settle a limit: the number of records with which bounds would leave it, were estimates to stay.

    Bounds come nearer to an estimate as the square root of the number of records. values: with upper bounds beyond the
    limit. A limit is exceeded if one is above it, and not exceeded if all are below.
    """
    above = [(_times(one.estimate - one.low, one.estimate - limit), one.by, one.estimate) for one in values
             if one.estimate is not None and one.estimate >= limit]  # fmt: skip
    below = [(_times(one.high - one.estimate, limit - one.estimate), one.by, one.estimate) for one in values
             if one.estimate is not None and one.high is not None and one.estimate < limit]  # fmt: skip
    if not above and not below:
        return f"More records: {records:,} non-members are judged now, too few for an estimate."
    times, by, estimate = min(above) if above else max(below)
    many = f"About {max(times, 1.1):.2g}" if times <= MOST_TIMES else f"More than {MOST_TIMES}"
    what = "is" if above else "is not"
    return (
        f"{many} times as many records ({records:,} non-members are judged now) would show that the limit {what} "
        f"exceeded, if {by} stays at {estimate:.3f}; or a release that leaks less."
    )


def _times(reach: float, room: float) -> float:
    """So many times as many records bring a bound that reaches so far from its estimate within the room."""
    return float("inf") if room <= 0 else (reach / room) ** 2


def _of_copies(limit: float | None, copies: CopiesFound | None, gates: Sequence[Reason], tail: float) -> Answer:
    """Samples that equal a member are judged whatever the non-members are; those that resemble one need them."""
    if copies is None:
        none = Reason("Copies were not looked for: there are no samples.", "Samples of the release.")
        return Answer(COPIES, limit, (), Decision.CANNOT_BE_SHOWN, [none] if limit is not None else [])
    equal = exact_copies_bounded(copies.equal, copies.samples, tail)
    alike: list[Bounded] = []
    if copies.called is not None and copies.alpha is not None and copies.unseen is not None:
        alike = [excess_copies(copies.called, copies.samples, copies.alpha, copies.unseen, tail, copies.several)]
    values = [*alike, equal]
    if limit is None:
        return Answer(COPIES, None, values, Decision.CANNOT_BE_SHOWN)
    own = []
    decision = decide([equal], limit)
    if decision is not Decision.EXCEEDED:
        decision = _gated(decide(values, limit), [gate for gate in gates if gate.both])
        if not alike:
            decision = Decision.CANNOT_BE_SHOWN
            own.append(Reason(
                "copies: too few non-members to know what a copy is, so samples that resemble members were not sought.",
                "At least 99 judged non-members, of different persons (at quality.copies.alpha of .01).",
            ))  # fmt: skip
        elif decision is Decision.CANNOT_BE_SHOWN:
            own += [
                Reason(
                    f"copies: the share of {value.by} may be {value.high:.4f} beyond what chance gives, and the limit "
                    f"is {limit:g}.",
                    "More samples and more non-members, or a release that copies less.",
                )
                for value in values
                if value.high is not None and value.high >= limit
            ]
    return Answer(COPIES, limit, values, decision, own)


def _of_guarantee(limits: Limits, evidence: Evidence) -> Answer:
    """By what the user states, for the unit that the limit is about."""
    limit, unit, stated = limits.epsilon, limits.epsilon_unit, evidence.guarantee
    assert limit is not None and unit is not None
    decision = Decision.CANNOT_BE_SHOWN
    if stated is not None:
        decision = decide_epsilon(stated.epsilon, stated.unit, limit, unit)
    if stated is None or decision is Decision.CANNOT_BE_SHOWN:
        what = "no guarantee is stated" if stated is None else "the guarantee that is stated is for one record"
        why = Reason(
            f"epsilon: the limit is for one {unit}, and {what}.", f"Training with a guarantee for one {unit}, stated."
        )
        return Answer(EPSILON, limit, (), decision, [why])
    value = Bounded(f"the guarantee stated, for one {stated.unit}", stated.epsilon, stated.epsilon, stated.epsilon)
    return Answer(EPSILON, limit, [value], decision)

"""The first sections of a release's page: what is released, limits, worst persons and copies, threats, guarantee."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.format import interval, number, percent
from analysis.release.answers import COPIES, PERSON, Answer, Answers, Measured
from analysis.release.release_evidence import Evidence, Scored
from analysis.release.wording import LIMITS, answer_words, bounds, digits
from analysis.report.page import Blanks, Block, Cell, Facts, Points, Row, Section, Table, Text
from analysis.stats.threats import HAS, PRIORS, Attacker, attacker_of, right_of_named
from mia_core.access import Access, access_of
from mia_core.metrics.attack_bounds import FPR, OF_COPIES, STATEMENTS
from mia_core.metrics.audit import Profile
from mia_core.metrics.ceilings import tpr_ceiling
from mia_core.metrics.decisions import ALPHA, Decision
from mia_core.metrics.leakage import tpr_at_fpr
from mia_core.metrics.low_fpr_bounds import tpr_bounds
from mia_core.metrics.worst_persons import WORST

WORST_WORDS = (
    f"Worst persons are the {WORST} members who stand out most. The number is the share of members among all persons "
    "who score at least as high as these, if half of those asked about are members; guessing has 0.5. It is their "
    "average: one of them may be named more surely, and one release cannot say of one person alone how surely."
)
COPY_WORDS = (
    "A sample is a copy if it equals a member, or lies much nearer to one member than to the next ones, as hardly "
    "any non-member does (the false-copy rate). Crops, flips and parts of records are not looked for."
)
THREAT_WORDS = (
    "For each attacker the strongest of the attacks that it can run. With 1 % of the non-members named wrongly (FPR "
    "1 %), so many of 100 records that it names are members, if 1, 10 or 50 % of the records it asks about are. "
    "Guessing is right 1, 10 and 50 times. The attacker must know the threshold."
)


def released(evidence: Evidence) -> Section:
    """What is released, to whom, by which access."""
    about = evidence.released
    count, access, offers = about.get("count"), HAS[access_of(evidence.offers)], ", ".join(evidence.offers)
    facts = {
        "what": str(about["words"]),
        "samples": f"{count:,}" if count is not None else "as many as one draws",
        "access": access if access == offers else f"{access} ({offers})",
    }
    blocks: list[Block] = [Facts(facts)]
    if about.get("recipient"):
        blocks[0] = Facts({**facts, "to whom": str(about["recipient"])})
    else:
        blocks.append(Blanks(["To whom it is released"]))
    return Section("released", "What is released, to whom, by which access", blocks)


def limits(answers: Answers) -> Section:
    """Each limit with its answer by bounds."""
    rows = []
    for answer in answers.answers:
        limit = "-" if answer.limit is None else f"{answer.limit:g}"
        rows.append(
            Row(
                [
                    Cell(LIMITS[answer.name]),
                    Cell(limit),
                    Cell(answer_words(answer)),
                    *_bounds(answer),
                ],
                bad=answer.decision is Decision.EXCEEDED,
            )
        )
    count = STATEMENTS * len(answers.measured) + OF_COPIES
    words = (
        "A limit is not exceeded if the upper bound of every attack is below it (each right in 95 of 100 releases). It "
        f"is exceeded if a lower bound is above it (all {count} of them right together in 95 of 100). Else it "
        "cannot be shown. Bounds are conditional on this release; shown is the value with the highest upper bound."
    )
    blocks: list[Block] = [
        Table(
            "limits-table",
            "Limits",
            ["limit on", "limit", "answer", "estimate", "at least", "at most", "by"],
            rows,
            sortable=False,
        ),
        Text((words,)),
    ]
    if found := [reason.words for reason in answers.reasons]:
        blocks += [Text(("Why something cannot be shown:",)), Points(found)]
    return Section("limits", "Is a limit exceeded?", blocks)


def _bounds(answer: Answer) -> list[Cell]:
    """Of the value with the highest upper bound."""
    value = answer.strongest
    if value is None:
        return [Cell("-")] * 4
    most = "not known" if value.high is None else digits(answer.name, value.high)
    least = digits(answer.name, max(0.0, value.low))
    return [Cell(digits(answer.name, value.estimate)), Cell(least), Cell(most), Cell(value.by)]


def persons_and_copies(evidence: Evidence, answers: Answers) -> Section:
    """Worst persons of each attack, and copies."""
    rows = [Row([Cell(one.attack.label), *_worst(one)]) for one in answers.measured]
    heads = ["attack", "share of members", "members, others as high", "members above all others (by chance)"]
    blocks: list[Block] = [Text((WORST_WORDS,)), Table("worst-table", "Worst persons", heads, rows, sortable=False)]
    found = evidence.copies
    if found is None:
        return Section("persons", "Worst persons and copies", [*blocks, Text(("Copies were not looked for.",))])
    values = {value.by: value for one in answers.answers if one.name == COPIES for value in one.values}
    facts = {
        "samples looked at": f"{found.samples:,}",
        "samples that equal a member": f"{found.equal:,} ({bounds(COPIES, values['exact copies'])})",
    }
    if found.called is None or found.by_chance is None:
        facts["samples that resemble a member"] = "not looked for: too few non-members to know what resembles"
    else:
        facts["samples called copies"] = (
            f"{found.called:,} ({digits(COPIES, found.called / found.samples)}); by chance {percent(found.by_chance)}, "
            f"as {found.unseen:,} non-members say"
        )
        facts["beyond chance"] = bounds(COPIES, values["copies"])
    for name, share in (("members copied", found.members), ("persons copied", found.persons)):
        if share is not None:
            facts[name] = percent(share)
    if evidence.pairs:
        facts["which"] = "a separate private file beside this page names samples and members"
    return Section("persons", "Worst persons and copies", [*blocks, Text((COPY_WORDS,)), Facts(facts)])


def _worst(one: Measured) -> list[Cell]:
    if one.worst is None:
        return [Cell(f"fewer than {WORST} member persons"), Cell("-"), Cell("-")]
    inside = one.attack.unit[one.attack.member]
    outside = one.attack.unit[~one.attack.member]
    members, others = len(np.unique(inside)), len(np.unique(outside))
    return [
        Cell(bounds(PERSON, one.person)),
        Cell(f"{one.worst.named:,}, {one.worst.others:,}"),
        Cell(f"{one.worst.first:,} ({members / (others + 1):.1f})"),
    ]


@dataclass(frozen=True)
class Threat:
    """An attacker, its strongest attack of so many, and the TPR with limits that hold for all of these together."""

    attacker: Attacker
    attack: Scored
    attacks: int
    tpr: float | None
    low: float
    high: float

    def right(self, prior: float) -> str:
        """Right of 100 named, with limits."""
        estimate = None if self.tpr is None else 100 * right_of_named(self.tpr, prior)
        low, high = (100 * right_of_named(end, prior) for end in (self.low, self.high))
        if estimate is None:
            return f"[{low:.0f}, {high:.0f}]"
        return interval(estimate, low, high, ".0f")


def threats_of(answers: Answers) -> list[Threat]:
    """One an attacker whom some attack fits, from least to most access; strongest by the upper bound of its TPR."""
    who = {one.attack.label: attacker_of(one.attack.access, one.attack.knowledge) for one in answers.measured}
    attackers = {one for one in who.values() if one is not None and one.access > Access.NONE}
    if attackers:  # and who has and knows all that was tried
        knows = {word for one in attackers for word in one.knows}
        attackers.add(Attacker(max(one.access for one in attackers), tuple(sorted(knows))))
    found = []
    for attacker in sorted(attackers):
        own = [one for one in answers.measured if (other := who[one.attack.label]) is not None and attacker.can(other)]
        strongest = max(own, key=lambda one: one.tpr.high or 0.0).attack
        tail = ALPHA / 2 / len(own)
        low, high = tpr_bounds(strongest.score, strongest.member, tail, strongest.persons)
        tpr = tpr_at_fpr(strongest.score[strongest.member], strongest.score[~strongest.member], FPR)
        found.append(Threat(attacker, strongest, len(own), tpr, low, high))
    return found


def threats(answers: Answers) -> Section:
    """The threat table at priors of 1, 10 and 50 %."""
    rows = [
        Row(
            [
                Cell(str(threat.attacker)),
                Cell(f"{threat.attack.label} (of {threat.attacks})"),
                Cell(percent(FPR)),
                Cell(_tpr(threat)),
                *(Cell(threat.right(prior)) for prior in PRIORS),
            ]
        )
        for threat in threats_of(answers)
    ]
    heads = ["attacker has", "strongest attack", "FPR", "TPR [95 %]", *(f"right at {percent(p)}" for p in PRIORS)]
    return Section("threats", "Who could attack, and how often they are right", [
        Text((THREAT_WORDS,)),
        Table("threats-table", "Right of 100 named, where 1, 10 and 50 % are members", heads, rows, sortable=False),
    ])  # fmt: skip


def _tpr(threat: Threat) -> str:
    if threat.tpr is None:
        return f"[{threat.low:.3f}, {threat.high:.3f}]"
    return interval(threat.tpr, threat.low, threat.high)


def guarantee(evidence: Evidence) -> Section:
    """What is guaranteed against any attack, per person, or none."""
    stated = evidence.guarantee
    several = _several(evidence)
    if stated is None:
        words: Sequence[str] = (
            "None. No guarantee is stated, so nothing bounds what attacks find that were not tried.",
        )
    else:
        most = tpr_ceiling(Profile(np.array([stated.epsilon]), np.array([stated.delta])), FPR)
        words = (
            f"For one {stated.unit}: epsilon {number(stated.epsilon)} at delta {number(stated.delta)}, as stated by "
            "whoever trained the model; nothing here verifies it.",
            f"With 1 % of others named wrongly, no attack names more than {percent(most)} of the {stated.unit}s that "
            "were trained on, in expectation.",
        )
        if stated.unit == "record":
            words = (
                *words,
                "Per person: none is stated, and persons have several records."
                if several
                else "Every record counts as a person of its own here; a person with several records has a weaker one.",
            )
    return Section("guarantee", "The guarantee per person", [Text((line,)) for line in words])


def _several(evidence: Evidence) -> bool:
    persons = evidence.given.get("persons_members")
    return persons is not None and persons < evidence.given["members"]

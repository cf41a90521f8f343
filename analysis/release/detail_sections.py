"""The details of a release's page: every attack, the release budget, controls, records, the policy."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from analysis.format import interval, number
from analysis.release.answers import Answers
from analysis.release.budget_picture import Point, curves
from analysis.release.release_evidence import Evidence, Scored
from analysis.release.release_json import row_of
from analysis.report.page import Block, Cell, Facts, Heading, Picture, Points, Row, Section, Table, Text
from mia_core.metrics.attack_bounds import FPR
from study.spec.policy import Policy

GIVEN = {
    "members": "members",
    "non_members": "non-members",
    "reference": "reference records",
    "persons_members": "persons among members",
    "persons_non_members": "persons among non-members",
    "judged_members": "members judged",
    "judged_non_members": "non-members judged",
    "known": "known to fitted attacks, of each side",
}
"""Counts of records, in words."""


def attacks(evidence: Evidence, answers: Answers) -> Section:
    """Every attack at every number of samples, with intervals; the curve over numbers released."""
    compared = {one.attack.label: one for one in answers.measured}
    rows = []
    for attack in evidence.attacks:
        found, bound = row_of(attack), compared.get(attack.label)
        most = "-" if bound is None else f"{bound.auc.high:.3f}"
        named = "-" if bound is None else f"[{bound.tpr.low:.3f}, {bound.tpr.high:.3f}]"
        rows.append(
            Row(
                [
                    Cell(attack.label),
                    Cell(attack.access.lower().replace("_", " ")),
                    Cell(attack.knowledge),
                    Cell(f"{attack.released:,}", value=float(attack.released)),
                    Cell(f"{int(attack.member.sum()):,} / {int((~attack.member).sum()):,}"),
                    Cell(interval(found["auc"], found["auc_low"], found["auc_high"])),
                    Cell(most),
                    Cell(number(found["tpr_at_1pct_fpr"], ".3f")),
                    Cell(named),
                ]
            )
        )
    heads = ["attack", "access", "knows", "samples", "judged: members / others", "AUC [95 %]", "AUC at most",
             "TPR at 1 % FPR", "its bounds"]  # fmt: skip
    about = (
        "AUC with a two-sided interval, conditional on this release, by person where persons have several records. At "
        f"most, and bounds: one-sided, as limits are compared with. A TPR at {FPR:.0%} FPR takes 1,000 non-members; "
        "its bounds hold for any number. Limits are compared with each attack at its largest number of samples."
    )
    blocks: list[Block] = [Text((about,)), Table("attacks-table", "All attacks", heads, rows, sortable=False)]
    lines = budget(evidence)
    if lines:
        words = "AUC of attacks over the number of samples released, with 95 % intervals. Dashed: guessing."
        blocks += [Heading("Over the number of samples released"), Picture(curves(lines, words), words)]
    return Section("attacks", "Details: attacks", blocks)


def budget(evidence: Evidence) -> dict[str, list[Point]]:
    """AUCs over numbers of samples, of attacks with several of them."""
    families: dict[str, list[Scored]] = defaultdict(list)
    for attack in evidence.attacks:
        families[attack.family].append(attack)
    found = {}
    for family in families.values():
        if len({attack.released for attack in family}) < 2:
            continue
        rows = [row_of(attack) for attack in sorted(family, key=lambda one: one.released)]
        points = [Point(row["released"], row["auc"], row["auc_low"], row["auc_high"]) for row in rows]
        found[_stem(family[0].label)] = points
    return found


def _stem(label: str) -> str:
    return label.partition("_generated")[0]


def controls(evidence: Evidence) -> Section:
    """What is known beforehand: all verdicts."""
    rows = [
        Row(
            [
                Cell(control.name),
                Cell(control.attack or "-"),
                Cell(number(control.auc, ".3f")),
                Cell(number(control.p, ".2g")),
                Cell(control.standing or "not run"),
                Cell(control.words),
            ],
            bad=control.standing == "failed",
        )
        for control in evidence.controls
    ]
    heads = ["control", "attack", "AUC", "p (Holm)", "standing", "words"]
    return Section("controls", "Details: controls", [
        Table("controls-table", "Cases whose answer is known", heads, rows, sortable=False)
    ])  # fmt: skip


def records(evidence: Evidence) -> Section:
    """Numbers of records, what was left out, and how they were brought to one form. No path and no name."""
    given = evidence.given
    facts = {words: f"{given[name]:,}" for name, words in GIVEN.items() if given.get(name) is not None}
    if given.get("persons_members") is None:
        facts["persons"] = "every record is a person of its own: no groups were given"
    facts |= {f"read with {name}": _words(value) for name, value in evidence.about.items() if name != "name"}
    blocks: list[Block] = [Facts(facts)]
    left_out: Mapping[str, Any] = given.get("left_out") or {}
    if left_out:
        rows = [Row([Cell(why), Cell(f"{count:,}")]) for why, count in left_out.items()]
        blocks.append(Table("left-out-table", "Records left out", ["why", "records"], rows, sortable=False))
    notes = [*given.get("notes", ()), *evidence.released.get("notes", ())]
    if notes:
        blocks.append(Points([str(note) for note in notes]))
    return Section("records", "Details: records", blocks)


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def policy_section(policy: Policy | None) -> Section:
    """The limits, and why they are so."""
    if policy is None:
        words = "No limits were given. `mia-study release --write-policy FILE` writes a file to fill in."
        return Section("policy", "Details: policy", [Text((words,))])
    facts = {name: f"{value:g}" if isinstance(value, float) else str(value)
             for name, value in policy.limits.to_dict().items()}  # fmt: skip
    signed = {"set by": policy.name, "on": policy.date, **({"review": policy.review} if policy.review else {})}
    return Section("policy", "Details: policy", [
        Facts({**facts, **signed}), Heading("Reasons"), *(Text((part,)) for part in policy.reasons.split("\n\n"))
    ])  # fmt: skip

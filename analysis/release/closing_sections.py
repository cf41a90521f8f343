"""The sections that end a release's page: what was not tried, the holdout, what would change the answer, signature."""

from analysis.format import number
from analysis.release.answers import Answers
from analysis.release.gates import BLIND, BLIND_FILES, BLIND_MARGIN, WHAT, coverage, upper
from analysis.release.release_evidence import Control, Evidence
from analysis.report.page import Blanks, Block, Cell, Facts, Points, Row, Section, Table, Text
from study.spec.policy import Policy

NOT_MEASURED = (
    "Linkability: whether samples can be linked with other data on the same persons. Not measured.",
    "Attribute inference: whether an unknown attribute of a person follows from the release. Not measured.",
    "Inversion: whether records, or an average of a few, can be rebuilt from a model. Not measured.",
    "Singling out: in part, by copies and worst persons.",
    "Attackers with shadow models of their own, or with several releases of the same records. Not tried.",
    "Other trainings of the same model: bounds are conditional on this one.",
)
OFFICER = (
    "Recipients, and what they are bound to",
    "Other data that recipients may have",
    "Legal basis",
    "Linkability, attribute inference, inversion",
    "Withdrawal and retention",
    "Remarks",
)


def not_tried(evidence: Evidence) -> Section:
    """Attacks that could not be tried with reasons, and what no attack here measures."""
    blocks: list[Block] = []
    if evidence.skipped:
        rows = [Row([Cell(label), Cell(why)]) for label, why in evidence.skipped.items()]
        blocks.append(Table("skipped-table", "Attacks not tried", ["attack", "why"], rows, sortable=False))
    blocks += [Text((reason.words,)) for reason in coverage(evidence)]
    return Section("not-tried", "What was not tried, and why", [*blocks, Points(NOT_MEASURED)])


def holdout(evidence: Evidence) -> Section:
    """How non-members were chosen, and what blind classifiers could have found."""
    drawn = evidence.given["holdout"] == "random"
    words = (
        "Non-members were drawn at random, before training, from the same records as the members, as stated by "
        "whoever ran this."
        if drawn
        else "That non-members were drawn at random before training is not stated: what tells them from members need "
        "not be the release."
    )
    rows = []
    for name in (BLIND, BLIND_FILES):
        for control in evidence.control(name) or [Control(name, name, None, "not run")]:
            rows.append(_blind(control))
    heads = ["classifier without the release", "AUC", "at most (95 %)", "p", "finds from", "verdict"]
    about = (
        "Members and non-members must differ in nothing but chance. Finds from: the AUC that it would have found with "
        f"probability 0.8 at the 5 % level. An upper limit within {BLIND_MARGIN:g} of 0.5 is required."
    )
    table = Table("blind-table", "Are members and non-members told apart without the release?", heads, rows,
                  sortable=False)  # fmt: skip
    return Section("holdout", "How the holdout was chosen, and what blind classifiers could find", [
        Text((words,)), table, Text((about,))
    ])  # fmt: skip


def _blind(control: Control) -> Row:
    numbers = [number(value, ".3f") for value in (control.auc, upper(control))]
    cells = [
        *(f"{control.name}: {WHAT[control.name]}", *numbers, number(control.p, ".2g")),
        *(number(control.smallest, ".3f"), f"{control.standing or 'not run'}: {control.words}"),
    ]
    return Row([Cell(text) for text in cells], bad=control.standing == "failed")


def changes(answers: Answers) -> Section:
    """What would change the answer."""
    remedies = list(dict.fromkeys(reason.remedy for reason in answers.reasons))
    always = (
        "Another release, or the same to others who know more: this page speaks of this one alone.",
        "An attack that was not tried, or that is found later.",
        "More samples of the same model: leakage grows with the number released.",
    )
    return Section("changes", "What would change the answer", [Points([*remedies, *always])])


def review(policy: Policy | None) -> Section:
    """The date of the next review."""
    if policy is None or policy.review is None:
        return Section("review", "Next review", [Blanks(["To be looked at again on"])])
    return Section("review", "Next review", [Text((f"To be looked at again on {policy.review}.",))])


def hashes(evidence: Evidence, policy: Policy | None) -> Section:
    """Of data, release, policy, and versions of programs."""
    facts = {
        "records (SHA-256)": evidence.digest,
        "release: model or samples (SHA-256)": str(evidence.released.get("sha256", "not known")),
        "policy (SHA-256)": "no policy" if policy is None else policy.sha256,
        "versions": ", ".join(f"{name} {value}" for name, value in evidence.versions.items()),
    }
    return Section("hashes", "Hashes", [Facts(facts)])


def signature(policy: Policy | None) -> Section:
    """A line for a signature, and what only the officer can answer."""
    signer = [] if policy is None else [Text((f"Limits set by {policy.name} on {policy.date}.",))]
    return Section("signature", "Signature", [
        *signer,
        Blanks(["Name", "Date", "Signature"]),
        Text(("For the officer; nothing here answers these:",)),
        Blanks(OFFICER),
    ])  # fmt: skip

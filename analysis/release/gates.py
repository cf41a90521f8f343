"""What must hold before bounds of attacks answer a limit: a random holdout, blind classifiers at 1/2, known answers."""

from collections.abc import Iterator
from dataclasses import dataclass

from scipy.stats import norm

from analysis.release.release_evidence import Control, Evidence
from mia_core.attacks import attacks_on
from mia_core.metrics.decisions import ALPHA

BLIND_MARGIN = 0.05
"""A blind classifier is at 1/2 if it is not above it by chance alone, and its AUC is shown to be within this of 1/2.

It is the resolution that `tests/mia_core/test_release_decisions.py` tests: differences between the folders that are
smaller move an attack's AUC by less than the .05 by which limits are told apart.
"""
BLIND_RECORDS = 720
"""So many records of each side have a standard error of BLIND_MARGIN / (2 * 1.645) of an AUC where nothing differs."""
BLIND, BLIND_FILES, MEMBER_ONLY, COPYCAT, HELD_OUT = "blind", "blind_files", "member_only", "copycat", "held_out"
NO_FILES = "no files"
"""How the reason begins for which a blind classifier of files was not run, where records are no files."""
WHAT = {
    BLIND: "a classifier that sees the records' pixels and no model",
    BLIND_FILES: "a classifier that sees sizes and formats of files and no pixels",
    MEMBER_ONLY: "attacks on two halves of the known members",
    COPYCAT: "the attack on a generator that replays its members",
    HELD_OUT: "attacks that take half of the non-members for samples",
}


@dataclass(frozen=True)
class Reason:
    """Why something cannot be shown, and what would change that. both: neither that a limit is exceeded nor that it is
    not can be shown then; else only that it is not.
    """

    words: str
    remedy: str
    both: bool = False


def reasons(evidence: Evidence) -> list[Reason]:
    """All that keeps bounds of attacks from answering limits."""
    return [*_holdout(evidence), *_blind(evidence), *_known_answers(evidence), *coverage(evidence), *_none(evidence)]


def upper(control: Control) -> float | None:
    """The one-sided 95 % upper limit of a control's AUC, which must be at 1/2; None where it was not run."""
    return None if control.auc is None or control.error is None else control.auc + norm.isf(ALPHA) * control.error


def _holdout(evidence: Evidence) -> Iterator[Reason]:
    if evidence.given["holdout"] != "random":
        yield Reason(
            "The non-members are not stated to have been drawn at random, before training, from the same records as "
            "the members: what tells them apart need not be the release.",
            "Non-members drawn at random before training, given with --holdout random.",
            both=True,
        )


def _blind(evidence: Evidence) -> Iterator[Reason]:
    for name, what in ((BLIND, "records"), (BLIND_FILES, "files")):
        found = evidence.control(name)
        if not found:
            yield Reason(f"The control {name} was not run.", f"The control {name}.")
        for control in found:
            reached = upper(control)
            if control.standing is None or reached is None:
                if not (name == BLIND_FILES and control.words.startswith(NO_FILES)):
                    yield Reason(f"The control {name} was not run: {control.words}.", f"The control {name}.")
            elif control.standing == "failed":
                yield Reason(
                    f"{WHAT[name].capitalize()} tells members from non-members (AUC {control.auc:.3f}): their {what} "
                    "differ, so that no attack's AUC speaks of the release alone.",
                    "Non-members that differ from the members in nothing but chance.",
                    both=True,
                )
            elif reached > 0.5 + BLIND_MARGIN:
                smallest = "" if control.smallest is None else f"; it finds an AUC from {control.smallest:.3f} on"
                yield Reason(
                    f"That the {what} of members and non-members do not differ is not shown: {WHAT[name]} has an AUC "
                    f"of at most {reached:.3f} (95 %){smallest}, and {0.5 + BLIND_MARGIN:.2f} is allowed.",
                    f"More members and non-members: {BLIND_RECORDS} judged of each show it in 19 of 20 cases.",
                )


def _known_answers(evidence: Evidence) -> Iterator[Reason]:
    fitted = any(attack.fitted for attack in evidence.attacks)
    for name in (MEMBER_ONLY, HELD_OUT, COPYCAT):
        found = evidence.control(name)
        if not found and (name != MEMBER_ONLY or fitted):
            yield Reason(f"The control {name} was not run.", f"The control {name}.")
        for control in found:
            about = f"{control.attack}: {WHAT[name]}"
            if control.standing == "failed":
                auc = "" if control.auc is None else f", AUC {control.auc:.3f}"
                yield Reason(
                    f"The control {name} failed ({about}{auc}): {control.words}.",
                    f"The cause of the failed control {name}, found and mended.",
                    both=True,
                )
            elif control.standing is None and not control.words.startswith("no "):
                yield Reason(f"The control {name} was not run: {control.words}.", f"The control {name}.")
            elif control.standing == "inconclusive" and name == COPYCAT:
                yield Reason(
                    f"That attacks find a generator that replays its members is not shown ({control.attack}): "
                    f"{control.words}.",
                    "More judged members and non-members.",
                )


def coverage(evidence: Evidence) -> Iterator[Reason]:
    """Capabilities that are given away and that no attack used."""
    for name in evidence.uncovered:
        there = attacks_on(name)
        in_brackets = f" ({', '.join(there)})" if there else ""
        yield Reason(
            f"The release gives away `{name}`, and no attack that uses it was tried"
            f"{'.' if there else ': there is none here.'}",
            f"An attack that uses `{name}`{in_brackets}, or a release without it.",
        )


def _none(evidence: Evidence) -> Iterator[Reason]:
    if not evidence.attacks:
        yield Reason("No attack was tried.", "An attack.")

"""Writes what is said of a release: the page, the same as JSON, and the private list of copied records."""

from pathlib import Path

from analysis.release.answers import Answers, answer
from analysis.release.reading_evidence import read_evidence
from analysis.release.release_evidence import Evidence
from analysis.release.release_json import document, to_text
from analysis.release.release_page import page_of
from analysis.release.wording import findings
from mia_core.metrics.decisions import Decision
from study.outcomes import writing
from study.spec.policy import Policy, policy_of
from study.store import Store
from study.store.outputs import write_output
from study.terminal import say
from study.tracking.tracker import REPORT

PAGE, DOCUMENT, PRIVATE = "release.html", "release.json", "copied_records.json"


def write(store: Store, policy: Policy | None, out: Path) -> Decision:
    """`release.html` and `release.json` in a folder, and `copied_records.json`, for its owner alone, where samples copy
    records. Says the answer and the page's place. Refused where the store has no judged release.
    """
    return write_evidence(read_evidence(store), policy, out)


def write_page(store: Store, out: Path | None) -> None:
    """The page alone, by the policy of the store's study; out: a file, by default reports/ in the study's folder."""
    stated = store.resolved().get("policy")
    policy = None if stated is None else policy_of(stated)
    evidence = read_evidence(store)
    page = page_of(evidence, answer(evidence, policy), policy).html().encode(errors="backslashreplace")
    with writing(out or store.reports):
        if out:
            write_output(out, page)
        say(out or store.save_report(REPORT, page))


def write_evidence(evidence: Evidence, policy: Policy | None, out: Path) -> Decision:
    """The same of evidence that was read."""
    answers = answer(evidence, policy)
    page = page_of(evidence, answers, policy).html().encode(errors="backslashreplace")
    files = {PAGE: page, DOCUMENT: to_text(document(evidence, answers, policy)).encode()}
    if evidence.pairs:
        files[PRIVATE] = to_text({"copied": list(evidence.pairs)}).encode()
    for name, data in files.items():
        with writing(out / name):
            write_output(out / name, data)
    if not evidence.pairs:
        (out / PRIVATE).unlink(missing_ok=True)  # of a release that was here before
    say(*findings(answers, policy), *_because(answers), out / PAGE)
    return answers.decision


def _because(answers: Answers) -> list[str]:
    """Why something cannot be shown, and what would settle it."""
    if not any(answer.limit is None or answer.decision is Decision.CANNOT_BE_SHOWN for answer in answers.answers):
        return []
    return [f"because: {reason.words} {reason.remedy}" for reason in answers.reasons]

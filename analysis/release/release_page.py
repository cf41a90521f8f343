"""`release.html`: what is known of a release, in one piece, without network or script.

It never says that something is without danger: it says which limits were given, what bounds of the attacks tried show
of them, and what nobody tried.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from analysis.release import answer_sections, closing_sections, detail_sections
from analysis.release.answers import Answers
from analysis.release.release_evidence import Evidence
from analysis.release.wording import sentences_of
from analysis.report.headline import CAREFUL, FAILED, SOUND
from analysis.report.page import FOLDER as REPORT
from analysis.report.page import INLINED, Section, environment
from mia_core.metrics.decisions import Decision
from study.spec.policy import Policy

STANDINGS = {
    Decision.NOT_EXCEEDED: SOUND,
    Decision.EXCEEDED: FAILED,
    Decision.CANNOT_BE_SHOWN: CAREFUL,
}
TITLE = "What does this release reveal of its training records?"


@dataclass(frozen=True)
class ReleasePage:
    """standing: the color of the answer. sentences: the answer, first to last."""

    about: str
    standing: str
    badge: str
    sentences: Sequence[str]
    sections: Sequence[Section]
    title: str = TITLE

    def html(self) -> str:
        """The whole page; every word that comes from a user is escaped."""
        style = (REPORT / INLINED["style"]).read_text()
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        template = environment(Path(__file__).parent).get_template("release.html")
        return template.render(page=self, style=Markup(style), style_hash=digest, cite=None)  # style: our own


def page_of(evidence: Evidence, answers: Answers, policy: Policy | None) -> ReleasePage:
    """The page in the order in which an officer reads."""
    given = evidence.given
    about = (
        f"{evidence.released['words']}: judged by {given['judged_members']:,} members against "
        f"{given['judged_non_members']:,} non-members, {len(answers.measured)} attacks"
    )
    return ReleasePage(
        about=f"{about}.",
        standing=STANDINGS[answers.decision],
        badge="no limits were given" if policy is None else answers.decision.words,
        sentences=sentences_of(answers, policy),
        sections=[
            answer_sections.released(evidence),
            answer_sections.limits(answers),
            answer_sections.persons_and_copies(evidence, answers),
            answer_sections.threats(answers),
            answer_sections.guarantee(evidence),
            closing_sections.not_tried(evidence),
            closing_sections.holdout(evidence),
            closing_sections.changes(answers),
            closing_sections.review(policy),
            closing_sections.hashes(evidence, policy),
            closing_sections.signature(policy),
            detail_sections.attacks(evidence, answers),
            detail_sections.controls(evidence),
            detail_sections.records(evidence),
            detail_sections.policy_section(policy),
        ],
    )

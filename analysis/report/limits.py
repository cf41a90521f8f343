"""What a study's policy says of each arm: the first line of its report, and a section with the bounds."""

from dataclasses import replace

import pandas as pd

from analysis.format import NONE
from analysis.report.headline import Sentence, Verdict
from analysis.report.page import Cell, Row, Section, Table, Text
from analysis.report.sections import plain
from analysis.report.shown import DATA, Shown, call
from analysis.report.sources import SCORES, source
from analysis.stats.limits_by_arm import decisions_of_arms
from analysis.study_data import StudyData
from mia_core.metrics.decisions import Decision

ABOUT = (
    "An arm does not exceed a limit if every attack's upper bound is below it in each of its cells after the last "
    "level of training (each right in 95 of 100 studies), and exceeds it if a lower bound is above it (all of them "
    "right together). Else it cannot be shown. Bounds are two-way: they allow for other replicates and other records. "
    "What other attacks would find is not known."
)


def first_line(table: pd.DataFrame) -> Sentence:
    """The answer per arm in one sentence, from `limits_by_arm`."""
    answers = [f"{arm}: {decision.words}" for arm, decision in decisions_of_arms(table).items()]
    return (f"By the study's policy: {'; '.join(answers)}.",)


def with_first_line(found: Verdict, table: pd.DataFrame) -> Verdict:
    """A verdict that begins with the answer to the policy, where there is one."""
    return found if table.empty else replace(found, sentences=(first_line(table), *found.sentences))


def section(data: StudyData, table: pd.DataFrame, missing: int) -> Section | None:
    """Each limit of each arm, with the value of the highest upper bound; None without a policy."""
    if table.empty:
        return None
    verdicts = call("verdicts", DATA)
    code = call("limits_by_arm", DATA, verdicts, missing)
    origin = source(data, data.primary, data.attack(data.primary), "limits of the policy by arm", Shown(code), SCORES)
    rows = [
        Row(
            [
                Cell(row["arm"]),
                Cell(row["limit"]),
                plain(row["at_most"], origin=origin),
                Cell(Decision(row["decision"]).words),
                *(plain(row[name], ".3f", origin) for name in ("estimate", "low", "high")),
                Cell(row["by"] if isinstance(row["by"], str) else NONE),
                Cell(row["reason"] if isinstance(row["reason"], str) else ""),
            ],
            bad=row["decision"] == Decision.EXCEEDED,
        )
        for row in table.to_dict("records")
    ]
    policy = data.resolved["policy"]
    about = f"Set by {policy['name']}. {ABOUT}"
    heads = ["arm", "limit on", "limit", "answer", "estimate", "at least", "at most", "by", "why not shown"]
    return Section("policy", "Is a limit exceeded?", [
        Text((about,)), Table("policy-table", "Limits by arm", heads, rows), Text((policy["reasons"],)),
    ])  # fmt: skip

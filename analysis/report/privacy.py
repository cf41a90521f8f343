"""The section about private arms: what is guaranteed, and what attacks prove of it."""

import pandas as pd

from analysis import plots
from analysis.report.headline import Verdict
from analysis.report.page import Block, Section, Text
from analysis.report.sections import drawable, picture, verdict_table
from analysis.report.sources import of_audit, of_picture
from analysis.stats.summary import about_noise
from analysis.study_data import ARM, StudyData, variants_of
from study.store import read


def privacy(data: StudyData, verdict: Verdict, audited: pd.DataFrame) -> Section | None:
    """What is guaranteed and proved; None without private arms."""
    if not data.private:
        return None
    blocks: list[Block] = [
        Text((
            "Only arms with an epsilon guarantee anything, against any attack; what attacks find is a lower "
            "bound. Epsilon "
            "covers the trained networks, not training curves, nor a length of training chosen by looking at results.",
        )),
        *(Text((words,)) for words in about_noise(data)),
    ]  # fmt: skip
    if drawable(data):
        figure = plots.against_epsilon(data, verdict.attack)
        caption = "Right of the dashed line stand arms that guarantee nothing."
        origin = of_picture(data, "AUC and quality against epsilon", [verdict.attack])
        blocks.append(picture(figure, "epsilon", "Leakage and quality against epsilon", caption, origin))
    claimed = audited[audited["epsilon"].notna()] if "epsilon" in audited else audited.iloc[:0]
    if len(claimed):
        wide = read(data.store.root, data.name, "wide")
        trials = [audited.attrs["trials"][number] for number in claimed.index]
        if len(data.variants) > 1:
            named = dict(zip(wide["trial_id"], variants_of(wide, data.resolved["factors"]), strict=True))
            variants = [named[own[0]] for own in trials]
            words = zip(variants, claimed[ARM], strict=True)
            claimed = claimed.assign(arm=[f"{variant}, {arm}" for variant, arm in words])
        sources = [of_audit(data, wide, row, own) for row, own in zip(claimed.to_dict("records"), trials, strict=True)]
        caption = (
            "A proof far below the claim is normal where the ceiling is low; one above it would contradict the claim."
        )
        if data.crossed:
            blocks.append(
                picture(plots.audited(data, claimed), "audit", "epsilon accounted, proved and provable", caption)
            )
        columns = [
            "audit",
            "attack",
            "arm",
            "train_size",
            "trainings",
            "coins",
            "epsilon",
            "epsilon_low",
            "epsilon_ceiling",
            "p_holm",
        ]
        blocks.append(verdict_table("audit-table", "What the audit says of each claim", claimed, columns, sources))
    return Section("privacy", "What is guaranteed, and what is proved", blocks)

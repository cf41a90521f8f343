"""The section about private arms: what is guaranteed, and what attacks prove of it."""

import pandas as pd

from analysis import plots
from analysis.format import percent
from analysis.report.headline import Verdict
from analysis.report.page import Block, Cell, Row, Section, Table, Text
from analysis.report.sections import NAMES, drawable, picture, plain, verdict_table
from analysis.report.shown import DATA, call
from analysis.report.sources import Cited, of_audit, of_picture, source
from analysis.sentences import line
from analysis.stats.guarantees import guarantees, per_unit
from analysis.stats.summary import about_noise
from analysis.study_data import ARM, StudyData, variants_of


def privacy(data: StudyData, verdict: Verdict, audited: pd.DataFrame) -> Section | None:
    """What is guaranteed and proved; None without private arms."""
    if not data.private:
        return None
    blocks: list[Block] = [
        Text((
            "Only arms with an epsilon guarantee anything, against any attack; what attacks find is a lower bound. "
            f"{about_epsilon(data)} It covers the trained networks, not training curves, nor a choice of an arm or of "
            "a length of training by looking at results, nor the other models of this study.",
        )),
        *(Text((words,)) for words in about_noise(data)),
    ]  # fmt: skip
    if drawable(data) and data.private_under(verdict.attack):
        figure = plots.against_epsilon(data, verdict.attack)
        caption = (
            "Gray bars: the most that the guarantee lets any attack have, in expectation, about all records that a "
            "coin of the study changes; a mean over few replicates may lie above by chance. Right of the dashed line "
            "stand arms that guarantee nothing."
        )
        origin = of_picture(data, "AUC and quality against epsilon", [verdict.attack])
        blocks.append(picture(figure, "epsilon", "Leakage and quality against epsilon", caption, origin))
    blocks.append(_guarantees(data))
    claimed = audited[audited["epsilon"].notna()] if "epsilon" in audited else audited.iloc[:0]
    if len(claimed):
        wide = data.table("wide")
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
            "epsilon_unit",
            "epsilon_low",
            "epsilon_ceiling",
            "p_holm",
        ]
        blocks.append(verdict_table("audit-table", "What the audit says of each claim", claimed, columns, sources))
    heading = "What is guaranteed" + (", and what is proved" if len(claimed) else "")
    return Section("privacy", heading, blocks)


def about_epsilon(data: StudyData) -> str:
    """What the study's epsilons are about."""
    return line(f"epsilon {per_unit(data)}")


def _guarantees(data: StudyData) -> Table:
    """What every private cell guarantees: of its unit, and of a person where persons have several records."""
    table = guarantees(data)
    persons = table["per_person"].notna().any()
    used = data.wide[data.wide["epsilon"].notna() & (data.wide["attack"] == data.primary)]
    code = call("guarantees", DATA)
    origin = source(data, data.primary, used, "what private cells guarantee", code)
    rows = []
    for row in table.to_dict("records"):
        cells = [
            *(Cell(str(row[name]), value=row[name] if isinstance(row[name], int) else None) for name in data.cell),
            plain(row["epsilon"], origin=origin),
            plain(row["epsilon_unit"]),
            plain(row["delta"], origin=origin),
            Cell(number=Cited(percent(row["largest_tpr"]), origin), value=row["largest_tpr"]),
            plain(row["largest_auc"], ".2f", origin),
        ]
        rows.append(Row([*cells, *([Cell(row["per_person"])] if persons else [])]))
    columns = [*(NAMES.get(name, name) for name in data.cell), "epsilon", "per", "delta", "largest TPR at 1 % FPR",
               "largest AUC", *(["all records of a person"] if persons else [])]  # fmt: skip
    caption = (
        f"What each guarantee leaves any attacker at most {per_unit(data)}: the share of those trained on that are "
        "named while 1 % of the others are named wrongly, and the AUC"
    )
    caption += ". The last column is for all records of a person" if persons else ""
    return Table("guarantees", caption, columns, rows)

"""A study's measured tables, as text in cells: the command prints them in Markdown, notebooks show them as they are.

Every value is a mean over replicates with its 95 % interval, every difference is taken inside replicates, in the
value's own units. p-values are two-sided; those of the declared contrasts are corrected by Holm, as are those of whole
tables that say so; all others are exploratory and are not.
"""

import html
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from analysis.checks import cautions
from analysis.format import (
    EFFECT,
    NONE,
    P_HOLM,
    TPR_WORDS,
    epsilon,
    estimate,
    form_of,
    interval,
    more_replicates,
    named,
    number,
    p_value,
    percent,
    share,
    texts_of_effect,
)
from analysis.format import effect as effect_text
from analysis.release_tables import (
    copy_table,
    extraction_table,
    pairs_of_cells,
    released,
    released_at_most,
    threat_table,
    threats_over_training,
)
from analysis.stats.baselines import audits
from analysis.stats.calibration import calibration_gains
from analysis.stats.declared import declared, family_of, replicates_needed
from analysis.stats.drawn_points import LEFT_OUT, Influence, by_point, design_words, influences, search_words, varied
from analysis.stats.effects import contrasts, means
from analysis.stats.guarantees import guarantees
from analysis.stats.inference import AUC, TPR
from analysis.stats.losses import loss_gaps
from analysis.stats.redrawn import leakage_shown, words_of
from analysis.stats.search_results import Search, confirmed, search
from analysis.stats.sensitivity import main_effects
from analysis.stats.summary import about_intervals, about_noise, against_epsilon, effects_of, equal_steps
from analysis.stats.tradeoff import best_quality, equal_quality, least_leakage
from analysis.study_data import ARM, VARIANT, StudyData, load, lower_is_better
from study.store.reading import last_levels
from study.terminal import one_line, say

MOST_ROWS = 40
"""Rows of a table of comparisons with early stopping: the ones settled best come first."""


def run(folder: str, attack: str | None, include_records: bool = False) -> None:
    """Print the tables of a study. attack: whose effects are shown, or the study's declared one.

    include_records: with the records that samples copy.
    """
    data = load(folder)
    data.attack(shown := attack or data.primary)  # refused before anything is printed
    left_out = [LEFT_OUT] if data.drawn else []
    for sentence in [*cautions(data), *equal_steps(data), *about_noise(data), *left_out, about_intervals(data)]:
        say(f"- {_markdown(sentence)}")
    say()
    for title, table in tables(data, shown):
        if len(table):
            say(f"### {_markdown(title)}", "", *markdown(table).split("\n"), "")
    found = pairs_of_cells(data) if include_records and data.crossed else pd.DataFrame()
    if len(found):
        say("### Samples that are copies, the closest first", "", *markdown(found).split("\n"), "")


def tables(data: StudyData, attack: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Titles and tables, texts in their cells; a table is empty where the study has nothing to compare."""
    yield from (
        _of_search(data) if data.searched else _of_points(data, attack) if data.drawn else _of_cells(data, attack)
    )
    for one in influences(data, attack) if data.drawn or (data.crossed and data.factors) else ():
        value = f"AUC of {attack}" if one.value == AUC else one.value
        yield f"Shares of variance (exploratory): {value}{_size(one)}", shares(one)
    if data.private:
        yield "What audits prove, and whether they contradict a claim", audited(data)
    promised = guarantees(data)
    yield (
        "What is guaranteed: no other arm has an epsilon, clip-only neither",
        promised.assign(
            epsilon=promised["epsilon"].map(epsilon),
            largest_auc=promised["largest_auc"].map(lambda most: number(most, form_of(AUC))),
            largest_tpr=promised["largest_tpr"].map(percent),
            per_person=promised["per_person"].fillna(NONE),
        ),
    )


def _of_search(data: StudyData) -> Iterator[tuple[str, pd.DataFrame]]:
    """Of a search."""
    words = varied(data)
    found = search(data)
    yield f"The search: {search_words(data)}", pd.DataFrame({"factor": words.keys(), "searched in": words.values()})
    yield "What no other point beats, by the means that the search used (optimistic)", of_points(found, found.front)
    yield (
        "What fresh replicates say of points, beside the values that the search used",
        fresh(found, confirmed(data, found)),
    )
    yield "Every point, in the order asked", of_points(found, found.table)


def _of_points(data: StudyData, attack: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Of a study that draws its points."""
    words = varied(data)
    yield f"The design: {design_words(data)}", pd.DataFrame({"factor": words.keys(), "drawn from": words.values()})
    yield "Attacks over the points: AUC at the least leaking, the median and the most leaking one", ranges(data)
    yield f"The points with the most and the least AUC of {attack}", extremes(data, attack)


def _of_cells(data: StudyData, attack: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Of a study that crosses levels."""
    last, budget = data.last, data.budget
    after = f"{last[budget].max()} {budget}"
    control = last[last[ARM] == data.arms[0]]
    yield (
        f"Where leakage is shown after {after}: the strongest attack, by redrawn coins, Holm over all rows",
        where(data),
    )
    yield f"Attacks after {after}, arm {data.arms[0]}: AUC and {TPR_WORDS}", attacks(data, control, AUC, TPR)
    yield (
        "The same: top-n accuracy in a pool with a tenth of members (chance 0.1)",
        attacks(data, control, "accuracy_top_10pct"),
    )
    yield (
        f"Threats after {after}: the strongest attack of each attacker, 95 % for all of its attacks",
        threat_table(data),
    )
    yield f"The same over {budget}: the strongest attack of each attacker and its AUC", threats_over_training(data)
    yield f"Release budget after {after}: AUC by number of samples, 95 %, and upper bounds together", released(data)
    yield "The same: how many samples keep the mean AUC of every attack tried under a limit", released_at_most(data)
    yield f"Losses over {budget}: of judged members, of unseen records, and the gap between them", losses(data)
    yield f"Copies after {after}: shares of samples, members and persons", copy_table(data)
    yield (
        f"Extraction after {after}: members found in what recurs, the share that is right, authentic samples",
        (extraction_table(data)),
    )
    yield f"What calibration gains after {after}: AUC less that of the base, and what its formula predicts", gains(data)
    yield f"Declared contrasts: AUC of {data.primary}, Holm over all rows", declared_contrasts(data)
    yield f"Main effects (exploratory): AUC of {attack}", averaged(data, attack, AUC)
    if data.quality:
        yield f"Main effects (exploratory): {data.quality}", averaged(data, attack, data.quality)
    yield f"AUC of {attack} over {budget} and n", over_training(data, attack, AUC)
    if data.quality:
        yield f"{data.quality} over {budget} and n", over_training(data, attack, data.quality)
    yield f"What n changes: AUC of {attack} against the smallest n", effect(data, "train_size", attack)
    yield f"What {budget} change: AUC of {attack} against the fewest", effect(data, budget, attack)
    yield (
        f"What other attacks give, less {attack}: AUC after the last {budget}, arm {data.arms[0]}",
        compared(data, control, attack),
    )
    yield f"Arms after {after}: AUC by attack", arms(data, last, AUC)
    yield f"What an arm changes: AUC of {attack} against {data.arms[0]}", effect(data, ARM, attack)
    if data.quality:
        yield f"What an arm costs: {data.quality} against {data.arms[0]}", effect(data, ARM, attack, data.quality)
    if data.quality:
        yield f"Arms against early stopping at equal {data.quality}: AUC of {attack}", at_equal_quality(data, attack)
        yield "What keeps to a limit", answers(data, attack)
    if data.private:
        yield f"AUC of {attack} and {data.quality or 'no quality'} against epsilon", beside_epsilon(data, attack)


def where(data: StudyData) -> pd.DataFrame:
    """One row a cell after the last level of training: its strongest attack, and whether that shows leakage."""
    table = leakage_shown(data)
    rows = [
        {
            "cell": words_of(data, row),
            "strongest attack": f"{row['attack']} (of {row['attacks']})",
            "AUC": estimate(row, AUC, AUC),
            TPR_WORDS: estimate(row, TPR, TPR),
            P_HOLM: p_value(row["p_holm"]),
            "leakage": "shown" if row["shown"] else "not shown",
        }
        for row in table.to_dict("records")
    ]
    return pd.DataFrame(rows)


def shares(one: Influence) -> pd.DataFrame:
    """One row an index, or one with the reason why there are none."""
    if one.reason:
        return pd.DataFrame({"none, because": [one.reason]})
    named = one.table[["factor", "other", "index"]].astype(object).where(one.table.notna(), "-")
    named = named.rename(columns={"other": "with"})
    rows = one.table.to_dict("records")
    named["share [95 %]"] = [share(row["estimate"], row["low"], row["high"]) for row in rows]
    return named


def of_points(found: Search, table: pd.DataFrame) -> pd.DataFrame:
    """Points of a search: levels, - where a setting means nothing to the arm, and goals as the search saw them."""
    shown = table[["point", *found.factors]].copy()
    for name in found.factors:
        shown[name] = [
            "-" if pd.isna(level) else f"{level:g}" if isinstance(level, float) else level for level in table[name]
        ]
    for goal in found.goals:
        texts = [estimate(row, goal.column, goal.name) for row in _records(table)]
        shown[goal.name] = ["no result" if text == "-" else text for text in texts]
    return shown.assign(replicates=table["trials"].map(len))


def _records(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table.to_dict("records")


def fresh(found: Search, table: pd.DataFrame) -> pd.DataFrame:
    """One row a confirmed point and goal, with its interval over the replicates that the search has not seen."""
    column = {goal.name: goal.column for goal in found.goals}
    texts = [estimate(row, column[row["goal"]]) for row in _records(table)]
    searched = [estimate({**row, "mean": row["searched"], "low": None}, column[row["goal"]]) for row in _records(table)]
    return table[["point", "goal"]].assign(search=searched, fresh=texts, replicates=table["replicates"])


def _size(one: Influence) -> str:
    if one.reason:
        return ""
    first = one.table.iloc[0]
    return f" ({first['method']}, {first['points']} points, {first['replicates']} replicates)"


def ranges(data: StudyData) -> pd.DataFrame:
    """One row an attack (after its last level of steps): means over replicates."""
    rows = []
    for attack in last_levels(data.wide):
        table = by_point(data, attack, AUC).sort_values("mean")
        found = {name: table.iloc[place] for name, place in (("least", 0), ("median", len(table) // 2), ("most", -1))}
        rows.append({"attack": attack, **{name: estimate(row.to_dict(), AUC) for name, row in found.items()}})
    return pd.DataFrame(rows)


def extremes(data: StudyData, attack: str, count: int = 3) -> pd.DataFrame:
    """The points at both ends, chosen by what came out: their own values would be nearer to the middle again."""
    table = by_point(data, attack, AUC).sort_values("mean", ascending=False)
    table = pd.concat([table.head(count), table.iloc[count:].tail(count)])
    texts: dict[str, Any] = {"AUC": [estimate(row, AUC) for row in _records(table)]}
    if data.quality:
        quality = {row["point"]: row for row in _records(by_point(data, attack, data.quality))}
        qualities = [estimate(quality[point], data.quality) if point in quality else "-" for point in table["point"]]
        texts[data.quality] = qualities
    return table[["point", *varied(data)]].assign(**texts)


def attacks(data: StudyData, rows: pd.DataFrame, *values: str) -> pd.DataFrame:
    """One row an attack, one column a variant, n and value (named where there are several); none of no rows."""
    parts = []
    for value in values:
        table = means(data, rows, value, ["attack", VARIANT, "train_size"])
        if len(table):
            more = f": {TPR_WORDS}" if value == TPR else ""
            parts.append(_spread(table, value, "attack", list(dict.fromkeys(rows["attack"])), more).set_index("attack"))
    return pd.concat(parts, axis=1).fillna("-").reset_index() if parts else pd.DataFrame()


def arms(data: StudyData, rows: pd.DataFrame, value: str) -> pd.DataFrame:
    """One row an arm and variant, one column an attack (after its last level of steps), at the largest n."""
    rows = rows[(rows["train_size"] == rows["train_size"].max()) & rows["attack"].isin(last_levels(rows))]
    table = means(data, rows, value, [VARIANT, ARM, "attack"])
    table["text"] = [estimate(row, value) for row in _records(table)]
    table = table.pivot(index=[VARIANT, ARM], columns="attack", values="text")[last_levels(rows)].fillna(NONE)
    return named(table.reindex(pd.MultiIndex.from_frame(rows[[VARIANT, ARM]].drop_duplicates())).reset_index())


def over_training(data: StudyData, attack: str, value: str) -> pd.DataFrame:
    """One row a level of training, one column a variant and n, of the first arm."""
    rows = data.attack(attack)
    rows = rows[rows[ARM] == data.arms[0]]
    return _spread(means(data, rows, value, [data.budget, VARIANT, "train_size"]), value, data.budget)


def losses(data: StudyData) -> pd.DataFrame:
    """One row a cell of a target that has a loss of a record alone."""
    table = loss_gaps(data)
    texts = {
        name: [interval(row[name], row[f"{name}_low"], row[f"{name}_high"], ".3g") for row in _records(table)]
        for name in ("members", "unseen", "gap")
    }
    return named(table[[*data.cell, "replicates"]].assign(**texts))


def beside_epsilon(data: StudyData, attack: str) -> pd.DataFrame:
    """One row a cell; an arm without an epsilon guarantees nothing."""
    table = against_epsilon(data, attack)
    texts: dict[str, Any] = {"epsilon": table["epsilon"].map(epsilon)}
    for name, value in {AUC: AUC, "quality": data.quality}.items():
        if value:
            texts[name] = [estimate(row, value, name) for row in _records(table)]
    return named(table[list(data.cell)].assign(**texts))


def audited(data: StudyData) -> pd.DataFrame:
    """Verdicts of the audit, rounded; epsilon_low is proved of any mechanism, with _gaussian of a Gaussian one."""
    table = audits(data).drop(columns=["p", "ok", data.budget], errors="ignore")
    rounded = {"epsilon": 1, "p_holm": 3, **{name: 2 for name in table if str(name).startswith("epsilon_")}}
    return table.round(rounded).astype(object).where(table.notna(), "-")


def effect(data: StudyData, factor: str, attack: str, value: str = AUC) -> pd.DataFrame:
    """Contrasts of a factor; for arms, after the last level of training only."""
    table = effects_of(data, factor, attack, value)
    if table.empty:
        return table
    last = table[data.budget].max() if factor == ARM else None
    return _effects(data, table if last is None else table[table[data.budget] == last], value)


def compared(data: StudyData, rows: pd.DataFrame, attack: str) -> pd.DataFrame:
    """Every attack (after its last level of steps) against one; none where that one is not among the rows."""
    if attack not in set(rows["attack"]):
        return pd.DataFrame()
    rows = rows[rows["attack"].isin([*last_levels(rows), attack])]
    return _effects(data, contrasts(data, rows, AUC, "attack", attack, [VARIANT, "train_size"]), AUC)


def gains(data: StudyData) -> pd.DataFrame:
    """One row a calibrated attack and cell; adjusted: the base's AUC, for how easy the drawn records are."""
    table = calibration_gains(data)
    rows = _records(table)
    texts: dict[str, Any] = {
        "AUC": [number(row["raw"], ".3f") for row in rows],
        "adjusted": [number(row["adjusted"], ".3f") for row in rows],
        "calibrated less base [95 %]": [effect_text(row, AUC) for row in rows],
        "predicted from adjusted": [f"{row['predicted']:+.3f}" for row in rows],
        "share of records in the variance": [number(row["share"], ".2f") for row in rows],
    }
    return named(table[[*data.cell, "base"]].assign(**texts))


def declared_contrasts(data: StudyData) -> pd.DataFrame:
    """One row a contrast; `would settle`: replicates that would settle it, were it as large as it looks."""
    table = declared(data)
    table = replicates_needed(table, family_of(data, len(table)))
    rows = _records(table)
    texts = pd.DataFrame([texts_of_effect(row, AUC, "p_holm") for row in rows], index=table.index)
    return table[["contrast"]].join(texts).assign(**{"would settle": [more_replicates(row) for row in rows]})


def averaged(data: StudyData, attack: str, value: str) -> pd.DataFrame:
    """Each level against its factor's first, averaged over `cells` of the other factors."""
    table = main_effects(data, attack, value)
    texts = pd.DataFrame([texts_of_effect(row, value) for row in _records(table)], index=table.index)
    return table[["factor", "level", "baseline"]].join(texts).assign(cells=table["contexts"])


def at_equal_quality(data: StudyData, attack: str) -> pd.DataFrame:
    """One row a cell of an arm: its AUC less that of early stopping, corrected by Holm over all cells compared.

    The first `MOST_ROWS`, by p.
    """
    table = equal_quality(data, attack).sort_values("p_holm", kind="stable").head(MOST_ROWS)
    texts: dict[str, Any] = {
        EFFECT: [row["reason"] if pd.notna(row["reason"]) else effect_text(row, AUC) for row in _records(table)],
        P_HOLM: table["p_holm"].map(p_value),
    }
    stopped = table[f"at_{data.budget}"].map(lambda at: number(at, ".0f"))
    quality = [interval(value, None, None, ".3g") for value in table["quality"]]
    return named(table[list(data.cell)].assign(quality=quality, stopped=stopped, **texts))


def answers(data: StudyData, attack: str) -> pd.DataFrame:
    """The least leakage at no worse quality than the median cell's, and the best quality at AUC 0.6, for each n."""
    quality = str(data.quality)
    limit = float(f"{data.attack(attack).groupby(list(data.cell))[quality].mean().median():.2g}")
    word = "at most" if lower_is_better(quality) else "at least"
    found = {
        f"least AUC with {quality} {word} {limit:g}": least_leakage(data, attack, limit),
        f"best {quality} with AUC at most 0.6": best_quality(data, attack, 0.6),
    }
    rows = []
    for question, table in found.items():
        for row in _records(table):
            there = pd.notna(row[ARM])
            rows.append(
                {
                    "question": question,
                    "n": row["train_size"],
                    "answer": f"{row[VARIANT]}, {row[ARM]}, {row[data.budget]} {data.budget}" if there else "none",
                    "AUC": estimate(row, AUC, "leakage"),
                    "quality": estimate(row, quality, "quality"),
                    "shown": "yes" if row["shown"] else row["reason"],
                }
            )
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame) -> str:
    """Pipes; what a study has written in a cell is text, and no markup."""
    lines = [list(table.columns), *table.to_numpy().tolist()]
    texts = [[_markdown(cell).replace("|", r"\|") for cell in line] for line in lines]
    texts.insert(1, ["---"] * len(table.columns))
    return "\n".join(f"| {' | '.join(line)} |" for line in texts)


def _markdown(value: Any) -> str:
    """A text in one line of Markdown, without elements, code or links of its own."""
    text = re.sub(r"<(?=[A-Za-z/!?])|&(?=#?\w+;)", lambda found: html.escape(found[0]), one_line(value))
    return text.replace("`", r"\`").replace("](", r"]\(")


def _spread(
    table: pd.DataFrame, value: str, index: str, order: Sequence[str] | None = None, more: str = ""
) -> pd.DataFrame:
    """Rows by a column of means, columns by variant and n. more: after these words."""
    texts = [estimate(row, value) for row in _records(table)]
    heads = table[VARIANT] + ", n = " + table["train_size"].astype(str) + more
    table = table.assign(head=heads, text=texts)
    spread = table.pivot(index=index, columns="head", values="text")[list(dict.fromkeys(table["head"]))]
    return (spread.reindex(list(order)) if order else spread).reset_index()


def _effects(data: StudyData, table: pd.DataFrame, value: str) -> pd.DataFrame:
    """The columns of a cell and of its effect, in words."""
    columns = [c for c in [*data.cell, "attack"] if c in table]
    texts = pd.DataFrame([texts_of_effect(row, value) for row in _records(table)], index=table.index)
    return named(table[columns].join(texts))

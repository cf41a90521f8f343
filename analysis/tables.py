"""A study's measured tables, in Markdown.

Every value is a mean over replicates with its 95 % t interval, every difference is taken inside replicates. p-values
are two-sided; those of the declared contrasts are corrected by Holm, all others are exploratory and are not.
"""

import html
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from analysis.checks import cautions
from analysis.stats.baselines import audits
from analysis.stats.declared import declared, replicates_needed
from analysis.stats.drawn_points import LEFT_OUT, Influence, by_point, design_words, influences, search_words, varied
from analysis.stats.effects import AUC, contrasts, means
from analysis.stats.search_results import Search, confirmed, search
from analysis.stats.sensitivity import main_effects
from analysis.stats.summary import about_noise, against_epsilon, effects_of, equal_steps, guarantees
from analysis.stats.tradeoff import best_quality, equal_quality, least_leakage
from analysis.study_data import ARM, VARIANT, StudyData, load, lower_is_better
from study.store.reading import last_levels
from study.terminal import one_line, say

WORDS = {VARIANT: "target", ARM: "arm", "train_size": "n"}


def run(folder: str, attack: str | None) -> None:
    """Print the tables of a study. attack: whose effects are shown, or the study's first."""
    data = load(folder)
    data.attack(shown := attack or data.attacks[0])  # refused before anything is printed
    left_out = [LEFT_OUT] if data.drawn else []
    for sentence in [*cautions(data), *equal_steps(data), *about_noise(data), *left_out]:
        say(f"- {_markdown(sentence)}")
    say()
    for title, table in tables(data, shown):
        if len(table):
            say(f"### {_markdown(title)}", "", *markdown(table).split("\n"), "")


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
    epsilons = guarantees(data)
    yield (
        "What is guaranteed: no other arm has an epsilon, clip-only neither",
        epsilons.assign(epsilon=epsilons["epsilon"].round(1)),
    )


def _of_search(data: StudyData) -> Iterator[tuple[str, pd.DataFrame]]:
    """Of a search."""
    words = varied(data)
    found = search(data)
    yield f"The search: {search_words(data)}", pd.DataFrame({"factor": words.keys(), "searched in": words.values()})
    yield "What no other point beats, by means that the search was told (optimistic)", of_points(found, found.front)
    yield "What fresh replicates say of points, beside what the search was told", fresh(confirmed(data, found))
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
    yield f"Attacks after {after}, arm {data.arms[0]}: AUC", attacks(control, AUC)
    yield (
        "The same: top-n accuracy in a pool with a tenth of members (chance 0.1)",
        attacks(control, "accuracy_top_10pct"),
    )
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
    yield f"Arms after {after}: AUC by attack", arms(last, AUC)
    yield f"What an arm changes: AUC of {attack} against {data.arms[0]}", effect(data, ARM, attack)
    if data.quality:
        yield f"What an arm costs: {data.quality} against {data.arms[0]}", effect(data, ARM, attack, data.quality)
    if data.quality:
        yield f"Arms against early stopping at equal {data.quality}: AUC of {attack}", at_equal_quality(data, attack)
        yield "What keeps to a limit", answers(data, attack)
    if data.private:
        yield f"AUC of {attack} and {data.quality or 'no quality'} against epsilon", beside_epsilon(data, attack)


def shares(one: Influence) -> pd.DataFrame:
    """One row an index, or one with the reason why there are none."""
    if one.reason:
        return pd.DataFrame({"none, because": [one.reason]})
    table = one.table.astype(object).where(one.table.notna(), "-")
    bounds = [
        "-" if low == "-" else f"{low:.2f} to {high:.2f}" for low, high in zip(table["low"], table["high"], strict=True)
    ]
    named = table[["factor", "other", "index"]].rename(columns={"other": "with"})
    named["share"] = ["-" if share == "-" else f"{share:.2f}" for share in table["estimate"]]
    named["95 % interval"] = bounds
    return named


def of_points(found: Search, table: pd.DataFrame) -> pd.DataFrame:
    """Points of a search: levels, - where a setting means nothing to the arm, and goals as the search was told them."""
    shown = table[["point", *found.factors]].copy()
    for name in found.factors:
        shown[name] = [
            "-" if pd.isna(level) else f"{level:g}" if isinstance(level, float) else level for level in table[name]
        ]
    for goal in found.goals:
        bounds = table[[goal.name, f"{goal.name}_low", f"{goal.name}_high"]].itertuples(index=False, name=None)
        shown[goal.name] = ["no result" if pd.isna(mean) else _bounded(mean, low, high) for mean, low, high in bounds]
    return shown.assign(replicates=table["trials"].map(len))


def _bounded(mean: float, low: float, high: float) -> str:
    return f"{mean:.4g}" if pd.isna(low) else f"{mean:.4g} [{low:.4g}, {high:.4g}]"


def fresh(table: pd.DataFrame) -> pd.DataFrame:
    """One row a confirmed point and goal, with its interval over the replicates that the search has not seen."""
    bounds = table[["mean", "low", "high"]].itertuples(index=False, name=None)
    texts = [_bounded(mean, low, high) for mean, low, high in bounds]
    told = table["searched"].map("{:.4g}".format)
    return table[["point", "goal"]].assign(search=told, fresh=texts, replicates=table["replicates"])


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
        rows.append({"attack": attack, **{name: _interval_of(row) for name, row in found.items()}})
    return pd.DataFrame(rows)


def extremes(data: StudyData, attack: str, count: int = 3) -> pd.DataFrame:
    """The points at both ends, chosen by what came out: their own values would be nearer to the middle again."""
    table = by_point(data, attack, AUC).sort_values("mean", ascending=False)
    table = pd.concat([table.head(count), table.iloc[count:].tail(count)])
    texts: dict[str, Any] = {"AUC": [_interval_of(row) for _, row in table.iterrows()]}
    if data.quality:
        quality = by_point(data, attack, data.quality).set_index("point")
        texts[data.quality] = [
            _interval_of(quality.loc[point]) if point in quality.index else "-" for point in table["point"]
        ]
    return table[["point", *varied(data)]].assign(**texts)


def attacks(rows: pd.DataFrame, value: str) -> pd.DataFrame:
    """One row an attack, one column a variant and n."""
    return _spread(means(rows, value, ["attack", VARIANT, "train_size"]), list(dict.fromkeys(rows["attack"])))


def arms(rows: pd.DataFrame, value: str) -> pd.DataFrame:
    """One row an arm and variant, one column an attack (after its last level of steps), at the largest n."""
    rows = rows[(rows["train_size"] == rows["train_size"].max()) & rows["attack"].isin(last_levels(rows))]
    table = means(rows, value, [VARIANT, ARM, "attack"]).assign(text=_interval)
    table = table.pivot(index=[VARIANT, ARM], columns="attack", values="text")[last_levels(rows)]
    return _named(table.reindex(pd.MultiIndex.from_frame(rows[[VARIANT, ARM]].drop_duplicates())).reset_index())


def over_training(data: StudyData, attack: str, value: str) -> pd.DataFrame:
    """One row a level of training, one column a variant and n, of the first arm."""
    rows = data.attack(attack)
    rows = rows[rows[ARM] == data.arms[0]].drop(columns="attack")
    table = means(rows, value, [data.budget, VARIANT, "train_size"])
    return _spread(table.rename(columns={data.budget: "attack"})).rename(columns={"attack": data.budget})


def beside_epsilon(data: StudyData, attack: str) -> pd.DataFrame:
    """One row a cell; an arm without an epsilon guarantees nothing."""
    table = against_epsilon(data, attack)
    texts: dict[str, Any] = {
        "epsilon": table["epsilon"].map(lambda value: "none" if pd.isna(value) else f"{value:.3g}")
    }
    for name in (AUC, "quality"):
        if name in table:
            bounds = table[[name, f"{name}_low", f"{name}_high"]].to_numpy()
            texts[name] = [f"{mean:.3f} [{low:.3f}, {high:.3f}]" for mean, low, high in bounds]
    return _named(table[list(data.cell)].assign(**texts))


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
    return _effects(data, table if last is None else table[table[data.budget] == last])


def compared(data: StudyData, rows: pd.DataFrame, attack: str) -> pd.DataFrame:
    """Every attack (after its last level of steps) against one."""
    rows = rows[rows["attack"].isin([*last_levels(rows), attack])]
    return _effects(data, contrasts(rows, AUC, "attack", attack, [VARIANT, "train_size"]))


def declared_contrasts(data: StudyData) -> pd.DataFrame:
    """One row a contrast; `more`: replicates that would settle it, were it as large as it looks."""
    table = declared(data)
    table = replicates_needed(table, max(1, len(table)))
    more = [_more(row) for row in table.to_dict("records")]
    return table[["contrast"]].assign(**_texts(table), p_holm=table["p_holm"].map("{:.2g}".format), more=more)


def _more(row: dict[Any, Any]) -> str:
    """With what its SD, known badly by few replicates, makes of it."""
    if row["settled"]:
        return "settled"
    if pd.isna(row["needed"]):
        return "-"
    high = "many" if pd.isna(row["needed_high"]) else max(0, row["needed_high"] - row["replicates"])
    return f"{row['more']} ({max(0, row['needed_low'] - row['replicates'])} to {high})"


def averaged(data: StudyData, attack: str, value: str) -> pd.DataFrame:
    """Each level against its factor's first, averaged over `cells` of the other factors."""
    table = main_effects(data, attack, value)
    named = table[["factor", "level", "baseline"]]
    return named.assign(**_texts(table), cells=table["contexts"], replicates=table["replicates"])


def at_equal_quality(data: StudyData, attack: str) -> pd.DataFrame:
    """One row a cell of an arm; the effect is in log odds of AUC, less leakage than early stopping is negative."""
    table = equal_quality(data, attack)
    texts = [
        row["reason"]
        if pd.notna(row["reason"])
        else f"{row['effect']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}], p {row['p']:.2g}"
        for row in table.to_dict("records")
    ]
    stopped = table[f"at_{data.budget}"].map(lambda at: "-" if pd.isna(at) else f"{at:.0f}")
    quality = table["quality"].map("{:.3f}".format)
    return _named(table[list(data.cell)].assign(quality=quality, stopped=stopped, effect=texts))


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
        for row in table.to_dict("records"):
            there = pd.notna(row[ARM])
            rows.append(
                {
                    "question": question,
                    "n": row["train_size"],
                    "answer": f"{row[VARIANT]}, {row[ARM]}, {row[data.budget]} {data.budget}" if there else "none",
                    "AUC": _bounds(row, "leakage") if there else "-",
                    "quality": _bounds(row, "quality") if there else "-",
                    "shown": "yes" if row["shown"] else row["reason"],
                }
            )
    return pd.DataFrame(rows)


def _bounds(row: dict[Any, Any], name: str) -> str:
    return f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"


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


def _spread(table: pd.DataFrame, order: Sequence[str] | None = None) -> pd.DataFrame:
    """Rows by `attack`, columns by variant and n."""
    table = table.assign(column=table[VARIANT] + ", n = " + table["train_size"].astype(str), text=_interval)
    spread = table.pivot(index="attack", columns="column", values="text")[list(dict.fromkeys(table["column"]))]
    return (spread.loc[list(order)] if order else spread).reset_index()


def _interval(table: pd.DataFrame) -> pd.Series:
    return table.apply(_interval_of, axis=1)


def _interval_of(row: pd.Series) -> str:
    return f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _effects(data: StudyData, table: pd.DataFrame) -> pd.DataFrame:
    """Difference in the value's units; effect with its interval (log odds for AUC)."""
    columns = [c for c in [*data.cell, "attack"] if c in table]
    return _named(table[columns].assign(**_texts(table)))


def _texts(table: pd.DataFrame) -> dict[str, Any]:
    bounds = zip(table["effect"], table["low"], table["high"], strict=True)
    return {
        "difference": table["difference"].map("{:+.3f}".format),
        "effect": [f"{effect:+.2f} [{low:+.2f}, {high:+.2f}]" for effect, low, high in bounds],
        "p": table["p"].map("{:.2g}".format),
    }


def _named(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(columns=WORDS)

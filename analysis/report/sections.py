"""Sections of the report that every study has: leakage, trade-off, controls, how it was run, every cell."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis import plots
from analysis.checks import LEAST_NON_MEMBERS
from analysis.format import AUC_WORDS, P_HOLM, TPR_WORDS, p_value, percent
from analysis.format import number as number_words
from analysis.report.conditions import Condition
from analysis.report.headline import Verdict
from analysis.report.page import Block, Cell, Code, Facts, Heading, Picture, Points, Row, Section, Table, Text
from analysis.report.provenance import Number, in_cell, mean
from analysis.report.shown import DATA, WIDE_OF_DATA, Shown, call, columns_of
from analysis.report.sources import SCORES, Cited, Source, condition, of_picture, source, stored
from analysis.report.svg import inline, page_wide
from analysis.stats.guarantees import ceilings, per_unit
from analysis.stats.inference import AUC, TPR
from analysis.stats.redrawn import leakage_shown
from analysis.stats.summary import about_intervals, equal_steps
from analysis.study_data import ARM, VARIANT, StudyData, short
from study.store.exporting import some_versions, without_words
from study.store.reading import last_levels
from study.store.roles import STUDY

NAMES = {VARIANT: "target", ARM: "arm", "train_size": "n"}
HEADS = NAMES | {
    AUC: "AUC",
    "expected": "expected AUC",
    "p_holm": "p (Holm)",
    "epsilon": "epsilon claimed",
    "epsilon_unit": "per",
    "epsilon_low": "epsilon proved",
    "epsilon_ceiling": "provable at most",
}
"""Heads of columns of controls and audits."""
LEVELS = 12
"""More levels of a factor than this no picture of lines can show."""
CELLS = 400
WORDS_OF_TABLES = ("control", "audit", "attack", ARM, "train_size", "epsilon_unit", "standing")
"""Columns of controls and audits that say what a row is of, or judge it; the others are numbers of the store."""
LEAKAGE = {AUC: AUC_WORDS, TPR: TPR_WORDS, "advantage": "TPR - FPR"}
WORDS_OF_LEAKAGE = (
    "AUC: the chance to tell a training record from another; TPR: the share of training records that an attacker "
    "names; FPR: the share of others that are named wrongly"
)


def ran(data: StudyData, targets: Sequence[str], design: Sequence[str]) -> str:
    """What was run, in two sentences. design: in words, without the number of replicates."""
    trials = data.wide.drop_duplicates("trial_id")
    return (
        f"{', '.join(targets)} on {', '.join(sorted(set(trials['dataset'])))}: "
        f"{' × '.join([*design, f'{data.replicates} replicates'])}, {len(trials)} trials. "
        f"Attacks: {', '.join(data.attacks[:8])}."
    )


def leakage(data: StudyData, verdict: Verdict) -> Section:
    """Over training and sizes, and by attack."""
    blocks: list[Block] = []
    if drawable(data):
        figure = plots.leakage_over_training(data, verdict.attack)
        blocks.append(
            picture(figure, "over-training", f"AUC over {data.budget}, a panel an arm and a line a training-set size",
                    "Point at a marker for its mean, interval and replicates. The gray line is chance.",
                    of_picture(data, f"AUC over {data.budget}", [verdict.attack]))
        )  # fmt: skip
        blocks += [Text((words,)) for words in equal_steps(data)]
    shown = _shown(data) if data.crossed else None
    if shown and shown.rows:
        blocks.append(shown)
    blocks.append(_attacks(data, verdict))
    if drawable(data) and len(last_levels(data.wide)) > 1:
        blocks.append(
            picture(plots.attacks_compared(data), "attacks", "AUC of each attack, a panel an arm",
                    "Attacks after the last level of training, each after its last level of attack steps.",
                    of_picture(data, "attacks", last_levels(data.wide), last=True))
        )  # fmt: skip
    return Section("leakage", "What leaks", blocks)


def _attacks(data: StudyData, verdict: Verdict) -> Table:
    rows, measured = [], set()
    for attack in last_levels(data.wide):
        own = in_cell(data.attack(attack), verdict.cell)
        if own.empty:
            continue
        shown = {column: mean(data, column, attack, verdict.cell) for column in LEAKAGE}
        measured |= {column for column, found in shown.items() if found}
        rows.append((attack, str(own["access"].iloc[0]), shown))
    columns = {column: words for column, words in LEAKAGE.items() if column in measured}
    caption = f"Attacks on {words_of(data, verdict.cell)}. {WORDS_OF_LEAKAGE}"
    if TPR not in measured:
        caption += f". TPR at 1 % FPR takes {LEAST_NON_MEMBERS:,} non-members, which this cell does not have"
    lines = [
        Row([Cell(attack), Cell(access), *(cell_of(shown[column]) for column in columns)])
        for attack, access, shown in rows
    ]
    return Table("attacks-table", caption, ["attack", "access", *columns.values()], lines)


def _shown(data: StudyData) -> Table:
    """Of every cell after the last level of training, whether leakage is shown; without rows for a public copy."""
    rows = []
    for row in leakage_shown(data).to_dict("records"):
        cell = {name: row[name] for name in data.cell}
        used = in_cell(data.wide, cell)
        what = f"strongest attack on {words_of(data, cell)}, coins drawn again"
        origin = source(data, row["attack"], in_cell(data.attack(row["attack"]), cell), what,
                        call("leakage_shown", DATA), SCORES)  # fmt: skip
        numbers = [mean(data, column, row["attack"], cell) for column in (AUC, TPR)]
        rows.append(
            Row([Cell(words_of(data, cell)), Cell(row["attack"]), *map(cell_of, numbers),
                 plain(p_value(row["p_holm"]), origin=origin), Cell("shown" if row["shown"] else "not shown"),
                 plain(used["attack"].nunique(), origin=origin)])
        )  # fmt: skip
    caption = (
        "Whether leakage is shown: the strongest of all attacks on a cell, against the same scores with coins drawn "
        "again as the design draws them. Where it is not shown, that does not show that nothing leaks"
    )
    heads = ["cell", "attack", AUC_WORDS, TPR_WORDS, P_HOLM, "leakage", "attacks tried"]
    return Table("shown-table", caption, heads, rows)


def roc(data: StudyData, verdict: Verdict) -> Section | None:
    """Log-log; None where there are no scores."""
    if data.public or not drawable(data):
        return None
    floor = (
        "Replicates are pooled: an attacker calls the same share of every target's candidates, as for TPR at 1 % FPR. "
        "Bands are 95 % intervals for records like these, on the logit scale. Curves begin where 10 false positives "
        "are expected in a cell; the thin gray line is guessing."
    )
    blocks: list[Block] = [
        picture(
            plots.roc_of_arms(data, verdict.attack),
            "roc-arms",
            "TPR against FPR on logarithmic axes, a line an arm",
            floor,
            of_picture(data, "ROC by arm", [verdict.attack], last=True, table=SCORES),
        )
    ]
    if len(last_levels(data.wide)) > 1:
        figure = plots.roc_of_attacks(data)
        origin = of_picture(data, "ROC by attack", last_levels(data.wide), True, data.arms[0], SCORES)
        words = "TPR against FPR on logarithmic axes, a line an attack"
        blocks.append(picture(figure, "roc-attacks", words, floor, origin))
    return Section("roc", "How sure an attacker can be", blocks)


def controls(data: StudyData, verdicts: pd.DataFrame, cautions: Sequence[str]) -> Section:
    """Whether to believe the rest. cautions: sentences of `analysis.checks`."""
    wanted = ("control", "attack", "train_size", "trials", "auc", "expected", "p_holm", "standing")
    columns = [name for name in wanted if name in verdicts]
    sources = _of_controls(data, verdicts) if columns else None
    blocks: list[Block] = [
        Text((
            "A blind classifier sees no target and must find nothing; null targets are trained without the queries, so "
            "no attack may be above 0.5; a copycat replays its records, so that its AUC is known. All p-values are one "
            "family. What is shown has a bound that excludes what a control is there to find; inconclusive is neither "
            "that nor a failure.",
        )),
        verdict_table("controls-table", "Controls", verdicts, columns, sources),
    ]  # fmt: skip
    if cautions:
        blocks += [Heading("Cautions"), Points(cautions)]
    return Section("controls", "Controls: whether to believe this", blocks)


def _of_controls(data: StudyData, verdicts: pd.DataFrame) -> list[Source | None]:
    """None for a control that was not run."""
    wide = data.table("wide")
    found: list[Source | None] = []
    for row in verdicts.to_dict("records"):
        levels = {"role": row["control"], "attack": row["attack"], "train_size": row["train_size"]}
        known = {name: level for name, level in levels.items() if pd.notna(level)}
        where = Condition.of({name: [level] for name, level in known.items()})
        what = f"control {', '.join(map(str, known.values()))}"
        found.append(stored(wide, where, what, call("verdicts", DATA), SCORES) if pd.notna(row[AUC]) else None)
    return found


def how(data: StudyData) -> Section:
    """Configuration, versions, machines, seeds, time."""
    store = data.store
    pointer, resolved = store.pointer(), store.resolved()
    trials = data.wide.drop_duplicates("trial_id")
    versions = some_versions(pointer.get("versions", {}))
    seconds = trials.groupby("trajectory_id")["seconds_train"].max().sum()
    peak, finished = trials["peak_bytes"].max(), trials["finished_at"]
    origin = stored(
        data.wide,
        Condition.of({"role": [STUDY]}),
        "trials, and what their training took",
        Shown('data.wide.groupby("trajectory_id")[["seconds_train", "peak_bytes"]].max()'),
    )
    facts: dict[str, str | Cited] = {
        "data": ", ".join(sorted(set(trials["dataset"]))),
        **pointer.get("data", {}),
        "split": ", ".join(sorted(set(trials["split"]))),
        "trials": Cited(f"{len(trials)}, of {trials['trajectory_id'].nunique()} trainings", origin),
        "replicates": f"{data.replicates} (seed {resolved.get('seed')}, replicates {_range(trials['replicate'])})",
        "attacks": ", ".join(data.attacks),
        "training": Cited(
            f"{seconds / 3600:.2f} hours in all, on {', '.join(sorted(set(trials['device'].dropna())))}", origin
        ),
        "memory": Cited(f"{peak / 2**20:.0f} MiB at most in one training", origin)
        if pd.notna(peak)
        else "not recorded",
        "finished": f"{finished.min():%Y-%m-%d %H:%M} to {finished.max():%Y-%m-%d %H:%M UTC}",
        "software": ", ".join(
            f"{name} {value}" for name, value in sorted(versions.items()) if isinstance(value, str | int)
        ),
        "commit": str(pointer.get("git_commit", "not recorded")),
        "lock": str(pointer.get("lock", "not recorded")),
        "spec": f"{pointer['spec']}, format {pointer['format']}",
        "results": short(data.store),
    }
    shown = {**resolved, "data": without_words(resolved["data"])}
    config = Code(
        json.dumps(shown, indent=2),
        "The study's configuration, defaults filled in, without the data's folders, files and columns",
    )
    return Section("how", "How it was run", [Facts(facts), config])


def cells(data: StudyData, verdict: Verdict) -> Section:
    """Every cell."""
    rows = data.attack(verdict.attack)
    found = rows[list(data.cell)].drop_duplicates()
    order = {arm: number for number, arm in enumerate(data.arms)}
    found = found.sort_values(list(data.cell), key=lambda column: column.map(order) if column.name == ARM else column)
    shown = list(found.head(CELLS).itertuples(index=False))
    most = ceilings(data).set_index(list(data.cell))["largest_tpr"] if data.private else None
    lines = []
    for place in shown:
        cell = dict(zip(data.cell, place, strict=True))
        numbers = [mean(data, column, verdict.attack, cell) for column in (AUC, TPR, data.quality) if column]
        own = in_cell(rows, cell)
        what = f"epsilon, replicates: {words_of(data, cell)}"
        selected = condition(data, verdict.attack, own).python(WIDE_OF_DATA)
        origin = source(data, verdict.attack, own, what, columns_of(selected, ["replicate", "epsilon"]))
        epsilon = own["epsilon"].mean()
        lines.append(
            Row([
                *(Cell(str(value), value=value if isinstance(value, int) else None) for value in place),
                *map(cell_of, numbers),
                Cell("none", value=1e9) if pd.isna(epsilon) else plain(epsilon, origin=origin),
                *([] if most is None else [_largest_tpr(data, verdict.attack, own, most.get(tuple(place)))]),
                plain(len(own), origin=origin),
            ])
        )  # fmt: skip
    quality = [f"{data.quality}"] if data.quality else []
    factors = [NAMES.get(name, name) for name in data.cell]
    at_most = ["epsilon"] if most is None else [f"epsilon {per_unit(data)}", f"largest {TPR_WORDS}"]
    columns = [*factors, f"AUC of {verdict.attack}", TPR_WORDS, *quality, *at_most, "replicates"]
    caption = f"{len(shown)} of {len(found)} cells, means with 95 % intervals. {about_intervals(data)}"
    return Section("cells", "Every cell", [Table("cells-table", caption, columns, lines, filter=True)])


def _largest_tpr(data: StudyData, attack: str, own: pd.DataFrame, most: float | None) -> Cell:
    """What a cell's guarantee leaves any attacker; everything where there is none."""
    if most is None:
        return Cell("no limit", value=1.0)
    origin = source(data, attack, own, "largest TPR at 1 % FPR under the guarantee", call("guarantees", DATA))
    return Cell(number=Cited(percent(most), origin), value=most)


def picture(figure: Figure, name: str, words: str, caption: str, origin: Source | None = None) -> Picture:
    """A figure in the page, whose title and extent become its caption's first words.

    origin: of what it shows, where no table beside it says that.
    """
    title, extent = page_wide(figure)
    caption = f"{extent}. {caption}" if extent else caption
    rows = Cited("Rows of the store", origin) if origin else None
    return Picture(inline(figure, name, words), caption, rows, title)


def cell_of(number: Number | None) -> Cell:
    """A cited number in a table; null where nothing was measured."""
    return Cell(number=number, value=number.value) if number else Cell("-")


def words_of(data: StudyData, cell: Mapping[Any, Any]) -> str:
    """A cell in words; the variant where there are several."""
    return ", ".join(_words(data, cell))


def _words(data: StudyData, cell: Mapping[Any, Any]) -> Iterator[str]:
    if len(data.variants) > 1:
        yield str(cell[VARIANT])
    yield "no defense" if cell[ARM] == "none" else str(cell[ARM])
    yield f"n = {cell['train_size']}"
    yield f"{cell[data.budget]} {data.budget}"


def verdict_table(
    name: str, caption: str, table: pd.DataFrame, columns: Sequence[str], sources: Sequence[Source | None] | None = None
) -> Table:
    """Of controls or audits: those columns and the verdict; what failed stands out. sources: one a row."""
    rows = []
    for row, origin in zip(table.to_dict("records"), sources or [None] * len(table), strict=True):
        ok = row.get("ok")
        cells = [plain(row[name], origin=None if name in WORDS_OF_TABLES else origin) for name in columns]
        rows.append(Row([*cells, Cell(str(row["verdict"]))], bad=pd.notna(ok) and not ok))
    return Table(name, caption, [*(HEADS.get(name, name) for name in columns), "verdict"], rows)


def plain(value: Any, form: str = ".3g", origin: Source | None = None) -> Cell:
    """Anything in a table; a dash for null."""
    if value is None or pd.isna(value):
        return Cell("-")
    text = number_words(value, form) if isinstance(value, float) else str(value)
    number = None if isinstance(value, str) else float(value)
    return Cell(number=Cited(text, origin), value=number) if origin else Cell(text, value=number)


def drawable(data: StudyData) -> bool:
    """Whether levels are crossed, and so few that lines can show them."""
    if not data.crossed:
        return False
    return all(data.wide[name].nunique() <= LEVELS for name in data.cell)


def _range(values: pd.Series) -> str:
    return f"{values.min()} to {values.max()}"

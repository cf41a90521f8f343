"""`python -m analysis.tables ROOT/STUDY [--attack LABEL]`: a study's measured tables, in Markdown.

Every value is a mean over replicates with its 95 % t interval, every difference is taken inside replicates. p-values
are two-sided and not corrected for the number of rows: all but a contrast declared beforehand is exploratory.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from analysis.controls import audits
from analysis.effects import AUC, MIN_REPLICATES, contrasts, means
from analysis.study_data import ARM, CELL, VARIANT, StudyData, load
from analysis.summary import against_epsilon, effects_of, guarantees
from study.machine import leave_with_the_reader
from study.store import Away, Damaged
from study.store.reading import last_levels
from study.store.roots import WHERE

WORDS = {VARIANT: "target", ARM: "arm", "train_size": "n", "epochs": "epochs"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m analysis.tables", description=__doc__.splitlines()[0])
    parser.add_argument("folder", help=WHERE)
    parser.add_argument("--attack", help="the attack whose effects are shown (default: the study's first)")
    options = parser.parse_args(arguments)
    try:
        data = load(options.folder)
        if data.replicates < MIN_REPLICATES:
            print(f"Descriptive only: {data.replicates} replicates, and intervals need {MIN_REPLICATES} or more.\n")
        for title, table in tables(data, options.attack or data.attacks[0]):
            if len(table):
                print(f"### {title}\n\n{markdown(table)}\n")
    except (ValueError, Damaged, Away) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    return 0


def tables(data: StudyData, attack: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Titles and tables, texts in their cells; a table is empty where the study has nothing to compare."""
    last = data.wide[data.wide["epochs"] == data.wide["epochs"].max()]
    control = last[last[ARM] == data.arms[0]]
    yield f"Attacks after {last['epochs'].max()} epochs, arm {data.arms[0]}: AUC", attacks(control, AUC)
    yield (
        "The same: top-n accuracy in a pool with a tenth of members (chance 0.1)",
        attacks(control, "accuracy_top_10pct"),
    )
    yield f"AUC of {attack} over epochs and n", over_epochs(data.attack(attack), AUC, data.arms[0])
    if data.quality:
        yield f"{data.quality} over epochs and n", over_epochs(data.attack(attack), data.quality, data.arms[0])
    yield f"What n changes: AUC of {attack} against the smallest n", effect(data, "train_size", attack)
    yield f"What epochs change: AUC of {attack} against the fewest", effect(data, "epochs", attack)
    yield (
        f"What other attacks give, less {attack}: AUC after the last epochs, arm {data.arms[0]}",
        compared(control, attack),
    )
    yield f"Arms after {last['epochs'].max()} epochs: AUC by attack", arms(last, AUC)
    yield f"What an arm changes: AUC of {attack} against {data.arms[0]}", effect(data, ARM, attack)
    if data.quality:
        yield f"What an arm costs: {data.quality} against {data.arms[0]}", effect(data, ARM, attack, data.quality)
    if data.private:
        yield f"AUC of {attack} and {data.quality or 'no quality'} against epsilon", beside_epsilon(data, attack)
        yield "What audits prove, and whether they contradict a claim", audited(data)
    epsilons = guarantees(data)
    yield (
        "What is guaranteed: no other arm has an epsilon, clip-only neither",
        epsilons.assign(epsilon=epsilons["epsilon"].round(1)),
    )


def attacks(rows: pd.DataFrame, value: str) -> pd.DataFrame:
    """One row an attack, one column a variant and n."""
    return _spread(means(rows, value, ["attack", VARIANT, "train_size"]), list(dict.fromkeys(rows["attack"])))


def arms(rows: pd.DataFrame, value: str) -> pd.DataFrame:
    """One row an arm and variant, one column an attack (after its last level of steps), at the largest n."""
    rows = rows[(rows["train_size"] == rows["train_size"].max()) & rows["attack"].isin(last_levels(rows))]
    table = means(rows, value, [VARIANT, ARM, "attack"]).assign(text=_interval)
    table = table.pivot(index=[VARIANT, ARM], columns="attack", values="text")[last_levels(rows)]
    return _named(table.reindex(pd.MultiIndex.from_frame(rows[[VARIANT, ARM]].drop_duplicates())).reset_index())


def over_epochs(rows: pd.DataFrame, value: str, arm: str) -> pd.DataFrame:
    """One row a level of epochs, one column a variant and n, of one arm."""
    table = means(rows[rows[ARM] == arm].rename(columns={"attack": "label"}), value, ["epochs", VARIANT, "train_size"])
    return _spread(table.rename(columns={"epochs": "attack"})).rename(columns={"attack": "epochs"})


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
    return _named(table[list(CELL)].assign(**texts))


def audited(data: StudyData) -> pd.DataFrame:
    """Verdicts of the audit, rounded; epsilon_low is proved of any mechanism, with _gaussian of a Gaussian one."""
    table = audits(data).drop(columns=["p", "ok", "epochs"], errors="ignore")
    rounded = {"epsilon": 1, "p_holm": 3, **{name: 2 for name in table if str(name).startswith("epsilon_")}}
    return table.round(rounded).astype(object).where(table.notna(), "-")


def effect(data: StudyData, factor: str, attack: str, value: str = AUC) -> pd.DataFrame:
    """Contrasts of a factor; for arms, at the last epochs only."""
    table = effects_of(data, factor, attack, value)
    if table.empty:
        return table
    return _effects(table[table["epochs"] == table["epochs"].max()] if factor == ARM else table)


def compared(rows: pd.DataFrame, attack: str) -> pd.DataFrame:
    """Every attack (after its last level of steps) against one."""
    rows = rows[rows["attack"].isin([*last_levels(rows), attack])]
    return _effects(contrasts(rows, AUC, "attack", attack, [VARIANT, "train_size"]))


def markdown(table: pd.DataFrame) -> str:
    """Pipes."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def _spread(table: pd.DataFrame, order: Sequence[str] | None = None) -> pd.DataFrame:
    """Rows by `attack`, columns by variant and n."""
    table = table.assign(column=table[VARIANT] + ", n = " + table["train_size"].astype(str), text=_interval)
    spread = table.pivot(index="attack", columns="column", values="text")[list(dict.fromkeys(table["column"]))]
    return (spread.loc[list(order)] if order else spread).reset_index()


def _interval(table: pd.DataFrame) -> pd.Series:
    return table.apply(lambda row: f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]", axis=1)


def _effects(table: pd.DataFrame) -> pd.DataFrame:
    """Difference in the value's units; effect with its interval (log odds for AUC)."""
    columns = [c for c in [*CELL, "attack"] if c in table]
    texts = {
        "difference": table["difference"].map("{:+.3f}".format),
        "effect": table.apply(lambda row: f"{row['effect']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]", axis=1),
        "p": table["p"].map("{:.2g}".format),
    }
    return _named(table[columns].assign(**texts))


def _named(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(columns=WORDS)


if __name__ == "__main__":
    leave_with_the_reader()
    sys.exit(main())

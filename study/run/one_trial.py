"""One trial in the foreground, without Ray."""

import traceback
from collections.abc import Sequence

import pandas as pd
from rich.table import Column, Table

from mia_core.data import load_pool
from mia_core.defenses.accounting import guarantee
from mia_core.errors import Refused
from study.design.study_design import Design
from study.design.trials import Trial
from study.design.work import missing_of
from study.machine import code_versions, pick_device, scratch_folder
from study.outcomes import COMPLETE, INCOMPLETE
from study.plan.capacity import Machines
from study.plan.memory import Memory
from study.run.feature_spaces import feature_network, require_same_network
from study.run.runner import Runner
from study.run.search import begun
from study.spec.study_file import read
from study.store import Store
from study.store.reading import trial_tables
from study.store.rows import DIVERGED
from study.terminal import Console, say


def run(config: str, overrides: Sequence[str], preset: str | None, name: str | None, results: str | None) -> int:
    """Run one trial of a study file and print it; the exit code, as in a sweep.

    name: a trial or trajectory id, or the first level of every factor and the last of epochs or steps, in replicate 0.
    results: the folder that keeps it, or none does.
    """
    console = Console()
    spec = read(config, overrides, preset)
    spec = begun(spec, Store(spec.results, spec.study))
    design = Design(spec, load_pool(spec.data))
    Machines.here(spec.compute).require(Memory.of(design))
    trial = _choose(design, name)
    with scratch_folder() as scratch:
        store = Store(results or scratch, spec.study)
        store.probe()
        console.say(f"{trial.name}   (trial {trial.trial_id})")
        failed = _run(design, store, trial)
        if trial.trial_id in store.done([trial.trial_id]):
            _show(console, *trial_tables(store, trial.trial_id)[1].values())
    for label, trace in failed.items():
        say("", f"{label} failed:", *trace.splitlines(), stderr=True)
    return INCOMPLETE if failed else COMPLETE


def _choose(design: Design, name: str | None) -> Trial:
    if name is None:
        first = design.trials[0].cell
        return next(trial for trial in design.trials if trial.cell is first and trial.level == first.levels[-1])
    found = [trial for trial in design.every if name in (trial.trial_id, trial.trajectory_id)]
    if not found:
        raise Refused(f"--id {name}: no such trial or trajectory in this study")
    return found[-1]


def _run(design: Design, store: Store, trial: Trial) -> dict[str, str]:
    """Tracebacks of what raised, by attack, or by trial when it was not an attack. Nothing is run that is sealed."""
    works = missing_of([trial], store)
    if not works:
        return {}
    if any(work.takes_extractor for work in works):
        require_same_network(design, store, feature_network(design, store)[1])
    runner = Runner(design, store, pick_device(), code_versions())
    try:
        return {label: trace for sealed in runner.run(works) for label, trace in sealed.failed.items()}
    except Exception:
        return {trial.name: traceback.format_exc()}


def _show(console: Console, trials: pd.DataFrame, quality: pd.DataFrame, attacks: pd.DataFrame) -> None:
    row = trials.iloc[0]
    console.say(f"{row['members']} members, {row['steps']} steps in {row['seconds_train']:.1f} s")
    if row["flags"] == DIVERGED:
        console.say("the training diverged: a weight, a loss or a sample is not finite, and nothing was attacked")
        return
    console.say(f"guarantee: {guarantee(row['epsilon'], row['delta'], row['epsilon_unit'])}")
    leakage = Table(Column("attack", overflow="fold"), "AUC", "95 % interval", "advantage", "top-n accuracy (chance)")
    for item in attacks.to_dict("records"):
        if pd.notna(item["skipped"]):
            leakage.add_row(item["attack"], f"skipped: {item['skipped']}")
            continue
        leakage.add_row(
            item["attack"],
            f"{item['auc']:.3f}",
            f"{item['auc_low']:.3f} to {item['auc_high']:.3f}",
            f"{item['advantage']:.3f}",
            f"{item['accuracy_top_n']:.3f} ({item['baseline_top_n']:.3f})",
        )
    console.print(leakage)
    if len(quality):
        values = quality.pivot_table(index="measure", columns="against", values="value", sort=False, dropna=False)
        table = Table(f"quality ({quality['extractor'].iloc[0]})", *(f"against {word}" for word in values.columns))
        for name, cells in values.iterrows():
            table.add_row(str(name), *("-" if pd.isna(cell) else f"{cell:.3f}" for cell in cells))
        console.print(table)

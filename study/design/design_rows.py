"""The design table: what a study wants, a row per trial and per what each trial is wanted to hold."""

from collections.abc import Iterable
from typing import Any

from mia_core.hashing import canonical_json
from study.design.derivations import Derivation
from study.design.study_design import Design
from study.design.trials import Trial


def design_rows(design: Design, derivations: Iterable[Derivation] = ()) -> list[dict[str, Any]]:
    """One row per trial, trial x attack, trial x measure, drawn point, and control left out.

    derivations: what can be derived from the scores that are sealed so far.
    """
    derived: dict[str, list[dict[str, Any]]] = {}
    for one in derivations:
        for trial_id, attack_id in one.ids.items():
            derived.setdefault(trial_id, []).append({"kind": "attack", "id": attack_id, "label": one.entry.label})
    rows: list[dict[str, Any]] = []
    arms = {cell.arm for cell in design.cells}
    for trial in design.every:
        base = {"trial_id": trial.trial_id, "trajectory_id": trial.trajectory_id, "role": trial.role}
        levels = {"levels": canonical_json(_levels(trial))} if trial.cell.arm in arms else {}
        rows.append(base | {"kind": "trial", "id": trial.trial_id, "label": trial.name} | levels)
        rows += [
            base | {"kind": "attack", "id": wanted.attack_id, "label": wanted.label, "skipped": wanted.skipped}
            for wanted in trial.attacks
        ]
        rows += [base | row for row in derived.get(trial.trial_id, ())]
        rows += [
            base | {"kind": "measure", "id": wanted.measure_id, "label": wanted.label} for wanted in trial.measures
        ]
    rows += [
        {"trial_id": trial.trial_id, "trajectory_id": trial.trajectory_id, "role": trial.role}
        | {"kind": "point", "id": str(number), "label": trial.name}
        for number, trial in design.points
    ]
    for name, reason in design.no_control.items():
        rows.append({"kind": "control", "role": name.split()[0], "label": name, "skipped": reason})
    return rows


def _levels(trial: Trial) -> dict[str, Any]:
    """Levels of factors, by name."""
    cell = trial.cell
    return {
        "train_size": cell.train_size,
        trial.budget: trial.level,
        "defense": trial.arm,
        "target": cell.label,
        **cell.factors,
        "replicate": trial.replicate,
    }

"""Studies with known effects: as frames, for many at once, and as stores that are read like any other."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
from scipy.special import expit

from analysis.study_data import ARM, VARIANT, StudyData
from mia_core.data import load_pool
from mia_core.hashing import canonical_json
from mia_core.metrics.leakage import judge
from study.design.design_rows import design_rows
from study.design.study_design import Design
from study.store import Store
from tests.small import small_spec

LEAKAGE = ("queries", "auc", "baseline_top_n", "accuracy_top_10pct", "advantage")
MEMBERS = 100
PAIRS = MEMBERS**2
ARMS, SIZES, EPOCHS = ("none", "dp_sgd 8", "dp_sgd 2", "dropout"), (100, 400), (10, 40, 160)
GRID = pd.MultiIndex.from_product([ARMS, SIZES, EPOCHS], names=(ARM, "train_size", "epochs"))
EPSILON = {"dp_sgd 8": 8.0, "dp_sgd 2": 2.0}


def draw(random, studies, replicates, truth, cells=GRID):
    """Values [studies, replicates, cells] around the truth [cells], correlated and spread unequally as real ones are.

    A replicate shifts all its cells and, less, all of an arm; levels of epochs of one training are a random walk; the
    noise of cells has standard deviations from 0.05 to 0.3.
    """
    table = cells.to_frame(index=False)
    trained = [name for name in cells.names if name not in ("epochs", "steps")]
    trajectory = table.groupby(trained, sort=False).ngroup().to_numpy()
    arm = table.groupby(ARM, sort=False).ngroup().to_numpy()
    shape = (studies, replicates, len(cells))
    values = truth + 0.3 * random.normal(size=(*shape[:2], 1))
    values = values + 0.15 * random.normal(size=(*shape[:2], arm.max() + 1))[..., arm]
    steps = 0.15 * random.normal(size=shape)
    for number in range(1, len(cells)):
        if trajectory[number] == trajectory[number - 1]:
            steps[..., number] += steps[..., number - 1]
    return values + steps + np.linspace(0.05, 0.3, len(cells)) * random.normal(size=shape)


def study(leakage, quality=None, cells=GRID, folder="made", resolved=None):
    """A study whose AUC has these log odds [replicates, cells]; NaN for trials that are not there. quality: of KID."""
    table = cells.to_frame(index=False)
    rows = []
    for replicate, values in enumerate(leakage):
        own = table.assign(replicate=replicate, auc=((expit(values) * (PAIRS + 1) - 0.5) / PAIRS))
        rows.append(own if quality is None else own.assign(kid_domain_unseen=quality[replicate]))
    wide = pd.concat(rows, ignore_index=True)
    wide = wide[wide["auc"].notna()].reset_index(drop=True)
    if VARIANT not in wide:
        wide[VARIANT] = "dcgan"
    wide["trial_id"] = [f"t{number}" for number in range(len(wide))]
    wide["trajectory_id"] = wide["trial_id"]
    wide["attack"], wide["attack_steps"] = "white_box", np.nan
    wide["queries"], wide["baseline_top_n"] = 2 * MEMBERS, 0.5
    wide["defense"] = wide[ARM].str.split().str[0]
    wide["strength"] = wide[ARM].map({arm: number for number, arm in enumerate(ARMS)}).astype(float)
    wide["epsilon"] = wide[ARM].map(EPSILON).astype(float)
    return StudyData("made", folder, wide, resolved or {})


def write_store(root, truth, record=None, done=lambda trial: True, overrides=("replicates=5",), roles=None):
    """A sealed store of the small study, with one attack, whose scores are made; the StudyData's folder.

    truth(trial): how far members' scores lie above others', in standard deviations of the noise. record: what a record
    adds to that, by its index in the pool. done: which trials were run. roles: of trials, to put in place of `study`.
    """
    spec = small_spec("attacks=[white_box]", "quality.measures=[kid]", "quality.against=[unseen]", *overrides)
    design = Design(spec, load_pool(spec.data))
    store = Store(root, spec.study)
    random = np.random.default_rng(5)
    for trial in design.trials:
        if done(trial):
            _write(store, design, trial, truth(trial), record, random)
    rows = design_rows(design)
    for row in rows:
        row["role"] = (roles or {}).get(row["role"], row["role"])
    store.publish(design.hash, spec.resolved, rows, {})
    return store.uri


def _write(store, design, trial, leak, record, random):
    membership = design.membership(trial)
    queries, member = membership.queries, membership.member
    own = 0 if record is None else np.array([record.get(query, 0.0) for query in queries])
    score = (random.normal(size=len(queries)) + member * (leak + own)).astype(np.float32)
    wanted, measure = trial.attacks[0], trial.measures[0]
    cell = trial.cell
    names = {"trial_id": trial.trial_id}
    config = {
        "data_digest": design.pool.digest,
        "target": cell.target.to_dict(),
        "training": cell.training,
        "defense": cell.arm.to_list(),
    }
    current = store.begin()
    row = {
        **names, "trajectory_id": trial.trajectory_id, "study": "small", "role": trial.role, "dataset": "digits",
        "target": "dcgan", "split": "panel", "train_size": cell.train_size, "members": len(membership.train),
        "epochs": trial.epochs, "steps": trial.steps, "defense": cell.arm.defense, "strength": cell.arm.strength,
        "replicate": trial.replicate, "seed": 7, **cell.arm.columns(None), "epsilon": design.epsilon(trial),
        "delta": cell.arm.delta, "seconds_train": 1.0, **cell.factors, "config": canonical_json(config),
        "finished_at": datetime.now(UTC),
    }  # fmt: skip
    current.add("trials", [row])
    leakage = judge(score, member)
    told = {name: getattr(leakage, name) for name in LEAKAGE}
    current.add("attacks", [{**names, "attack": wanted.label, "attack_id": wanted.attack_id, **told}])
    value = 1 / trial.level + 0.01 * random.normal()
    about = {"measure": "kid", "measure_id": measure.measure_id, "extractor": "domain", "against": "unseen"}
    current.add("quality", [{**names, **about, "value": value}])
    unit = design.split.units[queries]
    columns = {"query": queries, "unit": unit, "member": member, "judged": np.ones(len(queries), bool)}
    repeated = {name: np.full(len(queries), x, object) for name, x in [*names.items(), ("attack_id", wanted.attack_id)]}
    current.add("scores", {**repeated, **columns, "coin": np.isin(queries, design.split.coins), "score": score})
    assert current.seal(trial.trial_id, True, [wanted.attack_id], [measure.measure_id])

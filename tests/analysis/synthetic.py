"""Studies with known effects: as frames, for many at once, and as stores that are read like any other."""

import json
from datetime import UTC, datetime

import numpy as np
import pandas as pd
from scipy.special import expit, ndtr

from analysis.study_data import ARM, VARIANT, StudyData
from mia_core.data import load_pool
from mia_core.metrics.influence import aucs
from mia_core.metrics.leakage import judge
from study.design.design_rows import design_rows
from study.design.study_design import Design
from study.design.trial_config import TrialConfig
from study.store import Pass, Store
from tests.small import small_spec

LEAKAGE = ("queries", "auc", "baseline_top_n", "accuracy_top_10pct", "advantage")
MEMBERS = 100
PAIRS = MEMBERS**2
ARMS, SIZES, EPOCHS = ("none", "dp_sgd 8", "dp_sgd 2", "dropout"), (100, 400), (10, 40, 160)
GRID = pd.MultiIndex.from_product([ARMS, SIZES, EPOCHS], names=(ARM, "train_size", "epochs"))
EPSILON = {"dp_sgd 8": 8.0, "dp_sgd 2": 2.0}


PERSON = 0.5
"""The share of a record in what its scores differ by."""


def panel_scores(random, truth, replicates, records=2 * MEMBERS, share=PERSON, unequal=True, studies=None):
    """Scores and members [S, R, C, J] (without S for studies=None) of a fixed panel, of C cells that leak so much.

    A record's score is its difficulty, the same in all cells and replicates (share of the variance), noise of the
    replicate common to all cells (half of the rest), and noise; where it is IN it gains truth[c] times what the record
    leaks: exponential with mean 1, or 1. Coins are fair, and the same in all cells of a replicate. Each study draws its
    records anew: the truth is that of records like these.
    """
    shape = (studies or 1, replicates, len(truth), records)
    difficulty = random.normal(size=(shape[0], 1, 1, records))
    common, own = random.normal(size=(*shape[:2], 1, records)), random.normal(size=shape)
    leaks = random.exponential(size=(shape[0], 1, 1, records)) if unequal else 1.0
    member = np.broadcast_to(random.random((*shape[:2], 1, records)) < 0.5, shape)
    gain = member * leaks * np.asarray(truth, float)[:, None]
    scores = share**0.5 * difficulty + ((1 - share) / 2) ** 0.5 * (common + own) + gain
    return (scores, member) if studies else (scores[0], member[0])


def true_auc(gain, unequal=True):
    """Of records like these: the chance that a member's score is above a non-member's."""
    random = np.random.default_rng(99)
    leaks = random.exponential(size=400_000) if unequal else 1.0
    return float(ndtr(gain * leaks / 2**0.5).mean())


def scores_of(auc, random, members=MEMBERS):
    """Scores and members [2 members] whose AUC is exactly the nearest one that so many pairs can have."""
    wins = round(auc * members**2)
    above = np.full(members, wins // members) + (np.arange(members) < wins % members)
    member = random.permutation(np.arange(2 * members) < members)
    scores = np.empty(2 * members)
    scores[~member], scores[member] = np.arange(members), random.permutation(above) - 0.5
    return scores, member


def table_of_scores(wide, random, members=MEMBERS):
    """The table of scores of a wide table: each row's AUC as `scores_of` makes it."""
    coins = {}
    parts = []
    for row in wide[["trial_id", "attack_id", "auc"]].itertuples(index=False):
        coins.setdefault(row.trial_id, random.integers(2**32))  # attacks on a trial judge the same members
        parts.append(scores_of(row.auc, np.random.default_rng(coins[row.trial_id]), members))
    return _table(wide, *(np.array(part) for part in zip(*parts, strict=True)))


def _table(wide, scores, member, persons=None):
    """Of scores and members [rows, J]."""
    rows, records = scores.shape
    return pd.DataFrame(
        {
            "trial_id": np.repeat(wide["trial_id"].to_numpy(), records),
            "attack_id": np.repeat(wide["attack_id"].to_numpy(), records),
            "query": np.tile(np.arange(records), rows),
            "unit": np.tile(np.arange(records) if persons is None else persons, rows),
            "member": member.ravel(),
            "judged": True,
            "score": scores.ravel(),
        }
    )


def draw(random, replicates, truth, cells=GRID):
    """Log odds of AUC [replicates, cells] around the truth [cells], correlated and spread unequally as real ones are.

    A replicate shifts all its cells and, less, all of an arm; levels of epochs of one training are a random walk; the
    noise of cells has standard deviations from 0.05 to 0.3. It makes numbers to compute with: intervals are tested on
    `panel_scores`.
    """
    table = cells.to_frame(index=False)
    trained = [name for name in cells.names if name not in ("epochs", "steps")]
    trajectory = table.groupby(trained, sort=False).ngroup().to_numpy()
    arm = table.groupby(ARM, sort=False).ngroup().to_numpy()
    values = truth + 0.3 * random.normal(size=(replicates, 1))
    values = values + 0.15 * random.normal(size=(replicates, arm.max() + 1))[..., arm]
    steps = 0.15 * random.normal(size=(replicates, len(cells)))
    for number in range(1, len(cells)):
        if trajectory[number] == trajectory[number - 1]:
            steps[..., number] += steps[..., number - 1]
    return values + steps + np.linspace(0.05, 0.3, len(cells)) * random.normal(size=steps.shape)


def panel_study(random, truth, replicates=5, cells=GRID, quality=None, resolved=None, attacks=None, **settings):
    """A study whose scores are those of `panel_scores`; truth: gains of the cells.

    attacks: how many, each of which stands for a study of its own, with its own records and coins; else `white_box`.
    """
    scores, member = panel_scores(random, truth, replicates, studies=attacks or 1, **settings)
    wide = _wide(np.zeros((replicates, len(cells))), quality, cells)
    names = [f"attack{number}" for number in range(attacks)] if attacks else ["white_box"]
    wide = pd.concat([wide.assign(attack=name, attack_id=name) for name in names], ignore_index=True)
    wide["auc"], wide["baseline_top_n"] = aucs(scores, member).auc.ravel(), member.mean(-1).ravel()
    wide["queries"] = scores.shape[-1]
    table = _table(wide, *(part.reshape(-1, part.shape[-1]) for part in (scores, member)))
    return StudyData("made", "made", wide, resolved or {}, table)


def gaussian_release(random, numbers, replicates=5, dimensions=64, members=100, records=200):
    """Scores [L, R, J] and members [R, J]: <x, mean of the first N released samples> of a fitted Gaussian mean.

    Records are N(0, I), and `members` of them are drawn in each replicate; released samples are N(their mean, I). At
    number N the AUC of records like these is `gaussian_auc(N)`.
    """
    x = random.normal(size=(records, dimensions))
    member = np.argsort(random.random((replicates, records)), axis=1) < members
    fitted = np.stack([x[inside].mean(0) for inside in member])
    total, seen, scores = np.zeros_like(fitted), 0, []
    for number in numbers:
        total = total + (number - seen) * fitted + (number - seen) ** 0.5 * random.normal(size=fitted.shape)
        seen = number
        scores.append(total / seen @ x.T)
    return np.stack(scores), member


def gaussian_auc(number, dimensions=64, members=100):
    """Phi(sqrt(d / 2n) / sqrt(1 + n / N)): the release budget of a fitted Gaussian mean in closed form."""
    return float(ndtr((dimensions / (2 * members)) ** 0.5 / (1 + members / number) ** 0.5))


def release_study(random, numbers, replicates=5, attacks=("near",), **settings):
    """A study of one cell whose attacks saw those numbers of samples of `gaussian_release`."""
    cells = pd.MultiIndex.from_product([["none"], [100], [10]], names=(ARM, "train_size", "epochs"))
    parts, scores, member = [], [], None
    for attack in attacks:
        found, own = gaussian_release(random, numbers, replicates, **settings)
        member = own if member is None else member
        for number, values in zip(numbers, found, strict=True):
            label = f"{attack}_generated{number}"
            wide = _wide(np.zeros((replicates, 1)), None, cells)
            judged = aucs(values, member)
            parts.append(
                wide.assign(attack=label, attack_id=label, released=number, access="SAMPLES", knowledge="none")
            )
            parts[-1] = parts[-1].assign(auc=judged.auc, baseline_top_n=member.mean(-1), queries=member.shape[-1])
            scores.append(values)
    wide = pd.concat(parts, ignore_index=True)
    table = _table(wide, np.concatenate(scores), np.tile(member, (len(scores), 1)))
    return StudyData("made", "made", wide, {"split": {"name": "logan"}}, table)


def study(leakage, quality=None, cells=GRID, folder="made", resolved=None):
    """A study whose AUC has these log odds [replicates, cells]; NaN for trials that are not there. quality: of KID."""
    wide = _wide(leakage, quality, cells)
    return StudyData("made", folder, wide, resolved or {}, table_of_scores(wide, np.random.default_rng(0)))


def _wide(leakage, quality, cells):
    table = cells.to_frame(index=False)
    rows = []
    for replicate, values in enumerate(leakage):
        own = table.assign(replicate=replicate, auc=np.round(expit(values) * PAIRS) / PAIRS)
        rows.append(own if quality is None else own.assign(kid_domain_unseen=quality[replicate]))
    wide = pd.concat(rows, ignore_index=True)
    wide = wide[wide["auc"].notna()].reset_index(drop=True)
    if VARIANT not in wide:
        wide[VARIANT] = "dcgan"
    wide["target"], wide["config"] = wide[VARIANT], config_of("batch")
    wide["trial_id"] = [f"t{number}" for number in range(len(wide))]
    wide["trajectory_id"] = wide["trial_id"]
    wide["attack"], wide["attack_id"], wide["attack_steps"] = "white_box", "white_box", np.nan
    wide["queries"], wide["baseline_top_n"] = 2 * MEMBERS, 0.5
    wide["defense"] = wide[ARM].str.split().str[0]
    wide["strength"] = wide[ARM].map({arm: number for number, arm in enumerate(ARMS)}).astype(float)
    wide["epsilon"] = wide[ARM].map(EPSILON).astype(float)
    wide["delta"] = np.where(wide["epsilon"].notna(), 1e-5, np.nan)
    return wide


def config_of(norm):
    """Of trials of a DCGAN with this norm, as far as a study without a store has one."""
    return json.dumps({"target": {"name": "dcgan", "width": 16, "latent": 64, "norm": norm}, "defense": None})


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
    current = Pass(store)
    row = {
        **names, "trajectory_id": trial.trajectory_id, "study": "small", "role": trial.role, "dataset": "digits",
        "target": "dcgan", "split": "panel", "train_size": cell.train_size, "members": len(membership.train),
        "epochs": trial.epochs, "steps": trial.steps, "defense": cell.arm.defense, "strength": cell.arm.strength,
        "replicate": trial.replicate, "seed": 7, **cell.arm.columns(None), "epsilon": design.epsilon(trial),
        "delta": cell.arm.delta, "seconds_train": 1.0, **cell.factors,
        "config": TrialConfig.of(design, trial).to_json(), "finished_at": datetime.now(UTC),
        "versions": "{}",
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


def cell_of(data):
    """Levels of the one cell of a study."""
    return dict(zip(data.cell, data.last[list(data.cell)].iloc[0], strict=True))

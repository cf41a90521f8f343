"""A study of a pool whose persons have several records: epsilon per person from the plan to rows, audits and MLflow."""

import io
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.stats.guarantees import guarantees
from analysis.study_data import load
from mia_core.data import Pool, load_pool
from mia_core.defenses import accounting
from study.design.design_rows import design_rows
from study.design.study_design import Design
from study.design.trial_config import TrialConfig
from study.design.work import missing, missing_of
from study.plan import overview
from study.run.runner import Runner
from study.run.trajectory import new_trainer
from study.store import Store, read
from study.store.old_rows import with_units
from study.store.reading import trial_tables
from study.store.roles import CANARY
from study.terminal import Console
from study.tracking.run_content import run_content
from study.verdicts.claims import verdicts
from tests.small import small_spec

KEY = bytes(range(32))
RECORD = "{name: dp_sgd, sigma: 2.0, clip: 1.0, delta: 1e-5}"
PERSON = "{name: dp_sgd, sigma: 2.0, clip: 1.0, delta: 1e-5, unit: person}"
LEAN = (
    f"factors.defense=[{RECORD}, {PERSON}]", "factors.train_size=[60]", "factors.epochs=[1, 2]", "replicates=1",
    "split={reference: 80, unseen: 40, panel: 60, known: 10, filler: fixed}", "training.batch_size=8",
    "attacks=[white_box]", "quality.measures=[]", "controls={blind: false, nulls: 0, copycat: false}",
)  # fmt: skip


@pytest.fixture(scope="module")
def pool():
    """Digits of persons with one to four records."""
    plain = load_pool(small_spec().data)
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(len(plain)), random.choice([1, 1, 1, 2, 3, 4], len(plain)))[: len(plain)]
    return Pool("digits", plain.images, plain.labels, random.permutation(groups))


@pytest.fixture
def make(pool):
    return lambda *overrides: Design(small_spec(*LEAN, *overrides), pool)


def run(design, store, trials=None, key=KEY):
    for works in missing(design, store).values() if trials is None else [missing_of(trials, store)]:
        assert not [sealed.failed for sealed in Runner(design, store, key=key).run(works) if sealed.failed]
    store.publish(design.hash, design.spec.resolved, design_rows(design), {})


def of_person(design):
    return [trial for trial in design.trials if trial.cell.arm.unit == "person"]


def test_q_is_over_persons_by_the_design_and_is_read_from_a_trials_config_again(make, pool):
    design = make()
    persons = round(60 * len(np.unique(pool.units)) / len(pool))
    assert 60 / 4 < persons < 60
    for trial in design.trials:
        config = TrialConfig.parse(TrialConfig.of(design, trial).to_json())
        own = trial.cell.arm.unit == "person"
        assert design.persons(trial.cell) == config.persons == (persons if own else None)
        assert ("persons" in config.values) == own, "configs of other arms are what they were"
        rate = 8 / persons if own else 8 / 60
        assert design.sampling_rate(trial.cell) == config.sampling_rate == rate
        assert design.epsilon(trial) == accounting.epsilon(((2.0, rate, trial.steps),), 1e-5)
        trainer = new_trainer(design, trial, design.membership(trial), "cpu")
        assert trainer.accountant.sampling_rate == trainer.batches.rate == rate
        whose = pool.units[design.membership(trial).train]
        sampled = [whose[trainer.batches.rows(step).records.numpy()] for step in range(30)]
        assert any(len(set(one)) < len(one) for one in sampled) != own, "no person is in a step twice"


def test_ids_of_persons_follow_the_pools_persons_and_those_of_records_are_what_they_were(make, pool):
    whole, explicit = make(), make(f"factors.defense=[{RECORD.replace('}', ', unit: record}')}]")
    record, person = ([t.trial_id for t in whole.trials if t.cell.arm.unit == unit] for unit in ("record", "person"))
    assert [trial.trial_id for trial in explicit.trials] == record
    assert not set(record) & set(person)
    listed = f"factors.defense=[{RECORD.replace('}', ', unit: [record, person]}')}]"
    dotted = f"factors={{train_size: 60, epochs: [1, 2], defense: [{RECORD}], defense.dp_sgd.unit: [record, person]}}"
    for both in (listed, dotted):
        assert [trial.trial_id for trial in make(both).trials] == [trial.trial_id for trial in whole.trials]
    regrouped = Pool("digits", pool.images, pool.labels, pool.groups[::-1].copy())
    other = Design(small_spec(*LEAN), regrouped)
    assert not {trial.trial_id for trial in other.trials} & {*record, *person}


def test_the_plan_says_the_unit_the_persons_and_what_does_not_fit(make):
    design = make("audit={attack: white_box}")
    sink = io.StringIO()
    overview.show(Console(file=sink, width=300), design, {})
    trial = of_person(design)[0]
    persons = design.persons(trial.cell)
    told = f"epsilon per person of dp_sgd sigma=2 unit=person, n=60 ({persons} persons), delta=1e-05: "
    assert told + f"{design.epsilon(trial):.3g} after 1 epochs" in sink.getvalue()
    assert "epsilon per record of dp_sgd sigma=2, n=60, delta=1e-05" in sink.getvalue()
    assert sink.getvalue().count("audit: a cell by") == 1, "coins about persons of one record judge both claims"
    with pytest.raises(ValueError, match=f"unit=person with train_size 60: .*32 / {persons} is above 1"):
        make("training.batch_size=32")
    with pytest.raises(ValueError, match=f"delta 0.04 must be below 1/{persons}, for {persons} persons"):
        make(f"factors.defense=[{PERSON.replace('1e-5', '0.04')}]")
    make(f"factors.defense=[{PERSON.replace('1e-5', '0.02')}]")  # which is above 1 / n, and below 1 / persons


def test_where_records_of_a_person_have_coins_apart_the_plan_says_that_persons_are_not_audited(make):
    canaries = "audit={attack: white_box, canaries: [gradient], count: 100}"
    told = {}
    for filler in ("fixed", "fill"):
        design, sink = make(canaries, "split.groups=ignore", f"split.filler={filler}"), io.StringIO()
        overview.show(Console(file=sink, width=300), design, {})
        told[filler] = sink.getvalue()
        assert "audit per record: a cell by 60 coins that white_box guesses and 100 gradient canaries" in told[filler]
    assert f"audit per person: a cell by {len(make('split.groups=ignore').split.person_coins)} coins" in told["fixed"]
    assert "audit per person: by 100 gradient canaries: no coin decides about all records of one person" in told["fill"]


@pytest.mark.long
def test_rows_say_the_unit_and_attacks_are_audited_by_coins_about_one_person(make, store, pool):
    canaries = "audit={attack: white_box, canaries: [gradient], count: 100}"
    design = make(canaries, "split.groups=ignore", "factors.epochs=[1]")
    run(design, store)
    rows = read(store.root, store.study, "trials").set_index("trial_id")
    for trial in design.every:
        row = rows.loc[trial.trial_id]
        assert row["epsilon_unit"] == trial.cell.arm.unit
        assert row["epsilon"] == design.epsilon(trial)
        assert row["sigma"] == 2 and "unit" not in rows
    scores = read(store.root, store.study, "scores")
    records = np.bincount(pool.units)[pool.units]
    for trial in design.trials:
        asked = scores[(scores["trial_id"] == trial.trial_id) & scores["coin"]]["query"]
        assert set(asked) == set(design.split.coins_of(trial.cell.arm.unit))
        assert (records[asked] == 1).all() == (trial.cell.arm.unit == "person")
    table = verdicts(store.root, store.study)
    assert set(zip(table["audit"], table["arm"], table["epsilon_unit"], strict=True)) == {
        ("panel", "dp_sgd sigma=2", "record"), ("panel", "dp_sgd sigma=2 unit=person", "person"),
        ("canaries", "dp_sgd sigma=2", "record"), ("canaries", "dp_sgd sigma=2 unit=person", "person"),
    }  # fmt: skip
    assert table["ok"].all()
    shown = guarantees(load(store.folder))
    assert set(zip(shown["arm"], shown["epsilon_unit"], strict=True)) == {
        ("dp_sgd sigma=2", "record"), ("dp_sgd sigma=2 unit=person", "person"),
    }  # fmt: skip
    last = of_person(design)[-1]
    content = run_content(store, last.trial_id, include_records=False)
    assert content.params["setting/epsilon_unit"] == "person"
    assert content.tags["guarantee"].startswith(f"epsilon {design.epsilon(last):.3g} per person at delta 1e-05")
    assert "dp_sgd 2 unit=person" in content.name


@pytest.mark.long
def test_a_training_of_persons_goes_on_from_an_unsealed_checkpoint_to_the_same_bits(make, store, tmp_path):
    design = make("compute.checkpoint_seconds=1.0e-9", "audit={canaries: [gradient], count: 40}")
    canary = next(trial for trial in design.controls if trial.role == CANARY and trial.cell.arm.unit == "person")
    whole = Store(tmp_path / "whole", "small")

    class Stop(Exception):
        pass

    for trials in (of_person(design), [canary]):
        run(design, whole, trials)
        save, saved = Store.save_checkpoint, []

        def once(self, *arguments, save=save, saved=saved):
            save(self, *arguments)
            saved.append(arguments)
            raise Stop

        with patch.object(Store, "save_checkpoint", once), pytest.raises(Stop):
            run(design, store, trials)
        assert len(saved) == 1 and saved[0][2]["key"] == KEY.hex()
        run(design, store, trials, key=bytes(32))  # the checkpoint's key is taken up
    for table in ("scores", "history", "trials"):
        frames = [read(one.root, one.study, table) for one in (whole, store)]
        kept = [
            column for column in frames[0] if column not in ("seconds", "seconds_train", "finished_at", "peak_bytes")
        ]
        pd.testing.assert_frame_equal(*(frame[kept] for frame in frames))
    for trial in of_person(design):
        one, other = (s.sealed_tensors(f"targets/{trial.trial_id}", trial.trial_id)[0] for s in (whole, store))
        assert all(torch.equal(one[name], other[name]) for name in one)
        assert trial_tables(store, trial.trial_id)[1]["trials"]["epsilon_unit"].tolist() == ["person"]


def test_an_epsilon_of_a_row_without_a_unit_is_of_a_record_and_no_epsilon_has_none():
    old = pd.DataFrame({"epsilon": [1.0, np.nan, 2.0]})
    assert with_units(old)["epsilon_unit"].tolist()[::2] == ["record", "record"]
    assert with_units(old)["epsilon_unit"].isna().tolist() == [False, True, False]
    new = old.assign(epsilon_unit=["person", None, None])
    assert with_units(new)["epsilon_unit"].tolist()[::2] == ["person", "record"]

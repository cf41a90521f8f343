"""Rows and scores of earlier versions are judged anew, over judged records: of a store that has extra non-members."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mia_core.data import load_pool
from mia_core.hashing import canonical_json
from mia_core.metrics import judge
from mia_core.streams import Streams
from study.design.study_design import Design
from study.spec import documents
from study.spec.study_file import parse
from study.store import Store, compact, read
from study.store.exporting import export_public
from study.store.old_rows import JUDGED, WITH_EXTRAS, drawn_units, judged_records
from study.store.reading import trial_tables
from study.store.roles import CANARY, STUDY
from study.tracking.run_content import run_content
from tests.full_store import write_people

FULL = Path(__file__).parent / "stores" / "format_2_full"


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    return Store(shutil.copytree(FULL, tmp_path_factory.mktemp("old") / "results"), "small")


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """The store's own, from its data made anew."""
    folder = tmp_path_factory.mktemp("data")
    write_people(folder / "people")
    document = documents.load(FULL / "small.yaml")
    document["data"] |= {"root": str(folder / "people")}
    spec = parse(document)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Streams, "numpy", numpy_of_loop_1)
        return Design(spec, load_pool(spec.data)).split


def numpy_of_loop_1(streams, purpose, *counter):
    """As the store was drawn: from 63 bits of the hash."""
    text = canonical_json([streams.path, purpose, counter])
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1)


def trials_of(scores, old, *roles):
    trials = read(old.root, "small", "trials")
    return scores[scores["trial_id"].isin(trials.loc[trials["role"].isin(roles), "trial_id"])]


def test_judged_are_the_panels_records_that_a_coin_or_a_membership_tells(old, split):
    scores = trials_of(read(old.root, "small", "scores"), old, STUDY, "null", "blind", "copycat")
    judged = set(scores.loc[scores["judged"], "query"])
    members = set(scores.loc[scores["member"], "query"])
    assert judged == members | set(split.coins)
    missed = set(split.panel) - judged
    # Persons with several records, who were non-members in both replicates; no extra is ever taken for a judged one.
    assert judged <= set(split.panel)
    assert missed and all((split.units == split.units[record]).sum() > 1 for record in missed)
    extras = set(split.extra_non_members)
    assert extras <= set(scores.loc[~scores["judged"], "query"])


def test_every_canary_is_judged(old):
    assert trials_of(read(old.root, "small", "scores"), old, CANARY)["judged"].all()


@pytest.mark.slow
@pytest.mark.parametrize("table", ["attacks", "wide"])
@pytest.mark.parametrize("compacted", [True, False])
def test_rows_are_those_of_judged_records_and_keep_what_does_not_depend_on_them(old, table, compacted, tmp_path):
    store = Store(shutil.copytree(old.folder.parent, tmp_path / "results"), "small")
    if not compacted:
        shutil.rmtree(store.folder / "compacted")
    found, before = (read(store.root, "small", table, as_written=how) for how in (False, True))
    scores = read(store.root, "small", "scores").groupby(["trial_id", "attack_id"])
    assert (found["judging"] == JUDGED).all()
    assert before["judging"].isna().all()
    np.testing.assert_array_equal(found["auc_all"], before["auc"])
    for row in found.itertuples():
        own = scores.get_group((row.trial_id, row.attack_id))
        of = own["judged"].to_numpy()
        leakage = judge(own["score"].to_numpy(), own["member"].to_numpy(), of, own["unit"].to_numpy())
        for name, value in vars(leakage).items():
            stored = getattr(row, name)
            assert (None if pd.isna(stored) else stored) == value, name
    changed = {*vars(leakage), "judging"} - {"queries"}
    if table == "wide":
        private = found["epsilon"].notna()
        assert private.any() and (found.loc[private, "epsilon_unit"] == "record").all()
        assert found.loc[~private, "epsilon_unit"].isna().all()
        changed.add("epsilon_unit")
    pd.testing.assert_frame_equal(found.drop(columns=changed), before.drop(columns=changed))
    assert (found["auc"] != before["auc"]).any()


@pytest.mark.slow
def test_every_way_to_read_a_trial_agrees(old):
    attacks = read(old.root, "small", "attacks").set_index(["trial_id", "attack_id"])
    scores = read(old.root, "small", "scores")
    for trial in attacks.index.get_level_values(0).unique():
        _, tables = trial_tables(old, trial, ("attacks", "scores"))
        own = tables["attacks"].set_index(["trial_id", "attack_id"]).sort_index()
        assert own["auc"].tolist() == attacks.loc[own.index, "auc"].tolist()
        alike = tables["scores"].merge(scores, on=["trial_id", "attack_id", "query"])
        assert (alike["judged_x"] == alike["judged_y"]).all()
        assert trial_tables(old, trial, ("attacks",))[1]["attacks"]["auc"].tolist() == tables["attacks"]["auc"].tolist()
        metrics = run_content(old, trial, False).metrics
        for row in tables["attacks"].itertuples():
            assert metrics[f"attack/{row.attack}/auc"] == row.auc
    everything = read(old.root, "small", "attacks", all=True).set_index(["trial_id", "attack_id"])
    assert everything.loc[attacks.index, "auc"].tolist() == attacks["auc"].tolist()


@pytest.mark.slow
def test_a_public_copy_keeps_its_rows_and_says_that_extras_are_in_them(old, tmp_path):
    export_public(old, tmp_path / "public")
    found = read(tmp_path, "public", "wide")
    before = read(old.root, "small", "wide", as_written=True)
    np.testing.assert_array_equal(found["auc"], before["auc"])
    canaries = found["role"] == CANARY
    assert (found.loc[~canaries, "judging"] == WITH_EXTRAS).all() and found.loc[~canaries, "judged"].isna().all()
    assert (found.loc[canaries, "judging"] == JUDGED).all()
    assert found.loc[canaries, "judged"].tolist() == found.loc[canaries, "queries"].tolist()


@pytest.mark.slow
def test_compacting_an_old_store_writes_rows_as_they_were(old, tmp_path):
    store = Store(shutil.copytree(old.folder.parent, tmp_path / "results"), "small")
    before = {how: read(store.root, "small", "wide", as_written=how) for how in (True, False)}
    shutil.rmtree(store.folder / "compacted")
    compact(store)
    for how, frame in before.items():
        pd.testing.assert_frame_equal(read(store.root, "small", "wide", as_written=how), frame)


def table_of(member, coin, judged=True, trials=2):
    """Scores of one attack: member [R, Q] by trial."""
    member = np.array(member, dtype=bool)
    queries = np.tile(np.arange(member.shape[1]), trials)
    return pd.DataFrame(
        {
            "trial_id": np.repeat([f"t{number}" for number in range(trials)], member.shape[1]),
            "attack_id": "a",
            "query": queries,
            "unit": queries,
            "member": member.ravel(),
            "judged": judged,
            "coin": coin,
        }
    )


SPLITS = {"t0": "s", "t1": "s"}


def test_a_unit_that_was_never_a_member_and_has_no_coin_is_taken_for_an_extra():
    scores = table_of([[1, 0, 0, 0], [0, 1, 0, 0]], coin=[False, False, True, False] * 2)
    units = drawn_units(scores, SPLITS)
    assert units["s"].tolist() == [0, 1, 2]
    assert judged_records(scores, SPLITS, units).tolist() == [True, True, True, False] * 2


def test_of_a_single_replicate_without_coins_nothing_is_known_and_all_queries_count():
    scores = table_of([[1, 1, 0, 0]], coin=None, trials=1)
    units = drawn_units(scores, {"t0": "s"})
    assert units == {}
    assert judged_records(scores, {"t0": "s"}, units).all()


def test_what_later_versions_wrote_is_believed():
    written = np.array([True, True, True, False] * 2)
    scores = table_of([[1, 0, 0, 0], [0, 1, 0, 0]], coin=False, judged=written)
    units = drawn_units(scores, SPLITS)
    assert units["s"].tolist() == [0, 1]
    assert judged_records(scores, SPLITS, units).tolist() == written.tolist()


def test_what_a_config_lacks_is_no_extra(old, tmp_path):
    # A store whose trials say nothing of a split, as a forged one may.
    scores = read(old.root, "small", "scores", as_written=True)
    assert judged_records(scores, {}, {}).all()
    golden = json.loads((FULL / "golden.json").read_text())
    assert len(scores) == golden["scores"]["rows"]

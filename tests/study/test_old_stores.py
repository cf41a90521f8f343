"""Stores that earlier versions wrote are read, checked and analysed today; see stores/README.md."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from analysis.study_data import load
from mia_core.data import load_pool
from mia_core.metrics import judge
from mia_core.training import Trainer
from study.design.study_design import Design
from study.design.work import missing
from study.run.runner import Runner
from study.spec import documents
from study.spec.study_file import override, parse
from study.store import Store, compact, read, seals
from study.store.old_rows import JUDGED
from study.store.roles import STUDY
from study.store.schema import PASS_TABLES, RENAMED
from tests.commands import mia_study
from tests.full_store import digests, named_now, write_people

main = mia_study("store")

STORES = sorted(path for path in (Path(__file__).parent / "stores").iterdir() if path.is_dir())
SMALLEST = {"trials": 2, "quality": 4, "attacks": 2, "scores": 160, "history": 2, "design": 11, "wide": 2}
FULL = {"trials": 34, "quality": 96, "attacks": 118, "scores": 4660, "history": 28, "design": 248, "wide": 118}
THREE = {"trials": 46, "quality": 128, "attacks": 166, "scores": 3956, "history": 40, "design": 340, "wide": 166}
FOUR = {"trials": 4, "quality": 12, "attacks": 12, "scores": 120, "history": 4, "design": 31, "wide": 12}
ROWS = {
    "format_1": SMALLEST,
    "format_2_unsealed": SMALLEST,
    "format_2_full": FULL,
    "format_3_full": THREE,
    "format_4": FOUR,
}
EVERY_ATTACK = ["white_box", "euclidean", "discriminative_samples20_steps1", "local_gan_steps1", "local_gan_steps2"]
ATTACKS = {
    "format_1": ["euclidean"],
    "format_2_unsealed": ["euclidean"],
    "format_2_full": EVERY_ATTACK,
    "format_3_full": EVERY_ATTACK,
    "format_4": ["white_box", "euclidean_generated8", "euclidean_generated16"],
}


@pytest.fixture(params=STORES, ids=[path.name for path in STORES])
def kept(request):
    return request.param


@pytest.fixture
def old(kept, tmp_path):
    return Store(shutil.copytree(kept, tmp_path / "results"), "small")


@pytest.fixture
def rows(kept):
    return ROWS[kept.name]


@pytest.mark.parametrize(
    ("all", "compacted"),
    [(False, True), (True, False), *(pytest.param(both, both, marks=pytest.mark.slow) for both in (False, True))],
)
def test_every_table_has_its_rows_and_values(old, rows, compacted, all):
    if not compacted:
        shutil.rmtree(old.folder / "compacted")
    frames = {table: read(old.folder.parent, "small", table, all, as_written=True) for table in rows}
    assert {table: len(frame) for table, frame in frames.items()} == rows
    for table in PASS_TABLES:
        plain = pd.concat(pq.read_table(path).to_pandas() for path in (old.folder / table).iterdir())
        plain = plain.rename(columns=RENAMED.get(table, {}))
        lacking = frames[table].columns.difference(plain.columns)
        assert frames[table][lacking].isna().all(axis=None)
        assert len(plain) == rows[table]
        for column in plain.select_dtypes("number"):
            np.testing.assert_array_equal(np.sort(frames[table][column]), np.sort(plain[column]))


def require_golden(kept, store):
    """The values that were written, in the columns that there were."""
    golden, found = json.loads((kept / "golden.json").read_text()), digests(store.folder.parent, "small")
    for table, then in golden.items():
        assert found[table]["rows"] == then["rows"]
        assert found[table]["columns"].items() >= named_now(table, then["columns"]).items(), table


@pytest.mark.parametrize("kept", [path for path in STORES if path.name == "format_3_full"], indirect=True)
def test_what_this_version_wrote_is_read_with_its_values(kept, old):
    """Of labels, persons as units, secret noise. Later versions may add columns."""
    require_golden(kept, old)
    trials = read(old.folder.parent, "small", "trials")
    assert set(trials.loc[trials["epsilon"].notna(), "epsilon_unit"]) == {"person"}
    assert {"dcgan", "grouped"} <= set(trials["target"])


def test_a_store_of_format_4_has_what_diverged_copies_levels_of_samples_and_the_training_of_each_pass(tmp_path):
    kept = Path(__file__).parent / "stores" / "format_4"
    store = Store(shutil.copytree(kept, tmp_path / "results"), "small")
    require_golden(kept, store)
    trials = read(store.folder.parent, "small", "trials").set_index("trial_id")
    assert trials["flags"].eq("diverged").sum() == 2 and trials.loc[trials["flags"].isna(), "epsilon"].count() == 1
    attacks = read(store.folder.parent, "small", "attacks")
    assert set(attacks["released"].dropna()) == {0, 8, 16}  # white-box attacks see none
    assert attacks["auc"].isna().tolist() == [trials.loc[trial, "flags"] == "diverged" for trial in attacks["trial_id"]]
    quality = read(store.folder.parent, "small", "quality")
    assert set(quality["measure"]) == {"copies", "members_copied", "persons_copied"}
    markers = store.markers().values()
    own = {marker["trial_id"]: marker["nonce"] for marker in markers if marker["work"]["train"]}
    assert len(markers) == 8 and all(marker["training"] == own[marker["trial_id"]] for marker in markers)


@pytest.mark.parametrize("as_written", [True, False])
def test_scores_are_those_that_the_attacks_were_judged_by(old, as_written):
    scores = read(old.folder.parent, "small", "scores", as_written=as_written).groupby(["trial_id", "attack_id"])
    attacks = read(old.folder.parent, "small", "attacks", as_written=as_written)
    compared = 0
    for row in attacks[attacks["skipped"].isna()].itertuples():
        own = scores.get_group((row.trial_id, row.attack_id))
        judged = own["judged"].fillna(True).to_numpy(bool)
        found = judge(own["score"].to_numpy(), own["member"].to_numpy(), judged, own["unit"].to_numpy())
        assert found.auc == pytest.approx(row.auc)
        if row.judging == JUDGED:
            assert row.judged == judged.sum()
            assert row.auc_low <= row.auc <= row.auc_high
            # Since then, limits allow for persons of unequal numbers of records; sealed ones stay as they are.
            sizes = [np.unique(own["unit"][judged & (own["member"] == side)], return_counts=True)[1] for side in (0, 1)]
            if all(len(set(of_side)) == 1 for of_side in sizes):
                assert (row.auc_low, row.auc_high) == (found.auc_low, found.auc_high)
                compared += 1
    assert compared or not any(attacks["judging"] == JUDGED)


def test_every_sealed_file_is_verified_and_damage_is_found(old, capsys):
    assert main(["check", str(old.folder)]) == 0
    assert "0 damaged" in capsys.readouterr().out
    path = next((old.folder / "scores").iterdir())
    path.write_bytes(path.read_bytes()[:-1])
    assert main(["check", str(old.folder)]) == 1


@pytest.mark.slow
def test_its_tables_are_printed(kept, old, capsys):
    assert mia_study("tables")([str(old.folder)]) == 0
    assert "euclidean" in capsys.readouterr().out
    assert load(old.folder).attacks == ATTACKS[kept.name]


@pytest.mark.slow
def test_compacting_it_again_changes_no_row(old, rows):
    before = {table: read(old.folder.parent, "small", table) for table in rows}
    shutil.rmtree(old.folder / "compacted")
    assert compact(old) == len(old.passes())
    for table, frame in before.items():
        pd.testing.assert_frame_equal(read(old.folder.parent, "small", table), frame)


@pytest.mark.parametrize("nonces", [True, False])
def test_a_study_that_an_earlier_version_sealed_goes_on_from_its_states_whatever_their_names(
    tmp_path, monkeypatch, nonces
):
    monkeypatch.chdir(tmp_path)
    write_people(Path("people"))
    shutil.copytree(Path(__file__).parent / "stores" / "format_3_full", "results")
    store = Store("results", "small")
    document = documents.load(Path("results", "small.yaml"))
    assert not missing(Design(parse(document), load_pool(parse(document).data)), store)
    if not nonces:
        without_nonces(store)
    override(document, f"factors.epochs={[*document['factors']['epochs'], 3]}")
    spec = parse(document)
    design = Design(spec, load_pool(spec.data))
    works = next(works for works in missing(design, store).values() if works[0].trial.role == STUDY)
    begun, run_to = [], Trainer.run_to
    monkeypatch.setattr(Trainer, "run_to", lambda trainer, step: (begun.append(trainer.step), run_to(trainer, step)))
    assert not [sealed.failed for sealed in Runner(design, store).run(works) if sealed.failed]
    last = max(trial.steps for trial in design.trajectories[works[0].trial.trajectory_id] if trial.epochs == 2)
    assert begun[0] == last
    assert works[0].trial.trial_id not in {
        work.trial.trial_id for own in missing(design, store).values() for work in own
    }
    assert main(["check", str(store.folder)]) == 0


def without_nonces(store):
    """Targets, samples and states under the names that they had before attempts had nonces."""
    shutil.rmtree(store.folder / "compacted")
    for name, marker in store.markers().items():
        moved = {}
        for relative, seal in marker["files"].items():
            own = relative.startswith(("targets/", "samples/", "resume/"))
            plain = relative.replace(f"-{marker['nonce']}.", ".") if own else relative
            (store.folder / relative).rename(store.folder / plain)
            moved[plain] = seal
        (store.folder / "done" / f"{name}.json").write_bytes(seals.to_json({**marker, "files": moved}))


@pytest.mark.long
@pytest.mark.parametrize("kept", [path for path in STORES if path.name != "format_4"], indirect=True)
def test_numbers_of_samples_that_earlier_rows_call_generated_are_the_released_ones(kept, old):
    written = pd.concat(pq.read_table(path).to_pandas() for path in (old.folder / "attacks").iterdir())
    of_row = written.set_index(["trial_id", "attack_id"])["generated"].to_dict()
    for compacted in (True, False):
        if not compacted:
            shutil.rmtree(old.folder / "compacted", ignore_errors=True)
        for table in ("attacks", "wide"):
            rows = read(old.folder.parent, "small", table)
            assert "generated" not in rows
            assert rows.set_index(["trial_id", "attack_id"])["released"].to_dict() == of_row
    compact(old)  # writes today's names
    sealed = next(path for path in (old.folder / "compacted").iterdir() if path.name.startswith("attacks-"))
    assert {"released"} <= set(pq.read_table(sealed).column_names)
    assert (
        read(old.folder.parent, "small", "attacks").set_index(["trial_id", "attack_id"])["released"].to_dict() == of_row
    )

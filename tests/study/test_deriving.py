"""The second stage of a sweep, on made scores: which rows there are, what they are computed from, when they change."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from analysis.checks import cautions
from analysis.stats.records import records
from analysis.stats.threats import threats
from analysis.study_data import load
from mia_core.data import load_pool
from mia_core.derived import Ensemble, Evidence
from mia_core.derived.calibrated import calibrated
from mia_core.derived.ensemble import ensemble
from mia_core.derived.evidence import one_way
from mia_core.derived.lira import lira
from mia_core.errors import Refused
from mia_core.hashing import content_id
from study.design.derivations import Derivations
from study.design.study_design import Design
from study.plan import overview
from study.run import search
from study.run.deriving import derive
from study.run.session import Session
from study.spec.derived_entries import derived_of
from study.store import Store, compact, read
from study.store.collecting import garbage
from study.store.flat import export_flat
from study.store.roles import SHADOW
from study.store.verifying import check
from study.tracking.run_content import run_content
from study.verdicts import claims
from study.verdicts.controls import read_attacks
from study.verdicts.forward import forward_scores
from tests.analysis.synthetic import cell_of
from tests.forging import diverge
from tests.made_scores import OVERRIDES, design_of, hard_records, publish, seal, write, write_and_derive
from tests.small import small_spec

LEAKS = hard_records(0.8, 0.6)


def stacked(store, label, role="study"):
    """score and member [R,Q] of an attack, by replicate."""
    attacks = read(store.root, store.study, "wide")
    rows = attacks[(attacks["attack"] == label) & (attacks["role"] == role)].sort_values("replicate")
    scores = read(store.root, store.study, "scores").set_index(["trial_id", "attack_id"])
    parts = [scores.loc[key].sort_values("query") for key in zip(rows["trial_id"], rows["attack_id"], strict=True)]
    return np.stack([part["score"] for part in parts]), np.stack([part["member"] for part in parts])


@pytest.fixture(scope="module")
def derived(tmp_path_factory):
    """A store of five replicates with the default derived attack, and its design."""
    design = design_of()
    store = Store(tmp_path_factory.mktemp("derived"), "small")
    assert set(write_and_derive(store, design, LEAKS)) == {trial.trial_id for trial in design.trials}
    return store, design


def test_by_default_the_first_attack_is_calibrated_by_the_other_replicates(derived):
    store, _ = derived
    raw, member = stacked(store, "white_box")
    expected = calibrated(Evidence.leave_one_out(raw, member)).astype(np.float32)
    np.testing.assert_array_equal(stacked(store, "calibrated_white_box")[0], expected)
    wide = read(store.root, "small", "wide")
    assert set(wide["attack"]) == {"white_box", "random", "calibrated_white_box"}
    auc = wide.groupby("attack")["auc"].mean()
    assert auc["calibrated_white_box"] > auc["white_box"] + 0.03


def test_a_row_says_what_it_was_computed_from_and_what_its_attacker_knows(derived):
    store, design = derived
    rows = read(store.root, "small", "attacks")
    own = rows[rows["attack"] == "calibrated_white_box"]
    base = design.trials[0].attacks[0]
    assert set(own["base"]) == {base.attack_id} and own["shadows"].isna().all()
    assert set(own["knowledge"]) == {"models_like_it (4)"} and set(own["access"]) == {"WHITE_BOX"}
    assert json.loads(own["arguments"].iloc[0]) == {"name": "calibrated", "bases": ["white_box"]}
    assert rows.loc[rows["attack"] == "white_box", "base"].isna().all()


def test_the_id_is_a_hash_of_the_seals_of_all_scores_used(derived):
    store, design = derived
    base = design.trials[0].attacks[0].attack_id
    seals = []
    for trial in design.trials:
        markers = store.markers([trial.trial_id]).values()
        (marker,) = (marker for marker in markers if base in marker["work"]["attacks"])
        (sha,) = (seal["sha256"] for file, seal in marker["files"].items() if file.startswith("scores/"))
        seals.append(f"{trial.trial_id} {sha}")
    expected = content_id({"derived": {"name": "calibrated"}, "bases": [base], "seals": seals})
    rows = read(store.root, "small", "attacks")
    assert set(rows.loc[rows["base"].notna(), "attack_id"]) == {expected}


def test_deriving_again_does_nothing_and_the_store_is_whole(derived):
    store, design = derived
    before = store.passes()
    assert derive(design, store).trials == () and store.passes() == before
    assert not check(store).damages and not garbage(store)


def test_compaction_flat_export_and_reading_by_trial_keep_derived_rows(derived, tmp_path):
    store, design = derived
    before = read(store.root, "small", "scores"), read(store.root, "small", "attacks")
    compact(store)
    for table, frame in zip(("scores", "attacks"), before, strict=True):
        assert read(store.root, "small", table).equals(frame)
    assert derive(design, store).trials == ()
    assert export_flat(store, tmp_path)["attacks"] == 3 * 5


def test_more_replicates_make_new_rows_and_change_no_old_one(tmp_path):
    few, many = design_of("replicates=4"), design_of("replicates=6")
    store = Store(tmp_path, "small")
    write_and_derive(store, few, LEAKS)
    names = {name: store.marker(name) for name in store.passes()}
    old = read(tmp_path, "small", "attacks", all=True)
    assert len(write_and_derive(store, many, LEAKS)) == 6
    assert {name: store.marker(name) for name in names} == names
    rows = read(tmp_path, "small", "attacks")
    assert (rows["attack"] == "calibrated_white_box").sum() == 6
    every = read(tmp_path, "small", "attacks", all=True)
    merged = old.merge(every, on=["trial_id", "attack_id"], suffixes=("", "_now"))
    assert len(merged) == len(old) and (merged["auc"] == merged["auc_now"]).all()
    publish(store, few)
    assert (read(tmp_path, "small", "attacks")["attack"] == "calibrated_white_box").sum() == 4


def test_nothing_is_derived_in_a_cell_that_lacks_a_trial(tmp_path):
    design, store = design_of(), Store(tmp_path, "small")
    write(store, design, LEAKS, done=lambda trial: trial.replicate < 4)
    assert derive(design, store).trials == ()
    write(store, design, LEAKS)
    assert len(derive(design, store).trials) == 5


def test_a_training_that_diverged_is_left_out(tmp_path):
    design, store = design_of(), Store(tmp_path, "small")
    write(store, design, LEAKS)
    lost = design.trials[2].trial_id
    diverge(store, lost)
    found = derive(design, store)
    assert len(found.trials) == 4 and lost not in found.trials
    publish(store, design)
    assert set(read(tmp_path, "small", "attacks").query("base.notna()")["knowledge"]) == {"models_like_it (3)"}


@pytest.mark.parametrize(("replicates", "rows"), [(2, 0), (3, 3)])
def test_without_shadows_a_cell_needs_three_replicates(tmp_path, replicates, rows):
    design, store = design_of(f"replicates={replicates}"), Store(tmp_path, "small")
    write(store, design, LEAKS)
    assert derive(design, store).rows == rows


def test_shadows_are_the_reference_of_every_replicate_and_nobodys_replicates(tmp_path):
    design, store = (
        design_of("replicates=2", "shadows=6", "derived=[{name: lira, base: white_box}]"),
        Store(tmp_path, "small"),
    )
    assert {trial.role for trial in design.shadows} == {SHADOW}
    assert all([item.label for item in trial.attacks] == ["white_box"] for trial in design.shadows)
    coins = {design.membership(trial).member.tobytes() for trial in (*design.trials, *design.shadows)}
    assert len(coins) == 8
    write_and_derive(store, design, LEAKS)
    raw, _ = stacked(store, "white_box")
    reference, member = stacked(store, "white_box", SHADOW)
    found, _ = stacked(store, "lira_white_box")
    np.testing.assert_array_equal(found, lira(Evidence.shadows(raw, reference, member)).astype(np.float32))
    rows = read(tmp_path, "small", "attacks").query("base.notna()")
    assert set(rows["shadows"]) == {6} and set(rows["knowledge"]) == {"models_like_it (6)"}


def test_with_shadows_further_replicates_change_no_row(tmp_path):
    few, many = (design_of(f"replicates={count}", "shadows=3") for count in (2, 4))
    store = Store(tmp_path, "small")
    write_and_derive(store, few, LEAKS)
    before = {trial.trial_id for trial in few.trials}
    assert set(write_and_derive(store, many, LEAKS)) == {trial.trial_id for trial in many.trials} - before


def test_shadows_change_no_id_of_trials_and_the_default_none_of_the_design():
    plain, shadowed = design_of(), design_of("shadows=3")
    assert [trial.trial_id for trial in plain.trials] == [trial.trial_id for trial in shadowed.trials]
    assert "derived" not in plain.spec.resolved and "shadows" not in plain.spec.resolved
    assert plain.hash != shadowed.hash


def test_every_derived_attack_is_sealed_for_every_base(tmp_path):
    design, store = design_of("derived=[calibrated,lira,rmia,ensemble,person_sum]"), Store(tmp_path, "small")
    write_and_derive(store, design, LEAKS)
    labels = [f"{name}_{base}" for name in ("calibrated", "lira", "rmia") for base in ("white_box", "random")]
    rows = read(tmp_path, "small", "attacks").query("base.notna()")
    assert set(rows["attack"]) == {*labels, "ensemble"}  # every record is its own person
    assert set(rows.loc[rows["attack"] == "ensemble", "base"]) == {
        "+".join(item.attack_id for item in design.trials[0].attacks)
    }
    assert not any("earlier version" in word for word in cautions(load(store.folder)))


ENSEMBLE = "derived=[ensemble]"


def test_an_ensemble_is_fitted_one_way_and_further_replicates_change_none_of_its_rows(tmp_path):
    few, many = (design_of(ENSEMBLE, f"replicates={count}") for count in (3, 6))
    store = Store(tmp_path, "small")
    write_and_derive(store, few, LEAKS)
    before = read(tmp_path, "small", "attacks").query("base.notna()").set_index("trial_id")
    assert before["attack_id"].nunique() == 3
    late = set(write_and_derive(store, many, LEAKS))
    assert late == {trial.trial_id for trial in many.trials} - set(before.index)
    rows = read(tmp_path, "small", "wide").query("base.notna()").sort_values("replicate")
    assert list(rows["knowledge"]) == [f"models_like_it ({count})" for count in (1, 1, 1, 3, 4, 5)]
    assert {json.loads(one)["version"] for one in rows["arguments"]} == {2}
    after = rows.set_index("trial_id").loc[before.index]
    assert (after[["attack_id", "auc"]] == before[["attack_id", "auc"]]).all().all()
    base, member = stacked(store, "white_box")
    evidence = Evidence.among(one_way(6), np.stack([base, stacked(store, "random")[0]]), member)
    np.testing.assert_array_equal(stacked(store, "ensemble")[0], ensemble(evidence).astype(np.float32))


def test_ids_of_an_ensemble_are_of_the_seals_of_its_own_references_alone(tmp_path):
    design, store = design_of(ENSEMBLE), Store(tmp_path, "small")
    write_and_derive(store, design, LEAKS)
    before = Derivations(design, store.markers()).found[0]
    fourth = design.trials[3]
    assert [trial.replicate for trial in before.reference(design.trials[0])] == [2]
    for name in store.passes([fourth.trial_id]):
        (store.folder / "done" / f"{name}.json").unlink()
    seal(store, design, fourth, hard_records(0.8, 0.6, seed=9))
    after = Derivations(design, store.markers()).found[0]
    changed = [before.ids[trial.trial_id] != after.ids[trial.trial_id] for trial in design.trials]
    assert changed == [False, False, False, True, True]


@pytest.mark.long
def test_rows_of_an_earlier_version_are_read_with_a_caution_and_derived_anew_by_the_same_sweep(tmp_path, monkeypatch):
    design, store = design_of("derived=[calibrated,ensemble]"), Store(tmp_path, "small")
    with monkeypatch.context() as patch:
        patch.setattr(Ensemble, "version", 1)
        patch.setattr(Ensemble, "learns_direction", False)
        write_and_derive(store, design, LEAKS)
    data = load(store.folder)
    assert len(data.attack("ensemble")) == 5 and len(threats(data, cell_of(data)))
    (said,) = [word for word in cautions(data) if "earlier version" in word]
    assert said.startswith("Intervals of ensemble are too short")
    assert records(data, "ensemble").attrs["reason"].startswith("an earlier version fitted ensemble")
    assert len(write_and_derive(store, design, LEAKS)) == 5
    again = load(store.folder)
    assert len(again.attack("ensemble")) == 5
    assert not any("earlier version" in word for word in cautions(again))


QUANTILES = "split.extra_non_members=120", "derived=[{name: quantile_regression, base: white_box}]"


@pytest.mark.long
def test_quantiles_are_fitted_on_queries_that_are_never_members_under_the_same_target(tmp_path):
    design, store = design_of(*QUANTILES, "replicates=2"), Store(tmp_path, "small")
    assert len(write_and_derive(store, design, LEAKS)) == 2
    raw, member = stacked(store, "white_box")
    queries = design.membership(design.trials[0]).queries
    never = np.isin(queries, design.split.never_members)
    assert never.sum() == 120 and not member[:, never].any()
    pixels = design.pool.images[queries].reshape(len(queries), -1) / np.float32(127.5) - 1
    evidence = Evidence.among(np.zeros((2, 2), dtype=bool), raw, member)
    (entry,) = design.spec.derived
    expected = entry.choice.build()(replace(evidence, never_member=never, records=pixels), 0.5)
    found, _ = stacked(store, entry.label)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    rows = read(tmp_path, "small", "attacks").query("base.notna()")
    assert set(rows["knowledge"]) == {"never_members (120)"} and set(rows["judged"]) == {100}
    assert overview._derived(design) == ["derived from sealed scores: quantile_regression_white_box"]
    content = run_content(store, design.trials[0].trial_id, False)
    assert content.derived["attack/quantile_regression_white_box/auc"] > 0.5
    data = load(store.folder)
    attackers = threats(data, cell_of(data)).set_index("attacker")["attacks"]
    assert attackers["whole model + reference records"] == 2 and attackers["whole model"] == 1


def test_quantiles_are_not_derived_where_fewer_records_are_never_members(tmp_path):
    design, store = design_of("split.extra_non_members=99", QUANTILES[1]), Store(tmp_path, "small")
    assert write_and_derive(store, design, LEAKS) == []
    (reason,) = overview._derived(design)
    assert reason.endswith(
        "100 queries that are never members, and the split has 99; set e.g. `split.extra_non_members: 200`"
    )
    ranged = "factors={train_size: [70], epochs: {low: 1, high: 3}, defense: [none]}"
    goal = "search={objectives: [{minimize: quantile_regression_white_box.auc}], points: 2, batch: 1}"
    with pytest.raises(Refused, match="needs 100 queries that are never members, and the split has 0"):
        small_spec(*OVERRIDES, ranged, goal, QUANTILES[1])


def test_a_damaged_derived_pass_is_derived_again(tmp_path):
    design, store = design_of(), Store(tmp_path, "small")
    write_and_derive(store, design, LEAKS)
    before = read(tmp_path, "small", "attacks")
    base = design.trials[0].attacks[0].attack_id
    (name,) = (n for n in store.passes([design.trials[0].trial_id]) if base not in store.marker(n)["work"]["attacks"])
    (store.folder / "done" / f"{name}.json").write_bytes(b"torn")
    assert derive(design, store).trials == (design.trials[0].trial_id,)
    again = read(tmp_path, "small", "attacks")
    assert again.drop(columns="seconds").equals(before.drop(columns="seconds"))


def test_a_training_that_was_done_again_has_other_derived_rows(tmp_path):
    design, store = design_of(), Store(tmp_path, "small")
    write_and_derive(store, design, LEAKS)
    before = Derivations(design, store.markers()).found[0].ids
    first = design.trials[0]
    for name in store.passes([first.trial_id]):
        (store.folder / "done" / f"{name}.json").unlink()
    seal(store, design, first, hard_records(0.8, 0.6, seed=9))
    after = Derivations(design, store.markers()).found[0].ids
    assert before.keys() == after.keys() and not set(before.values()) & set(after.values())
    assert len(derive(design, store).trials) == 5


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("derived=[calibratd]", "did you mean 'calibrated'"),
        ("derived=[{name: lira, base: white_bx}]", "did you mean 'white_box'"),
        ("derived=[{name: ensemble, base: white_box}]", "at least two"),
        ("derived=[calibrated,calibrated]", "there twice"),
        ("derived=[{name: calibrated, base: white_box, label: random}]", "is that of an attack"),
        ("derived=[{name: calibrated, label: mine}]", "name one `base:`"),
        ("derived=[{name: lira, form: online, base: 3}]", "expected the label"),
        ("derived=[{name: lira, forms: online}]", "did you mean 'form'"),
    ],
)
def test_mistakes_in_the_section_are_refused_with_a_way_out(setting, words):
    with pytest.raises(Refused, match=words):
        design_of(setting)


def test_shadows_without_derived_attacks_are_refused():
    with pytest.raises(Refused, match="shadows: are for derived attacks"):
        design_of("shadows=2", "derived=[]")


def test_an_attack_with_levels_of_steps_stands_for_its_last_one_unless_a_level_is_named():
    spec = small_spec("derived=[{name: calibrated, base: [local_gan, local_gan_steps2]}]")
    assert [entry.label for entry in spec.derived] == ["calibrated_local_gan_steps4", "calibrated_local_gan_steps2"]
    again = small_spec(f"derived={json.dumps(spec.resolved['derived'])}")
    assert again.derived == spec.derived and again.resolved == spec.resolved


def by_number(trial, label, queries, member):
    """Made scores: how much higher members' are, by the attack's label."""
    shift = {"euclidean_generated20": 0.3, "euclidean_generated70": 1.2}[label]
    return hard_records(0.0, shift)(trial, label, queries, member)


CHOSEN = ("attacks=[{name: euclidean, generated: [20, 70]}]", "replicates=2")


@pytest.mark.parametrize("name", ["best_on_shadows", "shadow_classifier"])
def test_what_learns_from_labels_takes_shadows_and_all_settings_of_an_attack_by_its_name(tmp_path, name):
    design = design_of(*CHOSEN, "shadows=3", f"derived=[{{name: {name}, base: euclidean}}]")
    (entry,) = design.spec.derived
    assert entry.label == f"{name}_euclidean"
    assert entry.bases == ("euclidean_generated20", "euclidean_generated70")
    store = Store(tmp_path, "small")
    assert len(write_and_derive(store, design, by_number)) == 2
    found, _ = stacked(store, entry.label)
    score = np.stack([stacked(store, base)[0] for base in entry.bases])
    reference, member = zip(*(stacked(store, base, SHADOW) for base in entry.bases), strict=True)
    evidence = Evidence.shadows(score, np.stack(reference), member[0])
    expected = entry.choice.build()(evidence, 0.5)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    if name == "best_on_shadows":
        np.testing.assert_array_equal(found, score[1])


@pytest.mark.parametrize("name", ["best_on_shadows", "shadow_classifier"])
def test_what_learns_from_labels_is_not_derived_from_judged_ones(tmp_path, name):
    overrides = (CHOSEN[0], "replicates=5", f"derived=[{{name: {name}, base: euclidean}}]")
    design, store = design_of(*overrides), Store(tmp_path, "small")
    assert write_and_derive(store, design, by_number) == []
    reason = f"not derived: {name}_euclidean needs shadows, and the study trains none; set e.g. `shadows: 8`"
    assert overview._derived(design) == [reason]


def test_mlflow_gets_derived_metrics_of_the_newest_reference_alone_and_the_workers_picture(tmp_path):
    few, many = design_of("replicates=3"), design_of("replicates=4")
    store = Store(tmp_path, "small")
    write_and_derive(store, few, LEAKS)
    trial = few.trials[0].trial_id
    before = run_content(store, trial, False)
    write_and_derive(store, many, LEAKS)
    found = run_content(store, trial, False)
    rows = read(tmp_path, "small", "attacks").query("base.notna()").set_index("trial_id")
    key = "attack/calibrated_white_box/auc"
    assert found.derived[key] == rows["auc"][trial] != before.derived[key]
    assert found.derived_ms > before.derived_ms and found.end_ms == before.end_ms
    assert key not in found.metrics and found.metrics == before.metrics


def test_a_sweep_publishes_what_it_derived_before_mlflow_hears_of_it(tmp_path):
    design, store, heard = design_of("replicates=3"), Store(tmp_path, "small"), []
    write(store, design, LEAKS)
    sweep = SimpleNamespace(store=store, _publish=lambda design: heard.append("published"))
    assert Session._derive(sweep, design, heard.append)
    assert heard[0] == "published" and set(heard[1:]) == {trial.trial_id for trial in design.trials}
    assert not Session._derive(sweep, design, pytest.fail)


def test_a_derived_attack_is_an_objective_of_a_search(tmp_path):
    overrides = (
        "factors={train_size: [70], epochs: {low: 1, high: 3}, defense: [none]}",
        "search={objectives: [{minimize: calibrated_white_box.auc}], points: 2, batch: 1}",
        "replicates=3",
    )
    store = Store(tmp_path, "small")
    spec = search.begun(small_spec(*OVERRIDES, *overrides), store)
    design = Design(spec, load_pool(spec.data))
    found = search.go_on(
        design, store, lambda one: publish(store, one), lambda one, todo: write_and_derive(store, one, LEAKS)
    )
    assert len(found.spec.points) == 2
    values = search.outcomes(store, found.spec, read(tmp_path, "small", "design"))
    auc = read(tmp_path, "small", "attacks").query("base.notna()").groupby("attack")["auc"].mean()
    assert np.mean([value[0] for value in values]) == pytest.approx(auc["calibrated_white_box"])
    with pytest.raises(Refused, match="needs 3 replicates, or shadows"):
        small_spec(*OVERRIDES, *overrides[:2], "replicates=2")


@pytest.mark.long
def test_an_audit_by_a_derived_attack_takes_the_replicates_before_alone(tmp_path):
    design = design_of("audit.attack=lira_white_box", "derived=[{name: lira, base: white_box}]")
    store = Store(tmp_path, "small")
    write_and_derive(store, design, LEAKS)
    table = read(tmp_path, "small", "design")
    rows, scores = read_attacks(store, table[table["label"] == "lira_white_box"])
    rows = rows.assign(cell="one").sort_values("replicate")
    forward = forward_scores(store, table, rows, scores)
    keys = list(zip(rows["trial_id"], rows["attack_id"], strict=True))
    raw, member = stacked(store, "white_box")
    expected = lira(Evidence.forward(raw, member))
    for r, key in enumerate(keys):
        np.testing.assert_allclose(forward[key]["score"], expected[r])
    sealed = scores[keys[-1]].sort_values("query")["score"]
    np.testing.assert_allclose(forward[keys[-1]]["score"], sealed, rtol=1e-5)  # all others are before the last one
    first = scores[keys[0]].sort_values("query")["score"].to_numpy()
    assert np.abs(forward[keys[0]]["score"].to_numpy() - first).max() > 0.1
    (verdict,) = claims.verdicts(tmp_path, "small").to_dict("records")
    assert verdict["attack"] == "lira_white_box" and verdict["coins"] == 5 * 100 and verdict["right"] > 0


def test_audits_by_other_attacks_read_scores_as_they_are_sealed(derived):
    store, _ = derived
    table = read(store.root, "small", "design")
    rows, scores = read_attacks(store, table[table["label"] == "white_box"])
    assert forward_scores(store, table, rows.assign(cell="one"), scores) is scores


def test_a_plan_says_what_is_derived_and_what_of_the_section_is_not():
    shadowed, few = design_of("shadows=3"), design_of("replicates=2", "derived=[{name: lira, base: random}]")
    assert overview._derived(shadowed) == ["derived from sealed scores, by 3 shadows a cell: calibrated_white_box"]
    assert overview._derived(few) == ["not derived: lira_random needs 3 replicates, or shadows, and replicates is 2"]
    assert overview._derived(design_of("replicates=2")) == []


@pytest.mark.parametrize("version", ['"2"', "null", "1.5", "true", "[1]"])
def test_a_version_that_is_none_is_refused_in_words_and_is_no_bug(version):
    choice, made_by = derived_of('{"name": "ensemble", "bases": ["white_box"], "version": 2}')
    assert (choice.name, made_by) == ("ensemble", 2)
    assert derived_of('{"name": "ensemble", "bases": ["white_box"]}')[1] == 1
    with pytest.raises(Refused, match="no version"):
        derived_of(f'{{"name": "ensemble", "version": {version}}}')

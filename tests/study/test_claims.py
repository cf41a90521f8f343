from unittest.mock import patch

import numpy as np
import pytest

from mia_core.defenses import dp_sgd
from mia_core.metrics import judge
from mia_core.metrics.audit import LARGEST_EPSILON
from study.design.design_rows import design_rows
from study.design.work import missing, missing_of
from study.run.runner import Runner
from study.store import Store, read
from study.store.roles import CANARY
from study.verdicts.claims import lines, verdicts
from tests.commands import mia_study
from tests.mia_core.sabotage import NoiseOfTheMean

main = mia_study("audit")

PRIVATE = "factors.defense=[none, {name: dp_sgd, sigma: [0, 3], clip: 0.5, delta: 1.0e-5}]"
QUICK = (
    PRIVATE,
    "factors.train_size=[40]",
    "factors.epochs=[2, 6]",
    "attacks=[{name: euclidean, generated: 32}, white_box]",
    "audit={attack: white_box, canaries: [gradient], count: 300}",
    "quality.measures=[]",
    "controls={blind: false, nulls: false, copycat: false}",
)
BRIEF = (*QUICK, "audit={attack: white_box}", "factors.epochs=[2]")
"""The same without canaries, and no longer than an audit needs."""


def run(design, store):
    """Run all that is missing; the audit's verdicts."""
    for works in missing(design, store).values():
        assert not [item.failed for item in Runner(design, store).run(works) if item.failed]
    store.publish(design.hash, design.spec.resolved, design_rows(design), {})
    return verdicts(store.folder.parent, store.study)


def canaries(design):
    return [trial for trial in design.controls if trial.role == CANARY]


def test_every_cell_that_claims_something_is_trained_once_more_with_each_kind(make_design):
    several = "audit={canaries: [noise, gradient, noise], count: 20, trainings: 2}"
    design = make_design(*QUICK, several, "factors.train_size=[40, 80]")
    found = [(t.attacks[0].label, t.cell.arm.label, t.cell.train_size, t.epochs, t.replicate) for t in canaries(design)]
    assert sorted(found) == sorted(
        (f"canary_{kind}", "dp_sgd sigma=3", n, 6, replicate)
        for kind in ("noise", "gradient")
        for n in (40, 80)
        for replicate in (0, 1)
    )
    assert len({trial.trajectory_id for trial in design.every}) == len({*design.trajectories})
    assert not canaries(make_design(*QUICK, "audit={}"))
    plain = {trial.trial_id for trial in make_design(*QUICK, "audit={}").trials}
    assert plain == {trial.trial_id for trial in make_design(*QUICK).trials}, "an audit changes no trial"


@pytest.mark.long
def test_honest_private_training_is_not_contradicted(make_design, store):
    design = make_design(*QUICK)
    table = run(design, store)
    assert list(zip(table["audit"], table["arm"], table["trainings"], strict=True)) == [
        ("panel", "none", 2),
        ("panel", "dp_sgd sigma=0", 2),
        ("panel", "dp_sgd sigma=3", 2),
        ("canaries", "dp_sgd sigma=3", 1),
    ]
    assert (table["epochs"] == 6).all()
    assert set(table["attack"]) == {"white_box", "canary_gradient"}
    assert list(table["coins"]) == [80, 80, 80, 300]
    claims = table["epsilon"].notna()
    assert list(claims) == [False, False, True, True]
    assert table.loc[claims, "ok"].all() and table.loc[~claims, "ok"].isna().all()
    assert (table["epsilon_low"] <= table["epsilon_ceiling"]).all()
    assert (table.loc[claims, "epsilon_low"] < table.loc[claims, "epsilon"]).all()
    assert (table["epsilon_low_gaussian"] >= table["epsilon_low"]).all()
    assert lines(table) == ["2 of 2 claims of privacy are not contradicted"]
    assert not missing(design, store)


@pytest.mark.slow
def test_rows_say_what_an_attack_proves_where_queries_have_coins_of_their_own(make_design, store):
    design = make_design(*QUICK, "controls={blind: true, nulls: 1, copycat: true}")
    run(design, store)
    attacks = read(store.folder.parent, "small", "wide").set_index("role")
    proved = attacks["epsilon_low"].notna()
    assert proved.groupby("role").all().to_dict() == {
        "study": True, "canary": True, "blind": False, "null": False, "copycat": False,
    }  # fmt: skip
    assert not proved[["blind", "null", "copycat"]].any()
    shown = attacks[proved]
    assert set(shown["epsilon_method"]) == {"one_run"} and set(shown["epsilon_confidence"]) == {0.95}
    scores = read(store.folder.parent, "small", "scores")
    canary = attacks.loc[["canary"]].iloc[0]
    with_canaries = scores[(scores["trial_id"] == canary["trial_id"])]["member"].sum()
    assert canary["members"] == len(design.split.membership(0, 40).train) + with_canaries
    for row in attacks.loc[["study", "canary"]].to_dict("records"):
        part = scores[(scores["trial_id"] == row["trial_id"]) & (scores["attack_id"] == row["attack_id"])]
        score, member, judged = (part[name].to_numpy() for name in ("score", "member", "judged"))
        assert judge(score, member, judged).auc == row["auc"]
        assert judged.sum() == (40 if row["attack"] != "canary_gradient" else 300)
        coins = part["query"][part["coin"].astype(bool)]
        assert set(coins) == (set(design.split.coins) if row["attack"] != "canary_gradient" else set(range(300)))


def test_a_training_with_canaries_keeps_no_model_and_no_record(make_design, store):
    design = make_design(*QUICK)
    (trial,) = canaries(design)
    list(Runner(design, store).run(missing_of([trial], store)))
    names = [path.name for path in store.folder.rglob("*") if path.is_file()]
    assert names and not [name for name in names if name.endswith((".safetensors", ".png"))]
    assert not missing_of([trial], store)


def test_an_interrupted_training_with_canaries_goes_on_to_the_same_bits(make_design, store, tmp_path):
    design = make_design(*QUICK, "compute.checkpoint_seconds=1.0e-9")
    (trial,) = canaries(design)
    whole = Store(tmp_path / "whole", "small")
    key = bytes(32)  # or each would have noise of its own
    list(Runner(design, whole, key=key).run(missing_of([trial], whole)))

    class Stop(Exception):
        pass

    original, saved = Store.save_checkpoint, []

    def once(self, *arguments):
        original(self, *arguments)
        saved.append(arguments)
        if len(saved) == 2:
            raise Stop

    with patch.object(Store, "save_checkpoint", once), pytest.raises(Stop):
        list(Runner(design, store, key=key).run(missing_of([trial], store)))
    assert next(store.checkpoints(trial.trajectory_id, trial.steps), None) is not None
    list(Runner(design, store, key=key).run(missing_of([trial], store)))
    found = []
    for one in (whole, store):
        one.publish(design.hash, design.spec.resolved, design_rows(design), {})
        found.append(read(one.folder.parent, "small", "scores")["score"].to_numpy())
    assert np.array_equal(*found)


def test_noise_that_is_too_small_is_caught_and_named(make_design, store, capsys):
    with patch.object(dp_sgd, "PrivateGradients", NoiseOfTheMean):
        table = run(make_design(*QUICK), store)
    assert list(table["ok"].fillna(True)) == [True, True, True, False]
    assert lines(table)[0].startswith("dp_sgd sigma=3, n=40, canaries: CONTRADICTED")
    assert main([str(store.folder)]) == 1
    assert "CONTRADICTED" in capsys.readouterr().out


@pytest.mark.slow
def test_coins_that_swap_a_record_for_filler_prove_half(make_design, store, tmp_path):
    fixed = Store(tmp_path / "fixed", "small")
    tables = [
        run(make_design(*BRIEF, f"split.filler={filler}"), place)
        for filler, place in (("fill", store), ("fixed", fixed))
    ]
    swap, single = (table["epsilon_ceiling"].max() for table in tables)
    assert swap == pytest.approx(single / 2, rel=0.02)


@pytest.mark.long
def test_a_split_without_coins_is_not_audited(make_design, store, capsys):
    logan = "split={name: logan, reference: 80, unseen: 40, known: 10}"
    table = run(make_design(*BRIEF, logan), store)
    assert table.empty
    assert main([str(store.folder)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("nothing to audit: in a logan split no query has a coin of its own")
    attacks = read(store.folder.parent, "small", "attacks")
    assert set(attacks["epsilon_method"]) == {"heuristic"}, "scores inside one target are dependent"
    assert attacks["epsilon_low_gaussian"].isna().all() and (attacks["epsilon_low"] < attacks["epsilon_ceiling"]).all()


def test_coins_that_are_not_fair_are_not_audited_and_that_is_said(make_design, store, capsys):
    design = make_design(*BRIEF, "split.panel=100", "split.probability=0.25", "split.extra_non_members=0")
    assert main([str(store.folder)]) == 2
    capsys.readouterr()
    store.publish(design.hash, design.spec.resolved, design_rows(design), {})
    assert main([str(store.folder)]) == 0
    assert "no trial with the attack that guesses is sealed yet" in capsys.readouterr().out
    assert run(design, store).empty
    assert main([str(store.folder)]) == 0
    assert "an audit guesses fair coins, and here split.probability is 0.25" in capsys.readouterr().out
    scores = read(store.folder.parent, "small", "scores")
    assert scores["judged"].all() and not scores["coin"].any()


def test_an_attack_that_the_study_does_not_have_is_refused(make_design):
    with pytest.raises(ValueError, match=r"audit.attack: unknown attack; did you mean 'white_box'"):
        make_design(*QUICK, "audit.attack=white_bx")
    with pytest.raises(ValueError, match=r"audit.canaries"):
        make_design(*QUICK, "audit.canaries=[loud]")


def test_a_claim_beyond_the_largest_epsilon_is_shown_and_never_contradicted(make_design, store):
    tiny = "factors.defense=[{name: dp_sgd, sigma: [0.05, 3], clip: 0.5, delta: 1.0e-5}]"
    table = run(make_design(*BRIEF, tiny), store)
    assert list(table["epsilon"] > LARGEST_EPSILON) == [True, False]
    assert table["p"].iloc[0] == 1 and table["ok"].all()


def test_arms_that_differ_in_their_clip_alone_are_told_apart(make_design, store):
    clips = "factors.defense=[{name: dp_sgd, sigma: 3, clip: [0.5, 1], delta: 1.0e-5}]"
    table = run(make_design(*BRIEF, clips), store)
    assert list(table["arm"]) == ["dp_sgd sigma=3 clip=0.5", "dp_sgd sigma=3 clip=1"]


@pytest.mark.parametrize("label", ["mine_steps5", "mine"])
def test_an_attack_is_found_by_its_label_whatever_its_levels_add(make_design, store, label):
    named = f"attacks=[{{name: white_box, label: {label}}}]"
    assert len(run(make_design(*BRIEF, named, f"audit={{attack: {label}}}"), store)) == 3


def test_an_attack_of_several_levels_of_steps_guesses_after_its_last(make_design, store):
    nested = "{name: local_gan, steps: [2, 5], generated: 32, surrogate: {name: dcgan, width: 4, latent: 8}}"
    table = run(make_design(*BRIEF, f"attacks=[{nested}, white_box]", "audit={attack: local_gan}"), store)
    assert set(table["attack"]) == {"local_gan_steps5"}

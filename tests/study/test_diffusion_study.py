"""A study of diffusion models: attacks on denoiser, variations and gradients, what is learned on shadows, and costs."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.checks import cautions
from analysis.stats.losses import loss_gaps
from analysis.study_data import load
from mia_core.data import load_pool
from mia_core.derived import Evidence
from mia_core.derived.best_on_shadows import auc_on_shadows
from mia_core.derived.shadow_classifier import classified
from mia_core.errors import Refused
from study.design.study_design import Design
from study.run.deriving import derive
from study.store import Store, read
from study.store.exporting import export_public
from study.store.roles import SHADOW, STUDY
from tests.made_scores import publish
from tests.small import small_spec
from tests.study.running import run

pytestmark = pytest.mark.long

DDPM = "{name: ddpm, width: 4, multipliers: [1, 2], attention: 4, timesteps: 40, sampling_steps: 4}"
ATTACKS = """attacks=[{name: pia, time: [10, 20]}, {name: secmi, time: 10, interval: 5}, {name: rediffuse, time: 10},
    {name: gradient_norms, group: [0, 1, 2], groups: 2}, {name: euclidean, generated: 20}]"""
GROUPS = ["gradient_norms_group1", "gradient_norms_group2"]
DERIVED = f"derived=[{{name: best_on_shadows, base: pia}}, {{name: shadow_classifier, base: {GROUPS}, label: gsa}}]"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    spec = small_spec(
        f"target={DDPM}", ATTACKS, DERIVED, "shadows=2", "quality.measures=[]", "factors.train_size=[40]",
        "factors.epochs=[1]", "factors.defense=[none]", "controls={blind: false, nulls: 0, copycat: false}",
        "split.panel=20", "split.extra_non_members=20",
    )  # fmt: skip
    design = Design(spec, load_pool(spec.data))
    store = Store(tmp_path_factory.mktemp("diffusion"), "small")
    for number in range(len(design.trajectories)):
        assert not any(item.failed for item in run(design, store, number))
    assert len(derive(design, store).trials) == 2
    publish(store, design)
    return store


def scores(store, role, labels):
    """Scores [K,R,Q] and members [R,Q] of attacks on the trials of a role."""
    rows = read(store.root, "small", "wide").query("role == @role")
    table = read(store.root, "small", "scores").set_index(["trial_id", "attack_id"])
    parts = [
        [table.loc[key].sort_values("query") for key in zip(own["trial_id"], own["attack_id"], strict=True)]
        for own in (rows[rows["attack"] == label].sort_values("replicate") for label in labels)
    ]
    return np.array([[part["score"] for part in own] for own in parts]), np.array([part["member"] for part in parts[0]])


def test_an_attack_that_a_target_does_not_permit_is_skipped_there_and_not_missing(tmp_path):
    spec = small_spec(
        "target=null", "factors.target=[{name: dcgan, width: 4, latent: 4}, {name: vae, width: 4, latent: 4}]",
        "attacks=[{name: euclidean, generated: 20}, white_box]", "quality.measures=[]", "factors.epochs=[1]",
        "factors.train_size=[40]", "factors.defense=[none]", "replicates=1",
        "controls={blind: false, nulls: 0, copycat: false}",
    )  # fmt: skip
    design, store = Design(spec, load_pool(spec.data)), Store(tmp_path, "small")
    for number in range(len(design.trajectories)):
        assert not any(item.failed for item in run(design, store, number))
    publish(store, design)
    assert (
        read(tmp_path, "small", "attacks").query("attack == 'white_box'")["skipped"].notna().tolist().count(True) == 1
    )
    assert not any("white_box" in word and "trials only" in word for word in cautions(load(store.folder)))


def test_the_gap_of_losses_is_the_mean_over_replicates_of_unseen_less_members(store):
    trials = read(store.root, "small", "trials").query("role == @STUDY")
    (row,) = loss_gaps(load(store.folder)).to_dict("records")
    gaps = trials["loss_unseen"] - trials["loss_members"]
    assert row["gap"] == pytest.approx(gaps.mean(), abs=1e-12) and row["replicates"] == len(gaps) == 2
    half = 12.7062047 * gaps.std() / 2**0.5  # of t with one degree of freedom
    assert (row["gap_low"], row["gap_high"]) == pytest.approx((gaps.mean() - half, gaps.mean() + half))
    assert row["unseen"] == pytest.approx(trials["loss_unseen"].mean())


def test_rows_say_what_was_asked_of_the_model_per_query(store):
    rows = read(store.root, "small", "attacks").drop_duplicates("attack").set_index("attack")
    asked = {label: tuple(row) for label, row in rows[["model_queries", "model_gradients"]].iterrows()}
    assert {label: costs for label, costs in asked.items() if not any(map(pd.isna, costs))} == {
        "pia_time10": (2, 0),
        "pia_time20": (2, 0),
        "secmi": (3, 0),
        "rediffuse": (10, 0),
        **{f"gradient_norms_group{number}": (1, 1) for number in range(3)},
        "euclidean": (0, 0),
    }
    assert {label for label, costs in asked.items() if all(map(pd.isna, costs))} == {"best_on_shadows_pia", "gsa"}


def test_a_time_is_chosen_by_its_auc_under_shadows(store):
    times = ["pia_time10", "pia_time20"]
    (score, _), (reference, member) = (scores(store, role, times) for role in (STUDY, SHADOW))
    best = auc_on_shadows(Evidence.shadows(score, reference, member))[0].argmax()
    np.testing.assert_array_equal(scores(store, STUDY, ["best_on_shadows_pia"])[0][0], score[best])


def test_gsa_is_a_classifier_of_gradient_norms_that_was_fitted_on_shadows(store):
    (score, _), (reference, member) = (scores(store, role, GROUPS) for role in (STUDY, SHADOW))
    expected = classified(Evidence.shadows(score, reference, member))
    np.testing.assert_allclose(scores(store, STUDY, ["gsa"])[0][0], expected, rtol=1e-5)


def test_the_groups_of_one_run_make_up_the_whole_gradient(store):
    found, _ = scores(store, STUDY, ["gradient_norms_group0", *GROUPS])
    norms = np.exp(-found.astype(float))
    np.testing.assert_allclose(norms[0], np.hypot(norms[1], norms[2]), rtol=1e-4)


# Plans


def design_of(*settings):
    spec = small_spec(*settings, "factors.train_size=[40]", "factors.defense=[none]", "quality.measures=[]")
    return Design(spec, load_pool(spec.data))


@pytest.mark.parametrize(
    "attack",
    ["{name: pia, time: 40}", "{name: secmi}", "{name: pfami}", "{name: rediffuse}", "{name: sima, time: [1, 99]}"],
)
def test_a_time_that_no_target_has_is_refused_by_the_plan(attack):
    with pytest.raises(Refused, match="fits no target of this study: ddpm has times below its 40 timesteps"):
        design_of(f"target={DDPM}", f"attacks=[random, {attack}]")


WHOLE = DDPM.replace("attention: 4, ", "")
"""Of images of any size."""
VAE_GAN = "{name: vae_gan, width: 4, latent: 4}"


@pytest.mark.parametrize(
    ("target", "attack", "reason"),
    [
        (DDPM, "{name: gradient_norms, group: 1, groups: 999}", "fits no target .*: ddpm has [0-9]+ parameter tensors, "
         "and 999 groups are too many; set `groups` lower"),
        (VAE_GAN, "elbo", "fits no target .*: vae_gan has no normal likelihood of pixels"),
        (VAE_GAN, "pfami_vae", "fits no target .*: vae_gan has no normal likelihood of pixels"),
        (WHOLE, "{name: local_gan, surrogate: {name: dcgan}}", "fits no target .*: there is no such surrogate: dcgan "
         "cannot halve 18 pixels down to 4..8; set data.size"),
        (WHOLE, "{name: discriminative, known: 10, real: members, surrogate: {name: dcgan}}", "no such surrogate"),
        (DDPM, "domias", "domias needs 2 reference records that differ, and there is 1"),
        (DDPM, "gen_lra", "gen_lra needs 2 reference records that differ, and there is 1"),
        (DDPM, "{name: monte_carlo, space: pca}", "monte_carlo_pca needs 2 reference records that differ"),
        (DDPM, "{name: nearest, space: pca}", "nearest_pca needs 2 reference records that differ"),
    ],
)  # fmt: skip
def test_what_every_trial_would_refuse_is_refused_by_the_plan(target, attack, reason):
    odd = ["data={name: digits, size: 18}"] if "surrogate" in attack else []
    few = ["split.reference=1"] if "reference" in reason else []
    with pytest.raises(Refused, match=reason):
        design_of(f"target={target}", f"attacks=[random, {attack}]", *odd, *few)


def test_one_reference_record_is_enough_for_what_takes_no_principal_components():
    design_of(f"target={DDPM}", "attacks=[{name: monte_carlo, space: hog}]", "split.reference=1")


def test_reference_records_that_are_all_the_same_are_too_few():
    design = design_of(f"target={DDPM}", "attacks=[domias]")
    attack = design.spec.attacks[0].choice.build()
    assert design.attacks.lacking(attack) is None
    pool = design.split.pool
    design.split.pool = replace(pool, images=np.broadcast_to(pool.images[:1], pool.images.shape))
    reason = "needs 2 reference records that differ, and all 80 are the same image"
    assert design.attacks.lacking(attack) == reason


def test_of_targets_with_several_settings_each_is_attacked_as_it_is():
    targets = ", ".join(
        f"{{name: ddpm, label: {label}, width: 4, multipliers: [1, 1], {own}}}"
        for label, own in (
            ("a", "timesteps: 40, sampling_steps: 4"),
            ("b", "timesteps: 40, sampler: ddpm"),
            ("c", "timesteps: 100, sampling_steps: 4"),
        )
    )
    latent = "{name: latent, generated: 20, perceptual: 0, starts: 1, steps: 2}"
    design = design_of("target=~", f"factors.target=[{targets}]", f"attacks=[{latent}, {{name: sima, time: 50}}]")
    found = {trial.cell.label: [wanted.skipped for wanted in trial.attacks] for trial in design.trials}
    late = (
        "ddpm has times below its 40 timesteps, and 50 is none; set an earlier one (time: 2 is the same part of them "
        "as of 1,000)"
    )
    assert found == {"a": [None, late], "b": ["ddpm does not offer latent", late], "c": [None, None]}


def test_a_public_copy_has_no_losses_of_private_trainings_and_those_of_others(tmp_path):
    spec = small_spec(
        "target={name: vae, width: 4, latent: 4}", "attacks=[random]", "quality.measures=[]", "factors.epochs=[1]",
        "factors.train_size=[40]", "factors.defense=[none, {name: dp_sgd, sigma: 1.0, clip: 1.0, delta: 1.0e-5}]",
        "controls={blind: false, nulls: 0, copycat: false}", "replicates=1",
    )  # fmt: skip
    design, store = Design(spec, load_pool(spec.data)), Store(tmp_path, "small")
    for number in range(len(design.trajectories)):
        assert not any(item.failed for item in run(design, store, number))
    publish(store, design)
    export_public(store, tmp_path / "public")
    losses = ["loss_members", "loss_unseen"]
    whole, copied = (
        read(root, name, "trials").sort_values("defense") for root, name in ((tmp_path, "small"), (tmp_path, "public"))
    )
    assert list(copied["defense"]) == ["dp_sgd", "none"] and whole[losses].notna().all(axis=None)
    assert copied[losses].isna().all(axis=1).tolist() == [True, False]
    assert copied[losses].iloc[1].equals(whole[losses].iloc[1])

import dataclasses
import io
import json
import pickle
from collections import Counter

import pytest

from mia_core.attacks import ATTACKS
from mia_core.attacks.white_box import WhiteBox
from mia_core.data import load_pool
from mia_core.defenses import accounting
from mia_core.training import VERSION
from study.design.study_design import Design
from study.design.wanted import runs
from study.plan import overview
from study.terminal import Console
from tests.small import small_spec
from tests.study.designs import THREE, ids, wanted_attacks


def by_name(design):
    return {trial.name: trial.trial_id for trial in design.trials}


@pytest.mark.parametrize(
    "override",
    ["study=renamed", "results=elsewhere", "attacks=[white_box]", "quality.samples=30", "keep_targets=none"],
)
def test_trial_ids_do_not_depend_on_names_places_attacks_or_measures(make_design, override):
    assert ids(make_design(override)) == ids(make_design())


@pytest.mark.parametrize(
    "override",
    ["seed=8", "data.size=16", "split.unseen=41", "target.latent=9", "training.beta1=0.4", "training.batch_size=15"],
)
def test_trial_ids_depend_on_everything_that_determines_the_trained_target(make_design, override):
    assert not set(ids(make_design(override))) & set(ids(make_design()))


def test_every_trial_has_its_own_id(make_design):
    design = make_design()
    assert len(set(ids(design))) == len(design.trials) == 2 * 2 * 3 * 2
    assert len({trial.trial_id for trial in design.every}) == len(design.trials) + len(design.controls)


def roles(design):
    return Counter((trial.role, trial.cell.train_size, trial.replicate, trial.epochs) for trial in design.controls)


def test_every_study_has_its_controls(make_design):
    design = make_design()
    null = {("null", size, 0, epochs): 1 for size in (40, 80) for epochs in (1, 2)}
    blind = {("blind", 40, replicate, 0): 1 for replicate in (0, 1)}  # the panel's labels are the same at every size
    copycat = {("copycat", size, 0, 0): 1 for size in (40, 80)}
    assert roles(design) == {**blind, **null, **copycat}
    assert {trial.cell.arm.label for trial in design.controls} == {"none"}
    assert {trial.role for trial in design.trials} == {"study"}
    assert not any(trial.measures for trial in design.controls)
    assert [w.label for trial in design.controls[2:4] for w in trial.attacks] == [
        "white_box", "euclidean", "white_box", "euclidean", "local_gan_steps2", "local_gan_steps4",
    ]  # fmt: skip
    assert {w.generated for trial in design.controls if trial.role == "copycat" for w in trial.attacks} == {200, 400}
    assert design.no_control == {}


def test_controls_change_nothing_about_the_studys_own_trials(make_design):
    with_controls = make_design("controls.nulls=2", "controls.permutations=99")
    without = make_design("controls.blind=false", "controls.nulls=0", "controls.copycat=false")
    assert with_controls.trials == without.trials == make_design().trials
    assert without.controls == ()
    assert without.no_control == dict.fromkeys(("blind", "null", "copycat"), "switched off")
    assert len({design.hash for design in (with_controls, without, make_design())}) == 3


def test_controls_of_logan_follow_its_labels(make_design):
    design = make_design("split={name: logan, reference: 80, unseen: 40, known: 10}", "factors.train_size=[40, 600]")
    blind = {("blind", size, replicate, 0): 1 for size in (40, 600) for replicate in (0, 1)}
    null = {("null", 40, 0, epochs): 1 for epochs in (1, 2)}
    assert roles(design) == {**blind, **null, ("copycat", 40, 0, 0): 1, ("copycat", 600, 0, 0): 1}
    assert design.no_control.keys() == {"null n=600"}
    assert "needs 1770 records" in design.no_control["null n=600"]
    asked = {w.attack_id for trial in design.trials for w in trial.attacks}
    assert not asked & {w.attack_id for trial in design.controls for w in trial.attacks if trial.role == "null"}


def test_null_targets_are_one_a_target_without_a_defense_or_with_the_first(make_design):
    arms = "factors.defense=[{name: dropout, rate: 0.2}, {name: dropout, rate: 0.5}]"
    design = make_design(arms, "factors.target.width=[4, 8]", "controls.nulls=9")
    null = [trial for trial in design.controls if trial.role == "null"]
    assert {(trial.cell.arm.label, trial.cell.target.config.width) for trial in null} == {("dropout 0.2", 4)}
    assert {trial.replicate for trial in null} == {0, 1}


def test_more_permutations_ask_for_the_blind_classifier_again_and_for_nothing_else(make_design):
    few, many = make_design().controls, make_design("controls.permutations=1999").controls
    assert [trial.trial_id for trial in few] == [trial.trial_id for trial in many]
    changed = {b.role for a, b in zip(few, many, strict=True) if a.attacks != b.attacks}
    assert changed == {"blind"}


def test_added_levels_arms_and_replicates_leave_existing_ids_alone(make_design):
    more = make_design(
        "factors.epochs=[1, 2, 3]",
        "factors.train_size=[40, 60, 80]",
        "replicates=3",
        "factors.defense=[none, {name: dropout, rate: [0.5, 0.2]}, {name: dp_sgd, sigma: 1.0, clip: 1.0, delta: 1e-5}]",
    )
    small = by_name(make_design())
    assert small.items() <= by_name(more).items()


def test_levels_of_epochs_share_a_trajectory_and_nothing_else_does(make_design):
    design = make_design()
    own = [trials for trials in design.trajectories.values() if trials[0].role == "study"]
    assert len(own) == 2 * 3 * 2
    for trials in own:
        assert [trial.epochs for trial in trials] == [1, 2]
        assert len({(trial.cell.train_size, trial.cell.arm.label, trial.replicate) for trial in trials}) == 1


def test_attack_ids_are_the_same_for_every_trial_and_survive_added_step_levels(make_design):
    def of(design):
        found = {}
        for trial in design.trials:
            for wanted in trial.attacks:
                found.setdefault(wanted.label, set()).add(wanted.attack_id)
        assert all(len(values) == 1 for values in found.values())
        return found

    few = of(make_design())
    assert few.keys() == {"white_box", "euclidean", "local_gan_steps2", "local_gan_steps4"}
    assert few.items() <= of(make_design("attacks.local_gan.steps=[2, 3, 4]")).items()
    changed = of(make_design("attacks.local_gan.generated=65", "attacks.euclidean.generated=65"))
    assert not set().union(*few.values()) - few["white_box"] & set().union(*changed.values())


def test_attack_ids_depend_on_the_queries(make_design):
    first, other = make_design().trials[0], make_design("split.extra_non_members=41").trials[0]
    assert {w.label for w in first.attacks} == {w.label for w in other.attacks}
    assert not {w.attack_id for w in first.attacks} & {w.attack_id for w in other.attacks}


def test_measure_ids_depend_on_the_extractors_recipe(make_design):
    first, other = make_design().trials[0], make_design("quality.extractor.steps=21").trials[0]
    assert not {w.measure_id for w in first.measures} & {w.measure_id for w in other.measures}


def test_an_attack_limited_to_the_last_level_is_wanted_there_only(make_design):
    for trial in make_design().trials:
        assert any(w.label.startswith("local_gan") for w in trial.attacks) == (trial.epochs == 2)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("split.panel=5000", "smallest train_size 40"),
        ("factors.train_size=[40, 1700]", "1797 records"),
        ("split.reference=1700", "make some of them smaller"),
        ("quality.samples=41", "split.unseen has 40"),
        ("quality.extractor.features=50", "lower quality.extractor.features"),
        ("factors.defense=[{name: dp_sgd, sigma: 1.0, clip: 1.0, delta: 0.0125}]", "must be below 1/80"),
        ("factors.target.norm=[group, batch]", "without batch norm"),
        ("data.size=9", "cannot halve"),
        ("quality={measures: [kid], samples: 1}", "at least 2 samples"),
        (
            "split={name: logan, reference: 80, unseen: 40, known: 40}",
            "0 of .* members of train_size 40 .*known members",
        ),
    ],
)
def test_what_does_not_fit_the_data_or_the_target_is_refused(make_design, override, message):
    with pytest.raises(ValueError, match=message):
        make_design("data.size=16", override)


def test_without_quality_measures_nothing_is_kept_aside_for_them(make_design):
    design = make_design("quality.measures=[]", "split.unseen=0", "split.reference=0")
    assert not any(trial.measures for trial in design.every)


def test_a_null_target_that_nothing_would_attack_is_not_trained(make_design):
    design = make_design("attacks=[]")
    assert design.no_control == {"null": "needs an attack"}
    assert {trial.role for trial in design.controls} == {"blind", "copycat"}


def test_an_attack_that_fits_no_target_is_refused(monkeypatch):
    needy = type("Needy", (WhiteBox,), {"name": "needy", "uses": frozenset({"encode"})})
    monkeypatch.setitem(ATTACKS._classes, "needy", needy)
    spec = small_spec("attacks=[white_box, needy]")
    with pytest.raises(ValueError, match="needy fits no target of this study: dcgan does not offer encode"):
        Design(spec, load_pool(spec.data))


def test_an_attack_is_skipped_with_the_reason_where_a_target_lacks_what_it_uses(monkeypatch):
    encoding = type("Encoding", (WhiteBox,), {"name": "encoding", "uses": frozenset({"encode"})})
    monkeypatch.setitem(ATTACKS._classes, "encoding", encoding)
    small = "{name: dcgan, width: 4, latent: 8}, {name: vae_gan, width: 4, latent: 8}"
    spec = small_spec("attacks=[white_box, encoding]", "target=null", f"factors.target=[{small}]")
    trials = Design(spec, load_pool(spec.data)).trials
    found = {(trial.cell.target.name, item.label): item.skipped for trial in trials for item in trial.attacks}
    assert found == {
        ("dcgan", "white_box"): None,
        ("vae_gan", "white_box"): None,
        ("dcgan", "encoding"): "dcgan does not offer encode",
        ("vae_gan", "encoding"): None,
    }


def test_numbers_of_samples_are_attacks_of_their_own_that_one_run_scores(make_design):
    several = wanted_attacks(make_design("attacks=[{name: euclidean, generated: [20, 64]}, white_box]"))
    assert list(several) == ["euclidean_generated20", "euclidean_generated64", "white_box"]
    few, many = several["euclidean_generated20"], several["euclidean_generated64"]
    assert few.run_id == many.run_id != several["white_box"].run_id
    assert [(item.generated, item.steps, item.arguments) for item in (few, many)] == [
        (20, None, {"generated": 20}),
        (64, None, {"generated": 64}),
    ]
    alone = wanted_attacks(make_design("attacks=[{name: euclidean, generated: 64}]"))["euclidean"]
    assert (alone.attack_id, alone.run_id) == (many.attack_id, many.run_id)
    assert runs([many, several["white_box"], few]) == [[few, many], [several["white_box"]]]


def test_quality_compares_as_many_records_in_every_trial(make_design):
    design = make_design()
    for trial in design.trials:
        for against in ("unseen", "members"):
            indices = design.measures.records(against, trial.replicate, trial.cell.train_size)
            assert len(indices) == len(set(indices)) == 40
    members = design.measures.records("members", 0, 80)
    assert set(members) <= set(design.split.membership(0, 80).train)


def test_a_trial_is_plain_data_that_travels(make_design):
    design = pickle.loads(pickle.dumps(make_design()))
    assert ids(design) == ids(make_design())
    assert dataclasses.is_dataclass(design.trials[0])


def test_the_same_spec_on_other_data_is_another_design(make_design):
    design = make_design()
    other = Design(design.spec, dataclasses.replace(design.pool, labels=design.pool.labels[::-1].copy()))
    assert design.hash == make_design("results=elsewhere").hash
    assert design.hash != other.hash
    assert not set(ids(design)) & set(ids(other))


# Private arms

SIGMA = "{name: dp_sgd, sigma: 1.0, clip: 1.0, delta: 1e-5}"
AIMED = "{name: dp_sgd, target_epsilon: 20, clip: 1.0, delta: 1e-5}"


def test_ids_stay_what_they_are_until_a_version_is_raised(make_design):
    found = [trial.trial_id for trial in make_design().trials[:6:2]]
    assert (VERSION, found) == (3, ["cffe3deeeed22ffc", "474a5f6ad1e86c5e", "854c4fed277363f3"])


def test_levels_of_epochs_of_a_target_epsilon_are_trajectories_of_their_own(make_design):
    design = make_design(f"factors.defense=[none, {AIMED}, {SIGMA}]")
    own = [trials for trials in design.trajectories.values() if trials[0].role == "study"]
    for trials in own:
        assert [trial.epochs for trial in trials] in ([[1], [2]] if trials[0].cell.arm.needs_horizon else [[1, 2]])
    assert len(own) == 2 * 2 * (2 + 2)
    assert by_name(make_design(f"factors.defense=[none, {SIGMA}]")).items() <= by_name(design).items()
    longer = make_design(f"factors.defense=[none, {AIMED}, {SIGMA}]", "factors.epochs=[1, 2, 3]")
    assert by_name(design).items() <= by_name(longer).items()


@pytest.mark.long
def test_the_plan_tells_epsilon_and_noise_of_each_level_what_is_not_nested_and_what_guarantees_nothing(make_design):
    clip_only = "{name: dp_sgd, sigma: 0.0, clip: 1.0, delta: 1e-5}"
    design = make_design(f"factors.defense=[none, dropout, {AIMED}, {SIGMA}, {clip_only}]", "factors.train_size=[40]")
    sink = io.StringIO()
    overview.show(Console(file=sink, width=300), design, {})
    trials = {(t.cell.arm.label, t.epochs): t for t in design.trials}
    told = []
    for epochs in (1, 2):
        trial = trials["dp_sgd epsilon=20", epochs]
        assert 0.995 * 20 < design.epsilon(trial) <= 20
        told.append(f"{design.epsilon(trial):.3g} (sigma {design.sigma(trial):g}) after {epochs} epochs")
    assert f"epsilon per record of dp_sgd epsilon=20, n=40, delta=1e-05: {', '.join(told)}\n" in sink.getvalue()
    told = "not nested (noise found for each level of epochs, trained anew): dp_sgd epsilon=20\n"
    assert told in sink.getvalue()
    assert "epsilon per record of dp_sgd sigma=1, n=40" in sink.getvalue()
    assert "no guarantee, and no epsilon: none, dropout 0.5, dp_sgd sigma=0 (clips only)\n" in sink.getvalue()


@pytest.mark.slow
def test_a_worker_repeats_nothing_of_what_the_plan_has_computed(make_design, monkeypatch, tmp_path):
    design = make_design(f"factors.defense=[none, {AIMED}, {SIGMA}]")
    overview.show(Console(file=io.StringIO()), design, {})
    found = [(design.epsilon(trial), design.sigma(trial)) for trial in design.every]
    travelling = pickle.dumps(design)
    monkeypatch.setattr(accounting, "ANSWERS", {})
    monkeypatch.setenv("MIA_STUDY_CACHE", str(tmp_path / "on another machine"))
    for name in ("_renyi", "_prv"):
        monkeypatch.setattr(accounting, name, lambda *arguments: pytest.fail("computed again"))
    arrived = pickle.loads(travelling)
    assert [(arrived.epsilon(trial), arrived.sigma(trial)) for trial in arrived.every] == found


# Several targets


def test_an_arm_is_skipped_for_the_target_that_refuses_it_and_the_plan_says_so(make_design):
    design = make_design(*THREE)
    reason = "dp_sgd does not cover the balance k of began, which no gradient carries"
    assert {(arm.label, target): why for (arm, target), why in design.refused.items()} == {
        ("dp_sgd sigma=1", "began"): reason
    }
    pairs = {(trial.cell.arm.label, trial.cell.target.name) for trial in design.trials}
    assert pairs == {
        (arm, target)
        for arm in ("none", "dropout 0.5", "dp_sgd sigma=1")
        for target in ("dcgan", "began", "vae_gan")
        if (arm, target) != ("dp_sgd sigma=1", "began")
    }
    assert len(design.trials) == len(set(ids(design))) == 8 * 2 * 2 * 2
    sink = io.StringIO()
    overview.show(Console(file=sink, width=300), design, {})
    assert f"skipped: dp_sgd sigma=1 with began: {reason}" in sink.getvalue()
    assert "dcgan, began, vae_gan" in sink.getvalue()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("target={name: began, width: 2}",), "dp_sgd sigma=1 with began: dp_sgd does not cover the balance k"),
        (("target=~", "factors.target=[{name: dcgan, norm: batch}, began]"), "dp_sgd sigma=1 with .*: dp_sgd "),
        (("target=~", "factors.target=[{name: vae_gan, norm: batch}]"), "needs a discriminator without batch norm"),
    ],
    ids=str,
)
def test_an_arm_that_fits_no_target_is_refused(make_design, overrides, message):
    with pytest.raises(ValueError, match=f"factors.defense: .*{message}"):
        make_design(*overrides)


def test_a_further_target_leaves_existing_ids_alone_and_has_ids_of_its_own(make_design):
    small, three = make_design(), make_design(*THREE)
    assert by_name(small).items() <= by_name(three).items()
    found = {name: {t.trial_id for t in three.trials if t.cell.target.name == name} for name in ("dcgan", "vae_gan")}
    assert found["dcgan"] == set(ids(small))
    assert not found["dcgan"] & found["vae_gan"]


ALIKE = "factors.defense=[none, {name: dp_sgd, sigma: 1.0, clip: 1.0, delta: 1.0e-5, noise_draws: [1, 2]}]"


@pytest.mark.parametrize(
    "arms",
    [
        "{name: dp_sgd, sigma: 1.0, clip: [0.5, 1.0], delta: 1.0e-5}",
        "{name: augmentation, flip: [true, false], crop: 1}",
    ],
)
def test_trials_of_arms_that_differ_in_one_setting_have_names_that_tell_them_apart(make_design, arms):
    design = make_design(f"factors.defense=[none, {arms}]")
    assert len({trial.arm for trial in design.trials}) == 3
    assert len({trial.name for trial in design.every}) == len(design.every)


def test_an_arm_that_does_not_fit_a_target_leaves_the_other_of_its_label_there(make_design):
    targets = "factors.target=[{name: dcgan, width: 4, latent: 8}, {name: vae, width: 4, latent: 8}]"
    design = make_design("target=~", targets, "attacks=[euclidean]", ALIKE)
    plain, averaged = "dp_sgd sigma=1", "dp_sgd sigma=1 noise_draws=2"
    assert {(trial.cell.label, trial.arm) for trial in design.trials} == {
        ("dcgan", "none"), ("dcgan", plain), ("vae", "none"), ("vae", plain), ("vae", averaged)
    }  # fmt: skip
    sink = io.StringIO()
    overview.show(Console(file=sink, width=300), design, {})
    assert f"skipped: {averaged} with dcgan: dp_sgd.noise_draws" in sink.getvalue()
    assert f"skipped: {plain} with" not in sink.getvalue()


def test_attention_that_no_feature_map_of_a_ddpm_has_is_refused_and_said_of_the_default(make_design):
    def ddpm(**given):
        settings = {"name": "ddpm", "width": 4, "multipliers": [1, 2], "timesteps": 40, **given}
        return make_design(f"target={json.dumps(settings)}", "attacks=[euclidean]", "factors.defense=[none]")

    def told(design):
        sink = io.StringIO()
        overview.show(Console(file=sink, width=300), design, {})
        return sink.getvalue()

    with pytest.raises(ValueError, match=r"target\.attention: ddpm has feature maps of sides 8, 4 and none of 5;"):
        ddpm(attention=5)
    assert "attention" not in told(ddpm(attention=4)) + told(ddpm())
    none = told(ddpm(multipliers=[1, 1], attention=8)) + told(make_design())
    assert "attention" not in none
    larger = make_design("data.size=16", "target={name: ddpm, width: 4, multipliers: [1]}", "attacks=[euclidean]",
                         "factors.defense=[none]")  # fmt: skip
    assert "note: target.attention 8 changes nothing: ddpm has feature maps of sides 16 and none of 8" in told(larger)


def test_trial_ids_depend_on_a_targets_own_training(make_design):
    own = "factors.target=[{name: dcgan, width: 4, latent: 8, training: {learning_rate: 0.001}}]"
    design = make_design("target=~", own)
    assert not set(ids(design)) & set(ids(make_design()))
    assert ids(design) == ids(make_design("training.learning_rate=0.001"))


def test_attack_ids_do_not_depend_on_the_target(make_design):
    found = {}
    for trial in make_design(*THREE).trials:
        for wanted in trial.attacks:
            found.setdefault(wanted.label, set()).add(wanted.attack_id)
    assert all(len(values) == 1 for values in found.values())

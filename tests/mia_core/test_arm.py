import pytest
import torch

from mia_core.defenses import Arm, labels

DP = {"name": "dp_sgd", "sigma": 2.0, "clip": 0.5, "delta": 1e-3}
CLIP_ONLY = {**DP, "sigma": 0.0}
AIMED = {"name": "dp_sgd", "target_epsilon": 8.0, "clip": 0.5, "delta": 1e-3}
HALF = {"name": "dropout", "rate": 0.5}
ARMS = {
    "none": ("none", "none", 0.0, {}),
    "dropout 0.5": ("dropout", "dropout", 0.5, {"rate": 0.5}),
    "dropout 0.25": ({"name": "dropout", "rate": 0.25}, "dropout", 0.25, {"rate": 0.25}),
    "dp_sgd sigma=2": (DP, "dp_sgd", 2.0, {"sigma": 2.0, "target_epsilon": None, "clip": 0.5, "delta": 1e-3}),
    "dp_sgd epsilon=8": (AIMED, "dp_sgd", 8.0, {"sigma": None, "target_epsilon": 8.0, "clip": 0.5, "delta": 1e-3}),
    "dp_sgd sigma=0": ([CLIP_ONLY], "dp_sgd", 0.0, {"sigma": 0.0, "target_epsilon": None, "clip": 0.5, "delta": 1e-3}),
    "dp_sgd sigma=2 + dropout 0.5": (
        [DP, "dropout"],
        "dp_sgd+dropout",
        2.0,
        {"sigma": 2.0, "target_epsilon": None, "clip": 0.5, "delta": 1e-3, "rate": 0.5},
    ),
}


@pytest.mark.parametrize("label", ARMS)
def test_an_arm_has_label_defense_strength_and_its_settings_as_columns(label):
    spec, defense, strength, columns = ARMS[label]
    arm = Arm.parse(spec)
    assert arm.label == label
    assert arm.defense == defense
    assert arm.strength == strength
    assert arm.columns() == columns


@pytest.mark.parametrize("label", [label for label in ARMS if label != "none"])
def test_an_arm_written_out_is_read_as_the_same_arm(label):
    arm = Arm.parse(ARMS[label][0])
    assert Arm.parse(arm.to_list()) == arm


def test_none_is_the_empty_arm_in_both_spellings():
    assert Arm.parse("none") == Arm.parse({"name": "none"}) == Arm()
    assert Arm().to_list() == []


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ([], "at least one defense"),
        (["none", "dropout"], "`none` stands alone"),
        (["none"], "`none` stands alone"),
        ([HALF, {"name": "dropout", "rate": 0.1}], r"dropout\+dropout has a defense twice"),
        ("drop_out", "place: unknown defense 'drop_out'; did you mean 'dropout'"),
        ({"name": "dp_sgd", "sigma": 1.0}, r"place\.clip: required, and missing; place\.delta: required"),
        ({"name": "dp_sgd", "clip": 1.0, "delta": 1e-5}, "^place: give sigma or target_epsilon, one of them$"),
        ({**DP, "target_epsilon": 8.0}, "^place: give sigma or target_epsilon, one of them$"),
        ({**AIMED, "target_epsilon": 0.0}, r"place\.target_epsilon: .*greater than 0.*got 0"),
        ({**DP, "sigma": -1.0}, r"place\.sigma: .*greater than or equal to 0.*got -1"),
        ({**DP, "clip": 0.0}, r"place\.clip: .*greater than 0"),
        ({**DP, "delta": 1.0}, r"place\.delta: .*less than 1"),
        ({**DP, "sigma": True}, r"place\.sigma: .*got True"),
        ({**DP, "sigma": float("inf")}, r"place\.sigma"),
        ({**DP, "clip": float("inf")}, r"place\.clip"),
        ({**DP, "clip": float("nan")}, r"place\.clip"),
        ({"name": "none", "rate": 0.5}, "place"),
        (None, "place: expected a name or a mapping"),
        (3, "place: expected a name or a mapping"),
    ],
    ids=str,
)
def test_what_is_no_arm_is_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        Arm.parse(spec, "place")


def test_dp_sgd_refuses_a_delta_of_1_over_n_or_more():
    arm = Arm.parse(DP)
    assert arm.empty_guarantee(999) is None
    for train_size in (1000, 5000):
        assert f"must be below 1/{train_size}" in arm.empty_guarantee(train_size)
    assert "must be below" in Arm.parse([HALF, CLIP_ONLY]).empty_guarantee(1000)
    assert Arm.parse(HALF).empty_guarantee(10**9) is None


def test_dp_sgd_refuses_a_discriminator_with_batch_norm_and_says_what_to_set(make_dcgan):
    reason = Arm.parse(["dropout", DP]).refusal(make_dcgan(16, norm="batch"))
    assert reason == "dp_sgd needs a discriminator without batch norm; set target.norm to group or none"
    assert Arm.parse("dropout").refusal(make_dcgan(16, norm="batch")) is None
    assert all(Arm.parse(DP).refusal(make_dcgan(16, norm=norm)) is None for norm in ("group", "none"))


def test_a_refused_arm_cannot_be_trained(make_trainer):
    with pytest.raises(ValueError, match="must be below 1/13"):
        make_trainer({**DP, "delta": 0.08})
    with pytest.raises(ValueError, match="without batch norm"):
        make_trainer(DP, size=16, norm="batch")


def test_only_noise_gives_a_guarantee():
    for spec in ("none", "dropout", CLIP_ONLY, [CLIP_ONLY, "dropout"]):
        assert Arm.parse(spec).delta is None
        assert Arm.parse(spec).epsilon(0.1, 10) is None
    assert Arm.parse([HALF, DP]).delta == 1e-3
    assert Arm.parse([HALF, DP]).epsilon(0.1, 10) > 0


def test_only_dp_sgd_samples_by_poisson():
    assert [Arm.parse(spec).poisson for spec in ("none", "dropout", CLIP_ONLY, ["dropout", DP])] == [
        False,
        False,
        True,
        True,
    ]


def test_none_is_not_dp_sgd_without_noise(make_trainer):
    # Clip-only also samples by Poisson: an arm of its own, never the control.
    weights = []
    for spec in ("none", {**CLIP_ONLY, "clip": 1e6}):
        trainer = make_trainer(spec)
        trainer.run_to(5)
        weights.append(torch.cat([p.flatten() for p in trainer.target.discriminator.parameters()]))
    assert Arm.parse("none") != Arm.parse(CLIP_ONLY)
    assert not torch.allclose(*weights)


@pytest.mark.parametrize("norm", ["group", "none"])
@pytest.mark.parametrize("spec", [[DP, "dropout"], ["dropout", DP], [CLIP_ONLY, "dropout"]], ids=str)
def test_dp_sgd_and_dropout_train_together(make_trainer, spec, norm):
    trainer = make_trainer(spec, size=16, norm=norm)
    before = {name: p.detach().clone() for name, p in trainer.target.named_parameters()}
    trainer.run_to(8)
    assert len(trainer.history) == 2
    for name, parameter in trainer.target.named_parameters():
        assert bool(parameter.isfinite().all())
        assert not torch.equal(parameter, before[name]), name


def test_arms_of_one_label_are_told_apart_by_what_differs():
    settings = {"name": "dp_sgd", "sigma": 1.0, "delta": 1e-5}
    arms = [Arm(), *(Arm.parse({**settings, "clip": clip}) for clip in (0.5, 1.0)), Arm.parse("dropout")]
    assert labels(arms) == ["none", "dp_sgd sigma=1 clip=0.5", "dp_sgd sigma=1 clip=1", "dropout 0.5"]
    assert labels(arms[:2]) == ["none", "dp_sgd sigma=1"]


def test_arms_with_a_target_are_told_apart_from_each_other_and_from_those_with_a_sigma():
    arms = [Arm.parse(spec) for spec in (AIMED, {**AIMED, "clip": 1.0}, {**AIMED, "target_epsilon": 2.0}, DP)]
    assert labels(arms) == [
        "dp_sgd epsilon=8 clip=0.5",
        "dp_sgd epsilon=8 clip=1",
        "dp_sgd epsilon=2",
        "dp_sgd sigma=2",
    ]


def test_settings_that_are_not_given_are_no_part_of_an_arm_written_out():
    # Ids hash it, and arms had no target before.
    assert Arm.parse(DP).to_list() == [DP]
    assert Arm.parse(AIMED).to_list() == [AIMED]


@pytest.mark.slow
def test_the_noise_of_a_target_is_found_for_its_horizon_and_a_target_without_one_is_refused():
    arm = Arm.parse(["dropout", AIMED])
    assert arm.needs_horizon
    assert not Arm.parse(DP).needs_horizon
    assert not Arm.parse(CLIP_ONLY).needs_horizon
    few, many = arm.sigma(0.25, 4), arm.sigma(0.25, 40)
    assert few < many
    assert 0.995 * 8 < arm.epsilon(0.25, 40, 40) <= 8
    assert arm.epsilon(0.25, 4, 40) < arm.epsilon(0.25, 40, 40)
    assert arm.columns(many)["sigma"] == many
    assert Arm.parse(DP).sigma(0.25) == 2.0
    assert Arm.parse("dropout").sigma(0.25) is None
    for ask in (arm.sigma, lambda rate: arm.epsilon(rate, 4)):
        with pytest.raises(ValueError, match="target_epsilon needs a horizon"):
            ask(0.25)


def test_a_setting_that_was_added_later_tells_arms_apart_where_it_is_not_at_its_default():
    arms = [Arm.parse(spec) for spec in (DP, {**DP, "noise_draws": 4}, {**DP, "noise_draws": 2})]
    assert labels(arms) == ["dp_sgd sigma=2", "dp_sgd sigma=2 noise_draws=4", "dp_sgd sigma=2 noise_draws=2"]

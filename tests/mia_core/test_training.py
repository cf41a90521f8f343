"""The training loop: which records and draws a step is given, the history, optimizers, order in memory, epsilon."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from scipy.stats import binom, chi2

from mia_core.defenses import Arm
from mia_core.defenses.accounting import epsilon
from mia_core.defenses.dropout import DropoutLayer
from mia_core.models import Snapshot
from mia_core.settings import require_read
from mia_core.step_draws import Draws, normal
from mia_core.streams import Streams
from mia_core.targets import TARGETS, placed
from mia_core.training import Epoch, Trainer, TrainingConfig
from mia_core.training_records import Records
from tests.mia_core.ledger import AIMED, DP, END, ledger
from tests.mia_core.states import evaluate


def test_without_poisson_samples_a_batch_may_be_larger_than_the_training_set():
    # As a surrogate's is, which has the records that an attacker knows.
    trainer = ledger(3, batch_size=5)
    trainer.run_to(3)
    assert sorted(record for batch in trainer.target.seen for record in batch) == sorted([0, 1, 2] * 5)


def test_the_target_is_in_evaluation_mode_whenever_training_stops(make_trainer):
    trainer = make_trainer(arm="dropout")
    for stop in (3, 4):
        trainer.run_to(stop)
        assert not any(module.training for module in trainer.target.modules())


@pytest.mark.parametrize("count", [3, 20, 23, 26])
def test_ordinary_steps_have_b_records_along_one_order_after_another(count):
    trainer = ledger(count, train_size=23)
    trainer.run_to(3 * count)
    assert {len(batch) for batch in trainer.target.seen} == {5}
    along = [record for batch in trainer.target.seen for record in batch]
    orders = [along[start : start + count] for start in range(0, len(along), count)]
    assert len(orders) == 15
    assert all(sorted(order) == list(range(count)) for order in orders)
    assert len(set(map(tuple, orders))) > (14 if count > 3 else 3)
    assert count == 3 or list(range(count)) not in orders


@pytest.mark.parametrize("sigma", [0.0, 1.0])
def test_poisson_batches_take_each_record_with_probability_b_over_n(p_value, sigma):
    # Nominal n = 23 in batches of 5. Each of the four checks errs once in 1e6 seeds, or keys.
    count, steps, rate = 20, 4000, 5 / 23
    trainer = ledger(count, train_size=23, arm={**DP, "sigma": sigma})
    trainer.run_to(steps)
    taken = np.zeros((steps, count))
    for step, (batch, now) in enumerate(zip(trainer.target.seen, trainer.target.steps, strict=True)):
        records = [record for record, unit in zip(batch, now.rows.units.tolist(), strict=True) if unit >= 0]
        assert records == now.rows.units[now.rows.units >= 0].tolist()
        assert len(set(records)) == len(records)
        assert len(batch) == 17  # 5 + 6 standard deviations of 1.98
        taken[step, records] = 1
    z = (taken - rate) / math.sqrt(rate * (1 - rate))
    assert p_value(int(taken.sum()), binom(taken.size, rate)) > 1e-6
    assert p_value((z.sum(0) ** 2 / steps).sum(), chi2(count)) > 1e-6
    pairs = (z.T @ z)[np.triu_indices(count, 1)]
    assert p_value((pairs**2 / steps).sum(), chi2(len(pairs))) > 1e-6
    successive = (z[1:] * z[:-1]).sum(0)
    assert p_value((successive**2 / (steps - 1)).sum(), chi2(count)) > 1e-6


def test_cells_of_a_replicate_share_initialization_order_and_latents(make_trainer):
    arms = ("none", "dropout", DP, [DP, "dropout"])
    weights = [make_trainer(arm).target.state_dict() for arm in arms]
    weights.append(make_trainer(count=40).target.state_dict())
    for other in weights[1:]:
        assert all(torch.equal(weights[0][name], other[name]) for name in weights[0])
    ordinary = [ledger(23, arm=arm) for arm in ("none", "none")]
    clipped = [ledger(23, arm={**DP, "sigma": 0.0, "clip": clip}) for clip in (1.0, 2.0)]
    for a, b in (ordinary, clipped):
        a.run_to(12)
        b.run_to(12)
        assert a.target.seen == b.target.seen
        for first, second in zip(a.target.steps, b.target.steps, strict=True):
            assert torch.equal(first.draws["latent"], second.draws["latent"])


def test_replicates_differ_in_initialization_and_order(make_trainer):
    a, b = make_trainer(seed=1).target.state_dict(), make_trainer(seed=2).target.state_dict()
    assert not torch.equal(a["discriminator.0.0.weight"], b["discriminator.0.0.weight"])
    orders = [ledger(23, seed=seed) for seed in (1, 2)]
    for trainer in orders:
        trainer.run_to(5)
    assert orders[0].target.seen != orders[1].target.seen


def test_noise_and_samples_of_a_training_with_a_guarantee_are_others_every_time():
    # Nothing is given but what determines an ordinary training.
    seen = []
    for arm in ({**DP, "sigma": 0.0}, DP):
        trainers = [ledger(23, arm=arm, key=None) for _ in range(2)]
        for trainer in trainers:
            trainer.run_to(12)
        seen.append([[step.rows.units.tolist() for step in trainer.target.steps] for trainer in trainers])
        assert (trainers[0].secret.key == trainers[1].secret.key) is False
    assert seen[0][0] == seen[0][1]
    assert seen[1][0] != seen[1][1]


def test_steps_are_given_the_draws_of_their_number_fakes_and_whether_the_generator_learns():
    trainer = ledger(23, generator_every=3)
    trainer.run_to(7)
    for number, step in enumerate(trainer.target.steps):
        latent = Draws(Streams(1))("latent", number, normal(5, 8))
        assert step.draws.keys() == {"latent"} and torch.equal(step.draws["latent"], latent)
    assert [step.generator_learns for step in trainer.target.steps] == [True, False, False] * 2 + [True]
    assert all(step.fakes == 5 for step in trainer.target.steps)
    assert trainer.generator_steps == 3


def test_history_has_one_row_an_epoch_with_means_over_its_steps():
    trainer = ledger(22)
    trainer.run_to(15)
    assert trainer.epoch == 3
    assert [dataclasses.replace(row, seconds=0.0) for row in trainer.history] == [
        Epoch(1, 5, 0.0, {"d_fake": 2.0}),
        Epoch(2, 9, 0.0, {"d_fake": 6.5}),
        Epoch(3, 14, 0.0, {"d_fake": 11.0}),
    ]
    assert all(row.seconds > 0 for row in trainer.history)


def test_an_epochs_seconds_are_of_all_its_steps_also_after_a_restart(monkeypatch):
    clock = iter(range(1000))  # each look at it takes a second
    monkeypatch.setattr("mia_core.training.time.perf_counter", lambda: float(next(clock)))
    whole, begun, resumed = ledger(22), ledger(22), ledger(22)
    for stop in (2, 3, 5):
        whole.run_to(stop)
    begun.run_to(2)
    begun.run_to(3)
    tensors, rest = begun.state(unsealed=True)
    resumed.restore(tensors, json.loads(json.dumps(rest)))
    resumed.run_to(5)
    assert [row.seconds for row in whole.history] == [row.seconds for row in resumed.history] == [3.0]


@pytest.mark.parametrize(("before", "after"), [((5,), (9,)), ((4, 5), (7, 9)), ((5, 7), (9, 14)), ((9,), (11, 14))])
def test_seconds_of_an_epoch_count_each_attempts_part_that_is_kept_once(monkeypatch, before, after):
    # Epochs end after 5, 9 and 14 steps. The first attempt leaves a checkpoint after `before`, goes on and is killed.
    clock = iter(range(1000))
    monkeypatch.setattr("mia_core.training.time.perf_counter", lambda: float(next(clock)))
    whole, killed, resumed = ledger(22), ledger(22), ledger(22)
    for stop in (*before, *after):
        whole.run_to(stop)
    for stop in before:
        killed.run_to(stop)
    tensors, rest = killed.state(unsealed=True)
    killed.run_to(after[-1] + 3)
    resumed.restore(tensors, json.loads(json.dumps(rest)))
    for stop in after:
        resumed.run_to(stop)
    assert [row.seconds for row in resumed.history] == [row.seconds for row in whole.history]
    assert len(resumed.history) == {9: 2, 14: 3}[after[-1]]


def test_each_pass_of_each_step_has_a_dropout_mask_of_its_own_on_the_cpu(make_trainer, monkeypatch):
    trainer = make_trainer("dropout", generator_every=2)
    layer = next(module for module in trainer.target.modules() if isinstance(module, DropoutLayer))
    masks, drawn = [], trainer.layer_draws

    def noted(purpose, step, draw):
        assert draw.law == "uniform"
        masks.append((step, purpose, drawn(purpose, step, draw)))
        assert masks[-1][2].device.type == "cpu"
        return masks[-1][2]

    monkeypatch.setattr(trainer, "layer_draws", noted)
    trainer.run_to(4)
    own = [(step, mask) for step, purpose, mask in masks if purpose.startswith(f"dropoutlayer_layer {layer.index} ")]
    # Real records, generated ones, and every other time the generator's loss.
    assert [step for step, _ in own] == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]
    assert len({tuple(mask.flatten().tolist()) for _, mask in own}) == len(own)


PLAIN = {**DP, "sigma": 0.0}
LAID_OUT = ("dcgan", "began", "vae_gan", "wgan_gp", "vae", "ddpm")


def fits(name, arm):
    """BEGAN has no private arm; what has no discriminator has no dropout in it."""
    if name in ("vae", "ddpm"):
        return arm in ("none", PLAIN)
    return name != "began" or isinstance(arm, str)


def laid_out(*arms):
    """Pairs of a target and an arm that fits it."""
    pairs = [(name, arm) for name in LAID_OUT for arm in arms if fits(name, arm)]
    return pytest.mark.parametrize(("name", "arm"), pairs, ids=str)


@laid_out("none", "weight_norm", PLAIN)
def test_gradients_and_moments_lie_in_memory_as_their_weights_do(make_trainer, name, arm):
    # torch's fused Adam takes them in the order in which they lie, and would train to something else in silence.
    begun, resumed = (make_trainer(arm, name=name, channels=3) for _ in range(2))
    begun.run_to(2)
    resumed.restore(*begun.state())
    resumed.run_to(3)
    for trainer in (begun, resumed):
        weights = [p for p in trainer.target.parameters() if p.ndim == 4 and min(p.shape) > 1]
        assert weights and all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
        for optimizer in trainer.optimizers.values():
            for parameter, moments in optimizer.state.items():
                assert parameter.grad.stride() == parameter.stride()
                kept = [moment for moment in moments.values() if moment.shape == parameter.shape]
                assert kept and all(moment.stride() == parameter.stride() for moment in kept)


@laid_out("none", "dropout", PLAIN)
def test_a_training_equals_the_same_one_in_the_other_order_of_memory(make_trainer, monkeypatch, name, arm):
    # To float32's rounding: sums are taken in other orders. Adam and RMSprop divide by the gradient's own size, so
    # that a step is judged with plain gradient descent.

    def trained(placed):
        with monkeypatch.context() as patched:
            patched.setattr("mia_core.training.placed", placed)
            trainer = make_trainer(arm, name=name, channels=3)
        for network, optimizer in trainer.optimizers.items():
            descent = torch.optim.SGD(optimizer.param_groups[0]["params"], 0.01)
            trainer.optimizers[network] = descent
        trainer.run_to(2)
        return trainer.target.state_dict()

    fast, plain = trained(placed), trained(lambda target, device: target.to(device))
    for key, value in plain.items():
        torch.testing.assert_close(fast[key].contiguous(), value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "own"), [("dcgan", 0.5), ("began", 0.5), ("wgan_gp", 0.0)])
def test_adam_takes_the_targets_beta1_unless_a_training_gives_one(make_target, make_images, name, own):
    for given, expected in ((None, own), (0.25, 0.25)):
        config = TrainingConfig(batch_size=4, beta1=given)
        trainer = Trainer(make_target(name), Records(make_images(13), 13), config, Arm(), Streams(1))
        assert trainer.config.beta1 == expected
        assert {group["betas"][0] for o in trainer.optimizers.values() for group in o.param_groups} == {expected}


def test_a_beta1_for_a_target_that_trains_without_adam_is_refused(make_target, make_images):
    config = TrainingConfig(batch_size=4, beta1=0.5)
    with pytest.raises(
        ValueError, match=r"training\.beta1: vae_gan does not train with Adam and has no beta1; leave it"
    ):
        Trainer(make_target("vae_gan"), Records(make_images(13), 13), config, Arm(), Streams(1))
    own = Trainer(make_target("vae_gan"), Records(make_images(13), 13), TrainingConfig(), Arm(), Streams(1))
    assert own.config.beta1 is None


@pytest.mark.parametrize("name", ["vae", "ddpm"])
def test_discriminator_steps_of_a_target_without_discriminator_are_refused(name, make_images):
    target, records = TARGETS.choose(name).build((1, 8, 8)), Records(make_images(13), 13)
    message = (
        f"training.generator_every: {name} has no discriminator, and all of its networks learn in every step; leave"
    )
    with pytest.raises(ValueError, match=message):
        Trainer(target, records, TrainingConfig(batch_size=4, generator_every=2), Arm(), Streams(1))
    Trainer(target, records, TrainingConfig(batch_size=4, generator_every=1), Arm(), Streams(1))


@pytest.mark.parametrize(
    ("unread", "read", "message"),
    [
        ({"name": "vae", "likelihood": "bernoulli", "deviation": 0.5}, {"name": "vae", "deviation": 0.5},
         "target.deviation: vae with likelihood bernoulli has no deviation of pixels; leave it out"),
        ({"name": "ddpm", "sampler": "ddpm", "sampling_steps": 5}, {"name": "ddpm", "sampling_steps": 5},
         "target.sampling_steps: ddpm with sampler ddpm takes all timesteps; leave it out"),
    ],
)  # fmt: skip
def test_a_setting_that_means_nothing_beside_another_is_refused(unread, read, message):
    with pytest.raises(ValueError, match=message):
        require_read(TARGETS.choose(unread), "target")
    require_read(TARGETS.choose(read), "target")
    require_read(TARGETS.choose({key: unread[key] for key in ("name", "likelihood") if key in unread}), "target")


@pytest.mark.long
def test_a_dcgan_learns_to_tell_its_records_from_noise(make_trainer):
    # The generator stays at its first step, so the discriminator wins: a higher score means more like the records.
    trainer = make_trainer(count=10, generator_every=1000)
    trainer.run_to(200)
    real = Snapshot(trainer.target, Streams(0)).discriminate(trainer.images / 127.5 - 1)
    fake = evaluate(trainer)
    assert float(real.mean()) > 0 > float(fake.mean())
    assert trainer.history[-1].means["d_real"] > 0.6 > 0.4 > trainer.history[-1].means["d_fake"]


# What private steps have spent

PRIVATE = {"sigma": {"arm": DP}, "target": {"arm": AIMED, "horizon": END}, "vae_gan": {"arm": DP, "name": "vae_gan"}}


@pytest.mark.long
@pytest.mark.parametrize("setup", PRIVATE)
def test_a_trainers_epsilon_is_of_the_steps_that_got_noise_and_is_what_the_arm_foretells(make_trainer, setup):
    trainer = make_trainer(**PRIVATE[setup])
    assert trainer.epsilon == 0.0
    for stop in (1, 6, END):
        trainer.run_to(stop)
        assert trainer.accountant.history == ((trainer.accountant.sigma, 4 / 13, stop),)
        assert trainer.epsilon == epsilon(trainer.accountant.history, 1e-3)
        assert trainer.epsilon == trainer.arm.epsilon(4 / 13, stop, trainer.horizon)


def test_noise_that_is_added_twice_in_a_step_is_counted_twice(make_trainer):
    trainer = make_trainer(DP)
    private = trainer.learner.rule
    trainer.learner.rule = lambda *arguments: (private(*arguments), private(*arguments))[1]
    trainer.run_to(3)
    assert trainer.epsilon == trainer.arm.epsilon(4 / 13, 6)


@pytest.mark.parametrize("setup", PRIVATE)
def test_a_resumed_trajectory_has_spent_what_an_undisturbed_one_has(make_trainer, setup):
    begun, resumed, whole = (make_trainer(**PRIVATE[setup]) for _ in range(3))
    begun.run_to(3)
    tensors, rest = begun.state()
    resumed.restore(tensors, json.loads(json.dumps(rest)))
    assert resumed.accountant.history == begun.accountant.history
    for trainer in (resumed, whole):
        trainer.run_to(END)
    assert resumed.accountant.history == whole.accountant.history
    assert resumed.epsilon == whole.epsilon > begun.epsilon


def test_arms_without_a_guarantee_have_no_epsilon(make_trainer):
    for arm in ("none", "dropout", {**DP, "sigma": 0.0}):
        trainer = make_trainer(arm)
        trainer.run_to(2)
        assert trainer.epsilon is None


def test_a_private_batch_must_not_be_larger_than_the_training_set(make_trainer):
    with pytest.raises(ValueError, match=r"5 / 4 is above 1; lower training.batch_size"):
        make_trainer(DP, count=4, batch_size=5)


@pytest.mark.slow
def test_a_target_epsilon_needs_a_horizon_and_nothing_is_trained_beyond_it(make_trainer):
    with pytest.raises(ValueError, match="target_epsilon needs a horizon"):
        make_trainer(AIMED)
    trainer = make_trainer(AIMED, horizon=6)
    with pytest.raises(ValueError, match="step 7 is beyond the horizon of 6 steps"):
        trainer.run_to(7)
    trainer.run_to(6)
    assert 0.995 * 8 < trainer.epsilon <= 8

import dataclasses
import io
import json
import math
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import binom, chi2
from torch import nn

from mia_core.defenses import Arm
from mia_core.defenses.accounting import epsilon
from mia_core.defenses.dropout import DropoutLayer
from mia_core.models import Snapshot
from mia_core.streams import Streams
from mia_core.targets import Target, placed
from mia_core.training import VERSION, Epoch, Trainer, TrainingConfig
from tests.mia_core.states import assert_same

DP = {"name": "dp_sgd", "sigma": 1.0, "clip": 1.0, "delta": 1e-3}
AIMED = {"name": "dp_sgd", "target_epsilon": 8.0, "clip": 1.0, "delta": 1e-3}
SETUPS = {
    "none": {},
    "batch norm": {"norm": "batch", "size": 16},
    "generator every 3": {"generator_every": 3},
    "dropout": {"arm": "dropout"},
    "dp_sgd": {"arm": DP},
    "dp_sgd+dropout": {"arm": [DP, "dropout"], "size": 16},
    "dp_sgd to a target": {"arm": AIMED, "horizon": 10},
}
every_setup = pytest.mark.parametrize("setup", SETUPS)
END = 10  # three epochs of 13 records in batches of 4, which end after 4, 7 and 10 steps


class Ledger(Target):
    """Learns nothing, and notes which records each step sees; record i is an image of value i."""

    name = "ledger"
    offers = frozenset()
    private = ()

    def __init__(self):
        super().__init__(None, (1, 8, 8))
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen = []
        self.steps = []

    def initialize(self, streams):
        self.weight.data.normal_(generator=streams.torch("weights"))

    def generate(self, z_BZ):
        raise AssertionError("not asked")

    def discriminate(self, x_BCHW):
        raise AssertionError("not asked")

    def optimizers(self, learning_rate, beta1):
        return {}

    def update(self, x_BCHW, step):
        assert self.training
        self.seen.append(((x_BCHW[:, 0, 0, 0] + 1) * 127.5).round().int().tolist())
        self.steps.append(step)
        return {"d_fake": torch.tensor(float(step.number))}


def ledger(count, train_size=None, batch_size=5, arm="none", seed=1, generator_every=1):
    images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 1, 8, 8))
    config = TrainingConfig(batch_size=batch_size, generator_every=generator_every)
    return Trainer(Ledger(), images, train_size or count, config, Arm.parse(arm), Streams(seed), bytes(32))


def test_without_poisson_samples_a_batch_may_be_larger_than_the_training_set():
    # As a surrogate's is, which has the records that an attacker knows.
    trainer = ledger(3, batch_size=5)
    trainer.run_to(3)
    assert sorted(record for batch in trainer.target.seen for record in batch) == sorted([0, 1, 2] * 5)


def evaluate(trainer):
    snapshot = Snapshot(trainer.target, Streams("evaluation"))
    return snapshot.discriminate(snapshot.samples(300))


@pytest.fixture(scope="module")
def in_one_go(make_trainer):
    done = {}
    for setup, arguments in SETUPS.items():
        done[setup] = make_trainer(**arguments)
        done[setup].run_to(END)
    return done


@every_setup
def test_training_in_pieces_with_evaluations_between_equals_one_go(make_trainer, in_one_go, setup):
    # Mistake 5 of published code: a network left in evaluation mode after it was first evaluated.
    pieces = make_trainer(**SETUPS[setup])
    evaluate(pieces)
    for stop in (1, 2, 2, 4, 7, END):
        pieces.run_to(stop)
        torch.randn(3)
        evaluate(pieces)
        assert pieces.step == stop
    assert_same(pieces, in_one_go[setup])


@every_setup
@pytest.mark.parametrize("stop", [0, 3, 4, 6, 8])
def test_a_restored_state_goes_on_bit_for_bit(make_trainer, in_one_go, tmp_path, setup, stop):
    begun = make_trainer(**SETUPS[setup])
    begun.run_to(stop)
    tensors, rest = begun.state(unsealed=True)
    save_file(tensors, tmp_path / "state.safetensors")
    written = json.dumps(rest)
    torch.manual_seed(99)
    resumed = make_trainer(**SETUPS[setup])
    resumed.restore(load_file(tmp_path / "state.safetensors"), json.loads(written))
    assert_same(resumed, begun)
    resumed.run_to(END)
    assert_same(resumed, in_one_go[setup])


def test_a_sealed_state_has_no_values_of_a_private_step_and_an_unsealed_one_goes_on_with_them(make_trainer):
    private, plain = make_trainer(SETUPS["dp_sgd"]["arm"]), make_trainer()
    for trainer in (private, plain):
        trainer.run_to(3)  # an epoch of 13 records ends after 4 steps
    assert private.state()[1]["begun_epoch"] == {}
    assert set(private.state(unsealed=True)[1]["begun_epoch"]) >= {"d_fake", "loss_discriminator"}
    assert len(plain.state()[1]["begun_epoch"]["d_real"]) == 3


@pytest.mark.parametrize("name", ["vae_gan", "wgan_gp", "dcgan"])
def test_what_a_private_step_draws_for_its_records_follows_from_the_key_and_not_from_the_seed(make_trainer, name):
    """Who knew these draws would see them move from record to record where one is left out."""
    setting = {**SETUPS["dp_sgd"]["arm"], "sigma": 1e-9}
    arm = [setting, "dropout"] if name == "dcgan" else setting

    def weights(**given):
        trainer = make_trainer(arm, name=name, batch_size=13, **given)  # every record in every step: no sampling
        trainer.run_to(1)
        return trainer.target.state_dict()[
            "discriminator.last.weight" if name == "vae_gan" else "discriminator.0.0.weight"
        ]

    assert torch.equal(weights(noise=1), weights(noise=1))
    assert not torch.allclose(weights(noise=1), weights(noise=2), atol=1e-6), "noise of 1e-9 does not tell them apart"
    ordinary = ["dropout"] if name == "dcgan" else "none"
    plain = [make_trainer(ordinary, name=name, noise=noise) for noise in (1, 2)]
    for trainer in plain:
        trainer.run_to(1)
    assert all(torch.equal(a, b) for a, b in zip(*(t.target.state_dict().values() for t in plain), strict=True))


def test_a_target_that_is_saved_whole_has_no_key_of_its_training(make_trainer):
    trainer = make_trainer([SETUPS["dp_sgd"]["arm"], "dropout"], noise=7)
    trainer.run_to(3)
    key = bytes([7]) * 32
    buffer = io.BytesIO()
    torch.save(trainer.target, buffer)
    for blob in (buffer.getvalue(), pickle.dumps(trainer.target)):
        assert key not in blob and key.hex().encode() not in blob
    layer = next(module for module in trainer.target.modules() if isinstance(module, DropoutLayer))
    layer.begin(trainer.layer_draws, 3)
    assert key.hex().encode() in pickle.dumps(trainer.target), "in the midst of a step it would be there"


def test_restoring_forgets_what_the_trainer_did_before(make_trainer, in_one_go):
    fresh, used = make_trainer(), make_trainer(seed=5, count=13)
    fresh.run_to(2)
    used.run_to(7)
    used.restore(*fresh.state())
    used.run_to(END)
    assert_same(used, in_one_go["none"])


def test_a_state_is_not_changed_by_training_on(make_trainer):
    trainer = make_trainer()
    trainer.run_to(3)
    tensors, _ = trainer.state()
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    trainer.run_to(5)
    assert [name for name in tensors if not torch.equal(tensors[name], before[name])] == []


def test_a_state_is_not_changed_by_the_trainer_that_took_it_up(make_trainer):
    trainer = make_trainer()
    trainer.run_to(3)
    tensors, rest = trainer.state()
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    resumed = make_trainer()
    resumed.restore(tensors, rest)
    resumed.run_to(5)
    assert [name for name in tensors if not torch.equal(tensors[name], before[name])] == []


def test_training_does_not_depend_on_global_generators_or_evaluations_seed(make_trainer, in_one_go):
    torch.manual_seed(123)
    trainer = make_trainer(**SETUPS["dp_sgd+dropout"])
    torch.manual_seed(321)
    trainer.run_to(END)
    assert_same(trainer, in_one_go["dp_sgd+dropout"])


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
        records = [record for record, unit in zip(batch, now.units.tolist(), strict=True) if unit >= 0]
        assert records == now.units[now.units >= 0].tolist()
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
            assert first.number == second.number
            latents = (step.draws.normal("latent", step.number, (5, 8)) for step in (first, second))
            assert torch.equal(*latents)


def test_replicates_differ_in_initialization_and_order(make_trainer):
    a, b = make_trainer(seed=1).target.state_dict(), make_trainer(seed=2).target.state_dict()
    assert not torch.equal(a["discriminator.0.0.weight"], b["discriminator.0.0.weight"])
    orders = [ledger(23, seed=seed) for seed in (1, 2)]
    for trainer in orders:
        trainer.run_to(5)
    assert orders[0].target.seen != orders[1].target.seen


def test_noise_and_samples_of_a_training_with_a_guarantee_are_others_every_time():
    # Nothing is given but what determines an ordinary training.
    images = np.broadcast_to(np.arange(23, dtype=np.uint8)[:, None, None, None], (23, 1, 8, 8))
    seen = []
    for arm in ({**DP, "sigma": 0.0}, DP):
        trainers = [
            Trainer(Ledger(), images, 23, TrainingConfig(batch_size=5), Arm.parse(arm), Streams(1)) for _ in range(2)
        ]
        for trainer in trainers:
            trainer.run_to(12)
        seen.append([[step.units.tolist() for step in trainer.target.steps] for trainer in trainers])
        assert (trainers[0].secret.key == trainers[1].secret.key) is False
    assert seen[0][0] == seen[0][1]
    assert seen[1][0] != seen[1][1]


def test_steps_carry_number_fakes_and_whether_the_generator_trains():
    trainer = ledger(23, generator_every=3)
    trainer.run_to(7)
    assert [step.number for step in trainer.target.steps] == list(range(7))
    assert [step.train_generator for step in trainer.target.steps] == [True, False, False] * 2 + [True]
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
    masks, drawn = [], trainer.layer_draws.uniform

    def noted(purpose, step, shape):
        masks.append((step, purpose, drawn(purpose, step, shape)))
        assert masks[-1][2].device.type == "cpu"
        return masks[-1][2]

    monkeypatch.setattr(trainer.layer_draws, "uniform", noted)
    trainer.run_to(4)
    own = [(step, mask) for step, purpose, mask in masks if purpose.startswith(f"dropoutlayer_layer {layer.index} ")]
    # Real records, generated ones, and every other time the generator's loss.
    assert [step for step, _ in own] == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]
    assert len({tuple(mask.flatten().tolist()) for _, mask in own}) == len(own)


LAID_OUT = ("dcgan", "began", "vae_gan", "wgan_gp")


def laid_out(*arms):
    """Pairs of a target and an arm that fits it."""
    pairs = [(name, arm) for name in LAID_OUT for arm in arms if name != "began" or isinstance(arm, str)]
    return pytest.mark.parametrize(("name", "arm"), pairs, ids=str)


@laid_out("none", "weight_norm", {**DP, "sigma": 0.0})
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


@laid_out("none", "dropout", {**DP, "sigma": 0.0})
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
        trainer = Trainer(make_target(name), make_images(13), 13, config, Arm(), Streams(1))
        assert trainer.config.beta1 == expected
        assert {group["betas"][0] for o in trainer.optimizers.values() for group in o.param_groups} == {expected}


def test_a_beta1_for_a_target_that_trains_without_adam_is_refused(make_target, make_images):
    config = TrainingConfig(batch_size=4, beta1=0.5)
    with pytest.raises(
        ValueError, match=r"training\.beta1: vae_gan does not train with Adam and has no beta1; leave it"
    ):
        Trainer(make_target("vae_gan"), make_images(13), 13, config, Arm(), Streams(1))
    assert (
        Trainer(make_target("vae_gan"), make_images(13), 13, TrainingConfig(), Arm(), Streams(1)).config.beta1 is None
    )


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
    private = trainer.record_gradients
    trainer.record_gradients = lambda *arguments: (private(*arguments), private(*arguments))[1]
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


@pytest.mark.parametrize(
    "other",
    [
        {"arm": {**DP, "sigma": 2.0}},
        {"arm": DP, "batch_size": 5},
        {"arm": AIMED, "horizon": END},
        {"arm": "none"},
        {"arm": {**DP, "sigma": 0.0}},
    ],
    ids=str,
)
def test_a_state_whose_accountant_is_of_another_arm_is_refused(make_trainer, other):
    first, second = make_trainer(DP), make_trainer(**other)
    first.run_to(3)
    second.run_to(3)
    for taker, giver in ((first, second), (second, first)):
        with pytest.raises(ValueError, match="does not belong to"):
            taker.restore(*giver.state())


@pytest.mark.parametrize("arm", ["none", DP], ids=str)
@pytest.mark.parametrize("version", [None, VERSION - 1, VERSION + 1, str(VERSION)])
def test_a_state_of_another_version_of_the_loop_is_refused(make_trainer, arm, version):
    # The steps that it would go on with have other draws.
    begun, resumed = make_trainer(arm), make_trainer(arm)
    begun.run_to(3)
    tensors, rest = begun.state()
    rest["version"] = version
    if version is None:
        del rest["version"]
    with pytest.raises(ValueError, match="of the training loop"):
        resumed.restore(tensors, rest)
    assert resumed.step == 0


# The key of what private steps draw


def test_a_state_with_the_key_goes_on_bit_for_bit_and_one_without_goes_on_under_another(make_trainer):
    begun, taken_up, extended = (make_trainer(DP, noise=noise) for noise in (1, 2, 3))
    begun.run_to(3)
    tensors, rest = begun.state(unsealed=True)
    taken_up.restore(tensors, json.loads(json.dumps(rest)))
    extended.restore(*begun.state())
    for trainer in (begun, taken_up, extended):
        trainer.run_to(END)
    assert_same(taken_up, begun)
    assert taken_up.secret.key == begun.secret.key != extended.secret.key
    assert not torch.equal(*(next(t.target.parameters()) for t in (begun, extended)))
    assert extended.epsilon == begun.epsilon


@pytest.mark.parametrize("arm", ["none", "dropout", {**DP, "sigma": 0.0}, DP], ids=str)
def test_a_key_is_in_no_state_but_that_which_asks_for_one_it_has(make_trainer, arm):
    trainer = make_trainer(arm)
    trainer.run_to(2)
    assert "key" not in trainer.state()[1]
    assert ("key" in trainer.state(unsealed=True)[1]) == (arm == DP)
    assert trainer.secret.key.hex() not in repr(trainer.secret) + repr(vars(trainer))


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

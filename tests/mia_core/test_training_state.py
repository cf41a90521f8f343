"""What a training goes on from: pieces, states on disk, the key of private draws, and states that are refused."""

import io
import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from mia_core.defenses.dropout import DropoutLayer
from mia_core.training import VERSION
from tests.mia_core.ledger import AIMED, DP, END
from tests.mia_core.states import assert_same, evaluate

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


FIRST = {
    "vae_gan": "discriminator.last.weight",
    "vae": "generator.0.weight",
    "ddpm": "denoiser.tail.2.weight",
}
"""A weight that a first step changes, where it is not the discriminator's first."""


@pytest.mark.parametrize("name", ["vae_gan", "wgan_gp", "dcgan", "vae", "ddpm"])
def test_what_a_private_step_draws_for_its_records_follows_from_the_key_and_not_from_the_seed(make_trainer, name):
    """Who knew these draws would see them move from record to record where one is left out."""
    setting = {**SETUPS["dp_sgd"]["arm"], "sigma": 1e-6}
    arm = [setting, "dropout"] if name == "dcgan" else setting

    def weights(**given):
        trainer = make_trainer(arm, name=name, batch_size=13, **given)  # every record in every step: no sampling
        trainer.run_to(1)
        return trainer.target.state_dict()[FIRST.get(name, "discriminator.0.0.weight")]

    assert torch.equal(weights(noise=1), weights(noise=1))
    assert not torch.allclose(weights(noise=1), weights(noise=2), atol=1e-6), "noise of 1e-6 does not tell them apart"
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

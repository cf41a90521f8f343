import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from mia_core.data.pool import to_float
from mia_core.defenses import Arm
from mia_core.streams import Streams
from mia_core.targets import placed
from tests.mia_core.contract import ADVERSARIAL

every_target = pytest.mark.parametrize("name", ADVERSARIAL)


def weighted(network):
    return [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]


@every_target
def test_training_starts_from_the_same_function_and_nothing_is_drawn(make_target, make_images, name):
    target = make_target(name, 16)
    plain = copy.deepcopy(target)
    before = torch.random.get_rng_state()
    Arm.parse("weight_norm").modify(target)
    assert torch.equal(torch.random.get_rng_state(), before)
    x = to_float(torch.from_numpy(make_images(5, 16)))
    with torch.no_grad():
        torch.testing.assert_close(target.discriminate(x), plain.discriminate(x), rtol=1e-5, atol=1e-6)
    for network in ("generator", "encoder"):
        for key, value in target.state_dict().items():
            if key.startswith(network):
                assert torch.equal(value, plain.state_dict()[key])


@every_target
def test_every_weight_of_the_discriminator_and_of_no_other_network_has_a_length_apart(make_target, name):
    target = make_target(name, 16)
    layers = len(weighted(target.discriminator))
    Arm.parse("weight_norm").modify(target)
    assert len([m for m in weighted(target.discriminator) if is_parametrized(m, "weight")]) == layers >= 3
    assert not any(is_parametrized(m) for name, m in target.named_modules() if not name.startswith("discriminator"))


@every_target
def test_a_weight_is_its_length_times_its_direction_for_each_output(make_target, name):
    target = make_target(name, 16)
    Arm.parse("weight_norm").modify(target)
    for layer in weighted(target.discriminator):
        length, direction = layer.parametrizations.weight.original0, layer.parametrizations.weight.original1
        outputs = layer.weight.shape[0]
        assert length.numel() == outputs
        flat = direction.flatten(1)
        torch.testing.assert_close(
            layer.weight.flatten(1), length.reshape(outputs, 1) * flat / flat.norm(dim=1, keepdim=True)
        )
        with torch.no_grad():
            before = layer.weight.clone()
            direction.mul_(3.0)
            torch.testing.assert_close(layer.weight, before, rtol=1e-5, atol=1e-7)
            length.mul_(2.0)
            torch.testing.assert_close(layer.weight, 2 * before, rtol=1e-5, atol=1e-7)


@every_target
def test_lengths_and_directions_are_trained_and_the_arm_learns_otherwise_than_none(make_trainer, name):
    weights = {}
    for arm in ("none", "weight_norm"):
        trainer = make_trainer(arm, name=name)
        before = copy.deepcopy(dict(trainer.target.discriminator.named_parameters()))
        trainer.run_to(6)
        for key, parameter in trainer.target.discriminator.named_parameters():
            assert not torch.equal(parameter, before[key]), key
        weights[arm] = weighted(trainer.target.discriminator)[0].weight.detach()
    assert not torch.allclose(weights["none"], weights["weight_norm"])


@every_target
def test_a_kept_state_is_taken_up_by_a_target_built_anew(make_trainer, make_target, make_images, name):
    trainer = make_trainer(["weight_norm", "dropout"], name=name)
    trainer.run_to(5)
    anew = make_target(name, seed=77)
    Arm.parse(["weight_norm", "dropout"]).modify(anew)
    anew.load_state_dict(trainer.target.state_dict())
    anew = placed(anew, "cpu")
    x = to_float(torch.from_numpy(make_images(5)))
    assert torch.equal(anew.eval().discriminate(x), trainer.target.eval().discriminate(x))
    z = torch.randn(3, 8, generator=Streams(0).torch("z"))
    assert torch.equal(anew.generate(z), trainer.target.generate(z))


def test_it_is_on_or_off():
    arm = Arm.parse("weight_norm")
    assert (arm.label, arm.strength, arm.columns(), arm.delta) == ("weight_norm", 1.0, {}, None)
    with pytest.raises(ValueError, match="rate: unknown key; there is nothing to set here"):
        Arm.parse({"name": "weight_norm", "rate": 1})

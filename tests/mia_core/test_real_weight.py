"""The control arm that weighs real records' gradients, and does nothing else that a private arm does."""

import pytest
import torch

from mia_core.batches import Rows
from mia_core.defenses import Arm, TrainingFacts
from mia_core.secret_draws import SecretDraws
from mia_core.streams import Streams
from mia_core.targets import TARGETS, mean_gradients
from mia_core.training import Trainer, TrainingConfig
from mia_core.training_records import Records

WEIGHT = {"name": "real_weight", "weight": 0.25}


def losses(networks, x):
    return {"one": networks["one"](x).square().flatten(), "seen": x.sum(1)}


def test_gradients_of_real_records_are_weighted_and_losses_are_not():
    torch.manual_seed(0)
    network, x = torch.nn.Linear(3, 1), torch.randn(4, 3)
    rule, accountant = Arm.parse(WEIGHT).gradients(TrainingFacts(4, 4, 4, Streams(), SecretDraws(None)))
    assert accountant is None
    values = rule({"one": network}, losses, (x,), Rows(torch.arange(4)))
    weighted = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    plain = mean_gradients({"one": network}, losses, (x,))
    for ours, theirs in zip(weighted, network.parameters(), strict=True):
        torch.testing.assert_close(ours, 0.25 * theirs.grad)
    assert all(torch.equal(values[name], plain[name]) for name in plain)


def trained(arm, images):
    target = TARGETS.choose({"name": "dcgan", "width": 4, "latent": 4}).build((1, 8, 8))
    trainer = Trainer(target, Records(images, 12), TrainingConfig(batch_size=4), Arm.parse(arm), Streams("w"))
    trainer.run_to(3)
    return torch.cat([p.detach().flatten() for p in trainer.target.discriminator.parameters()])


def test_a_weight_of_one_changes_no_bit_and_another_changes_the_training(make_images):
    images = make_images(12)
    assert torch.equal(trained({**WEIGHT, "weight": 1.0}, images), trained("none", images))
    assert not torch.equal(trained(WEIGHT, images), trained("none", images))


def test_it_has_no_guarantee_and_no_poisson_samples():
    arm = Arm.parse(WEIGHT)
    assert (arm.label, arm.strength, arm.poisson, arm.delta) == ("real_weight 0.25", 0.25, False, None)


def test_clipping_and_weighing_do_not_go_together():
    with pytest.raises(ValueError, match="dp_sgd clips what real_weight would weigh; give one of them"):
        Arm.parse([{"name": "dp_sgd", "sigma": 1.0, "clip": 1.0, "delta": 1e-5}, WEIGHT])
    with pytest.raises(ValueError, match="weight: input should be greater than 0"):
        Arm.parse({**WEIGHT, "weight": 0.0})

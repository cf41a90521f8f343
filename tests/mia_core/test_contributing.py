"""The attack, the defense and the target that CONTRIBUTING.md shows work, alone and together, under DP-SGD too."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import mia_core
from mia_core.attacks import ATTACKS
from mia_core.defenses import DEFENSES
from mia_core.targets import TARGETS

BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(), re.DOTALL)
PRIVATE = {"name": "dp_sgd", "sigma": 1.0, "clip": 1.0, "delta": 1e-5}


@pytest.fixture(scope="module")
def shown():
    """What the blocks define; they are out of the registries again when the tests are over."""
    registries = (ATTACKS, DEFENSES, TARGETS)
    before = [dict(registry._classes) for registry in registries]
    namespace = {"__name__": "contributing"}
    for block in BLOCKS:
        exec(compile(block, "CONTRIBUTING.md", "exec"), namespace)
    yield namespace
    for registry, classes in zip(registries, before, strict=True):
        registry._classes.clear()
        registry._classes.update(classes)


def test_there_is_one_of_each(shown):
    assert len(BLOCKS) == 3
    assert {"near_the_mean"} <= set(ATTACKS.names())
    assert {"instance_noise"} <= set(DEFENSES.names())
    assert {"linear_gan"} <= set(TARGETS.names())


@pytest.mark.parametrize("defense", ["none", "instance_noise", PRIVATE, [PRIVATE, "instance_noise"]], ids=str)
def test_the_target_learns_under_each_arm_and_is_attacked(shown, make_images, defense):
    images = make_images(40) // 4 + 190  # bright, so that there is something to learn
    members = np.arange(40) < 20
    settings = {"batch_size": 8, "learning_rate": 1e-2}
    model = mia_core.train("linear_gan", images[members], steps=60, defense=defense, training=settings)
    again = mia_core.train("linear_gan", images[members], steps=60, defense=defense, training=settings)
    weights = [trained.target.discriminator[-2].weight for trained in (model, again)]
    same = torch.equal(*weights)
    assert same == (model.epsilon is None), "private draws are secret, all others follow from the seed"
    assert 0 <= mia_core.judge(mia_core.attack(model, images), members).auc <= 1
    if defense == "none":
        begun = mia_core.train("linear_gan", images[members], steps=1, training=settings)
        center = torch.from_numpy(images[members]).float().mean(0) / 127.5 - 1
        first, last = ((trained.samples(500).mean(0) - center).norm() for trained in (begun, model))
        assert last < 0.7 * first, "samples come near to the records"
    shown_samples = model.samples(500).mean(0)
    near = mia_core.attack(model, images, "near_the_mean")
    floats = torch.from_numpy(images).float() / 127.5 - 1
    torch.testing.assert_close(near, -(floats - shown_samples).flatten(1).norm(dim=1))

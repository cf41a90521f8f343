"""Targets as shapes, without memory for parameters: to count operations and bytes of what was not trained yet."""

from functools import cache

import torch

from mia_core.defenses import Arm
from mia_core.settings import Choice
from mia_core.targets import Target


@cache
def defended(target: Choice[Target], arm: Arm, image_shape: tuple[int, int, int]) -> Target:
    """A target with an arm's defenses, on the device `meta`, in evaluation mode."""
    with torch.device("meta"):
        network = target.build(image_shape)
        arm.modify(network)
    return network.eval()

"""Targets as shapes, without memory for parameters: to count operations and bytes of what was not trained yet."""

from functools import cache

import torch
from torch import nn

from mia_core.defenses import Arm
from mia_core.settings import Choice
from mia_core.targets import Adversarial, Target
from study.design.refusals import shaped


@cache
def defended(target: Choice[Target], arm: Arm, image_shape: tuple[int, int, int]) -> Adversarial:
    """A target with an arm's defenses, on the device `meta`, in evaluation mode."""
    network = shaped(target, image_shape)
    with torch.device("meta"):
        arm.modify(network)
    assert isinstance(network, Adversarial)
    return network.eval()


def parameters(target: Choice[Target], arm: Arm, image_shape: tuple[int, int, int]) -> int:
    """How many numbers a target has."""
    return sum(tensor.numel() for tensor in defended(target, arm, image_shape).state_dict().values())


@cache
def activations(target: Choice[Target], arm: Arm, image_shape: tuple[int, int, int]) -> int:
    """How many numbers the layers of a target give for one record, generated and judged."""
    network, counts = defended(target, arm, image_shape), []

    def count(module: nn.Module, given: object, found: object) -> None:
        counts.append(found.numel() if isinstance(found, torch.Tensor) else 0)

    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(count) for module in leaves]
    try:
        with torch.device("meta"), torch.no_grad():
            network.discriminate(network.generate(torch.empty(1, network.latent_dimension)))
    finally:
        for hook in hooks:
            hook.remove()
    return sum(counts)

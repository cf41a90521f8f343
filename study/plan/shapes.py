"""Targets as shapes, without memory for parameters: to count operations and bytes of what was not trained yet."""

from functools import cache

import torch
from torch import nn

from mia_core.defenses import Arm
from mia_core.settings import Choice
from mia_core.targets import Adversarial, PerRecord, Target, shaped

KINDS = {"normal": torch.float32, "uniform": torch.float32, "index": torch.int64}
"""Types of random tensors, by their law."""


@cache
def defended(target: Choice[Target], arm: Arm, image_shape: tuple[int, int, int]) -> Target:
    """A target with an arm's defenses, on the device `meta`, in evaluation mode."""
    network = shaped(target, image_shape)
    with torch.device("meta"):
        arm.modify(network)
    return network.eval()


def judge(network: Target, records: int = 1) -> None:
    """Run what judges real records: the discriminator, or the loss of a target without one."""
    x = torch.empty(records, *network.image_shape)
    if isinstance(network, Adversarial):
        network.discriminate(x)
    elif isinstance(network, PerRecord):
        drawn = [torch.empty(draw.shape, dtype=KINDS[draw.law]) for draw in network.record_draws(records).values()]
        network.record_losses({name: network.get_submodule(name) for name in network.networks}, x, *drawn)


def parameters(target: Choice[Target], arm: Arm, image_shape: tuple[int, int, int]) -> int:
    """How many numbers a target has."""
    return sum(tensor.numel() for tensor in defended(target, arm, image_shape).state_dict().values())


@cache
def activations(target: Choice[Target], arm: Arm, image_shape: tuple[int, int, int]) -> int:
    """How many numbers the layers of a target give in a step for one record: generated, if it has to be, and judged."""
    network, counts = defended(target, arm, image_shape), []

    def count(module: nn.Module, given: object, found: object) -> None:
        counts.append(found.numel() if isinstance(found, torch.Tensor) else 0)

    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(count) for module in leaves]
    try:
        with torch.device("meta"), torch.no_grad():
            if isinstance(network, Adversarial):
                network.generate(torch.empty(1, network.latent_dimension))
            judge(network)
    finally:
        for hook in hooks:
            hook.remove()
    return sum(counts)

"""The domain extractor: a small network, trained once per study on the reference split, for quality measures.

Inception's weights need a download and describe 16x16 digits poorly, so a network trained on the domain is the default.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Gt
from torch import nn

from mia_core.data.pool import to_float
from mia_core.hashing import content_id
from mia_core.settings import settings
from mia_core.streams import Streams
from mia_core.targets.optimizers import Adam

Positive = Annotated[int, Gt(0)]
SMALLEST_SCALE = 0.1
"""Lower limit of a feature's scale, relative to the median scale.

A feature that is nearly constant on the reference records, divided by its own deviation, would outweigh all others as
soon as samples activate it, and KID takes the third power.
"""


@settings
class ExtractorConfig:
    """features: dimension d of the feature space. width: channels of the first convolution. steps: of training."""

    features: Positive = 32
    width: Positive = 16
    steps: Positive = 400
    batch_size: Positive = 64


@dataclass(frozen=True)
class Recipe:
    """Everything that determines an extractor's weights."""

    config: ExtractorConfig
    data: str
    reference: str
    image_shape: tuple[int, int, int]
    classes: int
    seed: int

    @property
    def id(self) -> str:
        """The extractor's name in measure_ids and in the store."""
        return content_id(["extractor", 3, self])

    def refusal(self, records: int) -> str | None:
        """Why so many reference records train no extractor, or None."""
        needed = 2 * self.config.features
        if self.classes >= 2 and records >= needed:
            return None
        return f"needs {needed} labelled records of at least 2 classes, got {records} of {self.classes}"


class Extractor(nn.Module):
    """Images [B,C,H,W], uint8 or float in [-1, 1], to features [B,d]: two strided convolutions, linear layer, softplus.

    Features are standardized on the reference records, so that a KID or FID of 1 is large in every domain.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        width, (channels, height, side) = recipe.config.width, recipe.image_shape
        self.num_features = recipe.config.features
        grid = (min(4, height // 4), min(4, side // 4))
        with torch.random.fork_rng(devices=[]):  # torch's default initialization, which `train` replaces
            self.body = nn.Sequential(
                nn.Conv2d(channels, width, 3, 2, 1),
                nn.ReLU(),
                nn.Conv2d(width, 2 * width, 3, 2, 1),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(grid),
                nn.Flatten(),
                nn.Linear(2 * width * grid[0] * grid[1], self.num_features),
            )
            self.head = nn.Linear(self.num_features, recipe.classes)
        self.register_buffer("mean", torch.zeros(self.num_features))
        self.register_buffer("scale", torch.ones(self.num_features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features [B,d]; after training with mean 0 and deviation at most 1 on the reference records."""
        activations = nn.functional.softplus(self.body(to_float(x) if x.dtype == torch.uint8 else x))
        return (activations - self.mean) / self.scale

    @torch.no_grad()
    def features(self, images: torch.Tensor, chunk: int = 512) -> torch.Tensor:
        """Features [B,d] of many images, computed in chunks, on the CPU."""
        device = self.head.weight.device
        return torch.cat([self(part.to(device)).cpu() for part in images.split(chunk)])


def train(recipe: Recipe, images: np.ndarray, labels: np.ndarray) -> Extractor:
    """Classify the reference records (uint8 [R,C,H,W], int64 [R] from 0) by Adam; features are the last hidden layer.

    ValueError without at least two classes, or with fewer than two reference records per feature.
    """
    if reason := recipe.refusal(len(images)):
        raise ValueError(f"the domain extractor {reason}")
    streams = Streams("extractor", recipe.seed)
    network = Extractor(recipe)
    random = streams.torch("weights")
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.weight.normal_(0.0, (2 / module.weight[0].numel()) ** 0.5, generator=random)
                if module.bias is not None:
                    module.bias.zero_()
    records, classes = torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels)
    optimizer = Adam(network.parameters(), 2e-3)
    for step in range(recipe.config.steps):
        batch = torch.randint(len(records), (recipe.config.batch_size,), generator=streams.torch("batch", step))
        optimizer.zero_grad()
        nn.functional.cross_entropy(network.head(network(records[batch])), classes[batch]).backward()
        optimizer.step()
    network.eval().requires_grad_(False)
    activations = network.features(records)
    network.mean.copy_(activations.mean(0))
    scale = activations.std(0)
    network.scale.copy_(scale.clamp_min(max(SMALLEST_SCALE * float(scale.median()), 1e-6)))
    return network

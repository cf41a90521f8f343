"""VAE-GAN (Larsen et al. 2016; arXiv 1512.09300), LOGAN's DCGAN+VAE: the generator decodes an encoder's latents.

An encoder gives each record x a normal posterior over latents, the generator decodes z ~ q(z | x) to x~, and the
discriminator's last hidden layer f judges the likeness, instead of pixels. The paper's algorithm 1, for one record:

    prior = KL(q(z | x) || N(0, I))      likeness = |f(x) - f(x~)|^2 / 2
    gan = log D(x) + log(1 - D(x~)) + log(1 - D(G(z_p)))
    encoder: prior + likeness     generator: reconstruction_weight * likeness - gan     discriminator: -gan

The generator's part of -gan is non-saturating, -log D, as in DCGAN. Networks are DCGAN's; the encoder is shaped like
the discriminator. All three learn from real records, so a private defense treats all three, jointly.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Gt
from torch import nn
from torch.nn.functional import softplus

from mia_core.settings import settings
from mia_core.streams import Streams
from mia_core.targets.convolutions import discriminator_channels, down, halvings, initialize, up
from mia_core.targets.target import TARGETS, Networks, Step, Target, add_gradients

Positive = Annotated[int, Gt(0)]
NETWORKS = ("discriminator", "generator", "encoder")


@TARGETS.register
class VAEGAN(Target):
    """Encoder, generator and discriminator; the white-box score is the discriminator's logit."""

    name = "vae_gan"
    offers = frozenset({"samples", "latent", "generator", "encode", "discriminate"})
    private = NETWORKS
    published: ClassVar[Mapping[str, Any]] = {"norm": "batch"}

    @settings
    class Config:
        """width: channels at the highest resolution, doubled at each halving. latent: size of z.

        norm: of all three networks; `batch` as in the paper, `none`, or `group`, in groups of `width`/2 channels.
        reconstruction_weight: the paper's gamma. The likeness is a sum over the features, so it grows with them.
        """

        width: Positive = 16
        latent: Positive = 64
        norm: Literal["group", "batch", "none"] = "group"
        reconstruction_weight: Annotated[float, Ge(0)] = 0.01

    config: Config

    def __init__(self, config: Config, image_shape: tuple[int, int, int]) -> None:
        super().__init__(config, image_shape)
        self.latent_dimension = config.latent
        base, count = halvings(self.name, image_shape)
        channels = discriminator_channels(config.width, image_shape[1], count)
        blocks = [down(image_shape[0], channels, config.norm, config.width) for _ in range(2)]
        smallest = image_shape[1] >> len(channels)
        wider = [2 * width for width in channels[:count]]
        self.generator = up(config.latent, base, wider, image_shape[0], config.norm)
        self.discriminator = Discriminator(blocks[0], nn.Conv2d(channels[-1], 1, smallest))
        self.encoder = nn.Sequential(*blocks[1], nn.Conv2d(channels[-1], 2 * config.latent, smallest), nn.Flatten())

    def initialize(self, streams: Streams) -> None:
        """See `convolutions.initialize`."""
        initialize(self, streams)

    def generate(self, z_BZ: torch.Tensor) -> torch.Tensor:
        """[B,C,H,W] in [-1, 1]."""
        return self.generator(z_BZ[:, :, None, None])

    def discriminate(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Logits [B]: log odds of 'real'."""
        return self.discriminator(x_BCHW)[0]

    def optimizers(self, learning_rate: float, beta1: float | None) -> dict[str, torch.optim.Optimizer]:
        """RMSprop for each network, as in the paper; it has no beta1."""
        return {name: torch.optim.RMSprop(self.get_submodule(name).parameters(), learning_rate) for name in NETWORKS}

    def update(self, x_BCHW: torch.Tensor, step: Step) -> dict[str, torch.Tensor]:
        """All three networks at once; the discriminator alone where the generator is not trained."""
        for optimizer in step.optimizers.values():
            optimizer.zero_grad()
        fake_BCHW = self.fakes(step)
        noise_BZ = step.draws.normal("posterior", step.number, (len(x_BCHW), self.latent_dimension))
        learning = NETWORKS if step.train_generator else ("discriminator",)
        losses = partial(_losses, learning, step.fakes > 0, self.config.reconstruction_weight)
        networks = {name: self.get_submodule(name) for name in NETWORKS}
        real = step.record_gradients(networks, losses, (x_BCHW, noise_BZ), step)

        logit_fake = self.discriminate(step.fake_side(fake_BCHW))
        loss_fake = softplus(logit_fake).mean()
        add_gradients(loss_fake, {self.discriminator: 1.0})
        history = {"d_fake": logit_fake.detach().sigmoid().mean(), "loss_discriminator": loss_fake.detach()}
        if step.train_generator:
            loss_generator = softplus(-self.discriminate(fake_BCHW)).mean()
            add_gradients(loss_generator, {self.generator: 1.0})
            history["loss_generator"] = loss_generator.detach()
        for name in learning:
            step.optimizers[name].step()
        if len(real["d_real"]):
            history["d_real"] = real.pop("d_real").mean()
            for name, value in real.items():
                history[f"loss_{name}"] = history.get(f"loss_{name}", 0.0) + value.mean()
        return history

    def activations(self) -> list[nn.Sequential]:
        """All blocks of the discriminator but the last convolution."""
        return [block for block in self.discriminator.blocks if isinstance(block, nn.Sequential)]


class Discriminator(nn.Module):
    """Images [B,C,H,W] to logits [B] and the features [B,F] that likeness is measured on."""

    def __init__(self, blocks: list[nn.Module], last: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.last = last

    def forward(self, x_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and features."""
        features = self.blocks(x_BCHW)
        return self.last(features).flatten(), features.flatten(1)


def _losses(
    learning: Sequence[str],
    reconstruct: bool,
    weight: float,
    networks: Networks,
    x_BCHW: torch.Tensor,
    noise_BZ: torch.Tensor,
) -> dict[str, torch.Tensor]:
    """The terms of the module's text that a real record is in, one a record; those of x~ only with `reconstruct`."""
    logit_real, features_real = networks["discriminator"](x_BCHW)
    terms = {"discriminator": softplus(-logit_real)}
    if reconstruct:
        mean, log_variance = networks["encoder"](x_BCHW).chunk(2, dim=1)
        z_BZ = mean + torch.exp(log_variance / 2) * noise_BZ
        logit_decoded, features_decoded = networks["discriminator"](networks["generator"](z_BZ[:, :, None, None]))
        prior = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
        likeness = (features_real - features_decoded).square().sum(1) / 2
        terms["discriminator"] = terms["discriminator"] + softplus(logit_decoded)
        terms["generator"] = weight * likeness + softplus(-logit_decoded)
        terms["encoder"] = prior + likeness
    return {name: terms[name] for name in learning} | {"d_real": logit_real.sigmoid()}

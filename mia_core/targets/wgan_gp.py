"""WGAN-GP (Gulrajani et al. 2017; arXiv 1704.00028): a critic D, kept near 1-Lipschitz by a gradient penalty.

The paper's algorithm 1, with one term for each real record x, whose x^ lies between x and a record x~ of the fake side:

    critic: -D(x) + penalty_weight (|grad D(x^)| - 1)^2, and D(x~)     x^ = u x + (1 - u) x~, u uniform in [0, 1]
    generator: -D(G(z))

The penalty belongs to its real record's term, so a private defense clips loss and penalty jointly. The partner x~ is
drawn from the step's fake side for each record, not paired by position: that would need as many generated records as
real ones, and since the generator's batch norm mixes its batch, one more real record would change the partners of all.
A surrogate's fake side also has known records, or only these; then x^ may lie between two records. Like every
surrogate, it trains with one critic step per generator step.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge

from mia_core.settings import settings
from mia_core.step_draws import Draw, index, uniform
from mia_core.targets.adversarial import chosen
from mia_core.targets.dcgan import DCGAN
from mia_core.targets.gradients import Networks, Terms, input_gradient
from mia_core.targets.target import TARGETS


@TARGETS.register
class WGANGP(DCGAN):
    """DCGAN's networks; the white-box score is the critic's value, which is no logit: its zero has no meaning.

    Adam's beta1 is the paper's unless a training overrides it, its beta2 always. The paper's generator_every is 5
    (critic steps per generator step).
    """

    name = "wgan_gp"
    published: ClassVar[Mapping[str, Any]] = {}
    beta1 = 0.0
    beta2 = 0.9

    @settings
    class Config(DCGAN.Config):
        """norm: the critic's, `group` or `none`; batch norm would make a record's gradient depend on other records.

        penalty_weight: the paper's lambda. The other settings are DCGAN's; `networks: authors` also refers to DCGAN's
        authors, so that the two targets can be compared with equal networks.
        """

        norm: Literal["group", "none"] = "group"
        penalty_weight: Annotated[float, Ge(0)] = 10.0

    config: Config

    def __init__(self, config: Config, image_shape: tuple[int, int, int]) -> None:
        super().__init__(config, image_shape)
        # A constant added to D changes no loss; as a parameter it would only use up a part of a clipped gradient.
        self.discriminator[-1].register_parameter("bias", None)

    def draws(self, records: int, fakes: int, contrast: int) -> dict[str, Draw]:
        """Latents; for each real record, its partner on the fake side, with replacement, and its mixing weight u."""
        partner = index(records, below=fakes + contrast)
        return super().draws(records, fakes, contrast) | {"partner": partner, "mix": uniform(records, 1, 1, 1)}

    def of_record(
        self, x_BCHW: torch.Tensor, side_NCHW: torch.Tensor, draws: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, ...]:
        """x, x~, u."""
        return x_BCHW, chosen(side_NCHW, draws["partner"]), draws["mix"]

    def real_losses(self, networks: Networks, x_BCHW: torch.Tensor, *more: torch.Tensor) -> dict[str, torch.Tensor]:
        """-D(x) + penalty_weight (|grad D(x^)| - 1)^2 [B]; the history has the penalty without its weight."""
        partner_BCHW, mix_B111 = more
        critic = networks["discriminator"]
        d_real = critic(x_BCHW).flatten()
        between = mix_B111 * x_BCHW + (1 - mix_B111) * partner_BCHW
        gradient = input_gradient(critic, between)
        penalty = (gradient.flatten(1).norm(dim=1) - 1).square()  # torch's norm has gradient 0 at 0
        return {"discriminator": self.config.penalty_weight * penalty - d_real, "d_real": d_real, "penalty": penalty}

    def fake_losses(self, networks: Networks, x_BCHW: torch.Tensor) -> Terms:
        """D(x~) [N]."""
        d_fake = networks["discriminator"](x_BCHW).flatten()
        return {"discriminator": d_fake, "d_fake": d_fake}

    def generator_losses(self, networks: Networks, x_BCHW: torch.Tensor) -> Terms:
        """-D(G(z)) [N]."""
        return {"generator": -networks["discriminator"](x_BCHW).flatten()}

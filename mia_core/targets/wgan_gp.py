"""WGAN-GP (Gulrajani et al. 2017; arXiv 1704.00028): a critic D, kept near Lipschitz by a penalty on its gradient.

The paper's algorithm 1, with one term for each real record x, whose x^ lies between x and a record x~ of the fake side:

    critic: -D(x) + penalty_weight (|grad D(x^)| - 1)^2, and D(x~)     x^ = u x + (1 - u) x~, u uniform in [0, 1]
    generator: -D(G(z))

The penalty belongs to its real record's term, so a private defense clips loss and penalty jointly. The x~ of x^ is
drawn for each record from the step's fake side, not paired by position: the generator's batch norm mixes the records
of its batch, and a batch of partners as large as that of real records would let each of those move the partners of all.
A surrogate's fake side has known records too, or no other, and then x^ lies between two records; its training has one
critic step per generator step, as any surrogate's.
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
    """DCGAN's networks; the white-box score is the critic's value, which is no logit: its zero means nothing.

    Adam's beta1 is the paper's unless a training says otherwise, its beta2 always; the paper's generator_every is 5
    (critic steps per generator step).
    """

    name = "wgan_gp"
    published: ClassVar[Mapping[str, Any]] = {}
    beta1 = 0.0
    beta2 = 0.9

    @settings
    class Config(DCGAN.Config):
        """norm: the critic's, `group` or `none`; batch norm would make a record's gradient depend on other records.

        penalty_weight: the paper's lambda. The other settings are DCGAN's; its authors, in `networks`, are DCGAN's too,
        so that the two targets can be compared with equal networks.
        """

        norm: Literal["group", "none"] = "group"
        penalty_weight: Annotated[float, Ge(0)] = 10.0

    config: Config

    def __init__(self, config: Config, image_shape: tuple[int, int, int]) -> None:
        super().__init__(config, image_shape)
        # A constant added to D changes no loss; as a parameter it would only take its share of a clipped gradient.
        self.discriminator[-1].register_parameter("bias", None)

    def draws(self, records: int, fakes: int, contrast: int) -> dict[str, Draw]:
        """Latents; for each real record its partner on the fake side, with replacement, and its mix u."""
        partner = index(records, below=fakes + contrast)
        return super().draws(records, fakes, contrast) | {"partner": partner, "mix": uniform(records, 1, 1, 1)}

    def of_record(
        self, x_BCHW: torch.Tensor, side_NCHW: torch.Tensor, draws: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, ...]:
        """x, x~, u."""
        return x_BCHW, chosen(side_NCHW, draws["partner"]), draws["mix"]

    def real_losses(self, networks: Networks, x_BCHW: torch.Tensor, *more: torch.Tensor) -> dict[str, torch.Tensor]:
        """-D(x) + penalty_weight (|grad D(x^)| - 1)^2; the history has the penalty without its weight."""
        partner_BCHW, mix_B111 = more
        critic = networks["discriminator"]
        d_real = critic(x_BCHW).flatten()
        between = mix_B111 * x_BCHW + (1 - mix_B111) * partner_BCHW
        gradient = input_gradient(critic, between)
        penalty = (gradient.flatten(1).norm(dim=1) - 1).square()  # torch's norm has a gradient at 0, which is 0
        return {"discriminator": self.config.penalty_weight * penalty - d_real, "d_real": d_real, "penalty": penalty}

    def fake_losses(self, networks: Networks, x_BCHW: torch.Tensor) -> Terms:
        """D(x~)."""
        d_fake = networks["discriminator"](x_BCHW).flatten()
        return {"discriminator": d_fake, "d_fake": d_fake}

    def generator_losses(self, networks: Networks, x_BCHW: torch.Tensor) -> Terms:
        """-D(G(z))."""
        return {"generator": -networks["discriminator"](x_BCHW).flatten()}

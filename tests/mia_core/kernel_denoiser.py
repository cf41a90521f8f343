"""A diffusion model in closed form: that of a kernel density on its members, whose attacks have known AUCs."""

import torch

from mia_core.diffusion import ddim_step, linear, noised
from mia_core.models import CHUNK, Stream
from mia_core.streams import Streams


class KernelDenoiser(Stream):
    """The exact denoiser of a Gaussian kernel density of bandwidth h on members [n,C,H,W].

    eps(x, t) = sqrt(1 - abar) / (abar h^2 + 1 - abar) (x - sqrt(abar) sum_i w_i m_i), with w the softmax over members
    of -‖x - sqrt(abar) m_i‖^2 / (2 (abar h^2 + 1 - abar)).
    """

    name = "a kernel denoiser"
    offers = frozenset({"samples", "denoise", "variation"})

    def __init__(self, members, bandwidth, streams=None):
        super().__init__()
        self.members, self.bandwidth = members.double(), bandwidth
        self.timesteps = 1000
        self.alpha_bar = linear(self.timesteps)
        self._streams = streams or Streams("kernel denoiser")

    @property
    def record_shape(self):
        return tuple(self.members.shape[1:])

    @property
    def device(self):
        return self.members.device

    def _draw(self, number):
        """A member and the kernel's noise; no steps of the sampler are needed."""
        index = torch.randint(len(self.members), (CHUNK,), generator=self._streams.torch("member", number))
        noise = torch.randn(CHUNK, *self.record_shape, generator=self._streams.torch("kernel", number))
        return (self.members[index] + self.bandwidth * noise).float()

    def denoise(self, x_BCHW, t_B):
        level_B = self.alpha_bar[t_B]
        spread_B = level_B * self.bandwidth**2 + 1 - level_B
        centers_BnD = level_B.sqrt()[:, None, None] * self.members.flatten(1)
        away_BnD = x_BCHW.double().flatten(1)[:, None] - centers_BnD
        weight_Bn = (-away_BnD.square().sum(2) / (2 * spread_B[:, None])).softmax(1)
        mean_BD = (weight_Bn[:, :, None] * away_BnD).sum(1)
        return ((1 - level_B).sqrt() / spread_B)[:, None].mul(mean_BD).float().reshape(x_BCHW.shape)

    def variation(self, x_BCHW, time, rng):
        """Noised to `time`, all by the same noise, then two DDIM steps, to half of it and to 0."""
        eps = torch.randn(1, *self.record_shape, generator=rng.torch("noise"))
        x_BCHW = noised(x_BCHW, eps, self.alpha_bar[time])
        for start, end in ((time, time // 2), (time // 2, 0)):
            noise = self.denoise(x_BCHW, torch.full((len(x_BCHW),), start))
            x_BCHW = ddim_step(x_BCHW, noise, self.alpha_bar[start], self.alpha_bar[end])
        return x_BCHW

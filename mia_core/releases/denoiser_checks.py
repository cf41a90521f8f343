"""Whether a network does what is declared of it: a wrong declaration makes attacks weak, and members look safe."""

from collections.abc import Callable

import torch

from mia_core.diffusion import Prediction, noised
from mia_core.diffusion_sampler import Sampler
from mia_core.errors import Refused
from mia_core.releases.declared_noise import Scale
from mia_core.releases.denoiser_network import DenoiserNetwork
from mia_core.releases.onnx_generator import PALE
from mia_core.streams import Streams

PROBED = 16
"""Images by which it is checked."""
STEPS = 10
"""Of the sampler that draws them."""
PREDICTIONS: tuple[Prediction, ...] = ("epsilon", "v", "x0")
RANGES = ("-1,1", "0,1")
ALL_NOISE = 0.1
"""alpha_bar of a last time at which x_t is next to noise alone."""
BETTER = 4
"""A declaration is refused if the noise that it finds is so many times further from the truth than by another."""


class Checks:
    """A network, what it is declared to predict, and its images' range; None where that is not said."""

    def __init__(self, network: DenoiserNetwork, prediction: Prediction, declared_range: str | None) -> None:
        self.network = network
        self.prediction = prediction
        self.declared_range = declared_range
        self.range = declared_range or RANGES[0]
        self._streams = Streams("release", "denoiser")

    def require_declared(self, image_shape: tuple[int, ...], samples: torch.Tensor | None) -> None:
        """Refused where another declaration fits the network better. samples: of the model, float [N,C,H,W]; None for
        those that it draws.
        """
        self._require_noise(image_shape)
        if samples is not None:
            images = samples[:PROBED].cpu()
            others = [(one, word) for one in PREDICTIONS for word in RANGES]
            self._require_best({other: self._error(images, *other) for other in others})
            return
        drawn = {one: self._drawn(image_shape, one) for one in PREDICTIONS}
        self._require_best({(one, self.range): self._error(images, one, self.range) for one, images in drawn.items()})
        lowest = float(drawn[self.prediction].min())
        if self.declared_range is None and lowest > PALE:
            raise Refused(
                f"release: no value of {PROBED} images that are drawn is below {PALE}, so that the denoiser's images "
                "may be in [0, 1] or in [-1, 1]; say which by release.range, one of -1,1 and 0,1"
            )

    def _require_noise(self, image_shape: tuple[int, ...]) -> None:
        """Refused unless, of noise alone at the last time, what predicts noise returns it, and nothing else does."""
        last = len(self.network.alpha_bar) - 1
        if self.network.alpha_bar[last] > ALL_NOISE:
            return
        x = torch.randn(PROBED, *image_shape, generator=self._streams.torch("last"))
        found = self.network.predict(x, torch.full((PROBED,), last))
        part = float((found * x).sum() / x.square().sum())
        if (part > 0.5) != (self.prediction == "epsilon"):
            other = "v or x0" if self.prediction == "epsilon" else "epsilon"
            raise Refused(
                f"release.prediction: is {self.prediction}, and of noise alone at the last time, {last}, the denoiser "
                f"gives back {part:.2f} of it, as one does that predicts {other}, or has other timesteps or another "
                "schedule; declare what it was trained with"
            )

    def _require_best(self, errors: dict[tuple[Prediction, str], float]) -> None:
        own = errors[self.prediction, self.range]
        (prediction, word), least = min(errors.items(), key=lambda item: item[1])
        if own > BETTER * least:
            raise Refused(
                f"release.prediction: with {self.prediction} and release.range={self.range} the noise in x_t is found "
                f"with a mean squared error of {own:.2g}, and with {prediction} and range {word} of {least:.2g}; "
                "declare what the denoiser was trained with"
            )

    def _noise_in(self, prediction: Prediction, word: str) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        return lambda x, t: self.network.denoise(x, t, prediction, Scale.of(word))

    def _drawn(self, image_shape: tuple[int, ...], prediction: Prediction) -> torch.Tensor:
        x = torch.randn(PROBED, *image_shape, generator=self._streams.torch("drawn"))
        abar = Scale.of(self.range).ours(self.network.alpha_bar)
        return Sampler(self._noise_in(prediction, self.range), abar, "ddim", min(STEPS, len(abar))).sample(x)

    def _error(self, images: torch.Tensor, prediction: Prediction, word: str) -> float:
        """Mean squared error of the noise in x_t where half of the variance is the image's."""
        abar = Scale.of(word).ours(self.network.alpha_bar)
        time = int((abar - 0.5).abs().argmin())
        eps = torch.randn(images.shape, generator=self._streams.torch("error"))
        x_t = noised(images, eps, abar[time])
        found = self._noise_in(prediction, word)(x_t, torch.full((len(images),), time))
        return float((found - eps).square().mean())

"""A diffusion model's network as an ONNX file: noised images and times in, what it predicts of them out."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from mia_core.diffusion import Prediction, noise_of
from mia_core.errors import Refused
from mia_core.onnx_files import OnnxNetwork, read_onnx, the_one
from mia_core.releases.declared_noise import Scale
from mia_core.streams import Streams

AT_ONCE = 64
"""Images of one run: the memory of a U-Net grows with them."""
TIMES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(float)": np.float32}
ONE_ANOTHER = 1e-3
"""Part of the largest value by which an image's prediction may depend on the others of a batch: rounding."""
EXPORT = "export it so (torch.onnx.export has dynamic_axes and dynamic_shapes for B; docs/release.md has an example)"


class DenoiserNetwork(OnnxNetwork):
    """Two inputs, x_t float32 [B,C,H,W] and the index t of the time, int64, int32 or float32, [B], [1] or a scalar; one
    output float32, [B,C,H,W], or [B,2C,H,W], whose second half (learned variances) is not used.
    """

    def __init__(self, path: str, alpha_bar: torch.Tensor) -> None:
        """alpha_bar: [T], float64, of the network's own range."""
        super().__init__(read_onnx(path, "root", "release"), "release", "the denoiser")
        self.alpha_bar = alpha_bar

    @cached_property
    def natural_shape(self) -> tuple[int, int, int] | None:
        """(C, H, W) of its images, None where it takes several."""
        sizes = self._ends[0].shape[1:]
        return (sizes[0], sizes[1], sizes[2]) if all(isinstance(size, int) for size in sizes) else None

    def denoise(self, x_BCHW: torch.Tensor, t_B: torch.Tensor, prediction: Prediction, scale: Scale) -> torch.Tensor:
        """The noise in x_t of images in [-1, 1], on the device of x_t."""
        parts = zip(x_BCHW.detach().cpu().split(AT_ONCE), t_B.cpu().split(AT_ONCE), strict=True)
        found = [self._noise(x, t, prediction, scale) for x, t in parts]
        return torch.cat(found).to(x_BCHW.device) if found else x_BCHW.clone()

    def _noise(self, x_BCHW: torch.Tensor, t_B: torch.Tensor, prediction: Prediction, scale: Scale) -> torch.Tensor:
        level = self.alpha_bar[t_B][:, None, None, None]
        x = scale.theirs(x_BCHW.double(), level)
        return noise_of(self.predict(x.float(), t_B).double(), x, level, prediction).float()

    def predict(self, x_BCHW: torch.Tensor, t_B: torch.Tensor) -> torch.Tensor:
        """What the network says of its own x_t, float32 [B,C,H,W]."""
        if self._one_time and len(t_B) and bool((t_B != t_B[0]).any()):
            return torch.cat([self.predict(x[None], t[None]) for x, t in zip(x_BCHW, t_B, strict=True)])
        image, time = self._ends
        numbers = t_B.numpy().astype(TIMES[time.type])
        given = {
            image.name: np.ascontiguousarray(x_BCHW.numpy()),
            time.name: numbers[:1].reshape(time.shape) if self._one_time else numbers,
        }
        found = self.computed(self._output, given)
        channels, *sides = x_BCHW.shape[1:]
        if found.shape not in [(len(x_BCHW), many * channels, *sides) for many in (1, 2)]:
            raise Refused(
                f"release: the denoiser gives {list(found.shape)} for images of {list(x_BCHW.shape)}; the same shape "
                "is needed, or twice the channels, where it learned variances"
            )
        return torch.from_numpy(found[:, :channels])

    def require_sound(self, image_shape: Sequence[int]) -> None:
        """Refused unless it takes such images, and gives each the same again, whatever is beside it."""
        self._require_form(image_shape)
        x = torch.randn(3, *image_shape, generator=Streams("release").torch("probe"))
        last = len(self.alpha_bar) - 1
        t = torch.tensor([last // 2, 0, last])
        found = self.predict(x, t)
        if not torch.equal(found, self.predict(x, t)):
            raise Refused("release: the denoiser gives other values for the same images; take its random parts out")
        alone = self.predict(x[:1], t[:1])
        if float((alone - found[:1]).abs().max()) > ONE_ANOTHER * float(found.abs().max()):
            raise Refused(
                "release: what the denoiser gives for an image depends on the others of a batch; export the network in "
                "evaluation mode (network.eval())"
            )

    def _require_form(self, image_shape: Sequence[int]) -> None:
        shape = self._ends[0].shape
        if any(isinstance(size, int) and size != own for size, own in zip(shape[1:], image_shape, strict=True)):
            sizes, own = (" x ".join(map(str, one)) for one in (shape[1:], image_shape))
            raise Refused(
                f"release: the denoiser takes images of {sizes}, and the records are read as {own}"
                + (f"; set data.size={shape[3]} and data.channels={shape[1]}" if self.natural_shape else "")
            )

    @cached_property
    def _ends(self) -> tuple[Any, Any]:
        """Its inputs: images and times. Refused for others."""
        inputs = self.session.get_inputs()
        images = [one for one in inputs if len(one.shape or ()) == 4 and one.type == "tensor(float)"]
        times = [one for one in inputs if len(one.shape or ()) < 2 and one.type in TIMES]
        if len(inputs) != 2 or len(images) != 1 or len(times) != 1:
            named = ", ".join(f"{one.name} {one.type} {list(one.shape or ())}" for one in inputs)
            raise Refused(
                f"release: the denoiser has the inputs {named}; two are needed, images float32 [B, C, H, W] and times "
                "int64, int32 or float32 [B] or a scalar: export a module with these alone, with what else it takes "
                "(classes, texts) fixed inside"
            )
        if isinstance(images[0].shape[0], int):
            raise Refused(
                f"release: the denoiser takes {images[0].shape[0]} images at once, and any B is needed: {EXPORT}"
            )
        if times[0].shape and isinstance(times[0].shape[0], int) and times[0].shape[0] != 1:
            raise Refused(f"release: the denoiser takes {times[0].shape[0]} times, and any B is needed: {EXPORT}")
        return images[0], times[0]

    @property
    def _one_time(self) -> bool:
        """Whether all images of a run have the same time."""
        shape = self._ends[1].shape
        return not shape or isinstance(shape[0], int)

    @cached_property
    def _output(self) -> str:
        return the_one(self.session.get_outputs(), "outputs", "predictions", "release", "the denoiser")

    def __getstate__(self) -> dict[str, Any]:
        cached = ("_ends", "natural_shape", "_output")
        return {key: value for key, value in super().__getstate__().items() if key not in cached}

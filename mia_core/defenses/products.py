"""Products y = f(x, w) of layers with weights, and each record's gradient of the weight from x and dy.

Every layer with weights is a product, linear in its weight, record by record. Its backward pass in x is a product with
the same weight, too. So losses that contain a gradient, such as a gradient penalty, need nothing else: their second
backward pass consists of products again.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch.nn import functional as F

SHORT = 5
"""Rows of at most this many output positions are short."""


@dataclass(frozen=True)
class Convolution:
    """A convolution, or if `transposed` a transposed one to images of `size`, which is its backward pass in x.

    `wide` is x and `narrow` is dy, or vice versa if transposed; the weight's gradient is the same function of both.
    """

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    transposed: bool = False
    size: tuple[int, ...] = ()

    def apply(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """y = f(x, w) + bias."""
        if not self.transposed:
            return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)
        geometry = zip(self.size, x.shape[2:], weight.shape[2:], self.stride, self.padding, self.dilation, strict=True)
        extra = [
            size - ((length - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1)
            for size, length, kernel, stride, padding, dilation in geometry
        ]
        return F.conv_transpose2d(x, weight, bias, self.stride, self.padding, extra, self.groups, self.dilation)

    def backwards(self, x: torch.Tensor) -> "Convolution":
        """The product that maps dy to dx."""
        return replace(self, transposed=not self.transposed, size=() if self.transposed else tuple(x.shape[2:]))

    def weight_gradient(self, wide: torch.Tensor, narrow: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """The weight's gradient, summed over records."""
        geometry = (self.stride, self.padding, self.dilation, False, (0, 0), self.groups)
        wanted = (False, True, False)
        return torch.ops.aten.convolution_backward(narrow, wide, weight, None, *geometry, wanted)[1].contiguous()

    def factors(
        self, wide: torch.Tensor, narrow: torch.Tensor, weight: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """a [B,G,P,T] and b [B,G,D,T]: a record's gradient is b a^T in each of G groups; T places."""
        columns = self._columns(wide, *weight.shape[2:])
        return columns.unflatten(1, (self.groups, -1)), narrow.flatten(2).unflatten(1, (self.groups, -1))

    def _columns(self, wide: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Patches [B,P,T]. Copying a view is faster than F.unfold, except for short rows on a CPU."""
        (down, right), (far_down, far_right) = self.stride, self.dilation
        span_down, span_right = far_down * (height - 1) + 1, far_right * (width - 1) + 1
        row = (wide.shape[3] + 2 * self.padding[1] - span_right) // right + 1
        if row <= SHORT and not wide.is_cuda:
            return F.unfold(wide, (height, width), self.dilation, self.padding, self.stride)
        padded = F.pad(wide, (self.padding[1], self.padding[1], self.padding[0], self.padding[0]))
        view = padded.unfold(2, span_down, down).unfold(3, span_right, right)[..., ::far_down, ::far_right]
        return view.permute(0, 1, 4, 5, 2, 3).reshape(len(wide), -1, view.shape[2] * view.shape[3])

    def bias_rows(self, dy: torch.Tensor) -> torch.Tensor:
        """Each record's gradient [B,C] of the bias."""
        return dy.sum((2, 3))


@dataclass(frozen=True)
class Linear:
    """y = x w^T on the last dimension; `transposed` is its backward pass in x. Shapes and names as in `Convolution`."""

    transposed: bool = False
    groups: ClassVar[int] = 1

    def apply(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """y = f(x, w) + bias."""
        return F.linear(x, weight.T if self.transposed else weight, bias)

    def backwards(self, x: torch.Tensor) -> "Linear":
        """The product that maps dy to dx."""
        return Linear(not self.transposed)

    def weight_gradient(self, wide: torch.Tensor, narrow: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """The weight's gradient, summed over records."""
        return narrow.flatten(0, -2).T @ wide.flatten(0, -2)

    def factors(
        self, wide: torch.Tensor, narrow: torch.Tensor, weight: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One group; T is the product of the dimensions between the first and the last."""
        a, b = (part.reshape(len(part), 1, -1, part.shape[-1]).mT for part in (wide, narrow))
        return a, b

    def bias_rows(self, dy: torch.Tensor) -> torch.Tensor:
        """Each record's gradient [B,D] of the bias."""
        return dy.reshape(len(dy), -1, dy.shape[-1]).sum(1)


@dataclass(frozen=True)
class Scale:
    """y = x w + b per channel, as after a norm; its backward pass in x is the same."""

    def apply(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """y = x w + bias."""
        shape = (-1, *(1,) * (x.ndim - 2))
        scaled = x * weight.view(shape)
        return scaled if bias is None else scaled + bias.view(shape)

    def backwards(self, x: torch.Tensor) -> "Scale":
        """The product that maps dy to dx."""
        return self

    def rows(self, x: torch.Tensor, dy: torch.Tensor) -> torch.Tensor:
        """Each record's gradient [B,C] of the weight."""
        return self.bias_rows(x * dy)

    def bias_rows(self, dy: torch.Tensor) -> torch.Tensor:
        """Each record's gradient [B,C] of the bias."""
        return dy.flatten(2).sum(2) if dy.ndim > 2 else dy


Product = Convolution | Linear | Scale

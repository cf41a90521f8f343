"""Spaces in which images are compared: a function from images [B,C,H,W] in [-1, 1] to points [B,D], equal if alike."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

CHUNK = 512
"""Images that are embedded at once."""
RANK_TOLERANCE = 1e-10
"""Of the largest variance: directions with less have none."""


class Space(Protocol):
    """Hashable: what compares equal embeds alike."""

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Points [B,D], float32."""
        ...

    def __hash__(self) -> int: ...


def embedded(space: Space, images: torch.Tensor) -> torch.Tensor:
    """Points [B,D] of many images, without a graph."""
    with torch.no_grad():
        return torch.cat([space(part) for part in images.split(CHUNK)])


@dataclass(frozen=True)
class Pixels:
    """Images as they are."""

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """[B,CHW]."""
        return images.flatten(1)


class Pca:
    """The first principal components of records, not whitened: distances are those of the projected images.

    Fewer where the records have fewer directions. Raises ValueError for less than two different records.
    """

    def __init__(self, records: torch.Tensor, components: int) -> None:
        x_RD = records.flatten(1).double()
        self.mean = x_RD.mean(0)
        x_RD = x_RD - self.mean
        # The smaller of both Gram matrices has the same spectrum.
        wide = x_RD.shape[1] > len(x_RD)
        variances, vectors = torch.linalg.eigh(x_RD @ x_RD.T if wide else x_RD.T @ x_RD)
        variances, vectors = variances.flip(0)[:components], vectors.flip(1)[:, :components]
        kept = variances > RANK_TOLERANCE * variances[0]
        if not float(variances[0]) > 0:
            raise ValueError(f"PCA: {len(records)} reference records do not differ")
        axes_DP = (x_RD.T @ vectors / variances.clamp_min(0).sqrt() if wide else vectors)[:, kept]
        self.axes = axes_DP
        content = torch.cat([self.mean[:, None], axes_DP], 1).cpu().contiguous().numpy()
        self._digest = hashlib.sha256(content.tobytes()).hexdigest()

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """[B,P]."""
        return ((images.flatten(1).double() - self.mean) @ self.axes).float()

    def __hash__(self) -> int:
        return hash(self._digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pca) and self._digest == other._digest


@dataclass(frozen=True)
class Features:
    """What an extractor makes of images."""

    extractor: Callable[[torch.Tensor], torch.Tensor]

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """[B,d]."""
        return self.extractor(images).flatten(1).float()


@dataclass(frozen=True)
class ColorHistogram:
    """The share of pixels in each of `bins` equal parts of [-1, 1], by channel."""

    bins: int = 16

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """[B,C bins]."""
        pixels = ((images.flatten(2) + 1) / 2 * self.bins).long().clamp(0, self.bins - 1)
        return torch.stack([(pixels == number).float().mean(2) for number in range(self.bins)], 2).flatten(1)


@dataclass(frozen=True)
class Hog:
    """Histograms of oriented gradients (Dalal & Triggs 2005), as of scikit-image: blocks of 2x2 cells, L2-normalized.

    orientations: unsigned, in equal parts of 180 degrees. cells: along the shorter side; pixels that fill no cell are
    left out. A pixel's gradient is that of the channel in which it is largest.
    """

    orientations: int = 9
    cells: int = 4

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """[B, blocks 4 orientations]."""
        rows, columns = torch.zeros_like(images), torch.zeros_like(images)
        rows[:, :, 1:-1] = images[:, :, 2:] - images[:, :, :-2]
        columns[:, :, :, 1:-1] = images[:, :, :, 2:] - images[:, :, :, :-2]
        channel = torch.hypot(rows, columns).argmax(1, keepdim=True)
        row_BHW, column_BHW = rows.gather(1, channel)[:, 0], columns.gather(1, channel)[:, 0]
        magnitude = torch.hypot(row_BHW, column_BHW)
        part = torch.rad2deg(torch.atan2(row_BHW, column_BHW)) % 180 / (180 / self.orientations)
        orientation = part.long() % self.orientations
        side = max(1, min(images.shape[2:]) // self.cells)
        histograms = torch.stack(
            [_cell_means(magnitude * (orientation == number), side) for number in range(self.orientations)], 1
        )
        blocks = torch.stack([_shifted(histograms, down, right) for down in (0, 1) for right in (0, 1)], 1)
        normed = blocks / (blocks.square().sum((1, 2), keepdim=True) + 1e-10).sqrt()
        return normed.flatten(1)


def _cell_means(x_BHW: torch.Tensor, side: int) -> torch.Tensor:
    """[B,cells down,cells across]."""
    high, wide = x_BHW.shape[1] // side, x_BHW.shape[2] // side
    return x_BHW[:, : high * side, : wide * side].unflatten(1, (high, side)).unflatten(3, (wide, side)).mean((2, 4))


def _shifted(x_BOHW: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """Of each block of 2x2 cells, the cell that is so far down and right."""
    high, wide = x_BOHW.shape[2] - 1, x_BOHW.shape[3] - 1
    return x_BOHW[:, :, down : down + high, right : right + wide]

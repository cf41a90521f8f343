"""Lower bounds of squared distances in few dimensions, and their minima over groups of points, never a whole matrix.

Shapes: B queries, N points, G groups of `GROUP` consecutive points, D dimensions, p of the bounds.
"""

import math

import torch

GROUP = 16
TILE_ELEMENTS = 2**17
"""Bounds computed at once on a CPU: 512 KiB, which a core's cache holds."""
DEVICE_ELEMENTS = 2**24
"""The same on other devices: 64 MiB."""
SHARE = 0.95
"""Of the points' variance that axes keep: with less, bounds are too low to be of use."""
LEAST_GAIN = 3
"""Axes replace at least so many dimensions each."""
MOST_AXES = 128
SAMPLED = 256
"""Points that axes are fitted to; as many others say what they keep."""
CHUNK = 2048
"""Points mapped at once."""


class LowerBounds:
    """A map T to few dimensions with ‖T(x) - T(y)‖ <= ‖x - y‖, and points mapped by it.

    T(x) = (A x, ‖x - A'A x‖) with orthonormal rows A: by the triangle inequality, the last coordinates of two points
    differ by no more than what A leaves of them. Any A is valid; it is fitted to the leading directions of the points.
    Where few directions keep too little, T(x) = x, and the bounds are the distances themselves.

    The points as a matrix Y with ‖T(y)‖^2 in its last column make `ranks`, ‖T(y)‖^2 - 2 T(x).T(y), one product.
    """

    def __init__(self, y_ND: torch.Tensor, *, reduced: bool = True) -> None:
        self.y = y_ND
        self._center = y_ND.float().mean(0)
        self._axes = _axes(y_ND, self._center) if reduced else None
        coordinates = self.map(y_ND)
        norms_N = torch.linalg.vector_norm(coordinates, dim=1).square()
        self._farthest = norms_N.max().sqrt()
        # Points that fill the last group up are infinitely far.
        missing = -len(y_ND) % GROUP
        self.matrix = torch.nn.functional.pad(torch.cat([coordinates, norms_N[:, None]], 1), (0, 0, 0, missing))
        self.matrix[len(y_ND) :, -1] = torch.inf

    @property
    def exact(self) -> bool:
        """Whether bounds are the distances."""
        return self._axes is None

    def map(self, x_BD: torch.Tensor) -> torch.Tensor:
        """T(x) [B,p], float32 with the rounding of its entries alone."""
        if self._axes is None:
            return (x_BD - self._center).float()
        parts = []
        for part in x_BD.split(CHUNK):
            centered = part.double().sub_(self._center)
            along = centered @ self._axes
            rest = torch.linalg.vector_norm(centered, dim=1).square_() - along.square().sum(1)
            parts.append(torch.cat([along, rest.clamp_min_(0).sqrt_()[:, None]], 1).float())
        return torch.cat(parts)

    def error(self, norms_B: torch.Tensor) -> torch.Tensor:
        """Of ranks of queries with these ‖T(x)‖^2, plus those: float64 [B], by which they are off at most."""
        reach = norms_B.double().sqrt() + self._farthest
        # A product of p terms is off by at most p eps |x||y|, norms and rounded coordinates by a few eps of theirs.
        relative = (self.matrix.shape[1] + 8) * torch.finfo(torch.float32).eps
        if self._axes is not None:
            # The rest is the root of a difference of two sums in float64, which may be nothing but their rounding.
            dimension, axes = self._axes.shape
            relative += 2 * math.sqrt(8 * dimension * math.sqrt(axes) * torch.finfo(torch.float64).eps)
        return relative * reach.square()

    def minima(self, weights_Bp: torch.Tensor) -> torch.Tensor:
        """The smallest rank of each group [B,G]. weights: of queries, see `weights`."""
        elements = TILE_ELEMENTS if self.matrix.device.type == "cpu" else DEVICE_ELEMENTS
        weights = weights_Bp.T.contiguous()
        count = weights.shape[1]
        groups, step = len(self.matrix) // GROUP, max(1, elements // (count * GROUP))
        found = weights.new_empty(groups, count)
        scratch = weights.new_empty(min(groups, step) * GROUP, count)
        for start in range(0, groups, step):
            rows = self.matrix[start * GROUP : (start + step) * GROUP]
            ranks = torch.mm(rows, weights, out=scratch[: len(rows)])
            torch.amin(ranks.unflatten(0, (-1, GROUP)), 1, out=found[start : start + step])
        return found.T.contiguous()

    def ranks(self, weights_Bp: torch.Tensor, stop: int) -> torch.Tensor:
        """Of the first points [B,stop]."""
        return weights_Bp @ self.matrix[:stop].T

    def of_groups(self, weights_Pp: torch.Tensor, groups_P: torch.Tensor) -> torch.Tensor:
        """The ranks of each member of one group a query [P,GROUP]."""
        members = self.matrix.unflatten(0, (-1, GROUP))[groups_P]
        return torch.bmm(members, weights_Pp[:, :, None])[:, :, 0]


def weights(mapped_Bp: torch.Tensor) -> torch.Tensor:
    """What `LowerBounds.matrix` is multiplied by, from T(x): [B,p+1]."""
    return torch.cat([-2 * mapped_Bp, mapped_Bp.new_ones(len(mapped_Bp), 1)], 1)


def _axes(y_ND: torch.Tensor, center_D: torch.Tensor) -> torch.Tensor | None:
    """Orthonormal columns [D,p], float64, as few as keep `SHARE` of the variance; None where too many would be needed.

    Two steps of subspace iteration (Halko, Martinsson & Tropp 2011, algorithm 4.4) on some points, begun at points.
    """
    count, dimension = y_ND.shape
    most = min(MOST_AXES, dimension // LEAST_GAIN)
    if most < 1 or count < 2 * SAMPLED:
        return None
    sample = y_ND[:: count // (2 * SAMPLED)][: 2 * SAMPLED].double() - center_D
    fitted, other = sample[::2], sample[1::2]
    basis = fitted[:most].T
    for _ in range(2):
        basis = torch.linalg.qr(fitted.T @ (fitted @ basis))[0]
    basis = basis @ torch.linalg.eigh((fitted @ basis).T @ (fitted @ basis))[1].flip(1)
    kept = (other @ basis).square().sum(0).cumsum(0) >= SHARE * other.square().sum()
    if not bool(kept.any()):
        return None
    return basis[:, : int(kept.nonzero()[0, 0]) + 1].contiguous()

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
SHARE = 0.97
"""Of the points' variance that axes are to keep."""
LEAST_SHARE = 0.9
"""With less, bounds are too low to be of use."""
LEAST_DIMENSIONS = 96
"""With fewer, a product is fast enough."""
LEAST_GAIN = 3
"""Axes replace at least so many dimensions each."""
MOST_AXES = 96
SAMPLED = 128
"""Points that axes are fitted to; as many others say what they keep."""
CHUNK = 256
"""Points mapped at once."""


class LowerBounds:
    """A linear map T to few dimensions with ‖T(x) - T(y)‖ <= ‖x - y‖, and points mapped by it.

    T is an orthogonal projection, on leading directions of the points; on any others it would be a bound too. Where few
    directions keep too little, T(x) = x, and the bounds are the distances themselves.

    The points as a matrix Y with ‖T(y)‖^2 in its last column make `ranks`, ‖T(y)‖^2 - 2 T(x).T(y), one product.
    """

    def __init__(self, y_ND: torch.Tensor, *, reduced: bool = True) -> None:
        self.y = y_ND
        self._center = y_ND.float().mean(0)
        self._axes = _axes(y_ND, self._center) if reduced else None
        width = y_ND.shape[1] if self._axes is None else self._axes.shape[1]
        # Points that fill the last group up are infinitely far.
        rows = math.ceil(len(y_ND) / GROUP) * GROUP
        self.matrix = torch.empty(rows, width + 1, dtype=torch.float32, device=y_ND.device)
        self.matrix[len(y_ND) :] = torch.tensor([0.0] * width + [torch.inf])
        self._map(y_ND, self.matrix[: len(y_ND), :-1])
        norms_N = torch.linalg.vector_norm(self.matrix[: len(y_ND), :-1], dim=1).square_()
        self.matrix[: len(y_ND), -1] = norms_N
        self._farthest = norms_N.max().sqrt()

    @property
    def exact(self) -> bool:
        """Whether bounds are the distances."""
        return self._axes is None

    def weights(self, x_QD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the matrix is multiplied by for queries, [Q,p+1], and their ‖T(x)‖^2 [Q], float64."""
        found = self.matrix.new_ones(len(x_QD), self.matrix.shape[1])
        mapped = found[:, :-1]
        self._map(x_QD, mapped)
        norms_Q = torch.linalg.vector_norm(mapped, dim=1).square_().double()
        mapped.mul_(-2)
        return found, norms_Q

    def _map(self, x_BD: torch.Tensor, out_Bp: torch.Tensor) -> None:
        """T(x)."""
        for part, out in zip(x_BD.split(CHUNK), out_Bp.split(CHUNK), strict=True):
            centered = (part - self._center).float()
            out.copy_(centered if self._axes is None else centered @ self._axes)

    def error(self, norms_Q: torch.Tensor) -> torch.Tensor:
        """Of ranks of queries with these ‖T(x)‖^2, plus those: float64 [Q], by which they are off at most."""
        reach = norms_Q.sqrt() + self._farthest
        # A product of p terms is off by at most p eps |x||y|, norms and rounded coordinates by a few eps of theirs.
        relative = self.matrix.shape[1] + 8.0
        if self._axes is not None:
            # Each of p coordinates is a product of D terms.
            relative += self._axes.shape[0] * math.sqrt(self._axes.shape[1])
        return relative * torch.finfo(torch.float32).eps * reach.square()

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
        members = self.matrix.unflatten(0, (-1, GROUP)).index_select(0, groups_P)
        return members.mul_(weights_Pp[:, None]).sum(2)


def _axes(y_ND: torch.Tensor, center_D: torch.Tensor) -> torch.Tensor | None:
    """Orthonormal columns [D,p], as few as keep `SHARE` of the variance, or as many as pay; None for too small a share.

    Principal components of some points.
    """
    count, dimension = y_ND.shape
    if dimension < LEAST_DIMENSIONS or count < 2 * SAMPLED:
        return None
    sample = y_ND[:: count // (2 * SAMPLED)][: 2 * SAMPLED].double() - center_D
    fitted, other = sample[::2], sample[1::2]
    _, vectors = torch.linalg.eigh(fitted @ fitted.T)
    directions = fitted.T @ vectors.flip(1)[:, : min(MOST_AXES, dimension // LEAST_GAIN)]
    # Of points in fewer directions, the last are nothing but rounding.
    basis = torch.linalg.qr(directions)[0]
    kept = (other @ basis).square().sum(0).cumsum(0) / other.square().sum()
    if float(kept[-1]) < LEAST_SHARE:
        return None
    return basis[:, : 1 + int((kept < SHARE).sum())].float()

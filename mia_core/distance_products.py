"""Squared distances by matrix products, how far they may be off, and their minima over groups of points.

Shapes: B or Q queries, N points, G groups of `GROUP` consecutive points, D dimensions, p columns of a product.
"""

import functools
import math
import time

import torch

GROUP = 16
TILE_ELEMENTS = {torch.float32: 2**17, torch.bfloat16: 2**20}
"""Distances computed at once on a CPU, 512 KiB and 2 MiB, which a core's cache holds."""
GATHERED_ELEMENTS = {torch.float32: 2**17, torch.bfloat16: 2**19}
"""Numbers of group members at once, 512 KiB and 1 MiB."""
DEVICE_ELEMENTS = 2**24
"""The same on other devices: 64 MiB."""
LEAST_DIMENSIONS = 96
"""With fewer, a product in float32 is as fast."""
COLUMNS = 32
"""AMX multiplies so many bfloat16 columns at a time, AVX-512 as many at once."""
UNITS = ("amx_bf16", "avx512_bf16")
"""Instructions that multiply bfloat16 numbers and sum in float32; others round sums otherwise, or convert first."""
TIMES_AS_FAST = 2
"""Below, looking into more groups would take what the product saves."""
FILLED_ELEMENTS = 2**17
"""Coordinates rounded at once: 512 KiB."""


class Products:
    """Points as a matrix whose product with queries is their squared distances, ‖x‖^2 - 2 x.y + ‖y‖^2.

    Points and queries are centered. Where the processor multiplies bfloat16 numbers several times as fast, they are
    rounded to these. Rounding moves a point y by |y - y'|, which is known, so that by the triangle inequality
    distances are off by |x - x'| + |y - y'| at most. Squared norms are sums of as many numbers of the format as keep
    float32's digits; sums are in float32.
    """

    def __init__(self, y_ND: torch.Tensor, *, rounded: bool | None = None) -> None:
        """rounded: to bfloat16; where that is faster if None."""
        dimension = y_ND.shape[1]
        if rounded is None:
            rounded = dimension >= LEAST_DIMENSIONS and y_ND.device.type == "cpu" and _bfloat16_is_faster()
        self.rounded = rounded
        self._center = y_ND.float().mean(0)
        self._parts = 3 if rounded else 1
        width = dimension + 2 * self._parts
        # Points that fill the last group up are infinitely far.
        rows = math.ceil(len(y_ND) / GROUP) * GROUP
        self.matrix = y_ND.new_zeros(
            rows,
            math.ceil(width / COLUMNS) * COLUMNS if rounded else width,
            dtype=torch.bfloat16 if rounded else torch.float32,
        )
        self.matrix[len(y_ND) :, dimension] = torch.inf
        norms_N, moved_N = self._fill(y_ND, self.matrix[: len(y_ND)], 0)
        self._farthest, self._moved = norms_N.max().sqrt(), moved_N.max()

    def weights(self, x_QD: torch.Tensor) -> tuple[torch.Tensor, "Errors"]:
        """What the matrix is multiplied by for queries, [Q,p], and the errors of what it gives."""
        found = self.matrix.new_zeros(len(x_QD), self.matrix.shape[1])
        norms_Q, moved_Q = self._fill(x_QD, found, self._parts)
        found[:, : x_QD.shape[1]].mul_(-2)
        # Of a sum of p products, and of norms; of numbers that are centered in float32, a few. Smaller ones than `tiny`
        # may be lost.
        columns, float32 = self.matrix.shape[1], torch.finfo(torch.float32)
        relative, lost = (columns + 10) * float32.eps, 4 * columns * float32.tiny
        sums = relative * (norms_Q.sqrt() + self._farthest).square() + lost
        moved = (1 + relative) * (moved_Q + self._moved + math.sqrt(lost)) if self.rounded else moved_Q
        return found, Errors(sums, moved, torch.finfo(torch.bfloat16).eps if self.rounded else 0.0)

    def _fill(self, x_BD: torch.Tensor, out_Bp: torch.Tensor, place: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Write rounded coordinates, their squared norms after `place` columns, and ones beside; norms, moved [B]."""
        dimension = x_BD.shape[1]
        norms_B, moved_B = (self._center.new_zeros(len(x_BD)) for _ in range(2))
        step = max(1, FILLED_ELEMENTS // dimension)
        for part, out, norms, moved in zip(*(a.split(step) for a in (x_BD, out_Bp, norms_B, moved_B)), strict=True):
            centered = (part - self._center).float()
            values = out[:, :dimension].copy_(centered).float()
            torch.linalg.vector_norm(values, dim=1, out=norms)
            if self.rounded:
                torch.linalg.vector_norm(centered.sub_(values), dim=1, out=moved)
        norms_B.square_()
        out_Bp[:, dimension : dimension + 2 * self._parts] = 1
        rest_B = norms_B
        for column in range(dimension + place, dimension + place + self._parts):
            out_Bp[:, column] = rest_B
            rest_B = rest_B - out_Bp[:, column].float()
        return norms_B.double(), moved_B.double()

    def minima(self, weights_Bp: torch.Tensor) -> torch.Tensor:
        """The smallest squared distance to each group, float32 [B,G]. weights: of queries, see `weights`."""
        elements = TILE_ELEMENTS[self.matrix.dtype] if self.matrix.device.type == "cpu" else DEVICE_ELEMENTS
        weights = weights_Bp.T.contiguous()
        count = weights.shape[1]
        groups, step = len(self.matrix) // GROUP, max(1, elements // (count * GROUP))
        found = weights.new_empty(groups, count)
        scratch = weights.new_empty(min(groups, step) * GROUP, count)
        for start in range(0, groups, step):
            rows = self.matrix[start * GROUP : (start + step) * GROUP]
            squares = torch.mm(rows, weights, out=scratch[: len(rows)])
            torch.amin(squares.unflatten(0, (-1, GROUP)), 1, out=found[start : start + step])
        return found.T.contiguous().float()

    def squares(self, weights_Bp: torch.Tensor, stop: int) -> torch.Tensor:
        """Squared distances to the first points, float32 [B,stop]."""
        return (weights_Bp @ self.matrix[:stop].T).float()

    def of_groups(self, weights_Bp: torch.Tensor, rows_P: torch.Tensor, groups_P: torch.Tensor) -> torch.Tensor:
        """Squared distances to each member of one group a query, float32 [P,GROUP]."""
        step = max(1, GATHERED_ELEMENTS[self.matrix.dtype] // (GROUP * self.matrix.shape[1]))
        points = self.matrix.unflatten(0, (-1, GROUP))
        found = self.matrix.new_empty(len(groups_P), GROUP, 1)
        for rows, groups, out in zip(*(a.split(step) for a in (rows_P, groups_P, found)), strict=True):
            torch.bmm(points.index_select(0, groups), weights_Bp.index_select(0, rows)[:, :, None], out=out)
        return found[:, :, 0].float()


class Errors:
    """How far squared distances of products are off, for each of some queries; all float64 [B]."""

    def __init__(self, sums_B: torch.Tensor, moved_B: torch.Tensor, written: float) -> None:
        """sums: of a product. moved: of a distance, by rounding. written: of a product as it is kept, relative."""
        self.sums, self.moved, self.written = sums_B, moved_B, written

    def __getitem__(self, rows: slice | torch.Tensor) -> "Errors":
        return Errors(self.sums[rows], self.moved[rows], self.written)

    def highest(self, squares_B: torch.Tensor) -> torch.Tensor:
        """A distance [B] that is as large at least, for a square that a product gave."""
        return (squares_B.double().clamp_min(0) * (1 + self.written) + self.sums).sqrt() + self.moved

    def possible(self, distances: torch.Tensor | float) -> torch.Tensor:
        """The largest square [B] that a product can give for such a distance."""
        return ((distances + self.moved).square() + self.sums) * (1 + self.written)

    def certain(self, distances: torch.Tensor | float) -> torch.Tensor:
        """A square [B] up to which a product's is of no larger distance."""
        inner = distances - self.moved
        squares = inner.square() - self.sums
        return torch.where((inner < 0) | (squares < 0), -torch.inf, squares * (1 - self.written))


@functools.cache
def _bfloat16_is_faster() -> bool:
    """Whether this processor has units for bfloat16, and its product of small matrices takes half of float32's time."""
    mkldnn, capabilities = torch.backends.mkldnn, torch.cpu.get_capabilities()
    if not (any(capabilities.get(unit) for unit in UNITS) and mkldnn.is_available() and mkldnn.enabled):
        return False
    return _seconds(torch.float32) >= TIMES_AS_FAST * _seconds(torch.bfloat16)


def _seconds(dtype: torch.dtype) -> float:
    """Of a product of 1,024 x 256 by 256 x 256 numbers, the least of five."""
    left, right = (torch.ones(rows, 256, dtype=dtype) for rows in (1024, 256))
    found = []
    for _ in range(5):
        start = time.perf_counter()
        torch.mm(left, right)
        found.append(time.perf_counter() - start)
    return min(found)

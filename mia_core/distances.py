"""Nearest neighbors and neighbors within a radius, in Euclidean distance, of nested numbers of points in one pass.

Shapes: Q queries, N points, D dimensions, L levels (the first N_l points each), k neighbors.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from mia_core.lower_bounds import GROUP, LowerBounds

SHORTLIST = 16
MOST_PAIRS = 256
"""Points beyond k that are measured for one query; where more may be among the nearest, a finer way is taken."""
DENSE = 16
"""Groups are looked into one by one where at most one in so many has a point that is near enough."""
WORTH = 64
"""Pairs are measured where they are at most one in so many: a product of all takes as long."""
BLOCK_ELEMENTS = 2**23
"""Pairs of queries and points that are looked at together."""
KEPT_ELEMENTS = 2**26
"""Minima of one search that are kept for the next question: 256 MiB at most; above, they are computed again."""
GATHERED_ELEMENTS = 2**20
"""Numbers of group members at once: 4 MiB."""
EXACT_ELEMENTS = 2**18
"""Differences measured at once: 2 MiB."""


def nearest(x_QD: torch.Tensor, y_ND: torch.Tensor, k: int = 1, chunk: int = 1024) -> tuple[torch.Tensor, torch.Tensor]:
    """The k smallest distances [Q,k], ascending, from rows of x to rows of y, and the indices [Q,k] of those rows.

    ‖x - y‖^2 = ‖x‖^2 - 2 x.y + ‖y‖^2 loses small distances to rounding, so the best k + 16 are measured again by
    subtraction: a copied record is at distance 0, not at 1e-8. All in float64, so that the samples of a collapsed
    generator, which lie close together, are still told apart. Raises ValueError when y has fewer than k rows.
    """
    _require(k, len(y_ND))
    center = y_ND.double().mean(0)
    y = y_ND - center
    norms_N = y.square().sum(1)
    distances, indices = [], []
    for part in x_QD.split(chunk):
        rows = part - center
        ranks = norms_N - 2 * rows @ y.T
        candidates = ranks.topk(min(k + SHORTLIST, len(y)), dim=1, largest=False).indices
        exact = torch.stack([(row - y[near]).norm(dim=1) for row, near in zip(rows, candidates, strict=True)])
        best, order = exact.sort(dim=1, stable=True)
        distances.append(best[:, :k].to(x_QD.dtype))
        indices.append(candidates.gather(1, order[:, :k]))
    return torch.cat(distances), torch.cat(indices)


def _require(k: int, points: int) -> None:
    if points < k:
        raise ValueError(f"nearest: {k} neighbors asked of {points} points")


class Search:
    """Questions about the same queries and points, answered from minima of lower bounds over groups of points.

    The minima (`LowerBounds`, float32) are computed once for every k, radius and level, and say where to look. What
    their error bound leaves undecided is measured by subtraction in float64, so answers are those of `nearest`, and of
    a count of exact distances.
    """

    def __init__(self, x_QD: torch.Tensor, y_ND: torch.Tensor, bounds: LowerBounds | None = None) -> None:
        """bounds: of these points, where they are known."""
        self.x, self.y = x_QD, y_ND
        self._bounds = LowerBounds(y_ND) if bounds is None else bounds
        self._weights, self._norms_Q = self._bounds.weights(x_QD)
        self._error_Q = self._bounds.error(self._norms_Q)
        self._plain: LowerBounds | None = None
        self._nearest: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = {}
        self._kept: list[torch.Tensor] | None = [] if len(x_QD) * len(y_ND) <= GROUP * KEPT_ELEMENTS else None

    @property
    def elements(self) -> int:
        """Numbers that are kept for the next question."""
        return sum(minima.numel() for minima in self._kept or ())

    def among(self, x_QD: torch.Tensor) -> "Search":
        """Another search, of other queries, among the same points."""
        return Search(x_QD, self.y, self._bounds)

    def nearest(self, levels: Sequence[int], k: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        """The k smallest distances [L,Q,k], ascending, to the first points of each level, and their indices [L,Q,k].

        Raises ValueError when a level has fewer than k points.
        """
        for level in levels:
            _require(k, min(level, len(self.y)))
        if missing := [level for level in levels if (level, k) not in self._nearest]:
            parts = [[self._nearest_of(*block, level, k) for level in missing] for block in self._blocks()]
            for level, found in zip(missing, zip(*parts, strict=True), strict=True):
                self._nearest[level, k] = torch.cat([d for d, _ in found]), torch.cat([i for _, i in found])
        answers = [self._nearest[level, k] for level in levels]
        return torch.stack([distances for distances, _ in answers]), torch.stack([indices for _, indices in answers])

    def counts(self, radii: Sequence[float], levels: Sequence[int]) -> torch.Tensor:
        """How many of the first points of each level are within its radius (inclusive), int64 [L,Q]."""
        parts = [
            torch.stack([self._count_of(*block, r, level) for r, level in zip(radii, levels, strict=True)])
            for block in self._blocks()
        ]
        return torch.cat(parts, 1)

    def smallest(self, count: int, level: int) -> float:
        """The `count`-th smallest distance of all queries to the first points of a level."""
        if not self._bounds.exact:
            return self._finer(slice(None)).smallest(count, level)
        found = self._norms_Q.new_empty(0)
        for rows, minima in self._blocks():
            whole = minima[:, : level // GROUP]
            ranks = whole if whole.numel() >= count else self._bounds.ranks(self._weights[rows], level)
            part = (ranks + self._norms_Q[rows, None]).flatten()
            found = torch.cat([found, part.topk(min(count, len(part)), largest=False).values])
            found = found.topk(min(count, len(found)), largest=False).values
        edge = found[-1] + 2 * self._error_Q.max()
        exact = []
        for rows, minima in self._blocks():
            row, column, _ = self._within(rows, minima, edge - self._norms_Q[rows], level)
            exact.append(self._between(rows.start + row, column))
        return float(torch.cat(exact).kthvalue(count).values)

    def _blocks(self) -> Iterator[tuple[slice, torch.Tensor]]:
        """Some queries, and the minima [B,G] of theirs."""
        number = max(1, math.ceil(len(self.x) * len(self.y) / BLOCK_ELEMENTS))
        rows = max(1, math.ceil(len(self.x) / number))
        for place, start in enumerate(range(0, len(self.x), rows)):
            block = slice(start, min(start + rows, len(self.x)))
            if self._kept is None:
                yield block, self._bounds.minima(self._weights[block])
                continue
            if place == len(self._kept):
                self._kept.append(self._bounds.minima(self._weights[block]))
            yield block, self._kept[place]

    def _nearest_of(self, rows: slice, minima: torch.Tensor, level: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Distances [B,k] and indices [B,k] of some queries."""
        # k points have a rank of at most the k-th smallest minimum of groups.
        few = level < 2 * k * GROUP
        ranks = self._bounds.ranks(self._weights[rows], level) if few else minima[:, : level // GROUP]
        edges = ranks.topk(k, dim=1, largest=False).values[:, -1].double() + 2 * self._error_Q[rows]
        found = self._pairs_of(rows, minima, edges, level, k)
        if not self._bounds.exact:
            reach = found.distances[:, k - 1].square()
            edges = torch.where(found.open, edges, reach - self._norms_Q[rows] + self._error_Q[rows])
            found = self._pairs_of(rows, minima, edges, level, k)
        distances, indices = found.distances[:, :k].to(self.x.dtype), found.indices[:, :k]
        if bool(found.open.any()):
            queries = torch.arange(rows.start, rows.stop, device=indices.device)[found.open]
            if self._bounds.exact:
                distances[found.open], indices[found.open] = nearest(self.x[queries], self.y[:level], k)
            else:
                answer = self._finer(queries).nearest([level], k)
                distances[found.open], indices[found.open] = answer[0][0], answer[1][0]
        return distances, indices

    def _pairs_of(self, rows: slice, minima: torch.Tensor, edges_B: torch.Tensor, level: int, k: int) -> "_Measured":
        """Distances of all points with a rank up to an edge, or of none of a query's where they are too many."""
        row, column, _ = self._within(rows, minima, edges_B, level)
        counts = row.bincount(minlength=len(edges_B))
        unsure = (counts > k + MOST_PAIRS) | (counts < k)  # fewer: nothing is known of what is not a number
        if bool(unsure.any()):
            kept = ~unsure[row]
            row, column, counts = row[kept], column[kept], counts.masked_fill(unsure, 0)
        place = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
        width = max(k, int(counts.max()))
        distances = torch.full((len(counts), width), torch.inf, dtype=torch.float64, device=row.device)
        indices = torch.zeros_like(distances, dtype=torch.long)
        distances[row, place] = self._between(rows.start + row, column)
        indices[row, place] = column
        distances, order = distances.sort(dim=1, stable=True)
        return _Measured(distances, indices.gather(1, order), unsure)

    def _count_of(self, rows: slice, minima: torch.Tensor, radius: float, level: int) -> torch.Tensor:
        """Of some queries, int64 [B]."""
        edges, error = radius**2 - self._norms_Q[rows], self._error_Q[rows]
        row, column, ranks = self._within(rows, minima, edges + error, level)
        if self._bounds.exact:
            inside = ranks <= (edges - error).float()[row]
        elif len(row) * WORTH > len(edges) * len(self.y):
            return self._finer(rows).counts([radius], [level])[0]
        else:
            inside = torch.zeros_like(row, dtype=torch.bool)
        unsure = (~inside).nonzero()[:, 0]
        inside[unsure] = self._between(rows.start + row[unsure], column[unsure]) <= radius
        return row[inside].bincount(minlength=len(edges))

    def _within(
        self, rows: slice, minima: torch.Tensor, edges_B: torch.Tensor, stop: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Row, column and rank [P] of all ranks up to an edge, in the first columns; in order of rows and columns."""
        edges, weights = edges_B.float(), self._weights[rows]
        near = minima[:, : math.ceil(stop / GROUP)] <= edges[:, None]
        row, group = near.nonzero(as_tuple=True)
        if len(row) * DENSE > near.numel():
            ranks = self._bounds.ranks(weights, stop)
            row, column = (ranks <= edges[:, None]).nonzero(as_tuple=True)
            return row, column, ranks[row, column]
        step = max(1, GATHERED_ELEMENTS // (GROUP * weights.shape[1]))
        parts = zip(row.split(step), group.split(step), strict=True)
        ranks = torch.cat([self._bounds.of_groups(weights.index_select(0, i), g) for i, g in parts])
        columns = group[:, None] * GROUP + torch.arange(GROUP, device=group.device)
        among, member = ((ranks <= edges[row, None]) & (columns < stop)).nonzero(as_tuple=True)
        return row[among], columns[among, member], ranks[among, member]

    def _finer(self, rows: slice | torch.Tensor) -> "Search":
        """Of some queries, by bounds that are the distances."""
        if self._plain is None:
            self._plain = LowerBounds(self.y, reduced=False)
        return Search(self.x[rows], self.y, self._plain)

    def _between(self, queries_P: torch.Tensor, points_P: torch.Tensor) -> torch.Tensor:
        """The distance of each pair [P], float64: differences of float32 numbers are exact there."""
        step = max(1, EXACT_ELEMENTS // self.x.shape[1])
        pairs = zip(queries_P.split(step), points_P.split(step), strict=True)
        return torch.cat(
            [self.x.index_select(0, i).double().sub_(self.y.index_select(0, j)).norm(dim=1) for i, j in pairs]
        )


@dataclass(frozen=True)
class _Measured:
    """Distances [B,m] of the nearest points, ascending and then infinite, their indices, and queries left open [B]."""

    distances: torch.Tensor
    indices: torch.Tensor
    open: torch.Tensor

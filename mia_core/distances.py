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
WORTH = 20
"""Pairs are measured in float32 where they are at most one in so many: a product of all takes as long."""
BLOCK_ELEMENTS = 2**23
"""Pairs of queries and points that are looked at together."""
KEPT_ELEMENTS = 2**26
"""Minima of one search that are kept for the next question: 256 MiB at most; above, they are computed again."""
GATHERED_ELEMENTS = 2**17
"""Numbers of group members at once: 512 KiB."""
EXACT_ELEMENTS = 2**18
"""Differences measured at once: 2 MiB."""


def nearest(x_QD: torch.Tensor, y_ND: torch.Tensor, k: int = 1, chunk: int = 1024) -> tuple[torch.Tensor, torch.Tensor]:
    """The k smallest distances [Q,k] from rows of x to rows of y, ascending, and the indices [Q,k] of those rows of y.

    ‖x - y‖^2 = ‖x‖^2 - 2 x.y + ‖y‖^2 loses small distances to rounding, so the best k + 16 candidates are measured
    again by subtraction: a copied record has distance 0, not 1e-8. Everything is computed in float64, so that the
    samples of a collapsed generator, which lie close together, remain distinct. ValueError if y has fewer than k rows.
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
        # Of a difference and of a sum of D squares in float32, each relative to itself.
        self._rounding = (x_QD.shape[1] + 8) * torch.finfo(torch.float32).eps
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
        highest = ranks.amin(1) if k == 1 else ranks.topk(k, dim=1, largest=False).values[:, -1]
        edges = highest.double() + 2 * self._error_Q[rows]
        pairs = self._pairs(rows, minima, edges, level, k)
        if not self._bounds.exact:
            reach = pairs.lowest(self._about(rows, pairs), k)[0][:, -1] * (1 + self._rounding)
            edges = torch.where(pairs.open, edges, reach.square() - self._norms_Q[rows] + self._error_Q[rows])
            pairs = self._pairs(rows, minima, edges, level, k)
            about = self._about(rows, pairs)
            reach = pairs.lowest(about, k)[0][:, -1] * (1 + self._rounding) / (1 - self._rounding)
            pairs = pairs.where(about <= reach[pairs.row])
        distances, indices = pairs.lowest(self._between(rows.start + pairs.row, pairs.column), k)
        distances = distances.to(self.x.dtype)
        if bool(pairs.open.any()):
            queries = torch.arange(rows.start, rows.stop, device=indices.device)[pairs.open]
            if self._bounds.exact:
                distances[pairs.open], indices[pairs.open] = nearest(self.x[queries], self.y[:level], k)
            else:
                answer = self._finer(queries).nearest([level], k)
                distances[pairs.open], indices[pairs.open] = answer[0][0], answer[1][0]
        return distances, indices

    def _pairs(self, rows: slice, minima: torch.Tensor, edges_B: torch.Tensor, level: int, k: int) -> "_Pairs":
        """All pairs with a rank up to an edge, but none of a query that has too many."""
        row, column, _ = self._within(rows, minima, edges_B, level)
        counts = row.bincount(minlength=len(edges_B))
        # Fewer than k are found only of what is not a number.
        pairs = _Pairs(row, column, (counts > k + MOST_PAIRS) | (counts < k))
        return pairs.where(~pairs.open[row]) if bool(pairs.open.any()) else pairs

    def _count_of(self, rows: slice, minima: torch.Tensor, radius: float, level: int) -> torch.Tensor:
        """Of some queries, int64 [B]."""
        edges, error = radius**2 - self._norms_Q[rows], self._error_Q[rows]
        row, column, ranks = self._within(rows, minima, edges + error, level)
        if self._bounds.exact:
            inside = ranks <= (edges - error).float()[row]
            unsure = (~inside).nonzero()[:, 0]
        elif len(row) * WORTH > len(edges) * len(self.y):
            return self._finer(rows).counts([radius], [level])[0]
        else:
            about = self._about(rows, _Pairs(row, column, row))
            inside = about < radius * (1 - self._rounding)
            unsure = (~inside & (about <= radius * (1 + self._rounding))).nonzero()[:, 0]
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

    def _about(self, rows: slice, pairs: "_Pairs") -> torch.Tensor:
        """The distance of each pair [P], up to `_rounding` of it."""
        return self._between(rows.start + pairs.row, pairs.column, exact=False).double()

    def _between(self, queries_P: torch.Tensor, points_P: torch.Tensor, *, exact: bool = True) -> torch.Tensor:
        """The distance of each pair [P], float64: differences of float32 numbers are exact there."""
        step = max(1, EXACT_ELEMENTS // self.x.shape[1])
        found = self.x.new_empty(len(queries_P), dtype=torch.float64 if exact else self.x.dtype)
        for i, j, out in zip(queries_P.split(step), points_P.split(step), found.split(step), strict=True):
            x = self.x.index_select(0, i)
            out.copy_((x.double() if exact else x).sub_(self.y.index_select(0, j)).norm(dim=1))
        return found


@dataclass(frozen=True)
class _Pairs:
    """Rows and columns [P], in order; rows [B] of which none are here."""

    row: torch.Tensor
    column: torch.Tensor
    open: torch.Tensor

    def where(self, kept_P: torch.Tensor) -> "_Pairs":
        """Some of them."""
        return _Pairs(self.row[kept_P], self.column[kept_P], self.open)

    def lowest(self, values_P: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The k smallest values [B,k] of each row, ascending, and their columns; infinite where there are none."""
        counts = self.row.bincount(minlength=len(self.open))
        place = torch.arange(len(self.row), device=self.row.device) - (counts.cumsum(0) - counts)[self.row]
        values = values_P.new_full((len(counts), max(k, int(counts.max()))), torch.inf)
        columns = torch.zeros_like(values, dtype=torch.long)
        values[self.row, place], columns[self.row, place] = values_P, self.column
        values, order = values.sort(dim=1, stable=True)
        return values[:, :k], columns.gather(1, order[:, :k])

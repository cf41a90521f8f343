"""Nearest neighbors and neighbors within a radius, in Euclidean distance, of nested numbers of points in one pass.

Shapes: Q queries, N points, D dimensions, L levels (the first N_l points each), k neighbors.
"""

import math
from collections.abc import Iterator, Sequence

import torch

from mia_core.distance_products import GROUP, Products

SHORTLIST = 16
MOST_PAIRS = 256
"""Points beyond k that are measured for one query; where more may be among the nearest, a finer way is taken."""
DENSE = 16
"""Groups are looked into one by one where at most one in so many has a point that is near enough."""
WORTH = 20
"""Pairs are measured where they are at most one in so many; else a finer product of all takes less time."""
BLOCK_ELEMENTS = 2**23
"""Pairs of queries and points that are looked at together."""
KEPT_ELEMENTS = 2**26
"""Minima of one search that are kept for the next question: 256 MiB at most; above, they are computed again."""
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
    """Questions about the same queries and points, answered from minima of squared distances to groups of points.

    The minima (`Products`, float32 or bfloat16) are computed once for every k, radius and level, and say where to look.
    What their error bounds leave undecided is measured by subtraction in float64, so answers are those of `nearest`,
    and of a count of exact distances.
    """

    def __init__(self, x_QD: torch.Tensor, y_ND: torch.Tensor, products: Products | None = None) -> None:
        """products: of these points, where they are known."""
        self.x, self.y = x_QD, y_ND
        self._products = Products(y_ND) if products is None else products
        self._weights, self._errors = self._products.weights(x_QD)
        self._plain: Products | None = None
        self._nearest: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = {}
        self._kept: list[torch.Tensor] | None = [] if len(x_QD) * len(y_ND) <= GROUP * KEPT_ELEMENTS else None

    @property
    def elements(self) -> int:
        """Numbers that are kept for the next question."""
        return sum(minima.numel() for minima in self._kept or ())

    def among(self, x_QD: torch.Tensor) -> "Search":
        """Another search, of other queries, among the same points."""
        return Search(x_QD, self.y, self._products)

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
        found = self.x.new_empty(0, dtype=torch.float64)
        for rows, minima in self._blocks():
            whole = minima[:, : level // GROUP]
            squares = whole if whole.numel() >= count else self._products.squares(self._weights[rows], level)
            part = self._errors[rows].highest(squares.T).flatten()
            found = torch.cat([found, part.topk(min(count, len(part)), largest=False).values])
            found = found.topk(min(count, len(found)), largest=False).values
        exact = []
        for rows, minima in self._blocks():
            row, column, _ = self._within(rows, minima, self._errors[rows].possible(found[-1]), level)
            exact.append(self._between(rows.start + row, column))
        return float(torch.cat(exact).kthvalue(count).values)

    def _blocks(self) -> Iterator[tuple[slice, torch.Tensor]]:
        """Some queries, and the minima [B,G] of theirs."""
        number = max(1, math.ceil(len(self.x) * len(self.y) / BLOCK_ELEMENTS))
        rows = max(1, math.ceil(len(self.x) / number))
        for place, start in enumerate(range(0, len(self.x), rows)):
            block = slice(start, min(start + rows, len(self.x)))
            if self._kept is None:
                yield block, self._products.minima(self._weights[block])
                continue
            if place == len(self._kept):
                self._kept.append(self._products.minima(self._weights[block]))
            yield block, self._kept[place]

    def _nearest_of(self, rows: slice, minima: torch.Tensor, level: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Distances [B,k] and indices [B,k] of some queries."""
        # k points have a square of at most the k-th smallest minimum of groups.
        few = level < 2 * k * GROUP
        squares = self._products.squares(self._weights[rows], level) if few else minima[:, : level // GROUP]
        highest = squares.amin(1) if k == 1 else squares.topk(k, dim=1, largest=False).values[:, -1]
        errors = self._errors[rows]
        row, column, _ = self._within(rows, minima, errors.possible(errors.highest(highest)), level)
        counts = row.bincount(minlength=len(highest))
        # Fewer than k are found only of what is not a number.
        many = (counts > k + MOST_PAIRS) | (counts < k)
        if bool(many.any()):
            row, column = row[~many[row]], column[~many[row]]
        distances, indices = _lowest(row, column, self._between(rows.start + row, column), len(highest), k)
        distances = distances.to(self.x.dtype)
        if bool(many.any()):
            queries = torch.arange(rows.start, rows.stop, device=indices.device)[many]
            if self._products.rounded:
                answer = self._finer(queries).nearest([level], k)
                distances[many], indices[many] = answer[0][0], answer[1][0]
            else:
                distances[many], indices[many] = nearest(self.x[queries], self.y[:level], k)
        return distances, indices

    def _count_of(self, rows: slice, minima: torch.Tensor, radius: float, level: int) -> torch.Tensor:
        """Of some queries, int64 [B]."""
        errors = self._errors[rows]
        row, column, squares = self._within(rows, minima, errors.possible(radius), level)
        inside = squares <= errors.certain(radius).float()[row]
        unsure = (~inside).nonzero()[:, 0]
        if self._products.rounded and len(unsure) * WORTH > len(minima) * len(self.y):
            return self._finer(rows).counts([radius], [level])[0]
        inside[unsure] = self._between(rows.start + row[unsure], column[unsure]) <= radius
        return row[inside].bincount(minlength=len(minima))

    def _within(
        self, rows: slice, minima: torch.Tensor, edges_B: torch.Tensor, stop: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Row, column and square [P] of all squares up to an edge, in the first columns; by rows, then columns."""
        edges, weights = edges_B.float(), self._weights[rows]
        near = minima[:, : math.ceil(stop / GROUP)] <= edges[:, None]
        row, group = near.nonzero(as_tuple=True)
        if len(row) * DENSE > near.numel():
            squares = self._products.squares(weights, stop)
            row, column = (squares <= edges[:, None]).nonzero(as_tuple=True)
            return row, column, squares[row, column]
        squares = self._products.of_groups(weights, row, group)
        columns = group[:, None] * GROUP + torch.arange(GROUP, device=group.device)
        among, member = ((squares <= edges[row, None]) & (columns < stop)).nonzero(as_tuple=True)
        return row[among], columns[among, member], squares[among, member]

    def _finer(self, rows: slice | torch.Tensor) -> "Search":
        """Of some queries, by products of points that are not rounded."""
        if self._plain is None:
            self._plain = Products(self.y, rounded=False)
        return Search(self.x[rows], self.y, self._plain)

    def _between(self, queries_P: torch.Tensor, points_P: torch.Tensor) -> torch.Tensor:
        """The distance of each pair [P], float64: differences of float32 numbers are exact there."""
        step = max(1, EXACT_ELEMENTS // self.x.shape[1])
        found = self.x.new_empty(len(queries_P), dtype=torch.float64)
        for i, j, out in zip(queries_P.split(step), points_P.split(step), found.split(step), strict=True):
            out.copy_(self.x.index_select(0, i).double().sub_(self.y.index_select(0, j)).norm(dim=1))
        return found


def _lowest(
    row: torch.Tensor, column: torch.Tensor, values: torch.Tensor, rows: int, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The k smallest values [B,k] of each row, ascending, and their columns; infinite where there are none.

    row, column, values: [P], in order of rows.
    """
    counts = row.bincount(minlength=rows)
    place = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
    table = values.new_full((rows, max(k, int(counts.max()))), torch.inf)
    columns = torch.zeros_like(table, dtype=torch.long)
    table[row, place], columns[row, place] = values, column
    table, order = table.sort(dim=1, stable=True)
    return table[:, :k], columns.gather(1, order[:, :k])

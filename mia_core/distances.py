"""Nearest neighbors and neighbors within a radius, in Euclidean distance, of nested numbers of points in one pass.

Shapes: Q queries, N points, D dimensions, L levels (the first N_l points each), k neighbors.
"""

from collections.abc import Iterator, Sequence

import torch

SHORTLIST = 16
SPARE = 1
"""Candidates beyond k that are measured exactly where single precision is enough to find them."""
MOST_UNSURE = 64
"""Queries of a block, where it is not, that are looked at one after the other."""
GROUP = 16
DENSE = 8
"""Groups are looked into one by one where at most one in so many has a point that is near enough."""
BLOCK_ELEMENTS = 2**22
"""Distances computed at once: 16 MiB."""
KEPT_ELEMENTS = 2**26
"""Distances of one search that are kept for the next question: 256 MiB at most; above, they are computed again."""
EXACT_ELEMENTS = 2**20
"""Differences measured at once: 8 MiB."""


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
    """Questions about the same queries and points; products in float32 are computed once for every k, radius and level.

    Whatever float32 cannot decide by its own error bound is measured again by subtraction in float64, so answers are
    those of `nearest`, and of a count of exact distances. Minima of groups of `GROUP` points, in one fast pass, say
    where to look.
    """

    def __init__(self, x_QD: torch.Tensor, y_ND: torch.Tensor) -> None:
        self.x, self.y = x_QD, y_ND
        center = y_ND.float().mean(0)
        self._x, self._y = x_QD.float() - center, y_ND.float() - center
        self._norms_Q, self._norms_N = (torch.linalg.vector_norm(p, dim=1).square() for p in (self._x, self._y))
        reach = self._norms_Q.sqrt() + self._norms_N.max().sqrt()
        # A product of D terms is off by at most about D eps |x||y|, norms and the shift by a few eps of theirs.
        self._error_Q = ((x_QD.shape[1] + 8) * torch.finfo(torch.float32).eps * reach.square()).double()
        self._nearest: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = {}
        self._kept: list[_Block] | None = [] if len(x_QD) * len(y_ND) <= KEPT_ELEMENTS else None

    @property
    def elements(self) -> int:
        """Distances that are kept."""
        return sum(block.ranks.numel() for block in self._kept or ())

    def _blocks(self) -> Iterator["_Block"]:
        rows = max(1, BLOCK_ELEMENTS // len(self.y))
        for number, start in enumerate(range(0, len(self.x), rows)):
            if self._kept is not None and number < len(self._kept):
                yield self._kept[number]
                continue
            ranks = torch.addmm(self._norms_N, self._x[start : start + rows], self._y.T, alpha=-2)
            block = _Block(slice(start, start + len(ranks)), ranks)
            if self._kept is not None:
                self._kept.append(block)
            yield block

    def nearest(self, levels: Sequence[int], k: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        """The k smallest distances [L,Q,k], ascending, to the first points of each level, and their indices [L,Q,k].

        Raises ValueError when a level has fewer than k points.
        """
        for level in levels:
            _require(k, min(level, len(self.y)))
        if missing := [level for level in levels if (level, k) not in self._nearest]:
            self._nearest |= zip([(level, k) for level in missing], self._search(missing, k), strict=True)
        found = [self._nearest[level, k] for level in levels]
        return torch.stack([distances for distances, _ in found]), torch.stack([indices for _, indices in found])

    def _search(self, levels: Sequence[int], k: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Distances [Q,k] and indices [Q,k] at each level."""
        found: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in levels]
        for block in self._blocks():
            ranks, near = block.ranks[:, :0], block.ranks[:, :0].long()
            before = 0
            for number, level in enumerate(levels):
                values, indices = block.lowest(before, level, k + SPARE + 1)
                ranks, near = torch.cat([ranks, values], 1), torch.cat([near, indices], 1)
                ranks, order = ranks.topk(min(k + SPARE + 1, ranks.shape[1]), dim=1, largest=False)
                near, before = near.gather(1, order), level
                found[number].append(self._measured(block, level, k, ranks, near))
        return [(torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])) for parts in found]

    def _measured(
        self, block: "_Block", level: int, k: int, ranks_Bc: torch.Tensor, near_Bc: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Exact distances [B,k] and indices of the best candidates; where others might be nearer, of these too."""
        near_Bc, rows = near_Bc[:, : k + SPARE], torch.arange(block.rows.start, block.rows.stop, device=near_Bc.device)
        reach = ranks_Bc[:, k - 1 : k] + 2 * self._error_Q[block.rows, None].float()
        row, place = (ranks_Bc[:, : k + SPARE] <= reach).nonzero(as_tuple=True)
        exact = torch.full(near_Bc.shape, torch.inf, dtype=torch.float64, device=near_Bc.device)
        exact[row, place] = self._between(rows[row], near_Bc[row, place])
        best, order = exact.sort(dim=1, stable=True)
        distances, indices = best[:, :k].to(self.x.dtype), near_Bc.gather(1, order[:, :k])
        if level > near_Bc.shape[1]:
            edge = best[:, k - 1].square() - self._norms_Q[block.rows].double() + self._error_Q[block.rows]
            unsure = (ranks_Bc[:, -1].double() < edge).nonzero()[:, 0]
            if len(unsure) > MOST_UNSURE:
                distances[unsure], indices[unsure] = nearest(self.x[block.rows][unsure], self.y[:level], k)
            else:
                for row in unsure.tolist():
                    columns = (block.ranks[row, :level] <= edge[row]).nonzero()[:, 0]
                    exact = self._between(rows[row].expand_as(columns), columns)
                    best, order = exact.sort(stable=True)
                    distances[row], indices[row] = best[:k].to(self.x.dtype), columns[order[:k]]
        return distances, indices

    def counts(self, radii: Sequence[float], levels: Sequence[int]) -> torch.Tensor:
        """How many of the first points of each level are within its radius (inclusive), int64 [L,Q]."""
        parts = []
        for block in self._blocks():
            error, edges = self._error_Q[block.rows], [r**2 - self._norms_Q[block.rows].double() for r in radii]
            columns = []
            for radius, level, edge in zip(radii, levels, edges, strict=True):
                row, column = block.within((edge + error).float(), level)
                inside = block.ranks[row, column] <= (edge - error).float()[row]
                unsure = (~inside).nonzero()[:, 0]
                inside[unsure] = self._between(block.rows.start + row[unsure], column[unsure]) <= radius
                columns.append(row[inside].bincount(minlength=len(block.ranks)))
            parts.append(torch.stack(columns))
        return torch.cat(parts, 1)

    def smallest(self, count: int, level: int) -> float:
        """The `count`-th smallest distance of all queries to the first points of a level."""
        found = self._norms_Q.new_empty(0)
        for block in self._blocks():
            part = (block.ranks[:, :level] + self._norms_Q[block.rows, None]).flatten()
            found = torch.cat([found, part.topk(min(count, len(part)), largest=False).values])
            found = found.topk(min(count, len(found)), largest=False).values
        edge = found[-1].double() + 2 * self._error_Q.max()
        exact = []
        for block in self._blocks():
            row, column = block.within((edge - self._norms_Q[block.rows]).float(), level)
            exact.append(self._between(block.rows.start + row, column))
        return float(torch.cat(exact).kthvalue(count).values)

    def _between(self, queries_P: torch.Tensor, points_P: torch.Tensor) -> torch.Tensor:
        """The distance of each pair [P], float64: differences of float32 numbers are exact there."""
        step = max(1, EXACT_ELEMENTS // self.x.shape[1])
        pairs = zip(queries_P.split(step), points_P.split(step), strict=True)
        return torch.cat([self.x[i].double().sub_(self.y[j]).norm(dim=1) for i, j in pairs])


class _Block:
    """Some queries. ranks: [B,N], ‖y‖^2 - 2 x.y in float32."""

    def __init__(self, rows: slice, ranks: torch.Tensor) -> None:
        self.rows, self.ranks = rows, ranks
        self._minima: dict[tuple[int, int], torch.Tensor] = {}

    def _groups(self, start: int, stop: int) -> torch.Tensor:
        """Minima [B,G] over columns start + g, start + g + G, ..; the last (stop - start) % GROUP are in none."""
        if (start, stop) not in self._minima:
            width = (stop - start) // GROUP
            part = self.ranks[:, start : start + width * GROUP]
            self._minima[start, stop] = part.unflatten(1, (GROUP, width)).amin(1)
        return self._minima[start, stop]

    def lowest(self, start: int, stop: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The `count` smallest ranks of each query in some columns, or all where there are fewer, and their columns.

        They are in the groups of the smallest minima.
        """
        width = (stop - start) // GROUP
        if width <= GROUP * count:
            found = self.ranks[:, start:stop].topk(min(count, stop - start), dim=1, largest=False)
            return found.values, found.indices + start
        groups = self._groups(start, stop).topk(count, dim=1, largest=False).indices + start
        steps = torch.arange(GROUP, device=groups.device) * width
        rest = torch.arange(start + width * GROUP, stop, device=groups.device).expand(len(groups), -1)
        columns = torch.cat([(groups[:, :, None] + steps).flatten(1), rest], 1)
        found = self.ranks.gather(1, columns).topk(count, dim=1, largest=False)
        return found.values, columns.gather(1, found.indices)

    def within(self, edges_B: torch.Tensor, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Row and column [P] of all ranks up to an edge, in the first columns."""
        width = stop // GROUP
        row, group = (self._groups(0, stop) <= edges_B[:, None]).nonzero(as_tuple=True)
        if len(row) * DENSE > len(self.ranks) * width:
            found = (self.ranks[:, :stop] <= edges_B[:, None]).nonzero(as_tuple=True)
            return found[0], found[1]
        columns = group[:, None] + torch.arange(GROUP, device=group.device) * width
        among, which = (self.ranks[row[:, None], columns] <= edges_B[row][:, None]).nonzero(as_tuple=True)
        tail_row, tail = (self.ranks[:, width * GROUP : stop] <= edges_B[:, None]).nonzero(as_tuple=True)
        return torch.cat([row[among], tail_row]), torch.cat([columns[among, which], tail + width * GROUP])

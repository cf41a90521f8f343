"""Nearest neighbors and neighbors within a radius, in Euclidean distance, of nested numbers of points in one pass.

Shapes: Q queries, N points, D dimensions, L levels (the first N_l points each), k neighbors.
"""

from collections.abc import Iterator, Sequence

import torch

SHORTLIST = 16
SPARE = 3
"""Candidates beyond k that are measured exactly where single precision is enough to find them."""
GROUP = 16
BLOCK_ELEMENTS = 2**22
"""Distances computed at once: 16 MiB."""
KEPT_ELEMENTS = 2**26
"""Distances of one search that are kept for the next question: 256 MiB at most; above, they are computed again."""
EXACT_ELEMENTS = 2**20
"""Differences measured at once: 8 MiB."""


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


def _lowest(x_BN: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The `count` smallest values of each row, or all where there are fewer, and their columns.

    Minima of groups of `GROUP` columns first, in one fast pass: the smallest values are in the groups that have the
    smallest minima.
    """
    width = x_BN.shape[1] // GROUP
    if width <= GROUP * count:
        return x_BN.topk(min(count, x_BN.shape[1]), dim=1, largest=False)
    groups = x_BN[:, : width * GROUP].unflatten(1, (GROUP, width)).amin(1).topk(count, dim=1, largest=False).indices
    steps = torch.arange(GROUP, device=x_BN.device) * width
    rest = torch.arange(width * GROUP, x_BN.shape[1], device=x_BN.device).expand(len(x_BN), -1)
    columns = torch.cat([(groups[:, :, None] + steps).flatten(1), rest], 1)
    found = x_BN.gather(1, columns).topk(count, dim=1, largest=False)
    return found.values, columns.gather(1, found.indices)


class Search:
    """Questions about the same queries and points; products in float32 are computed once for every k, radius and level.

    Whatever float32 cannot decide by its own error bound is measured again by subtraction in float64, so answers are
    those of `nearest`, and of a count of exact distances.
    """

    def __init__(self, x_QD: torch.Tensor, y_ND: torch.Tensor) -> None:
        self.x, self.y = x_QD, y_ND
        center = y_ND.float().mean(0)
        self._x, self._y = x_QD.float() - center, y_ND.float() - center
        self._norms_Q, self._norms_N = self._x.square().sum(1), self._y.square().sum(1)
        reach = self._norms_Q.sqrt() + self._norms_N.max().sqrt()
        # A product of D terms is off by at most about D eps |x||y|, norms and the shift by a few eps of theirs.
        self._error_Q = ((x_QD.shape[1] + 8) * torch.finfo(torch.float32).eps * reach.square()).double()
        self._kept: list[torch.Tensor] | None = [] if len(x_QD) * len(y_ND) <= KEPT_ELEMENTS else None

    @property
    def elements(self) -> int:
        """Distances that are kept."""
        return sum(block.numel() for block in self._kept or ())

    def _blocks(self) -> Iterator[tuple[int, torch.Tensor]]:
        """First query and [B,N], ‖y‖^2 - 2 x.y of a block of queries."""
        rows = max(1, BLOCK_ELEMENTS // len(self.y))
        for number, start in enumerate(range(0, len(self.x), rows)):
            if self._kept is not None and number < len(self._kept):
                yield start, self._kept[number]
                continue
            block = torch.addmm(self._norms_N, self._x[start : start + rows], self._y.T, alpha=-2)
            if self._kept is not None:
                self._kept.append(block)
            yield start, block

    def nearest(self, levels: Sequence[int], k: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        """The k smallest distances [L,Q,k], ascending, to the first points of each level, and their indices [L,Q,k].

        Raises ValueError when a level has fewer than k points.
        """
        for level in levels:
            _require(k, min(level, len(self.y)))
        wanted = k + SPARE
        found: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in levels]
        centers = [self.y[:level].mean(0, dtype=torch.float64) for level in levels]
        for start, block_BN in self._blocks():
            ranks, near = block_BN[:, :0], block_BN[:, :0].long()
            before = 0
            for number, level in enumerate(levels):
                values, indices = _lowest(block_BN[:, before:level], wanted + 1)
                ranks, near = torch.cat([ranks, values], 1), torch.cat([near, indices + before], 1)
                ranks, order = ranks.topk(min(wanted + 1, ranks.shape[1]), dim=1, largest=False)
                near, before = near.gather(1, order), level
                found[number].append(self._measured(start, ranks, near, centers[number], level, k))
        distances = torch.stack([torch.cat([part[0] for part in parts]) for parts in found])
        return distances, torch.stack([torch.cat([part[1] for part in parts]) for parts in found])

    def _measured(
        self, start: int, ranks_Bc: torch.Tensor, near_Bc: torch.Tensor, center: torch.Tensor, level: int, k: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Exact distances [B,k] of the best candidates; of rows where others might be nearer, by `nearest`."""
        rows = slice(start, start + len(near_Bc))
        measured = near_Bc[:, : k + SPARE]
        x = self.x[rows] - center
        step = max(1, EXACT_ELEMENTS // (measured.shape[1] * x.shape[1]))
        exact = torch.cat(
            [
                (row[:, None] - (self.y[near] - center)).norm(dim=2)
                for row, near in zip(x.split(step), measured.split(step), strict=True)
            ]
        )
        best, order = exact.sort(dim=1, stable=True)
        distances, indices = best[:, :k].to(self.x.dtype), measured.gather(1, order[:, :k])
        if level > measured.shape[1]:
            excluded = ranks_Bc[:, -1].double() + self._norms_Q[rows].double() - self._error_Q[rows]
            unsure = (best[:, k - 1].square() > excluded).nonzero()[:, 0]
            if len(unsure):
                distances[unsure], indices[unsure] = nearest(self.x[rows][unsure], self.y[:level], k)
        return distances, indices

    def counts(self, radii: Sequence[float], levels: Sequence[int]) -> torch.Tensor:
        """How many of the first points of each level are within its radius (inclusive), int64 [L,Q]."""
        parts = []
        for start, block_BN in self._blocks():
            rows = slice(start, start + len(block_BN))
            error = self._error_Q[rows]
            columns = []
            for radius, level in zip(radii, levels, strict=True):
                edge = radius**2 - self._norms_Q[rows].double()
                ranks = block_BN[:, :level]
                sure, possible = (edge - error).float()[:, None], (edge + error).float()[:, None]
                count = (ranks <= sure).sum(1)
                unsure = ((ranks <= possible).sum(1) != count).nonzero()[:, 0]
                if len(unsure):
                    undecided = (ranks[unsure] > sure[unsure]) & (ranks[unsure] <= possible[unsure])
                    count[unsure] += self._exactly_within(start + unsure, undecided, radius)
                columns.append(count)
            parts.append(torch.stack(columns))
        return torch.cat(parts, 1)

    def _exactly_within(self, queries_U: torch.Tensor, marked_UN: torch.Tensor, radius: float) -> torch.Tensor:
        """Of the marked pairs, how many of each query [U] are within the radius."""
        row, column = marked_UN.nonzero(as_tuple=True)
        within = torch.zeros_like(marked_UN)
        within[row, column] = self._between(queries_U[row], column) <= radius
        return within.sum(1)

    def smallest(self, count: int, level: int) -> float:
        """The `count`-th smallest distance of all queries to the first points of a level."""
        found = self._norms_Q.new_empty(0)
        for start, block_BN in self._blocks():
            part = (block_BN[:, :level] + self._norms_Q[start : start + len(block_BN), None]).flatten()
            found = torch.cat([found, part.topk(min(count, len(part)), largest=False).values])
            found = found.topk(min(count, len(found)), largest=False).values
        edge = found[-1].double() + 2 * self._error_Q.max()
        exact = found.new_empty(0, dtype=torch.float64)
        for start, block_BN in self._blocks():
            near = block_BN[:, :level] <= (edge - self._norms_Q[start : start + len(block_BN)]).float()[:, None]
            row, column = near.nonzero(as_tuple=True)
            exact = torch.cat([exact, self._between(start + row, column)])
        return float(exact.kthvalue(count).values)

    def _between(self, queries_P: torch.Tensor, points_P: torch.Tensor) -> torch.Tensor:
        """The distance of each pair [P], float64."""
        step = max(1, EXACT_ELEMENTS // self.x.shape[1])
        pairs = zip(queries_P.split(step), points_P.split(step), strict=True)
        return torch.cat([(self.x[i].double() - self.y[j].double()).norm(dim=1) for i, j in pairs])

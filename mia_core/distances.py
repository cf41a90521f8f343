"""Nearest neighbors in Euclidean distance: matrix products select candidates, exact differences rank them."""

import torch

SHORTLIST = 16


def nearest(x_QD: torch.Tensor, y_ND: torch.Tensor, k: int = 1, chunk: int = 1024) -> tuple[torch.Tensor, torch.Tensor]:
    """The k smallest distances [Q,k] from rows of x to rows of y, ascending, and the indices [Q,k] of those rows of y.

    ‖x - y‖^2 = ‖x‖^2 - 2 x.y + ‖y‖^2 loses small distances to rounding, so the best k + 16 candidates are measured
    again by subtraction: a copied record has distance 0, not 1e-8. Everything is computed in float64, so that the
    samples of a collapsed generator, which lie close together, remain distinct. ValueError if y has fewer than k rows.
    """
    if len(y_ND) < k:
        raise ValueError(f"nearest: {k} neighbors asked of {len(y_ND)} points")
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

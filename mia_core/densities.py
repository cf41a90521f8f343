"""Gaussian kernel density estimates in log space: nothing underflows, so that far points keep their order.

Shapes: N points, D dimensions, Q queries.
"""

import math

import torch

BLOCK_ELEMENTS = 2**21
"""Kernel values at once: 16 MiB."""


class Kde:
    """Gaussian kernels of the points' covariance times Scott's factor N^(-1/(D+4)) squared; all in float64.

    The same as `scipy.stats.gaussian_kde`, but for `ridge`, which is added to the covariance's diagonal, so that points
    in fewer dimensions have a density too. Takes two points.
    """

    def __init__(self, points_ND: torch.Tensor, ridge: float) -> None:
        points = points_ND.double()
        count, dimension = points.shape
        assert count > 1, count
        covariance = torch.cov(points.T).reshape(dimension, dimension)
        covariance = covariance + ridge * torch.eye(dimension, dtype=torch.float64, device=points.device)
        root = torch.linalg.cholesky(covariance * count ** (-2 / (dimension + 4)))
        self._root = root
        self._center = points.mean(0)
        self._log_peak = -dimension / 2 * math.log(2 * math.pi) - float(root.diagonal().log().sum())
        self.points = self.whitened(points)
        """[N,D]: the distance of two is in kernel widths."""

    def whitened(self, x_QD: torch.Tensor) -> torch.Tensor:
        """Points in which the kernel is standard normal."""
        return torch.linalg.solve_triangular(self._root, (x_QD.double() - self._center).T, upper=False).T

    def log_kernel(self, squared: torch.Tensor) -> torch.Tensor:
        """The log of the kernel at squared distances of whitened points."""
        return self._log_peak - squared / 2

    def log_density(self, x_QD: torch.Tensor) -> torch.Tensor:
        """log p(x) [Q]."""
        parts = []
        norms_N = self.points.square().sum(1)
        for x in self.whitened(x_QD).split(max(1, BLOCK_ELEMENTS // len(self.points))):
            squared = torch.addmm(norms_N, x, self.points.T, alpha=-2) + x.square().sum(1, keepdim=True)
            parts.append(torch.logsumexp(self.log_kernel(squared.clamp_min(0)), 1) - math.log(len(self.points)))
        return torch.cat(parts)

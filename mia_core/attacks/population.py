"""Attacks that compare the density of a model's samples with that of the population, known by reference records."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from mia_core.attacks.attack import Attack, Knowledge
from mia_core.densities import Kde
from mia_core.spaces import Pca, embedded

RIDGE = 1e-8
"""Added to the covariance of samples, in the mean variance of reference records: those of a collapsed generator."""


@dataclass(frozen=True)
class Population:
    """Reference records in the space of their first principal components, and their density."""

    space: Pca
    density: Kde
    ridge: float

    @classmethod
    def of(cls, reference: torch.Tensor, components: int) -> "Population":
        """Fitted on images [R,C,H,W]."""
        space = Pca(reference, components)
        points = embedded(space, reference)
        ridge = RIDGE * float(points.double().var(0).mean())
        return cls(space, Kde(points, ridge), ridge)


def unread_components(config: Any) -> dict[str, str]:
    """The setting `components` of an attack whose `space` is no PCA."""
    return {} if config.space == "pca" else {"components": f"with space {config.space} has no PCA"}


class PopulationAttack(Attack):
    """Scores by samples and reference records; the settings of a subclass have `generated` and `components`."""

    uses = frozenset({"samples"})
    needs = frozenset({"reference"})
    nested: ClassVar = "generated"

    @property
    def fewest(self) -> int:
        """Two records differ in one direction."""
        return 2

    def prepare(self, knowledge: Knowledge) -> Population:
        """The density of the reference records."""
        assert knowledge.reference is not None
        return Population.of(knowledge.reference, self.config.components)

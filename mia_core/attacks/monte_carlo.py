"""Monte Carlo attack (Hilprecht, Haerterich, Bernau 2019, section 4.1): how many samples lie near a query."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Gt, Lt

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS, Attack, Knowledge, SampleLevels, Scores
from mia_core.attacks.population import unread_components
from mia_core.distances import Search
from mia_core.settings import settings
from mia_core.spaces import ColorHistogram, Hog, Pca, Space, embedded
from mia_core.streams import Streams


@dataclass(frozen=True)
class _Prepared:
    """The space, and the reference records in it [R,D]."""

    space: Space
    reference: torch.Tensor


@ATTACKS.register
class MonteCarlo(Attack):
    """(1/N) sum_i 1[d(x, G(z_i)) <= epsilon]. Many queries tie, which metrics count half.

    Deviations: epsilon is a quantile of distances of *reference records* to the samples, where the authors take all
    queries, members among them; PCA is fitted on reference records too. Color histograms are by channel, in L2.
    """

    name = "monte_carlo"
    uses = frozenset({"samples"})
    needs = frozenset({"reference"})
    nested = "generated"

    @settings
    class Config:
        """generated: samples to draw. space: `pca`, `hog` or `color`. components: of the PCA, at most.

        radius: epsilon is the `median` over records of the distance to the nearest sample, or the `percentile` (a
        number, the next setting) of all distances.
        """

        generated: SampleLevels = 2000
        space: Literal["pca", "hog", "color"] = "pca"
        components: Annotated[int, Gt(0)] = 40
        radius: Literal["median", "percentile"] = "median"
        percentile: Annotated[float, Gt(0), Lt(100)] = 0.1

        @property
        def variant(self) -> str:
            """The space, and the radius unless it is the median."""
            return f"_{self.space}" + ("" if self.radius == "median" else f"_{self.radius}")

    config: Config

    @classmethod
    def unread(cls, config: Any) -> dict[str, str]:
        """The percentile of another radius, and the components of another space."""
        radius = {"percentile": "with radius median takes no percentile"} if config.radius == "median" else {}
        return radius | unread_components(config)

    @property
    def fewest(self) -> int:
        """Of a PCA, two."""
        return 2 if self.config.space == "pca" else 1

    def prepare(self, knowledge: Knowledge) -> _Prepared:
        """The space, and the reference records in it."""
        assert knowledge.reference is not None
        space: Space
        match self.config.space:
            case "hog":
                space = Hog()
            case "color":
                space = ColorHistogram()
            case "pca":
                space = Pca(knowledge.reference, self.config.components)
        return _Prepared(space, embedded(space, knowledge.reference))

    def run(self, view: View, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """The share of samples within epsilon, which is another one at each level."""
        prepared: _Prepared = knowledge.prepared
        search = self.shared.search(prepared.space, queries, view.samples(self.generated))
        counts = search.counts(self._radii(search.among(prepared.reference.double())), self.numbers)
        return Scores(self.levels, counts / torch.tensor(self.numbers, device=counts.device)[:, None])

    def _radii(self, search: Search) -> list[float]:
        """By level, of the distances of reference records."""
        if self.config.radius == "median":
            return [float(distances.median()) for distances in search.nearest(self.numbers)[0][:, :, 0]]
        share = self.config.percentile / 100 * len(search.x)
        return [search.smallest(max(1, math.ceil(share * level)), level) for level in self.numbers]

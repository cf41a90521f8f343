"""GAN-Leaks with samples alone (full black-box; Chen, Yu, Zhang, Fritz 2020, section 4.2), in a space of features."""

from typing import Annotated, Any, Literal

import torch
from annotated_types import Gt

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS, Attack, Knowledge, SampleLevels, Scores
from mia_core.attacks.population import unread_components
from mia_core.settings import settings
from mia_core.spaces import Features, Pca, Space
from mia_core.streams import Streams


@ATTACKS.register
class Nearest(Attack):
    """Minus the distance to the nearest generated sample; in pixels it is `euclidean`.

    Deviations: the authors' code searches in pixels alone, and their paper leaves the distance open. PCA and extractor
    are fitted on reference records, never on queries.
    """

    name = "nearest"
    uses = frozenset({"samples"})
    nested = "generated"

    @settings
    class Config:
        """generated: samples to draw. space: `pca` or `features` of the extractor. components: of the PCA, at most."""

        generated: SampleLevels = 2000
        space: Literal["pca", "features"] = "pca"
        components: Annotated[int, Gt(0)] = 40

        @property
        def variant(self) -> str:
            """The space."""
            return f"_{self.space}"

    config: Config

    @property
    def needs(self) -> frozenset[str]:
        """Reference records, or what was fitted on them."""
        return frozenset({"reference" if self.config.space == "pca" else "extractor"})

    @classmethod
    def unread(cls, config: Any) -> dict[str, str]:
        """The components of another space."""
        return unread_components(config)

    @property
    def fewest(self) -> int:
        """Of a PCA, two."""
        return 2 if self.config.space == "pca" else 1

    def prepare(self, knowledge: Knowledge) -> Space:
        """The space."""
        if self.config.space == "features":
            assert knowledge.extractor is not None
            return Features(knowledge.extractor)
        assert knowledge.reference is not None
        return Pca(knowledge.reference, self.config.components)

    def run(self, view: View, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """-min_i ‖f(x) - f(G(z_i))‖."""
        search = self.shared.search(knowledge.prepared, queries, view.samples(self.generated))
        return Scores(self.levels, -search.nearest(self.numbers)[0][:, :, 0])

"""A classifier on the norms of gradients, fitted on known records under the target itself."""

from typing import Literal

import numpy as np
import torch

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS, Attack, Knowledge, Scores
from mia_core.attacks.gradient_norms import SMALLEST
from mia_core.logistic import Logistic
from mia_core.settings import settings
from mia_core.streams import Streams


@ATTACKS.register
class KnownGradients(Attack):
    """Log odds of a logistic regression on the log norms of a record's gradient, one a parameter tensor.

    The features are those of GSA (Pang et al. 2025), which learns from shadow models; this attacker has none, and knows
    members and non-members of the target.
    """

    name = "known_gradients"
    uses = frozenset({"gradients"})
    needs = frozenset({"known_members", "known_non_members"})

    @settings
    class Config:
        """known: records of either side, in percent of the smallest training-set size."""

        known: Literal[10, 20, 30] = 20

        @property
        def variant(self) -> str:
            """`_20`."""
            return f"_{self.known}"

    config: Config

    def run(self, view: View, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """[1,Q]."""

        def features(images: torch.Tensor) -> np.ndarray:
            found = view.gradients(images, rng).clamp_min(SMALLEST).log()
            values: np.ndarray = found.double().cpu().numpy()
            return values

        members, others = knowledge.known_members, knowledge.known_non_members
        assert members is not None and others is not None
        sides = [features(images.to(queries.device)) for images in (others, members)]
        fitted = Logistic.fit(np.concatenate(sides), np.repeat([False, True], [len(side) for side in sides]))
        return Scores(self.levels, torch.from_numpy(fitted.log_odds(features(queries)))[None])

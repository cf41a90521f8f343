"""LOGAN's white-box attack (Hayes et al. 2019, section 4.2): rank queries by the target's own discriminator."""

import torch

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS, Attack, Knowledge, Scores
from mia_core.streams import Streams


@ATTACKS.register
class WhiteBox(Attack):
    """The score is the discriminator's output: one that overfits is more confident on its training records."""

    name = "white_box"
    uses = frozenset({"discriminate"})

    def run(self, view: View, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """The discriminator's logits [1,Q]."""
        return Scores(self.levels, view.discriminate(queries)[None])

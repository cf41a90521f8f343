"""LOGAN's white-box attack (Hayes et al. 2019, section 4.2): rank queries by the target's own discriminator."""

import torch

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS, Attack, Knowledge, Scores
from mia_core.streams import Streams


@ATTACKS.register
class WhiteBox(Attack):
    """A discriminator that overfits is more confident on records it was trained on."""

    name = "white_box"
    uses = frozenset({"discriminate"})

    def run(self, view: View, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """The discriminator's logits."""
        return Scores(self.levels, view.discriminate(queries)[None])

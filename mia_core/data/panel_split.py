"""The default split: judged records that are the same in all cells, each a member by its own coin."""

import math
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from annotated_types import Gt, Lt

from mia_core.data.ordered_units import TENTH
from mia_core.data.split import FAIR, SPLITS, Count, Membership, Split, SplitSettings, refuse_too_small
from mia_core.errors import Refused
from mia_core.settings import added_later, settings


@SPLITS.register
class Panel(Split):
    """The default: a panel of judged records, each a member by an independent coin per replicate, equal in all cells.

    The panel is the same for every training-set size, so cells are paired. Filler records, nested and never queried,
    bring the training set to its nominal size.
    """

    name = "panel"

    @settings
    class Config(SplitSettings):
        """Sizes in records. panel: judged records, each a member with `probability`.

        The expected number of members, with the known members, is at most the smallest train_size. Audits need fair
        coins, the default. extra_non_members: further queries that are never members and so are not judged: they share
        an error that intervals over replicates and records do not include. Earlier studies had them; a larger panel
        with a lower probability avoids that error. known: number of known members, and of known non-members; at least
        as many as any attack needs, whose `known` is in percent of the smallest train_size. reference and unseen: for
        feature networks, and for measuring quality. All sizes are explicit, so that another train_size changes no
        query. filler: `fill` brings every training set to train_size; `fixed` adds the same number of records whatever
        the coins are, so that a coin decides about its record alone and the number of members varies a little (standard
        deviation: root of panel x probability x (1 - probability)). Audits of private arms are then twice as sharp, and
        possible even if filler has whole groups or duplicates.
        """

        reference: Count
        unseen: Count
        panel: Annotated[int, Gt(1)]
        probability: Annotated[float, Gt(0), Lt(1)] = added_later(FAIR)
        extra_non_members: Count = 0
        known: Count = 0
        filler: Literal["fill", "fixed"] = "fill"

    config: Config

    def _check(self, smallest: int, largest: int) -> None:
        config = self.config
        if self._expected(config.panel) + config.known > smallest:
            most = (smallest - config.known) / config.probability
            raise Refused(
                f"split.panel: {config.probability:g} x {config.panel} records and {config.known} known members are "
                f"more than the smallest train_size {smallest}; at most {max(0, int(most))}, "
                "or a lower split.probability"
            )
        # Filler makes up n minus Binomial(panel, probability) members; six standard deviations always suffice.
        coins = max(0, int(config.probability * config.panel - 6 * self._deviation))
        refuse_too_small(
            self.pool,
            {
                "reference": config.reference,
                "unseen": config.unseen,
                "panel": config.panel,
                "extra_non_members": config.extra_non_members,
                "known": 2 * config.known,
                "filler": max(0, largest - config.known - coins),
            },
        )

    @property
    def _deviation(self) -> float:
        """Standard deviation of the number of members among independent coins, one per panel record."""
        probability = self.config.probability
        return (self.config.panel * probability * (1 - probability)) ** 0.5

    def _expected(self, records: int) -> int:
        """Expected number of members among `records` panel records, to the nearest integer, halves down."""
        return math.ceil(self.config.probability * records - 0.5)

    def _divide(self, smallest: int) -> None:
        self._panel = self._take("panel", max(1, self.config.panel // TENTH))
        extra = self._take("extra_non_members", max(1, self.config.extra_non_members // TENTH))
        self.panel, self.extra_non_members = self._panel.records, extra.records
        self.judged = np.sort(self.panel)
        self.known_members = self._take("known_members").records
        self.known_non_members = self._take("known_non_members").records
        self._filler = self._remaining
        self._queries = np.sort(np.concatenate([self.panel, self.extra_non_members]))
        self._chance = 4 * self._deviation
        single = np.repeat(self._panel.sizes == 1, self._panel.sizes)
        self.coin_swaps = self.config.filler == "fill"
        alone = not self.coin_swaps or (self._filler.sizes == 1).all()  # otherwise a coin may exchange several records
        if alone and self.config.probability == FAIR:
            self.coins = np.sort(self._panel.records[single])
            # If groups are ignored, a unit of the split may be one of several records of a person.
            sole = np.bincount(self.pool.units)[self.pool.units] == 1
            if not self.coin_swaps or sole[self._filler.records].all():
                self.person_coins = self.coins[sole[self.coins]]

    def membership(self, replicate: int, train_size: int) -> Membership:
        """Members by coin, known members, then filler.

        `fill`: up to train_size, which coins may exceed by a few records. `fixed`: train_size minus known members and
        the expected number of members in the panel.
        """
        coins = self._coins(replicate)
        always = np.concatenate([self.known_members, self._panel.pick(coins).records])
        expected = len(always) if self.coin_swaps else len(self.known_members) + self._expected(len(self.panel))
        filler = self._shuffled(self._filler, "filler", replicate).small_first(expected)
        return Membership(
            train=np.sort(np.concatenate([always, filler.fill(train_size - expected)])),
            queries=self._queries,
            member=np.isin(self._queries, always),
        )

    def _coins(self, replicate: int) -> np.ndarray:
        """bool [U]: which units of the panel are members in a replicate. Fair coins keep earlier versions' draws."""
        random, count = self.streams.numpy("coins", replicate), len(self._panel.sizes)
        if self.config.probability == FAIR:
            return random.integers(0, 2, count).astype(bool)
        return random.random(count) < self.config.probability

    def null_refusal(self, train_size: int) -> str | None:
        """Why known members and filler do not make up the whole training set, or None."""
        have = len(self.known_members) + len(self._filler.records)
        if have >= train_size:
            return None
        return (
            f"{train_size} records to train on that are no query, and {self.pool.name} has {have}; make other parts of "
            "the split or train_size smaller"
        )

    def null(self, replicate: int, train_size: int) -> Membership:
        """Filler replaces the panel's members."""
        filler = self._shuffled(self._filler, "null", replicate).small_first(len(self.known_members))
        train = np.concatenate([self.known_members, filler.fill(train_size - len(self.known_members))])
        return replace(self.membership(replicate, train_size), train=np.sort(train))

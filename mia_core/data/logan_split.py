"""LOGAN's split (Hayes et al. 2019, section 4): n members against all the rest of the pool."""

from typing import Self

import numpy as np
from pydantic import model_validator

from mia_core.data.listed_members import listed_members
from mia_core.data.ordered_units import TENTH
from mia_core.data.split import SPLITS, Count, Membership, Split, SplitSettings, refuse_too_small
from mia_core.errors import Refused
from mia_core.settings import added_later, settings


@SPLITS.register
class Logan(Split):
    """LOGAN's design: n members of the pool against all its other records, all judged (except known ones)."""

    name = "logan"

    @settings
    class Config(SplitSettings):
        """Sizes in records, as in the panel; the remaining records are LOGAN's pool.

        members: published indices of the pool's records, see `listed_members`: replicate 0 trains on those that are in
        no other part, and further replicates on random ones. members_sha256: of that file.
        """

        reference: Count = 0
        unseen: Count = 0
        known: Count = 0
        members: str | None = added_later(None)
        members_sha256: str | None = added_later(None)

        @model_validator(mode="after")
        def _both(self) -> Self:
            if (self.members is None) != (self.members_sha256 is None):
                raise Refused("give members and members_sha256 together: results depend on what is in the file")
            return self

    config: Config
    _listed: np.ndarray | None = None

    def _check(self, smallest: int, largest: int) -> None:
        if self.config.members and self.config.members_sha256:
            if smallest < largest:
                raise Refused("split.members: members of one train_size are listed; give one in factors.train_size")
            self._listed = listed_members(self.config.members, self.config.members_sha256, len(self.pool))
        parts = {"reference": self.config.reference, "unseen": self.config.unseen, "train_size": largest}
        refuse_too_small(self.pool, {**parts, "known_non_members": self.config.known, "one non-member": 1})

    def _divide(self, smallest: int) -> None:
        self.known_members = self._take("known_members").records
        self.known_non_members = self._take("known_non_members").records
        self._units = self._remaining
        self._queries = self.judged = np.sort(self._units.records)
        # Larger units would rarely fit into a training set, so a query's group would reveal its membership.
        if TENTH * (largest := int(self._units.sizes.max())) > max(smallest, TENTH):
            raise Refused(
                f"split: {largest} records of one group or set of duplicates are more than a tenth of train_size "
                f"{smallest}: {self._units_in_words}. Give a train_size of at least {TENTH * largest}"
            )

    def membership(self, replicate: int, train_size: int) -> Membership:
        """The first units of the replicate's order that fit into train_size; in replicate 0 those listed, if any are.

        A unit is listed if its first record is.
        """
        if self._listed is not None and replicate == 0:
            first = self._units.records[np.cumsum(self._units.sizes) - self._units.sizes]
            members = self._units.pick(np.isin(first, self._listed)).records
        else:
            members = self._shuffled(self._units, "members", replicate).fill(train_size - len(self.known_members))
        train = np.sort(np.concatenate([self.known_members, members]))
        return Membership(train=train, queries=self._queries, member=np.isin(self._queries, train))

    def null_refusal(self, train_size: int) -> str | None:
        """Why the pool has no room for members, as many other training records, and as many non-members; or None."""
        need, have = 3 * (train_size - len(self.known_members)), len(self._queries)
        if have >= need:
            return None
        return f"{need} records for members, a null training set and non-members, and {self.pool.name} leaves {have}"

    def null(self, replicate: int, train_size: int) -> Membership:
        """The units that follow the members in the replicate's order, up to train_size; they are not queries."""
        order, room = self._shuffled(self._units, "members", replicate), train_size - len(self.known_members)
        train = np.concatenate([self.known_members, order.beyond(room).fill(room)])
        judged = self.membership(replicate, train_size)
        asked = ~np.isin(judged.queries, train)
        return Membership(train=np.sort(train), queries=judged.queries[asked], member=judged.member[asked])

"""The split of a release: members and non-members are those that the user names, and every query is judged."""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le

from mia_core.data.given_records import MEMBER, NON_MEMBER, REFERENCE
from mia_core.data.pool import Pool
from mia_core.data.split import SPLITS, Membership, Split, SplitSettings
from mia_core.errors import Refused
from mia_core.settings import settings
from mia_core.streams import Streams


@SPLITS.register
class Given(Split):
    """Results are conditional on the release: its membership was drawn once, by whoever trained it."""

    name = "given"

    @settings
    class Config(SplitSettings):
        """holdout: `random` if the non-members were drawn at random, before training, from the same records as the
        members; else `other`. known_percent: members, and as many non-members, that attacks may know, in percent of
        the members; they are not judged. judged_first: so many non-members are judged before any becomes known, where
        there are as many: a true-positive rate at 1 % false positives takes 1,000.
        """

        holdout: Literal["random", "other"] = "other"
        known_percent: Annotated[int, Ge(0), Le(50)] = 0
        judged_first: Annotated[int, Ge(0)] = 1000

    config: Config

    def __init__(self, config: Config, pool: Pool, train_sizes: Sequence[int], seed: int) -> None:
        """train_sizes: not used, since the members are given."""
        if pool.given is None:
            raise Refused("split: given needs members and non_members, folders of images")
        self.config = config
        self.pool = pool
        self.streams = Streams("split", pool.digest, seed)
        part = pool.given.part
        self.members = np.flatnonzero(part == MEMBER)
        self.non_members = np.flatnonzero(part == NON_MEMBER)
        self.reference = np.flatnonzero(part == REFERENCE)
        self.smallest = len(self.members)
        self._check(self.smallest, self.smallest)
        self.units = np.unique(config.units(pool), return_inverse=True)[1].ravel()
        self._divide(self.smallest)

    def _check(self, smallest: int, largest: int) -> None:
        if len(self.members) < 2 or len(self.non_members) < 2:
            raise Refused("split: given needs 2 members and 2 non-members or more")

    def _divide(self, smallest: int) -> None:
        room, others = self.known_count(self.config.known_percent), len(self.non_members)
        if others >= self.config.judged_first:
            room = min(room, others - self.config.judged_first)
        self.known_members = self._known(self.members, room)
        self.known_non_members = self._known(self.non_members, room)
        known = np.concatenate([self.known_members, self.known_non_members])
        every = np.concatenate([self.members, self.non_members])
        self._queries = self.judged = np.setdiff1d(every, known)
        self.unseen = np.setdiff1d(self.non_members, self.known_non_members)
        for side, words in ((self.members, "members"), (self.non_members, "non-members")):
            if not np.isin(side, self.judged).any():
                raise Refused(
                    f"split.known_percent: {self.config.known_percent} % are {room} records, and leave none of "
                    f"{len(side)} {words} to judge; lower it, or give more"
                )

    def _known(self, side: np.ndarray, room: int) -> np.ndarray:
        """Whole units of one side in random order, as many records as fit."""
        units = np.unique(self.units[side])
        keys = self.streams.numpy("known").random(self.units.max() + 1)
        chosen: list[np.ndarray] = []
        for unit in units[np.argsort(keys[units])]:
            records = side[self.units[side] == unit]
            if len(records) <= room:
                chosen.append(records)
                room -= len(records)
            if not room:
                break
        return np.concatenate([np.empty(0, np.int64), *chosen])

    def known(self, percent: int) -> tuple[np.ndarray, np.ndarray]:
        """Known members and known non-members, the same number of each, at most `percent` of the members; nested.

        Refused for more than `known_percent`.
        """
        if percent > self.config.known_percent:
            raise Refused(
                f"{percent} % known records on a side, and split.known_percent is {self.config.known_percent}; raise it"
            )
        count = min(self.known_count(percent), len(self.known_members), len(self.known_non_members))
        return self.known_members[:count], self.known_non_members[:count]

    def membership(self, replicate: int, train_size: int) -> Membership:
        """As the user says, whatever the replicate and the size."""
        return Membership(train=self.members, queries=self._queries, member=np.isin(self._queries, self.members))

    def held_out(self, replicate: int) -> tuple[np.ndarray, Membership]:
        """A control: a random half of the judged non-members, by units, in place of samples, in random order; and the
        members against the other half.
        """
        others = np.setdiff1d(self.non_members, self.known_non_members)
        units = np.unique(self.units[others])
        keys = self.streams.numpy("held_out", replicate).random(self.units.max() + 1)[units]
        stand_in = np.isin(self.units[others], units[np.argsort(keys)[: (len(units) + 1) // 2]])
        order = self.streams.numpy("held_out_order", replicate).permutation(int(stand_in.sum()))
        whole = self.membership(replicate, self.smallest)
        asked = ~np.isin(whole.queries, others[stand_in])
        judged = Membership(train=whole.train, queries=whole.queries[asked], member=whole.member[asked])
        return others[stand_in][order], judged

    def null_refusal(self, train_size: int) -> str | None:
        """No target is trained."""
        return "a target to train, and a release is given"

    def null(self, replicate: int, train_size: int) -> Membership:
        """There is none."""
        raise Refused(f"null needs {self.null_refusal(train_size)}")

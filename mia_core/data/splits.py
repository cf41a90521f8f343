"""Splits: who is trained on, who is asked about, who is kept aside, from one seeded order of the pool's units."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt

from mia_core.data.pool import Pool
from mia_core.hashing import array_digest
from mia_core.settings import Registry, settings
from mia_core.streams import Streams

Count = Annotated[int, Ge(0)]
KNOWN_PERCENT = 30
"""`known` records are this share of the smallest training-set size; 10 % and 20 % are nested in them."""


@dataclass(frozen=True)
class Membership:
    """One replicate at one training-set size.

    train: int64 [members], the training set. queries: int64 [Q], ascending. member: bool [Q]. All index the pool.
    """

    train: np.ndarray
    queries: np.ndarray
    member: np.ndarray


class Split(ABC):
    """A division of the pool; its parts depend on the pool, the sizes in its settings and the study seed only.

    reference [.], unseen [.], known_members [k], known_non_members [k]: int64 indices into the pool, disjoint from each
    other and from every query. Whole units only: a group, or a set of exact duplicates, is in one part.
    """

    name: ClassVar[str]

    def __init__(self, config: Any, pool: Pool, train_sizes: Sequence[int], seed: int) -> None:
        self.config = config
        self.pool = pool
        self.streams = Streams("split", pool.digest, seed)
        self._check(min(train_sizes), max(train_sizes))
        shuffled = self.streams.numpy("order").permutation(np.unique(pool.units))
        rank = np.empty(shuffled.max() + 1, dtype=np.int64)
        rank[shuffled] = np.arange(len(shuffled))
        order = np.argsort(rank[pool.units], kind="stable")
        self._remaining = np.split(order, np.flatnonzero(np.diff(pool.units[order])) + 1)
        self.reference = self._take(config.reference)
        self.unseen = self._take(config.unseen)
        self._divide()

    @abstractmethod
    def _check(self, smallest: int, largest: int) -> None:
        """Raise ValueError when the sizes do not fit the pool or each other."""

    @abstractmethod
    def _divide(self) -> None:
        """Take the further parts."""

    @abstractmethod
    def membership(self, replicate: int, train_size: int) -> Membership:
        """Training set and queries of a replicate; training sets are nested over sizes."""

    @abstractmethod
    def null_refusal(self, train_size: int) -> str | None:
        """Why the pool is too small for a null target of a training-set size, or None."""

    @abstractmethod
    def null(self, replicate: int, train_size: int) -> Membership:
        """The same labels, and a training set that has nothing to do with them: known members and unqueried records."""

    def _take(self, count: int) -> np.ndarray:
        """The next records of the order, by whole units; a unit that does not fit any more waits for the next part."""
        taken: list[np.ndarray] = []
        waiting: list[np.ndarray] = []
        room = count
        for unit in self._remaining:
            if len(unit) <= room:
                taken.append(unit)
                room -= len(unit)
            else:
                waiting.append(unit)
        self._remaining = waiting
        return np.concatenate(taken) if taken else np.empty(0, dtype=np.int64)

    def _shuffled(self, parts: Sequence[np.ndarray], purpose: str, replicate: int) -> list[np.ndarray]:
        order = self.streams.numpy(purpose, replicate).permutation(len(parts))
        return [parts[i] for i in order]

    def known(self, percent: int) -> tuple[np.ndarray, np.ndarray]:
        """Known members and known non-members at `percent` (10, 20, 30) of the smallest training-set size; nested."""
        count = self.config.known * percent // KNOWN_PERCENT
        return self.known_members[:count], self.known_non_members[:count]

    known_members: np.ndarray
    known_non_members: np.ndarray

    @property
    def queries_digest(self) -> str:
        """Hash of the queries, the same in every cell and replicate."""
        return array_digest(self._queries)[:16]

    _queries: np.ndarray


SPLITS: Registry[Split] = Registry("split")


def _fill(units: Sequence[np.ndarray], room: int) -> list[np.ndarray]:
    """The longest run of first units that fits into `room` records, so that a larger room holds a smaller one's."""
    sizes = np.cumsum([len(unit) for unit in units])
    return list(units[: int(np.searchsorted(sizes, room, side="right"))])


def _refuse_too_small(pool: Pool, parts: dict[str, int]) -> None:
    need = sum(parts.values())
    if need > len(pool):
        table = " + ".join(f"{name} {count}" for name, count in parts.items())
        raise ValueError(f"split: {pool.name} has {len(pool)} records, and {table} = {need}; make some of them smaller")


@SPLITS.register
class Panel(Split):
    """The default: a panel of records, each a member by its own fair coin in each replicate, the same in every cell.

    Queries are the panel and the extra non-members, the same for every training-set size, so cells pair up. Filler,
    nested and never queried, brings the training set to its nominal size.
    """

    name = "panel"

    @settings
    class Config:
        """Sizes in records. panel: at most 2 x the smallest train_size, about half of it are members.

        known: known members and known non-members each, 30 % of the smallest train_size. reference and unseen: for
        feature networks, and for judging quality. All are explicit, so that a further train_size changes no query.
        """

        reference: Count
        unseen: Count
        panel: Annotated[int, Gt(1)]
        extra_non_members: Count = 0
        known: Count = 0

    config: Config

    def _check(self, smallest: int, largest: int) -> None:
        config = self.config
        if config.panel // 2 + config.known > smallest:
            raise ValueError(
                f"split.panel: half of {config.panel} records and {config.known} known members are more than the "
                f"smallest train_size {smallest}; at most {2 * (smallest - config.known)}"
            )
        # Binomial(panel, 1/2) members leave the rest of n to filler; six standard deviations never run out.
        coins = max(0, int(config.panel / 2 - 3 * config.panel**0.5))
        _refuse_too_small(
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

    def _divide(self) -> None:
        self.panel = self._take(self.config.panel)
        self.extra_non_members = self._take(self.config.extra_non_members)
        self.known_members = self._take(self.config.known)
        self.known_non_members = self._take(self.config.known)
        self._filler_units = self._remaining
        self._panel_units = np.split(self.panel, np.flatnonzero(np.diff(self.pool.units[self.panel])) + 1)
        self._queries = np.sort(np.concatenate([self.panel, self.extra_non_members]))

    def membership(self, replicate: int, train_size: int) -> Membership:
        """Panel coins, known members, then filler up to train_size (coins may overshoot it by a few)."""
        coins = self.streams.numpy("coins", replicate).integers(0, 2, len(self._panel_units)).astype(bool)
        inside = [unit for unit, coin in zip(self._panel_units, coins, strict=True) if coin]
        always = np.concatenate([self.known_members, *inside])
        filler = _fill(self._shuffled(self._filler_units, "filler", replicate), train_size - len(always))
        return Membership(
            train=np.sort(np.concatenate([always, *filler])),
            queries=self._queries,
            member=np.isin(self._queries, always),
        )

    def null_refusal(self, train_size: int) -> str | None:
        """Known members and filler have to make up the whole training set."""
        have = len(self.known_members) + sum(map(len, self._filler_units))
        if have >= train_size:
            return None
        return (
            f"{train_size} records to train on that are no query, and {self.pool.name} has {have}; make other parts of "
            "the split or train_size smaller"
        )

    def null(self, replicate: int, train_size: int) -> Membership:
        """Filler in place of the panel's members."""
        filler = _fill(self._shuffled(self._filler_units, "null", replicate), train_size - len(self.known_members))
        judged = self.membership(replicate, train_size)
        return replace(judged, train=np.sort(np.concatenate([self.known_members, *filler])))


@SPLITS.register
class Logan(Split):
    """The paper's design: n members of the pool against all its other records, all judged (known ones excepted)."""

    name = "logan"

    @settings
    class Config:
        """Sizes in records, as in the panel; whatever is left is the paper's pool."""

        reference: Count = 0
        unseen: Count = 0
        known: Count = 0

    config: Config

    def _check(self, smallest: int, largest: int) -> None:
        parts = {"reference": self.config.reference, "unseen": self.config.unseen, "train_size": largest}
        _refuse_too_small(self.pool, {**parts, "known_non_members": self.config.known, "one non-member": 1})

    def _divide(self) -> None:
        self.known_members = self._take(self.config.known)
        self.known_non_members = self._take(self.config.known)
        self._units = self._remaining
        self._queries = np.sort(np.concatenate(self._units))

    def membership(self, replicate: int, train_size: int) -> Membership:
        """The first units of the replicate's order, as many as fit into train_size."""
        members = _fill(self._shuffled(self._units, "members", replicate), train_size - len(self.known_members))
        train = np.sort(np.concatenate([self.known_members, *members]))
        return Membership(train=train, queries=self._queries, member=np.isin(self._queries, train))

    def null_refusal(self, train_size: int) -> str | None:
        """As many records as members have to be left to train on, and again as many to be judged as non-members."""
        need, have = 3 * (train_size - len(self.known_members)), len(self._queries)
        if have >= need:
            return None
        return f"{need} records for members, a null training set and non-members, and {self.pool.name} leaves {have}"

    def null(self, replicate: int, train_size: int) -> Membership:
        """The next units of the replicate's order after the members; they are no queries."""
        order, room = self._shuffled(self._units, "members", replicate), train_size - len(self.known_members)
        others = order[len(_fill(order, room)) :]
        train = np.concatenate([self.known_members, *_fill(others, room)])
        judged = self.membership(replicate, train_size)
        asked = ~np.isin(judged.queries, train)
        return Membership(train=np.sort(train), queries=judged.queries[asked], member=judged.member[asked])

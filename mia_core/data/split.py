"""What all splits share: parts kept aside, from one seeded order of the pool's units, and checks of what is left."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le

from mia_core.data.near_duplicates import near_groups
from mia_core.data.ordered_units import TENTH, Units
from mia_core.data.pool import Pool, join
from mia_core.errors import Refused
from mia_core.hashing import array_digest
from mia_core.persons import PERSON, Unit
from mia_core.registry import Registry
from mia_core.settings import settings
from mia_core.streams import Streams

Count = Annotated[int, Ge(0)]
FAIR = 0.5
"""The probability of a fair coin, which an audit of a privacy claim requires."""


@dataclass(frozen=True)
class Membership:
    """One replicate at one training-set size.

    train: int64 [members], the training set. queries: int64 [Q], ascending. member: bool [Q]. train and queries are
    indices into the pool.
    """

    train: np.ndarray
    queries: np.ndarray
    member: np.ndarray


@settings
class SplitSettings:
    """Settings of all splits.

    groups: `keep` puts all records of a person on one side; `ignore` splits by record, as LOGAN does with its ten
    identities (exact duplicates still stay together). near_duplicates: images whose 128-bit difference hashes differ in
    at most this many bits also form one unit; null for exact duplicates only.
    """

    groups: Literal["keep", "ignore"] = "keep"
    near_duplicates: Annotated[int, Ge(0), Le(32)] | None = None

    def units(self, pool: Pool) -> np.ndarray:
        """int64 [N]: records with the same number stay on one side."""
        units = pool.units if self.groups == "keep" else join(pool.copies)
        return units if self.near_duplicates is None else join(units, near_groups(pool.images, self.near_duplicates))

    def words(self, pool: Pool, units: np.ndarray) -> str:
        """What of a pool keeps records together, by the numbers of their units [N]."""
        sizes = np.bincount(np.unique(units, return_inverse=True)[1].ravel())
        kinds = [
            *(["groups"] if self.groups == "keep" and len(np.unique(pool.groups)) < len(pool) else []),
            *(["sets of equal records"] if len(np.unique(pool.copies)) < len(pool) else []),
            *(["sets of look-alikes"] if self.near_duplicates is not None else []),
        ]
        count = len(sizes) if "groups" in kinds else int((sizes > 1).sum())
        return f"{count} {' and '.join(kinds) or 'sets'}; the largest has {sizes.max()} of {len(pool)} records"


class Split(ABC):
    """A division of the pool, which depends only on the pool, the split's settings and the study seed.

    reference [.], unseen [.], known_members [k], known_non_members [k]: int64 indices into the pool, disjoint from each
    other and from all queries. units: int64 [N], records with the same number are in one part: a group, or duplicates.
    judged: int64 [.], the queries whose membership every replicate draws anew, each with the same probability. version:
    raised by every change of the division.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1

    def __init__(self, config: Any, pool: Pool, train_sizes: Sequence[int], seed: int) -> None:
        self.config = config
        self.pool = pool
        self.streams = Streams("split", pool.digest, seed)
        self.smallest = min(train_sizes)
        self._check(self.smallest, max(train_sizes))
        self.units = np.unique(config.units(pool), return_inverse=True)[1].ravel()
        shuffled = self.streams.numpy("order").permutation(self.units.max() + 1)
        rank = np.empty_like(shuffled)
        rank[shuffled] = np.arange(len(shuffled))
        ranks = rank[self.units]
        self._remaining = Units(np.argsort(ranks, kind="stable"), np.bincount(ranks))
        self.reference = self._take("reference").records
        self.unseen = self._take("unseen").records
        self._divide(self.smallest)

    @abstractmethod
    def _check(self, smallest: int, largest: int) -> None:
        """Refused if the sizes do not fit the pool or each other."""

    @abstractmethod
    def _divide(self, smallest: int) -> None:
        """Take the other parts; Refused if units are too large for the smallest training-set size."""

    @abstractmethod
    def membership(self, replicate: int, train_size: int) -> Membership:
        """Training set and queries of a replicate; training sets are nested over sizes."""

    @abstractmethod
    def null_refusal(self, train_size: int) -> str | None:
        """Why the pool is too small for a null target with a training set of this size, or None."""

    @abstractmethod
    def null(self, replicate: int, train_size: int) -> Membership:
        """The same membership labels with an unrelated training set: known members and records that are no queries."""

    def check_sizes(self, replicates: int, train_sizes: Sequence[int]) -> None:
        """Refused if a training set or the judged queries are unusable.

        A training set must not miss its nominal size by more than a tenth (plus chance), and judged queries must
        include members and non-members.
        """
        for replicate, train_size in product(range(replicates), train_sizes):
            membership = self.membership(replicate, train_size)
            members = len(membership.train)
            short, over = train_size - members - self._shortfall, members - train_size - self._chance
            if TENTH * max(short, over) > train_size:
                raise Refused(
                    f"factors.train_size: whole groups and duplicates make {members} members of train_size "
                    f"{train_size} in replicate {replicate}: {self._units_in_words}. They stay together; give a "
                    f"train_size nearer to {members}, smaller other parts, or more and smaller groups"
                )
            judged = membership.member[self.judges(membership.queries)]
            if judged.all() or not judged.any():
                raise Refused(
                    f"split: {judged.sum()} of {len(judged)} judged queries are members of train_size {train_size} in "
                    f"replicate {replicate}, and both kinds are needed; ask more records (a larger panel), or train on "
                    "more than the known members"
                )

    def judges(self, queries: np.ndarray) -> np.ndarray:
        """bool [.]: which of these queries are judged records."""
        return np.isin(queries, self.judged)

    _chance = 0.0
    """Records by which coins alone may exceed a training-set size."""

    @property
    def _shortfall(self) -> float:
        """Records by which coins alone may fall short of it."""
        return 0.0 if self.coin_swaps else self._chance

    def member_only(self, replicate: int, train_size: int) -> Membership:
        """A control: the same training set, its judged members as queries, half of their units called non-members."""
        whole = self.membership(replicate, train_size)
        members = whole.queries[whole.member & self.judges(whole.queries)]
        units = np.unique(self.units[members])
        keys = self.streams.numpy("member_only", replicate).random(self.units.max() + 1)[units]
        kept = units[np.argsort(keys)[: (len(units) + 1) // 2]]
        return Membership(train=whole.train, queries=members, member=np.isin(self.units[members], kept))

    def _take(self, part: str, largest: int | None = None) -> Units:
        """The next units of the order, up to the part's configured size; units that do not fit are left for others.

        largest: maximal number of records per unit. Refused if the part is more than a tenth too small.
        """
        setting = "known" if part.startswith("known") else part
        count: int = getattr(self.config, setting)
        room = count
        taken = np.zeros(len(self._remaining.sizes), dtype=bool)
        for position, size in enumerate(self._remaining.sizes.tolist()):
            if size <= min(room, largest or count):
                taken[position] = True
                room -= size
        if TENTH * room > count:
            raise Refused(
                f"split.{setting}: whole groups and duplicates fill {count - room} of {count} "
                f"{part.replace('_', ' ') if setting != part else 'records'}: "
                f"{self._units_in_words}. They stay together; give other sizes, or more and smaller groups"
            )
        units, self._remaining = self._remaining.pick(taken), self._remaining.pick(~taken)
        return units

    @property
    def _units_in_words(self) -> str:
        words: str = self.config.words(self.pool, self.units)
        return words

    def _shuffled(self, units: Units, purpose: str, replicate: int) -> Units:
        return units.pick(self.streams.numpy(purpose, replicate).permutation(len(units.sizes)))

    def known_count(self, percent: int) -> int:
        """`percent` of the smallest training-set size in records, halves rounded up."""
        return (self.smallest * percent + 50) // 100

    def known(self, percent: int) -> tuple[np.ndarray, np.ndarray]:
        """Known members and known non-members, `percent` of the smallest training-set size each; nested.

        Refused if the split has fewer.
        """
        count, have = self.known_count(percent), min(len(self.known_members), len(self.known_non_members))
        if have < count:
            groups = f", of which whole groups and duplicates leave {have}" if self.config.known > have else ""
            enough = max(count, self.config.known + count - have)
            raise Refused(
                f"{percent} % of the smallest train_size {self.smallest} are {count} known records on a side, and "
                f"split.known is {self.config.known}{groups}; raise it to {enough}"
            )
        return self.known_members[:count], self.known_non_members[:count]

    def known_halves(self, percent: int) -> tuple[np.ndarray, np.ndarray]:
        """Two random halves of the known members at `percent`; the second one is labelled as non-members."""
        members, _ = self.known(percent)
        shuffled = self.streams.numpy("known_halves").permutation(members)
        return shuffled[: (len(members) + 1) // 2], shuffled[(len(members) + 1) // 2 :]

    known_members: np.ndarray
    known_non_members: np.ndarray

    @property
    def queries_digest(self) -> str:
        """Hash of the queries, which are the same in every cell and replicate."""
        return array_digest(self._queries)[:16]

    _queries: np.ndarray

    judged: np.ndarray

    @property
    def never_members(self) -> np.ndarray:
        """int64 [.], queries that are members in no replicate, and so are not judged."""
        return np.setdiff1d(self._queries, self.judged)

    coins: np.ndarray = np.empty(0, dtype=np.int64)
    """int64 [.], queries whose membership is an independent fair coin each: audits of privacy claims may use them."""

    person_coins: np.ndarray = np.empty(0, dtype=np.int64)
    """The part of `coins` that may audit a claim per person: each is the only record of its person."""

    def coins_of(self, unit: Unit) -> np.ndarray:
        """int64 [.]: queries whose coins may audit a claim per record or per person; each coin changes one such unit.

        If `coin_swaps`, it exchanges two of them.
        """
        return self.person_coins if unit == PERSON else self.coins

    coin_swaps = False
    """Whether a coin that adds its record to the training set also removes exactly one other record."""


SPLITS: Registry[Split] = Registry("split")


def refuse_too_small(pool: Pool, parts: dict[str, int]) -> None:
    """Refused if parts of these sizes in records need more than the pool has."""
    need = sum(parts.values())
    if need > len(pool):
        table = " + ".join(f"{name} {count}" for name, count in parts.items())
        raise Refused(f"split: {pool.name} has {len(pool)} records, and {table} = {need}; make some of them smaller")

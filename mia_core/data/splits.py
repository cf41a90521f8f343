"""Splits: the training sets, the queries and the records kept aside, from one seeded order of the pool's units."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import product
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from pydantic import model_validator

from mia_core.data.listed_members import listed_members
from mia_core.data.near_duplicates import near_groups
from mia_core.data.pool import Pool, join
from mia_core.errors import Refused
from mia_core.hashing import array_digest
from mia_core.persons import PERSON, Unit
from mia_core.settings import Registry, added_later, settings
from mia_core.streams import Streams

Count = Annotated[int, Ge(0)]
FAIR = 0.5
"""The probability of a fair coin, which an audit of a privacy claim requires."""
TENTH = 10
"""A unit is at most 1/10 of the queries drawn with it, and a part may miss its size by at most 1/10."""


@dataclass(frozen=True)
class Membership:
    """One replicate at one training-set size.

    train: int64 [members], the training set. queries: int64 [Q], ascending. member: bool [Q]. train and queries are
    indices into the pool.
    """

    train: np.ndarray
    queries: np.ndarray
    member: np.ndarray


@dataclass(frozen=True)
class Units:
    """Ordered units as two flat arrays (which all processes of a machine can share).

    records: int64 [.], the records of each unit next to each other. sizes: int64 [U].
    """

    records: np.ndarray
    sizes: np.ndarray

    def pick(self, which: np.ndarray) -> "Units":
        """The units `which`, by index int64 [.] or mask bool [U]."""
        starts, sizes = (np.cumsum(self.sizes) - self.sizes)[which], self.sizes[which]
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return Units(self.records[np.repeat(starts, sizes) + within], sizes)

    def fill(self, room: int) -> np.ndarray:
        """Records of the first units that fit into `room`; a larger room contains the records of a smaller one."""
        return self.records[: self.sizes[: self._fitting(room)].sum()]

    def beyond(self, room: int) -> "Units":
        """The units that `fill` leaves out."""
        return self.pick(np.arange(self._fitting(room), len(self.sizes)))

    def _fitting(self, room: int) -> int:
        return int(np.searchsorted(np.cumsum(self.sizes), room, side="right"))

    def small_first(self, start: int) -> "Units":
        """The same units, in an order in which each adds at most a tenth to `start` records and the units before it.

        The order is kept, except that a larger unit waits until enough others precede it. So `fill` comes within a
        tenth of any room, unless only larger units are left: they come last, smallest first.
        """
        order: list[int] = []
        waiting: list[tuple[int, int]] = []
        total = start
        for position, size in enumerate(self.sizes.tolist()):
            heappush(waiting, (size, position))
            while waiting and waiting[0][0] <= max(1, total // (TENTH - 1)):
                added, first = heappop(waiting)
                order.append(first)
                total += added
        return self.pick(np.array(order + [position for _, position in sorted(waiting)], dtype=np.int64))


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


def _refuse_too_small(pool: Pool, parts: dict[str, int]) -> None:
    need = sum(parts.values())
    if need > len(pool):
        table = " + ".join(f"{name} {count}" for name, count in parts.items())
        raise Refused(f"split: {pool.name} has {len(pool)} records, and {table} = {need}; make some of them smaller")


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
        _refuse_too_small(self.pool, {**parts, "known_non_members": self.config.known, "one non-member": 1})

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

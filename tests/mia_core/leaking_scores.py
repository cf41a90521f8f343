"""Scores of studies with a known truth: a panel drawn anew for every study, judged in each of its replicates.

A record's score has a part that is the same in every replicate (its difficulty), a gain where it is a member, which
differs between records, and noise. Without a gain its distribution is N(0, 1).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@dataclass(frozen=True)
class Population:
    """share: of a score's variance that is its record's. Gains are shift + Exp(1) x unequal, each record its own.

    per_person: records of a person, who have one coin and share `within` of the difficulty's and the noise's variance.
    common_noise: of the noise's variance, the same in all the cells that judge the records.
    """

    share: float = 0.0
    unequal: float = 0.0
    shift: float = 0.0
    per_person: int = 1
    within: float = 0.0
    common_noise: float = 0.0

    def persons(self, records: int) -> np.ndarray:
        """Whose record each is, [J]."""
        return np.arange(records) // self.per_person

    def coins(self, random: np.random.Generator, runs: int, replicates: int, records: int, p: float) -> np.ndarray:
        """Members, bool [runs, R, J]: each person with probability p; both kinds in every replicate."""
        shape = (runs, replicates, records // self.per_person)
        coins = random.random(shape) < p
        while (bad := coins.all(-1) | ~coins.any(-1)).any():
            coins[bad] = random.random((int(bad.sum()), shape[-1])) < p
        return np.repeat(coins, self.per_person, axis=-1)

    def draw(
        self, random: np.random.Generator, runs: int, replicates: int, records: int, p: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores and members of so many studies, [runs, R, J] each."""
        member = self.coins(random, runs, replicates, records, p)
        difficulty = self.normal(random, runs, 1, records) * self.share**0.5
        gain = self.shift + self.unequal * random.exponential(size=(runs, 1, records))
        noise = self.normal(random, runs, replicates, records) * (1 - self.share) ** 0.5
        return difficulty + gain * member + noise, member

    def cells(
        self, random: np.random.Generator, runs: int, replicates: int, records: int, p: float, gains: tuple[float, ...]
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Scores of cells that judge the same records under the same coins, each with its own multiple of the gain."""
        member = self.coins(random, runs, replicates, records, p)
        difficulty = self.normal(random, runs, 1, records) * self.share**0.5
        gain = (self.shift + self.unequal * random.exponential(size=(runs, 1, records))) * member
        common = self.normal(random, runs, replicates, records) * self.common_noise**0.5
        own = (1 - self.common_noise) ** 0.5
        return [
            difficulty
            + times * gain
            + (common + own * self.normal(random, runs, replicates, records)) * (1 - self.share) ** 0.5
            for times in gains
        ], member

    def normal(self, random: np.random.Generator, runs: int, replicates: int, records: int) -> np.ndarray:
        """Standard normals [runs, R, J], correlated by `within` inside a person."""
        if self.per_person == 1:
            return random.normal(size=(runs, replicates, records))
        own = random.normal(size=(runs, replicates, records)) * (1 - self.within) ** 0.5
        persons = random.normal(size=(runs, replicates, records // self.per_person)) * self.within**0.5
        return own + np.repeat(persons, self.per_person, axis=-1)

    def auc(self, times: float = 1.0) -> float:
        """The expected AUC: P(member's score > non-member's) of records of different persons, to 3e-4."""
        return _auc(self.shift * times, self.unequal * times)

    def tpr_of_ranks(self, random: np.random.Generator, records: int, p: float, fpr: float) -> float:
        """TPR of calling the same share of every target's candidates, whose FPR is `fpr`; from 8,000 targets."""
        scores, member = (
            np.concatenate(parts)
            for parts in zip(*(self.draw(random, 100, 1, records, p) for _ in range(80)), strict=True)
        )
        rank = scores.argsort(-1).argsort(-1)
        inside, outside = (np.bincount(rank[side], minlength=records)[::-1].cumsum() for side in (member, ~member))
        return float(np.interp(fpr, outside / outside[-1], inside / inside[-1]))


@lru_cache(maxsize=64)
def _auc(shift: float, unequal: float, draws: int = 1_000_000) -> float:
    if not shift and not unequal:
        return 0.5
    random = np.random.default_rng(0)
    others = np.sort(random.normal(size=draws))
    members = shift + unequal * random.exponential(size=draws) + random.normal(size=draws)
    return float((np.searchsorted(others, members) / draws).mean())

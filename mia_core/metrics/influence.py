"""AUC of a target's scores, and each judged unit's influence on it: the basis of all inference in this package.

Shapes: scores [..., J] and members, bool [..., J], of J judged records; leading axes are arbitrary (replicates, cells,
runs of a simulation). A unit is a record, or a person if `persons` is given: influences are then summed within a
person, and m counts persons.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

ROWS_AT_ONCE = 256
"""Targets whose scores are sorted together: a few MB at a time, for a study of any size."""


@dataclass(frozen=True)
class Aucs:
    """AUCs of targets, and the units' influences on them.

    auc [...]: share of correctly ordered (member, non-member) pairs, ties counting half. influence [..., m], of m
    units: the mean of influence^2 over units, divided by m, approximates the AUC's variance; influences sum to 0 in
    every target. members, non_members [...]: numbers of units IN and OUT.
    """

    auc: np.ndarray
    influence: np.ndarray
    members: np.ndarray
    non_members: np.ndarray

    @property
    def units(self) -> int:
        """m, the number of judged records or persons."""
        return self.influence.shape[-1]

    def __getitem__(self, index: Any) -> "Aucs":
        """Some of the targets, by an index of the leading axes: `aucs[:5]`, or `aucs[:, complete]`."""
        return Aucs(self.auc[index], self.influence[index], self.members[index], self.non_members[index])


def aucs(scores: np.ndarray, member: np.ndarray, persons: np.ndarray | None = None) -> Aucs:
    """AUCs and influences of scores [..., J] by member bool [..., J]; persons [J]: the person of each record.

    With F0 and F1 the distributions of the OUT and IN scores (ties half), record i of J has influence (F0(s_i) - A) m /
    n1 if IN and (1 - F1(s_i) - A) m / n0 if OUT: the first-order terms of a two-sample U-statistic (Hoeffding 1948), as
    the structural components of DeLong et al. (1988). ValueError unless every target has members and non-members, no
    score is NaN, and each person is IN or OUT as a whole.
    """
    placement, inside = placements(scores, member), member.sum(-1)
    outside = member.shape[-1] - inside
    auc = np.where(member, placement, 0).sum(-1) / inside
    unit = units_of(persons, member.shape[-1])
    count = int(unit.max()) + 1
    influence = (placement - auc[..., None]) * (count / np.where(member, inside[..., None], outside[..., None]))
    if persons is None:
        return Aucs(auc, influence, inside, outside)
    membership = sum_by_unit(member, unit)
    sizes = np.bincount(unit)
    if ((membership > 0) & (membership < sizes)).any():
        raise ValueError("aucs: records of one person are IN and OUT of the same target; judge whole persons")
    held = (membership > 0).sum(-1)
    return Aucs(auc, sum_by_unit(influence, unit), held, count - held)


def placements(scores: np.ndarray, member: np.ndarray) -> np.ndarray:
    """For each record, the share of records of the other kind in correct order with it, [..., J] in [0, 1]."""
    if scores.shape != member.shape or scores.ndim < 1 or member.dtype != np.bool_:
        raise ValueError(f"aucs: scores {scores.shape} and members {member.shape} {member.dtype} do not match")
    if np.isnan(scores).any():
        raise ValueError(f"aucs: {int(np.isnan(scores).sum())} of {scores.size} scores are NaN")
    inside = member.sum(-1)
    if (inside == 0).any() or (inside == member.shape[-1]).any():
        raise ValueError(
            f"aucs: needs members and non-members in every target, got {inside.min()} to {inside.max()} "
            f"members of {member.shape[-1]} records"
        )
    flat_scores, flat_member = (np.reshape(array, (-1, scores.shape[-1])) for array in (scores, member))
    found = np.empty(flat_scores.shape)
    for start in range(0, len(found), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        found[rows] = _placements(flat_scores[rows], flat_member[rows])
    return found.reshape(scores.shape)


def _placements(scores: np.ndarray, member: np.ndarray) -> np.ndarray:
    """The same for arrays [N, J]."""
    order = np.argsort(scores, axis=1)
    ordered, inside = np.take_along_axis(scores, order, 1), np.take_along_axis(member, order, 1)
    count = scores.shape[1]
    through = np.arange(1, count + 1)
    members_through = np.cumsum(inside, axis=1)
    others_through = through - members_through
    tied = ordered[:, 1:] == ordered[:, :-1]
    if tied.any():
        # The first and last position of each run of equal scores; a tie counts half of the run.
        edge = np.ones((len(scores), 1), dtype=bool)
        first = np.maximum.accumulate(np.where(np.hstack([edge, ~tied]), through - 1, 0), axis=1)
        last = np.minimum.accumulate(np.where(np.hstack([~tied, edge]), through - 1, count)[:, ::-1], axis=1)[:, ::-1]
        others_through, members_through = (
            (np.take_along_axis(counts, last, 1) + np.take_along_axis(counts - own, first, 1)) / 2
            for counts, own in ((others_through, ~inside), (members_through, inside))
        )
    members = inside.sum(1, keepdims=True)
    placed = np.where(inside, others_through / (count - members), 1 - members_through / members)
    found = np.empty_like(placed)
    np.put_along_axis(found, order, placed, 1)
    return found


def units_of(persons: np.ndarray | None, records: int) -> np.ndarray:
    """Each record's unit, numbered from 0: [J]. ValueError unless persons are None or of shape [records]."""
    if persons is None:
        return np.arange(records)
    if persons.shape != (records,):
        raise ValueError(f"aucs: persons {persons.shape} do not match {records} records")
    return np.unique(persons, return_inverse=True)[1].ravel()


def sum_by_unit(values: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Sums [..., m] of values [..., J] over the records of each unit; unit: numbers [J] from 0."""
    order = np.argsort(unit, kind="stable")
    starts = np.flatnonzero(np.diff(unit[order], prepend=-1))
    return np.add.reduceat(values[..., order], starts, axis=-1, dtype=np.result_type(values.dtype, np.int64))


def effective(records: np.ndarray) -> np.ndarray:
    """(sum n_i)^2 / sum n_i^2 over units of n_i records each, [...] of [..., m] (Kish 1965).

    It is the number of units if all have the same size, and smaller else; units without records do not count.
    """
    found: np.ndarray = records.sum(-1) ** 2 / (records**2).sum(-1)
    return found

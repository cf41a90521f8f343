"""Units of a split: records that stay together, in an order from which parts are taken."""

from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np

TENTH = 10
"""A unit is at most 1/10 of the queries drawn with it, and a part may miss its size by at most 1/10."""


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
        if self.sizes.max(initial=0) <= max(1, start // (TENTH - 1)):  # none waits
            return self
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

"""Privacy units of a batch: the rows of a record that is drawn several times, or of one person's records."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Units:
    """The units of a batch of B rows, sorted by their number of rows.

    together: pairs of a number m and the rows [n*m] of all n units with m rows, unit by unit; a slice if each row is a
    unit. All other rows are padding.
    """

    batch: int
    together: tuple[tuple[int, torch.Tensor | slice], ...]

    @classmethod
    def of(cls, units: torch.Tensor | None, batch: int, device: torch.device) -> "Units":
        """From the number of each row's unit, int64 [B], -1 for padding; None if each row is a unit.

        The numbers are read on the host, since they determine shapes: keep them on the CPU. ValueError for another
        shape or type, or a number below -1.
        """
        if units is None:
            return cls(batch, ((1, slice(0, batch)),) if batch else ())
        if units.shape != (batch,) or units.dtype != torch.int64:
            raise ValueError(f"clipping: units are {units.dtype} {list(units.shape)}, not int64 [{batch}]")
        rows_of: dict[int, list[int]] = defaultdict(list)
        for row, unit in enumerate(units.tolist()):
            if unit < -1:
                raise ValueError(f"clipping: unit {unit} of row {row} is below -1, which is for padding")
            if unit >= 0:
                rows_of[unit].append(row)
        of_size: dict[int, list[int]] = defaultdict(list)
        for rows in rows_of.values():
            of_size[len(rows)] += rows
        return cls(batch, tuple((size, torch.tensor(rows, device=device)) for size, rows in sorted(of_size.items())))

    def __bool__(self) -> bool:
        """Whether there is any unit."""
        return bool(self.together)

    def cut(self, size: int, rows: torch.Tensor | slice, most_rows: int) -> Iterator[torch.Tensor | slice]:
        """The rows of units of this size, in parts of at most `most_rows` rows, or of a single unit."""
        count = rows.stop if isinstance(rows, slice) else len(rows)
        step = max(1, most_rows // size) * size
        for start in range(0, count, step):
            part = slice(start, min(start + step, count))
            yield part if isinstance(rows, slice) else rows[part]

    def row_factors(self, factors_U: torch.Tensor) -> torch.Tensor:
        """The weight [B] of each row in a sum of the units' means times their factors [U]; 0 for padding."""
        found = factors_U.new_zeros(self.batch)
        start = 0
        for size, rows in self.together:
            units = (rows.stop if isinstance(rows, slice) else len(rows)) // size
            found[rows] = (factors_U[start : start + units] / size).repeat_interleave(size)
            start += units
        return found

"""A contact sheet: records of a pool in one picture, to see at a glance what was read."""

import io

import numpy as np
from PIL import Image

from mia_core.data.pool import Pool

COLUMNS, ROWS = 16, 24
CELL = 64
"""Pixels of a record's side at least: smaller ones are shown by whole multiples."""
GAP = 2
GROUND = 128


def contact_sheet(pool: Pool) -> bytes:
    """A PNG: a row a class with up to 16 records spread over it, of up to 24 classes; of one class, 24 rows of it."""
    channels, height, width = pool.image_shape
    scale = max(1, -(-CELL // height))
    rows = [row for row in _rows(pool.labels) if len(row)]
    high, wide = height * scale + GAP, width * scale + GAP
    columns = max(map(len, rows))
    sheet = np.full((len(rows) * high + GAP, columns * wide + GAP, channels), GROUND, np.uint8)
    for y, row in enumerate(rows):
        for x, record in enumerate(row):
            image = pool.images[record].transpose(1, 2, 0).repeat(scale, 0).repeat(scale, 1)
            top, left = y * high + GAP, x * wide + GAP
            sheet[top : top + height * scale, left : left + width * scale] = image
    buffer = io.BytesIO()
    Image.fromarray(sheet[..., 0] if channels == 1 else sheet).save(buffer, "PNG")
    return buffer.getvalue()


def _rows(labels: np.ndarray) -> list[np.ndarray]:
    """Records [.] of each row."""
    classes = np.unique(labels)
    if len(classes) == 1:
        return list(np.split(_spread(np.arange(len(labels)), ROWS * COLUMNS), range(COLUMNS, ROWS * COLUMNS, COLUMNS)))
    return [_spread(np.flatnonzero(labels == label), COLUMNS) for label in classes[:ROWS]]


def _spread(records: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the records, evenly over them."""
    if len(records) <= most:
        return records
    return records[np.linspace(0, len(records) - 1, most).round().astype(np.int64)]

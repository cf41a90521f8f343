"""Which feature network measured quality: values of two networks are never compared, nor put into one column."""

import pyarrow as pa

from mia_core.errors import shorten

MEASURE_AGAIN = (
    "with another setting of quality.extractor (e.g. steps) the study's sweep measures every kept target again, by "
    "one network, and trains no target for it"
)
"""The way out of a store whose quality was measured by two networks."""


def two_networks(quality: pa.Table) -> str | None:
    """What is wrong where one measure of a table of quality is by several networks; else None.

    A measure's id names the recipe of its network, so that equal ids are comparable if the weights are equal too. Rows
    that do not say which weights it were are believed.
    """
    known = quality.select(["measure_id", "extractor_sha256"]).drop_null()
    networks = known.group_by(["measure_id", "extractor_sha256"]).aggregate([])
    ids = networks["measure_id"].to_pylist()
    if len(ids) == len(set(ids)):
        return None
    shas = sorted({sha[:16] for sha in networks["extractor_sha256"].to_pylist()})
    return f"a measure of quality was made by {len(shas)} feature networks ({shorten(', '.join(shas))})"

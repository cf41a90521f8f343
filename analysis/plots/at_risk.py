"""Leakage of single records, and generated samples of each arm: both are as sensitive as the data."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from analysis.plots.drawing import finish
from analysis.study_data import ARM, VARIANT, StudyData
from study.store.seals import own_file
from study.tracking.pictures import COLORS

ALARM = 0.05


def records_at_risk(data: StudyData, table: pd.DataFrame) -> Figure:
    """Leakage of every record, the most at risk first: as measured, and shrunk toward the mean of all records.

    table: of `analysis.stats.records.records`. No record is named.
    """
    figure, axis = plt.subplots(figsize=(8.2, 3.4), layout="constrained")
    rank = np.arange(1, len(table) + 1)
    axis.plot(rank, table["difference"], ".", color="0.7", markersize=4, label="as measured")
    limits = table[["low", "high"]].astype(float)
    words = "shrunk; the band holds 95 % of records"
    axis.fill_between(rank, limits["low"], limits["high"], color=COLORS[0], alpha=0.15, lw=0)
    axis.plot(rank, table["shrunk"], color=COLORS[0], linewidth=1.6, label=words)
    found = (table["q"] <= ALARM).to_numpy()
    if found.any():
        label = "leaks (false-discovery rate 5 %)"
        axis.plot(rank[found], table["shrunk"][found], "^", color=COLORS[1], markersize=5, label=label)
    axis.axhline(0, color="0.6", linewidth=0.8, zorder=0)
    axis.set_xlabel("records, the most at risk first")
    axis.set_ylabel("score as member - as non-member\n(standard deviations of scores)")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize="small")
    count = int(table[["inside", "outside"]].sum(axis=1).max()) if len(table) else data.replicates
    finish(figure, f"What membership changes in each record's score\n{data.name}: {count} replicates")
    return figure


def samples_along_strength(data: StudyData, size: int, level: int) -> Figure | None:
    """Samples of each arm from the same latent vectors, of the first variant and replicate; None where none is stored.

    A sample may show a training record.
    """
    rows = data.wide.drop_duplicates("trial_id")
    rows = rows[(rows[VARIANT] == data.variants[0]) & (rows["train_size"] == size) & (rows[data.budget] == level)]
    rows = rows[rows["replicate"] == rows["replicate"].min()].set_index(ARM)
    grids = {}
    for arm in data.arms:
        trial_id = rows.loc[arm, "trial_id"] if arm in rows.index else ""
        for marker in data.store.markers([trial_id]).values() if trial_id else ():
            if path := own_file(marker, f"samples/{trial_id}"):
                grids[arm] = data.store.sealed_bytes(path, marker["files"][path])
    if not grids:
        return None
    across = min(4, len(grids))
    down = -(-len(grids) // across)
    figure, axes = plt.subplots(
        down, across, figsize=(2.4 * across, 2.6 * down + 0.6), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.axis("off")
    for axis, (arm, png) in zip(axes.flat, grids.items(), strict=False):
        axis.imshow(np.asarray(Image.open(io.BytesIO(png))), cmap="gray", interpolation="nearest")
        axis.set_title(arm, fontsize="medium")
    where = f"n = {size} after {level} {data.budget}"
    finish(figure, f"{data.name}: samples at {where}, replicate 0 only")
    return figure

"""The picture of one trial: the ROC of its attacks, from the stored scores, without a screen or global state."""

import io

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from mia_core.errors import Refused
from mia_core.metrics.leakage import MIN_FALSE_POSITIVES, roc
from study.store.reading import last_levels

matplotlib.rcdefaults()  # a matplotlibrc of the working folder could have TeX run

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Safe for the color-blind (Okabe & Ito)."""


def roc_picture(attacks: pd.DataFrame, scores: pd.DataFrame, title: str) -> bytes | None:
    """PNG: TPR against FPR of a trial's attacks over judged records, both logarithmic; None for a trial without scores.

    attacks, scores: its rows of those tables. An attack of several levels shows the last one, and at most seven are
    shown. FPRs at which fewer than 10 false positives are expected are shaded: what is there is chance.
    """
    judged = attacks[attacks["auc"].notna()] if len(attacks) else attacks
    if judged.empty:
        return None
    labels = last_levels(judged, "steps")
    shown = labels[: len(COLORS)]
    below = 0.85 + 0.16 * len(shown)
    height = below + 3.9
    figure = Figure(figsize=(4.6, height), dpi=90)
    axis = figure.add_axes((0.16, below / height, 0.8, 3.6 / height))
    fewest = 1.0
    for color, label in zip(COLORS, shown, strict=False):
        row = judged[judged["attack"] == label].iloc[0]
        own = scores[(scores["attack_id"] == row["attack_id"]) & scores["judged"]]
        member = own["member"].to_numpy(bool)
        if member.all() or not member.any():  # of none, too
            raise Refused(f"{title}: {label} has no scores of both members and non-members; its store was changed")
        fpr, tpr = roc(own["score"].to_numpy(), member)
        fewest = min(fewest, 1 / (~member).sum())
        axis.step(fpr, tpr, where="post", color=color, linewidth=1.2, label=f"{label} (AUC {row['auc']:.3f})")
    low = fewest / 2
    floor = min(1.0, MIN_FALSE_POSITIVES * fewest)
    axis.plot([low, 1], [low, 1], color="0.6", linewidth=0.8, linestyle="--")
    axis.axvspan(low, floor, color="0.88", zorder=0, label=f"fewer than {MIN_FALSE_POSITIVES} false positives")
    axis.set(xscale="log", yscale="log", xlim=(low, 1), ylim=(low, 1.1))
    axis.minorticks_off()  # they take half of the time, in a picture that every trial gets
    axis.set_xlabel("false-positive rate")
    axis.set_ylabel("true-positive rate")
    axis.set_title(title if shown == labels else f"{title}: {len(shown)} of {len(labels)} attacks", size=9)
    figure.legend(loc="lower left", fontsize=7, frameon=False)
    with io.BytesIO() as sink:
        figure.savefig(sink, format="png", metadata={"Software": None})
        return sink.getvalue()

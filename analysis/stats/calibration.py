"""What calibration gave in a study, beside what its formula predicts from the raw scores alone."""

import numpy as np
import pandas as pd
from scipy.stats import norm

from analysis.stats.derived_scores import base_labels
from analysis.stats.inference import columns_of_sum, judged_scores, mean_of
from analysis.study_data import StudyData
from mia_core.derived.evidence import Evidence
from mia_core.derived.lira import predicted_variances
from mia_core.metrics.two_way import contrast

CALIBRATED = "calibrated_"
"""How labels of calibrated attacks begin, unless a study file gives others."""


def calibration_gains(data: StudyData) -> pd.DataFrame:
    """One row a calibrated attack and cell, after the last level of training, of attacks without shadows.

    Columns of `data.cell`, attack, base, raw (its mean AUC), adjusted (the same, as tables have it: for how easy the
    drawn records are), effect (calibrated minus raw) with low, high (95 %, two-way), replicates, descriptive; share (of
    records in the variance of raw scores), references (the harmonic mean of OUT trainings per record), predicted: the
    gain that the formula of `mia_core.derived.calibrated` gives for adjusted, share and references. The formula takes
    normal scores and members' equal gains.
    """
    rows = []
    last = data.last
    for label in data.attacks:
        bases = base_labels(data, label)
        if not label.startswith(CALIBRATED) or len(bases) != 1 or data.attack(label)["shadows"].notna().any():
            continue
        for levels, own in last[last["attack"] == label].groupby(list(data.cell), sort=False):
            trials = list(own.sort_values("replicate")["trial_id"])
            found, base = judged_scores(data, label), judged_scores(data, bases[0])
            places = [base.place[trial] for trial in trials]
            cell, raw = found.aucs[[found.place[trial] for trial in trials]], base.aucs[places]
            columns = columns_of_sum(contrast(cell, raw), cell.auc - raw.auc)
            named = dict(zip(data.cell, levels, strict=True))
            of_base = last[(last["attack"] == bases[0]) & last["trial_id"].isin(trials)]
            adjusted = float(mean_of(data, of_base.sort_values("replicate")).estimate)
            about = {"attack": label, "base": bases[0], "raw": float(raw.auc.mean()), "adjusted": adjusted}
            rows.append({**named, **about, **columns, **_prediction(*base.of(trials), adjusted)})
    kept = ("raw", "adjusted", "effect", "low", "high", "predicted", "share", "references", "replicates", "descriptive")
    return pd.DataFrame(rows, columns=[*data.cell, "attack", "base", *kept])


def _prediction(score: np.ndarray, member: np.ndarray, raw: float) -> dict[str, float]:
    """share, references and predicted, from raw scores and members [R,J] and the AUC of the raw attack."""
    evidence = Evidence.leave_one_out(score, member).normal
    outside, inside = evidence.side(False), evidence.side(True)
    noise, records, _ = (part.mean() for part in predicted_variances(outside, inside))
    share = float(records / (noise + records))
    known = outside.count > 0
    inverse = float((1 / outside.count[known]).mean())
    delta = 2**0.5 * norm.ppf(raw)
    calibrated = norm.cdf(delta / (2 * (1 - share) * (1 + inverse)) ** 0.5)
    return {"share": share, "references": 1 / inverse, "predicted": float(calibrated - raw)}

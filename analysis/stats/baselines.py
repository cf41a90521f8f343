"""Controls and audits beside the effects: their verdicts."""

import pandas as pd

from analysis.study_data import StudyData
from study.verdicts import claims, controls

UNAVAILABLE = "not available: a public copy has no scores, which this is computed from"


def verdicts(data: StudyData) -> pd.DataFrame:
    """What each control says; see `verdicts.controls`. One row without a verdict for a public copy."""
    if data.public:
        return pd.DataFrame({"verdict": [UNAVAILABLE]})
    return controls.verdicts(data.store.root, data.name)


def audits(data: StudyData) -> pd.DataFrame:
    """What an attack on private arms proves, and whether it contradicts their claims; see `verdicts.claims`.

    One row without a verdict for a public copy.
    """
    if data.public:
        return pd.DataFrame({"verdict": [UNAVAILABLE]})
    return claims.verdicts(data.store.root, data.name)

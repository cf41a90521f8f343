"""The points of a study whose design draws them, and the trial of each, from its store alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mia_core.errors import Refused
from study.spec.sampling import combinations
from study.spec.study_file import Spec, parse_stored
from study.store import Store, read


def points(root: str | Path, study: str) -> pd.DataFrame:
    """One row a point and replicate, in the order of the design: point (from 0), replicate, trial_id, varied factors.

    A factor's column has its name, `defense` and `target` in words. Join it to other tables by trial_id: points that
    differ in nothing that is trained have one trial. Without rows for a study whose design draws nothing.
    """
    design = read(root, study, "design")
    drawn = design[design["kind"] == "point"].assign(point=lambda rows: rows["id"].astype(int))
    own = pd.DataFrame(
        {
            "point": drawn["point"],
            "replicate": drawn.groupby("point").cumcount(),
            "trial_id": drawn["trial_id"],
        }
    )
    levels = levels_of(parse_stored(Store(root, study).resolved()))
    return own.merge(levels, left_on="point", right_index=True).reset_index(drop=True)


def problem(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """What SALib's estimators take of a resolved spec: the varied factors, on the unit cube they were drawn in.

    ValueError for a design that draws nothing.
    """
    if "design" not in resolved:
        raise Refused(f"study {resolved['study']}: a factorial draws no points")
    names = list(resolved["design"]["drawn"])
    return {"num_vars": len(names), "names": names, "bounds": [[0.0, 1.0]] * len(names)}


def levels_of(spec: Spec) -> pd.DataFrame:
    """One row a point, one column a varied factor, as `points` has them."""
    found = pd.DataFrame(combinations(spec.drawn, spec.factors), columns=list(spec.drawn))
    for name, words in {"defense": spec.factors.arm_words, "target": spec.factors.target_labels}.items():
        if name in found:
            found[name] = [words[number] for number in spec.drawn[name]]
    return found

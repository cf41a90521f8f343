"""`release.json`: the decision and all that it rests on, for other programs. Null where there is no number."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analysis.release.answers import Answer, Answers
from analysis.release.release_evidence import Evidence, Scored
from mia_core.metrics.attack_bounds import FPR
from mia_core.metrics.decisions import Bounded
from mia_core.metrics.leakage import tpr_at_fpr
from mia_core.metrics.trial_interval import trial_intervals
from study.spec.policy import Policy

FORMAT = 1
"""Version of this document's layout."""


def document(evidence: Evidence, answers: Answers, policy: Policy | None) -> dict[str, Any]:
    """Plain values; every number is finite. No path, and no name of a file or person."""
    bounds = {one.attack.label: one for one in answers.measured}
    return {
        "format": FORMAT,
        "decision": answers.decision.value,
        "policy": None if policy is None else {**policy.to_dict(), "sha256": policy.sha256},
        "limits": [_limit(answer) for answer in answers.answers],
        "reasons": [{"reason": reason.words, "remedy": reason.remedy} for reason in answers.reasons],
        "attacks": [
            {
                **row_of(attack),
                "compared_with_limits": attack.label in bounds,
                **{
                    f"{name}_{end}_bound": getattr(getattr(bounds[attack.label], name), end)
                    for name in ("auc", "tpr", "person")
                    for end in ("low", "high")
                    if attack.label in bounds
                },
            }
            for attack in evidence.attacks
        ],
        "not_tried": dict(evidence.skipped),
        "copies": _copies(evidence, answers),
        "guarantee": None if evidence.guarantee is None else dict(vars(evidence.guarantee)),
        "controls": [dict(vars(control)) for control in evidence.controls],
        "released": dict(evidence.released),
        "data": {**evidence.given, **evidence.about, "digest": evidence.digest},
        "versions": dict(evidence.versions),
    }


def row_of(attack: Scored) -> dict[str, Any]:
    """attack, access, released, its AUC with a two-sided 95 % interval, and its TPR, None with too few non-members."""
    auc, low, high = map(float, trial_intervals(attack.score, attack.member, attack.persons))
    return {
        "attack": attack.label,
        "access": attack.access,
        "knowledge": attack.knowledge,
        "released": attack.released,
        "auc": auc,
        "auc_low": low,
        "auc_high": high,
        "tpr_at_1pct_fpr": tpr_at_fpr(attack.score[attack.member], attack.score[~attack.member], FPR),
    }


def _limit(answer: Answer) -> dict[str, Any]:
    return {
        "name": answer.name,
        "limit": answer.limit,
        "decision": answer.decision.value,
        "values": [dict(vars(value)) for value in answer.values],
        "reasons": [reason.words for reason in answer.reasons],
    }


def _copies(evidence: Evidence, answers: Answers) -> dict[str, Any] | None:
    found = evidence.copies
    if found is None:
        return None
    values: Sequence[Bounded] = next(answer.values for answer in answers.answers if answer.name == "copies")
    by = {value.by: value for value in values}
    return {**vars(found), "by_chance": found.by_chance, "bounds": {name: dict(vars(by[name])) for name in by}}


def to_text(values: Mapping[str, Any]) -> str:
    """Strict JSON. ValueError for a number that is not finite."""
    return json.dumps(_plain(values), indent=2, allow_nan=False, ensure_ascii=True) + "\n"


def _plain(value: Any) -> Any:
    """numpy's numbers as Python's; NaN, where a table had no number, as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value

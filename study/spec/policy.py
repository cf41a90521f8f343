"""A release policy: limits that an institution sets for a release, who set them, when, and for which reasons.

There are no default limits, and no field has a default, so nobody signs what they have not written. The same class is
a file for `mia-study release --policy`, and the section `policy:` of a study file.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from pydantic import field_validator, model_validator

from mia_core.errors import Refused, shorten
from mia_core.hashing import canonical_json
from mia_core.settings import settings, validate
from study.spec import documents

Line = Annotated[str, MinLen(1), MaxLen(200)]
REQUIRED = ("auc", "tpr_at_1pct_fpr", "copies", "worst_person")
"""Limits of every policy."""


@settings
class Limits:
    """Each limit is exceeded by values above it.

    auc: of any attack, in [0.5, 1]. tpr_at_1pct_fpr: of any attack, in (0, 1]. copies: the share of samples that copy a
    member, beyond the false-copy rate, in [0, 1]. worst_person: the share of members among persons who score at least
    as high as the 20 members who stand out most, where half of all who are asked about are members, in [0.5, 1].
    epsilon: of the guarantee, for adding or removing one `epsilon_unit`; None: no guarantee is asked for.
    """

    auc: Annotated[float, Ge(0.5), Le(1)]
    tpr_at_1pct_fpr: Annotated[float, Gt(0), Le(1)]
    copies: Annotated[float, Ge(0), Le(1)]
    worst_person: Annotated[float, Ge(0.5), Le(1)]
    epsilon: Annotated[float, Gt(0)] | None = None
    epsilon_unit: Literal["record", "person"] | None = None

    @model_validator(mode="after")
    def _unit_of_epsilon(self) -> "Limits":
        if (self.epsilon is None) != (self.epsilon_unit is None):
            raise Refused("epsilon and epsilon_unit (record or person) need each other; give both, or neither")
        return self

    def to_dict(self) -> dict[str, Any]:
        """Limits that are set, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@settings
class Policy:
    """name: who answers for the limits. date, review: days, as 2026-01-31; review: when to look again, None: not set.
    reasons: why these limits, in the signer's words.
    """

    limits: Limits
    name: Line
    date: Line
    reasons: Annotated[str, MinLen(1), MaxLen(5000)]
    review: Line | None = None

    @field_validator("limits", mode="before")
    @classmethod
    def _build(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        if set(values) == {"auc"}:
            others = ", ".join(REQUIRED[1:])
            raise Refused(f"an AUC alone says nothing of the few who leak most; set {others} too")
        return validate(Limits, values, "")

    @field_validator("name", "reasons")
    @classmethod
    def _written(cls, words: str) -> str:
        if not words.strip():
            raise Refused("is blank; write it")
        return words

    @field_validator("date", "review")
    @classmethod
    def _day(cls, words: str | None) -> str | None:
        if words is not None:
            try:
                valid = date.fromisoformat(words).isoformat() == words
            except ValueError:
                valid = False
            if not valid:
                raise Refused(f"{shorten(repr(words))} is no day such as 2026-01-31")
        return words

    @model_validator(mode="after")
    def _review_later(self) -> "Policy":
        if self.review is not None and self.review <= self.date:
            raise Refused(f"review {self.review} must be after date {self.date}")
        return self

    def to_dict(self) -> dict[str, Any]:
        """As its file says it."""
        rest = {name: value for name, value in asdict(self).items() if name != "limits" and value is not None}
        return {"limits": self.limits.to_dict(), **rest}

    @property
    def sha256(self) -> str:
        """Of its values, whatever comments and order of keys its file has."""
        return hashlib.sha256(canonical_json(self.to_dict()).encode()).hexdigest()


def read_policy(path: str | Path) -> Policy:
    """From a YAML file (JSON where its name ends so). Refused, in one line, for whatever is missing or wrong."""
    try:
        values = documents.load(path)
        if blank := [*_blank(values.get("limits"), REQUIRED), *_blank(values, ("name", "date", "reasons"))]:
            raise Refused(f"is not filled in: {', '.join(blank)}")
        return validate(Policy, values, "")
    except Refused as error:
        raise Refused(str(error) if str(path) in str(error) else f"{path}: {error}") from None


def _blank(values: Any, names: Sequence[str]) -> list[str]:
    """Fields that are there and have no value, as `template` writes them."""
    return [name for name in names if isinstance(values, Mapping) and name in values and values[name] is None]


def policy_of(values: Mapping[str, Any], where: str = "policy") -> Policy:
    """From plain values, such as a section of a study file. Refused as in `read_policy`."""
    return validate(Policy, values, where)


def template() -> str:
    """A policy file with comments, whose limits, name, date and reasons are blank: refused until they are filled in."""
    return TEMPLATE


TEMPLATE = """\
# Limits for a release, for `mia-study release --policy FILE`. There are no default limits: fill in every blank.
# Whether a limit is exceeded is answered by confidence bounds, never by estimates. Only attacks that were tried count.

limits:
  # The largest AUC of any attack: the probability that an attacker, shown one training record and one other, tells
  # which is which. Guessing has 0.5.
  auc:
  # The largest share of training records that an attack names while 1 % of other records are named wrongly. Guessing
  # has 0.01.
  tpr_at_1pct_fpr:
  # The largest share of samples that copy a training record, beyond the rate at which records that were not trained on
  # are called copies.
  copies:
  # The worst persons: the largest share of persons trained on among those who score at least as high as the 20 training
  # persons who stand out most, where half of all who are asked about were trained on. Guessing has 0.5.
  worst_person:
  # The largest epsilon of a differential-privacy guarantee, for one record or one person with all of their records.
  # Leave both out where no guarantee is asked for.
  # epsilon:
  # epsilon_unit: person

# Who answers for these limits, the day they were set, and why they were set so.
name:
date:
reasons:
# The day on which this is looked at again, such as 2027-01-31.
# review:
"""

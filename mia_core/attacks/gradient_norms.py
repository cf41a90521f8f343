"""Norms of a record's gradient, by groups of parameters: the features of GSA (Pang et al. 2025, PoPETs)."""

from typing import Annotated, Any, Self

import torch
from annotated_types import Ge, Gt
from pydantic import BeforeValidator, model_validator

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS, Attack, Knowledge, Scores, ascending
from mia_core.errors import Refused
from mia_core.model_facts import ModelFacts
from mia_core.settings import settings
from mia_core.streams import Streams

SMALLEST = torch.finfo(torch.float32).tiny
"""Norms count as this at least, so that their logarithms are finite."""


def _from_zero(value: Any) -> Any:
    return ascending(value, 0)


def _listed(group: int | tuple[int, ...]) -> tuple[int, ...]:
    return group if isinstance(group, tuple) else (group,)


Groups = Annotated[Annotated[int, Ge(0)] | tuple[Annotated[int, Ge(0)], ...], BeforeValidator(_from_zero)]


@ATTACKS.register
class GradientNorms(Attack):
    """-log of the norm of the gradient of a record's loss, over all parameters or one group of them.

    GSA fits a classifier on the norms of every tensor under shadow models: that is the derived attack
    `shadow_classifier` of the groups 1, 2, .., `groups`. Deviations: groups of tensors, so that every target has as
    many features; logistic regression in place of XGBoost. With known records in place of shadows it is
    `known_gradients`.
    """

    name = "gradient_norms"
    uses = frozenset({"gradients"})
    nested = "group"

    @settings
    class Config:
        """group: 0 for all parameters, or the number of a group. groups: in which the tensors are, in their order."""

        group: Groups = 0
        groups: Annotated[int, Gt(0)] = 8

        @model_validator(mode="after")
        def _there(self) -> Self:
            largest = max(_listed(self.group))
            if largest > self.groups:
                raise Refused(f"group {largest} is beyond the {self.groups} groups; raise `groups`, or lower it")
            return self

    config: Config

    @classmethod
    def unread(cls, config: Any) -> dict[str, str]:
        """The number of groups where none is asked for."""
        return {} if any(_listed(config.group)) else {"groups": "with group 0 takes all parameters together"}

    def unfit(self, model: ModelFacts) -> str | None:
        """Also for a model with fewer parameter tensors than groups, of which some would be empty."""
        if reason := super().unfit(model):
            return reason
        if self.unread(self.config):
            return None
        if model.tensors is not None and model.tensors < self.config.groups:
            there = f"{model.name} has {model.tensors} parameter tensors"
            return f"{there}, and {self.config.groups} groups are too many; set `groups` lower"
        return None

    def run(self, view: View, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """[L,Q]."""
        norms_QP = view.gradients(queries, rng)
        parts = (norms_QP, *norms_QP.tensor_split(self.config.groups, dim=1))
        each = [parts[level].norm(dim=1).clamp_min(SMALLEST).log() for level in self._listed("group")]
        return Scores(self.levels, -torch.stack(each))

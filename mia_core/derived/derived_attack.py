"""The contract of derived attacks: pure functions of scores and coins, which train nothing."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from mia_core.derived.evidence import Evidence, all_others, one_way
from mia_core.registry import Registry
from mia_core.settings import Nothing


class DerivedAttack(ABC):
    """A derived attack with its settings; subclasses set `name`, and `Config` if there are settings.

    version: part of ids; raise it if a change alters scores. combines: whether it takes several attacks at once.
    needs_persons: whether it takes units of several records. needs_reference: whether it takes other trainings.
    learns_direction: whether it learns from coins what it applies to all records, so that without shadows two
    replicates may not learn from each other. needs_shadows: whether other trainings must be shadows, since it learns
    or chooses from labels, and those of other replicates are judged.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    Config: ClassVar[type] = Nothing
    combines: ClassVar[bool] = False
    needs_persons: ClassVar[bool] = False
    needs_reference: ClassVar[bool] = True
    learns_direction: ClassVar[bool] = False
    needs_shadows: ClassVar[bool] = False

    def __init__(self, config: Any) -> None:
        self.config = config

    @classmethod
    def unread(cls, config: Any, probability: float | None) -> dict[str, str]:
        """Settings that mean nothing beside the others of `config`, each with the reason.

        probability: of a record to be a member; None where it is not fixed.
        """
        return {}

    @property
    def fewest_never_members(self) -> int:
        """How many queries it takes that no training of the study has among its members."""
        return 0

    @classmethod
    def uses(cls, replicates: int) -> np.ndarray:
        """bool [R,R]: which replicates are the reference of which, where there are no shadows."""
        return (one_way if cls.learns_direction else all_others)(replicates)

    @abstractmethod
    def __call__(self, evidence: Evidence, probability: float) -> np.ndarray:
        """Scores [...,R,Q], higher = member; leading axes are those of the evidence's members.

        probability: of a query to be a member, by the design of the split.
        """


DERIVED: Registry[DerivedAttack] = Registry("derived attack")

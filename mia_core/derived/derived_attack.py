"""The contract of derived attacks: pure functions of scores and coins, which train nothing."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from mia_core.derived.evidence import Evidence
from mia_core.settings import Nothing, Registry


class DerivedAttack(ABC):
    """A derived attack with its settings; subclasses set `name`, and `Config` if there are settings.

    version: part of ids; raise it if a change alters scores. combines: whether it takes several attacks at once.
    needs_persons: whether it takes units of several records. needs_reference: whether it takes other trainings.
    needs_shadows: whether these must be shadows, since it learns or chooses from labels, and those of other replicates
    are judged.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    Config: ClassVar[type] = Nothing
    combines: ClassVar[bool] = False
    needs_persons: ClassVar[bool] = False
    needs_reference: ClassVar[bool] = True
    needs_shadows: ClassVar[bool] = False

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def __call__(self, evidence: Evidence, probability: float) -> np.ndarray:
        """Scores [...,R,Q], higher = member; leading axes are those of the evidence's members.

        probability: of a query to be a member, by the design of the split.
        """


DERIVED: Registry[DerivedAttack] = Registry("derived attack")

"""Trials: a cell in a replicate, at one level of its budget, with all that it is wanted to hold."""

from dataclasses import dataclass

from study.design.wanted import WantedAttack, WantedMeasure
from study.spec.factors import Budget, Cell
from study.store.roles import CANARY, STUDY


@dataclass(frozen=True)
class Trial:
    """A cell in a replicate, at one level of its budget.

    steps: discriminator updates; blind and copycat controls train nothing and have 0. budget: what the level counts.
    of: the trial whose target this one attacks again, at its level, for a control that trains nothing of its own. arm:
    the label that tells the cell's arm from the study's others.
    """

    trial_id: str
    trajectory_id: str
    cell: Cell
    replicate: int
    steps: int
    attacks: tuple[WantedAttack, ...]
    measures: tuple[WantedMeasure, ...]
    role: str = STUDY
    budget: Budget = "epochs"
    of: "Trial | None" = None
    arm: str = "none"

    @property
    def epochs(self) -> int | None:
        """Whole epochs; None where the steps end inside of one."""
        whole = self.cell.epochs_of(self.steps)
        return whole if self.cell.steps_of(whole) == self.steps else None

    @property
    def level(self) -> int:
        """Of the budget."""
        return self.steps if self.budget == "steps" else self.cell.epochs_of(self.steps)

    @property
    def name(self) -> str:
        """For people: `dcgan n=100 epochs=20 dropout 0.5 replicate=0`, `blind n=100 replicate=0`."""
        if not self.steps:
            return f"{self.role} n={self.cell.train_size} replicate={self.replicate}"
        role = "" if self.role == STUDY else f"{self.role} "
        if self.role == CANARY:
            role = f"{self.attacks[0].label} "
        factors = "".join(f"{name}={level} " for name, level in self.cell.factors.items())
        cell = self.cell
        return (
            f"{role}{cell.label} n={cell.train_size} {self.budget}={self.level} {factors}{self.arm} "
            f"replicate={self.replicate}"
        )

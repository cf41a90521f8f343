"""What is still to do: what a design wants, less what the store has sealed."""

from collections.abc import Sequence
from dataclasses import dataclass

from study.design.study_design import Design
from study.design.trials import Trial
from study.design.wanted import WantedAttack, WantedMeasure
from study.spec.objectives import EXTRACTOR
from study.store import Done, Store


@dataclass(frozen=True)
class Work:
    """What is missing of one trial. train: its row, and the training where it has one of its own.

    retrain: train again because its target was not kept: to the same bits, but for an arm with a guarantee, whose noise
    is drawn anew. All of such a trial is done again, in the place of what is sealed.
    """

    trial: Trial
    train: bool
    retrain: bool
    attacks: tuple[WantedAttack, ...]
    measures: tuple[WantedMeasure, ...]

    @property
    def trains(self) -> bool:
        """Whether a target is trained for it, to its level."""
        return (self.train or self.retrain) and self.trial.steps > 0 and self.trial.of is None

    @property
    def replaces(self) -> bool:
        """Whether a sealed training is done again, to other bits."""
        return self.train and self.retrain

    @property
    def takes_extractor(self) -> bool:
        """Whether samples are measured, or records attacked, in the features of the study's network."""
        measured = any(item.extractor == EXTRACTOR for item in self.measures)
        return measured or any(attack.takes_extractor for attack in self.attacks)


def missing(design: Design, store: Store) -> dict[str, list[Work]]:
    """Work still to do, by trajectory, epochs ascending; empty when the study is complete."""
    done = store.done()
    todo = {name: _missing(trials, done) for name, trials in design.trajectories.items()}
    return {name: works for name, works in todo.items() if works}


def missing_of(trials: Sequence[Trial], store: Store) -> list[Work]:
    """Work still to do on some trials, reading their markers only."""
    return _missing(trials, store.done([trial.trial_id for trial in trials]))


def _missing(trials: Sequence[Trial], done: dict[str, Done]) -> list[Work]:
    works = []
    for trial in trials:
        have = done.get(trial.trial_id, Done())
        attacks = tuple(w for w in trial.attacks if w.attack_id not in have.attacks)
        measures = tuple(w for w in trial.measures if w.measure_id not in have.measures)
        lost = bool(trial.steps and trial.of is None and have.train and not have.kept)
        if lost and trial.cell.arm.guaranteed and (attacks or measures):
            works.append(Work(trial, True, True, trial.attacks, trial.measures))
        elif not have.train or attacks or measures:
            works.append(Work(trial, not have.train, lost, attacks, measures))
    return works

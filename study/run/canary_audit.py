"""Canaries of a trial that audits a private arm: made before its training, and scored after it."""

import numpy as np

from mia_core.canaries import Canaries
from mia_core.streams import Streams
from mia_core.training import Trainer
from study.design.study_design import Design
from study.design.trials import Trial
from study.run.attack_row import Attacked, Queries, judged
from study.store.roles import CANARY


def canaries_of(design: Design, trial: Trial) -> Canaries:
    """The canaries of a trial, a function of its id and the study's seed."""
    (wanted,) = trial.attacks
    streams = Streams(CANARY, design.spec.seed, trial.trajectory_id)
    shape = design.pool.image_shape
    return Canaries(**wanted.arguments, target=trial.cell.target, image_shape=shape, streams=streams)


def audit(design: Design, trial: Trial, trainer: Trainer) -> Attacked:
    """How well the trained networks tell which canaries were trained on; every canary has a fair coin."""
    (wanted,) = trial.attacks
    canaries = canaries_of(design, trial)
    numbers = np.arange(len(canaries.coins))
    every = np.ones(len(numbers), dtype=bool)
    queries = Queries(numbers, numbers, canaries.coins, judged=every, coin=every)
    return judged(design, trial, wanted, canaries.scores(trainer), queries)

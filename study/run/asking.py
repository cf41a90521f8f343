"""The points that a search tries next, by Optuna's ask-and-tell interface."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from study.spec.factors import Range, rounded
from study.spec.objectives import SearchSpec, Values


def ask(
    search: SearchSpec,
    levels: Mapping[str, list[Any] | Range],
    points: Sequence[Mapping[str, Any]],
    known: Sequence[Values],
    count: int,
    seed: int,
) -> list[dict[str, Any]]:
    """The next points, a function of the arguments alone; levels: of each varied factor.

    A new Optuna study is told the results of all points so far, in their order, and then asked for more.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {name: _distribution(own) for name, own in levels.items()}
    study = optuna.create_study(directions=[goal.direction for goal in search.goals], sampler=_sampler(search, seed))
    for point, values in zip(points, known, strict=True):
        study.enqueue_trial(dict(point))
        trial = study.ask(space)
        if search.sampler == "nsga2":
            trial.relative_params  # noqa: B018 (asking for them is what puts a trial into its generation)
        study.tell(trial, values, None if values else optuna.trial.TrialState.FAIL)
    asked = [study.ask(space).params for _ in range(count)]
    return [{name: _level(levels[name], params[name]) for name in levels} for params in asked]


def _sampler(search: SearchSpec, seed: int) -> optuna.samplers.BaseSampler:
    if search.sampler == "nsga2":
        return optuna.samplers.NSGAIISampler(population_size=search.population, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(multivariate=True, seed=seed)


def _distribution(levels: list[Any] | Range) -> BaseDistribution:
    if not isinstance(levels, Range):
        return CategoricalDistribution(range(len(levels)))
    log = levels.scale == "log"
    if levels.kind == "integer":
        return IntDistribution(int(levels.low), int(levels.high), log=log)
    return FloatDistribution(levels.low, levels.high, log=log)


def _level(levels: list[Any] | Range, value: Any) -> Any:
    """As a spec has it: read easily, and of a list, the number of the level."""
    return rounded(value, levels) if isinstance(levels, Range) and levels.kind == "real" else int(value)

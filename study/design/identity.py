"""Ids: what a trial, an attack, a measure and a design depend on, and the hashes that name them.

Whatever is not here changes no id, and so makes nothing be done again.
"""

from collections.abc import Mapping
from typing import Any

from mia_core.data import Pool
from mia_core.hashing import FORMAT, content_id
from study.spec.factors import Cell
from study.spec.study_file import Spec


def design_id(spec: Spec, pool: Pool) -> str:
    """A spec on its data."""
    return content_id([spec.resolved, pool.digest, FORMAT])


def origin(spec: Spec, pool: Pool, replicate: int) -> dict[str, Any]:
    """What every trial of a replicate depends on."""
    return {
        "format": FORMAT,
        "data": pool.digest,
        "split": spec.split.to_dict(),
        "seed": spec.seed,
        "replicate": replicate,
    }


def training_id(origin: Mapping[str, Any], cell: Cell, **besides: Any) -> str:
    """A training run: all that determines a target but when it stops. besides: role, canary, horizon, where any is."""
    return content_id({**origin, **cell.to_dict(), **besides})


def untrained_id(origin: Mapping[str, Any], role: str, made_of: Mapping[str, Any]) -> str:
    """A control that trains nothing, in place of a training run. made_of: what it judges or replays."""
    return content_id({**origin, "role": role, **made_of})


def trial_id(trajectory_id: str, steps: int) -> str:
    """A trajectory stopped after so many discriminator updates."""
    return content_id(["trial", trajectory_id, steps])


def again_id(role: str, trial_id: str) -> str:
    """A control that attacks the target of a trial again."""
    return content_id([role, trial_id])


def attack_run(recipe: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """What a run of an attack depends on besides its target. recipe: attack, arguments, knowledge, queries, samples."""
    return {"format": FORMAT, "seed": seed, **recipe}


def run_id(run: Mapping[str, Any]) -> str:
    """A run of an attack, as of `attack_run`."""
    return content_id(run)


def attack_id(run: Mapping[str, Any], level: int | None) -> str:
    """A run of an attack after one of its step levels."""
    return content_id([run, level])


def control_id(name: str, arguments: Mapping[str, Any], *depends_on: Any) -> str:
    """What is no attack of the registry: the blind classifier, the search for canaries. depends_on: seed, queries."""
    return content_id([name, FORMAT, arguments, *depends_on])


def measure_id(name: str, against: str, arguments: Mapping[str, Any], *depends_on: Any) -> str:
    """A quality measure. depends_on: the extractor's recipe, the queries and the seed."""
    return content_id([FORMAT, name, against, arguments, *depends_on])

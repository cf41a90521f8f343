"""Ids: what a trial, an attack, a measure and a design depend on, and the hashes that name them.

Whatever is not here changes no id, and so makes nothing be done again. What results mean has versions: of the training
loop, and of each split, target, defense, attack and measure. A version is in an id where it is above 1, so a change of
one attack renews that attack's results, and no others.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mia_core import training
from mia_core.attacks import Attack
from mia_core.data import Pool
from mia_core.derived import DerivedAttack
from mia_core.hashing import content_id
from mia_core.metrics import authenticity, copies, exact_copies, extraction, quality, synthetic_training
from mia_core.settings import Choice
from study.spec.factors import Cell
from study.spec.study_file import Spec

LOOP = "training"
"""The training loop, among versions."""

MEASURES = {
    **quality.VERSIONS,
    **copies.VERSIONS,
    **exact_copies.VERSIONS,
    **extraction.VERSIONS,
    **authenticity.VERSIONS,
    **synthetic_training.VERSIONS,
}
"""Versions of measures."""


def versions(spec: Spec, cell: Cell) -> dict[str, int]:
    """Versions above 1 of all that determines a trained target, by what they are of."""
    parts = {LOOP: training.VERSION, f"split {spec.split.name}": spec.split.cls.version}
    parts[f"target {cell.target.name}"] = cell.target.cls.version
    return _raised(parts | {f"defense {choice.name}": choice.cls.version for choice in cell.arm.choices})


def _raised(parts: Mapping[str, int]) -> dict[str, int]:
    return {name: version for name, version in parts.items() if version > 1}


def measures(spec: Spec, by_person: bool) -> dict[str, int]:
    """Versions above 1 of a study's measures. by_person: whether unseen persons have several records."""
    own = {name: copies.BY_PERSON if by_person and name in copies.COPIES else MEASURES[name] for name in MEASURES}
    exact = exact_copies.EXACT if spec.release is not None else ()
    return _raised({name: own[name] for name in (*spec.quality.measures, *exact)})


def design_id(spec: Spec, pool: Pool, measures: Mapping[str, int], *given: Mapping[str, Any]) -> str:
    """A spec on its data. measures: as of `measures`. given: the identity of a release, where there is one."""
    raised = [versions(spec, cell) for cell in spec.cells]
    attacks = _raised({entry.choice.name: entry.choice.cls.version for entry in spec.attacks})
    return content_id([spec.resolved, pool.digest, raised, attacks, measures, *given])


def origin(spec: Spec, pool: Pool, replicate: int) -> dict[str, Any]:
    """What every trial of a replicate depends on."""
    return {"data": pool.digest, "split": spec.split.to_dict(), "seed": spec.seed, "replicate": replicate}


def packages(cell: Cell) -> dict[str, str]:
    """Names of the packages of what determines a trained target, where it is none of this project's."""
    choices: dict[str, Sequence[Choice[Any]]] = {"target": [cell.target], "defense": cell.arm.choices}
    return {
        f"{kind} {choice.name}": choice.package.name
        for kind, several in choices.items()
        for choice in several
        if choice.package
    }


def training_id(spec: Spec, pool: Pool, replicate: int, cell: Cell, **besides: Any) -> str:
    """A training run: all that determines a target but when it stops. besides: role, canary, horizon, where any is."""
    depends_on = {**origin(spec, pool, replicate), **cell.to_dict(), "versions": versions(spec, cell)}
    if found := packages(cell):
        depends_on["packages"] = found
    return content_id({**depends_on, **besides})


def untrained_id(spec: Spec, pool: Pool, replicate: int, role: str, made_of: Mapping[str, Any]) -> str:
    """A control that trains nothing, in place of a training run. made_of: what it judges or replays."""
    raised = _raised({LOOP: training.VERSION, f"split {spec.split.name}": spec.split.cls.version})
    return content_id({**origin(spec, pool, replicate), "versions": raised, "role": role, **made_of})


def trial_id(trajectory_id: str, steps: int) -> str:
    """A trajectory stopped after so many discriminator updates."""
    return content_id(["trial", trajectory_id, steps])


def again_id(role: str, trial_id: str) -> str:
    """A control that attacks the target of a trial again."""
    return content_id([role, trial_id])


def attack_run(recipe: Mapping[str, Any], seed: int, choice: Choice[Attack]) -> dict[str, Any]:
    """What a run of an attack depends on besides its target. recipe: attack, arguments, knowledge, queries, samples."""
    package = {"package": choice.package.name} if choice.package else {}
    return {"seed": seed, **recipe, **package, **_raised({"version": choice.cls.version})}


def run_id(run: Mapping[str, Any]) -> str:
    """A run of an attack, as of `attack_run`."""
    return content_id(run)


def attack_id(run: Mapping[str, Any], level: int | None) -> str:
    """A run of an attack after one of its step levels."""
    return content_id([run, level])


def derived_id(choice: Choice[DerivedAttack], bases: Sequence[str], seals: Sequence[str]) -> str:
    """A derived attack. bases: ids of the attacks whose scores it takes; seals: sha256 of the sealed files of them.

    Scores of other trainings, or of a training that was done again, so make another row, and change none.
    """
    run = {"derived": choice.to_dict(), "bases": list(bases), "seals": list(seals)}
    return content_id({**run, **_raised({"version": choice.cls.version})})


def control_id(name: str, arguments: Mapping[str, Any], *depends_on: Any) -> str:
    """What is no attack of the registry: the blind classifier, the search for canaries. depends_on: seed, queries."""
    return content_id([name, arguments, *depends_on])


def measure_id(
    name: str, against: str, arguments: Mapping[str, Any], measures: Mapping[str, int], *depends_on: Any
) -> str:
    """A quality measure. measures: as of `measures`. depends_on: extractor (its recipe, or `pixels`), queries, seed."""
    raised = [measures[name]] if name in measures else []
    return content_id([name, against, arguments, *depends_on, *raised])

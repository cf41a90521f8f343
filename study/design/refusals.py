"""What does not fit: arms to targets, attacks to what is known, audits and quality measures to the split."""

from collections.abc import Iterable, Mapping
from typing import Any

from mia_core import precision
from mia_core.data import Pool, Split
from mia_core.data.split import FAIR
from mia_core.defenses import Arm, labels_of
from mia_core.errors import Refused
from mia_core.metrics.extractor import Recipe
from mia_core.persons import PERSON, RECORD, Unit, nominal_persons
from mia_core.settings import Choice
from mia_core.targets import Target, shaped
from study.design.wanted import Attacks, Measures
from study.spec.objectives import EXTRACTOR
from study.spec.study_file import Spec
from study.spec.target_levels import require_read_targets

OF_NEIGHBORS = frozenset({"precision", "recall", "density", "coverage"})
FEWEST_NEIGHBORS = 6

Pair = tuple[Arm, str]
"""An arm, and the label of a target."""


def no_coins(split: Mapping[str, Any], unit: Unit = RECORD) -> str:
    """Why claims of privacy cannot be audited by the queries of a split that has no audit coins. split: resolved.

    unit: what the claims are about.
    """
    if split["name"] != "panel":
        return f"in a {split['name']} split no query has a coin of its own; split.name=panel has them"
    probability = split.get("probability", FAIR)
    if probability != FAIR:
        return (
            f"an audit guesses fair coins, and here split.probability is {probability:g}; split.probability=0.5 has "
            "fair ones (with a panel of at most twice the smallest train_size, less known members), as "
            "configs/privacy_digits.yaml does"
        )
    if unit == PERSON and split.get("groups") == "ignore":
        return (
            "no coin decides about all records of one person and about nobody else, since split.groups=ignore draws "
            "records; split.groups=keep draws persons"
        )
    return (
        "no coin decides about one record alone, since panel or filler have groups and duplicates; split.filler=fixed "
        "leaves filler alone"
    )


def require_quality(spec: Spec, split: Split, recipe: Recipe, measures: Measures) -> None:
    """Refused unless there are records enough for the measures, and a search's are measured."""
    quality = spec.quality
    labels = {wanted.label for wanted in measures.wanted}
    for goal in spec.search.goals if spec.search else ():
        if goal.attack is None and goal.measure not in labels:
            raise Refused(f"search.objectives: {goal.name} is not measured: {measures.skipped or measures.no_copies}")
    if set(quality.of_samples) & {wanted.name for wanted in measures.wanted}:
        if "unseen" in quality.against and len(split.unseen) < quality.samples:
            raise Refused(
                f"quality.samples: {quality.samples} need as many unseen records, and split.unseen has "
                f"{len(split.unseen)}"
            )
        if set(quality.measures) & OF_NEIGHBORS and measures.members < FEWEST_NEIGHBORS:
            raise Refused("quality.samples: precision, recall, density and coverage need at least 6 samples")
        if measures.members < 2:
            raise Refused("quality.samples: needs at least 2 samples")
    if not any(wanted.extractor == EXTRACTOR for wanted in measures.wanted):
        return
    if reason := recipe.refusal(len(split.reference)):
        raise Refused(f"split.reference: the extractor {reason}; or lower quality.extractor.features")


def refused_pairs(spec: Spec, pool: Pool) -> tuple[dict[Choice[Target], Target], dict[Pair, str]]:
    """Targets by name and settings, and why arms do not fit them, by the arm and the target's label.

    Targets have shapes and no values. Refused for an arm that fits no target of the study, or guarantees nothing.
    """
    if not spec.points:  # of points that are drawn, some have settings in vain
        require_read_targets(((cell.label, cell.target) for cell in spec.cells), pool.image_shape)
    targets: dict[Choice[Target], Target] = {}
    reasons: dict[Pair, str] = {}
    fitting: set[Pair] = set()
    for cell in spec.cells:
        if cell.target not in targets:
            targets[cell.target] = shaped(cell.target, pool.image_shape)
        target = targets[cell.target]
        pair = cell.arm, cell.label
        size, batch = cell.train_size, cell.training.batch_size
        persons = nominal_persons(pool.units, size) if cell.arm.unit == PERSON else None
        if reason := cell.arm.training_refusal(size, batch, persons):
            raise Refused(f"factors.defense: {cell.arm.label} with train_size {size}: {reason}")
        if spec.budget == "epochs" and batch > size:
            raise Refused(
                f"factors.train_size: an epoch of {size} records is less than a batch of {batch}; lower "
                "training.batch_size, or give factors.steps in place of factors.epochs"
            )
        if reason := cell.arm.refusal(target) or precision.refusal(cell.training.precision, cell.arm):
            reasons[pair] = reason
        else:
            fitting.add(pair)
    _require_fitting(spec, reasons, fitting)
    return targets, reasons


def _require_fitting(spec: Spec, reasons: Mapping[Pair, str], fitting: set[Pair]) -> None:
    arms, labels = {arm for arm, _ in fitting}, labels_of(cell.arm for cell in spec.cells)
    for (arm, name), reason in reasons.items():
        # A drawn arm may have met one target only; a study without any fitting cell is refused all the same.
        lost = not fitting if spec.points else arm not in arms
        if lost or (arm, name) in fitting:
            raise Refused(f"factors.defense: {labels[arm]} with {name}: {reason}")
        if spec.design.name == "sobol":
            raise Refused(f"design: sobol needs every point, and {labels[arm]} does not fit {name}: {reason}")


def require_attacks(spec: Spec, targets: Iterable[Target], attacks: Attacks) -> None:
    """Refused for an attack that fits no target, or that needs records which the split does not have."""
    if spec.attacks:
        most = max(spec.attacks, key=lambda entry: entry.choice.build().known)
        try:
            attacks.split.known(most.choice.build().known)
        except Refused as error:
            raise Refused(f"attacks: {most.label}: {error}") from None
    for entry in spec.attacks if spec.release is None else ():  # of a release, what cannot be tried is listed
        attack = entry.choice.build()
        reasons = dict.fromkeys(attack.unfit(target.facts) for target in targets)
        if None not in reasons:
            raise Refused(f"attacks: {entry.label} fits no target of this study: {', '.join(map(str, reasons))}")
        if lacking := attacks.lacking(attack):
            raise Refused(f"attacks: {entry.label} {lacking}")

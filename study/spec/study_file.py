"""A study as one YAML file: read, checked, with every default filled in."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from mia_core.data import SOURCES, SPLITS, Source, Split
from mia_core.errors import Refused, shorten
from mia_core.offers import loading, reading
from mia_core.releases import Release
from mia_core.settings import Choice, nearest, plain, require_read, validate
from mia_core.training import TrainingConfig
from study.spec import bounds, documents
from study.spec.attack_entries import AttackEntry, attack_entries, require_read_attacks
from study.spec.bounds import (
    MOST_POINTS,
    MOST_STEPS,
    require_at_most,
    require_trials,
)
from study.spec.derived_entries import DerivedEntry, derived_entries
from study.spec.factors import Budget, Cell, Factors, Range, read_factors
from study.spec.family import check_contrasts
from study.spec.locations import results_location, tracking_uri
from study.spec.objectives import SearchSpec, check_objectives
from study.spec.of_packages import PACKAGED, packaged
from study.spec.overrides import apply_preset, override
from study.spec.policy import policy_of
from study.spec.release_study import release_fields
from study.spec.sampling import DesignSpec, Drawn, cells_of, check_drawn, draw
from study.spec.section_models import AuditSpec, ComputeSpec, ControlsSpec, QualitySpec, Sections
from study.spec.target_levels import require_read_targets, require_read_training


@dataclass(frozen=True)
class Spec:
    """A checked study.

    train_sizes: of its cells, and the ends of a range, ascending. budget: what `levels`, all of its cells, count.
    points: of a design that draws, or a search: each point's cell, by its number, and level; drawn: them as columns.
    shadows: trainings of each cell that derived attacks take as their reference. experiment: of MLflow, None for one of
    the study's name. resolved: all that determines results, defaults filled in, as plain values to read again.
    release: what is given in place of cells, which a study of a release has none of. default_attacks: whether the study
    file of a release names none.
    """

    study: str
    seed: int
    data: Choice[Source]
    split: Choice[Split]
    train_sizes: tuple[int, ...]
    budget: Budget
    levels: tuple[int, ...]
    cells: tuple[Cell, ...]
    points: tuple[tuple[int, int], ...]
    design: DesignSpec
    search: SearchSpec | None
    factors: Factors
    drawn: Drawn
    replicates: int
    attacks: tuple[AttackEntry, ...]
    quality: QualitySpec
    controls: ControlsSpec
    audit: AuditSpec
    derived: tuple[DerivedEntry, ...]
    shadows: int
    keep_targets: bool
    results: str
    tracking: str | None
    experiment: str | None
    compute: ComputeSpec
    resolved: dict[str, Any]
    release: Choice[Release] | None = None
    default_attacks: bool = False

    @property
    def calibrating(self) -> frozenset[str]:
        """Labels of the attacks that shadows are attacked with."""
        return frozenset(base for entry in self.derived if entry.choice.cls.needs_reference for base in entry.bases)


def read(path: str | Path, overrides: Sequence[str] = (), preset: str | None = None, allow_code: bool = False) -> Spec:
    """Read a study file, apply a preset, then `key=value` overrides, and check all that needs no data.

    A preset is an item of the file's `presets:`, a name with dotted settings; it is no part of the study itself.
    allow_code: whether a release may be a function of the user's. ValueError in one line.
    """
    document = documents.load(path)
    apply_preset(document, preset)
    for setting in overrides:
        override(document, setting)
    with loading():
        spec = parse(document, allow_code)
    return _with_read_settings(spec, document)


def _with_read_settings(spec: Spec, document: Mapping[str, Any]) -> Spec:
    """The study; Refused for settings that it gives in vain."""
    require_read_training(spec.factors.targets, spec.factors.training, spec.factors.levels)
    if not spec.points:  # of points that are drawn, some have settings in vain
        require_read_targets((cell.label, cell.target) for cell in spec.cells)
    require_read_attacks(document.get("attacks") or [])
    for entry in spec.derived:
        require_read(entry.choice, f"derived.{entry.label}", getattr(spec.split.config, "probability", None))
    return spec


def parse_stored(resolved: Mapping[str, Any]) -> Spec:
    """A study as a store has it, resolved; of classes of packages, which are not imported, it has stand-ins."""
    with reading(resolved.get(PACKAGED)):
        return parse(resolved)


def parse(document: Mapping[str, Any], allow_code: bool = False) -> Spec:
    """A study from plain values; of a release where it has that section."""
    if "release" in document:
        fields = release_fields(document, allow_code)
        _require_name(fields["study"])
        return Spec(**fields)
    sections = validate(Sections, document, "")
    _require_name(sections.study)
    design = validate(DesignSpec, sections.design, "design")
    search = _search(sections.search, design)
    ranged = design.draws or search is not None
    factors = read_factors(sections.factors, sections.target, sections.training, ranged)
    _require_few(design, search, factors, sections.replicates)
    drawn = _drawn(design, search, factors, sections.seed)
    cells, points = cells_of(drawn, factors) if ranged else (factors.factorial(), ())
    _require_steps(cells, factors.budget)
    trials = sum(len(cell.levels) for cell in cells) * sections.replicates
    attacks = attack_entries(sections.attacks, factors, ranged, trials)
    data = SOURCES.choose(sections.data, "data")
    split = SPLITS.choose({"name": "panel", **sections.split}, "split")
    quality = validate(QualitySpec, sections.quality, "quality")
    controls = validate(ControlsSpec, sections.controls, "controls")
    declared = _contrasts(sections.contrasts, factors, ranged)
    audit = validate(AuditSpec, sections.audit, "audit")
    derived = derived_entries(sections.derived, attacks, audit.attack)
    audit = _audit(audit, attacks, derived)
    if sections.shadows and not derived:
        raise Refused("shadows: are for derived attacks, and `derived` lists none; leave one of them out")
    if search:
        check_objectives(search, *_columns(attacks, derived, quality))
        _require_derived(search, derived, sections, split)
    resolved = {
        "study": sections.study,
        "seed": sections.seed,
        "data": data.to_dict(),
        "split": split.to_dict(),
        "training": validate(TrainingConfig, sections.training, "training").to_dict(),
        "factors": factors.resolved(),
        **({"design": design.to_dict(drawn)} if design.draws else {}),
        **({"search": search.to_dict(drawn)} if search else {}),
        "replicates": sections.replicates,
        "attacks": [attack.to_dict() for attack in attacks],
        "quality": quality.to_dict(),
        "controls": plain(controls),
        "audit": asdict(audit),
        **({"derived": [entry.to_dict() for entry in derived]} if sections.derived is not None else {}),
        **({"shadows": sections.shadows} if sections.shadows else {}),
        **({"contrasts": declared} if declared is not None else {}),
        **({"policy": policy_of(sections.policy).to_dict()} if sections.policy is not None else {}),
        "keep_targets": sections.keep_targets,
        **packaged(data, attacks, factors.target_choices, factors.arms),
    }
    return Spec(
        study=sections.study,
        seed=sections.seed,
        data=data,
        split=split,
        train_sizes=tuple(sorted({*factors.bounds("train_size"), *(cell.train_size for cell in cells)})),
        budget=factors.budget,
        levels=tuple(sorted(set(chain.from_iterable(cell.levels for cell in cells)))),
        cells=cells,
        points=points,
        design=design,
        search=search,
        factors=factors,
        drawn=drawn,
        replicates=sections.replicates,
        attacks=attacks,
        quality=quality,
        controls=controls,
        audit=audit,
        derived=derived,
        shadows=sections.shadows,
        keep_targets=sections.keep_targets == "all",
        results=results_location(sections.results),
        tracking=tracking_uri(sections.tracking),
        experiment=sections.experiment,
        compute=validate(ComputeSpec, sections.compute, "compute"),
        resolved=resolved,
    )


def _require_name(study: str) -> None:
    if not study.replace("-", "").replace("_", "").isalnum():
        raise Refused(f"study: {shorten(repr(study))} must be a name of letters, digits, - and _")


def _require_few(design: DesignSpec, search: SearchSpec | None, factors: Factors, replicates: int) -> None:
    """Refused for more trials or points than a study may have; counted, and nothing is built."""
    if search:
        require_at_most(search.points, MOST_POINTS, "search.points", "points", "give fewer points")
        require_trials(search.points, 1, replicates)
    elif design.draws:
        require_trials(1, min(design.points or 1, MOST_POINTS), replicates)
    else:
        counts = {name: 1 if isinstance(levels, Range) else len(levels) for name, levels in factors.levels.items()}
        levels = counts.pop(factors.budget)
        require_trials(bounds.product(counts.values()), levels, replicates)


def _require_steps(cells: Sequence[Cell], budget: Budget) -> None:
    """Refused for a trajectory that no machine ends."""
    for cell in cells:
        level = max(cell.levels, default=0)
        steps = level if budget == "steps" else cell.steps_of(level)
        what = f"updates of one target (n={bounds.words(cell.train_size)}, batches of {cell.training.batch_size})"
        require_at_most(steps, MOST_STEPS, f"factors.{budget}", what, "train for less")


def _contrasts(given: list[Any] | None, factors: Factors, ranged: bool) -> list[dict[str, Any]] | None:
    if given is not None and ranged:
        raise Refused("contrasts: levels that are drawn or chosen by a search have none; leave it out")
    return None if given is None else check_contrasts(given, factors)


def _search(given: Mapping[str, Any] | None, design: DesignSpec) -> SearchSpec | None:
    if given is None:
        return None
    if design.draws:
        raise Refused("search: chooses its own points; leave `design` out")
    return validate(SearchSpec, given, "search")


def _drawn(design: DesignSpec, search: SearchSpec | None, factors: Factors, seed: int) -> Drawn:
    """The points that a resolved spec has, else new ones; none of a factorial, nor of a search that has not begun."""
    where, given = ("search.drawn", search.drawn) if search else ("design.drawn", design.drawn)
    if given is not None:
        check_drawn(given, factors, where)
        return given
    if search and not factors.varied:
        raise Refused("search: needs a factor with a range or several levels")
    return draw(design, factors, seed) if design.draws else {}


def _require_derived(
    search: SearchSpec, derived: Sequence[DerivedEntry], sections: Sections, split: Choice[Split]
) -> None:
    """Refused for an objective that no point would ever have."""
    goals = {goal.attack[0] for goal in search.goals if goal.attack}
    about = sections.replicates, sections.shadows, getattr(split.config, "extra_non_members", 0)
    for entry in derived:
        if entry.label in goals and (reason := entry.refusal(*about)):
            raise Refused(f"search.objectives: {reason}")


def _columns(
    attacks: Sequence[AttackEntry], derived: Sequence[DerivedEntry], quality: QualitySpec
) -> tuple[list[str], list[str]]:
    """Labels of attacks, with their levels of steps, and of measures, as a design has them."""
    labels = [label for attack in attacks for label in attack.labels]
    return [*labels, *(entry.label for entry in derived)], quality.labels


def _audit(audit: AuditSpec, attacks: Sequence[AttackEntry], derived: Sequence[DerivedEntry]) -> AuditSpec:
    """With the attack filled in, and only kinds of canaries that are told once."""
    labels = [*(attack.label for attack in attacks), *(entry.label for entry in derived)]
    if audit.attack is not None and audit.attack not in labels:
        raise Refused(f"audit.attack: unknown attack{nearest(audit.attack, labels)}")
    kinds = tuple(dict.fromkeys(audit.canaries))
    return replace(audit, attack=audit.attack or (labels[0] if labels else None), canaries=kinds)

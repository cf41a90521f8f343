"""What a study would do: the factor table, what is done and to do, what is skipped, what private arms guarantee."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from mia_core.data.description import described
from mia_core.defenses import labels, labels_of
from mia_core.metrics.audit import FEWEST_COINS, Guesses
from mia_core.metrics.extraction import EXTRACTION
from mia_core.persons import Unit
from study.design.refusals import no_coins
from study.design.release_fitted import Released, about_records
from study.design.study_design import Design
from study.design.work import Work
from study.plan.outlook import Outlook
from study.spec.factors import Cell, in_words
from study.store.roles import STUDIED
from study.terminal import Console

NOTES = 10
"""Notes on the data that a plan shows."""

GUARANTEES = 100
"""Arms at training-set sizes whose epsilon a plan computes; a design may draw thousands."""


def show(console: Console, design: Design, todo: Mapping[str, Sequence[Work]], outlook: Outlook | None = None) -> None:
    """Print the plan; with time, money, disk and power where there is an outlook."""
    spec = design.spec
    if design.released is None:
        console.wrap(f"study {spec.study}: {spec.data.name}, {len(design.pool):,} records")
        console.print(_factor_table(design))
    else:
        for line in _given(design, design.released):
            console.wrap(line)
    if spec.design.draws:
        console.wrap(f"design: {spec.design.describe(len(spec.points), len(design.cells))}")
    if spec.search:
        console.wrap(f"search: {spec.search.describe()}")
        most = f"{spec.search.points} points x {spec.replicates} replicates"
        console.wrap(f"search: at most {most}, of which {len(spec.points)} points are chosen so far (counted below)")
    for key, words in described(design.pool).items():
        console.wrap(f"data: {key}: {words}")
    for line in design.pool.notes[:NOTES]:
        console.wrap(f"data: {line}")
    if len(design.pool.notes) > NOTES:
        console.wrap(f"data: and {len(design.pool.notes) - NOTES} more")
    works = [work for items in todo.values() for work in items]
    studied = [[work for work in items if work.trial.role in STUDIED] for items in todo.values()]
    training = sum(work.train for items in studied for work in items)
    if design.released is None:
        console.wrap(
            f"trials: {len(design.trials)} ({len(design.trials) - training} trained, {training} to train in "
            f"{sum(any(work.train for work in items) for items in studied)} trajectories)"
        )
    roles = Counter(trial.role for trial in (*design.shadows, *design.controls))
    left = sum(work.trial.role not in STUDIED for work in works)
    console.wrap(f"controls: {', '.join(f'{n} {role}' for role, n in roles.items()) or 'none'} ({left} to run)")
    for name, reason in design.no_control.items():
        console.wrap(f"no control: {name} ({reason})")
    console.wrap(
        f"to run: {sum(len(work.attacks) for work in works)} attacks, "
        f"{sum(len(work.measures) for work in works)} quality measures"
    )
    for line in _derived(design):
        console.wrap(line)
    if design.measures.skipped:
        near = (*spec.quality.of_copies, *spec.quality.of_members)
        names = [*spec.quality.of_samples] if spec.quality.onnx is None else []
        names += [*(f"{name} in features" for name in near), *spec.quality.of_labels]
        console.wrap(f"skipped: {', '.join(names)}: {design.measures.skipped}")
    if design.spec.quality.of_copies and design.measures.no_copies:
        console.wrap(f"no copies: {design.measures.no_copies}")
    if set(spec.quality.of_members) & set(EXTRACTION) and design.measures.no_extraction:
        console.wrap(f"no extraction: {design.measures.no_extraction}")
    arms = labels_of(cell.arm for cell in spec.cells)
    for (arm, target), reason in design.refused.items():
        console.wrap(f"skipped: {arms[arm]} with {target}: {reason}")
    for line in _skipped(design):
        console.wrap(line)
    for line in (*_guarantees(design), *_audit(design)):
        console.wrap(line)
    for line in outlook.lines() if outlook else ():
        console.wrap(line)
    for line in (*_unused(spec.cells, design.pool.image_shape), *_unpublished(spec.cells)):
        console.wrap(line)
    if design.released is not None:
        return
    if spec.replicates < 5:
        console.wrap(f"note: with replicates={spec.replicates} results are descriptive only; intervals need 5 or more")
    if all(cell.arm.choices for cell in design.cells):
        console.wrap("note: no arm `none`, so defenses have no control to be compared with")


def _skipped(design: Design) -> Iterator[str]:
    """A line a reason, with the attacks that it keeps from being tried."""
    names: dict[str, set[str]] = {}
    for attack in (attack for trial in design.trials for attack in trial.attacks if attack.skipped):
        assert attack.choice is not None and attack.skipped is not None
        names.setdefault(attack.skipped, set()).add(attack.choice.name)
    for reason, attacks in sorted(names.items()):
        yield f"skipped: {', '.join(sorted(attacks))}: {reason}"


def _derived(design: Design) -> list[str]:
    """What will be computed from sealed scores, and what of a study file's section will not."""
    spec = design.spec
    listed = spec.derived if "derived" in spec.resolved else ()
    about = spec.replicates, spec.shadows, len(design.split.never_members)
    refused = [reason for entry in listed if (reason := entry.refusal(*about))]
    labels = [entry.label for entry in spec.derived if not entry.refusal(*about)]
    by = f", by {spec.shadows} shadows a cell" if spec.shadows else ", by the other replicates"
    alone = all(not entry.choice.cls.needs_reference for entry in spec.derived if entry.label in labels)
    found = [f"derived from sealed scores{'' if alone else by}: {', '.join(labels)}"] if labels else []
    return found + [f"not derived: {reason}" for reason in refused]


def _factor_table(design: Design) -> Table:
    spec = design.spec
    table = Table("factor", "levels")
    factors: dict[str, Any] = spec.resolved["factors"]
    words = {
        "defense": spec.factors.arm_words if spec.points else labels(spec.factors.arms),
        "target": spec.factors.target_labels if spec.points or spec.search else _targets(spec.cells),
    }
    for name, levels in factors.items():
        table.add_row(name, ", ".join(words[name]) if name in words else in_words(levels))
    table.add_row("replicate", f"0 to {spec.replicates - 1}")
    return table


def _given(design: Design, released: Released) -> Iterator[str]:
    """What is given of a release, and what its records are."""
    release, about = released.release, about_records(design.pool, design.split)
    yield f"release {design.spec.study}: {release.words}; it offers {', '.join(sorted(release.offers))}"
    yield from (f"release: {note}" for note in released.notes)
    if release.count is None and release.facts.timesteps is not None:
        asked = [wanted.generated for wanted in design.trials[0].attacks if not wanted.skipped]
        drawn = max([*asked, design.spec.quality.samples])
        yield (
            f"release: {drawn:,} samples are drawn by a diffusion model, which may "
            "take most of the time; attacks with fewer (`generated`) and a lower quality.samples take less"
        )
    yield (
        f"split: {about['members']:,} members and {about['non_members']:,} non-members, of which "
        f"{about['judged_members']:,} and {about['judged_non_members']:,} are judged (attacks may know "
        f"{about['known']} of each), {about['reference']:,} reference records; holdout: {about['holdout']}"
    )


def _guarantees(design: Design) -> list[str]:
    """One line an arm and training-set size that has a guarantee, one for all arms that have none."""
    lines: dict[str, dict[str, None]] = {}
    more: set[str] = set()
    for trial in design.trials:
        arm = trial.cell.arm
        if trial.replicate == 0 and arm.delta is not None:
            noise = f" (sigma {design.sigma(trial):g})" if arm.needs_horizon else ""
            persons = design.persons(trial.cell)
            size = f"n={trial.cell.train_size}" + ("" if persons is None else f" ({persons} persons)")
            key = f"per {arm.unit} of {arm.label}, {size}, delta={arm.delta:g}"
            if key not in lines and len(lines) == GUARANTEES:
                more.add(key)
                continue
            lines.setdefault(key, {})[f"{design.epsilon(trial):.3g}{noise} after {trial.level} {trial.budget}"] = None
    told = labels_of(cell.arm for cell in design.cells)
    named = [(arm, arm.defense if design.spec.points else word) for arm, word in told.items()]
    bare = _once(f"{word} (clips only)" if arm.poisson else word for arm, word in named if arm.delta is None)
    alone = _once(word for arm, word in named if arm.needs_horizon)
    return [
        *(f"epsilon {key}: {', '.join(values)}" for key, values in lines.items()),
        *([f"epsilon of {len(more)} more: in the rows of their trials"] if more else []),
        *([f"no guarantee, and no epsilon: {', '.join(bare)}"] if bare else []),
        *(
            [f"not nested (noise found for each level of {design.spec.budget}, trained anew): {', '.join(alone)}"]
            if alone
            else []
        ),
    ]


def _targets(cells: Sequence[Cell]) -> list[str]:
    """Labels, with the arms of those that are not trained under all."""
    arms = {label: {cell.arm: None for cell in cells if cell.label == label} for label in (c.label for c in cells)}
    words = labels_of(cell.arm for cell in cells)
    return [
        label if len(own) == len(words) else f"{label} ({', '.join(words[arm] for arm in own)})"
        for label, own in arms.items()
    ]


def _unused(cells: Sequence[Cell], image_shape: tuple[int, ...]) -> list[str]:
    """Of settings, at their defaults, that mean nothing to a target for images of this shape."""
    return [
        f"note: target.{name} {getattr(target.config, name)} changes nothing: {target.name} {reason}"
        for target in dict.fromkeys(cell.target for cell in cells)
        for name, reason in target.cls.unread(target.config, image_shape).items()
        if name not in target.cls.unread(target.config)
    ]


def _unpublished(cells: Sequence[Cell]) -> list[str]:
    """Of targets that are not the published network of their name, where that is not trained besides."""
    targets = {cell.label: cell.target for cell in cells if not cell.target.cls.is_published(cell.target.config)}
    there = {cell.target.name for cell in cells if cell.target.cls.is_published(cell.target.config)}
    return [
        f"note: {label} is not the published network, which may leak more; a further factors.target with {settings}, "
        "trained under the arm none, is the undefended reference"
        for label, target in targets.items()
        if target.name not in there
        for settings in [", ".join(f"{key}: {value}" for key, value in target.cls.published.items())]
    ]


def _once(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))


def _audit(design: Design) -> list[str]:
    """By what claims of privacy will be judged, and how much that could show at best.

    One line for claims per record and per person alike where they have as many coins, else one for each.
    """
    spec, split = design.spec, design.split
    claims = [(cell.arm.unit, cell.arm.delta) for cell in design.cells if cell.arm.unit and cell.arm.delta]
    coins = {unit: len(split.coins_of(unit)) * spec.replicates for unit, _ in claims}
    alike = len(set(coins.values())) == 1
    lines = []
    for unit in list(coins)[:1] if alike else coins:
        delta = max(delta for of, delta in claims if alike or of == unit)
        lines.append(f"audit{'' if alike else f' per {unit}'}: {_judged_by(design, unit, coins[unit], delta)}")
    if split.coin_swaps and any(count >= FEWEST_COINS for count in coins.values()):
        lines.append(
            "note: a coin swaps its record for filler, which halves what it proves; split.filler=fixed does not"
        )
    return lines


def _judged_by(design: Design, unit: Unit, coins: int, delta: float) -> str:
    """coins: of all replicates together, that decide about one such unit each. delta: the largest of the claims."""
    spec, split = design.spec, design.split
    canaries = [f"{spec.audit.count * spec.audit.trainings} {kind} canaries" for kind in spec.audit.canaries]
    if coins < FEWEST_COINS:
        return f"by {', '.join(canaries) or 'nothing'}: {no_coins(spec.resolved['split'], unit)}"
    ceiling = Guesses.perfect(coins).bounds(delta, 2 if split.coin_swaps else 1)[0].epsilon_low
    by = " and ".join([f"{coins} coins that {spec.audit.attack} guesses", *canaries])
    return f"a cell by {by}; at best the coins prove epsilon {ceiling:.2g} of any mechanism"

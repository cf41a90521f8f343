"""What work will take: seconds from rows of past trials of the same study, wall time over slots, and money.

A trajectory takes its start, steps x seconds per step, attacks, measures, and the rest of each pass. Seconds per step
are those of past trajectories with the same recipe and size; of other ones they are scaled by the arithmetic of one
step, and an estimate says how much of it is scaled.
"""

import heapq
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from mia_core.defenses import Arm
from mia_core.hashing import canonical_json
from mia_core.settings import Choice
from mia_core.targets import TARGETS, Adversarial, PerRecord, Target
from mia_core.training import TrainingConfig
from study.design.study_design import Design
from study.design.trial_config import TrialConfig, parsed
from study.design.trials import Trial
from study.design.wanted import WantedAttack, runs
from study.design.work import Work
from study.plan.past import Past
from study.plan.shapes import defended, judge
from study.spec.section_models import ComputeSpec
from study.store.roles import CANARY, MEMBER_ONLY

START_SECONDS = 10.0
"""Of a sweep: Ray and the first workers. One more trajectory in a worker takes TRAJECTORY_SECONDS."""
TRAJECTORY_SECONDS = 0.6

PRIVATE = 1.5
"""Time of a private step over an ordinary one of the same target, if neither was timed; measured: 1.3 to 2.1."""

TRAINING = "training"
"""What is not known where no trajectory was timed."""


@dataclass(frozen=True)
class Seconds:
    """Seconds of some work. measured: by rows of the same work. scaled: by rows of other work. unknown: never timed."""

    measured: float = 0.0
    scaled: float = 0.0
    unknown: frozenset[str] = frozenset()

    @property
    def total(self) -> float:
        """Of all that is known."""
        return self.measured + self.scaled

    def __add__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.measured + other.measured, self.scaled + other.scaled, self.unknown | other.unknown)

    def __mul__(self, times: int) -> "Seconds":
        return Seconds(self.measured * times, self.scaled * times, self.unknown)


@dataclass(frozen=True)
class TimedStep:
    """A discriminator update of past trajectories of one recipe and training-set size.

    relative: arithmetic of such a step, in units that compare steps only.
    """

    recipe: str
    train_size: int
    target: str
    private: bool
    relative: float
    seconds: float


@dataclass(frozen=True)
class Timings:
    """What past work took on one device, in seconds; empty where nothing was timed there.

    attacks: of one run, by attack_id and target. named: of attacks by label, with their step level. measures: by
    measure_id, and by name. rest: of a pass, without training, attacks and measures.
    """

    device: str
    steps: tuple[TimedStep, ...] = ()
    attacks: Mapping[tuple[str, str], float] = field(default_factory=dict)
    named: Mapping[str, tuple[float, float | None]] = field(default_factory=dict)
    measures: Mapping[str, float] = field(default_factory=dict)
    rest: float = 0.0

    def step(self, recipe: str, train_size: int, target: str, private: bool, relative: float) -> Seconds:
        """One update; scaled from the nearest one that was timed: the same target and kind first, then alike work."""
        if not self.steps:
            return Seconds(unknown=frozenset({TRAINING}))
        nearest = min(
            self.steps,
            key=lambda timed: (
                (timed.recipe, timed.train_size) != (recipe, train_size),
                timed.recipe != recipe,
                timed.target != target,
                timed.private != private,
                abs(math.log(timed.relative / relative)),
            ),
        )
        if (nearest.recipe, nearest.train_size) == (recipe, train_size):
            return Seconds(measured=nearest.seconds)
        return Seconds(scaled=nearest.seconds * relative / nearest.relative)

    def attack(self, levels: Sequence[WantedAttack], target: str) -> Seconds:
        """One run of an attack at some of its levels."""
        last = levels[-1]
        if last.skipped:
            return Seconds()
        if (last.attack_id, target) in self.attacks:
            return Seconds(measured=self.attacks[last.attack_id, target])
        elsewhere = [seconds for (attack_id, _), seconds in self.attacks.items() if attack_id == last.attack_id]
        if elsewhere:
            return Seconds(scaled=_mean(elsewhere))
        name = last.choice.name if last.choice else last.label
        alike = {label: timed for label, timed in self.named.items() if label.startswith(name)}
        if alike:
            seconds, level = alike.get(last.label) or max(alike.values(), key=lambda timed: (timed[0], timed[1] or 0))
            return Seconds(scaled=seconds * (last.steps / level if last.steps and level else 1))
        if last.choice is None and self.named:  # what a control does in place of an attack is short
            return Seconds(scaled=_mean([seconds for seconds, _ in self.named.values()]))
        return Seconds(unknown=frozenset({last.label}))

    def measure(self, name: str, measure_id: str) -> Seconds:
        """One quality measure."""
        if measure_id in self.measures:
            return Seconds(measured=self.measures[measure_id])
        if name in self.measures:
            return Seconds(scaled=self.measures[name])
        if self.measures:
            return Seconds(scaled=max(self.measures.values()))
        return Seconds(unknown=frozenset({name}))


@dataclass(frozen=True)
class Estimate:
    """What the work to do will take. works: seconds by trajectory, one entry a pass, in order.

    slots: trajectories at once. gpus, machines: hired for the whole time. device: on which the past work was timed.
    """

    works: Mapping[str, Sequence[Seconds]]
    slots: int
    gpus: int
    device: str
    machines: int = 1

    @property
    def seconds(self) -> Seconds:
        """Of all work, one after the other."""
        return sum((item for items in self.works.values() for item in items), Seconds())

    @property
    def wall(self) -> float | None:
        """Seconds until the last trajectory ends, with the start of Ray; None where something was never timed."""
        return None if self.seconds.unknown else self.least

    @property
    def least(self) -> float | None:
        """As `wall`, without what was never timed; None where no training was."""
        if TRAINING in self.seconds.unknown:
            return None
        return START_SECONDS + makespan(_totals(self.works), self.slots) if self.works else 0.0

    def usd(self, compute: ComputeSpec) -> float | None:
        """Money, by `least`; None without a price or an estimate."""
        price = usd_per_hour(compute, self.gpus, self.machines)
        return None if price is None or self.least is None else price * self.least / 3600


@dataclass(frozen=True)
class Expected:
    """How work is spread over trajectories, a number a pass: seconds, or units of which only the shares mean anything.

    slots: trajectories at once, as far as is known.
    """

    works: Mapping[str, Sequence[float]]
    in_seconds: bool
    slots: int


def expected(found: Estimate, todo: Mapping[str, Sequence[Work]]) -> Expected:
    """By an estimate; where something of it was never timed, by updates."""
    if not found.seconds.unknown:
        works = {name: [item.total for item in items] for name, items in found.works.items()}
        return Expected(works, True, found.slots)
    return Expected({name: _updates(works) for name, works in todo.items()}, False, found.slots)


def _updates(works: Sequence[Work]) -> list[float]:
    """Of each pass, and one more for what else it does."""
    levels = [0, *(work.trial.steps for work in works)]
    return [1.0 + (now - before) * work.trains for work, before, now in zip(works, levels, levels[1:], strict=False)]


def usd_per_hour(compute: ComputeSpec, gpus: int, machines: int = 1) -> float | None:
    """Of all machines and GPUs together; None where nothing that is used has a price."""
    prices = [compute.usd_per_hour * machines] if compute.usd_per_hour is not None else []
    if gpus and compute.usd_per_gpu_hour is not None:
        prices.append(compute.usd_per_gpu_hour * gpus)
    return sum(prices) if prices else None


def makespan(seconds: Iterable[float], slots: int) -> float:
    """When the last of some jobs ends, the longest started first, each by the first slot that is free."""
    ends = [0.0] * max(1, slots)
    for job in sorted(seconds, reverse=True):
        heapq.heapreplace(ends, ends[0] + job)
    return max(ends)


def slots(compute: ComputeSpec, cpus: int, gpus: int, auto: float = 1.0) -> tuple[int, int]:
    """Trajectories at once on a machine, as Ray places them, and the GPUs they occupy.

    auto: the share of a GPU that `gpus_per_trial: auto` stands for, a whole one where nothing was measured.
    """
    part = auto if compute.gpus_per_trial == "auto" else compute.gpus_per_trial
    at_once = cpus
    if gpus and part:
        at_once = min(at_once, math.floor(1 / part) * gpus)
    at_once = max(1, min(at_once, compute.concurrent or at_once))
    return at_once, min(gpus, math.ceil(at_once * part))


def estimate(
    design: Design, todo: Mapping[str, Sequence[Work]], timings: Timings, at_once: tuple[int, int]
) -> Estimate:
    """What some work will take by the timings. at_once: as of `slots`."""
    works = {name: _trajectory(design, items, timings) for name, items in todo.items()}
    return Estimate(works, *at_once, timings.device)


def timings(
    past: Past, device: str | None, image_shape: tuple[int, int, int], nodes: frozenset[str] | None = None
) -> Timings:
    """What past rows say; those of another device where this one has none. image_shape: of the study's data now.

    nodes: names of the machines of a cluster, where only what ran on them, or on a GPU where they have some, counts.
    device: None for their GPUs, which a driver elsewhere does not see.
    """
    if nodes is not None and len(past.trials):
        past = replace(past, trials=past.trials[_of_cluster(past.trials, device, nodes)])
    device = device or "a GPU of the cluster"
    if not len(past.trials):
        return Timings(device)
    if device not in set(past.trials["device"]):
        device = past.trials.sort_values("finished_at")["device"].iloc[-1]
    trials = past.trials[past.trials["device"] == device]
    by_text = parsed(trials["config"])
    configs = {name: by_text[text] for name, text in zip(trials["trial_id"], trials["config"], strict=True)}
    attacks = past.attacks[past.attacks["trial_id"].isin(configs)] if len(past.attacks) else past.attacks
    quality = past.quality[past.quality["trial_id"].isin(configs)] if len(past.quality) else past.quality
    return Timings(
        device,
        tuple(_timed_steps(trials, configs, image_shape)),
        *_timed_attacks(attacks, configs),
        _timed_measures(quality),
        _rest(trials, attacks, quality, past),
    )


def _of_cluster(trials: pd.DataFrame, device: str | None, nodes: frozenset[str]) -> pd.Series:
    """bool [rows]: what was timed on the machines of a cluster, as far as rows tell."""
    ran_on = trials["versions"].map(lambda text: json.loads(text).get("node") if isinstance(text, str) else None)
    gpu = trials["device"] != "cpu"
    return gpu if device is None else ran_on.isin(nodes) & ~gpu


def step_cost(target: Choice[Target], training: TrainingConfig, arm: Arm, shape: Any) -> float:
    """Arithmetic of one optimizer step, for comparing steps: discriminator on both sides, generator, records a step.

    Of a target without discriminator: the loss of each record, and its gradient.
    """
    generate, judge = _flops(target, arm, shape)
    rows = training.batch_size * (PRIVATE if arm.poisson else 1)
    if issubclass(target.cls, PerRecord):
        return rows * arm.rows_per_record * 3 * judge
    generator = (3 * generate + 3 * judge) / training.generator_every
    return rows * (generate + 6 * judge + generator)


def pilot(design: Design, todo: Mapping[str, Sequence[Work]], found: Estimate) -> dict[str, Sequence[Work]]:
    """The trajectory to time first: that has most work never timed, then the slowest steps, then the fewest of them."""

    def merit(name: str) -> tuple[int, float, int, int]:
        trial = todo[name][-1].trial
        unknown = frozenset().union(*(item.unknown for item in found.works[name]))
        return (
            len(unknown),
            _relative(design, trial) / trial.cell.training.batch_size,
            -trial.steps,
            -trial.replicate,
        )

    return {name: todo[name] for name in sorted(todo, key=merit)[-1:]}


def _trajectory(design: Design, works: Sequence[Work], timed: Timings) -> list[Seconds]:
    """Seconds of each pass of a trajectory, which goes on from the level below that is trained already."""
    anew = [work.trial for work in works if work.trains]
    missing = {work.trial.trial_id for work in works if work.train}
    trained = [t.steps for t in design.trajectories[works[0].trial.trajectory_id] if t.trial_id not in missing]
    step = max((level for level in trained if anew and level < anew[0].steps), default=0)
    found = []
    for number, work in enumerate(works):
        trial, target = work.trial, canonical_json(work.trial.cell.target.to_dict())
        seconds = Seconds(scaled=timed.rest + (0 if number else TRAJECTORY_SECONDS))
        if work.trains:
            seconds += _step(design, trial, timed) * (trial.steps - step)
            step = trial.steps
        for levels in runs(work.attacks):
            seconds += timed.attack(levels, target)
        for wanted in work.measures:
            seconds += timed.measure(wanted.name, wanted.measure_id)
        found.append(seconds)
    return found


def _step(design: Design, trial: Trial, timed: Timings) -> Seconds:
    cell = trial.cell
    recipe = TrialConfig.of(design, trial).recipe
    return timed.step(recipe, cell.train_size, cell.target.name, cell.arm.poisson, _relative(design, trial))


def _relative(design: Design, trial: Trial) -> float:
    cell = trial.cell
    if not trial.steps:
        return 0.0
    return step_cost(cell.target, cell.training, cell.arm, design.pool.image_shape)


def _totals(works: Mapping[str, Sequence[Seconds]]) -> list[float]:
    return [sum(item.total for item in items) for items in works.values()]


@cache
def _flops(target: Choice[Target], arm: Arm, shape: tuple[int, int, int]) -> tuple[int, int]:
    """Operations of generating one record in a step, and of judging one; counted on shapes, without computing."""
    network = defended(target, arm, shape)
    counts = []
    with torch.device("meta"):
        for run in (lambda: _generate(network), lambda: judge(network)):
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                run()
            counts.append(counter.get_total_flops())
    return counts[0], counts[1]


def _generate(network: Target) -> None:
    if isinstance(network, Adversarial):
        network.generate(torch.empty(1, network.latent_dimension))


def _timed_steps(trials: pd.DataFrame, configs: Mapping[str, TrialConfig], shape: Any) -> Iterable[TimedStep]:
    rows = trials[(trials["steps"] > 0) & ~trials["role"].isin([CANARY, MEMBER_ONLY])]
    spent: dict[tuple[str, int], tuple[TrialConfig, float, int]] = {}
    for row in rows.sort_values("steps").drop_duplicates("trajectory_id", keep="last").to_dict("records"):
        config = configs[row["trial_id"]]
        key = config.recipe, config.train_size
        _, seconds, steps = spent.get(key, (config, 0.0, 0))
        spent[key] = (config, seconds + row["seconds_train"], steps + row["steps"])
    for (name, train_size), (config, seconds, steps) in spent.items():
        try:
            training = config.training
            target = TARGETS.choose(config.value("target", dict))
            arm = Arm.parse(config.value("defense", (list, type(None))) or "none")
        except ValueError:  # of another version, whose settings are not ours, or of a package that this plan has not
            continue
        relative = step_cost(target, training, arm, shape)
        yield TimedStep(name, train_size, target.name, arm.poisson, relative, seconds / steps)


def _timed_attacks(
    attacks: pd.DataFrame, configs: Mapping[str, TrialConfig]
) -> tuple[dict[tuple[str, str], float], dict[str, tuple[float, float | None]]]:
    """Means by attack_id and target; and by label, with the step level."""
    rows = attacks.dropna(subset=["seconds"]) if len(attacks) else attacks
    if not len(rows):
        return {}, {}
    targets = rows["trial_id"].map(
        {name: canonical_json(config.value("target", object)) for name, config in configs.items()}
    )
    by_id = rows["seconds"].groupby([rows["attack_id"], targets]).mean()
    by_label = rows.groupby("attack").agg(seconds=("seconds", "mean"), level=("steps", "first"))
    levels = [None if pd.isna(level) else float(level) for level in by_label["level"]]
    named = dict(zip(map(str, by_label.index), zip(by_label["seconds"], levels, strict=True), strict=True))
    return dict(zip(by_id.index.to_list(), by_id.to_list(), strict=True)), named


def _timed_measures(quality: pd.DataFrame) -> dict[str, float]:
    if not len(quality):
        return {}
    return {word: mean for key in ("measure", "measure_id") for word, mean in _by(quality, key).items()}


def _by(rows: pd.DataFrame, key: str) -> dict[str, float]:
    means = rows.groupby(key)["seconds"].mean()
    return dict(zip(means.index.to_list(), means.to_list(), strict=True))


def _rest(trials: pd.DataFrame, attacks: pd.DataFrame, quality: pd.DataFrame, past: Past) -> float:
    """Mean seconds from a trained level to its seal, less what attacks and measures took of them."""
    runs = attacks.assign(run=attacks["seconds"]).drop_duplicates(["trial_id", "run"]) if len(attacks) else attacks
    spent = [rows.groupby("trial_id")["seconds"].sum() for rows in (runs, quality) if len(rows)]
    timed = pd.concat(spent).groupby(level=0).sum() if spent else pd.Series(dtype=float)
    seconds = [
        (past.sealed_at[row["trial_id"]] - row["finished_at"]).total_seconds() - timed.get(row["trial_id"], 0.0)
        for row in trials[trials["steps"] > 0].to_dict("records")
        if row["trial_id"] in past.sealed_at
    ]
    return max(0.0, _mean(seconds)) if seconds else 0.0


def _mean(values: Sequence[float]) -> float:
    return float(sum(values) / len(values))

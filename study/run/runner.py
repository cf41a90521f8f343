"""Running one trajectory: train to each level, measure, attack, seal; or only what is missing on kept targets."""

import contextlib
import dataclasses
import io
import math
import platform
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import torch

from mia_core.access import Snapshot
from mia_core.attacks import Attack, Knowledge
from mia_core.canaries import Canaries
from mia_core.data import Membership
from mia_core.data.pool import to_float
from mia_core.errors import Refused
from mia_core.hashing import canonical_json
from mia_core.metrics import Extractor, judge, measure
from mia_core.metrics.audit import CONFIDENCE, DELTA, FEWEST_COINS, Bound, Guesses, heuristic
from mia_core.metrics.blind import blind
from mia_core.metrics.extractor import train as train_extractor
from mia_core.streams import Streams
from mia_core.targets import Copycat, Target
from mia_core.training import Trainer
from study.design.trials import BLIND, CANARY, STUDY, Design, Trial, WantedAttack, trial_id
from study.design.work import Work
from study.machine import device_name, peak_bytes, versions
from study.spec.objectives import EXTRACTOR
from study.store import Damaged, Pass, Store, to_bytes
from study.store.reading import trial_tables

GRID = 64

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Sealed:
    """What one pass did, for progress and for the log. failed: attacks that raised, with their errors."""

    trial: Trial
    seconds: float
    failed: dict[str, str]


def feature_network(design: Design, store: Store) -> tuple[Extractor, str]:
    """The study's extractor and the sha256 of its weights; trained when it is not in the store yet."""
    stored = store.feature_network(design.recipe.id)
    if stored is None:
        reference = design.split.reference
        network = train_extractor(design.recipe, design.pool.images[reference], design.pool.labels[reference])
        store.save_feature_network(design.recipe.id, network.state_dict())
        stored = store.feature_network(design.recipe.id)
        assert stored is not None
    network = Extractor(design.recipe)
    network.load_state_dict(stored[0])
    return network.eval().requires_grad_(False), stored[1]


class Runner:
    """Runs trajectories of one study in this process; what they share is loaded once.

    code: `code_versions()` of the driver, which its workers may not know; kept with each trial.
    """

    def __init__(
        self, design: Design, store: Store, device: str = "cpu", code: Mapping[str, str] | None = None
    ) -> None:
        self.design = design
        self.store = store
        self.device = device
        self.code = code or {}
        self._extractor: tuple[Extractor, str] | None = None
        self._saved = 0.0

    def run(self, works: Sequence[Work]) -> Iterator[Sealed]:
        """Do the work on one trajectory, a pass at a time; an exception leaves sealed passes and checkpoints behind."""
        trial = works[0].trial
        membership = self.design.membership(trial)
        if not trial.steps:
            yield from (self._run_untrained(work, membership) for work in works)
            return
        if trial.role == CANARY:
            yield self._run_canaries(works[0], membership)
            return
        trainer: Trainer | None = None
        seconds_train = 0.0
        last_trained = max((work.trial.steps for work in works if work.train), default=None)
        for work in works:
            started = time.perf_counter()
            current = self.store.begin()
            if work.train or work.retrain:
                if trainer is None:
                    trainer, seconds_train = self._start(work.trial, membership)
                seconds_train = self._train(trainer, work.trial, seconds_train)
            target = trainer.target if trainer and trainer.step == work.trial.steps else self._kept_target(work.trial)
            if work.train:
                assert trainer is not None
                row = self._trial_row(work.trial, membership, trainer, seconds_train)
                current.add("history", _history_rows(work.trial, trainer, self._told(work.trial)))
                if self.design.spec.keep_targets:
                    current.add_file(f"targets/{work.trial.trial_id}.safetensors", to_bytes(target.state_dict(), {}))
                if work.trial.steps == last_trained:
                    tensors, state = trainer.state()
                    name = f"resume/{work.trial.trajectory_id}-{trainer.step}.safetensors"
                    current.add_file(name, to_bytes(tensors, state))
            snapshot = self._snapshot(target, work.trial)
            if work.train:
                current.add_file(f"samples/{work.trial.trial_id}.png", _grid(snapshot))
            quality = self._quality_rows(work, snapshot)
            rows, scores, failed = self._attack_rows(work, snapshot, membership)
            if work.train:
                current.add("trials", [row | {"peak_bytes": peak_bytes(self.device)}])  # attacks' memory, too
            _seal(current, work, rows, scores, quality)
            yield Sealed(work.trial, time.perf_counter() - started, failed)
        self.store.drop_checkpoints(trial.trajectory_id)

    def _run_untrained(self, work: Work, membership: Membership) -> Sealed:
        """The one pass of a blind or copycat control. It keeps no target: a copycat is the records themselves."""
        started = time.perf_counter()
        current = self.store.begin()
        if work.train:
            current.add("trials", [self._trial_row(work.trial, membership, None, 0.0)])
        failed: dict[str, str] = {}
        if work.trial.role == BLIND:
            rows, scores = self._blind(work, membership)
        else:
            target = Copycat(work.trial.cell.target.config, self.design.pool.images[membership.train])
            snapshot = self._snapshot(target.to(self.device), work.trial)
            rows, scores, failed = self._attack_rows(work, snapshot, membership)
        _seal(current, work, rows, scores, [])
        return Sealed(work.trial, time.perf_counter() - started, failed)

    def _run_canaries(self, work: Work, membership: Membership) -> Sealed:
        """The one pass of a training with canaries. It keeps nothing but which of them could be told."""
        started = time.perf_counter()
        current = self.store.begin()
        trainer, seconds_train = self._start(work.trial, membership)
        seconds_train = self._train(trainer, work.trial, seconds_train)
        if work.train:
            row = self._trial_row(work.trial, membership, trainer, seconds_train)
            current.add("trials", [row | {"members": len(trainer.images)}])
        (wanted,) = work.attacks
        canaries = self._canaries(work.trial)
        scores, numbers = canaries.scores(trainer), np.arange(len(canaries.coins))
        row = self._judged(work.trial, wanted, scores, canaries.coins, numbers >= 0)
        columns = _scores(work.trial, wanted, numbers, numbers, canaries.coins, numbers >= 0, scores)
        _seal(current, work, [row], [columns], [])
        self.store.drop_checkpoints(work.trial.trajectory_id)
        return Sealed(work.trial, time.perf_counter() - started, {})

    def _canaries(self, trial: Trial) -> Canaries:
        (wanted,) = trial.attacks
        streams = Streams(CANARY, self.design.spec.seed, trial.trajectory_id)
        shape = self.design.pool.image_shape
        return Canaries(**wanted.arguments, target=trial.cell.target, image_shape=shape, streams=streams)

    def _snapshot(self, target: Target, trial: Trial) -> Snapshot:
        return Snapshot(target, Streams("samples", self.design.spec.seed, trial.replicate))

    # Training

    def trainer(self, trial: Trial, membership: Membership) -> Trainer:
        """A trainer at step 0."""
        spec, cell = self.design.spec, trial.cell
        canaries = self._canaries(trial) if trial.role == CANARY else None
        images = self.design.pool.images[membership.train]
        trainer = Trainer(
            target=cell.target.build(self.design.pool.image_shape),
            images=canaries.join(images) if canaries else images,
            train_size=cell.train_size,
            config=cell.training,
            arm=cell.arm,
            streams=Streams("training", spec.seed, trial.replicate),
            noise=Streams("dp_noise", spec.seed, trial.trajectory_id),
            device=self.device,
            horizon=trial.steps if cell.arm.needs_horizon else None,
        )
        if canaries:
            canaries.attach(trainer)
        return trainer

    def _start(self, trial: Trial, membership: Membership) -> tuple[Trainer, float]:
        """A trainer at the latest state not beyond the trial: a checkpoint, a sealed resume state, or step 0."""
        trainer = self.trainer(trial, membership)
        self._saved = time.perf_counter()
        checkpoint = self.store.checkpoint(trial.trajectory_id, trial.steps)
        ended_with = partial(trial_id, trial.trajectory_id)
        sealed = [step for step in self.store.resume_steps(trial.trajectory_id, ended_with) if step <= trial.steps]
        if checkpoint:
            with contextlib.suppress(ValueError):  # whole, but no state of this training: an earlier one is taken
                seconds = _seconds(checkpoint[1], max(sealed, default=0), trial.steps)
                trainer.restore(*checkpoint)
                return trainer, seconds
            trainer = self.trainer(trial, membership)
        if not sealed:
            return trainer, 0.0
        ended = ended_with(sealed[-1])
        relative = f"resume/{trial.trajectory_id}-{sealed[-1]}.safetensors"
        try:
            trainer.restore(*self.store.sealed_tensors(relative, ended))
            if trainer.step != sealed[-1]:
                raise Refused(f"is of step {trainer.step}")
        except ValueError as error:
            raise Damaged(f"{self.store.uri}/{relative}: {error}") from None
        _, before = trial_tables(self.store, ended)
        return trainer, float(before["trials"]["seconds_train"].iloc[0])

    def _told(self, trial: Trial) -> int:
        """Steps of the last sealed level below: a restart may be before it, and its history is not told twice."""
        levels = self.design.trajectories[trial.trajectory_id]
        below = {other.trial_id: other.steps for other in levels if other.steps < trial.steps}
        return max((below[name] for name, done in self.store.done(below).items() if done.train), default=0)

    def _train(self, trainer: Trainer, trial: Trial, seconds: float) -> float:
        """Train to a trial's level; seconds spent training so far. Checkpoints go by the clock, not by levels."""
        started = time.perf_counter()
        while trainer.step < trial.steps:
            next_epoch = (trainer.epoch + 1) * trainer.steps_per_epoch
            trainer.run_to(min(next_epoch, trial.steps))
            now = time.perf_counter()
            if now - self._saved > self.design.spec.compute.checkpoint_seconds:
                _require_finite(trainer, trial)
                tensors, state = trainer.state()
                self.store.save_checkpoint(trial.trajectory_id, tensors, {**state, "seconds": seconds + now - started})
                self._saved = now
        _require_finite(trainer, trial)
        return seconds + time.perf_counter() - started

    def _kept_target(self, trial: Trial) -> Any:
        tensors, _ = self.store.sealed_tensors(f"targets/{trial.trial_id}.safetensors", trial.trial_id)
        target = trial.cell.target.build(self.design.pool.image_shape)
        trial.cell.arm.modify(target)
        target.load_state_dict(tensors)
        return target.to(self.device).eval()

    # Measuring

    def _quality_rows(self, work: Work, snapshot: Snapshot) -> Rows:
        rows: Rows = []
        if not work.measures:
            return rows
        extractor, sha = self._extractor or feature_network(self.design, self.store)
        self._extractor = (extractor, sha)
        fake = extractor.features(snapshot.samples(self.design.spec.quality.samples).cpu())
        for against, group in groupby(work.measures, key=lambda wanted: wanted.against):
            wanted = list(group)
            started = time.perf_counter()
            real = extractor.features(self._real(work.trial, against))
            values = measure(tuple(item.name for item in wanted), fake, real)
            seconds = (time.perf_counter() - started) / len(wanted)
            rows += [
                {
                    "trial_id": work.trial.trial_id,
                    "measure": item.name,
                    "measure_id": item.measure_id,
                    "arguments": canonical_json(item.arguments),
                    "extractor": EXTRACTOR,
                    "extractor_sha256": sha,
                    "against": against,
                    "value": values[item.name],
                    "samples": len(fake),
                    "seconds": seconds,
                }
                for item in wanted
            ]
        return rows

    def _real(self, trial: Trial, against: str) -> torch.Tensor:
        indices = self.design.against(against, trial.replicate, trial.cell.train_size)
        return torch.from_numpy(self.design.pool.images[indices])

    def _attack_rows(self, work: Work, snapshot: Snapshot, membership: Membership) -> tuple[Rows, Rows, dict[str, str]]:
        """Rows, columns of scores, and errors by label. An attack that raises leaves no row, so it stays missing."""
        rows: Rows = []
        scores: Rows = []
        failed: dict[str, str] = {}
        queries = to_float(torch.from_numpy(self.design.pool.images[membership.queries]))
        for _, group in groupby(work.attacks, key=lambda wanted: (wanted.run_id, wanted.skipped)):
            wanted = list(group)
            if wanted[0].skipped:
                rows += [_attack_row(work.trial, item) for item in wanted]
                continue
            try:
                found, columns = self._attack(work.trial, wanted, snapshot, queries, membership)
            except Exception:
                failed[wanted[0].label] = traceback.format_exc()
            else:
                rows += found
                scores += columns
        return rows, scores, failed

    def _attack(
        self,
        trial: Trial,
        wanted: list[WantedAttack],
        snapshot: Snapshot,
        queries: torch.Tensor,
        membership: Membership,
    ) -> tuple[Rows, Rows]:
        """One run of one attack: its levels that are missing."""
        choice = wanted[0].choice
        assert choice is not None
        config = choice.config
        if choice.cls.nested:
            config = dataclasses.replace(config, **{choice.cls.nested: tuple(item.level for item in wanted)})
        attack = choice.cls(config)
        rng = Streams("attack", self.design.spec.seed, trial.replicate, wanted[0].run_id)
        result = attack(snapshot, queries, self._knowledge(attack), rng)
        rows, scores = [], []
        coins = np.isin(membership.queries, self.design.split.coins) & (trial.role == STUDY)
        for item, values in zip(wanted, result.scores.values.numpy(), strict=True):
            row = self._judged(trial, item, values, membership.member, coins)
            rows.append(row | {"seconds": result.seconds})
            units = self.design.split.units[membership.queries]
            scores.append(_scores(trial, item, membership.queries, units, membership.member, coins, values))
        return rows, scores

    def _blind(self, work: Work, membership: Membership) -> tuple[Rows, Rows]:
        """The classifier that sees no target."""
        rows, scores = [], []
        for wanted in work.attacks:
            started = time.perf_counter()
            streams = Streams(BLIND, self.design.spec.seed, work.trial.replicate)
            queries, units = membership.queries, self.design.split.units[membership.queries]
            permutations = wanted.arguments["permutations"]
            found = blind(self.design.pool.images[queries], membership.member, units, streams, permutations)
            member = membership.member[found.queries]
            leakage = dataclasses.asdict(judge(found.score, member))
            own = {"p_value": found.p_value, "seconds": time.perf_counter() - started}
            rows.append(_attack_row(work.trial, wanted) | leakage | own)
            coins = np.zeros(len(member), dtype=bool)
            scores.append(
                _scores(work.trial, wanted, queries[found.queries], units[found.queries], member, coins, found.score)
            )
        return rows, scores

    def _judged(
        self, trial: Trial, wanted: WantedAttack, values: np.ndarray, member: np.ndarray, coins: np.ndarray
    ) -> dict[str, Any]:
        """A row with its metrics; and what epsilon the attack proves, where queries have coins of their own.

        Where they have none, Clopper-Pearson bounds at the top-n threshold stand in, which prove nothing.
        """
        leakage = judge(values, member)
        row = _attack_row(trial, wanted) | dataclasses.asdict(leakage)
        if trial.role not in (STUDY, CANARY):
            return row
        delta = trial.cell.arm.delta or DELTA
        if coins.sum() < FEWEST_COINS:
            count = int(member.sum())
            called = math.floor(count * leakage.accuracy_top_n)
            return row | _bound(heuristic(called, count, count - called, len(member) - count, delta, CONFIDENCE))
        ties = Streams("audit", self.design.spec.seed, trial.trial_id, wanted.attack_id).numpy("ties")
        changes = 2 if self.design.split.coin_swaps and trial.role == STUDY else 1
        general, gaussian = Guesses.of(values[coins], member[coins], ties).bounds(delta, changes)
        own = {"epsilon_low_gaussian": gaussian.epsilon_low, "epsilon_ceiling_gaussian": gaussian.epsilon_ceiling}
        return row | _bound(general) | own

    def _knowledge(self, attack: Attack) -> Knowledge:
        images = {word: self.design.pool.images[indices] for word, indices in self.design.known(attack).items()}
        return Knowledge(**{word: to_float(torch.from_numpy(x)).to(self.device) for word, x in images.items()})

    def _trial_row(
        self, trial: Trial, membership: Membership, trainer: Trainer | None, seconds_train: float
    ) -> dict[str, Any]:
        """trainer: as it stands at the trial's level; None for a control that trains nothing."""
        spec, cell = self.design.spec, trial.cell
        return {
            "trial_id": trial.trial_id,
            "trajectory_id": trial.trajectory_id,
            "study": spec.study,
            "role": trial.role,
            "dataset": self.design.pool.name,
            "target": cell.target.name,
            "split": spec.split.name,
            "train_size": cell.train_size,
            "members": len(membership.train),
            "epochs": trial.epochs,
            "steps": trial.steps,
            "generator_steps": trainer.generator_steps if trainer else 0,
            "defense": cell.arm.defense,
            "strength": cell.arm.strength,
            "replicate": trial.replicate,
            "seed": spec.seed,
            **cell.arm.columns(trainer.accountant.sigma if trainer and trainer.accountant else None),
            "epsilon": trainer.epsilon if trainer else None,
            "delta": cell.arm.delta,
            **{key: value for key, value in cell.factors.items() if not isinstance(value, (dict, list))},
            "seconds_train": seconds_train,
            "peak_bytes": peak_bytes(self.device),
            "device": device_name(self.device),
            "config": canonical_json(
                {
                    "data": spec.data.to_dict(),
                    "data_digest": self.design.pool.digest,
                    "split": spec.split.to_dict(),
                    "target": cell.target.to_dict(),
                    "training": cell.training.to_dict(),
                    "defense": cell.arm.to_list(),
                    "train_size": cell.train_size,
                    trial.budget: trial.level,
                    "replicate": trial.replicate,
                    "seed": spec.seed,
                }
            ),
            "versions": canonical_json({**versions(), "node": platform.node(), **self.code}),
            "finished_at": datetime.now(UTC),
        }


def _seal(current: Pass, work: Work, rows: Rows, scores: Rows, quality: Rows) -> None:
    """Add what there is, and seal the pass unless that is nothing."""
    if quality:
        current.add("quality", quality)
    if rows:
        current.add("attacks", rows)
    if scores:
        current.add("scores", {key: np.concatenate([part[key] for part in scores]) for key in scores[0]})
    if work.train or quality or rows:
        current.seal(
            work.trial.trial_id,
            train=work.train,
            attacks=[row["attack_id"] for row in rows],
            measures=[row["measure_id"] for row in quality],
        )


def _seconds(state: Any, least: int, most: int) -> float:
    """Seconds of training until a checkpoint; ValueError for one outside of these steps, or an odd one."""
    step, seconds = (state.get("step"), state.get("seconds")) if isinstance(state, dict) else (None, None)
    if not isinstance(step, int) or not least <= step <= most:
        raise Refused(f"no checkpoint from step {least} to {most}")
    if not isinstance(seconds, (int, float)) or not 0 <= seconds < math.inf:
        raise Refused(f"no checkpoint takes {seconds!r} seconds")
    return float(seconds)


def _history_rows(trial: Trial, trainer: Trainer, told: int) -> list[dict[str, Any]]:
    """Rows after the step `told`, taken from the trainer; epsilon at the level itself, where it ends an epoch."""
    rows = [
        {
            "trajectory_id": trial.trajectory_id,
            "epoch": row.epoch,
            "step": row.step,
            "seconds": row.seconds,
            "epsilon": None,
            **row.means,
        }
        for row in trainer.history
        if row.step > told
    ]
    trainer.history.clear()
    if rows and rows[-1]["step"] == trainer.step:
        rows[-1]["epsilon"] = trainer.epsilon
    return rows


def _bound(bound: Bound) -> dict[str, Any]:
    return {
        "epsilon_low": bound.epsilon_low,
        "epsilon_ceiling": bound.epsilon_ceiling,
        "epsilon_confidence": bound.confidence,
        "epsilon_method": bound.method,
    }


def _scores(
    trial: Trial,
    wanted: WantedAttack,
    queries: np.ndarray,
    units: np.ndarray,
    member: np.ndarray,
    coins: np.ndarray,
    values: np.ndarray,
) -> dict[str, Any]:
    """Columns of the table of scores."""
    return {
        "trial_id": np.full(len(values), trial.trial_id, dtype=object),
        "attack_id": np.full(len(values), wanted.attack_id, dtype=object),
        "query": queries,
        "unit": units,
        "member": member,
        "judged": np.ones(len(values), dtype=bool),
        "coin": coins,
        "score": values,
    }


def _attack_row(trial: Trial, wanted: WantedAttack) -> dict[str, Any]:
    return {
        "trial_id": trial.trial_id,
        "attack": wanted.label,
        "attack_id": wanted.attack_id,
        "arguments": canonical_json(wanted.arguments),
        "access": wanted.access.name,
        "knowledge": wanted.knowledge,
        "steps": wanted.level,
        "generated": wanted.generated,
        "skipped": wanted.skipped,
    }


def _require_finite(trainer: Trainer, trial: Trial) -> None:
    for name, tensor in trainer.target.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise FloatingPointError(f"{trial.name}: training diverged, {name} is not finite")


def _grid(snapshot: Snapshot) -> bytes:
    """PNG of the first 64 samples of the fixed stream."""
    from PIL import Image

    from mia_core.vision import torchvision

    samples = (snapshot.samples(GRID).cpu() + 1) / 2
    grid = torchvision.utils.make_grid(samples, nrow=8, padding=1, pad_value=0.5)
    pixels = (grid * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    with contextlib.closing(io.BytesIO()) as sink:
        Image.fromarray(pixels).save(sink, "PNG")
        return sink.getvalue()

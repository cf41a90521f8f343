"""The second stage of a sweep: derived attacks, computed from sealed scores and sealed as passes of their own."""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch

from mia_core.data.pool import to_float
from mia_core.derived import Evidence
from study.design.derivations import Derivation, Derivations
from study.design.study_design import Design
from study.design.trials import Trial
from study.design.wanted import WantedAttack
from study.run.attack_row import Attacked, Queries, judged
from study.spec.derived_entries import derived_arguments
from study.store import Pass, Store, seal_together
from study.store.rows import MODELS_LIKE_IT, NEVER_MEMBERS, joined
from study.store.score_arrays import Pair, Scored, score_arrays

THREADS = 16
"""That write at once: each mostly waits for the disk, three times a pass."""
TOGETHER = 512
"""Passes that are sealed together."""


@dataclass(frozen=True)
class Derived:
    """What one stage did: trials that got rows, how many rows, and seconds."""

    trials: tuple[str, ...]
    rows: int
    seconds: float


def derive(design: Design, store: Store) -> Derived:
    """Compute what can be derived and is not sealed yet; a pass a trial.

    Trains nothing. ValueError and Damaged as of reading a store.
    """
    started = time.perf_counter()
    markers = store.markers()
    done: dict[str, set[str]] = {}
    for marker in markers.values():
        done.setdefault(marker["trial_id"], set()).update(marker["work"]["attacks"])
    todo = [
        (one, lacking)
        for one in Derivations(design, markers).found
        if (lacking := [trial for trial in one.trials if one.ids[trial.trial_id] not in done.get(trial.trial_id, ())])
    ]
    scores = score_arrays(store, {pair for one, _ in todo for pair in one.pairs})
    results: dict[str, Attacked] = {}
    trials: dict[str, Trial] = {}
    for one, lacking in todo:
        for trial, attacked in _rows(design, one, lacking, scores):
            trials[trial.trial_id] = trial
            results[trial.trial_id] = results.get(trial.trial_id, Attacked()) + attacked
    with ThreadPoolExecutor(THREADS) as threads:
        for at in range(0, len(results), TOGETHER):
            some = list(results)[at : at + TOGETHER]
            seal_together(store, {trial_id: _pass(store, results[trial_id]) for trial_id in some}, threads)
    rows = sum(len(attacked.rows) for attacked in results.values())
    return Derived(tuple(results), rows, time.perf_counter() - started)


def _pass(store: Store, attacked: Attacked) -> tuple[Pass, list[str]]:
    """What is to be sealed of one trial, and the ids of its attacks."""
    current = Pass(store)
    current.add("attacks", [row.to_dict() for row in attacked.rows])
    current.add("scores", joined(attacked.scores))
    return current, [row.attack_id for row in attacked.rows]


def _rows(
    design: Design, one: Derivation, lacking: Sequence[Trial], scores: Mapping[Pair, Scored]
) -> Iterator[tuple[Trial, Attacked]]:
    """Rows and scores of those trials of a derivation that lack them."""
    started = time.perf_counter()
    evidence = evidence_of(one, scores)
    attack = one.entry.choice.build()
    if attack.fewest_never_members:
        evidence = _with_records(evidence, design, scores[one.pairs[0]])
    with np.errstate(over="ignore"):
        values = attack(evidence, probability_of(design)).astype(np.float32)
    seconds = (time.perf_counter() - started) / len(one.trials)
    never_members = 0 if evidence.never_member is None else int(evidence.never_member.sum())
    place = {trial.trial_id: number for number, trial in enumerate(one.trials)}
    base = "+".join(wanted.attack_id for wanted in one.bases)
    for trial in lacking:
        first = scores[trial.trial_id, one.bases[0].attack_id]
        queries = Queries(first.query, first.unit, first.member, first.judged, first.coin)
        wanted = _wanted(one, trial, never_members)
        found = judged(design, trial, wanted, values[place[trial.trial_id]], queries, seconds=seconds)
        steps = one.bases[0].steps if len(one.bases) == 1 else None
        rows = [replace(row, base=base, shadows=len(one.shadows) or None, steps=steps) for row in found.rows]
        yield trial, replace(found, rows=rows)


def evidence_of(one: Derivation, scores: Mapping[Pair, Scored]) -> Evidence:
    """Scores of a derivation's trials and of their reference."""

    def stacked(trials: Sequence[Trial], bases: Sequence[WantedAttack] = one.bases) -> np.ndarray:
        return np.stack(
            [[scores[trial.trial_id, base.attack_id].score for trial in trials] for base in bases], dtype=float
        )

    def members(trials: Sequence[Trial]) -> np.ndarray:
        return np.stack([scores[trial.trial_id, one.bases[0].attack_id].member for trial in trials])

    unit = scores[one.trials[0].trial_id, one.bases[0].attack_id].unit
    if one.shadows:
        return Evidence.shadows(stacked(one.trials), stacked(one.shadows), members(one.shadows), unit)
    uses = one.entry.choice.cls.uses(len(one.trials))
    return Evidence.among(uses, stacked(one.trials), members(one.trials), unit)


def _with_records(evidence: Evidence, design: Design, of: Scored) -> Evidence:
    """With the images of all queries, and which of them are never members: those that are not judged."""
    images = to_float(torch.from_numpy(design.pool.images[of.query]))
    return replace(evidence, never_member=~of.judged, records=images.flatten(1).numpy())


def probability_of(design: Design) -> float:
    """Of a judged record to be a member; where their number is fixed, their share at the smallest training-set size."""
    if design.spec.split.name == "panel":
        return float(design.spec.split.config.probability)
    member = design.membership(design.trials[0]).member
    return float(member.mean())


def _wanted(one: Derivation, trial: Trial, never_members: int) -> WantedAttack:
    """What a row of it says of the attack. never_members: how many records it takes that are that."""
    attack_id, choice = one.ids[trial.trial_id], one.entry.choice
    known = [base.knowledge for base in one.bases if base.knowledge != "none"]
    if choice.cls.needs_reference:
        known.append(f"{MODELS_LIKE_IT} ({len(one.reference(trial))})")
    if never_members:
        known.append(f"{NEVER_MEMBERS} ({never_members})")
    return WantedAttack(
        label=one.entry.label,
        attack_id=attack_id,
        run_id=attack_id,
        level=None,
        choice=None,
        arguments=derived_arguments(choice, one.entry.bases),
        access=max(base.access for base in one.bases),
        knowledge=" + ".join(dict.fromkeys(known)) or "none",
        generated=max(base.generated for base in one.bases),
        skipped=None,
    )

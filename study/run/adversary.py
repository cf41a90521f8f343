"""The attacks of a pass: each at its levels, with the records that it knows; and the control that sees no target."""

import copy
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from mia_core.attacks import Attack, Knowledge, Shared
from mia_core.data import Membership
from mia_core.data.file_facts import standardized
from mia_core.data.pool import to_float
from mia_core.hashing import array_digest, content_id
from mia_core.metrics import Extractor
from mia_core.metrics.blind import blind, blind_to
from mia_core.models import Model
from mia_core.persons import RECORD
from mia_core.settings import plain
from mia_core.streams import Streams
from study.design.study_design import Design
from study.design.trials import Trial
from study.design.wanted import EXTRACTOR, WantedAttack, runs
from study.machine import explaining_kernels
from study.run.attack_row import Attacked, Queries, judged, skipped
from study.store.roles import BLIND_FILES, MEMBER_ONLY, STUDY

PREPARED = 16
"""What attacks prepared from their knowledge, kept for the next trial."""


class Adversary:
    """Attacks trials of one study on a device. network: the study's feature network."""

    def __init__(self, design: Design, device: str, network: Callable[[], Extractor]) -> None:
        self.design = design
        self.device = device
        self._network = network
        self._prepared: OrderedDict[str, Any] = OrderedDict()

    def attack(self, trial: Trial, wanted: Sequence[WantedAttack], model: Model, membership: Membership) -> Attacked:
        """Run attacks on a model. One that raises leaves no row, so that it stays missing."""
        results = Attacked()
        images = to_float(torch.from_numpy(self.design.pool.images[membership.queries]))
        queries, shared = self._queries(trial, membership), Shared()
        for levels in runs(wanted):
            if levels[0].skipped:
                results = sum((skipped(trial, item) for item in levels), results)
                continue
            try:
                with explaining_kernels():
                    results += self._run(trial, levels, model, images, queries, shared)
            except Exception:
                results += Attacked(failed={levels[0].label: traceback.format_exc()})
        return results

    def blind(self, trial: Trial, wanted: Sequence[WantedAttack], membership: Membership) -> Attacked:
        """Tell members from non-members without any target, by their pixels or by facts of their files."""
        results = Attacked()
        units = self.design.split.units[membership.queries]
        for item in wanted:
            started = time.perf_counter()
            streams = Streams(trial.role, self.design.spec.seed, trial.replicate)
            permutations = item.arguments["permutations"]
            if trial.role == BLIND_FILES:
                facts = self._facts(membership)
                found = blind_to(facts.__getitem__, membership.member, units, streams, permutations)
            else:
                images = self.design.pool.images[membership.queries]
                found = blind(images, membership.member, units, streams, permutations)
            looked_at = membership.queries[found.queries]
            queries = Queries(
                looked_at,
                units[found.queries],
                membership.member[found.queries],
                self.design.split.judges(looked_at),
                np.zeros(len(looked_at), dtype=bool),
            )
            columns = {
                "p_value": found.p_value,
                "smallest_auc": found.smallest_auc,
                "seconds": time.perf_counter() - started,
            }
            results += judged(self.design, trial, item, found.score, queries, **columns)
        return results

    def _facts(self, membership: Membership) -> np.ndarray:
        """float64 [Q,F] of the queries' files."""
        given = self.design.pool.given
        assert given is not None and given.facts is not None
        return standardized(given.facts[membership.queries])

    def _run(
        self,
        trial: Trial,
        levels: Sequence[WantedAttack],
        model: Model,
        images: torch.Tensor,
        queries: Queries,
        shared: Shared,
    ) -> Attacked:
        """One run of one attack, at those of its levels that are missing."""
        choice = levels[0].choice
        assert choice is not None
        config = choice.config
        if choice.cls.nested:
            config = replace(config, **{choice.cls.nested: tuple(item.level for item in levels)})
        attack = choice.cls(config)
        rng = Streams("attack", self.design.spec.seed, trial.replicate, levels[0].run_id)
        result = attack(model, images, self._knowledge(attack, trial), rng, shared)
        found = Attacked()
        for item, values, spent in zip(levels, result.scores.values.numpy(), result.spent, strict=True):
            columns = {
                "seconds": result.seconds,
                "model_queries": spent.queries / len(images),
                "model_gradients": spent.gradients / len(images),
            }
            found += judged(self.design, trial, item, values, queries, **columns)
        return found

    def _queries(self, trial: Trial, membership: Membership) -> Queries:
        split, queries = self.design.split, membership.queries
        coins = np.isin(queries, split.coins_of(trial.cell.arm.unit or RECORD)) & (trial.role == STUDY)
        return Queries(queries, split.units[queries], membership.member, split.judges(queries), coins)

    def _knowledge(self, attack: Attack, trial: Trial) -> Knowledge:
        of = self.design.attacks.relabelled if trial.role == MEMBER_ONLY else self.design.attacks.known
        indices = of(attack)
        images = {
            word: to_float(torch.from_numpy(self.design.pool.images[records])).to(self.device)
            for word, records in indices.items()
        }
        extractor = self._extractor if EXTRACTOR in attack.needs else None
        knowledge = Knowledge(**images, extractor=extractor)
        return replace(knowledge, prepared=self._once(attack, knowledge, indices))

    @cached_property
    def _extractor(self) -> Extractor:
        """Apart from the one that measures quality, which stays where it is."""
        return copy.deepcopy(self._network()).to(self.device)

    def _once(self, attack: Attack, knowledge: Knowledge, indices: dict[str, np.ndarray]) -> Any:
        """What an attack prepares from these records, and from the one extractor, for all trials of this process."""
        arguments = {key: value for key, value in plain(attack.config).items() if key != attack.nested}
        key = content_id([attack.name, arguments, {word: array_digest(each) for word, each in indices.items()}])
        if key in self._prepared:
            self._prepared.move_to_end(key)
        else:
            self._prepared[key] = attack.prepare(knowledge)
            while len(self._prepared) > PREPARED:
                self._prepared.popitem(last=False)
        return self._prepared[key]

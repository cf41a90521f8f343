"""The attacks of a pass: each at its levels, with the records that it knows; and the control that sees no target."""

import dataclasses
import time
import traceback
from collections.abc import Sequence

import numpy as np
import torch

from mia_core.attacks import Attack, Knowledge
from mia_core.data import Membership
from mia_core.data.pool import to_float
from mia_core.metrics.blind import blind
from mia_core.models import Model
from mia_core.persons import RECORD
from mia_core.streams import Streams
from study.design.study_design import Design
from study.design.trials import Trial
from study.design.wanted import WantedAttack, runs
from study.machine import explaining_kernels
from study.run.attack_row import Attacked, Queries, judged, skipped
from study.store.roles import BLIND, MEMBER_ONLY, STUDY


class Adversary:
    """Attacks trials of one study on a device."""

    def __init__(self, design: Design, device: str) -> None:
        self.design = design
        self.device = device

    def attack(self, trial: Trial, wanted: Sequence[WantedAttack], model: Model, membership: Membership) -> Attacked:
        """Run attacks on a model. One that raises leaves no row, so that it stays missing."""
        results = Attacked()
        images = to_float(torch.from_numpy(self.design.pool.images[membership.queries]))
        queries = self._queries(trial, membership)
        for levels in runs(wanted):
            if levels[0].skipped:
                results = sum((skipped(trial, item) for item in levels), results)
                continue
            try:
                with explaining_kernels():
                    results += self._run(trial, levels, model, images, queries)
            except Exception:
                results += Attacked(failed={levels[0].label: traceback.format_exc()})
        return results

    def blind(self, trial: Trial, wanted: Sequence[WantedAttack], membership: Membership) -> Attacked:
        """Tell members from non-members without any target."""
        results = Attacked()
        units = self.design.split.units[membership.queries]
        for item in wanted:
            started = time.perf_counter()
            images = self.design.pool.images[membership.queries]
            streams = Streams(BLIND, self.design.spec.seed, trial.replicate)
            found = blind(images, membership.member, units, streams, item.arguments["permutations"])
            looked_at = membership.queries[found.queries]
            queries = Queries(
                looked_at,
                units[found.queries],
                membership.member[found.queries],
                self.design.split.judges(looked_at),
                np.zeros(len(looked_at), dtype=bool),
            )
            columns = {"p_value": found.p_value, "seconds": time.perf_counter() - started}
            results += judged(self.design, trial, item, found.score, queries, **columns)
        return results

    def _run(
        self,
        trial: Trial,
        levels: Sequence[WantedAttack],
        model: Model,
        images: torch.Tensor,
        queries: Queries,
    ) -> Attacked:
        """One run of one attack, at those of its levels that are missing."""
        choice = levels[0].choice
        assert choice is not None
        config = choice.config
        if choice.cls.nested:
            config = dataclasses.replace(config, **{choice.cls.nested: tuple(item.level for item in levels)})
        attack = choice.cls(config)
        rng = Streams("attack", self.design.spec.seed, trial.replicate, levels[0].run_id)
        result = attack(model, images, self._knowledge(attack, trial), rng)
        each = zip(levels, result.scores.values.numpy(), strict=True)
        return sum(
            (judged(self.design, trial, item, values, queries, seconds=result.seconds) for item, values in each),
            Attacked(),
        )

    def _queries(self, trial: Trial, membership: Membership) -> Queries:
        split, queries = self.design.split, membership.queries
        coins = np.isin(queries, split.coins_of(trial.cell.arm.unit or RECORD)) & (trial.role == STUDY)
        return Queries(queries, split.units[queries], membership.member, split.judges(queries), coins)

    def _knowledge(self, attack: Attack, trial: Trial) -> Knowledge:
        of = self.design.attacks.relabelled if trial.role == MEMBER_ONLY else self.design.attacks.known
        images = {word: self.design.pool.images[records] for word, records in of(attack).items()}
        return Knowledge(**{word: to_float(torch.from_numpy(x)).to(self.device) for word, x in images.items()})

"""The quality of a trial's samples, and which of them copy members, in features of the study's network or in pixels."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np
import torch

from mia_core.data.pool import to_uint8
from mia_core.hashing import canonical_json
from mia_core.metrics import AUTHENTICITY, COPIES, EXTRACTION, MEASURES, SYNTHETIC, find_copies, measure
from mia_core.metrics.authenticity import authenticity
from mia_core.metrics.exact_copies import EXACT, exact_copies
from mia_core.metrics.extraction import extract
from mia_core.metrics.synthetic_training import synthetic_accuracy
from mia_core.models import Model
from study.design.study_design import Design
from study.design.trials import Trial
from study.design.wanted import WantedMeasure
from study.run.feature_spaces import Spaces
from study.spec.objectives import EXTRACTOR, PIXELS
from study.spec.section_models import NEAR_MEMBERS
from study.store import Store
from study.store.rows import QualityRow

EXACTLY = "exact"
"""In place of an extractor, of pairs that are equal."""

Fake = Callable[[str], torch.Tensor]
"""Samples of a trial as points [M,D] of an extractor's space."""


@dataclass(frozen=True)
class Measured:
    """rows: one a measure. pairs: of samples that are copies, by extractor: sample, record of the pool, file, ratio."""

    rows: list[QualityRow] = field(default_factory=list)
    pairs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


class QualityMeasuring:
    """Measures samples of one study's trials. spaces: in which they are compared with records."""

    def __init__(self, design: Design, store: Store) -> None:
        self.design = design
        self.spaces = Spaces(design, store)

    def measure(self, trial: Trial, wanted: Sequence[WantedMeasure], model: Model) -> Measured:
        """A row for each of the measures, and what copies were found."""
        if not wanted:
            return Measured()
        samples = model.samples(self.design.spec.quality.samples).cpu()
        fake = cache(lambda extractor: self.spaces.points(extractor, samples))
        of_copies = [item for item in wanted if item.name in COPIES]
        exact = [item for item in wanted if item.name in EXACT]
        rows = self._of_samples(trial, [item for item in wanted if item.name in MEASURES], fake)
        rows += self._near_members(trial, [item for item in wanted if item.name in NEAR_MEMBERS], fake)
        rows += [self._synthetic(trial, item, fake) for item in wanted if item.name in SYNTHETIC]
        pairs = {}
        if exact:
            more, pairs[EXACTLY] = self._exact(trial, exact, samples)
            rows += more
        for extractor, group in groupby(of_copies, key=lambda item: item.extractor):
            more, pairs[extractor] = self._of_copies(trial, list(group), fake)
            rows += more
        return Measured(rows, pairs)

    def _of_samples(self, trial: Trial, wanted: Sequence[WantedMeasure], fake: Fake) -> list[QualityRow]:
        """Measures of samples as a whole, against members or unseen records."""
        if not wanted:
            return []
        space = wanted[0].extractor
        points = fake(space)
        rows: list[QualityRow] = []
        for against, group in groupby(wanted, key=lambda item: item.against):
            items = list(group)
            started = time.perf_counter()
            indices = self.design.measures.records(against, trial.replicate, trial.cell.train_size)
            real = self.spaces.of_records(space, indices)
            values = measure(tuple(item.name for item in items), points, real)
            seconds = (time.perf_counter() - started) / len(items)
            rows += [self._row(trial, item, values[item.name], len(points), seconds) for item in items]
        return rows

    def _of_copies(
        self, trial: Trial, wanted: Sequence[WantedMeasure], fake: Fake
    ) -> tuple[list[QualityRow], list[dict[str, Any]]]:
        """Measures of copies by the features of one extractor, and the pairs; against all members of the trial."""
        started = time.perf_counter()
        pool, settings = self.design.pool, self.design.spec.quality.copies
        members, unseen = self.design.membership(trial).train, self.design.split.unseen
        points = fake(wanted[0].extractor)
        real, fresh = (self.spaces.of_records(wanted[0].extractor, part) for part in (members, unseen))
        whose = pool.units[members], pool.units[unseen]
        found = find_copies(points, real, fresh, *whose, settings.alpha, settings.neighbors)
        seconds = (time.perf_counter() - started) / len(wanted)
        rows = [self._row(trial, item, getattr(found, item.name, None), len(points), seconds) for item in wanted]
        return rows, self._pairs(found.pairs, found.ratios, members) if found else []

    def _near_members(self, trial: Trial, wanted: Sequence[WantedMeasure], fake: Fake) -> list[QualityRow]:
        """What was extracted and how many samples are authentic, by extractor; against all members of the trial."""
        pool, settings, rows = self.design.pool, self.design.spec.quality.copies, []
        members, unseen = self.design.membership(trial).train, self.design.split.unseen
        for extractor, group in groupby(wanted, key=lambda item: item.extractor):
            started, items = time.perf_counter(), list(group)
            values: dict[str, float | None] = {}
            points, real = fake(extractor), self.spaces.of_records(extractor, members)
            names = {item.name for item in items}
            if names & set(AUTHENTICITY):
                values["authenticity"] = authenticity(points, real)
            if names & set(EXTRACTION):
                fresh = self.spaces.of_records(extractor, unseen)
                found = extract(points, real, fresh, pool.units[unseen], settings.alpha, settings.repeats)
                values |= {name: getattr(found, name, None) for name in EXTRACTION}
            seconds = (time.perf_counter() - started) / len(items)
            rows += [self._row(trial, item, values[item.name], len(points), seconds) for item in items]
        return rows

    def _synthetic(self, trial: Trial, wanted: WantedMeasure, fake: Fake) -> QualityRow:
        """The accuracy on unseen records of a classifier that samples taught."""
        started = time.perf_counter()
        pool, (reference, unseen) = self.design.pool, (self.design.split.reference, self.design.split.unseen)
        teacher = self.spaces.of_records(EXTRACTOR, reference).numpy()
        real = self.spaces.of_records(PIXELS, unseen).numpy()
        features, pixels = (fake(extractor).numpy() for extractor in (EXTRACTOR, PIXELS))
        value = synthetic_accuracy(teacher, pool.labels[reference], features, pixels, real, pool.labels[unseen])
        return self._row(trial, wanted, value, len(features), time.perf_counter() - started)

    def _exact(
        self, trial: Trial, wanted: Sequence[WantedMeasure], samples: torch.Tensor
    ) -> tuple[list[QualityRow], list[dict[str, Any]]]:
        """Samples that equal a member, once they have 8 bits; among all members of the trial."""
        started = time.perf_counter()
        members = self.design.membership(trial).train
        found = exact_copies(to_uint8(samples), self.design.pool.images[members])
        seconds = (time.perf_counter() - started) / len(wanted)
        rows = [self._row(trial, item, getattr(found, item.name), len(samples), seconds) for item in wanted]
        return rows, self._pairs(found.pairs, np.zeros(len(found.pairs)), members)

    def _pairs(self, pairs: np.ndarray, ratios: np.ndarray, members: np.ndarray) -> list[dict[str, Any]]:
        """Samples and places among the members [P,2], by names of records. Samples of a release may be files, too."""
        pool, released = self.design.pool, self.design.released
        files = released.release.files if released else ()
        return [
            {
                "sample": int(sample),
                **({"sample_file": files[sample]} if files else {}),
                "record": int(members[place]),
                "file": pool.files[members[place]] if pool.files else None,
                "ratio": float(ratio),
            }
            for (sample, place), ratio in zip(pairs, ratios, strict=True)
        ]

    def _row(
        self, trial: Trial, wanted: WantedMeasure, value: float | None, samples: int, seconds: float
    ) -> QualityRow:
        return QualityRow(
            trial_id=trial.trial_id,
            measure=wanted.name,
            measure_id=wanted.measure_id,
            arguments=canonical_json(wanted.arguments),
            extractor=wanted.extractor,
            extractor_sha256=self.spaces.sha256(wanted.extractor),
            against=wanted.against,
            value=_finite(value),
            samples=samples,
            seconds=seconds,
        )


def _finite(value: float | None) -> float | None:
    """None for what no comparison could use."""
    return value if value is not None and math.isfinite(value) else None


def unmeasured(trial: Trial, wanted: Sequence[WantedMeasure]) -> list[QualityRow]:
    """A row for each of the measures of a trial whose training diverged: there are no samples."""
    return [
        QualityRow(
            trial_id=trial.trial_id,
            measure=item.name,
            measure_id=item.measure_id,
            arguments=canonical_json(item.arguments),
            extractor=item.extractor,
            extractor_sha256=None,
            against=item.against,
            value=None,
            samples=0,
            seconds=0.0,
        )
        for item in wanted
    ]

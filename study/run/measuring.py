"""The quality of a trial's samples, and which of them copy members, in features of the study's network or in pixels."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
import torch

from mia_core.data.pool import to_float, to_uint8
from mia_core.errors import Refused
from mia_core.hashing import canonical_json
from mia_core.metrics import AUTHENTICITY, COPIES, EXTRACTION, MEASURES, SYNTHETIC, Extractor, find_copies, measure
from mia_core.metrics.authenticity import authenticity
from mia_core.metrics.exact_copies import EXACT, exact_copies
from mia_core.metrics.extraction import extract
from mia_core.metrics.extractor import train as train_extractor
from mia_core.metrics.onnx_extractor import OnnxExtractor
from mia_core.metrics.synthetic_training import synthetic_accuracy
from mia_core.models import Model
from study.design.study_design import Design
from study.design.trials import Trial
from study.design.wanted import WantedMeasure
from study.spec.objectives import EXTRACTOR, ONNX, PIXELS
from study.spec.section_models import NEAR_MEMBERS
from study.store import Store, files, to_bytes
from study.store.networks import MEASURE_AGAIN
from study.store.reading import sealed
from study.store.rows import QualityRow


def feature_network(design: Design, store: Store) -> tuple[Extractor, str]:
    """The study's extractor and the sha256 of its weights; trained when it is not in the store yet.

    Refused where quality was measured by other weights of this recipe, which are lost: on another kind of machine it
    trains to other bits.
    """
    stored = store.feature_network(design.recipe.id)
    if stored is None:
        reference = design.split.reference
        network = train_extractor(design.recipe, design.pool.images[reference], design.pool.labels[reference])
        tensors = network.state_dict()
        require_same_network(design, store, files.sha256(to_bytes(tensors, {})))
        store.save_feature_network(design.recipe.id, tensors)
        stored = store.feature_network(design.recipe.id)
        assert stored is not None
    network = Extractor(design.recipe)
    network.load_state_dict(stored[0])
    return network.eval().requires_grad_(False), stored[1]


def require_same_network(design: Design, store: Store, sha256: str) -> None:
    """Refused where another network measured what this design wants and the store has sealed."""
    wanted = {item.measure_id for item in design.measures.wanted if item.extractor == EXTRACTOR}
    rows = sealed(store, "quality", store.markers()).select(["measure_id", "extractor_sha256"]).to_pylist()
    others = {row["extractor_sha256"] for row in rows if row["measure_id"] in wanted} - {sha256, None}
    if others:
        raise Refused(
            f"features: the sealed quality of this study was measured by the network of sha256 {min(others)[:16]}..., "
            f"and here is one of {sha256[:16]}...; bring back {store.uri}/features/{design.recipe.id}.safetensors and "
            f".json as they were, or {MEASURE_AGAIN}"
        )


EXACTLY = "exact"
"""In place of an extractor, of pairs that are equal."""


@dataclass(frozen=True)
class Measured:
    """rows: one a measure. pairs: of samples that are copies, by extractor: sample, record of the pool, file, ratio."""

    rows: list[QualityRow] = field(default_factory=list)
    pairs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


class QualityMeasuring:
    """Measures samples of one study's trials; the feature network is loaded once, when it is first needed."""

    def __init__(self, design: Design, store: Store) -> None:
        self.design = design
        self.store = store
        self._network: tuple[Extractor, str] | None = None

    @cached_property
    def given(self) -> OnnxExtractor:
        """The network that the user gives; Refused if its file has changed since the study was planned."""
        path = self.design.spec.quality.onnx
        assert path is not None
        found = OnnxExtractor(path, self.design.pool.image_shape)
        if found.digest != self.design.measures.onnx:
            raise Refused(f"quality.onnx: {path} is another file than the one that was planned with; bring it back")
        return found

    @property
    def network(self) -> tuple[Extractor, str]:
        """See `feature_network`."""
        self._network = self._network or feature_network(self.design, self.store)
        return self._network

    def measure(self, trial: Trial, wanted: Sequence[WantedMeasure], model: Model) -> Measured:
        """A row for each of the measures, and what copies were found."""
        if not wanted:
            return Measured()
        samples = model.samples(self.design.spec.quality.samples).cpu()
        of_copies = [item for item in wanted if item.name in COPIES]
        exact = [item for item in wanted if item.name in EXACT]
        rows = self._of_samples(trial, [item for item in wanted if item.name in MEASURES], samples)
        rows += self._near_members(trial, [item for item in wanted if item.name in NEAR_MEMBERS], samples)
        rows += [self._synthetic(trial, item, samples) for item in wanted if item.name in SYNTHETIC]
        pairs = {}
        if exact:
            more, pairs[EXACTLY] = self._exact(trial, exact, samples)
            rows += more
        for extractor, group in groupby(of_copies, key=lambda item: item.extractor):
            more, pairs[extractor] = self._of_copies(trial, list(group), samples)
            rows += more
        return Measured(rows, pairs)

    def _of_samples(self, trial: Trial, wanted: Sequence[WantedMeasure], samples: torch.Tensor) -> list[QualityRow]:
        """Measures of samples as a whole, against members or unseen records."""
        if not wanted:
            return []
        space = wanted[0].extractor
        fake = self._space(space, samples)
        rows: list[QualityRow] = []
        for against, group in groupby(wanted, key=lambda item: item.against):
            items = list(group)
            started = time.perf_counter()
            indices = self.design.measures.records(against, trial.replicate, trial.cell.train_size)
            real = self._space(space, torch.from_numpy(self.design.pool.images[indices]))
            values = measure(tuple(item.name for item in items), fake, real)
            seconds = (time.perf_counter() - started) / len(items)
            rows += [self._row(trial, item, values[item.name], len(samples), seconds) for item in items]
        return rows

    def _of_copies(
        self, trial: Trial, wanted: Sequence[WantedMeasure], samples: torch.Tensor
    ) -> tuple[list[QualityRow], list[dict[str, Any]]]:
        """Measures of copies by the features of one extractor, and the pairs; against all members of the trial."""
        started = time.perf_counter()
        pool, settings = self.design.pool, self.design.spec.quality.copies
        members, unseen = self.design.membership(trial).train, self.design.split.unseen
        of_members, of_unseen = (torch.from_numpy(pool.images[part]) for part in (members, unseen))
        fake, real, fresh = (self._space(wanted[0].extractor, x) for x in (samples, of_members, of_unseen))
        whose = pool.units[members], pool.units[unseen]
        found = find_copies(fake, real, fresh, *whose, settings.alpha, settings.neighbors)
        seconds = (time.perf_counter() - started) / len(wanted)
        rows = [self._row(trial, item, getattr(found, item.name, None), len(samples), seconds) for item in wanted]
        return rows, self._pairs(found.pairs, found.ratios, members) if found else []

    def _near_members(self, trial: Trial, wanted: Sequence[WantedMeasure], samples: torch.Tensor) -> list[QualityRow]:
        """What was extracted and how many samples are authentic, by extractor; against all members of the trial."""
        pool, settings, rows = self.design.pool, self.design.spec.quality.copies, []
        members, unseen = self.design.membership(trial).train, self.design.split.unseen
        for extractor, group in groupby(wanted, key=lambda item: item.extractor):
            started, items = time.perf_counter(), list(group)
            values: dict[str, float | None] = {}
            fake, real = (self._space(extractor, x) for x in (samples, torch.from_numpy(pool.images[members])))
            names = {item.name for item in items}
            if names & set(AUTHENTICITY):
                values["authenticity"] = authenticity(fake, real)
            if names & set(EXTRACTION):
                fresh = self._space(extractor, torch.from_numpy(pool.images[unseen]))
                found = extract(fake, real, fresh, pool.units[unseen], settings.alpha, settings.repeats)
                values |= {name: getattr(found, name, None) for name in EXTRACTION}
            seconds = (time.perf_counter() - started) / len(items)
            rows += [self._row(trial, item, values[item.name], len(samples), seconds) for item in items]
        return rows

    def _synthetic(self, trial: Trial, wanted: WantedMeasure, samples: torch.Tensor) -> QualityRow:
        """The accuracy on unseen records of a classifier that samples taught."""
        started = time.perf_counter()
        pool, (reference, unseen) = self.design.pool, (self.design.split.reference, self.design.split.unseen)
        teacher = self._space(EXTRACTOR, torch.from_numpy(pool.images[reference])).numpy()
        real = self._space(PIXELS, torch.from_numpy(pool.images[unseen])).numpy()
        features, pixels = (self._space(extractor, samples).numpy() for extractor in (EXTRACTOR, PIXELS))
        value = synthetic_accuracy(teacher, pool.labels[reference], features, pixels, real, pool.labels[unseen])
        return self._row(trial, wanted, value, len(samples), time.perf_counter() - started)

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

    def _space(self, extractor: str, images: torch.Tensor) -> torch.Tensor:
        """Images, uint8 or float [-1, 1] [B,C,H,W], as points [B,D]: pixels, or features of the extractor."""
        if extractor == EXTRACTOR:
            return self.network[0].features(images)
        if extractor == ONNX:
            return self.given.features(images)
        return (to_float(images) if images.dtype == torch.uint8 else images).flatten(1)

    def _sha256(self, extractor: str) -> str | None:
        return self.network[1] if extractor == EXTRACTOR else self.design.measures.onnx if extractor == ONNX else None

    def _row(
        self, trial: Trial, wanted: WantedMeasure, value: float | None, samples: int, seconds: float
    ) -> QualityRow:
        return QualityRow(
            trial_id=trial.trial_id,
            measure=wanted.name,
            measure_id=wanted.measure_id,
            arguments=canonical_json(wanted.arguments),
            extractor=wanted.extractor,
            extractor_sha256=self._sha256(wanted.extractor),
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

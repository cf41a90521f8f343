"""The quality of a trial's samples, measured in the features of the study's feature network."""

import math
import time
from collections.abc import Sequence
from itertools import groupby

import torch

from mia_core.errors import Refused
from mia_core.hashing import canonical_json
from mia_core.metrics import Extractor, measure
from mia_core.metrics.extractor import train as train_extractor
from mia_core.models import Model
from study.design.study_design import Design
from study.design.trials import Trial
from study.design.wanted import WantedMeasure
from study.spec.objectives import EXTRACTOR
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
    wanted = {item.measure_id for item in design.measures.wanted}
    rows = sealed(store, "quality", store.markers()).select(["measure_id", "extractor_sha256"]).to_pylist()
    others = {row["extractor_sha256"] for row in rows if row["measure_id"] in wanted} - {sha256, None}
    if others:
        raise Refused(
            f"features: the sealed quality of this study was measured by the network of sha256 {min(others)[:16]}..., "
            f"and here is one of {sha256[:16]}...; bring back {store.uri}/features/{design.recipe.id}.safetensors and "
            f".json as they were, or {MEASURE_AGAIN}"
        )


class QualityMeasuring:
    """Measures samples of one study's trials; the feature network is loaded once, when it is first needed."""

    def __init__(self, design: Design, store: Store) -> None:
        self.design = design
        self.store = store
        self._network: tuple[Extractor, str] | None = None

    @property
    def network(self) -> tuple[Extractor, str]:
        """See `feature_network`."""
        self._network = self._network or feature_network(self.design, self.store)
        return self._network

    def rows(self, trial: Trial, wanted: Sequence[WantedMeasure], model: Model) -> list[QualityRow]:
        """A row for each of the measures."""
        if not wanted:
            return []
        extractor, sha256 = self.network
        fake = extractor.features(model.samples(self.design.spec.quality.samples).cpu())
        rows: list[QualityRow] = []
        for against, group in groupby(wanted, key=lambda item: item.against):
            items = list(group)
            started = time.perf_counter()
            indices = self.design.measures.records(against, trial.replicate, trial.cell.train_size)
            real = extractor.features(torch.from_numpy(self.design.pool.images[indices]))
            values = measure(tuple(item.name for item in items), fake, real)
            seconds = (time.perf_counter() - started) / len(items)
            rows += [
                QualityRow(
                    trial_id=trial.trial_id,
                    measure=item.name,
                    measure_id=item.measure_id,
                    arguments=canonical_json(item.arguments),
                    extractor=EXTRACTOR,
                    extractor_sha256=sha256,
                    against=against,
                    value=_finite(values[item.name]),
                    samples=len(fake),
                    seconds=seconds,
                )
                for item in items
            ]
        return rows


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
            extractor=EXTRACTOR,
            extractor_sha256=None,
            against=item.against,
            value=None,
            samples=0,
            seconds=0.0,
        )
        for item in wanted
    ]

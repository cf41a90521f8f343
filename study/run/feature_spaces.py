"""The spaces that samples are compared with records in: features of the study's network, of a given one, or pixels.

Shapes: B images, D dimensions of a space.
"""

from functools import cached_property

import numpy as np
import torch

from mia_core.data.pool import to_float
from mia_core.errors import Refused
from mia_core.metrics import Extractor
from mia_core.metrics.extractor import train as train_extractor
from mia_core.metrics.onnx_extractor import OnnxExtractor
from study.design.study_design import Design
from study.spec.objectives import EXTRACTOR, ONNX, PIXELS
from study.store import Store, files, to_bytes
from study.store.networks import MEASURE_AGAIN
from study.store.reading import sealed

KEPT = 5
"""Sets of records whose features are kept: reference, unseen and the members of one trajectory, and as many of the last
two as there are samples."""
KEPT_BYTES = 2**24
"""Of one set: 2,048 records in 2,048 features. Larger ones are computed again, so that workers stay small."""


class Spaces:
    """Images of one study as points; a network is loaded once, when it is first needed.

    Trials compare their samples with the same records: reference and unseen ones, and the members that all trials of a
    trajectory share. Features of the last sets are kept; pixels are not, which cost nothing to make.
    """

    def __init__(self, design: Design, store: Store) -> None:
        self.design = design
        self.store = store
        self._kept: dict[tuple[str, bytes], torch.Tensor] = {}

    @cached_property
    def given(self) -> OnnxExtractor:
        """The network that the user gives; Refused if its file has changed since the study was planned."""
        path = self.design.spec.quality.onnx
        assert path is not None
        found = OnnxExtractor(path, self.design.pool.image_shape)
        if found.digest != self.design.measures.onnx:
            raise Refused(f"quality.onnx: {path} is another file than the one that was planned with; bring it back")
        return found

    @cached_property
    def network(self) -> tuple[Extractor, str]:
        """See `feature_network`."""
        return feature_network(self.design, self.store)

    def sha256(self, extractor: str) -> str | None:
        """Of the weights of an extractor; None of pixels."""
        return self.network[1] if extractor == EXTRACTOR else self.design.measures.onnx if extractor == ONNX else None

    def points(self, extractor: str, images: torch.Tensor) -> torch.Tensor:
        """Images, uint8 or float [-1, 1] [B,C,H,W], as points [B,D] of an extractor's features, or of pixels."""
        if extractor == EXTRACTOR:
            return self.network[0].features(images)
        if extractor == ONNX:
            return self.given.features(images)
        return (to_float(images) if images.dtype == torch.uint8 else images).flatten(1)

    def of_records(self, extractor: str, records: np.ndarray) -> torch.Tensor:
        """Records of the pool, int64 [B], as points [B,D]; not to be written to."""
        key = (extractor, records.tobytes())
        found = self._kept.pop(key, None)
        if found is None:
            found = self.points(extractor, torch.from_numpy(self.design.pool.images[records]))
        if extractor != PIXELS and found.nbytes <= KEPT_BYTES:
            self._kept[key] = found
            if len(self._kept) > KEPT:
                del self._kept[next(iter(self._kept))]
        return found


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

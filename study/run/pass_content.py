"""One pass of a trial: the rows and files that it gathers, and the seal that makes them results."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from mia_core.data import Pool
from mia_core.hashing import canonical_json
from mia_core.models import Model
from study.design.work import Work
from study.plan.disk import GRID
from study.run.attack_row import Attacked
from study.store import Pass, Store, to_bytes
from study.store.rows import HistoryRow, QualityRow, TrialRow, joined
from study.store.schema import to_table

TENSORS = ".safetensors"


class Superseded(Exception):
    """Another attempt was first with a training; what is missing is to be done on the target that it sealed."""


class PassContent:
    """Files are written as they come, rows when the pass is sealed; before that no reader sees any of it.

    tracked: MLflow gets its trial.
    """

    def __init__(self, store: Store, work: Work, tracked: bool = False) -> None:
        self.work = work
        self._tracked = tracked
        self._store = store
        self._pass = Pass(store)
        trains = work.train and not work.replaces
        self._training = None if trains else store.training(work.trial.trial_id)
        self._trial: TrialRow | None = None

    def add_training(self, row: TrialRow, history: Sequence[HistoryRow] | None = None) -> None:
        """The trial's row; and its history, unless it is one of those that keep none."""
        self._trial = row
        if history is not None:
            self._pass.add("history", [item.to_dict() for item in history])

    def add_target(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """The trained target's state, for attacks that are added later."""
        self._pass.add_file(f"targets/{self.work.trial.trial_id}", TENSORS, to_bytes(tensors, {}))

    def add_resume_state(self, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
        """The trainer's state, from which a higher level goes on."""
        stem = f"resume/{self.work.trial.trajectory_id}-{state['step']}"
        self._pass.add_file(stem, TENSORS, to_bytes(tensors, state))

    def add_samples(self, model: Model, there: int = GRID) -> None:
        """A picture of the first samples, of which so many are there."""
        self._pass.add_file(f"samples/{self.work.trial.trial_id}", ".png", _grid(model, min(GRID, there)))

    def add_names(self, pool: Pool) -> None:
        """Files and persons of a release's records, and of what was left out: for the study's owner alone."""
        assert pool.given is not None
        names = {
            "records": pool.files,
            "persons": pool.given.persons,
            "left_out": [asdict(item) for item in pool.given.left_out],
        }
        self._pass.add_file(f"records/{self.work.trial.trial_id}", ".json", canonical_json(names).encode())

    def add_copies(self, pairs: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Which samples copy which members, by extractor: names of records, for the study's owner alone."""
        if pairs:
            self._pass.add_file(f"copies/{self.work.trial.trial_id}", ".json", canonical_json(pairs).encode())

    def _add_roc(self, attacked: Attacked) -> None:
        """The picture of a trial's attacks that MLflow gets, drawn here and not by the one process that logs."""
        from study.tracking import pictures
        from study.tracking.run_content import ROC, run_name

        assert self._trial is not None
        trials = to_table("trials", [self._trial.to_dict()]).to_pandas()
        attacks = to_table("attacks", [row.to_dict() for row in attacked.rows]).to_pandas()
        scores = to_table("scores", joined(attacked.scores)).to_pandas()
        if picture := pictures.roc_picture(attacks, scores, run_name(trials, self.work.trial.budget)):
            self._pass.add_file(f"{ROC}/{self.work.trial.trial_id}", ".png", picture)

    def seal(self, attacked: Attacked, quality: Sequence[QualityRow] = (), peak_bytes: int | None = None) -> None:
        """Add what there is, and seal the pass unless that is nothing; Superseded if the trial is trained by now.

        peak_bytes: memory that the pass took, attacks included; None to leave what the training took.
        """
        if self._trial:
            row = self._trial if peak_bytes is None else replace(self._trial, peak_bytes=peak_bytes)
            self._pass.add("trials", [row.to_dict()])
        if quality:
            self._pass.add("quality", [row.to_dict() for row in quality])
        if attacked.rows:
            self._pass.add("attacks", [row.to_dict() for row in attacked.rows])
        if attacked.scores:
            self._pass.add("scores", joined(attacked.scores))
            if self._trial and self._tracked:
                self._add_roc(attacked)
        if self._trial or quality or attacked.rows:
            sealed = self._pass.seal(
                self.work.trial.trial_id,
                train=self.work.train,
                attacks=[row.attack_id for row in attacked.rows],
                measures=[row.measure_id for row in quality],
                flags=self._trial.flags if self._trial else None,
                training=self._training,
            )
            if sealed:
                return
            if self.work.train or self._store.training(self.work.trial.trial_id) != self._training:
                raise Superseded(f"{self.work.trial.name}: another attempt has sealed this training first")


def _grid(model: Model, count: int) -> bytes:
    """PNG of the first samples of the fixed stream."""
    from PIL import Image

    pixels = (_tiled((model.samples(count).cpu() + 1) / 2) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    with contextlib.closing(io.BytesIO()) as sink:
        Image.fromarray(pixels).save(sink, "PNG")
        return sink.getvalue()


def _tiled(x_NCHW: torch.Tensor, columns: int = 8) -> torch.Tensor:
    """Images in rows, in color, with a gray line between them and around: [3,h,w], as of torchvision's `make_grid`."""
    images = x_NCHW.expand(-1, 3, -1, -1)
    height, width = (size + 1 for size in images.shape[2:])
    across = min(columns, len(images))
    grid = images.new_full((3, height * -(-len(images) // across) + 1, width * across + 1), 0.5)
    for number, image in enumerate(images):
        top, left = height * (number // across) + 1, width * (number % across) + 1
        grid[:, top : top + height - 1, left : left + width - 1] = image
    return grid

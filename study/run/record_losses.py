"""How much better a target explains its members than records that it never saw: the mean loss of both."""

import math

import numpy as np
import torch

from mia_core.data import Membership
from mia_core.data.pool import to_float
from mia_core.models import Snapshot
from mia_core.streams import Streams
from mia_core.targets import PerRecord
from study.design.study_design import Design
from study.design.trials import Trial


def record_losses(design: Design, trial: Trial, snapshot: Snapshot, membership: Membership) -> dict[str, float | None]:
    """Columns `loss_members`, of judged members, and `loss_unseen`; None where there are none, or no loss of a record.

    Both are over the same draws of noise, so their difference depends little on them.
    """
    members = membership.queries[membership.member & design.split.judges(membership.queries)]
    sides = {"loss_members": members, "loss_unseen": design.split.unseen}
    return {column: _mean(design, trial, snapshot, records) for column, records in sides.items()}


def _mean(design: Design, trial: Trial, snapshot: Snapshot, records: np.ndarray) -> float | None:
    target = snapshot.target
    if not isinstance(target, PerRecord) or not len(records):
        return None
    images = to_float(torch.from_numpy(design.pool.images[records])).to(snapshot.device)
    mean = float(target.eval().mean_losses(images, Streams("record_losses", design.spec.seed, trial.replicate)).mean())
    return mean if math.isfinite(mean) else None

"""What a training reports while it runs."""

import pytest

from study.design.work import missing_of
from study.run import trajectory
from study.run.runner import Runner

FEW = ("factors.train_size=[40]", "factors.defense=[none]", "attacks=[random]", "quality.measures=[]", "replicates=1")


def reports(make_design, store, monkeypatch, *overrides, pause=0.0):
    """Calls of `progress` while one trajectory is run, with so many seconds between reports at least."""
    monkeypatch.setattr(trajectory, "PROGRESS_SECONDS", pause)
    found = []
    design = make_design(*FEW, *overrides)
    runner = Runner(design, store, progress=lambda step, steps, means: found.append((step, steps, dict(means))))
    list(runner.run(missing_of(next(iter(design.trajectories.values())), store)))
    return found


def test_progress_is_reported_once_per_epoch_with_the_losses_of_the_epoch(make_design, store, monkeypatch):
    found = reports(make_design, store, monkeypatch, "factors.epochs=[2, 3]")
    assert [(step, steps) for step, steps, _ in found] == [(3, 5), (5, 5), (8, 8)]
    for _, _, means in found:
        assert means.keys() >= {"loss_discriminator", "loss_generator"}
    assert len({means["loss_discriminator"] for _, _, means in found}) == 3


@pytest.mark.slow
def test_progress_is_reported_at_most_every_few_seconds(make_design, store, monkeypatch):
    found = reports(make_design, store, monkeypatch, "factors.epochs=[40]", pause=3600.0)
    assert len(found) <= 1


def test_a_level_inside_of_the_first_epoch_has_no_losses_yet(make_design, store, monkeypatch):
    factors = "factors={train_size: [40], steps: [2, 4], defense: [none]}"
    assert reports(make_design, store, monkeypatch, factors)[0] == (2, 2, {})

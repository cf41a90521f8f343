import dataclasses

import numpy as np
import pytest
import torch

from benchmarks import private_step, scale
from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.private_rules import COMPETITORS

TINY = ["--widths", "4", "--batches", "4", "--repeats", "1", "--report-only"]


def test_without_a_name_all_benchmarks_are_listed(capsys):
    assert main([]) == 0
    assert [line.split()[3] for line in capsys.readouterr().out.splitlines()] == list(BENCHMARKS)


def test_an_unknown_name_is_refused(capsys):
    assert main(["private"]) == 2
    assert "private_step" in capsys.readouterr().err


def test_private_step_prints_a_row_of_each_table(capsys):
    assert main(["private_step", *TINY]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| 4 ")]
    assert [(len(row), row[1]) for row in rows] == [(8, "4"), (7, "4"), (6, "64")]
    assert "not measured" not in str(rows)


@pytest.mark.parametrize("variant", ["opacus hooks", "opacus ghost", "torch.func"])
def test_private_step_times_nothing_when_a_variant_takes_another_step(variant, monkeypatch):
    right = COMPETITORS[variant]

    def wrong(network, optimizer, privacy):
        return right(network, optimizer, dataclasses.replace(privacy, clip=1.01 * privacy.clip))

    monkeypatch.setitem(COMPETITORS, variant, wrong)
    monkeypatch.setattr(private_step, "interleaved", lambda *_: pytest.fail("timed"))
    with pytest.raises(ValueError, match="not the same step"):
        private_step.main(TINY)


def test_about_half_of_the_records_of_a_private_step_are_clipped():
    stepper = private_step.Stepper(private_step.Cell("dcgan", 4, 64, "cpu"), "ours")
    clipped = private_step.gradient_norms(stepper.target, stepper.real) > stepper.rule.clip
    assert 16 <= clipped.sum() <= 48


def test_the_peak_of_a_step_counts_what_the_step_frees_again():
    peak = private_step.in_fresh_process(_peak_of_a_tensor, preload=["torch"])
    assert 31 < peak < 40


def _peak_of_a_tensor():
    torch.ones(2)
    return private_step.peak_megabytes(lambda: torch.ones(32 * 2**18), "cpu")


def test_private_step_names_where_ours_is_slower_or_larger_and_fails(monkeypatch, capsys):
    def doubled(steps, *_):
        return {variant: np.full(3, 2.0 if variant == "ours" else 1.0) for variant in steps}

    monkeypatch.setattr(private_step, "interleaved", doubled)
    monkeypatch.setattr(
        private_step, "peaks", lambda _, names: {name: 1.6 if name == "ours" else 1.0 for name in names}
    )
    asked = ["--widths", "4", "--batches", "32", "64"]
    assert private_step.main(asked) == 1
    failures = capsys.readouterr().out.split("\n\n")[-1].splitlines()
    longer = "ours takes 2.00 (2.00-2.00) times as long as"
    slower = [f"width 4, batch {batch}: {longer} {name}" for batch in (32, 64) for name in COMPETITORS]
    assert failures == [*slower, "width 4, batch 64: ours takes 1.60 times plain's memory"]
    assert private_step.main([*asked, "--report-only"]) == 0


def test_private_step_fails_where_memory_cannot_be_measured(monkeypatch, capsys):
    monkeypatch.setattr(private_step, "interleaved", lambda steps, *_: dict.fromkeys(steps, np.ones(3)))
    monkeypatch.setattr(private_step, "peaks", lambda _, variants: dict.fromkeys(variants))
    assert private_step.main(["--widths", "4", "--batches", "4"]) == 1
    assert "memory is not measured" in capsys.readouterr().out


STUDY = scale.Study(
    gpus=2, share=0.5, trials=40, levels=2, seconds_trial=5.0, spread=0.0,
    driver_trial=0.0, driver_trajectory=0.0, worker_trajectory=0.0,
)  # fmt: skip


def test_a_simulated_study_whose_driver_costs_nothing_keeps_all_slots_busy():
    run = scale.simulate(STUDY)
    assert run.seconds == pytest.approx(run.ideal) == pytest.approx(40 * 5 / 4)
    assert (run.slots_busy, run.driver_busy, run.wait_most) == (pytest.approx(1), 0, 0)


def test_a_simulated_study_whose_driver_is_slow_takes_as_long_as_the_driver():
    run = scale.simulate(dataclasses.replace(STUDY, driver_trial=100.0))
    assert run.seconds == pytest.approx(40 * 100 + 5)
    assert run.driver_busy == pytest.approx(4000 / 4005)
    assert run.wait_most > 100


def plainly_simulated(study, lengths):
    """The same, second for second looked for in a list."""
    waiting, free, end = list(lengths), 0.0, 0.0
    slots = [[study.worker_trajectory + waiting[0], study.levels, waiting.pop(0)] for _ in range(study.slots)]
    while slots:
        slot = min(slots, key=lambda one: one[0])
        free = max(free, slot[0]) + study.driver_trial
        slot[1] -= 1
        if slot[1]:
            slot[0] += slot[2]
        elif waiting:
            free += study.driver_trajectory
            slot[2] = waiting.pop(0)
            slot[0], slot[1] = free + study.worker_trajectory + slot[2], study.levels
        else:
            slots.remove(slot)
        end = max(end, free)
    return end


@pytest.mark.parametrize("driver", [0.01, 0.3, 3.0])
def test_a_simulated_study_takes_as_long_as_a_plain_simulation_of_it(driver):
    study = dataclasses.replace(
        STUDY, spread=0.7, driver_trial=driver, driver_trajectory=2 * driver, worker_trajectory=0.5
    )
    draws = np.random.default_rng(3).lognormal(-(0.7**2) / 2, 0.7, 20) * 5.0
    assert scale.simulate(study, seed=3).seconds == pytest.approx(plainly_simulated(study, draws))


def test_scale_prints_a_row_for_each_length_of_a_trial(capsys):
    assert main(["scale", "--gpus", "2", "--trials", "50", "--seconds", "1", "2"]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()[2:]] == ["1", "2"]

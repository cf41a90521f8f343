import dataclasses

import numpy as np
import pytest
import torch

from benchmarks import bookkeeping, private_step
from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.private_rules import COMPETITORS
from study.store import compact, read
from study.work import missing

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


def test_the_store_that_bookkeeping_makes_up_is_a_finished_study_and_every_step_reads_it(tmp_path, monkeypatch):
    monkeypatch.setattr(bookkeeping, "FRESH", 2)
    design = bookkeeping.design_of(24)
    store = bookkeeping.make_store(design, str(tmp_path))
    trials = {trial.trial_id for trial in design.every}
    assert not missing(design, store)
    assert set(read(store.root, store.study, "wide")["trial_id"]) == trials
    assert compact(store) == len(trials)
    for step in bookkeeping.STEPS.values():
        assert step(str(tmp_path), 24) is not None

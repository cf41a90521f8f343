import dataclasses

import pytest

from study.design.design_rows import design_rows
from study.design.work import missing
from study.plan.packing import GRAIN, NONE, Gpu, chosen, fixed, larger, memory, packed, peaks, pilots, share, together
from study.run.runner import Runner

GIB = 2**30
CARD = Gpu("card", 80 * GIB, GIB // 2)
FEW = ("factors.train_size=[40, 80]", "factors.epochs=[1]", "replicates=2", "attacks=[white_box]",
       "quality.measures=[]", "controls={blind: true, nulls: 1, copycat: true}",
       "factors.defense=[none, {name: dp_sgd, sigma: 1.0, clip: 1.0, delta: 1.0e-5}]")  # fmt: skip


@pytest.mark.parametrize("peak", [2**20, GIB, 7 * GIB, 15 * GIB, 39 * GIB, 79 * GIB, 200 * GIB])
@pytest.mark.parametrize("overhead", [0, GIB // 2, 3 * GIB])
def test_as_many_trials_as_fit_with_a_quarter_to_spare_and_one_at_least(peak, overhead):
    gpu = dataclasses.replace(CARD, overhead=overhead)
    count = together(gpu, peak)
    assert count == 1 or count * (overhead + 1.25 * peak) <= gpu.total
    assert (count + 1) * (overhead + 1.25 * peak) > gpu.total


@pytest.mark.parametrize("count", range(1, 50))
def test_ray_finds_room_for_that_many_shares_and_no_more(count):
    grains = round(share(count, [CARD], "").gpus * GRAIN)
    assert grains * count <= GRAIN < grains * (count + 1)


@pytest.mark.parametrize("count", range(1, 20))
def test_tensors_and_what_is_beside_them_fit_into_a_share(count):
    part = share(count, [CARD], "")
    if count > 1:
        assert count * (part.memory * CARD.total + CARD.overhead) <= CARD.total
    else:
        assert part.memory == 1


def test_the_smallest_gpu_decides_and_the_reason_is_said():
    small = Gpu("small", 24 * GIB, GIB)
    found = packed([CARD, small], 10 * GIB)
    assert (found.gpus, found.why) == (1.0, "1 at once on each: one took up to 10 GiB of the 24 GiB of small")
    assert memory(0.5, [CARD, small]) == 0.5 - 1 / 24
    assert packed([CARD], 10 * GIB).gpus == 0.1666


def test_a_share_that_is_known_to_be_too_small_is_refused_with_one_that_fits():
    assert fixed(0.25, [CARD], 19 * GIB).gpus == 0.25
    assert fixed(0.25, [CARD], 0).gpus == 0.25
    assert fixed(1.0, [CARD], 200 * GIB).memory == 1
    with pytest.raises(
        ValueError, match=r"0\.25 of the 80 GiB of card .* up to 20 GiB and 0\.5 GiB .* auto, or 0\.3333"
    ):
        fixed(0.25, [CARD], 20 * GIB)


def test_auto_takes_a_whole_gpu_where_nothing_was_measured_and_none_where_torch_sees_none():
    assert chosen("auto", [CARD], {}).gpus == 1
    assert chosen("auto", [], {}) == NONE
    assert chosen("auto", [CARD], {("a", 1): GIB, ("b", 2): 20 * GIB}) == packed([CARD], 20 * GIB)
    assert chosen(0.5, [], {}).gpus == 0.5


def test_shares_double_up_to_a_whole_gpu():
    part, seen = share(7, [CARD], ""), []
    while part.gpus < 1:
        part = larger(part, [CARD])
        seen.append(part.gpus)
    assert seen == [pytest.approx(0.2856), pytest.approx(0.5712), 1.0]


def test_each_kind_is_measured_once_at_its_most_records_and_never_again(make_design, store, monkeypatch):
    design = make_design(*FEW)
    store.publish(design.hash, design.spec.resolved, design_rows(design), {})
    todo = missing(design, store)
    assert peaks(design, store, [CARD]) == {}
    first = pilots(todo, {})
    chosen_trials = [todo[name][-1].trial for name in first]
    assert sorted((trial.cell.train_size, trial.cell.arm.label) for trial in chosen_trials) == [
        (80, "dp_sgd sigma=1"), (80, "none"),
    ]  # fmt: skip
    monkeypatch.setattr("study.run.trial_row.device_name", lambda device: CARD.name)
    for module in ("runner", "trial_row"):
        monkeypatch.setattr(f"study.run.{module}.peak_bytes", lambda device: 3 * GIB)
    for name in first:
        list(Runner(design, store).run(todo[name]))
    known = peaks(design, store, [CARD])
    assert set(known.values()) == {3 * GIB}
    assert pilots(missing(design, store), known) == []
    assert peaks(design, store, [Gpu("another", 1, 0)]) == {}
    more = make_design(*FEW, "factors.train_size=[40, 80, 100]", "split.panel=20", "target.width=5")
    assert len(pilots(missing(more, store), known)) == 2

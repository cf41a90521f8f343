import dataclasses
import io
import sys

import pytest

from study.design.work import missing
from study.outcomes import REFUSED
from study.plan import cost, disk, overview
from study.plan.outlook import Outlook
from study.plan.past import Past
from study.run import flow as sweep
from study.run.runner import Runner
from study.spec.section_models import ComputeSpec
from study.terminal import Console
from tests.commands import mia_study
from tests.small import SMALL

main = mia_study("sweep")


@pytest.fixture
def piloted(make_design, store):
    """A design, and a store that has the trajectory of a pilot, run in this process."""
    design = make_design()
    todo = missing(design, store)
    (works,) = cost.pilot(design, todo, Outlook.of(design, store, todo).estimate).values()
    list(Runner(design, store).run(works))
    return design, store


def outlook(design, store):
    return Outlook.of(design, store, missing(design, store))


def lines(found):
    return {line.partition(":")[0]: line for line in found.lines()}


def test_before_anything_was_timed_the_plan_says_so_and_limits_refuse_and_point_to_the_pilot(make_design, store):
    found = outlook(make_design(), store)
    assert "not known: nothing of this study was timed; --pilot" in lines(found)["time"]
    assert "cost" not in lines(found)
    said = "".join(found.lines())
    assert "SD of a difference in one replicate 0.023 to 0.033, as seen in studies of DCGANs" in said
    assert "power: 2 replicates settle nothing, for fewer than 5 are descriptive" in said
    (one, five) = ("".join(outlook(make_design(f"replicates={r}"), store).lines()) for r in (1, 5))
    assert "power: 1 replicate settles nothing" in one
    assert "power: 5 replicates settle a difference of AUC between two cells from 0." in five
    assert "in one contrast, 0." in five
    assert " by Holm over 7 declared contrasts at the first look; a difference of 0.02 takes " in five
    for limit in ({"max_hours": 5.0}, {"max_usd": 5.0}):
        with pytest.raises(ValueError, match="nothing of this study was timed; --pilot times one"):
            found.require(**limit)
        found.require(**limit, pilot=True)
    found.require()


def test_a_pilot_gives_an_estimate_that_limits_are_held_against(piloted):
    design, store = piloted
    design.spec = dataclasses.replace(design.spec, compute=ComputeSpec(usd_per_hour=2.0))
    found = outlook(design, store)
    hours = found.estimate.wall / 3600
    assert "of work" in lines(found)["time"]
    assert "2 an hour" in lines(found)["cost"]
    found.require(max_hours=hours * 1.01, max_usd=2 * hours * 1.01)
    with pytest.raises(ValueError, match=r"--max-hours \S+: about \S+ h are needed \(.* of work") as refused:
        found.require(max_hours=hours * 0.99)
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match=r"--max-cost \S+: about \S+ USD are needed"):
        found.require(max_usd=2 * hours * 0.99)


def test_a_limit_on_money_needs_a_price(piloted):
    with pytest.raises(ValueError, match=r"compute\.usd_per_hour"):
        outlook(*piloted).require(max_usd=1.0)


def test_a_disk_that_is_too_small_is_refused_with_both_numbers(make_design, store, monkeypatch):
    monkeypatch.setattr(disk, "free", lambda place: 123_000)
    with pytest.raises(ValueError, match=r"about \S+ MB will be written, and 123 kB are free"):
        outlook(make_design(), store).require()
    monkeypatch.setattr(disk, "free", lambda place: None)  # a bucket
    outlook(make_design(), store).require()


def test_a_damaged_store_is_planned_without_its_rows_and_the_plan_says_why(piloted):
    design, store = piloted
    file = next((store.folder / "trials").iterdir())
    file.write_bytes(file.read_bytes()[:-1])
    found = outlook(design, store)
    assert "note: past rows cannot be read" in "".join(found.lines())
    assert found.estimate.wall is None
    assert Past.of(store).damaged


def test_the_plan_prints_the_outlook(piloted):
    design, store = piloted
    console = Console(record=True, width=80, file=io.StringIO())
    overview.show(console, design, missing(design, store), outlook(design, store))
    shown = console.export_text()
    for word in ("time: about", "disk: about", "power: 2 replicates"):
        assert word in shown


def test_a_plan_with_an_attack_that_was_never_timed_says_at_least_how_long_and_keeps_limits(piloted, make_design):
    _, store = piloted
    found = outlook(make_design("attacks=[white_box, random]", "compute.usd_per_hour=1"), store)
    time, cost = (line for line in found.lines() if line.startswith(("time", "cost")))
    assert time.startswith("time: at least ") and "for Ray's start" in time
    assert time.endswith("and what was never timed: random; --pilot times one trajectory")
    assert cost.startswith("cost: at least ")
    with pytest.raises(ValueError, match=r"--max-hours 1e-06: at least \S+ h are needed"):
        found.require(max_hours=1e-6)
    with pytest.raises(ValueError, match=r"--max-cost 1e-06: at least \S+ USD are needed"):
        found.require(max_usd=1e-6)
    with pytest.raises(ValueError, match="a limit needs an estimate, and never timed: random"):
        found.require(max_hours=1000)
    found.require(max_hours=1000, pilot=True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--max-hours", "9"], "--pilot times one trajectory"),
        (["--max-cost", "9"], "--pilot times one trajectory"),
        (["--set", "compute.usd_per_hour=-1"], "compute.usd_per_hour"),
    ],
)
def test_a_sweep_that_is_refused_leaves_nothing(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL)
    assert main(["small.yaml", *words]) == REFUSED
    captured = capsys.readouterr()
    assert told in captured.err
    assert captured.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


@pytest.mark.parametrize("words", [["--max-hours", "nan"], ["--max-cost", "-1"], ["--plan", "--pilot"]])
def test_odd_flags_are_refused(words, capsys):
    with pytest.raises(SystemExit) as refused:
        main(words)
    assert refused.value.code == REFUSED


@pytest.mark.parametrize(("answer", "goes_on"), [("y", True), ("yes", True), ("", False), ("n", False)])
def test_a_terminal_is_asked_before_long_work_and_a_script_never(answer, goes_on, piloted, monkeypatch):
    design, store = piloted
    found = outlook(design, store)
    monkeypatch.setattr(sweep, "ASK_SECONDS", found.estimate.wall / 2)
    asked = []
    terminal = Console(file=io.StringIO(), force_terminal=True)
    monkeypatch.setattr(terminal, "input", lambda *words, **how: asked.append(words) or answer)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    if goes_on:
        sweep._ask(found, False, terminal)
    else:
        with pytest.raises(ValueError, match="not wanted"):
            sweep._ask(found, False, terminal)
    assert len(asked) == 1
    sweep._ask(found, True, terminal)
    sweep._ask(found, False, Console(file=io.StringIO()))
    monkeypatch.setattr(sweep, "ASK_SECONDS", found.estimate.wall * 2)
    sweep._ask(found, False, terminal)
    assert len(asked) == 1

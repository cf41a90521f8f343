"""The hostile cases of `python -m tests.hostile`: a few of each group here, all of them in `make test-faults`."""

from itertools import pairwise

import pytest

from tests.hostile.__main__ import GROUPS, main
from tests.hostile.counting import FAULTS, Outcome, Sample, asked, is_bug, table

FEW = {"damaged stores": 2, "JSON of stores": 8, "rows of stores": 6}
"""Cases of each group that the ordinary tests try."""


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("group", GROUPS)
def test_a_few_hostile_cases_of_each_group_end_in_no_fault(group, capsys):
    assert main([group], Sample(FEW.get(group, 8))) == 0, capsys.readouterr().out


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("group", GROUPS)
def test_no_hostile_case_ends_in_a_fault(group, capsys):
    assert main([group]) == 0, capsys.readouterr().out


def test_a_fault_is_counted_under_its_kind():
    outcomes = [Outcome("a kind", "x"), *(Outcome("a kind", "x", fault) for fault in FAULTS), Outcome("other", "x")]
    head, first, second = (line.split() for line in table(outcomes))
    assert head[0] == "kind"
    assert first == ["a", "kind", "5", "1", "1", "1", "1"]
    assert second == ["other", "1", "0", "0", "0", "0"]


def test_a_part_of_the_cases_is_spread_evenly_over_all_and_another_seed_takes_others():
    cases = list(range(1000))
    for most, widest in ((10, 250), (100, 30)):
        taken = sorted(number for number, _ in Sample(most).of(cases))
        assert len(set(taken)) == most
        assert max(b - a for a, b in pairwise([0, *taken, 1000])) < widest
    assert {number for number, _ in Sample(10, seed=1).of(cases)} != {number for number, _ in Sample(10).of(cases)}
    assert [case for _, case in Sample().of(cases)] == cases
    assert len(list(Sample(seconds=0.0).of(cases))) < 1000


def test_what_raises_or_calls_itself_a_bug_is_one():
    def raises():
        raise KeyError("x")

    assert is_bug(*asked(raises))
    assert is_bug(0, "This is a bug in mia-study")
    assert not is_bug(*asked(lambda: 2))

"""Some of what `python -m tests.hostile` makes of studies, cluster files and environments; all of it in the soak."""

import pytest

from tests.hostile.counting import Sample
from tests.hostile.odd_clusters import clusters
from tests.hostile.odd_environments import limits, variables
from tests.hostile.odd_studies import studies

SOME = {"studies": (studies, 60), "clusters": (clusters, 20), "variables": (variables, 12)}


def faults(outcomes):
    return [(outcome.fault, outcome.kind, outcome.case, outcome.words[-300:]) for outcome in outcomes if outcome.fault]


@pytest.mark.long
@pytest.mark.parametrize("name", SOME)
def test_some_odd_values_are_taken_as_written_or_refused_in_a_line_that_helps(name, tmp_path):
    group, most = SOME[name]
    found = list(group(tmp_path, Sample(most)))
    assert len(found) >= most
    assert faults(found) == []


def test_odd_limits_of_containers_leave_a_processor_and_memory(tmp_path):
    found = list(limits(tmp_path))
    assert len(found) > 400
    assert faults(found) == []


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SOME)
def test_so_are_all(name, tmp_path):
    assert faults(SOME[name][0](tmp_path)) == []

import contextlib

import pytest

from mia_core.data import load_pool
from study.design.data_shown import recorded
from study.design.design_rows import design_rows
from study.design.study_design import Design
from study.design.work import missing
from study.run.runner import Runner
from study.store import Store
from tests.commands import mia_study
from tests.shared import once
from tests.small import small_spec

LEAN = (
    "factors.train_size=[60]",
    "factors.epochs=[1]",
    "factors.defense=[none]",
    "split.panel=60",
    "attacks=[white_box]",
    "controls={nulls: 0, copycat: false, permutations: 99}",
)


@pytest.fixture(scope="session")
def page(swept):
    """The report of the small study, made where it was swept."""

    def make(folder):
        study = swept[0] / "results" / "small"
        with contextlib.chdir(swept[0]):
            assert mia_study("report")([str(study), "--out", str(folder / "report.html")]) == 0

    return (once("page", make)[0] / "report.html").read_text()


@pytest.fixture(scope="session")
def make_study(tmp_path_factory):
    """Runs a small real study with overrides of the leanest one, in this process; its store."""

    def make(*overrides):
        spec = small_spec(*LEAN, *overrides)
        design = Design(spec, load_pool(spec.data))
        store = Store(tmp_path_factory.mktemp("made") / "results", "small")
        about = {"data": recorded(spec, design.pool)}
        store.publish(design.hash, design.spec.resolved, design_rows(design), about)
        for works in missing(design, store).values():
            for sealed in Runner(design, store).run(works):
                assert not sealed.failed
        return store

    return make


@pytest.fixture(scope="session")
def lean(make_study):
    """One cell in five replicates, without quality: the least that has records at risk."""
    return make_study("replicates=5", "quality.measures=[]")

import pytest

from study.design.work import missing, missing_of
from study.plan import disk
from study.plan.past import Past
from study.run.runner import Runner
from study.store.places import Folder


def written(store):
    """Bytes below the study, by folder."""
    sizes = {}
    for path in store.folder.rglob("*"):
        if path.is_file():
            folder = path.relative_to(store.folder).parts[0]
            sizes[folder] = sizes.get(folder, 0) + path.stat().st_size
    return sizes


def test_bytes_by_arithmetic_are_those_that_a_trajectory_writes(make_design, store):
    design = make_design("replicates=1", "attacks=[white_box]")
    trials = design.trajectories[design.trials[0].trajectory_id]
    todo = {trials[0].trajectory_id: missing_of(trials, store)}
    needed = disk.needed(design, todo, Past.none(), 2)
    list(Runner(design, store).run(todo[trials[0].trajectory_id]))
    found = written(store)
    for folder in ("targets", "resume"):
        assert needed[folder] == pytest.approx(found[folder], rel=0.2)  # besides: headers
    for folder in ("trials", "attacks", "quality", "scores", "history", "samples", "done"):
        assert found[folder] <= needed[folder], folder


def test_bytes_of_tables_are_those_of_past_trials_twice_for_they_are_compacted(make_design, store):
    design = make_design("replicates=1", "attacks=[white_box]")
    trials = design.trajectories[design.trials[0].trajectory_id]
    list(Runner(design, store).run(missing_of(trials, store)))
    past = Past.of(store)
    left = missing(design, store)
    needed = disk.needed(design, left, past, 2)
    passes = sum(work.train for works in left.values() for work in works)
    assert needed["trials"] == pytest.approx(2 * passes * written(store)["trials"] / len(trials), abs=passes)
    assert disk.needed(design, {}, past, 2).total() == 0


def test_no_target_is_counted_where_none_is_kept(make_design, store):
    design = make_design("keep_targets=none")
    assert "targets" not in disk.needed(design, missing(design, store), Past.none(), 2)


def test_free_space_is_of_the_file_system_of_a_folder_that_may_not_exist_yet(tmp_path):
    assert disk.free(Folder(tmp_path / "not" / "yet")) > 0

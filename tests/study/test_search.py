import json
import signal
import subprocess
import time
from collections import Counter

import numpy as np
import pytest

from analysis.stats.summary import effects_of
from analysis.study_data import load
from mia_core.data import load_pool
from study.design.design_rows import design_rows
from study.design.points import points
from study.design.study_design import Design
from study.design.work import missing
from study.outcomes import COMPLETE, REFUSED
from study.run import search
from study.run.asking import ask
from study.run.runner import Runner
from study.spec.factors import Range
from study.spec.objectives import Objective, SearchSpec
from study.spec.study_file import parse
from study.spec.study_file import read as read_study
from study.store import Store, read
from study.store.seals import SWEPT
from tests.commands import MIA_STUDY, mia_study
from tests.small import SMALL, small_spec, sweep

main = mia_study("sweep")

GOALS = "[{minimize: white_box.auc}, {minimize: kid_domain_unseen}]"
SEARCH = (
    "factors={train_size: [40], epochs: {low: 1, high: 3}, defense: [none, dropout],"
    " training.learning_rate: {low: 1e-4, high: 1e-2, scale: log}}",
    f"search={{objectives: {GOALS}, points: 6, batch: 2}}",
    "attacks=[white_box]",
    "quality={measures: [kid], against: [unseen], samples: 40, extractor: {features: 8, width: 4, steps: 20}}",
    "controls={blind: false, nulls: 0, copycat: false}",
)


# Asking

LEVELS = {
    "rate": Range(low=1e-4, high=1e-2, scale="log"),
    "width": Range(low=4, high=16, kind="integer"),
    "arm": ["none", "weak", "strong"],
}


def settings(sampler, **more):
    objectives = [{"minimize": "a"}, {"maximize": "b"}]
    return SearchSpec(objectives=objectives, points=40, sampler=sampler, population=6, **more)


def known(point):
    """A trade-off in the width, of which a rate off 1e-3 and the weak arm spoil both sides."""
    loss = abs(np.log10(point["rate"]) + 3) + (point["arm"] == 1)
    return point["width"] / 16 + loss, point["width"] / 16 - loss


def asked(sampler, count, failing=()):
    found, values = [], []
    while len(found) < count:
        found += ask(settings(sampler), LEVELS, found, values, 2, seed=len(found))
        values += [None if n in failing else known(found[n]) for n in range(len(values), len(found))]
    return found, values


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_asked_points_are_levels_and_follow_from_what_is_known_alone(sampler):
    found, values = asked(sampler, 20, failing=(3, 4, 11))
    assert asked(sampler, 20, failing=(3, 4, 11)) == (found, values)
    for point in found:
        assert 1e-4 <= point["rate"] <= 1e-2
        assert point["rate"] == float(f"{point['rate']:.6g}")
        assert (type(point["width"]), type(point["arm"])) == (int, int)
        assert 4 <= point["width"] <= 16
        assert point["arm"] in (0, 1, 2)
    other = ask(settings(sampler), LEVELS, found, [None] * 20, 2, seed=20)
    assert other != ask(settings(sampler), LEVELS, found, values, 2, seed=20), "failures teach something else"


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_later_points_are_better_than_the_first_ones(sampler):
    found, _ = asked(sampler, 40)
    losses = [abs(np.log10(point["rate"]) + 3) + (point["arm"] == 1) for point in found]
    assert np.mean(losses[-15:]) < 0.7 * np.mean(losses[:10])


def test_an_auc_below_one_half_counts_as_one_half():
    # Else a search would chase attacks that are wrong by chance: .45 leaks no less than .5.
    auc, accuracy, kid = (Objective("minimize", name) for name in ("a.auc", "a.accuracy_top_n", "kid_domain_unseen"))
    assert [auc.of_mean(mean) for mean in (0.31, 0.5, 0.62)] == [0.5, 0.5, 0.62]
    assert [goal.of_mean(0.31) for goal in (accuracy, kid)] == [0.31, 0.31]


# The front


def test_the_front_is_what_nothing_else_is_better_than():
    rng = np.random.default_rng(0)
    goals = Objective("minimize", "a"), Objective("maximize", "b")
    values = [None if n % 9 == 0 else tuple(rng.integers(0, 5, 2).astype(float)) for n in range(60)]
    best = search.front(values, goals)

    def better(other, own):
        return other[0] <= own[0] and other[1] >= own[1] and other != own

    done = {n for n, own in enumerate(values) if own}
    assert set(best) == {n for n in done if not any(better(values[m], values[n]) for m in done)}
    assert 1 < len(best) < len(done)


# A search in this process


def searching(make_design, store, *overrides):
    """The design of the points that are there, or of the first ones."""
    spec = small_spec(*SEARCH, *overrides)
    return Design(search.begun(spec, store), make_design(*SEARCH[:1], "design={name: random, points: 1}").pool)


def publisher(store):
    return lambda design: store.publish(design.hash, design.spec.resolved, design_rows(design), {})


def go_on(design, store, stop=None, trained=None):
    """Run a search here; `stop`: after so many trajectories, as if its driver was killed."""
    trained = [] if trained is None else trained

    def run(design, todo):
        for name, works in todo.items():
            if len(trained) == stop:
                raise InterruptedError
            trained.append(name)
            list(Runner(design, store).run(works))

    return search.go_on(design, store, publisher(store), run)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A whole search: its design, its store, and what it trained."""
    store = Store(tmp_path_factory.mktemp("undisturbed") / "results", "small")
    spec = small_spec(*SEARCH)
    trained = []
    return go_on(Design(search.begun(spec, store), load_pool(spec.data)), store, trained=trained), store, trained


def test_a_search_tries_as_many_points_as_it_says_each_in_every_replicate(undisturbed):
    design, store, trained = undisturbed
    assert len(design.spec.points) == 6
    assert len(trained) == len(set(trained))
    assert {trial.role for trial in design.trials} == {"adaptive"}
    rows = points(store.folder.parent, "small")
    assert list(rows["point"]) == [*range(6), *range(6)]
    wide = read(store.folder.parent, "small", "wide")
    assert set(wide["trial_id"]) == set(rows["trial_id"]) == {trial.trial_id for trial in design.trials}
    means = rows.merge(wide, on="trial_id", suffixes=("", "_")).groupby("point")[["auc", "kid_domain_unseen"]].mean()
    told = search.outcomes(store, design.spec, read(store.folder.parent, "small", "design"))
    np.testing.assert_allclose(means.to_numpy(), told)


@pytest.mark.long
@pytest.mark.parametrize("stop", [1, 3, 5, 8])
def test_a_search_that_is_killed_anywhere_goes_on_to_the_same_points_and_repeats_no_finished_trial(
    make_design, store, undisturbed, stop
):
    whole, _, all_trained = undisturbed
    trained = []
    with pytest.raises(InterruptedError):
        go_on(searching(make_design, store), store, stop, trained)
    assert len(store.markers()) > 0
    design = go_on(searching(make_design, store), store, trained=trained)
    assert design.hash == whole.hash
    assert sorted(trained) == sorted(all_trained)


@pytest.mark.slow
def test_a_store_whose_pointer_is_lost_is_found_again_by_asking_again(make_design, store, undisturbed):
    whole, _, _ = undisturbed
    go_on(searching(make_design, store), store)
    (store.folder / "study.json").unlink()
    trained = []
    assert go_on(searching(make_design, store), store, trained=trained).hash == whole.hash
    assert trained == []


@pytest.mark.slow
def test_more_points_go_on_from_those_that_are_there(make_design, store, undisturbed):
    whole, _, _ = undisturbed
    first = f"search={{objectives: {GOALS}, points: 4, batch: 2}}"
    go_on(searching(make_design, store, first), store)
    trained = []
    design = go_on(searching(make_design, store), store, trained=trained)
    assert design.hash == whole.hash
    old = {trial.trajectory_id for trial in Design(parse(whole.spec.resolved), design.pool).trials[:4]}
    assert not old & set(trained)


@pytest.mark.slow
def test_a_point_that_diverges_is_told_as_failed_and_is_done(make_design, store):
    wild = "factors.training.learning_rate={low: 1e-3, high: 1e30, scale: log}"
    design = go_on(searching(make_design, store, wild, "replicates=1"), store)
    told = search.outcomes(store, design.spec, read(store.folder.parent, "small", "design"))
    assert len(told) == 6
    assert None in told
    done = store.done()
    assert all(done[trial.trial_id].diverged for number, trial in design.points if told[number] is None)
    assert not missing(design, store)


@pytest.mark.slow
def test_a_point_whose_arm_does_not_fit_its_target_has_no_outcome_and_ends_nothing(make_design, store):
    factors = (
        "factors={train_size: [40], epochs: [1], target: [{name: dcgan, width: 4, latent: 8},"
        " {name: began, width: 2, latent: 8}], defense: [none, {name: dp_sgd, clip: 1, delta: 1e-5}],"
        " defense.dp_sgd.sigma: {low: 0.5, high: 4}}"
    )
    design = go_on(searching(make_design, store, "target=~", factors, "replicates=1"), store)
    told = search.outcomes(store, design.spec, read(store.folder.parent, "small", "design"))
    drawn = design.spec.drawn
    refused = [bool(arm and target) for arm, target in zip(drawn["defense"], drawn["target"], strict=True)]
    assert [values is None for values in told] == refused
    assert 0 < sum(refused) < 6


def test_a_search_that_leaves_work_without_a_failure_was_stopped_and_asks_no_further(make_design, store):
    design = searching(make_design, store)
    assert search.go_on(design, store, publisher(store), lambda design, todo: None) is design


def test_points_of_other_factors_are_refused(make_design, store):
    publisher(store)(searching(make_design, store))
    with pytest.raises(ValueError, match="are of other factors; give the study another name"):
        searching(make_design, store, "factors.epochs={low: 1, high: 4}")


def test_a_searchs_trials_are_in_no_estimate_of_effects(undisturbed):
    _, store, _ = undisturbed
    with pytest.raises(ValueError, match=r"A search chose these points.*mia-study search"):
        effects_of(load(store.folder), "epochs", "white_box")


@pytest.mark.slow
def test_the_front_is_printed_with_the_way_to_confirm_a_point(undisturbed, capsys):
    design, store, _ = undisturbed
    assert mia_study("search")([str(store.folder)]) == 0
    printed = capsys.readouterr().out
    told = search.outcomes(store, design.spec, read(store.folder.parent, "small", "design"))
    best = search.front(told, design.spec.search.goals)
    assert f"{len(best)} of 6 points\n" in printed
    lines = [line.split() for line in printed.splitlines() if line.strip()[:1].isdigit()]
    assert sorted(int(line[0]) for line in lines) == best
    for number, *levels, auc, kid, trial in lines:
        assert (auc, kid) == tuple(f"{value:.4g}" for value in told[int(number)])
        assert trial in {trial.trial_id for point, trial in design.points if str(point) == number}
        assert levels[0] == ("none", "dropout")[design.spec.drawn["defense"][int(number)]]
    assert "values of its best points are optimistic" in printed
    assert "--confirm POINT > confirm.json" in printed


def test_a_confirmation_is_a_study_of_one_point_that_shares_no_draw_with_the_search(undisturbed, capsys):
    design, store, _ = undisturbed
    assert mia_study("search")([str(store.folder), "--confirm", "3"]) == 0
    spec = parse(json.loads(capsys.readouterr().out))
    (cell,) = spec.cells
    tried = design.spec.cells[design.spec.points[3][0]]
    assert (cell.train_size, cell.arm, cell.target, cell.training) == (
        tried.train_size, tried.arm, tried.target, tried.training,
    )  # fmt: skip
    assert spec.levels == (design.spec.points[3][1],)
    assert (spec.seed, spec.replicates, spec.study) == (design.spec.seed + 1, 5, "small_point3")
    confirming = Design(spec, design.pool)
    assert {trial.role for trial in confirming.trials} == {"study"}
    assert not {t.trial_id for t in confirming.trials} & {t.trial_id for t in design.trials}
    assert mia_study("search")([str(store.folder), "--confirm", "6"]) == 2
    assert "the search has points 0 to 5" in capsys.readouterr().err


def test_a_confirmation_keeps_results_tracking_and_compute_and_the_report_of_the_search_finds_it(
    make_design, store, tmp_path
):
    drawn = "{epochs: [1, 2], defense: [0, 1], training.learning_rate: [0.001, 0.002]}"
    goals = f"search={{objectives: {GOALS}, points: 2, batch: 2, drawn: {drawn}}}"
    apart = ("tracking=http://me:secret@host:5000", "experiment=ours", "compute={gpus_per_trial: 0, usd_per_hour: 2}")
    design = searching(make_design, store, goals, *apart)
    about = {SWEPT: search.swept(design.spec)}
    store.publish(design.hash, design.spec.resolved, design_rows(design), about)
    asked = search.confirmation(store, 1)
    assert "secret" not in json.dumps([asked, store.pointer()])
    (tmp_path / "confirm.json").write_text(json.dumps(asked))
    spec = read_study(tmp_path / "confirm.json")
    assert (spec.results, spec.tracking, spec.experiment) == (store.root, "http://host:5000", "ours")
    assert spec.compute == design.spec.compute
    assert Store(spec.results, spec.study).uri == f"{store.root}/small_point1", "where the search's report looks"
    store.publish(design.hash, design.spec.resolved, design_rows(design), {})  # as earlier versions did
    assert search.confirmation(store, 1).keys() == (asked.keys() - {"tracking", "experiment", "compute"})


def test_a_point_without_a_defense_is_confirmed_without_that_defenses_settings(make_design, store):
    factors = (
        "factors={train_size: [40], epochs: {low: 1, high: 2}, defense: [none, dropout],"
        " defense.dropout.rate: {low: 0.1, high: 0.5}}"
    )
    drawn = "{defense: [0, 1], defense.dropout.rate: [0.3, 0.4], epochs: [1, 2]}"
    goals = f"search={{objectives: {GOALS}, points: 2, batch: 2, drawn: {drawn}}}"
    publisher(store)(searching(make_design, store, factors, goals))
    bare, dropout = (parse(search.confirmation(store, number)) for number in (0, 1))
    assert [bare.cells[0].arm.label, dropout.cells[0].arm.label] == ["none", "dropout 0.4"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.objectives=[]", "at least 1 item"),
        ("search.objectives=[{minimize: white_box.auk}]", "did you mean 'white_box.auc'?"),
        ("search.objectives=[{minimize: kid_domain_members}]", "did you mean 'kid_domain_unseen'?"),
        ("search.objectives=[{minimise: white_box.auc}]", "'minimize' or 'maximize'"),
        ("search.objectives=[{minimize: white_box.auc, maximize: white_box.auc}]", "each is `minimize: name`"),
        ("search.sampler=tpo", "'tpe' or 'nsga2'"),
        ("search.points=0", "greater than 0"),
        ("design={name: random, points: 3}", "search: chooses its own points; leave `design` out"),
        ("factors={train_size: [40], epochs: [1]}", "search: needs a factor with a range or several levels"),
    ],
)
def test_a_wrong_search_is_refused_in_one_line(override, message):
    with pytest.raises(ValueError) as error:
        small_spec(*SEARCH, override)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_columns_of_attacks_with_levels_of_steps_are_objectives():
    attacks = "attacks=[{name: local_gan, steps: [2, 4], generated: 64}]"
    spec = small_spec(*SEARCH, attacks, "search.objectives=[{minimize: local_gan_steps4.tpr_at_1pct_fpr}]")
    assert spec.search.goals[0].attack == ("local_gan_steps4", "tpr_at_1pct_fpr")


# Under Ray

TINY = ("replicates=1", *SEARCH, f"search={{objectives: {GOALS}, points: 4, batch: 2}}")


@pytest.fixture
def arguments(tmp_path):
    (tmp_path / "small.yaml").write_text(SMALL)
    return [word for setting in TINY for word in ("--set", setting)]


def test_the_plan_of_a_search_tells_ranges_objectives_and_how_much_there_is_at_most(
    tmp_path, arguments, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["small.yaml", *arguments, "--plan"]) == COMPLETE
    printed = " ".join(capsys.readouterr().out.split())
    assert "search: minimize white_box.auc, minimize kid_domain_unseen; tpe, 2 points at once" in printed
    assert "search: at most 4 points x 1 replicates, of which 2 points are chosen so far" in printed
    assert "0.0001 to 0.01, log" in printed
    assert not (tmp_path / "results").exists()
    assert main(["small.yaml", *arguments, "--retry-failed"]) == REFUSED


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_search_goes_on_under_ray_and_no_trial_is_done_twice(tmp_path, arguments):
    command = [*MIA_STUDY, "sweep", "small.yaml", *arguments, "--set", "tracking=~"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    done = tmp_path / "results" / "small" / "done"
    deadline = time.monotonic() + 200
    while not list(done.glob("[!.]*.json")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    sealed = {path.name: path.read_bytes() for path in done.glob("[!.]*.json")}
    assert 0 < len(sealed) < 4
    again = sweep(tmp_path, *arguments)
    assert again.returncode == COMPLETE, again.stdout + again.stderr
    assert "Pareto front (minimize white_box.auc, minimize kid_domain_unseen): " in again.stdout
    assert f"next:     mia-study search {tmp_path}/results/small" in again.stdout
    assert {name: (done / name).read_bytes() for name in sealed} == sealed
    trials = read(tmp_path / "results", "small", "trials", all=True)
    rows = points(tmp_path / "results", "small")
    assert set(trials["trial_id"]) == set(rows["trial_id"])
    assert len(trials) == len(list(done.glob("[!.]*.json")))
    assert max(Counter(zip(rows["point"], rows["replicate"], strict=True)).values()) == 1
    assert list(rows["point"]) == list(range(4))

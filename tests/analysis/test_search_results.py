import json
import re
import shutil
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from analysis import plots
from analysis.notebooks.execution import FOLDER, SEARCHED, executing
from analysis.report import conditions
from analysis.report.building import build
from analysis.report.provenance import again
from analysis.stats.cells import cells
from analysis.stats.declared import declared
from analysis.stats.effects import means
from analysis.stats.indices import indices
from analysis.stats.scaling import onset, size_curve
from analysis.stats.search_results import Goal, Search, confirmed, search
from analysis.stats.sensitivity import main_effects
from analysis.stats.summary import effects_of, overview
from analysis.stats.tradeoff import equal_quality, front
from analysis.study_data import load
from mia_core.data import load_pool
from study.design.design_rows import design_rows
from study.design.study_design import Design
from study.design.work import missing
from study.run.runner import Runner
from study.run.search import begun, confirmation, go_on, outcomes
from study.run.search import front as best_of
from study.spec.study_file import parse
from study.store import Store, read
from study.store.exporting import export_public
from tests.analysis.synthetic import write_store
from tests.analysis.visible import text_of
from tests.commands import mia_study
from tests.small import small_spec

pytestmark = pytest.mark.long

notebooks = mia_study("notebooks")
report = mia_study("report")

GOALS = "objectives: [{minimize: white_box.auc}, {minimize: kid_domain_unseen}]"
FACTORS = (
    "factors={train_size: [40], epochs: {low: 1, high: 20, scale: log}, defense: [none, dropout],"
    " defense.dropout.rate: {low: 0.1, high: 0.7}, training.learning_rate: {low: 1.0e-4, high: 1.0e-2, scale: log}}"
)
DRAWN = (
    "drawn: {defense: [0, 1, 1, 0, 1, 0], defense.dropout.rate: [0.5, 0.2, 0.5, 0.3, 0.7, 0.4],"
    " epochs: [1, 2, 4, 8, 12, 16], training.learning_rate: [1.0e-4, 1.0e-3, 1.0e-2, 2.0e-3, 3.0e-3, 4.0e-4]}"
)
REAL = (
    "factors={train_size: [40], epochs: {low: 1, high: 3}, defense: [none, dropout],"
    " training.learning_rate: {low: 1e-4, high: 1e-2, scale: log}}",
    f"search={{{GOALS}, points: 4, batch: 2}}",
    "attacks=[white_box]",
    "quality={measures: [kid], against: [unseen], samples: 40, extractor: {features: 8, width: 4, steps: 20}}",
    "controls={blind: false, nulls: 0, copycat: false}",
)


def made(root, *overrides, goals=GOALS, **more):
    """A sealed search of six points whose scores are made: leakage grows with epochs, but for point 4; KID falls."""
    search_of = f"search={{{goals}, points: 8, batch: 3, {DRAWN}}}"

    leak = {1: 0.0, 2: 0.5, 4: 1.0, 8: 1.6, 12: 5.0, 16: 2.4}
    settings = (FACTORS, "replicates=3", search_of, *overrides)
    return write_store(root, lambda trial: leak[trial.epochs], overrides=settings, **more)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return made(tmp_path_factory.mktemp("made"))


def run(design, store):
    for works in missing(design, store).values():
        list(Runner(design, store).run(works))


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A small search that was really run, and a study beside it that confirms its first point; the search's store."""
    root = tmp_path_factory.mktemp("real") / "results"
    store = Store(root, "small")
    spec = small_spec(*REAL)
    design = Design(begun(spec, store), load_pool(spec.data))
    go_on(design, store, lambda one: publish(one, store), lambda one, todo: run(one, store))
    confirm(store, 0)
    return store


def publish(design, store):
    store.publish(design.hash, design.spec.resolved, design_rows(design), {})


def confirm(store, number, **changed):
    spec = parse({**confirmation(store, number), **changed})
    other = Store(store.root, spec.study)
    design = Design(spec, load_pool(spec.data))
    publish(design, other)
    run(design, other)
    return other


def shown(folder, tmp_path):
    out = tmp_path / "report.html"
    assert report([str(folder), "--out", str(out)]) == 0
    return text_of(out)


# What came out


@pytest.mark.slow
def test_points_and_front_are_those_that_the_search_itself_says(real):
    data = load(real.uri)
    found = search(data)
    told = outcomes(real, parse(data.resolved), read(real.root, "small", "design"))
    np.testing.assert_array_equal(found.table[["white_box.auc", "kid_domain_unseen"]].to_numpy(), told)
    assert list(found.table.index[found.table["on_front"]]) == best_of(told, parse(data.resolved).search.goals)
    for row in found.table.to_dict("records"):
        own = data.wide[data.wide["trial_id"].isin(row["trials"])]
        assert len(own) == data.replicates == 2
        assert own["auc"].mean() == pytest.approx(row["white_box.auc"])
        assert row["white_box.auc_low"] < row["white_box.auc"] < row["white_box.auc_high"]


@pytest.mark.slow
def test_a_setting_is_shown_only_for_arms_that_have_it(folder):
    table = search(load(folder)).table
    assert table["defense"].tolist() == ["none", "dropout", "dropout", "none", "dropout", "none"]
    assert table["defense.dropout.rate"].dropna().to_dict() == {1: 0.2, 2: 0.5, 4: 0.7}


@pytest.mark.slow
def test_the_front_leaves_out_what_another_point_beats_and_the_best_so_far_only_gets_better(folder):
    found = search(load(folder))
    assert list(found.front["point"]) == [0, 1, 2, 3, 5]
    leakage, kid = found.goals
    assert found.running(leakage).tolist() == [found.table["white_box.auc"][0]] * 6
    assert found.running(kid).tolist() == found.table["kid_domain_unseen"].tolist()
    turned = Search((Goal("a", "white_box", "a", minimized=False, leakage=False),), (), pd.DataFrame({"a": [2, 1, 3]}))
    assert turned.running(turned.goals[0]).tolist() == [2, 2, 3]


@pytest.mark.slow
def test_a_point_that_lacks_a_replicate_has_no_result(tmp_path):
    folder = made(tmp_path / "results", done=lambda trial: (trial.epochs, trial.replicate) != (1, 2))
    found = search(load(folder))
    assert np.flatnonzero(found.table["white_box.auc"].isna()).tolist() == [0]
    assert found.table.loc[0, ["white_box.auc_low", "kid_domain_unseen_high"]].isna().all()
    assert len(found.with_results) == 5 and 0 not in set(found.front["point"])
    text = shown(folder, tmp_path)
    assert "The sweep is not complete: 17 of 18 trials are there." in text
    assert "no result" in text and not re.search(r"\bnan\b", text.lower())
    assert mia_study("tables")([folder]) == 0
    assert mia_study("figures")([folder, str(tmp_path / "figures")]) == 0


@pytest.mark.slow
def test_a_search_without_any_whole_point_says_so(tmp_path, capsys):
    folder = made(tmp_path / "results", done=lambda trial: trial.replicate == 0)
    assert "No point has all of its results yet." in shown(folder, tmp_path)
    assert mia_study("tables")([folder]) == 0
    assert mia_study("figures")([folder, str(tmp_path / "figures")]) == 2
    assert "no point of the search has all of its results yet" in capsys.readouterr().err


# No effects


@pytest.mark.parametrize(
    "estimate",
    [
        lambda data: cells(data, "white_box", "auc"),
        lambda data: effects_of(data, "epochs", "white_box"),
        lambda data: main_effects(data, "white_box"),
        lambda data: declared(data),
        lambda data: indices(data, "white_box"),
        lambda data: front(data, "white_box"),
        lambda data: equal_quality(data, "white_box"),
        lambda data: onset(data, "white_box"),
        lambda data: size_curve(data, "white_box"),
    ],
)
def test_no_effect_is_estimated_from_a_search(folder, estimate):
    with pytest.raises(ValueError) as error:
        estimate(load(folder))
    words = str(error.value)
    assert words.startswith("A search chose these points by what came out, so no effect is estimated from them;")
    assert f"mia-study search {folder} shows the best, and with --confirm POINT" in words
    assert "\n" not in words


@pytest.mark.slow
def test_a_study_that_is_no_search_has_no_front_of_one(tmp_path):
    folder = write_store(tmp_path, lambda trial: 0.0)
    with pytest.raises(ValueError, match="study small is no search"):
        search(load(folder))


# Fresh replicates


@pytest.mark.slow
def test_a_confirmed_point_has_the_interval_of_replicates_that_the_search_has_not_seen(real, tmp_path):
    data = load(real.uri)
    found = search(data)
    fresh = confirmed(data, found)
    assert list(zip(fresh["point"], fresh["goal"], strict=True)) == [(0, "white_box.auc"), (0, "kid_domain_unseen")]
    other = load(Store(real.root, "small_point0").uri)
    assert not set(other.wide["trial_id"]) & set(data.wide["trial_id"])
    expected = means(other, other.wide.assign(one=0), "auc", ["one"]).iloc[0]
    assert fresh.loc[0, ["mean", "low", "high"]].tolist() == expected[["mean", "low", "high"]].tolist()
    assert fresh.loc[0, "replicates"] == 5
    assert fresh.loc[0, "searched"] == found.table.loc[0, "white_box.auc"]
    text = shown(real.uri, tmp_path)
    assert "Fresh replicates, which the search has not seen: white_box.auc of point 0 is" in text
    assert "is on another scale than in the search" in text


@pytest.mark.slow
def test_a_study_of_that_name_confirms_nothing_with_other_settings_the_same_seed_or_no_results(real, tmp_path):
    root = shutil.copytree(real.root, tmp_path / "results")
    store = Store(root, "small")
    data = load(store.uri)
    found = search(data)
    assert len(confirmed(data, found)) == 2
    shutil.rmtree(Store(root, "small_point0").folder)
    assert confirmed(data, found).empty
    assert "No point was confirmed yet" in shown(store.uri, tmp_path)
    spec = confirmation(store, 0)
    for changed in ({"seed": spec["seed"] - 1}, {"training": {**spec["training"], "batch_size": 8}}):
        other = confirm(store, 0, **changed, replicates=1)
        assert confirmed(data, found).empty
        shutil.rmtree(other.folder)
    design = Design(parse(spec), load_pool(small_spec(*REAL).data))
    publish(design, Store(root, "small_point0"))
    assert confirmed(data, found).empty


# Pages, tables, pictures


@pytest.fixture(scope="module")
def page(folder, tmp_path_factory):
    return shown(folder, tmp_path_factory.mktemp("page"))


def test_the_report_is_of_points_and_estimates_no_effect(folder, page):
    assert "no effect is estimated from them" in page
    assert "values of its best points are optimistic" in page
    assert "5 of 6 points are beaten by no other in white_box.auc and kid_domain_unseen: point 0 with" in page
    assert "6 of 8 points asked" in page
    assert "6 of 6 points, in the order asked" in page
    effects = ("Main effects", "Declared contrasts", "What doubling", "log odds", "(not corrected)")
    for left in (*effects, "Who is at risk"):
        assert left not in page
    assert "Controls: whether to believe this" in page and "How it was run" in page
    assert not re.search(r"\bnan\b", page.lower())
    assert folder.rpartition("/small")[0] not in page  # a page that is sent names no folder of this machine


@pytest.mark.slow
def test_every_point_is_computed_again_from_the_rows_that_its_source_selects(folder):
    built = build(folder)
    built.html()
    data = load(folder)
    wide = read(data.store.root, data.name, "wide").dropna(subset=["auc"])
    rows = data.attack("white_box").assign(cell=0)
    of_points = [rows[rows["trial_id"].isin(trials)] for trials in search(data).with_results["trials"]]
    points_of = [one for one in built.ledger.sources if one.code.startswith("again(")]
    assert len(points_of) == 2 * 6
    for value in ("auc", "kid_domain_unseen"):
        own = [one.code for one in points_of if repr(value) in one.code]
        found = [eval(code, {"again": again, "rows": conditions.rows, "data": data})["value"] for code in own]
        assert sorted(found) == pytest.approx(sorted(means(data, own, value, ["cell"])["mean"][0] for own in of_points))
    for one in built.ledger.sources:
        assert len(one.where.select(wide)) == one.rows


@pytest.mark.slow
def test_tables_are_of_points_with_intervals(folder, capsys):
    assert mia_study("tables")([folder]) == 0
    said = capsys.readouterr().out
    assert "18 trials were chosen by a search" in said and "--confirm POINT makes a study of one." in said
    assert "### The search: 6 of 8 points asked: minimize white_box.auc, minimize kid_domain_unseen" in said
    assert "| training.learning_rate | 0.0001 to 0.01, log |" in said
    every = said.split("### Every point, in the order asked")[1].strip().splitlines()
    assert len(every) == 2 + 6
    assert re.fullmatch(r"\| 0 \| none \| - \| 1 \| 0.0001 \| 0\.\d+ \[0\.\d+, 0\.\d+\] \| .* \| 3 \|", every[2])
    assert "Shares of variance" not in said and "nan" not in said
    assert overview(load(folder)).loc["epochs", ""] == "1 to 20, log, whole"


@pytest.mark.slow
def test_the_notebook_of_searches_is_shown_and_the_others_say_in_a_line_that_they_do_not_fit(real, tmp_path, capsys):
    root = shutil.copytree(real.root, tmp_path / "results")
    assert notebooks([str(root / "small")]) == 0
    said = capsys.readouterr().out
    assert said.count(SEARCHED) == 5
    page = (root / "small" / "reports" / "06_search.html").read_text()
    assert page.count('src="data:image/png') == 3
    assert "small_point0" in page
    with executing(root / "small") as execute:
        opened = execute(FOLDER / "01_sensitivity.ipynb")  # by hand it has a line where it has no effect
    outputs = [output for cell in opened.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error"]
    assert sum("A search chose these points" in json.dumps(output) for output in outputs) == 7  # no cell cuts it


@pytest.mark.slow
def test_pictures_have_steps_along_the_front_and_log_axes_where_ranges_are(folder, tmp_path):
    assert mia_study("figures")([folder, str(tmp_path)]) == 0
    assert {path.stem for path in tmp_path.iterdir()} == {"search_front", "running_best", "points"}
    data = load(folder)
    found = search(data)
    (axis,) = plots.front_of_search(data, found).axes
    (steps,) = [line for line in axis.lines if line.get_drawstyle().startswith("steps")]
    x, y = np.asarray(steps.get_xdata(), float), np.asarray(steps.get_ydata(), float)
    assert all(before < after for before, after in pairwise(x)) and all(before > after for before, after in pairwise(y))
    assert steps.get_drawstyle() == "steps-post"
    grid = plots.goals_by_factor(data, found).axes
    scales = {axis.get_xlabel(): axis.get_xscale() for axis in grid if axis.get_xlabel()}
    assert {name for name, scale in scales.items() if scale == "log"} == {"epochs", "training.learning_rate"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("goals", "pictures"),
    [
        ("objectives: [{maximize: white_box.auc}]", {"running_best", "points"}),
        (
            "objectives: [{minimize: kid_domain_unseen}, {maximize: white_box.advantage}, {minimize: white_box.auc}]",
            {"search_front", "running_best", "points"},
        ),
    ],
)
def test_one_goal_or_three_and_what_is_maximized_have_a_report(goals, pictures, tmp_path):
    folder = made(tmp_path / "results", goals=goals)
    found = search(load(folder))
    assert mia_study("figures")([folder, str(tmp_path / "figures")]) == 0
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == pictures
    text = shown(folder, tmp_path)
    assert not re.search(r"\bnan\b", text.lower())
    assert mia_study("tables")([folder]) == 0
    if len(found.goals) == 1:
        assert list(found.front["point"]) == [found.table["white_box.auc"].idxmax()] == [4]
        assert "The best of 6 points in white_box.auc is point 4 (defense dropout" in text
    else:
        assert len(plots.front_of_search(load(folder), found).axes) == 3
        named = {int(number) for number in re.findall(r"point (\d+) with 0", text)}
        assert named and named <= set(found.front["point"])


@pytest.mark.slow
def test_a_public_copy_of_a_search_and_one_over_steps_are_read_too(real, tmp_path, capsys):
    export_public(real, tmp_path / "public")
    assert "A public copy has no scores" in shown(tmp_path / "public", tmp_path)
    steps = FACTORS.replace("epochs", "steps")
    drawn = f"search={{{GOALS}, points: 8, batch: 3, {DRAWN.replace('epochs', 'steps')}}}"
    over_steps = write_store(tmp_path / "results", lambda trial: 0.1 * trial.steps, overrides=(steps, drawn))
    assert load(over_steps).budget == "steps"
    assert "epochs" not in shown(over_steps, tmp_path)
    capsys.readouterr()
    assert mia_study("tables")([over_steps]) == 0
    assert "| steps | 1 to 20, log, whole |" in capsys.readouterr().out

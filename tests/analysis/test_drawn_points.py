import re
import shutil
from html import unescape

import numpy as np
import pandas as pd
import pytest

from analysis import tables
from analysis.notebooks.execution import DRAWN
from analysis.report import conditions
from analysis.report.building import build
from analysis.report.provenance import again
from analysis.report.shown import Shown
from analysis.report.sources import Source
from analysis.report.variance_shares import influence_table
from analysis.stats.drawn_points import LEFT_OUT, Influence, by_point, influences, varied
from analysis.stats.effects import means
from analysis.stats.indices import COLUMNS
from analysis.stats.inference import AUC
from analysis.stats.summary import overview
from analysis.study_data import load
from study.design.points import points
from study.store import read
from tests.commands import mia_study

pytestmark = pytest.mark.long

notebooks = mia_study("notebooks")
report = mia_study("report")

RANGES = (
    "factors.epochs={low: 1, high: 4}",
    "factors.training.learning_rate={low: 1.0e-4, high: 2.0e-2, scale: log}",
    "replicates=2",
    "quality.measures=[kid]",
    "quality.against=[unseen]",
)
BASE = 4


@pytest.fixture(scope="module")
def sobol(make_study):
    return make_study(*RANGES, f"design={{name: sobol, points: {BASE}, second_order: false}}").uri


@pytest.fixture(scope="module")
def page(sobol, tmp_path_factory):
    return shown(sobol, tmp_path_factory.mktemp("page"))


def shown(folder, tmp_path):
    out = tmp_path / "report.html"
    assert report([str(folder), "--out", str(out)]) == 0
    page = re.sub(r"</?abbr[^>]*>", "", out.read_text())
    return unescape(" ".join(re.sub(r"<(style|script)>.*?</\1>|<[^>]+>", " ", page, flags=re.S).split()))


def made(*rows, reason=None, noise=0.1):
    """Influences on leakage with these totals: (factor, estimate, low, high)."""
    whole = {"method": "sobol", "index": "total", "points": 64, "replicates": 5}
    lines = [{**whole, **dict(zip(("factor", "estimate", "low", "high"), row, strict=True))} for row in rows]
    lines += [{**whole, "index": "noise", "estimate": noise}] if noise is not None else []
    table = pd.DataFrame(lines, columns=list(COLUMNS))
    table.attrs["reason"] = reason
    return Influence(AUC, table)


def test_a_point_is_the_mean_of_its_trials(sobol):
    data = load(sobol)
    assert data.drawn
    found = by_point(data, "white_box", AUC)
    assert len(found) == BASE * (2 + 2)
    own = points(data.store.root, data.name)
    for row in found.to_dict("records"):
        there = own[own["point"] == row["point"]]
        assert set(row["trials"]) == set(there["trial_id"])
        assert row["epochs"] == there["epochs"].iloc[0]
        rows = data.wide[data.wide["trial_id"].isin(row["trials"])]
        assert row["mean"] == pytest.approx(means(data, rows.assign(one=0), AUC, ["one"])["mean"].item())
        assert row["replicates"] == 2


def test_totals_are_those_of_the_formula_and_the_same_each_time(sobol):
    data = load(sobol)
    first, again_ = influences(data, "white_box"), influences(data, "white_box")
    assert [one.value for one in first] == [AUC, "kid_domain_unseen"]
    for one, other in zip(first, again_, strict=True):
        pd.testing.assert_frame_equal(one.table, other.table)
    own = points(data.store.root, data.name)
    scale = dict(zip(data.wide["trial_id"], data.wide["auc"], strict=True))
    y = [np.mean([scale[trial] for trial in rows["trial_id"]]) for _, rows in own.groupby("point")]
    a, b = (np.array([y[4 * base + place] for base in range(BASE)]) for place in (0, 3))
    totals = first[0].table[first[0].table["index"] == "total"].set_index("factor")["estimate"]
    noise = first[0].noise  # which every total index has on top
    for place, name in enumerate(varied(data), start=1):
        crossed = np.array([y[4 * base + place] for base in range(BASE)])
        jansen = ((a - crossed) ** 2).mean() / 2 / np.concatenate([a, b]).var()
        assert totals[name] == pytest.approx(jansen - noise)


def test_tables_are_of_indices_and_points_and_say_what_is_left_out(sobol, capsys):
    assert mia_study("tables")([sobol]) == 0
    said = capsys.readouterr().out
    assert LEFT_OUT in said
    assert "The design: 16 points of a Sobol design (4 base points) of 2 factors" in said
    assert "| training.learning_rate | 0.0001 to 0.02, log |" in said
    assert len(re.findall(r"^### Shares of variance .*\(sobol, 16 points, 2 replicates\)$", said, re.M)) == 2
    assert said.count("| total |") == said.count("| first |") == 4
    assert "Main effects" not in said and "nan" not in said


def test_the_report_is_of_indices_and_says_what_is_left_out(sobol, page):
    assert LEFT_OUT in page
    assert "of 16 points and" in page
    assert re.search(r"What moves leakage most|Which factor moves leakage most is not settled", page)
    assert re.search(r"What moves KID most|Which factor moves KID most is not settled", page)
    assert "Indices of each factor with 95 % intervals" in page
    assert "16 of 16 points" in page
    assert "AUC over epochs, a panel an arm" not in page and "Mean AUC over size and epochs" not in page
    assert not re.search(r"\bnan\b", page.lower())


@pytest.mark.slow
def test_every_point_is_computed_again_from_the_rows_that_its_source_selects(sobol):
    built = build(sobol)
    built.html()
    data = load(sobol)
    low, high = (by_point(data, "white_box", AUC)["mean"].agg(end) for end in ("min", "max"))
    assert [tile.big.text for tile in built.tiles[:2]] == [f"{high:.3f}", f"{low:.3f}"]
    wide = read(data.store.root, data.name, "wide").dropna(subset=[AUC])
    points_of = [one for one in built.ledger.sources if one.code.startswith("again(") and ": point " in one.what]
    for value in (AUC, "kid_domain_unseen"):
        own = [one.code for one in points_of if repr(value) in one.code]
        found = [eval(code, {"again": again, "rows": conditions.rows, "data": data})["value"] for code in own]
        assert sorted(found) == pytest.approx(sorted(by_point(data, "white_box", value)["mean"]))
    for one in built.ledger.sources:
        assert len(one.where.select(wide)) == one.rows


@pytest.mark.slow
def test_the_first_notebook_shows_it_and_the_others_say_that_they_do_not_fit(sobol, tmp_path, capsys):
    folder = shutil.copytree(sobol, tmp_path / "small")
    assert notebooks([str(folder)]) == 0
    said = capsys.readouterr().out
    assert said.count(DRAWN) == 4
    html = (folder / "reports" / "01_sensitivity.html").read_text()
    assert html.count('src="data:image/png') == 3
    assert html.count(LEFT_OUT) == 5
    assert overview(load(folder)).loc["epochs", ""] == "1 to 4, whole"


def test_pictures_are_of_points(sobol, tmp_path):
    assert mia_study("figures")([sobol, str(tmp_path)]) == 0
    assert {path.stem for path in tmp_path.iterdir()} == {"points", "indices", "points_quality"}


@pytest.mark.slow
def test_points_without_results_leave_indices_out_and_say_why(sobol, tmp_path):
    folder = shutil.copytree(sobol, tmp_path / "small")
    lost = set(points(tmp_path, "small").query("point == 3")["trial_id"])
    shutil.rmtree(folder / "compacted", ignore_errors=True)
    for trial in lost:
        for marker in (folder / "done").glob(f"{trial}-*"):
            marker.unlink()
    assert not lost & set(read(tmp_path, "small", "trials")["trial_id"])
    text = shown(folder, tmp_path)
    assert "What moves leakage is not known: no replicate has white_box at all 16 points." in text
    assert "2 trials of the design are missing" in text
    assert mia_study("tables")([str(folder)]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["random", "latin_hypercube"])
def test_random_and_latin_hypercube_designs_have_importances_of_numbers_and_arms(name, make_study, tmp_path, capsys):
    defense = "factors.defense=[none, {name: dropout, rate: 0.5}]"
    folder = make_study(*RANGES[:4], defense, f"design={{name: {name}, points: 8}}", "quality.against=[unseen]").uri
    assert mia_study("tables")([folder]) == 0
    said = capsys.readouterr().out
    assert "(fanova, 8 points, 2 replicates)" in said
    assert "| defense | none, dropout |" in said
    assert said.count("| importance |") == 6
    assert "fANOVA importance" in shown(folder, tmp_path)
    assert mia_study("figures")([folder, str(tmp_path)]) == 0


@pytest.mark.slow
def test_one_replicate_of_few_points_without_quality_says_so(make_study, tmp_path):
    overrides = (*RANGES[:2], "replicates=1", "quality.measures=[]", "design={name: random, points: 3}")
    folder = make_study(*overrides).uri
    text = shown(folder, tmp_path)
    assert "What moves leakage is not known: indices take 8 points or more, not 3." in text
    assert "No quality was measured." in text
    assert mia_study("tables")([folder]) == 0
    assert mia_study("figures")([folder, str(tmp_path)]) == 0


def test_the_order_of_factors_is_settled_only_where_intervals_are_apart():
    assert made(("a", 0.7, 0.5, 0.9), ("b", 0.2, 0.1, 0.3)).settled
    assert not made(("a", 0.7, 0.2, 0.9), ("b", 0.2, 0.1, 0.3)).settled
    assert not made(("a", 0.7, -0.1, 1.5), ("b", -0.3, -0.4, -0.2)).settled
    assert not made(("a", 0.7, float("nan"), float("nan")), ("b", 0.2, 0.1, 0.3)).settled
    # All rivals count: the third one's interval reaches further than the second one's.
    assert not made(("a", 0.7, 0.5, 0.9), ("b", 0.2, 0.1, 0.3), ("c", 0.1, -0.4, 0.6)).settled
    assert made(("a", 0.7, 0.5, 0.9)).settled
    assert made(("b", 0.2, 0.1, 0.3), ("a", 0.7, 0.5, 0.9)).ranked["factor"].tolist() == ["a", "b"]


def test_noise_and_one_replicate_are_doubts():
    rows = (("a", 0.7, 0.5, 0.9), ("b", 0.2, 0.1, 0.3))
    assert made(*rows).doubts() == []
    assert "60% of the points' variance in leakage is noise" in made(*rows, noise=0.6).doubts()[0]
    assert "cannot be estimated from one replicate" in made(*rows, noise=None).doubts()[0]
    unpredicted = pd.DataFrame([{"index": "unpredicted", "estimate": 0.7}])
    forest = made(*rows)
    forest = Influence(forest.value, pd.concat([forest.table, unpredicted]))
    forest.table.attrs["reason"] = None
    assert "The forest predicts 30% of the points' variance in leakage" in forest.doubts()[0]
    assert made(reason="so").doubts() == ["What moves leakage is not known: so."]


def test_shares_that_noise_hides_are_dashes():
    hidden = made(("a", float("nan"), float("nan"), float("nan")))
    assert tables.shares(hidden)["share [95 %]"].iloc[0] == "-"
    origin = Source("shares", "wide", conditions.Condition.of({}), 0, 0, Shown(""))
    shown = influence_table("shares", "Shares", [hidden], [origin]).rows[0].cells
    assert shown[-1].text == "-"


@pytest.mark.slow
def test_a_factorial_has_shares_of_its_cells(make_study, tmp_path, capsys):
    folder = make_study("factors.epochs=[1, 3]", "factors.train_size=[40, 60]", "replicates=3", "quality.measures=[]")
    assert not load(folder.uri).drawn
    assert mia_study("tables")([folder.uri]) == 0
    said = capsys.readouterr().out
    assert "### Shares of variance (exploratory): AUC of white_box (anova, 4 points, 3 replicates)" in said
    assert "| train_size | epochs | second |" in said
    assert LEFT_OUT not in said
    assert "Shares of the cells' variance (exploratory) (4 points, 3 replicates, anova)" in shown(folder.uri, tmp_path)

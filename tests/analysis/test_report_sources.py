"""Numbers of a report against its store: read back from the page, and computed again by plain pandas from Parquet."""

import ast
import random
import re
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import t

from analysis.report.sources import condition
from analysis.study_data import ARM, StudyData
from tests.analysis.synthetic import GRID, draw, study

NAMED = {
    *(
        "target",
        "arm",
        "n",
        "epochs",
        "contrast",
        "effect",
        "attack",
        "strongest attack",
        "access",
        "control",
        "audit",
        "verdict",
        "class",
    ),
    *("cell", "arm and epochs", "limit", "choose", "of", "factor", "index", "record of the pool", "leakage"),
}
"""Columns that say what a row is of; all others have numbers of the store."""
NUMBER = re.compile(r"[+-]?\d[\d,]*\.?\d*(?:e[+-]?\d+)?")


class Traced(HTMLParser):
    """cited: (source, text, names of the row, column) of every underlined number. sources: by number, what each says.

    bare: numbers in tables without a source.
    """

    def __init__(self, page):
        super().__init__()
        self.cited, self.sources, self.bare = [], {}, []
        self._inside, self._heads, self._row, self._entry, self._cell = [], [], {}, None, ""
        self.feed(page.replace("<br>", "\n"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag in ("a", "td", "th", "li", "code", "style", "script", "pre", "svg"):
            self._inside.append((tag, attrs))
        if tag == "table":
            self._heads = []
        if tag == "th":
            self._heads.append("")
        if tag == "tr":
            self._row, self._column = {}, 0
        if tag == "td":
            self._cell = ""
        if tag == "li" and "data-rows" in attrs:
            self._entry = self.sources[int(attrs["id"].removeprefix("source-"))] = {"said": ""}

    def handle_endtag(self, tag):
        if self._inside and self._inside[-1][0] == tag:
            self._inside.pop()
        if tag == "td":
            name = self._heads[self._column]
            self._row[name] = self._cell
            linked = any(one[3] is self._row and one[2] == name for one in self.cited)
            if name not in NAMED and re.search(r"\d", self._cell) and not linked:
                self.bare.append((name, self._cell))
            self._column += 1
        if tag == "li":
            self._entry = None

    def handle_data(self, data):
        tags = [tag for tag, _ in self._inside]
        if "th" in tags:
            self._heads[-1] += data
        if "td" in tags:
            self._cell += data
        if "a" in tags and self._inside[-1][1].get("class") == "num":
            number = int(self._inside[-1][1]["href"].removeprefix("#source-"))
            in_table = "td" in tags
            self.cited.append((number, data, self._heads[self._column] if in_table else None, self._row))
        if self._entry is not None:
            kind = self._inside[-1][1].get("class", "said") if self._inside[-1][0] == "code" else "said"
            self._entry[kind] = self._entry.get(kind, "") + data


@pytest.fixture(scope="module")
def folder(swept):
    return swept[0] / "results" / "small"


@pytest.fixture(scope="module")
def traced(page):
    return Traced(page)


@pytest.fixture(scope="module")
def parquet(folder):
    """Tables of a store, by pandas alone, each row once."""

    def table(name, keys):
        files = sorted((folder / name).glob("*.parquet"))
        return pd.concat([pd.read_parquet(file) for file in files]).drop_duplicates(keys)

    quality = table("quality", ["trial_id", "measure_id"])
    names = quality["measure"] + "_" + quality["extractor"] + "_" + quality["against"]
    measured = quality.assign(name=names).pivot(index="trial_id", columns="name", values="value").reset_index()
    attacks = table("attacks", ["trial_id", "attack_id"]).rename(columns={"steps": "attack_steps", "flags": "noted"})
    wide = table("trials", ["trial_id"]).merge(attacks, on="trial_id").merge(measured, on="trial_id", how="left")
    return wide, table("scores", ["trial_id", "attack_id", "query"])


def test_every_number_in_a_table_has_a_source(traced):
    assert traced.bare == []
    assert len(traced.cited) > 250
    assert {number for number, *_ in traced.cited} == set(traced.sources)


def test_every_picture_names_the_rows_it_shows_but_for_those_whose_table_is_below(page):
    shown = r"<figure>.*?<title>(.*?)</title>.*?(Rows of the store)?(?:</a>)?</figcaption></figure>(?=(.{25}))"
    figures = re.findall(shown, page, re.S)
    assert len(figures) >= 11
    for title, rows, following in figures:
        below = title in ("Declared contrasts with 95 % intervals", "epsilon accounted, proved and provable")
        assert bool(rows) != below, title
        assert '<p class="caption">' in following or not below


def selected(wide, text):
    """What a shown call of `rows` selects, by plain pandas: levels of all columns, and of one of several mappings."""
    call = ast.parse(text, mode="eval").body
    assert call.func.id == "rows"
    every, *either = [ast.literal_eval(argument) for argument in call.args[1:]]
    parts = [wide[(wide[list(one)].isin(one)).all(axis=1)] for one in [every, *(either[0] if either else [])]]
    kept = set(parts[0].index) & (set().union(*(part.index for part in parts[1:])) if either else set(wide.index))
    return wide.loc[sorted(kept)]


@pytest.mark.long
def test_every_source_selects_as_many_rows_of_the_parquet_files_as_it_says(traced, parquet):
    wide = parquet[0].dropna(subset=["auc"]).reset_index(drop=True)
    for entry in traced.sources.values():
        rows = selected(wide, entry["where"])
        told = re.search(r"\((\d+) rows? of (\d+) trials?\)", entry["said"])
        assert (len(rows), rows["trial_id"].nunique()) == (int(told[1]), int(told[2])), entry
        assert len(rows)


@pytest.mark.slow
def test_the_python_of_a_source_gives_the_numbers_that_cite_it(traced, page, folder, monkeypatch):
    monkeypatch.chdir(folder.parent.parent)
    names = {}
    exec(unescape(re.search(r"<pre>(from .*?)</pre>", page, re.S)[1]), names)
    for number, entry in traced.sources.items():
        if entry["again"].startswith("data.wide.groupby"):
            continue  # time and memory are sums
        assert len(eval(entry["where"], names)) >= len(selected(names["data"].wide, entry["where"]))
        found = eval(entry["again"], names)
        values = numbers_of(found)
        for text in (text for cited, text, *_ in traced.cited if cited == number):
            for one in NUMBER.findall(text.replace("−", "-").replace(" %", "%")):
                if "% sure" in text and one in text.partition("by its mean, ")[2]:
                    assert any(f"{value:.0%}".startswith(one) for value in values)
                else:
                    times = (1, 100) if f"{one} %" in text else (1,)
                    assert any(same(one, value * by) for value in values for by in times), (one, text, entry["again"])


def numbers_of(found):
    """All numbers in what Python of a source gives, and counts of its rows."""
    if isinstance(found, pd.DataFrame):
        assert len(found)
    if isinstance(found, pd.DataFrame):
        values = pd.to_numeric(pd.Series(found.to_numpy(dtype=object).ravel()), errors="coerce").dropna().tolist()
        q = (found["q"] <= 0.05).sum() if "q" in found else 0
        return [*values, len(found), q]
    if isinstance(found, dict):
        return list(found.values())
    return [float(found)]


def same(text, value):
    """Whether a number, shown with so many digits, may be this one."""
    shown = float(text.replace(",", ""))
    if "e" in text or "." not in text:
        return np.isclose(shown, value, rtol=0.06, atol=0.5 if "." not in text and "e" not in text else 0)
    return abs(shown - value) <= 0.51 * 10.0 ** -len(text.partition(".")[2])


def interval(values):
    values = np.asarray(values, float)
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return np.array([values.mean(), values.mean() - half, values.mean() + half])


def judged(row, scores):
    """AUC and influences of the records, by comparing every member with every other record."""
    own = scores[(scores["trial_id"] == row["trial_id"]) & (scores["attack_id"] == row["attack_id"])]
    own = own[own["judged"]].sort_values("query")
    score, member = own["score"].to_numpy(float), own["member"].to_numpy(bool)
    wins = (score[member][:, None] > score[~member]) + 0.5 * (score[member][:, None] == score[~member])
    auc, influence = wins.mean(), np.empty(len(score))
    influence[member] = (wins.mean(1) - auc) * len(score) / member.sum()
    influence[~member] = (wins.mean(0) - auc) * len(score) / (~member).sum()
    return auc, influence


def two_way(parts, weights):
    """Mean, half of the 95 % interval's length, of weighted sums of cells: lists of rows' AUC and influences [R]."""
    auc = sum(w * np.array([a for a, _ in part]) for w, part in zip(weights, parts, strict=True))
    influence = sum(w * np.array([i for _, i in part]) for w, part in zip(weights, parts, strict=True))
    count, units = influence.shape
    of_replicates = auc.var(ddof=1) / count
    of_records = influence.mean(0).var(ddof=1) - influence.var(0, ddof=1).mean() / count
    of_records = max(0, of_records / units)
    total = of_replicates + of_records
    if not total:  # two replicates may give the same: what such an interval is, tests of two-way variances say
        return auc.mean(), np.nan
    df = total**2 / (of_replicates**2 / (count - 1) + of_records**2 / (units - 1))
    return auc.mean(), t.ppf(0.975, df) * total**0.5


def of_cell(rows, scores):
    """A mean AUC with its interval on the logit scale, where that is not next to 0 or 1."""
    mean, half = two_way([[judged(row, scores) for row in rows.sort_values("replicate").to_dict("records")]], [1])
    if rows["queries"].iloc[0] * min(mean, 1 - mean) < 3:
        return np.array([mean])
    half /= mean * (1 - mean)
    return np.array([mean, expit(logit(mean) - half), expit(logit(mean) + half)])


def of_sum(parts, weights, scores):
    """A weighted sum of cells, rows of the same replicates, with its interval."""
    found = [[judged(row, scores) for row in part.sort_values("replicate").to_dict("records")] for part in parts]
    mean, half = two_way(found, weights)
    return np.array([mean] if np.isnan(half) else [mean, mean - half, mean + half])


COLUMN = {"n": "train_size", "epochs": "epochs", "arm": "defense"}


def effect_of(what, rows, scores):
    """Of e.g. `n: 80 against 40, by arm: dropout 0.5 against none`, averaged over the rest, inside replicates."""
    cells = dict(list(rows.groupby(["defense", "train_size", "epochs"])))
    weights = pd.Series(1.0, index=pd.MultiIndex.from_tuples(cells, names=["defense", "train_size", "epochs"]))
    for factor, level, baseline in re.findall(r"(n|epochs|arm): (\S+)[^,]*? against ([^,:]+)", what):
        labels = weights.index.get_level_values(COLUMN[factor]).astype(str)
        weights *= np.where(labels == level, 1.0, np.where(labels == baseline.split()[0], -1.0, np.nan))
    weights = weights.dropna()
    weights = weights / (weights > 0).sum() * signs(what)
    return of_sum([cells[cell] for cell in weights.index], weights.tolist(), scores)


def signs(what):
    """An interaction is a difference of two averages of half as many positive cells."""
    return 2.0 if ", by " in what else 1.0


def recompute(entry, rows, scores):
    """Numbers by column of the page's tables, None for those of a sentence."""
    code, what = entry["again"], entry["said"].strip().splitlines()[0]
    function = code.partition("(")[0]
    if function == "again":
        call = ast.parse(code, mode="eval").body
        column = ast.literal_eval(call.args[1])
        parts = [
            selected(rows, ast.unparse(argument)).sort_values("replicate")
            for argument in call.args[2:]
            if isinstance(argument, ast.Call)
        ]
        if len(call.args) > 2 + len(parts):
            return {}  # an interval that pays for a choice
        if column == "auc":
            return {None: of_cell(parts[0], scores) if len(parts) == 1 else of_sum(parts, [1, -1], scores)}
        values = [part[column].to_numpy() for part in parts]
        return {None: interval(values[0] if len(parts) == 1 else values[0] - values[1])}
    if function in ("main_effects", "interactions") and "doubling" not in what:
        return {"difference [95 %]": effect_of(what, rows, scores)}
    if function == "replicates_needed":
        first, second = what.partition(": ")[2].partition(" (")[0].split(" against ")
        column = "train_size" if first.startswith("n = ") else "epochs" if "epochs" in first else "defense"
        names = [re.sub(r"n = | epochs", "", end).split()[0] for end in (first, second)]
        ends = [rows[rows[column].astype(str) == name] for name in names]
        return {"difference [95 %]": of_sum(ends, [1, -1], scores)}
    if function == "against_size":
        sizes = sorted(set(rows["train_size"]))
        doublings = np.log2(sizes[-1] / sizes[0])
        ends = [rows[rows["train_size"] == size] for size in (sizes[-1], sizes[0])]
        return {"AUC per doubling of n [95 %]": of_sum(ends, [1 / doublings, -1 / doublings], scores)}
    if function in ("least_leakage", "best_quality"):
        return {"AUC of white_box": of_cell(rows, scores)[:1],
                "kid_domain_unseen": [rows["kid_domain_unseen"].mean()], "replicates": [len(rows)]}  # fmt: skip
    if function == "equal_quality":
        own = rows[rows["defense"] != "none"]
        return {"kid_domain_unseen": [own["kid_domain_unseen"].mean()], "replicates": [len(own)]}
    if function == "audits":
        coins = scores.merge(rows[["trial_id", "attack_id"]])["coin"].sum()
        return {"coins": [coins], "epsilon claimed": [rows["epsilon"].iloc[0]], "trainings": [len(rows)]}
    if function == "verdicts" and "null" not in what:
        return {"AUC": [rows["auc"].mean()], "trials": [len(rows)]}
    if "epsilon" in what and rows["epsilon"].notna().all():
        return {"epsilon": [rows["epsilon"].mean()], "replicates": [len(rows)]}
    return {}


@pytest.mark.long
def test_a_random_sample_of_numbers_is_what_plain_pandas_computes_from_the_parquet_files(traced, parquet):
    wide, scores = parquet[0].dropna(subset=["auc"]).reset_index(drop=True), parquet[1]
    by_function = {}
    for number, entry in traced.sources.items():
        by_function.setdefault(entry["again"].partition("(")[0], []).append(number)
    chosen = random.Random(11)
    compared = dict.fromkeys(by_function, 0)
    for function, numbers in by_function.items():
        for number in chosen.sample(numbers, min(12, len(numbers))):
            entry = traced.sources[number]
            expected = recompute(entry, selected(wide, entry["where"]), scores)
            for cited, text, column, _ in traced.cited:
                wanted = expected.get(column, expected.get(None))
                if cited == number and wanted is not None and column not in ("replicates", "p (Holm)"):
                    shown = NUMBER.findall(text.replace("−", "-"))
                    if np.size(wanted) == 3 and np.ptp(wanted) < 1e-9:
                        wanted = wanted[:1]  # replicates that are all alike: the interval is that of one's counts
                    assert all(same(one, value) for one, value in zip(shown, wanted, strict=False)), (
                        text,
                        wanted,
                        entry,
                    )
                    compared[function] += len(shown)
    told = {
        "again",
        "main_effects",
        "interactions",
        "replicates_needed",
        "against_size",
        "least_leakage",
        "best_quality",
    }
    assert all(compared[function] >= 3 for function in told | {"audits", "verdicts"}), compared
    assert sum(compared.values()) > 100


def test_a_condition_selects_the_rows_it_is_told_of_whatever_they_are_and_so_does_its_python():
    cells = len(GRID)
    leakage = draw(np.random.default_rng(2), 4, np.zeros(cells))
    leakage[1, 3] = leakage[2, 7] = np.nan
    data: StudyData = study(leakage, np.ones((4, cells)))
    random_rows = np.random.default_rng(3)
    rows = data.attack("white_box")
    tried = [rows, rows[rows[ARM] == "dropout"], rows[(rows["epochs"] == 40) & rows[ARM].isin(["none", "dp_sgd 2"])]]
    tried += [rows[(rows["replicate"] == 2)], rows[(rows[ARM] == "none") | (rows["epochs"] == 160)]]
    tried += [rows.sample(number, random_state=random_rows.integers(1000)) for number in (1, 2, 5, 30)]
    for part in tried:
        found = condition(data, "white_box", part)
        assert set(found.select(rows)["trial_id"]) == set(part["trial_id"])
        assert set(selected(rows, found.python("rows"))["trial_id"]) == set(part["trial_id"])
    assert condition(data, "white_box", tried[1]).words == (
        "attack white_box, target dcgan, train_size 100 or 400, epochs 10 or 40 or 160, defense dropout, strength 3.0"
    )

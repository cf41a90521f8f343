import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from analysis.report.headline import CAREFUL, FAILED, verdict
from analysis.stats.baselines import audits, verdicts
from analysis.stats.declared import declared
from analysis.study_data import ARM, load
from mia_core.data import SOURCES, load_pool
from mia_core.data.description import ALIKE_BITS, described
from study.store import Store, read
from study.store.exporting import export_public
from tests.analysis.synthetic import GRID, draw, study
from tests.analysis.visible import words_of
from tests.browser import CHROMIUM, browser
from tests.commands import mia_study

figures = mia_study("figures")
main = mia_study("report")

HOSTILE = "<img src=x onerror=alert(1)>&\"'"


class Read(HTMLParser):
    """Elements with their attributes, and all text outside of scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.words, self._inside = [], [], []
        self._inline = False  # a term inside of a sentence begins or ends
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inline = tag == "abbr"
        if tag in ("script", "style"):
            self._inside.append(tag)

    def handle_endtag(self, tag):
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()
        self._inline = tag == "abbr"

    def handle_data(self, data):
        if self._inside:
            return
        if self._inline and self.words:
            self.words[-1] += data
        else:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def report(folder, tmp_path, *arguments):
    out = tmp_path / "report.html"
    assert main([str(folder), "--out", str(out), *arguments]) == 0
    return out.read_text()


def test_it_is_one_file_without_a_reference_to_anything_outside_it(page):
    assert len(page.encode()) < 1e6
    assert "http" not in re.sub(r"http-equiv", "", page.split("<main>")[0])
    for tag, attributes in Read(page).elements:
        assert tag not in ("iframe", "object", "embed", "base", "form")
        for name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
    assert not re.findall(r"@import|url\((?!#)", page)


def test_every_inner_link_leads_somewhere_and_no_id_is_there_twice(page):
    elements = Read(page).elements
    ids = [attributes["id"] for _, attributes in elements if attributes.get("id")]
    assert len(set(ids)) == len(ids)
    links = {value for _, attributes in elements for key, value in attributes.items() if key in ("href", "data-limits")}
    assert {link.removeprefix("#") for link in links if not link.startswith("data:")} <= set(ids)


def test_pictures_have_words_and_headings_are_in_order(page):
    elements = Read(page).elements
    assert page.count('<svg role="img"') >= 8
    assert all(
        re.match(r"<title>[^<]{10,}</title>", rest) for rest in re.findall(r"<svg role=[^>]*>(.{200})", page, re.S)
    )
    levels = [int(tag[1]) for tag, _ in elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert sum(tag == "th" and attributes.get("scope") == "col" for tag, attributes in elements) > 20


@pytest.mark.slow
def test_words_of_a_study_are_never_markup(swept, tmp_path):
    folder = shutil.copytree(swept[0] / "results" / "small", tmp_path / HOSTILE)
    page = report(folder, tmp_path)
    read_page = Read(page)
    assert "<img" not in page
    assert HOSTILE in read_page.text
    assert all("onerror" not in attributes for _, attributes in read_page.elements)


@pytest.mark.slow
def test_records_and_samples_are_shown_only_on_demand(lean, tmp_path):
    bare = report(lean.uri, tmp_path)
    told = report(lean.uri, tmp_path, "--include-records")
    assert "What is generated" not in bare and "What is generated" in told
    assert "record of the pool" not in bare and "record of the pool" in told
    assert "data:image/png" not in bare


@pytest.mark.slow
def test_the_page_of_records_has_another_name_which_mlflow_does_not_take(lean, tmp_path, capsys):
    folder = shutil.copytree(lean.uri, tmp_path / "small")
    assert main([str(folder)]) == 0
    assert main([str(folder), "--include-records"]) == 0
    names = {path.name for path in (folder / "reports").iterdir()}
    assert names == {f"report{end}{kind}" for end in ("", "_with_records") for kind in (".html", ".json", ".csv")}
    assert str(folder / "reports" / "report.html") in capsys.readouterr().out


def test_it_describes_the_data_as_the_plan_does(page):
    words = described(load_pool(SOURCES.choose({"name": "digits", "size": 8})), ALIKE_BITS)
    assert words.keys() == {"images", "classes", "persons", "copies", "near-copies"}
    text = Read(page).text
    assert all(f"{key} {value}" in text for key, value in words.items())


def test_few_replicates_are_said_to_be_descriptive(page):
    text = Read(page).text
    assert "Descriptive only: 2 replicates" in text
    assert "with caution" in text
    assert "no control failed" not in text


@pytest.mark.slow
def test_a_study_of_one_cell_has_a_report(lean, tmp_path):
    text = Read(report(lean.uri, tmp_path)).text
    assert "Training-set size and epochs have one level each here" in text
    assert "No defense was compared." in text
    assert "What protects, and at what cost" not in text


@pytest.mark.slow
def test_one_replicate_or_logans_split_has_a_report(make_study, tmp_path):
    one = Read(report(make_study("replicates=1", "factors.epochs=[1, 2]").uri, tmp_path)).text
    assert "Descriptive only: 1 replicate," in one
    assert "nan" not in one.lower().split("every cell")[0]
    logan = make_study(
        "replicates=2", "split={name: logan, reference: 80, unseen: 40, known: 10}", "quality.measures=[]"
    )
    assert "logan" in Read(report(logan.uri, tmp_path)).text


@pytest.mark.slow
def test_a_public_copy_has_a_report_that_says_what_it_lacks(swept, tmp_path):
    export_public(Store(swept[0] / "results", "small"), tmp_path / "public")
    text = Read(report(tmp_path / "public", tmp_path)).text
    assert "A public copy has no scores" in text
    assert "AUC speaks of these records only" in text
    assert "How sure an attacker can be" not in text


@pytest.mark.slow
def test_an_incomplete_study_says_what_is_missing(swept, tmp_path):
    folder = shutil.copytree(swept[0] / "results" / "small", tmp_path / "small")
    trials = read(tmp_path, "small", "trials")
    lost = trials[(trials["role"] == "study") & (trials["defense"] == "dropout")]["trial_id"].iloc[0]
    shutil.rmtree(folder / "compacted")
    for marker in (folder / "done").glob(f"{lost}-*"):
        marker.unlink()
    assert "Incomplete: 1 trials of the design are missing" in Read(report(folder, tmp_path)).text


@pytest.mark.long
def test_a_failed_control_comes_first_and_takes_the_verdict_back(swept):
    data = load(swept[0] / "results" / "small")
    good = verdicts(data).assign(ok=True)
    assert verdict(data, good, pd.DataFrame()).standing == CAREFUL
    bad = good.assign(ok=[False, *[True] * (len(good) - 1)], verdict="members differ")
    found = verdict(data, bad, audits(data))
    assert found.standing == FAILED
    assert len(found.sentences) == 3
    assert found.sentences[0][0].startswith("Do not use these numbers before this is understood: control")
    assert found.reasons[0].endswith("members differ")


@pytest.mark.slow
def test_a_place_that_cannot_be_written_is_refused_in_one_line(lean, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    folder = lean.uri
    assert main([folder, "--out", str(tmp_path / "file" / "report.html")]) == 2
    assert figures([folder, str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_a_folder_without_a_study_is_refused_in_one_line(tmp_path, capsys):
    assert main([str(tmp_path / "absent")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_a_loss_of_quality_that_is_only_noisy_is_not_called_small(monkeypatch):
    monkeypatch.setattr(Store, "public", False)
    table, random = GRID.to_frame(index=False), np.random.default_rng(1)
    leakage = draw(random, 5, np.where(table[ARM] == "none", 2.0, 0.2))
    quality = 0.1 + 0.005 * random.random((5, len(GRID)))
    quality[:, table[ARM] == "dp_sgd 2"] = 12 + 25 * np.array([-1, 1, 0.2, -0.4, 0.5])[:, None]  # 0 is in its interval
    quality[:, table[ARM] == "dp_sgd 8"] += 0.5
    said = protects(leakage, quality)
    assert (
        said.startswith("To protect records, use dropout: it lowers that to")
        and "at a loss of quality shown to be under 25 %" in said
    )
    quality[:, table[ARM] == "dropout"] = quality[:, table[ARM] == "dp_sgd 2"]
    quality[:, table[ARM] == "dp_sgd 8"] = quality[:, table[ARM] == "dp_sgd 2"]
    assert "what it costs in quality is not settled" in protects(leakage, quality)


def protects(leakage, quality):
    found = verdict(study(leakage, quality), pd.DataFrame(), pd.DataFrame())
    return words_of(found.sentences[2])


@pytest.mark.slow
def test_the_verdict_says_who_attacks_what_early_stopping_costs_and_which_arm_guarantees(monkeypatch):
    monkeypatch.setattr(Store, "public", False)
    table = GRID.to_frame(index=False)
    truth = np.where(table[ARM] == "none", np.log2(table["epochs"] / 10) * 0.6, 0.2)
    quality = 2.0 - 0.1 * np.log2(table["epochs"].to_numpy()) + np.arange(5)[:, None] * 0.002
    made = study(draw(np.random.default_rng(1), 5, truth), quality + 0.001 * np.random.default_rng(2).random((5, 24)))
    made.wide["access"] = "WHITE_BOX"
    sentences = list(map(words_of, verdict(made, pd.DataFrame(), pd.DataFrame()).sentences))
    how_much, changes, protection, every_cell, not_tried = sentences
    assert how_much.startswith("An attacker who has the whole trained model (white_box), shown one training record")
    assert re.search(
        r"\(guessing: 0\.50\), where dcgan was trained with n = 100 for 160 epochs without a def", how_much
    )
    assert re.search(
        r"10 instead of 160 epochs lower it to [^;]*, with worse samples \(KID, a distance from real records: 1\.67 \[",
        changes,
    )
    assert "with a guarantee (epsilon 8 for one record) that limits hardly anybody" in protection
    assert "an attacker may name 100 % of the training records" in protection  # of one pair: 1 - e^-8 (1 - delta - .01)
    assert "a distance from real records" not in protection
    assert "dropout" in protection and "it guarantees nothing against other attacks" in protection
    assert re.match(r"After 160 epochs, leakage is shown in [0-8] of 8 cells", every_cell)
    assert not_tried == (
        "Not tried: an attacker who sees generated samples only; an attacker who chooses the inputs of the generator; "
        "an attacker who has the generator. What other attacks would find is not known."
    )
    made.wide["access"] = "SAMPLES"
    made.kept.clear()  # views of the table as it was
    assert "sees generated samples only" in words_of(verdict(made, pd.DataFrame(), pd.DataFrame()).sentences[0])


def test_the_verdict_has_the_p_values_of_the_declared_contrasts(monkeypatch):
    monkeypatch.setattr(Store, "public", False)
    truth = np.where(GRID.get_level_values(ARM) == "none", 0.6, 0.3)
    made = study(draw(np.random.default_rng(3), 5, truth), np.ones((5, len(GRID))))
    family = declared(made, "white_box").set_index(["factor", "level", "baseline"])
    changes = verdict(made, pd.DataFrame(), pd.DataFrame()).changes
    assert len(changes) == 5
    for change in changes:
        ends = {"epochs": (160, 10), "train_size": (400, 100)}.get(change.factor, (change.level, "none"))
        rows = family.loc[[(change.factor, *ends)]]
        own = rows if change.factor == "train_size" else rows[rows["train_size"] == 100]
        assert change.p_holm == pytest.approx(own["p_holm"].item())


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (Debian: apt-get install chromium)")
@pytest.mark.timeout(600)
def test_in_a_browser_tables_sort_limits_choose_and_it_prints(page, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(page)
    with browser() as tab:
        tab.open(path.as_uri(), 1180, 900)
        tab.wait("document.querySelector('#least-table') && document.readyState === 'complete'")
        assert tab.errors == []
        assert [url for url in tab.requested if not url.startswith(("file:", "data:"))] == []
        assert tab.run("document.documentElement.scrollWidth") <= 1180
        kept_rows = "[...document.querySelectorAll('#{} tbody tr')].filter(row => !row.hidden)"
        visible = kept_rows.format("least-table") + ".map(row => row.cells[0].innerText)"
        assert len(set(tab.run(visible))) == 1
        before = tab.run(visible)
        tab.run("(() => { const it = document.querySelector('[data-limits=least-table]'); it.value = it.max;"
                " it.dispatchEvent(new Event('input')) })()")  # fmt: skip
        assert tab.run(visible) != before
        tab.click("document.querySelectorAll('#cells-table th button')[2]")
        sizes = tab.run(
            "[...document.querySelectorAll('#cells-table tbody tr')].map(row => Number(row.cells[2].innerText))"
        )
        assert sizes == sorted(sizes) and len(set(sizes)) == 2
        tab.run("(() => { const it = document.querySelector('[data-filter=cells-table]'); it.value = 'dropout 80';"
                " it.dispatchEvent(new Event('input')) })()")  # fmt: skip
        kept = tab.run(kept_rows.format("cells-table") + ".map(row => row.innerText)")
        assert kept and all("dropout" in row for row in kept)
        tab.run("document.querySelector('details .sources').closest('details').open = false")
        source = tab.run("document.querySelector('.verdict .num').getAttribute('href')")
        tab.click("document.querySelector('.verdict .num')")
        assert tab.wait(f"document.querySelector('{source}').closest('details').open")
        assert -1 <= tab.run(f"document.querySelector('{source}').getBoundingClientRect().top") < 900
        tab.print(tmp_path / "report.pdf")
        assert tab.run("document.querySelector('details > dl').parentElement.open")  # words, which none points at
        for width in (400, 1180):
            tab.open(path.as_uri(), width, 900)
            tab.wait(f"innerWidth === {width} && document.readyState === 'complete' && document.querySelector('h1')")
            tab.run("document.querySelectorAll('details').forEach(one => one.open = true)")
            assert tab.run("document.documentElement.scrollWidth") <= width
        assert tab.errors == []
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")

"""What a report and tables say of a release: threats, numbers of samples, copies; records only on demand."""

import re
from html import unescape
from importlib import import_module

import pandas as pd
import pytest
import torch

from analysis.report import shown
from analysis.report.building import build
from analysis.report.release import copied
from analysis.stats.budget import allowed, budget
from analysis.stats.memorization import copies, extracted, pairs
from analysis.stats.threats import threats
from analysis.study_data import load
from mia_core.data.pool import to_float
from study.run.runner import Runner
from study.store import read
from study.store.files import Damaged, seal
from study.store.pairs import pairs_of
from study.store.seals import own_file
from tests.analysis.test_report_sources import Traced
from tests.commands import mia_study

pytestmark = pytest.mark.long

REPLAYED = 8
"""Of a trial's samples, the first of which show its first members."""


@pytest.fixture(scope="module")
def released(make_study):
    """One cell in five replicates, attacked at three numbers of samples, of which some replay members."""
    plain = Runner._snapshot

    def snapshot(self, target, trial):
        made = plain(self, target, trial)
        members = self.design.pool.images[self.design.membership(trial).train[:REPLAYED]]
        own = made.samples

        def samples(count):
            images = own(count)
            images[:REPLAYED] = to_float(torch.from_numpy(members))
            return images

        made.samples = samples
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runner, "_snapshot", snapshot)
        return make_study(
            "replicates=5", "split.unseen=150",
            "quality.measures=[copies, members_copied, persons_copied, extracted_members, extraction_precision, "
            "authenticity]",
            "attacks=[white_box, {name: euclidean, generated: [20, 40, 80]}]",
        )  # fmt: skip


@pytest.fixture(scope="module")
def data(released):
    return load(released.uri)


@pytest.fixture(scope="module")
def page(data):
    return build(data.folder).html()


def section(page, name):
    return re.search(rf'<section aria-labelledby="{name}">(.*?)</section>', page, re.S)[1]


def text(html):
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", re.sub(r"</?abbr[^>]*>", "", html))).split())


def test_shares_are_means_over_replicates_beside_what_chance_calls_a_copy(data):
    table = copies(data).set_index("extractor")
    assert set(table.index) == {"pixels", "domain"}
    values = read(data.store.root, data.name, "quality")
    for extractor, row in table.iterrows():
        for name in ("copies", "members_copied", "persons_copied"):
            own = values[(values["measure"] == name) & (values["extractor"] == extractor)]["value"]
            assert row[name] == pytest.approx(own.mean())
            assert len(own) == row["replicates"] == 5
        assert (row["alpha"], row["unseen"], row["samples"], row["neighbors"]) == (0.01, 150, 40, 10)
    pixels = table.loc["pixels"]
    assert pixels["copies"] >= REPLAYED / 40 and pixels["members_copied"] >= REPLAYED / 60
    # The share of unseen records below the smallest of 150 ratios is Beta(1, 150): 95 % are below 2 %.
    assert pixels["most_by_chance"] == pytest.approx(1 - 0.05 ** (1 / 150))
    assert pixels["beyond"] and 0 <= pixels["copies_low"] < pixels["copies_high"] <= 1


def test_what_is_extracted_is_a_mean_over_replicates_and_stands_beside_copies(data, page):
    table = extracted(data).set_index("extractor")
    assert set(table.index) == {"pixels", "domain"}
    values = read(data.store.root, data.name, "quality")
    for extractor, row in table.iterrows():
        for name in ("extracted_members", "extraction_precision", "authenticity"):
            own = values[(values["measure"] == name) & (values["extractor"] == extractor)]["value"].dropna()
            assert pd.isna(row[name]) if own.empty else row[name] == pytest.approx(own.mean())
        assert row["replicates"] == 5
    assert table.loc["pixels", "authenticity"] <= 1 - REPLAYED / 40
    shown = text(section(page, "copies"))
    assert "Extraction, over replicates" in shown and f"{table.loc['pixels', 'authenticity']:.3f}" in shown


def test_pairs_name_the_members_that_samples_replay(data, released):
    cell = only_cell(data)
    found = pairs(data, cell)
    own = found[(found["extractor"] == "pixels") & (found["sample"] < REPLAYED)]
    assert len(own) == 5 * REPLAYED
    assert (own["ratio"] == 0).all()
    assert own.groupby("replicate")["record"].nunique().eq(REPLAYED).all()
    trial = data.wide["trial_id"].iloc[0]
    assert pairs_of(released, trial, {"of another design"}) == []


def only_cell(data):
    return dict(zip(data.cell, data.wide[list(data.cell)].iloc[0], strict=True))


def test_a_list_of_pairs_that_is_none_is_damaged(released, monkeypatch):
    (trial,) = {name.partition("-")[0] for name in released.markers()} & {
        read(released.root, released.study, "trials")["trial_id"].iloc[0]
    }
    (marker,) = released.markers([trial]).values()
    file = own_file(marker, f"copies/{trial}")
    for content in (b'{"pixels": [{"sample": 0}]}', b'{"pixels": [[1, 2]]}', b"[]"):
        forged = {**marker, "files": {file: seal(content)}}
        monkeypatch.setattr(released, "markers", lambda trials, forged=forged: {"one": forged})
        monkeypatch.setattr(released, "sealed_bytes", lambda path, sealed, content=content: content)
        with pytest.raises(Damaged, match="copies/"):
            pairs_of(released, trial, set(marker["work"]["measures"]))


def test_the_page_has_threats_curve_statement_and_copies_with_a_source_for_every_number(page, data):
    assert "whole model" in text(section(page, "threats"))
    told = text(section(page, "budget"))
    assert "AUC over the number of samples released" in section(page, "budget")
    first = allowed(data).to_dict("records")
    assert re.search(r"SAMPLES: (at most \d+ samples keep|none of the numbers tried)", told)
    assert len(first) == 5
    said = text(section(page, "copies"))
    assert "false-copy rate" in said and "150 unseen records" in said and "at most 1 %" in said
    traced = Traced(page)
    assert traced.bare == []
    codes = {source["again"] for source in traced.sources.values()}
    cell = next(code for code in codes if code.startswith("threats("))
    names = {name: getattr(import_module(module), name) for name, module in shown.MODULES.items()}
    again = {code: eval(code, {"data": data, **names}) for code in codes if code.split("(")[0] in OURS}
    assert {code.split("(")[0] for code in again} == {"threats", "budget", "allowed", "copies"}
    assert again[cell].equals(threats(data, only_cell(data)))
    assert again["budget(data)"].equals(budget(data))


OURS = ("threats", "budget", "allowed", "copies", "pairs")


def test_what_is_added_to_a_page_is_small(page):
    added = sum(len(section(page, name).encode()) for name in ("threats", "budget", "copies"))
    entries = re.findall(r'<li id="source-.*?</li>', page, re.S)
    added += sum(len(entry.encode()) for entry in entries if any(f">{name}(" in entry for name in OURS))
    assert added < 60_000


def test_records_are_named_only_on_demand(data, page, capsys):
    record = str(pairs(data, only_cell(data))["record"].iloc[0])
    assert "pairs-table" not in page and "record of the pool" not in page
    told = build(data.folder, include_records=True).html()
    assert "pairs-table" in told and record in text(re.search(r'<table id="pairs-table.*?</table>', told, re.S)[0])
    tell = mia_study("tables")
    assert tell([str(data.folder)]) == 0
    bare = capsys.readouterr().out
    assert tell([str(data.folder), "--include-records"]) == 0
    both = capsys.readouterr().out
    assert "### Samples that are copies" not in bare and "### Samples that are copies" in both
    for title in (
        "### Threats after",
        "### Release budget after",
        "### The same: how many samples",
        "### Copies after",
    ):
        assert title in bare


def test_no_section_where_nothing_was_looked_for(lean):
    data = load(lean.uri)
    assert copies(data).empty and budget(data).empty
    assert copied(data, None, True) is None

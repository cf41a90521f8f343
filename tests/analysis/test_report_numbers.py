"""report.json and report.csv: the numbers of the page, with the sources that it has."""

import csv
import io
import json
import re

import pytest

from analysis.report.vocabulary import TERMS, Vocabulary, arm_in_words, attack_terms
from mia_core.defenses import Arm, labels
from tests.shared import once


@pytest.fixture(scope="module")
def beside(page):
    """report.json and report.csv beside the session's page, which made them."""
    folder = once("page", lambda folder: None)[0]
    return json.loads((folder / "report.json").read_text()), (folder / "report.csv").read_bytes().decode()


def sources_of(page):
    """Code of every source, by its number in the page."""
    found = re.findall(r'<li id="source-(\d+)".*?<code class="again">(.*?)</code>', page, re.S)
    return {int(number): code for number, code in found}


def test_every_table_of_the_page_is_in_the_json_with_as_many_rows(page, beside):
    shown = {
        name: body.count("<tr") for name, body in re.findall(r'<table id="([\w-]+)".*?<tbody>(.*?)</tbody>', page, re.S)
    }
    blocks = [block for section in beside[0]["sections"] for block in section["blocks"]]
    assert {block["table"]: len(block["rows"]) for block in blocks if "table" in block} == shown
    assert len(shown) >= 10


def test_a_number_of_the_json_has_the_source_that_the_page_gives_it(page, beside):
    code = {one["number"]: one["again"] for one in beside[0]["sources"]}
    in_page = sources_of(page)
    assert code.keys() == in_page.keys()
    assert all(code[number] == text.replace("&lt;", "<").replace("&amp;", "&") for number, text in in_page.items())
    numbers = [number for words in beside[0]["sentences"] for number in words["numbers"]]
    assert numbers and all(f'href="#source-{one["source"]}"' in page and one["text"] in page for one in numbers)
    assert all(one["low"] is None or one["low"] <= one["value"] <= one["high"] for one in numbers if "low" in one)


def test_the_csv_has_a_row_for_every_number_of_a_table(beside):
    rows = list(csv.DictReader(io.StringIO(beside[1], newline="")))
    cells = [
        cell
        for section in beside[0]["sections"]
        for block in section["blocks"]
        for row in block.get("rows", [])
        for cell in row
        if "source" in cell
    ]
    assert [row["text"].removeprefix("'") for row in rows] == [cell["text"] for cell in cells]
    assert [int(row["source"]) for row in rows] == [cell["source"] for cell in cells]
    assert all(row["what"] and int(row["rows"]) >= int(row["trials"]) > 0 for row in rows)


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        (["none", {"name": "dp_sgd", "sigma": 1.0, "clip": 1.0, "delta": 1e-5}], ["no defense", "DP-SGD, noise 1"]),
        ([{"name": "dp_sgd", "target_epsilon": 8.0, "clip": 1.0, "delta": 1e-5}], ["DP-SGD, epsilon 8"]),
        ([{"name": "dropout", "rate": 0.5}, "weight_norm"], ["dropout, rate 0.5", "weight norm"]),
        ([["weight_norm", {"name": "dropout", "rate": 0.2}]], ["weight norm with dropout, rate 0.2"]),
    ],
)
def test_an_arm_is_said_in_words(specs, words):
    assert [arm_in_words(label) for label in labels([Arm.parse(spec) for spec in specs])] == words


def test_words_replace_whole_labels_and_leave_code_alone():
    words = Vocabulary.of(["none", "dropout 0.5", "dp_sgd sigma=1", "dp_sgd sigma=10"], [])
    assert words.say("dp_sgd sigma=10 and dp_sgd sigma=1, none") == "DP-SGD, noise 10 and DP-SGD, noise 1, none"
    assert words.say("my_dp_sgd sigma=1 dropout 0.55") == "my_dp_sgd sigma=1 dropout 0.55"


def test_a_term_is_explained_once_a_section_and_its_words_are_no_markup():
    words = Vocabulary(terms={"AUC": "<b>&", "member": "m"})
    first = str(words.explain("AUC <i> members, AUC of non-members"))
    assert first.count("<abbr") == 2 and "&lt;b&gt;&amp;" in first and "<i>" not in first
    assert 'title="m">member</abbr>s' in first
    assert "<abbr" not in words.explain("AUC") and words.section() == "" and "<abbr" in words.explain("AUC")


def test_attacks_are_explained_by_what_their_class_says():
    assert attack_terms(["white_box", "local_gan_steps50", "of_somebody"]).keys() == {"white_box", "local_gan_steps50"}


def test_the_page_explains_terms_where_they_are_used_and_lists_them(page):
    listed = page[page.index('<h2 id="words">') :]
    assert all(
        f"<dt>{term}</dt><dd>{TERMS[term].split(chr(39))[0]}" in listed for term in ("AUC", "replicate", "epsilon")
    )
    assert page.count("<abbr") > 20

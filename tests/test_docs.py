"""The documentation: its links lead somewhere, newcomers' questions have an answer, the site builds strictly."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import norm

from analysis.report.vocabulary import TERMS
from analysis.stats.guarantees import person_epsilon
from documentation.docstrings import constants, type_words
from documentation.generated_pages import pages
from documentation.hooks import LINK, PAGES
from mia_core.attacks import ATTACKS, domias
from mia_core.data import load_pool
from mia_core.defenses import DEFENSES
from mia_core.defenses.accounting import epsilon
from mia_core.derived import DERIVED
from mia_core.metrics.audit import Gaussian
from mia_core.targets import TARGETS, dcgan
from study.cli.main import build
from study.design.study_design import Design
from study.spec.study_file import read
from study.store.schema import SCHEMAS
from tests.doc_commands import ROOT
from tests.mia_core.gaussian_sum import mu_at

WRITTEN = sorted([*(ROOT / "docs").rglob("*.md"), *(ROOT / name for name in PAGES)])
QUESTIONS = {  # what newcomers ask: the page, the heading, and a word that its answer cannot do without
    "How do I install it?": ("docs/start/install.md", "install", "constraints.txt"),
    "How do I get a first answer?": ("docs/start/first_answer.md", "2-run", "mia-study sweep"),
    "Is an AUC of 0.56 bad?": ("docs/start/faq.md", "is-an-auc-of-056-bad", "policy"),
    "Why 5 replicates?": ("docs/start/faq.md", "why-5-replicates", "interval"),
    "Why is epsilon 57?": ("docs/start/faq.md", "why-is-epsilon-57", "noise"),
    "May I release?": ("docs/start/faq.md", "may-i-release", "limit"),
    "How do I use my own images?": ("docs/tutorials/own_images.md", "write-a-study", "mia-study init"),
    "What does TPR at 1 % FPR mean?": ("docs/reading.md", "what-the-numbers-mean", "TPR at 1 %"),
    "How do I add an attack?": ("docs/tutorials/write_an_attack.md", "the-class", "class BlurredDistance(Attack)"),
    "What happens when a run is killed?": ("docs/start/faq.md", "my-run-stopped-is-it-lost", "same command"),
    "Which file has the results?": ("docs/store.md", "columns", "trial_id"),
    "Does it do tables or text?": ("docs/start/faq.md", "does-it-work-on-tables-text-or-audio", "images"),
}


def anchors(text):
    """Anchors of a page's headings, as Markdown makes them, by what stands below each."""
    bare = re.sub(r"^```.*?^```", lambda block: re.sub(r"^#", " ", block[0], flags=re.M), text, flags=re.M | re.S)
    found, parts = {}, re.split(r"^#+ (.+)$", bare, flags=re.M)
    for heading, below in zip(parts[1::2], parts[2::2], strict=True):
        words = re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower()
        found[re.sub(r"[-\s]+", "-", words)] = below
    return found


@pytest.mark.parametrize("page", WRITTEN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_leads_to_a_file_and_to_a_heading(page):
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(), flags=re.M | re.S)
    for link, anchor in re.findall(r"\]\(([^)\s#]*)(?:#([\w-]+))?\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        target = page if not link else (page.parent / link).resolve()
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), f"{link}#{anchor}"


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_newcomers_question_has_an_answer_at_its_anchor(question):
    page, anchor, word = QUESTIONS[question]
    assert word in anchors((ROOT / page).read_text())[anchor]


def test_the_readme_is_short_and_has_what_it_promises():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 90
    assert all((ROOT / path).is_file() for path in ("CITATION.cff", "LICENSE", "docs/report.png"))
    assert {"three-findings", "the-smallest-study", "a-release-in-three-lines", "where-to-go-on"} <= anchors(
        text
    ).keys()


def test_the_smallest_study_of_the_readme_is_a_study(tmp_path):
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    (tmp_path / "mine.yaml").write_text(text)
    assert read(tmp_path / "mine.yaml").resolved["study"] == "mine"
    labelled = read(tmp_path / "mine.yaml", ["data={name: digits, size: 16}"])  # has quality, which takes records, too
    assert Design(labelled, load_pool(labelled.data)).measures.wanted


def test_the_reference_has_all_that_is_registered_and_every_command():
    made = pages()
    for page, registry in (
        ("attacks", ATTACKS),
        ("targets", TARGETS),
        ("defenses", DEFENSES),
        ("derived_attacks", DERIVED),
    ):
        text = made[f"reference/{page}.md"]
        assert all(text.count(f"\n## `{name}`\n") == 1 for name in registry.names()), page
    commands = made["reference/commands.md"]
    words = next(action for action in build()._actions if action.dest == "word")
    assert all(f"## `mia-study {word}" in commands for word in words.choices)
    assert all(f"## `{table}`" in made["reference/columns.md"] for table in SCHEMAS)
    assert all(
        f"## `{section}`" in made["reference/study_file.md"] for section in ("training", "quality", "policy", "split")
    )


def test_a_card_has_source_constants_settings_and_tests():
    card = pages()["reference/targets.md"].partition("## `dcgan`")[2].partition("\n## ")[0]
    assert "1511.06434" in card
    assert "`AUTHORS_DEVIATION` | `0.02`" in card
    assert "| `width` | `int, > 0` |" in card
    assert "tests/mia_core/test_dcgan.py" in card
    assert "Deviations: on PCA features" in pages()["reference/attacks.md"]


def test_constants_are_read_with_their_words_and_types_with_their_bounds():
    assert constants(dcgan)[0][:2] == ("AUTHORS_DEVIATION", "0.02")
    assert type_words(domias.Domias.Config.__dataclass_fields__["components"].type) == "int, > 0"
    assert not any("0x" in text for text in pages().values())


def test_terms_of_the_report_are_in_the_glossary():
    glossary = (ROOT / "docs" / "glossary.md").read_text().lower()
    assert not [term for term in TERMS if term.lower() not in glossary]


def test_links_out_of_docs_are_found():
    assert LINK.findall("[a](../configs/digits.yaml) [b](store.md#columns)") == [
        ("](", "../configs/digits.yaml", ")"), ("](", "store.md", "#columns)"),
    ]  # fmt: skip


@pytest.mark.slow
def test_the_site_builds_strictly_and_its_pages_load_nothing_from_elsewhere(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment())
    assert built.returncode == 0, built.stdout + built.stderr
    made = list((tmp_path / "site").rglob("*.html"))
    assert len(made) > 40
    loaded = r"<(?:script|img|iframe)[^>]*src=\"https?:|<link[^>]*rel=\"(?:stylesheet|preconnect|icon)\"[^>]*https?:"
    assert not [page.name for page in made if re.search(loaded, page.read_text())]
    home = (tmp_path / "site" / "index.html").read_text()
    assert 'href="start/faq.html"' in home and 'src="report.png"' in home


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}


def told(text, row):
    """The numbers of each row of a table that matches, as text."""
    found = re.findall(row, text, flags=re.M)
    assert found, row
    return found


def as_told(value, text):
    """Whether a number was rounded to the digits of the text, as one rounds."""
    digits = len(text.replace(".", "").strip("0")) or 1
    return float(f"{value:.{digits}g}") == float(text)


def test_the_tables_of_what_epsilon_leaves_are_those_of_the_closed_form_and_of_the_accountant():
    page = (ROOT / "docs/privacy.md").read_text()
    for given, tpr, auc, person in told(page, r"^\| (\d) \| ([\d.]+) % \| ([\d.]+) \| ([\d.]+) \|$"):
        mu = mu_at(float(given), 1e-5)
        assert as_told(100 * norm.cdf(norm.ppf(0.01) + mu), tpr), tpr
        assert as_told(norm.cdf(mu / np.sqrt(2)), auc), auc
        assert as_told(Gaussian(4 * mu).epsilon(1e-5), person), person
    for sigma, record, four, person in told(page, r"^ +\| (\d) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$"):
        noise = float(sigma)
        assert as_told(epsilon(((noise, 32 / 1000, 625),), 1e-5), record), record
        assert as_told(person_epsilon(((noise, 32 / 1000, 625),), 1e-5, 4), four), four
        assert as_told(epsilon(((noise, 32 / 250, 625),), 1e-5), person), person

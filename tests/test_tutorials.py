"""The tutorials are followed as they stand; `test_release_tutorial` follows that of docs/release.md."""

import shlex
from pathlib import Path

import pytest

from mia_core.attacks import ATTACKS
from study.cli.main import build
from tests.doc_commands import ROOT, blocks, follow, typed

LONG = ("start/first_answer.md", "tutorials/own_images.md", "tutorials/private_training.md", "tutorials/search.md")
QUICK = ("tutorials/write_an_attack.md", "tutorials/cluster.md")


def test_every_tutorial_is_followed():
    pages = {f"tutorials/{path.name}" for path in (ROOT / "docs" / "tutorials").glob("*.md")}
    assert pages <= {*LONG, *QUICK}


@pytest.mark.parametrize("page", [*LONG, *QUICK])
def test_every_typed_line_is_a_command_that_there_is(page):
    lines = typed(page)
    assert lines or any(block.kind == "python" for block in blocks(page))
    for line in lines:
        if line.startswith("python "):
            assert (ROOT / line.split()[1]).is_file()
        else:
            assert line.startswith("mia-study ")
            build().parse_args(shlex.split(line, comments=True)[1:])


def test_the_attack_of_the_tutorial_finds_samples_that_are_members(tmp_path):
    before = dict(ATTACKS._classes)
    try:
        follow("tutorials/write_an_attack.md", tmp_path)
        assert "blurred_distance" in ATTACKS.names()
    finally:
        ATTACKS._classes.clear()
        ATTACKS._classes.update(before)


def test_the_cluster_file_is_refused_as_the_tutorial_says(tmp_path):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (checked,) = follow("tutorials/cluster.md", tmp_path)
    assert checked.stderr.count("refused:") >= 3 and "placeholder" in checked.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", LONG)
def test_a_tutorial_ends_in_a_report(page, tmp_path):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    follow(page, tmp_path)
    (report,) = Path(tmp_path, "results").glob("*/reports/report.html")
    assert "<h2" in report.read_text()

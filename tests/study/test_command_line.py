"""`mia-study`: its help, its exit codes, and that it answers before anything slow is imported."""

import errno
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mia_core.errors import Refused
from study.cli.main import build, main
from study.outcomes import COMPLETE, INCOMPLETE, REFUSED, Stopped, outcome, writing
from study.store.files import Away, Damaged
from tests.commands import MIA_STUDY, mia_study

NAMES = (
    "init", "export", "sweep", "trial", "config", "data", "near-duplicates", "status", "track", "controls", "audit",
    "search", "report", "release", "tables", "figures", "notebooks", "store check", "store gc", "store compact",
    "store export", "cluster check", "cluster down", "completion", "packages",
)  # fmt: skip
MODULES = """
import sys
from study.cli.main import main
try:
    main(sys.argv[1:])
finally:
    print(*sys.modules)
"""
SLOW = {"torch", "pandas", "ray", "mlflow", "matplotlib", "sklearn", "scipy", "torchvision", "opacus", "optuna"}


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def help_of(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*name.split(), "--help"])
    assert ended.value.code == COMPLETE
    return capsys.readouterr().out


def test_the_help_lists_every_command_once_under_a_group(capsys):
    text = help_of("", capsys)
    groups = text.partition("Run a study:")[2].partition("examples:")[0]
    assert sorted(re.findall(r"^  ([a-z-]+(?: [a-z]+)?)  +\S", groups, re.M)) == sorted(NAMES)


@pytest.mark.parametrize("name", ["", "store", "cluster", *NAMES])
def test_no_line_of_help_is_wider_than_80_columns(name, capsys):
    assert [line for line in help_of(name, capsys).splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_help_of_a_command_has_an_example_that_it_parses_and_its_exit_codes(name, capsys):
    text = help_of(name, capsys)
    assert f"usage: mia-study {name}" in text
    assert "exit codes:\n  0  " in text
    assert "\n  2  " in text
    examples = re.findall(rf"^  mia-study ({name}.*)$", text, re.M)
    assert examples
    for example in examples:
        words = re.split(r"\s+(?:#|>|&&)", example)[0].split()
        assert build().parse_args(words).command.name == name


@pytest.mark.parametrize("words", [["--help"], ["sweep", "--help"], ["completion", "bash"], ["tables", "--help"]])
def test_help_and_completion_import_nothing_slow(words):
    code = (
        "import sys\nfrom study.cli.main import main\ntry:\n    main(sys.argv[1:])\nfinally:\n    print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert not SLOW & set(done.stdout.splitlines()[-1].split())


def test_the_completion_is_a_script_that_bash_reads_and_that_knows_commands_and_options(capsys, tmp_path):
    assert mia_study("completion")(["bash"]) == COMPLETE
    script = capsys.readouterr().out
    path = tmp_path / "mia-study"
    path.write_text(script)
    subprocess.run(["bash", "-n", str(path)], check=True)
    for word in ("near-duplicates", "--max-hours", "--include-records", "compact"):
        assert word in script


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (Refused("split.panel: 3 is odd; make it 4"), REFUSED, "refused: split.panel: 3 is odd; make it 4"),
        (Damaged("done/x.json: torn"), REFUSED, "refused: done/x.json: torn"),
        (Stopped("no room"), INCOMPLETE, "stopped: no room; the same command goes on"),
        (Away("s3://b cannot be reached"), INCOMPLETE, "stopped: s3://b cannot be reached; the same command goes on"),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "results/x"),
            INCOMPLETE,
            "stopped: results/x: No space left on device; the same command goes on",
        ),
        (
            OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), "x" * 300),
            REFUSED,
            f"refused: {'x' * 100} ... {'x' * 100} (300 characters): File name too long; name another place",
        ),
        (
            MemoryError(),
            INCOMPLETE,
            "stopped: this machine's memory is used up; with more of it, the same command goes on",
        ),
        (KeyboardInterrupt(), INCOMPLETE, "interrupted; the same command goes on"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_is_no_bug_is_one_line_and_a_code(raised, code, line, capsys):
    def command():
        raise raised

    assert outcome(command) == code
    assert capsys.readouterr().err == f"{line}\n"


@pytest.mark.parametrize("bug", [ValueError("of a library"), KeyError("x"), RuntimeError("y"), AssertionError()])
def test_a_bug_shows_its_traceback_and_says_that_it_is_one(bug, capsys):
    def command():
        raise bug

    assert outcome(command) == INCOMPLETE
    said = capsys.readouterr().err
    assert said.startswith("Traceback")
    assert "This is a bug in mia-study" in said


def test_a_place_that_cannot_be_written_is_refused_with_its_reason(tmp_path):
    (tmp_path / "file").write_text("")
    page = tmp_path / "file" / "page.html"
    with pytest.raises(Refused, match=r"page.html: cannot be written: Not a directory; name another"), writing(page):
        page.write_text("x")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["swep"], "invalid choice: 'swep'"),
        (["sweep", "--plan", "--pilot"], "not allowed with argument"),
        (["sweep", "--pla"], "unrecognized arguments: --pla"),
        (["sweep", "--max-hours", "nan"], "'nan' is no number from 0"),
        (["status", "x", "--watch", "0"], "'0' is no number of seconds from 0.1 to 86400"),
        (["store", "gc", "x", "--older-than=--"], "'--' is no number of hours from 0"),
        (["report", "x", "--out="], "'' names no file"),
        (["report", "x", "--out=a/.."], "'a/..' names no file"),
        (["data", "--names=--"], "'--' is no number of names from 0"),
        (["near-duplicates", "--by=--"], "invalid choice: '--'"),
        (["near-duplicates", "--pairs=--"], "invalid int value: '--'"),
        (["store", "gc", "x", "--older-than", "-1"], "'-1' is no number of hours from 0"),
        (["release", "--range", "-2,1"], "invalid choice: '-2,1' (choose from '-1,1', '0,1', '0,255')"),
        (["release", "--members", "-folder"], "expected one argument; one that begins with - is given as --members="),
    ],
)  # fmt: skip
def test_words_that_no_command_knows_are_refused_before_anything_is_imported(words, line, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == REFUSED
    assert line in capsys.readouterr().err


@pytest.mark.parametrize("given", [["--range", "-1,1"], ["--range=-1,1"]], ids=["two words", "one word"])
def test_a_value_that_begins_with_a_minus_is_no_option(given, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["release", "--onnx", "G", *given, "--members", "IN", "--non-members", "OUT"]) == REFUSED
    assert capsys.readouterr().err.startswith("refused: --")


@pytest.mark.parametrize(
    ("words", "line"),
    [(["--set=--"], "--set --: expected key=value"), (["--preset=--"], "--preset --: unknown preset")],
)
def test_an_option_that_is_two_dashes_is_a_word_like_any_other(words, line, capsys):
    assert main(["config", *words]) == REFUSED
    assert line in capsys.readouterr().err


def test_without_a_command_the_help_is_shown_and_nothing_is_run(capsys):
    assert main([]) == REFUSED
    assert "Run a study:" in capsys.readouterr().err


@pytest.mark.parametrize(("module", "name"), [("study.sweep", "sweep"), ("analysis.report", "report")])
def test_the_two_modules_that_may_be_run_are_the_commands_of_their_names(module, name):
    ours, theirs = (
        subprocess.run([*words, "--help"], capture_output=True, text=True, check=True).stdout
        for words in ([*MIA_STUDY, name], [sys.executable, "-m", module])
    )
    assert ours == theirs != ""


PROJECT = Path(__file__).parents[2]
PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").glob("*.md"))]
HEADS = sorted((PROJECT / "configs").rglob("*.yaml"))
ENDS = re.compile(r"\s+(?:#|>|&&|\(|\|)|,\s|\s{2,}|`")


def commands_of(path):
    """What follows `mia-study` in a page's code or in the comments at the head of a configuration."""
    for line in path.read_text().splitlines():
        for found in re.finditer(r"(?:^|`|: +|and |\s{2,}|&& )mia-study ([a-z-]+(?: |`|$)[^`]*)", line):
            yield ENDS.split(found[1])[0].rstrip("'").strip()


@pytest.mark.parametrize("path", [*PAGES, *HEADS], ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_every_command_of_a_page_or_configuration_is_parsed_and_its_files_are_there(path, monkeypatch, capsys):
    monkeypatch.chdir(PROJECT)
    assert not re.search(r"python -m (study|analysis)\.(?!sweep|report)", path.read_text())
    for text in commands_of(path):
        words = shlex.split(text.replace("POINT", "1"))
        options = [word for word in words if word.startswith("--")]
        if " ".join(word for word in words if word not in options) in ("", *NAMES):  # named in a sentence
            assert all(option in help_of(text.partition("--")[0], capsys) for option in options), text
            continue
        assert build().parse_args(words).command.name in NAMES
        for word in words:
            assert not word.startswith("configs/") or Path(word).is_file(), text


def test_pages_have_commands_to_parse():
    found = {words.split()[0] for path in (*PAGES, *HEADS) for words in commands_of(path)}
    assert found >= {"sweep", "status", "report", "tables", "store", "cluster", "track", "search", "controls", "audit"}
    assert sum(len(list(commands_of(path))) for path in (*PAGES, *HEADS)) > 70

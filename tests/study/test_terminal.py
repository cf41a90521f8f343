"""Texts of others are shown, and do nothing."""

import ast
import io
import json
import logging
import re
import sys
from pathlib import Path

import pytest
from rich.live import Live
from rich.table import Table

import analysis
import study
from study import terminal
from study.terminal import Console, one_line, plain, say
from tests.hostile import TEXTS, does_nothing

WRITERS = ("print", "sys.stdout.write", "sys.stderr.write")


def wall(**options):
    return Console(file=io.StringIO(), width=300, **options)


def unescaped(text):
    return re.sub(r"\\u([0-9a-f]{4})|\\U([0-9a-f]{8})", lambda found: chr(int(found[1] or found[2], 16)), text)


@pytest.mark.parametrize("kind", TEXTS)
def test_every_kind_of_text_is_printable_and_nothing_of_it_is_lost(kind):
    assert does_nothing(plain(TEXTS[kind]))
    assert unescaped(plain(TEXTS[kind])) == TEXTS[kind]
    assert "\n" not in one_line(TEXTS[kind])
    assert unescaped(one_line(TEXTS[kind])) == TEXTS[kind]


def test_ordinary_text_stays_as_it_is():
    words = "größe [0.5, 0.7] × −3 ε≤8 数据 \\x1b C:\\new\tC\nD"
    assert plain(words) == words
    assert plain(Path("res[old]")) == "res[old]"


def test_json_stays_the_same_json():
    value = {"text": "".join(map(chr, range(0x300))), "other": list(TEXTS.values())}
    text = json.dumps(value, indent=2)
    assert does_nothing(plain(text))
    assert json.loads(plain(text)) == value


@pytest.mark.parametrize("kind", TEXTS)
def test_a_line_is_one_line_by_print_and_by_a_console(kind, capsys):
    say("a", TEXTS[kind])
    say(TEXTS[kind], stderr=True)
    said = capsys.readouterr()
    assert said.out.split("\n") == ["a", one_line(TEXTS[kind]), ""]
    assert said.err.split("\n") == [one_line(TEXTS[kind]), ""]
    console = wall()
    console.say("a", TEXTS[kind])
    assert console.file.getvalue() == said.out


@pytest.mark.parametrize("kind", TEXTS)
def test_a_table_shows_texts_as_they_are_in_titles_heads_and_cells_alike(kind):
    text = one_line(TEXTS[kind])
    console = wall()
    table = Table(TEXTS[kind].replace("\n", ""), title=TEXTS[kind].replace("\n", ""))
    table.add_row(TEXTS[kind].replace("\n", ""))
    console.print(table)
    shown = console.file.getvalue()
    assert does_nothing(shown)
    assert shown.count(text.replace("\\u000a", "")) == 3
    assert len({len(line) for line in shown.splitlines()[1:]}) == 1, "what is shown was not what was measured"


def shown_above_a_live_table(text, monkeypatch, color_system=None):
    """What a terminal gets, where a library logs this text."""
    console = wall(force_terminal=True, color_system=color_system)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with Live(Table("a"), console=console, redirect_stderr=True, auto_refresh=False):
        logging.StreamHandler(sys.stderr).emit(logging.makeLogRecord({"msg": text}))
    return console.file.getvalue()


def logged_above_a_live_table(text, monkeypatch):
    """Of that, what is not printable."""
    shown = shown_above_a_live_table(text, monkeypatch)
    assert text[-1] in shown
    return set(re.findall(r"\x1b\[[?0-9;]*[a-zA-Z]|.", shown)) - {letter for letter in shown if letter.isprintable()}


@pytest.mark.parametrize("kind", TEXTS)
def test_log_lines_of_others_move_nothing_above_a_live_table(kind, monkeypatch):
    usual = logged_above_a_live_table("a line", monkeypatch)
    assert logged_above_a_live_table(f"{TEXTS[kind]} a line", monkeypatch) == usual


def test_links_of_others_are_no_links_on_a_terminal_that_has_some(monkeypatch):
    link = "\x1b]8;;file:///etc/passwd\x1b\\a \x1b[31mline\x1b]8;;\x1b\\"
    shown = shown_above_a_live_table(link, monkeypatch, "standard")
    assert "a " in shown and "line" in shown
    assert "passwd" not in shown and "\x1b]8" not in shown


def test_nothing_else_prints():
    """A `print` or a console of rich elsewhere would let the texts above through."""
    found = []
    paths = [path for package in (study, analysis) for path in Path(package.__path__[0]).rglob("*.py")]
    for path in sorted(set(paths) - {Path(terminal.__file__)}):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "print",
                "sys.stdout.write",
                "sys.stderr.write",
            ):
                found.append(f"{path}:{node.lineno}: {ast.unparse(node.func)}")
            if isinstance(node, ast.ImportFrom) and node.module in ("rich", "rich.console", "rich.text"):
                names = {alias.name for alias in node.names} - {"Group", "RenderableType"}
                found += [f"{path}:{node.lineno}: {name}" for name in sorted(names)]
    assert not found

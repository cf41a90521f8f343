"""Texts of somebody else that would be code, markup, a command or a path, if anything took them for more than text."""

import os
import re
import tempfile
from itertools import groupby
from pathlib import Path

import pytest

CANARY = Path(tempfile.gettempdir()) / f"mia-study-canary-{os.getpid()}"
HITS: list[str] = []
"""What code that ran has done: a file, or an entry here."""

TOUCH = f"touch {CANARY}"
HIT = f"__import__('{__name__}', fromlist=['HITS']).HITS.append(1)"
KINDS = {
    "quotes": f'"\'""" + {HIT} + "\'',
    "query": f"target.norm` == @pd.io.common.os.system('{TOUCH}') or `train_size",
    "import": f"x', {HIT}) or __import__('os').system('{TOUCH}') #",
    "braces": "{{ 7 * 7 }}{% raw %}{0}{limit}{attack.__class__}",
    "percent": "%s%(name)s%n%%",
    "script": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "attribute": "\"><a onmouseover=alert(1) href='javascript:alert(1)'>",
    "rich": "[red]x[/red][/b][link=file:///etc/passwd]",
    "ansi": "\x1b[31mred\x1b]0;title\x07\x1b[2J\x9b1m",
    "newline": "one\ntwo\r\n# three\x85\u2028four",
    "nul": "before\0after",
    "rtl": "\u202egnp.exe\u202c\u200b",
    "long": "x" * 20_000,
    "shell": f"$({TOUCH}); {TOUCH} && `{TOUCH}` | '",
    "path": "../../../../etc/passwd",
    "math": r"a $\frac{$ b $x^{$",
    "markdown": f"| a | [x](javascript:alert(1)) `{TOUCH}` ![y](http://z) <b>&lt;",
    "formula": "=cmd|' /C calc'!A0",
}
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069]")
ALL = "everything"
SHORT = {kind: text[:500] for kind, text in KINDS.items()}
EVERYTHING = " ".join(sorted(SHORT.values(), key=lambda text: "<script" not in text))  # tables cut texts

AT_ONCE_AND_EACH = [ALL, *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS)]
"""For tests that take seconds: all of them in one text, and in `make test-all` each alone."""


def text_of(kind: str) -> str:
    return EVERYTHING if kind == ALL else KINDS[kind]


def longest_part(text):
    """The longest run of a text that can be printed."""
    return max(("".join(run) for printable, run in groupby(text, str.isprintable) if printable), key=len)

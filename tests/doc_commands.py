"""Code blocks of a page of docs/, run as a reader would: `console` is typed, `python` is run, a titled block is a file.

Blocks of any other kind are shown alone. A typed line may end with a comment that says its exit code: `# exit code 2`.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.commands import MIA_STUDY

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```(\w*)(?: title=\"([^\"]+)\")?\n(.*?)^```", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"#\s*exit code (\d)\s*$")


class Block(NamedTuple):
    """kind: the word after the fence. title: of a file, else empty."""

    kind: str
    title: str
    text: str


def blocks(page: str) -> list[Block]:
    """Code blocks of docs/PAGE, in order."""
    return [Block(*found) for found in BLOCK.findall((ROOT / "docs" / page).read_text())]


def typed(page: str) -> list[str]:
    """Lines that a reader types."""
    return [line for block in blocks(page) if block.kind == "console" for line in block.text.splitlines() if line]


def follow(page: str, folder: Path) -> list[subprocess.CompletedProcess[str]]:
    """Do in a folder all that a page says; what each typed line printed. AssertionError for another exit code."""
    done, names = [], {"__name__": page}
    for block in blocks(page):
        if block.title:
            (folder / block.title).write_text(block.text)
        elif block.kind == "python":
            exec(compile(block.text, page, "exec"), names)
        elif block.kind == "console":
            done += [run(line, folder) for line in block.text.splitlines() if line]
    return done


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """One typed line, in a process of its own."""
    wanted = int(found[1]) if (found := CODE.search(line)) else 0
    first, *words = shlex.split(line, comments=True)
    if first == "python":
        command = [sys.executable, str(ROOT / words[0]), *words[1:]]
    else:
        assert first == "mia-study", line
        command = [*MIA_STUDY, *words]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=800)
    assert ended.returncode == wanted, (line, ended.returncode, ended.stdout[-2000:], ended.stderr[-2000:])
    return ended

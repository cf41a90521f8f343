"""Mutants of the lines that keep what is read from being code and secrets from staying: each has to make a test fail.

`python -m tests.mutants` runs them all, in a copy of the checkout; with names, those alone. Exit code 1 where a mutant
lives. `tests/test_house.py` looks that every line is still there to be changed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Mutant:
    """line of file becomes other; one of the tests, as pytest takes them, has to fail."""

    file: str
    line: str
    other: str
    tests: str

    def apply(self, root: Path) -> None:
        """Change the file below root."""
        path = root / self.file
        text = path.read_text()
        assert text.count(self.line) == 1, f"{self.file}: {self.line!r} is there {text.count(self.line)} times"
        path.write_text(text.replace(self.line, self.other))


NAMES, TEXTS, TERMINAL = "tests/hostile/test_names.py", "tests/hostile/test_texts.py", "tests/study/test_terminal.py"
OPENING, ODD, YAML = (
    "tests/mia_core/test_opening.py",
    "tests/analysis/test_odd_files.py",
    "tests/study/test_hostile_yaml.py",
)
COPIES, LEFT, RAY = "tests/analysis/test_private_copies.py", "tests/left_behind", "tests/study/test_local_ray.py"
SCHEMA, DOCUMENTS, LOCAL_RAY = "study/store/schema.py", "study/spec/documents.py", "study/run/local_ray.py"
PLACES, SHOWN = "study/store/places.py", "analysis/report/shown.py"
NO_NAME = "if not is_column(name):"

MUTANTS = {
    # No code
    "a condition is evaluated": Mutant(
        "analysis/report/conditions.py",
        "mask &= table[name].isin(levels).to_numpy(bool)",
        'mask &= table.eval(f"{name} in {list(levels)}").to_numpy(bool)',
        NAMES,
    ),
    "a condition takes any column": Mutant("analysis/report/conditions.py", NO_NAME, "if False:", NAMES),
    "shown text is not quoted": Mutant(
        SHOWN, "return Shown(repr(plain_value(value)))", "return Shown(f\"'{plain_value(value)}'\")", TEXTS
    ),
    "shown columns are any text": Mutant(SHOWN, NO_NAME, "if False:", f"{TEXTS} {NAMES}"),
    "columns read are not checked": Mutant(SCHEMA, "if not is_column(column):", "if False:", NAMES),
    "words read are not checked": Mutant(SCHEMA, "if text is not None and not holds(text):", "if False:", NAMES),
    "labels of a design are not checked": Mutant(
        SCHEMA, 'checked.append(("label", labels, is_word))', "del labels", NAMES
    ),
    "factors of a design are not checked": Mutant(SCHEMA, NO_NAME, "if False:", NAMES),
    "rows written are not checked": Mutant(
        SCHEMA, "    _require_names(name, table)\n    for field in fields:", "    for field in fields:", NAMES
    ),
    "scores read are not checked": Mutant(
        SCHEMA, 'if name == "scores" and len(table):', "if False:", "tests/hostile/test_scores.py"
    ),
    "a name may end in a newline": Mutant(
        "study/store/names.py", "pattern.fullmatch(text)", "pattern.match(text)", NAMES
    ),
    # Terminals
    "control characters are printed": Mutant("study/terminal.py", "if words.isprintable():", "if True:", TERMINAL),
    "newlines are printed": Mutant(
        "study/terminal.py", 'return plain(text).replace("\\n", _number("\\n"))', "return plain(text)", TERMINAL
    ),
    "markup is taken": Mutant("study/terminal.py", "markup=False", "markup=True", TERMINAL),
    "emoji codes are taken": Mutant("study/terminal.py", "emoji=False", "emoji=True", TERMINAL),
    "cells are printed as they are": Mutant(
        "study/terminal.py", "super().render_str(plain(text), **", "super().render_str(text, **", TERMINAL
    ),
    "log lines are printed as they are": Mutant(
        "study/terminal.py", "Segment(plain(segment.text),", "Segment(segment.text,", TERMINAL
    ),
    "links stay": Mutant(
        "study/terminal.py", "style.update_link(None) if style and style.link else style", "style", TERMINAL
    ),
    # Files
    "files of any size are read": Mutant("mia_core/opening.py", "if size > most:", "if False:", OPENING),
    "files that grow are read": Mutant("mia_core/opening.py", "if len(data) > size:", "if False:", OPENING),
    "what is no file is read": Mutant("mia_core/opening.py", "if kind != stat.S_IFREG:", "if False:", OPENING),
    "pipes are waited for": Mutant("mia_core/opening.py", "os.O_NONBLOCK | ", "", OPENING),
    "links are followed": Mutant("mia_core/opening.py", "(0 if follow else os.O_NOFOLLOW)", "0", OPENING),
    "locks are opened through links": Mutant(
        "mia_core/opening.py", "os.O_CREAT | os.O_NOFOLLOW)", "os.O_CREAT)", OPENING
    ),
    "links out of a study are followed": Mutant(
        PLACES, "if os.path.commonpath([real, self._real]) != self._real:", "if False:", ODD
    ),
    "a link is written through": Mutant(PLACES, 'return self.path(folder) / name', "return self.path(relative)", ODD),
    "outputs are written through links": Mutant(
        "study/store/outputs.py", "if os.path.lexists(path) and", "if False and", ODD
    ),
    "tags are taken": Mutant(DOCUMENTS, "if event.tag is not None:", "if False:", YAML),
    "aliases are taken": Mutant(
        DOCUMENTS, "if isinstance(event, yaml.AliasEvent) or event.anchor is not None:", "if False:", YAML
    ),
    "any number of values is taken": Mutant(DOCUMENTS, "if self._values > VALUES:", "if False:", YAML),
    "any depth is taken": Mutant(DOCUMENTS, "if self._depth == DEPTH:", "if False:", YAML),
    "a key counts twice": Mutant(DOCUMENTS, "if key.value in seen:", "if False:", YAML),
    "numbers of any length are taken": Mutant(
        DOCUMENTS, "if len(node.value) > 20 or abs(int(node.value)) >= LARGEST:", "if False:", YAML
    ),
    # Secrets and private copies
    "folders are open": Mutant(
        "mia_core/private_files.py", "FOLDER, FILE = 0o700, 0o600", "FOLDER, FILE = 0o755, 0o644",
        "tests/mia_core/test_private_files.py",
    ),
    "Ray hands variables on": Mutant("study/run/scheduling.py", "\nENV_VARS_TO_PROPAGATE.clear()\n", "\n", LEFT),
    "workers' libraries write for all": Mutant(
        "study/run/scheduling.py", "    keep_to_owner()\n", "", "tests/study/test_scheduling.py"
    ),
    "Ray listens everywhere": Mutant(
        LOCAL_RAY, "ray_constants.ENABLE_RAY_CLUSTER = False", "ray_constants.ENABLE_RAY_CLUSTER = before", LEFT
    ),
    "Ray asks for no token": Mutant(
        LOCAL_RAY, '"RAY_AUTH_MODE": "token"', '"RAY_AUTH_MODE": "disabled"', f"{RAY} {LEFT}"
    ),
    "Ray's folder stays": Mutant(LOCAL_RAY, "        _remove(folder)\n", "        pass\n", RAY),
    "the token is for all": Mutant(
        LOCAL_RAY, 'private_files.open_file(token, "x")', 'open(token, "x")', RAY
    ),
    "an export has scores": Mutant(
        "study/store/exporting.py", '"attacks", "history")', '"attacks", "history", "scores")', COPIES
    ),
    "an export has hosts": Mutant(
        "study/store/exporting.py", "for key in VERSIONS if key in versions}", "for key in versions}", COPIES
    ),
    "an export has the data's folders": Mutant(
        "study/store/exporting.py", 'value if key == "name" or not _has_words(value) else None', "value", COPIES
    ),
    "an export says nothing of its noise": Mutant(
        "study/store/exporting.py", "if noise_from_seed(copy) else", "if False else", COPIES
    ),
    "an export keeps metadata": Mutant(
        SCHEMA, "return pa.table(table.columns, names=table.column_names)", "return table", COPIES
    ),
    "pages show what a kernel warned of": Mutant(
        "analysis/notebooks/execution.py", 'if output.get("name") != "stderr"', "", COPIES
    ),
    "notebooks always name records": Mutant(
        "analysis/notebooks/execution.py", '"yes" if include_records else ""', '"yes"', COPIES
    ),
    # Exit
    "Arrow reads memory of Python": Mutant(
        SCHEMA, "buffer = _in_arrow_memory(data)", "buffer = pa.py_buffer(data)", "tests/faults/test_ending.py"
    ),
}  # fmt: skip


def copy(folder: Path) -> None:
    """The files of the checkout that git knows, or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def killed(mutant: Mutant, folder: Path) -> bool:
    """Whether a test fails with the mutant in place, which is taken away again. RuntimeError where none ran."""
    before = (folder / mutant.file).read_bytes()
    mutant.apply(folder)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *mutant.tests.split()]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    finally:
        (folder / mutant.file).write_bytes(before)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"no test ran: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 1


def main(names: list[str]) -> int:
    """Run mutants, and print a line for each."""
    alive = 0
    with tempfile.TemporaryDirectory() as folder:
        copy(Path(folder))
        for name in names or MUTANTS:
            started = time.monotonic()
            dead = killed(MUTANTS[name], Path(folder))
            alive += not dead
            print(f"{'killed' if dead else 'LIVES '} {time.monotonic() - started:5.0f} s  {name}", flush=True)
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

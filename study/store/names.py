"""What names and words of a study may be; they are checked where they are written, and where they are read.

A name that passes is never more than a name, whatever it is put into: a line of Python, a path, a page, a metric of
MLflow.
"""

import re

LONGEST = 200
"""Characters of a name or word."""

_COLUMN = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_WORDS = re.compile(rf"{_WORD.pattern}(\+{_WORD.pattern})*")
SHOWN = 60
"""Characters of an odd text that an error repeats."""


def is_column(name: object) -> bool:
    """Whether this names a column, a factor or a setting: `train_size`, `target.norm`, `dp_sgd.sigma`."""
    return _matches(_COLUMN, name)


def is_word(text: object) -> bool:
    """Whether this is an id, a role, or the name of an attack, a target, a measure, a split or a data set."""
    return _matches(_WORD, text)


def is_defense(text: object) -> bool:
    """Whether this names the defenses of an arm: `none`, `dropout`, `dp_sgd+dropout`."""
    return _matches(_WORDS, text)


def quoted(text: object) -> str:
    """An odd text for an error: one line without control characters, and its beginning only where it is long."""
    words = str(text)
    return repr(words) if len(words) <= SHOWN else f"{words[:SHOWN]!r}..."


def _matches(pattern: re.Pattern[str], text: object) -> bool:
    return isinstance(text, str) and len(text) <= LONGEST and pattern.fullmatch(text) is not None

"""Text for people, on a terminal or in a log: it can be read, and does nothing else.

Names of files, errors and what a store holds may have been written by others. Printed as they are they could move the
cursor, hide or forge lines, set the clipboard or be taken for rich's markup. So every text is printed by this module.
"""

import sys
import textwrap
from collections.abc import Iterable
from typing import Any

import rich.console
from rich.segment import Segment
from rich.text import Text

from mia_core.errors import shorten

LONGEST = 4000
"""Characters of a line on stderr: an error may hold a value of any length."""


def plain(text: object) -> str:
    """Printable text: any other character is shown by its number, such as \\u001b. Newlines and tabs stay.

    Shown by number are control characters, marks that change the direction of writing, line separators, and bytes of
    a file name that are no text. JSON stays valid and keeps its values.
    """
    words = str(text)
    if words.isprintable():
        return words
    return "".join(letter if letter.isprintable() or letter in "\n\t" else _number(letter) for letter in words)


def one_line(text: object) -> str:
    """As `plain`, with newlines shown by their number too."""
    return plain(text).replace("\n", _number("\n"))


def _number(letter: str) -> str:
    return f"\\u{ord(letter):04x}" if ord(letter) < 2**16 else f"\\U{ord(letter):08x}"


def say(*lines: object, stderr: bool = False) -> None:
    """Print each as one line; without any, an empty line."""
    for line in lines or ("",):
        print(shorten(one_line(line), LONGEST) if stderr else one_line(line), file=sys.stderr if stderr else sys.stdout)


class Console(rich.console.Console):
    """rich's console for tables and live tables, with text as it is: no markup, emoji codes or highlights.

    options: of rich's, e.g. file and width.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def say(self, *lines: object) -> None:
        """Print each as one line, however long; above a live table, where there is one."""
        for line in lines or ("",):
            self.print(one_line(line), soft_wrap=True)

    def wrap(self, *lines: object) -> None:
        """Print prose: as `say`, but wrapped to the width of a terminal. Not for commands, which users copy."""
        fill = textwrap.TextWrapper(
            self.width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False, tabsize=1
        )
        for line in map(one_line, lines):
            self.say(*(fill.wrap(line) if self.is_terminal else [line]))

    def render_str(self, text: str, **options: Any) -> Text:
        """Any text, also in a cell or a title, before it is measured."""
        return super().render_str(plain(text), **options)

    def render(
        self, renderable: rich.console.RenderableType, options: rich.console.ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """What is no `str`, too: others' log lines, which a live table lets through with their colors and links."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(plain(segment.text), _without_link(segment.style))


def _without_link(style: Any) -> Any:
    return style.update_link(None) if style and style.link else style


def duration(seconds: float) -> str:
    """For people: `12 s`, `8.3 min`, `5.1 h`, `3.2 days`."""
    for unit, word, least in ((86400, "days", 2), (3600, "h", 1), (60, "min", 1.5)):
        if seconds >= least * unit:
            return f"{seconds / unit:.1f} {word}"
    return f"{seconds:.0f} s"

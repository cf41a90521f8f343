"""What a page is made of, and its HTML: every word that comes from a study is escaped."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analysis.report.headline import Sentence, Verdict
from analysis.report.provenance import Number
from analysis.report.sources import Cited, Ledger, preamble
from analysis.report.vocabulary import Vocabulary
from study.terminal import plain

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    words: Sentence
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Heading:
    """Of a part of a section."""

    words: str
    kind: ClassVar[str] = "heading"


@dataclass(frozen=True)
class Points:
    """A list of sentences."""

    items: Sequence[str]
    kind: ClassVar[str] = "list"


@dataclass(frozen=True)
class Picture:
    """An `<svg>` of `analysis.report.svg`. rows: of what it shows, where no table beside it says them.

    title: what it shows, in the words of a heading.
    """

    svg: Markup
    caption: str
    rows: Cited | None = None
    title: str = ""
    kind: ClassVar[str] = "picture"


@dataclass(frozen=True)
class Image:
    """A PNG, inside the page. words: what it shows, for those who do not see it."""

    png: bytes
    words: str
    caption: str
    kind: ClassVar[str] = "image"

    @property
    def source(self) -> str:
        """A data address."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


@dataclass(frozen=True)
class Cell:
    """text, or a number with its source. value: what it is sorted by, where that is not its text."""

    text: str = ""
    number: Number | Cited | None = None
    value: float | None = None


@dataclass(frozen=True)
class Row:
    """bad: stands out, as a failed control does."""

    cells: Sequence[Cell]
    bad: bool = False


@dataclass(frozen=True)
class Table:
    """folded: shown on demand. filter: with a box that keeps rows by their words. id: unique in the page."""

    id: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Row]
    sortable: bool = True
    filter: bool = False
    folded: bool = False
    kind: ClassVar[str] = "table"

    @property
    def numeric(self) -> Sequence[bool]:
        """Of each column, whether it has numbers, which are aligned at their right."""
        cells = [[row.cells[place] for row in self.rows] for place in range(len(self.columns))]
        return [any(one.number or one.value is not None for one in column) for column in cells]


@dataclass(frozen=True)
class Choice:
    """A slider over limits, which the first column of its table names; start: number of the limit shown first."""

    question: str
    table: Table
    start: int
    kind: ClassVar[str] = "choice"


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    facts: Mapping[str, str | Cited]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Code:
    """summary: shown on demand under it."""

    words: str
    summary: str = ""
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Blanks:
    """Fields to be filled in by hand, by their labels."""

    labels: Sequence[str]
    kind: ClassVar[str] = "blanks"


Block = Text | Heading | Points | Picture | Image | Table | Choice | Facts | Blanks | Code


@dataclass(frozen=True)
class Section:
    """id: unique in the page, and what links to it name."""

    id: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Tile:
    """A key number: what it is, the number in short, and more words about it."""

    label: str
    big: Cited
    more: Sentence


@dataclass(frozen=True)
class Check:
    """What one kind of control says, in a word or two. standing: what it is colored by."""

    name: str
    words: str
    standing: str


@dataclass(frozen=True)
class Page:
    """place: where the study is, as Python that computes its numbers again names it. checks: beside the badge."""

    title: str
    about: str
    place: str
    verdict: Verdict | None
    badge: str
    tiles: Sequence[Tile]
    sections: Sequence[Section]
    checks: Sequence[Check] = ()
    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    ledger: Ledger = field(default_factory=Ledger)

    def html(self) -> str:
        """The whole page, in one piece."""
        inlined = {name: Markup((FOLDER / file).read_text()) for name, file in INLINED.items()}  # our own
        template = environment(vocabulary=self.vocabulary).get_template("page.html")
        return template.render(page=self, ledger=self.ledger, cite=self.ledger.cite, preamble=self._preamble, **inlined)

    def _preamble(self) -> str:
        return preamble(self.place, self.ledger)


def environment(*folders: Path, vocabulary: Vocabulary | None = None) -> Environment:
    """Of templates in those folders and here; every text of a page is made printable and escaped.

    Labels of arms are said in words, but for texts that go through the filter `verbatim`, as code does. The filter
    `explain` says what terms mean.
    """
    words = vocabulary or Vocabulary()

    def printed(value: object) -> object:
        """Every text of a page; then it is escaped."""
        return words.say(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    made = Environment(
        loader=FileSystemLoader([*folders, FOLDER]),
        autoescape=True,
        finalize=printed,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    made.filters |= {"explain": words.explain, "relabel": words.relabel, "verbatim": verbatim}
    return made


def verbatim(text: str) -> Markup:
    """A text between tags as it is: there, quotes need no escaping, and code is full of them."""
    return Markup(escape(plain(text), quote=False))


INLINED = {"style": "style.css", "script": "script.js"}

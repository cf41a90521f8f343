"""What a reader sees of a report: the text of a page, and of a sentence with numbers in it."""

import re
from html import unescape


def text_of(path):
    """The text of an HTML page, in one line."""
    page = re.sub(r"<(style|script)>.*?</\1>|<[^>]+>", " ", re.sub(r"</?abbr[^>]*>", "", path.read_text()), flags=re.S)
    return unescape(" ".join(page.split()))


def words_of(sentence):
    """A sentence of a verdict, whose parts are texts and numbers."""
    return "".join(part if isinstance(part, str) else part.text for part in sentence)

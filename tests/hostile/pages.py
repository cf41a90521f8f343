"""A page as a browser takes it: its elements, attributes, links and words."""

from html.parser import HTMLParser


class Parsed(HTMLParser):
    """parts: each element with the names of its attributes. text: all that is outside of scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.parts, self.links, self._words, self._inside, self.codes = set(), set(), [], "", []
        self.feed(page)
        self.text = "".join(self._words)

    def handle_starttag(self, tag, attrs):
        self.parts.add((tag, *sorted(name for name, _ in attrs)))
        self.links |= {value for name, value in attrs if name in ("href", "src")}
        self._inside = tag if tag in ("script", "style") else ""
        if tag == "code":
            self.codes.append("")

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if not self._inside:
            self._words.append(data)
        if self.lasttag == "code" and self.codes:
            self.codes[-1] += data

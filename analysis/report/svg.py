"""Pictures as SVG inside a page: text stays text, points say their mean, interval and replicates when pointed at."""

import io
import json
from typing import Any
from xml.etree import ElementTree

import matplotlib.pyplot as plt
from markupsafe import Markup
from matplotlib.figure import Figure

from analysis.plots.drawing import TOLD
from study.terminal import plain

SVG = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"
LOOK: dict[Any, Any] = {"svg.fonttype": "none", "font.size": 9.5, "axes.titlesize": 10.5, "figure.titlesize": 10.5}
"""matplotlib's settings for pictures of a page: fonts are the reader's own."""


def inline(figure: Figure, name: str, words: str) -> Markup:
    """An `<svg>` element that scales with the page; the figure is closed.

    name: makes its inner ids unique in the page. words: what it shows, for those who do not see it.
    """
    with plt.rc_context({**LOOK, "svg.hashsalt": name}), io.StringIO() as sink:
        figure.savefig(sink, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        plt.close(figure)
        root = ElementTree.fromstring(sink.getvalue())
    for part in list(root):
        if part.tag == f"{SVG}metadata":
            root.remove(part)
    _tell(root)
    _shorten_ids(root, name)
    width, height = root.get("viewBox", "0 0 1 1").split()[2:]
    lines = [f'<svg role="img" viewBox="0 0 {width} {height}" style="max-width:{float(width) * 1.25:.0f}px">']
    lines.append(f"<title>{Markup.escape(plain(words))}</title>")
    lines += [_text(part) for part in root]
    return Markup("".join([*lines, "</svg>"]))  # escaped by ElementTree


def _tell(root: ElementTree.Element) -> None:
    for group in root.iter(f"{SVG}g"):
        text = group.get("id", "")
        if text.startswith(TOLD):
            points = list(group.iter(f"{SVG}use"))
            for point, words in zip(points, json.loads(text.removeprefix(TOLD)), strict=False):
                ElementTree.SubElement(point, f"{SVG}title").text = plain(words)
            del group.attrib["id"]
            group.set("class", "told")


def _shorten_ids(root: ElementTree.Element, name: str) -> None:
    """Only what is referred to keeps an id, and that one is of this picture alone."""
    used = {part.get(LINK, "").removeprefix("#") for part in root.iter()}
    used |= {value[5:-1] for part in root.iter() for value in part.attrib.values() if value.startswith("url(#")}
    for part in root.iter():
        if part.get("id", "") in used - {""}:
            part.set("id", f"{name}-{part.get('id')}")
        else:
            part.attrib.pop("id", None)
        for key, value in list(part.attrib.items()):
            if key == LINK:
                del part.attrib[key]
                part.set("href", f"#{name}-{value[1:]}" if value.startswith("#") else value)
            elif value.startswith("url(#"):
                part.set(key, f"url(#{name}-{value[5:]}")


def _text(part: ElementTree.Element) -> str:
    """HTML needs no namespaces."""
    for one in part.iter():
        one.tag = one.tag.removeprefix(SVG)
    return ElementTree.tostring(part, encoding="unicode")

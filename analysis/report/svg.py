"""Pictures as SVG inside a page: text stays text, points say their mean, interval and replicates when pointed at.

What matplotlib writes is made small: numbers have two decimals, equal styles are one class, and groups that say nothing
are taken out. Fonts, and the color of the paper, are the page's own.
"""

import io
import json
import re
from typing import Any
from xml.etree import ElementTree

import matplotlib.pyplot as plt
from markupsafe import Markup
from matplotlib.figure import Figure

from analysis.plots.drawing import TOOLTIPS
from study.terminal import plain

SVG = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"
LOOK: dict[Any, Any] = {"svg.fonttype": "none", "font.size": 9.5, "axes.titlesize": 10.5, "figure.titlesize": 10.5}
"""matplotlib's settings for pictures of a page: fonts are the reader's own."""
WIDTH = 11.5
"""Inches of a picture that is as wide as the page: its letters are as large as those of the page's tables."""
TEXTS = (f"{SVG}text", f"{SVG}tspan", f"{SVG}title", f"{SVG}style")
"""Elements whose spaces are words."""
LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}(?:e[+-]?\d+)?")
NOT_TURNED = re.compile(r"rotate\(-?0(\.0*)? [^)]*\)")


def inline(figure: Figure, name: str, words: str) -> Markup:
    """An `<svg>` element that scales with the page; the figure is closed.

    name: makes its inner ids unique in the page. words: what it shows, for those who do not see it.
    """
    with plt.rc_context({**LOOK, "svg.hashsalt": name}), io.StringIO() as sink:
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(sink, format="svg", metadata=nothing, transparent=True)
        plt.close(figure)
        root = ElementTree.fromstring(sink.getvalue())
    for part in list(root):
        if part.tag == f"{SVG}metadata":
            root.remove(part)
    _add_tooltips(root)
    _shorten_ids(root, name)
    _shorten_numbers(root)
    styles = _share_styles(root, name)
    _unwrap(root)
    width, height = root.get("viewBox", "0 0 1 1").split()[2:]
    lines = [f'<svg role="img" viewBox="0 0 {width} {height}" style="max-width:{float(width) * 1.25:.0f}px">']
    lines.append(f"<title>{Markup.escape(plain(words))}</title><style>{styles}</style>")
    lines += [_text(part) for part in root]
    return Markup("".join([*lines, "</svg>"]))  # escaped by ElementTree


def page_wide(figure: Figure) -> tuple[str, str]:
    """Make a figure as wide as the page, with letters of one size, and take its title, which the page writes.

    Returns the title, and what it says of replicates and intervals, without the study's name.
    """
    title, _, extent = figure.get_suptitle().partition("\n")
    figure.set_figwidth(WIDTH)
    figure.suptitle("")
    rest = extent.rpartition(": ")[2]
    return title, f"{rest[:1].upper()}{rest[1:]}"


def _add_tooltips(root: ElementTree.Element) -> None:
    for group in root.iter(f"{SVG}g"):
        text = group.get("id", "")
        if text.startswith(TOOLTIPS):
            points = list(group.iter(f"{SVG}use"))
            for point, words in zip(points, json.loads(text.removeprefix(TOOLTIPS)), strict=False):
                ElementTree.SubElement(point, f"{SVG}title").text = plain(words)
            del group.attrib["id"]
            group.set("class", "tooltips")


def _shorten_ids(root: ElementTree.Element, name: str) -> None:
    """Only what is referred to keeps an id, and that one is of this picture alone."""
    used = {part.get(LINK, "").removeprefix("#") for part in root.iter()}
    used |= {value[5:-1] for part in root.iter() for value in part.attrib.values() if value.startswith("url(#")}
    short = {old: f"{name}-{number}" for number, old in enumerate(sorted(used - {""}))}
    for part in root.iter():
        if part.get("id", "") in short:
            part.set("id", short[part.attrib["id"]])
        else:
            part.attrib.pop("id", None)
        for key, value in list(part.attrib.items()):
            if key == LINK:
                del part.attrib[key]
                part.set("href", f"#{short[value[1:]]}" if value.startswith("#") else value)
            elif value.startswith("url(#"):
                part.set(key, f"url(#{short[value[5:-1]]})")


def _shorten_numbers(root: ElementTree.Element) -> None:
    """Two decimals, a hundredth of a point, which no screen shows."""
    for part in root.iter():
        for key, value in list(part.attrib.items()):
            if key in ("x", "y", "transform", "width", "height"):
                part.set(key, LONG_NUMBER.sub(_rounded, value))
            elif key == "d":
                text = " ".join(LONG_NUMBER.sub(_rounded, value).split())
                part.set(key, re.sub(r" ?([A-Za-z]) ?", r"\1", text))
        if NOT_TURNED.fullmatch(part.get("transform", "")):
            del part.attrib["transform"]


def _rounded(found: re.Match[str]) -> str:
    text = f"{float(found[0]):.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _share_styles(root: ElementTree.Element, name: str) -> str:
    """Rules of a class for each style; what stands around a picture says what its letters look like."""
    classes: dict[str, str] = {}
    for part in root.iter():
        parts = [one.strip() for one in part.attrib.pop("style", "").split(";")]
        style = ";".join(one.replace(": ", ":") for one in parts if one and not one.startswith("font-family"))
        if style:
            own = classes.setdefault(style, f"{name}-s{len(classes)}")
            part.set("class", f"{part.get('class', '')} {own}".strip())
    for part in list(root):
        if part.tag == f"{SVG}defs" and part.find(f"{SVG}style") is not None:
            root.remove(part)
    return "".join(f".{own}{{{style}}}" for style, own in classes.items())


def _unwrap(root: ElementTree.Element) -> None:
    """Take out spaces between elements, and groups without attributes, whose parts move up."""
    for part in root.iter():
        if part.tag not in TEXTS:
            part.text = None
        part.tail = part.tail if part.tag == f"{SVG}tspan" else None
    for part in list(root.iter()):
        if part.tag in TEXTS:
            continue
        flat: list[ElementTree.Element] = []
        pending = list(part)
        while pending:
            one = pending.pop(0)
            if one.tag == f"{SVG}g" and not one.attrib:
                pending[:0] = list(one)
            else:
                flat.append(one)
        part[:] = flat


def _text(part: ElementTree.Element) -> str:
    """HTML needs no namespaces."""
    for one in part.iter():
        one.tag = one.tag.removeprefix(SVG)
    return ElementTree.tostring(part, encoding="unicode")

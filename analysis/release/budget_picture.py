"""A picture of AUC over the number of samples released, as SVG without style attributes: the page bars them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 340, 52, 170, 28, 44
COLORS = ("#0b5394", "#b42318", "#1b6e45", "#8a5a00", "#6b3fa0", "#00707a", "#56606f")
LABEL = 15
"""Least distance of two labels, in units of the picture."""


@dataclass(frozen=True)
class Point:
    """An AUC with its interval, after so many samples."""

    released: int
    auc: float
    low: float
    high: float


def curves(lines: Mapping[str, Sequence[Point]], words: str) -> Markup:
    """One line a name, of points ascending by `released`. words: what it shows, for those who do not see it."""
    every = [point for points in lines.values() for point in points]
    bottom = math.floor(10 * min(0.5, *(point.low for point in every))) / 10
    top = math.ceil(10 * max(0.6, *(point.high for point in every))) / 10
    first, last = (math.log(end(point.released for point in every)) for end in (min, max))

    def across(released: int) -> float:
        share = 0.5 if last == first else (math.log(released) - first) / (last - first)
        return LEFT + 12 + share * (WIDTH - LEFT - RIGHT - 24)

    def up(auc: float) -> float:
        return HEIGHT - BOTTOM - (auc - bottom) / (top - bottom) * (HEIGHT - TOP - BOTTOM)

    parts = [
        Markup('<svg role="img" viewBox="0 0 {} {}" font-size="12"><title>{}</title>').format(WIDTH, HEIGHT, words)
    ]
    for tick in range(round(10 * bottom), round(10 * top) + 1):
        y, chance = up(tick / 10), tick == 5
        parts.append(_line(LEFT, y, WIDTH - RIGHT, y, "#56606f" if chance else "#d9dee6", dashed=chance))
        parts.append(_text(LEFT - 6, y + 4, f"{tick / 10:.1f}", "end"))
    for released in sorted({point.released for point in every}):
        parts.append(_text(across(released), HEIGHT - BOTTOM + 18, f"{released:,}", "middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "samples released", "middle"))
    parts.append(_text(LEFT - 6, TOP - 14, "AUC", "end"))
    ends = _apart([up(points[-1].auc) for points in lines.values()])
    for number, (name, points) in enumerate(lines.items()):
        color = COLORS[number % len(COLORS)]
        shift = 2.5 * (number - (len(lines) - 1) / 2)
        path = " ".join(f"{across(point.released) + shift:.1f},{up(point.auc):.1f}" for point in points)
        parts.append(Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="1.8"/>').format(path, color))
        for point in points:
            x = across(point.released) + shift
            parts.append(_line(x, up(point.low), x, up(point.high), color))
            tooltip = f"{name}, {point.released:,} samples: {point.auc:.3f} [{point.low:.3f}, {point.high:.3f}]"
            circle = Markup('<circle cx="{:.1f}" cy="{:.1f}" r="3.4" fill="{}"><title>{}</title></circle>')
            parts.append(circle.format(x, up(point.auc), color, tooltip))
        parts.append(_text(WIDTH - RIGHT + 8, ends[number] + 4, name, "start", color))
    return Markup("").join([*parts, Markup("</svg>")])


def _apart(places: Sequence[float]) -> list[float]:
    """Places of labels, moved so that no two are nearer than LABEL."""
    found = list(places)
    before = -math.inf
    for number in sorted(range(len(found)), key=found.__getitem__):
        before = found[number] = max(found[number], before + LABEL)
    over = max(0.0, before - (HEIGHT - BOTTOM)) if found else 0.0
    return [place - over for place in found]


def _line(x1: float, y1: float, x2: float, y2: float, color: str, dashed: bool = False) -> Markup:
    dashes = Markup(' stroke-dasharray="4 3"') if dashed else Markup("")
    line = Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}"{}/>')
    return line.format(x1, y1, x2, y2, color, dashes)


def _text(x: float, y: float, words: str, anchor: str, color: str = "#1c2330") -> Markup:
    text = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" fill="{}">{}</text>')
    return text.format(x, y, anchor, color, escape(words))

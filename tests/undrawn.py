"""Pages without their pictures, which take most of the time and have tests of their own."""

from types import FunctionType

import pytest
from markupsafe import Markup

from analysis import plots
from analysis.report import sections


def draw_nothing(patch: pytest.MonkeyPatch) -> None:
    """A report's pictures are empty while `patch` lasts."""
    for name in [name for name, value in vars(plots).items() if isinstance(value, FunctionType)]:
        patch.setattr(plots, name, lambda *arguments, **named: None)
    patch.setattr(sections, "page_wide", lambda figure: ("", ""))
    patch.setattr(sections, "inline", lambda figure, name, words: Markup("<svg></svg>"))

"""What mkdocs calls while it builds: it adds the generated pages, and files of the repository that pages link to.

A page of docs/ links to the repository as it lies there, `../configs/digits.yaml`, so that it can be read as a file. In
the site, these files are copied below `repository/`; README.md is the first page.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from documentation.docstrings import ROOT
from documentation.generated_pages import pages

LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[\w-]+)?\))")
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages of the repository's root, by their place in the site."""


STUDIES = ("digits", "privacy_digits_quick", "attacks_digits_quick", "search_digits")
"""Studies whose reports the gallery has, where they were run."""
PLACE_OF_REPORTS = "<!-- reports -->"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is made, and what lies outside of docs/."""
    made = {**pages(), **{place: (ROOT / name).read_text() for name, place in PAGES.items()}}
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    for study in _reported():
        files.append(File.generated(config, f"gallery/{study}.html", abs_src_path=str(_report(study))))
    linked = {path for page in files.documentation_pages() for path in _outside(page)}
    for path in sorted(linked):
        files.append(File.generated(config, f"repository/{path}", content=(ROOT / path).read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Page, **more: Any) -> str:
    """Links of a page as they are in the site."""
    place, origin = page.file.src_uri, _origin(page.file.src_uri)

    def moved(found: re.Match[str]) -> str:
        target = _target(found[2], origin)
        if target is None:
            return found[0]
        there = PAGES.get(target) or (
            target.removeprefix("docs/") if target.startswith("docs/") else f"repository/{target}"
        )
        return f"{found[1]}{posixpath.relpath(there, posixpath.dirname(place) or '.')}{found[3]}"

    links = "".join(f"- [{study}](gallery/{study}.html)\n" for study in _reported())
    return LINK.sub(moved, markdown).replace(PLACE_OF_REPORTS, links)


def _reported() -> list[str]:
    return [study for study in STUDIES if _report(study).exists()]


def _report(study: str) -> Path:
    """Without `--include-records`, so that it shows no record."""
    return ROOT / "results" / study / "reports" / "report.html"


def _origin(place: str) -> str:
    """Where a page of the site lies in the repository."""
    return next((name for name, there in PAGES.items() if there == place), f"docs/{place}")


def _target(link: str, origin: str) -> str | None:
    """The file of the repository that a link of a page leads to; None for what is no file there."""
    if re.match(r"[a-z]+:", link):
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), link))
    return path if (ROOT / path).is_file() else None


def _outside(page: File) -> set[str]:
    """Files that a page links to, which are neither in docs/ nor pages of the root."""
    origin = _origin(page.src_uri)
    found = {_target(link, origin) for _, link, _ in LINK.findall(page.content_string)}
    return {path for path in found if path and not path.startswith("docs/") and path not in PAGES}

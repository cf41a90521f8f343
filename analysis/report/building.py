"""Puts a study's report together from its store."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.checks import cautions
from analysis.report import findings, limits, of_points, of_search, privacy, records_at_risk, release, sections
from analysis.report.headline import CAREFUL, FAILED, SOUND, Sentence, Verdict, verdict
from analysis.report.page import Check, Page, Section, Tile
from analysis.report.sources import Cited
from analysis.report.vocabulary import Vocabulary
from analysis.stats.baselines import audits, verdicts
from analysis.stats.drawn_points import influences
from analysis.stats.limits_by_arm import limits_by_arm
from analysis.stats.search_results import confirmed, search
from analysis.stats.summary import about_intervals
from analysis.study_data import ARM, StudyData, load, short, words_of_measure

BADGES = {SOUND: "no control failed", CAREFUL: "with caution", FAILED: "not to be used"}


def build(folder: str | Path, include_records: bool = False) -> Page:
    """The page of `<root>/<study>`; ValueError when nothing is there to report."""
    data = load(folder)
    judged = verdicts(data)
    policy = limits_by_arm(data, judged, _missing(data))
    audited = audits(data) if data.private else pd.DataFrame()
    warnings = cautions(data, judged, audited)
    if data.searched:
        return _of_search(data, judged, audited, warnings, policy)
    if data.drawn:
        moved = influences(data, data.primary)
        found = of_points.verdict(data, judged, audited, _missing(data), moved)
        parts = [
            of_points.influence(data, found, moved),
            of_points.tradeoff(data, found),
            sections.leakage(data, found),
            privacy.privacy(data, found, audited),
            records_at_risk.risk(data, found, include_records),
            sections.controls(data, judged, warnings),
            sections.how(data),
            of_points.points(data, found),
        ]
        return _page(data, of_points.about(data), found, of_points.tiles(data, found, moved), parts, policy, judged)
    found = verdict(data, judged, audited, _missing(data))
    parts = [  # in the order of questions: who, what, how surely and of whom; what changes it; what protects
        release.who(data, found),
        sections.leakage(data, found),
        sections.roc(data, found),
        records_at_risk.risk(data, found, include_records),
        release.copied(data, found, include_records),
        release.how_many(data, found),
        findings.changes(data, found),
        findings.scaling(data, found),
        findings.tradeoff(data, found),
        privacy.privacy(data, found, audited),
        findings.samples(data, found) if include_records else None,
        sections.controls(data, judged, warnings),
        sections.how(data),
        sections.cells(data, found),
    ]
    return _page(data, _about(data), found, _tiles(data, found), parts, policy, judged)


def _of_search(
    data: StudyData, judged: pd.DataFrame, audited: pd.DataFrame, warnings: Sequence[str], policy: pd.DataFrame
) -> Page:
    came_out = search(data)
    fresh = confirmed(data, came_out)
    found = of_search.verdict(data, judged, audited, _missing(data), came_out, fresh)
    parts = [
        of_search.front(data, came_out),
        of_search.confirmation(data, came_out, fresh),
        of_search.by_factor(data, came_out),
        privacy.privacy(data, found, audited),
        sections.controls(data, judged, warnings),
        sections.how(data),
        of_search.points(data, came_out),
    ]
    return _page(data, of_search.about(data), found, of_search.tiles(data, came_out), parts, policy, judged)


def _page(
    data: StudyData,
    about: str,
    found: Verdict,
    tiles: Sequence[Tile],
    parts: Sequence[Section | None],
    policy: pd.DataFrame,
    judged: pd.DataFrame,
) -> Page:
    sections = [limits.section(data, policy, _missing(data)), *parts]
    return Page(
        title=f"How much does it leak? Study {data.name}",
        about=about,
        place=short(data.store),
        verdict=limits.with_first_line(found, policy),
        badge=_badge(found),
        tiles=tiles,
        sections=[part for part in sections if part],
        checks=checks(judged),
        vocabulary=Vocabulary.of(data.arms, data.attacks),
    )


def checks(judged: pd.DataFrame) -> list[Check]:
    """What each kind of control says, from `verdicts`: failed before inconclusive before shown."""
    found = []
    for name, rows in judged.groupby("control", sort=False) if "standing" in judged else ():
        standings = rows["standing"].dropna().tolist()
        counts = {one: standings.count(one) for one in ("failed", "inconclusive", "shown") if one in standings}
        words = ", ".join(f"{count} {one}" for one, count in counts.items()) or "not run"
        found.append(Check(str(name), words, next(iter(counts), "inconclusive")))
    return found


def _missing(data: StudyData) -> int:
    """Trials of the current design that are not sealed."""
    design = data.table("design")
    wanted = set(design.loc[design["kind"] == "trial", "trial_id"])
    return len(wanted - set(data.table("trials")["trial_id"]))


def _about(data: StudyData) -> str:
    trials = data.wide.drop_duplicates("trial_id")
    counts = {
        "training-set size": trials["train_size"].nunique(),
        f"level of {data.budget}": trials[data.budget].nunique(),
        "arm": len(data.arms),
        "target": len(data.variants),
    }
    plural = {f"level of {data.budget}": f"levels of {data.budget}"}
    words = [
        f"{count} {name if count == 1 else plural.get(name, name + 's')}" for name, count in counts.items() if count > 1
    ]
    own = "Each replicate has its own members, initialization and data order."
    return f"{sections.ran(data, data.variants[:4], words)} {own} {about_intervals(data)}"


def _badge(found: Verdict) -> str:
    return BADGES[found.standing]


def _tiles(data: StudyData, found: Verdict) -> list[Tile]:
    start = found.start
    tiles = [
        Tile(
            "AUC of " + found.attack,
            Cited(start.short, start.source),
            (start, f", the probability above; {sections.words_of(data, found.cell)}. Chance is 0.5"),
        )
    ]
    for change in found.changes:
        if change.cell == found.cell and change.factor in (data.budget, "train_size"):
            what = "records" if change.factor == "train_size" else data.budget
            settled = "" if change.clear else "; not settled"
            tiles.append(
                Tile(
                    f"AUC, {change.cell[change.factor]} to {change.level} {what}",
                    Cited(change.by.short, change.by.source),
                    ("to ", change.leakage, settled),
                )
            )
    tried = [c for c in found.changes if c.factor == ARM and c.level not in data.control_arms]
    arms = sorted(tried, key=lambda c: c.leakage.value)
    for change in arms[:2]:
        cost: Sentence = (f", {words_of_measure(str(data.quality))} ", change.cost) if change.cost else ()
        settled = "" if change.clear else "; not settled"
        tiles.append(
            Tile(
                f"AUC with {change.level}",
                Cited(change.leakage.short, change.leakage.source),
                (change.by, *cost, settled),
            )
        )
    return tiles

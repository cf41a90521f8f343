"""What is wrong with a study or missing from it, for readers to see before any of its effects."""

import shlex
from collections.abc import Iterator
from itertools import product

import pandas as pd

from analysis.format import form_of, number, replicates
from analysis.sentences import line
from analysis.stats.baselines import audits, verdicts
from analysis.stats.derived_scores import fitted_on_each_other
from analysis.stats.inference import AUC, judged_scores
from analysis.study_data import VARIANT, StudyData, short
from mia_core.metrics.two_way import MIN_REPLICATES
from study.design.trial_config import TrialConfig
from study.store.roles import ADAPTIVE, BLIND, STUDIED

NAMED = 5
"""So many cells are named; more are counted."""
LEAST_NON_MEMBERS = 1000
"""Below, a cell has no TPR at 1 % FPR: fewer than 10 false positives are expected in its replicates together."""


def cautions(data: StudyData, controls: pd.DataFrame | None = None, audited: pd.DataFrame | None = None) -> list[str]:
    """Sentences that a reader must know, the worst first; empty when nothing is wrong.

    controls, audited: the tables `verdicts` and `audits` of `stats.baselines`, where they were computed already.
    """
    judged = verdicts(data) if controls is None else controls
    proved = audits(data) if audited is None else audited
    return [
        *_controls(judged),
        *_audits(proved),
        *_searched(data),
        *_incomplete(data),
        *_replicates(data),
        *_published(data),
        *_measured(data),
    ]


def _controls(table: pd.DataFrame) -> Iterator[str]:
    if "ok" not in table:
        yield line("controls of a public copy")
        return
    for row in table[table["ok"].eq(False).fillna(False)].itertuples():
        what = row.attack if isinstance(row.attack, str) and row.attack != row.control else "the split"
        yield line(
            "failed control", control=row.control, what=what, auc=number(row.auc, form_of(AUC)), verdict=row.verdict
        )
    failed = table.loc[table["ok"].eq(False).fillna(False), "control"]
    if BLIND in set(failed):
        yield line("blind finds")
    for row in table[table["ok"].isna()].itertuples():
        yield line("silent control", control=row.control, verdict=row.verdict)


def _audits(table: pd.DataFrame) -> Iterator[str]:
    if "ok" in table:
        for row in table[table["ok"].eq(False).fillna(False)].itertuples():
            yield line("false claim", arm=row.arm, size=row.train_size, verdict=row.verdict)


def _searched(data: StudyData) -> Iterator[str]:
    design = data.table("design")
    count = design.loc[design["role"] == ADAPTIVE, "trial_id"].nunique()
    if count:
        command = shlex.join(["mia-study", "search", short(data.store), "--confirm", "POINT"])
        yield line("searched", count=count, command=command)


def _incomplete(data: StudyData) -> Iterator[str]:
    design = data.table("design")
    own = design[design["role"].isin(STUDIED)]
    trials = own[own["kind"] == "trial"]
    diverged = trials[trials["trial_id"].isin(data.diverged)]
    if len(diverged):
        names = _some(list(map(str, diverged["label"])))
        yield line("diverged", count=len(diverged), trials=len(trials), names=names)
    planned = set(trials["trial_id"]) - data.diverged
    there = planned & set(data.wide["trial_id"])
    if len(there) < len(planned):
        yield line("sweep not complete", there=len(there), planned=len(planned))
    wanted = own.loc[own["kind"] == "attack"]
    done = data.wide.groupby("attack")["trial_id"].nunique()
    rows_of = data.table("attacks")
    left_out = rows_of[rows_of["skipped"].notna() & rows_of["trial_id"].isin(there)]
    skipped = left_out.groupby("attack")["trial_id"].nunique()
    for label, rows in wanted[wanted["trial_id"].isin(there)].groupby("label", sort=False):
        count = int(done.get(label, 0))
        possible = len(rows) - int(skipped.get(label, 0))  # a target may not permit it, as the plan says
        if count < possible:
            yield line("attack not complete", attack=label, there=count, planned=possible)


def _replicates(data: StudyData) -> Iterator[str]:
    if data.replicates < MIN_REPLICATES:
        yield line("few replicates", replicates=replicates(data.replicates), least=MIN_REPLICATES)
    if not data.crossed:
        return  # there are points, not cells
    counts = data.wide.groupby(list(data.cell))["replicate"].nunique()
    missing, fewer = [], []
    for variant in data.variants:
        own = data.wide[data.wide[VARIANT] == variant]
        levels = [list(dict.fromkeys(own[name])) for name in data.cell[1:]]
        for arm, size, length in product(*levels):
            count = counts.get((variant, arm, size, length), 0)
            words = f"{variant}, {arm}, n = {size}, {length} {data.budget}"
            if not count:
                missing.append(words)
            elif count < data.replicates:
                fewer.append(f"{words} ({count} of {data.replicates})")
    if missing:
        yield line("missing cells", names=_some(missing))
    if fewer:
        yield line("unequal replicates", names=_some(fewer))


def _published(data: StudyData) -> Iterator[str]:
    """Targets without a published network of their name beside them."""
    configs = data.wide[["target", "config"]].drop_duplicates("config").itertuples(index=False)
    targets = [(label, TrialConfig.parse(text).target) for label, text in configs]
    there = {target.name for _, target in targets if target.cls.is_published(target.config)}
    for label, choice in dict(targets).items():
        if choice.name not in there:
            settings = ", ".join(
                f"{key}: {value}" for key, value in choice.cls.published_settings(choice.config).items()
            )
            yield line("not published", targets=label, settings=settings)


def _measured(data: StudyData) -> Iterator[str]:
    trials = data.wide.drop_duplicates("trial_id")
    flags = trials["flags"].dropna() if "flags" in trials else trials["trial_id"].iloc[:0]
    flags = flags[flags != ""]
    if len(flags):
        yield line("flagged", count=len(flags), trials=len(trials), flags=_some(sorted(set(flags))))
    if data.quality is None:
        yield line("no quality")
    others = _non_members(data)
    if others < LEAST_NON_MEMBERS:
        yield line("few non-members", others=others, least=LEAST_NON_MEMBERS)
    if (data.wide[AUC] == 1).any():
        yield line("perfect")
    if attacks := [attack for attack in data.attacks if fitted_on_each_other(data.attack(attack))]:
        yield line("fitted on each other", attacks=", ".join(attacks))


def _non_members(data: StudyData) -> int:
    """Judged non-members of the cell that has most of them, over its replicates; a public copy counts each trial's."""
    if data.public:
        return round((data.wide["queries"] * (1 - data.wide["baseline_top_n"])).max())
    rows = data.attack(data.primary)
    _, member = judged_scores(data, data.primary).of(list(rows["trial_id"]))
    others = pd.Series((~member).sum(1), rows.index)
    if not data.crossed:  # each point is a cell
        return int(others.max()) * data.replicates
    return int(others.groupby([rows[name] for name in data.cell]).sum().max())


def _some(words: list[str]) -> str:
    more = f"; and {len(words) - NAMED} more" if len(words) > NAMED else ""
    return "; ".join(words[:NAMED]) + more

"""What a search found: its points in the order they were asked, the front, and what fresh replicates say of a point."""

import json
from dataclasses import dataclass

import pandas as pd

from analysis.stats.drawn_points import by_point
from analysis.stats.effects import means
from analysis.study_data import StudyData, load
from mia_core.errors import Refused
from study.run.search import confirming, confirming_study, front, outcomes, used_levels
from study.spec.objectives import CHANCE, Objective
from study.spec.study_file import Spec, parse_stored
from study.store import Store, read

SAME = ("data", "split", "target", "training", "factors")
"""Parts of a resolved spec that a confirmation has as its point has them."""


@dataclass(frozen=True)
class Goal:
    """An objective in the wide table. name: as the search has it. attack: whose rows have the column (any, of a
    measure). minimized: whether less is better.
    """

    name: str
    attack: str
    column: str
    minimized: bool
    leakage: bool


@dataclass(frozen=True)
class Search:
    """goals: in order. table: one row a point in the order asked, with columns point, the varied factors (null where a
    setting means nothing to the point's arm), a goal's value by its name (the mean over replicates that the search
    used; null where a trial of it lacks results) with its 95 % t interval (_low, _high), on_front, trials (their ids).
    """

    goals: tuple[Goal, ...]
    factors: tuple[str, ...]
    table: pd.DataFrame

    @property
    def with_results(self) -> pd.DataFrame:
        """The points that have results."""
        return self.table[self.table[self.goals[0].name].notna()]

    @property
    def front(self) -> pd.DataFrame:
        """The points that no other is better than, the best in the first goal first."""
        first = self.goals[0]
        return self.table[self.table["on_front"]].sort_values(first.name, ascending=first.minimized)

    def running(self, goal: Goal) -> pd.Series:
        """The best value so far, at each point that has one."""
        values = self.with_results[goal.name]
        return values.cummin() if goal.minimized else values.cummax()


def search(data: StudyData) -> Search:
    """What came out; ValueError for a study that is no search."""
    spec = _search_of(data)
    assert spec.search is not None
    design = data.table("design")
    known = outcomes(data.store, spec, design)
    goals = tuple(_goal(data, objective) for objective in spec.search.goals)
    table = used_levels(spec).rename_axis("point").reset_index()
    for position, goal in enumerate(goals):
        values = pd.Series([values[position] if values else None for values in known], dtype=float)
        table[goal.name] = values
        table[[f"{goal.name}_low", f"{goal.name}_high"]] = (
            _bounds(data, goal).reindex(values.index).where(values.notna())
        )
    table["on_front"] = table["point"].isin(front(known, spec.search.goals))
    trials = design[design["kind"] == "point"].groupby("id")["trial_id"].agg(tuple)
    table["trials"] = [trials.get(str(number), ()) for number in table["point"]]
    return Search(goals, tuple(spec.drawn), table)


def confirmed(data: StudyData, found: Search) -> pd.DataFrame:
    """Points of which a confirming study is beside the search: its mean over fresh replicates, with its interval.

    A confirming study is what `mia-study search --confirm` prints, swept into the same results; its replicates are
    others than the search chose by, so that its interval holds. One row a point and goal: point, study, goal, searched
    (the value that the search used), mean, low, high, replicates, descriptive.
    """
    rows = []
    for number in found.table["point"]:
        other = _confirming(data, int(number))
        for goal in found.goals if other else ():
            assert other is not None
            own = other.wide[other.wide["attack"] == goal.attack] if goal.leakage else _trials(other)
            if goal.column in own and own[goal.column].notna().any():
                measured = means(other, own.assign(one=0), goal.column, ["one"]).iloc[0].to_dict()
                searched = found.table.loc[number, goal.name]
                rows.append({**measured, "point": number, "study": other.name, "goal": goal.name, "searched": searched})
    columns = ["point", "study", "goal", "searched", "mean", "low", "high", "replicates", "descriptive"]
    return pd.DataFrame(rows, columns=columns)


def _confirming(data: StudyData, number: int) -> StudyData | None:
    """The study beside this one that confirms a point: of its name and settings, another seed, and with results."""
    store = Store(data.store.root, confirming(data.name, number))
    if not store.place.exists("study.json"):
        return None
    resolved, wanted = store.resolved(), parse_stored(confirming_study(data.store, number)).resolved
    same = all(resolved.get(key) == json.loads(json.dumps(wanted.get(key))) for key in SAME)
    if not same or resolved["seed"] == data.resolved["seed"] or not len(read(store.root, store.study, "attacks")):
        return None
    return load(store.uri)


def _bounds(data: StudyData, goal: Goal) -> pd.DataFrame:
    """low and high, by point, an AUC below 1/2 as 1/2, which is what the search takes it for; without rows before the
    goal was measured anywhere.
    """
    if goal.attack not in data.attacks or goal.column not in data.wide:
        return pd.DataFrame({"low": [], "high": []}, dtype=float)
    found = by_point(data, goal.attack, goal.column).set_index("point")[["low", "high"]]
    return found.clip(lower=CHANCE) if goal.leakage and goal.column == "auc" else found


def _goal(data: StudyData, objective: Objective) -> Goal:
    minimized = objective.direction == "minimize"
    if objective.attack:
        return Goal(objective.name, *objective.attack, minimized, leakage=True)
    return Goal(objective.name, data.wide["attack"].value_counts().index[0], objective.name, minimized, leakage=False)


def _trials(data: StudyData) -> pd.DataFrame:
    return data.wide.drop_duplicates("trial_id")


def _search_of(data: StudyData) -> Spec:
    if not data.searched:
        raise Refused(f"study {data.name} is no search")
    return parse_stored(data.resolved)

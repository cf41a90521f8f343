"""A study's pictures as PNG files."""

import io
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from analysis import plots
from analysis.stats.budget import families
from analysis.stats.declared import declared
from analysis.stats.drawn_points import influences
from analysis.stats.scaling import epsilons, size_curve
from analysis.stats.search_results import search
from analysis.stats.tradeoff import front
from analysis.study_data import StudyData, load
from mia_core import private_files
from mia_core.errors import Refused
from study.outcomes import writing
from study.store.outputs import write_output
from study.terminal import say


def drawn(data: StudyData, attack: str) -> dict[str, Figure]:
    """All pictures that fit a study, by name; none shows a record."""
    if data.searched:
        return _of_search(data)
    if data.drawn:
        return _of_points(data, attack)
    figures = {
        "leakage_over_training": plots.leakage_over_training(data, attack),
        "attacks_compared": plots.attacks_compared(data),
        "declared_effects": plots.forest(data, declared(data, attack)),
        "leakage_heatmap": plots.heatmap(data, attack),
        "leakage_against_size": plots.leakage_against_size(data, attack, size_curve(data, attack)),
        "parallel_coordinates": plots.parallel_coordinates(data, attack),
    }
    if families(data):
        figures["release_budget"] = plots.release_budget(data)
    if not data.public:
        figures["roc"] = plots.roc_of_arms(data, attack)
    if data.quality:
        figures["leakage_against_quality"] = plots.leakage_against_quality(data, attack, data.quality)
        figures["front"] = plots.front(data, front(data, attack), attack)
    if data.private_under(attack):
        figures["against_epsilon"] = plots.against_epsilon(data, attack)
    if data.private:
        claimed = epsilons(data)
        if len(claimed):
            figures["audited_epsilon"] = plots.audited(data, claimed)
    return figures


def _of_points(data: StudyData, attack: str) -> dict[str, Figure]:
    figures = {"points": plots.against_factors(data, attack)}
    explained = [one for one in influences(data, attack) if not one.reason]
    if explained:
        figures["indices"] = plots.influence(data, explained, attack)
    if data.quality:
        figures["points_quality"] = plots.leakage_against_quality_of_points(data, attack)
    return figures


def _of_search(data: StudyData) -> dict[str, Figure]:
    found = search(data)
    if found.with_results.empty:
        raise Refused(f"{data.folder}: no point of the search has all of its results yet")
    figures = {"running_best": plots.running_best(data, found), "points": plots.goals_by_factor(data, found)}
    if len(found.goals) > 1:
        figures["search_front"] = plots.front_of_search(data, found)
    return figures


def run(folder: str, out: Path, attack: str | None) -> None:
    """Write what `drawn` gives, and print each path. attack: to show, or the declared one."""
    matplotlib.use("Agg")
    matplotlib.rcdefaults()  # a matplotlibrc of the working folder could have TeX run
    data = load(folder)
    data.attack(shown := attack or data.primary)  # refused before anything is drawn
    with writing(out):
        private_files.make_folder(out)
        for name, figure in drawn(data, shown).items():
            path = out / f"{name}.png"
            sink = io.BytesIO()
            figure.savefig(sink, format="png", dpi=110, metadata={"Software": None})
            write_output(path, sink.getvalue())
            plt.close(figure)
            say(path)

"""Pictures of a study, one function each, by subject."""

from analysis.plots.at_risk import records_at_risk as records_at_risk
from analysis.plots.at_risk import samples_along_strength as samples_along_strength
from analysis.plots.contrasts import forest as forest
from analysis.plots.contrasts import heatmap as heatmap
from analysis.plots.curves import roc_of_arms as roc_of_arms
from analysis.plots.curves import roc_of_attacks as roc_of_attacks
from analysis.plots.importance import against_factors as against_factors
from analysis.plots.importance import influence as influence
from analysis.plots.importance import leakage_against_quality_of_points as leakage_against_quality_of_points
from analysis.plots.over_training import attacks_compared as attacks_compared
from analysis.plots.over_training import leakage_over_training as leakage_over_training
from analysis.plots.parallel import parallel_coordinates as parallel_coordinates
from analysis.plots.pareto import front as front
from analysis.plots.pareto import leakage_against_quality as leakage_against_quality
from analysis.plots.private import against_epsilon as against_epsilon
from analysis.plots.private import audited as audited
from analysis.plots.samples_seen import release_budget as release_budget
from analysis.plots.search_front import front_of_search as front_of_search
from analysis.plots.search_front import goals_by_factor as goals_by_factor
from analysis.plots.search_front import running_best as running_best
from analysis.plots.training_size import leakage_against_size as leakage_against_size

"""Pictures of a study, one function each, by subject."""

from analysis.plots.effects import forest as forest
from analysis.plots.effects import heatmap as heatmap
from analysis.plots.indices import against_factors as against_factors
from analysis.plots.indices import influence as influence
from analysis.plots.indices import leakage_against_quality_of_points as leakage_against_quality_of_points
from analysis.plots.leakage import attacks_compared as attacks_compared
from analysis.plots.leakage import leakage_over_training as leakage_over_training
from analysis.plots.parallel import parallel_coordinates as parallel_coordinates
from analysis.plots.private import against_epsilon as against_epsilon
from analysis.plots.private import audited as audited
from analysis.plots.records import records_at_risk as records_at_risk
from analysis.plots.records import samples_along_strength as samples_along_strength
from analysis.plots.roc import roc_of_arms as roc_of_arms
from analysis.plots.roc import roc_of_attacks as roc_of_attacks
from analysis.plots.scaling import leakage_against_size as leakage_against_size
from analysis.plots.searched import front_of_search as front_of_search
from analysis.plots.searched import goals_by_factor as goals_by_factor
from analysis.plots.searched import running_best as running_best
from analysis.plots.tradeoff import front as front
from analysis.plots.tradeoff import leakage_against_quality as leakage_against_quality

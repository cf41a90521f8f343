"""Pictures of a study, one function each, by subject."""

from analysis.plots.leakage import attacks_compared as attacks_compared
from analysis.plots.leakage import leakage_over_epochs as leakage_over_epochs
from analysis.plots.private import against_epsilon as against_epsilon
from analysis.plots.tradeoff import leakage_against_quality as leakage_against_quality
from analysis.plots.roc import roc_of_arms as roc_of_arms
from analysis.plots.roc import roc_of_attacks as roc_of_attacks

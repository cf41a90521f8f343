"""Roles of trials: the values of the column `role`."""

STUDY, BLIND, NULL, COPYCAT, CANARY = "study", "blind", "null", "copycat", "canary"
"""Trials of the study, its controls, and trainings with canaries, which audit private arms."""

ADAPTIVE = "adaptive"
"""Trials that a search chose by results of earlier ones: no effect is estimated from them."""

STUDIED = (STUDY, ADAPTIVE)
"""What a study file asks for; all others are controls and audits."""

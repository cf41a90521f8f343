"""Roles of trials: the values of the column `role`."""

STUDY, BLIND, NULL, COPYCAT, CANARY = "study", "blind", "null", "copycat", "canary"
"""Trials of the study, its controls, and trainings with canaries, which audit private arms."""

MEMBER_ONLY = "member_only"
"""A control: attacks on a target of the study, of whose members a half is taken for non-members."""

ADAPTIVE = "adaptive"
"""Trials that a search chose by results of earlier ones: no effect is estimated from them."""

SHADOW = "shadow"
"""Trainings with coins of their own, which derived attacks take as their reference; nobody's replicates."""

FIRST_SHADOW = 1_000_000
"""The number of a cell's first shadow among replicates: all of its random numbers are those of such a replicate."""

RELEASE = "release"
"""The one trial of a release, whose model was given and not trained here."""

BLIND_FILES, HELD_OUT = "blind_files", "held_out"
"""Controls of a release: members against non-members by facts of their files; and attacks on non-members in place of
samples."""

ROLES = (STUDY, ADAPTIVE, RELEASE, SHADOW, BLIND, BLIND_FILES, NULL, COPYCAT, CANARY, MEMBER_ONLY, HELD_OUT)

STUDIED = (STUDY, ADAPTIVE, RELEASE)
"""What a study file asks for; all others are controls and audits."""

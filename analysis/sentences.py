"""Every sentence, and part of one, that a verdict or a caution chooses by a study's numbers, in one table.

What is chosen by numbers can be false, so each is tested on a study where it is true and on one where it would not be
(`tests/analysis/test_sentences.py`). Fields in braces are words, or numbers that say where they come from.
"""

import string
from typing import TypeVar

Part = TypeVar("Part")

SENTENCES = {
    # How much leaks, at the cell that was fixed before anything was looked at.
    "leakage shown": (
        "{who}, shown one training record and one other, tells which is the training record with probability {auc} "
        "(guessing: 0.50), where {where}{more}."
    ),
    "leakage not shown": (
        "No leakage is shown where {where}: {who}, shown one training record and one other, tells which is the "
        "training record with probability {auc}, and guessing gives 0.50{more}."
    ),
    "leakage not tested": (
        "Whether leakage is shown cannot be tested without scores: {who}, shown one training record and one other, "
        "tells which is the training record with probability {auc} (guessing: 0.50), where {where}."
    ),
    "tpr": "; with 1 % of other records named wrongly, it names {tpr} of the training records",
    "stronger attack": "; the strongest of {count} attacks there is {attack}, with AUC {auc}",
    # All cells.
    "all cells leak": "After {last}, leakage is shown in all {count} cells, each by its strongest attack{most}.",
    "some cells leak": (
        "After {last}, leakage is shown in {shown} of {count} cells, each by its strongest attack{most}; it is not "
        "shown in {names}, which does not show that nothing leaks there."
    ),
    "no cell leaks": (
        "After {last}, leakage is shown in none of {count} cells, which does not show that nothing leaks there."
    ),
    "most leaking": "; the largest AUC among them is {auc} ({cell})",
    "not tried": "Not tried: {who}. What other attacks would find is not known.",
    "all access tried": "Attackers of every access were tried; what other attacks would find is not known.",
    # What else changes it.
    "one level": "Training-set size and {budget} have one level each here, so what they change is not known.",
    "lowers": "{words} lower it to {auc}",
    "raises": "{words} raise it to {auc}",
    "lowers alone": "{words} lowers it to {auc}",
    "raises alone": "{words} raises it to {auc}",
    "worse samples": ", with worse samples ({measure}{quality})",
    "better samples": ", with better samples ({measure}{quality})",
    "change not settled": "what {names} change is not settled by these replicates (now at {numbers})",
    # What protects.
    "no defense": "No defense was compared.",
    "compared on": "Defenses were compared on {where}, where without one that probability is {auc}. ",
    "no defense lowers": (
        "That {count} lowers leakage is not shown here; the least measured is {arm} with {auc}{guarantee}."
    ),
    "use": "To protect records, use {arm}: it lowers that to {auc}{cost}{guarantee}{others}.",
    "stop early": "To protect records, stop after {arm}: it lowers that to {auc}{cost}{guarantee}{others}.",
    "small loss": (
        ", at a loss of quality shown to be under {share} % ({measure}{quality} against {reference} without, "
        "a difference of {loss})"
    ),
    "loss": ", and costs quality ({measure}{quality} against {reference} without, a difference of {loss})",
    "gain": ", and quality is better ({measure}{quality} against {reference} without, a difference of {loss})",
    "loss not settled": (
        ", and what it costs in quality is not settled ({measure}{quality} against {reference} without, a difference "
        "of {loss})"
    ),
    "better than stopping": "; it leaks less than early stopping at the same quality (AUC {effect})",
    "no better than stopping": (
        "; that it leaks less than early stopping at the same quality is not shown (AUC {effect})"
    ),
    "other": "; {arm} lowers it to {auc}{guarantee}",
    "other with quality": "; {arm} lowers it to {auc} at {measure} {quality}{guarantee}",
    "more others": "; {count} more lower it",
    "guarantees nothing": ", and it guarantees nothing against other attacks",
    "guarantee": (
        ", with a guarantee against any attack (epsilon {epsilon} for one record): with 1 % of other records named "
        "wrongly, none names more than {tpr} of the training records"
    ),
    "empty guarantee": (
        ", with a guarantee (epsilon {epsilon} for one record) that limits hardly anybody: with 1 % of other records "
        "named wrongly, an attacker may name {tpr} of the training records"
    ),
    "guarantee of a person": (
        ", with a guarantee against any attack (epsilon {epsilon} for one person, with all of their records): with "
        "1 % of other persons named wrongly, none names more than {tpr} of the persons trained on"
    ),
    "empty guarantee of a person": (
        ", with a guarantee (epsilon {epsilon} for one person, with all of their records) that limits hardly anybody: "
        "with 1 % of other persons named wrongly, an attacker may name {tpr} of the persons trained on"
    ),
    "guessable noise": ", and that only against those who cannot guess the study's seed, which its noise is drawn from",
    "per person": " ({epsilon} of a person)",
    "not per person": " (no guarantee per person is known where persons have several records)",
    # What keeps any of it from being believed.
    "descriptive": "Descriptive only: {replicates}, and an interval means something from {least} on.",
    "incomplete": "Incomplete: {count} trials of the design are missing; the study's sweep command runs them.",
    "public": (
        "A public copy has no scores: whether leakage is shown, controls, audits, ROC and records cannot be computed "
        "from it, and its intervals are for these records only."
    ),
    "no control": "No control was run: nothing shows that the attacks and the split are sound.",
    "failed": "Do not use these numbers before this is understood: {failure}.",
    # Cautions.
    "controls of a public copy": "Controls cannot be judged from a public copy: it has no scores.",
    "failed control": "The control {control} failed for {what} (AUC {auc}): {verdict}.",
    "blind finds": "Part of every AUC needs no target, and how large a part is not known: nothing here shows leakage.",
    "silent control": "The control {control} says nothing: {verdict}.",
    "false claim": "A claim of privacy does not hold: {arm}, n = {size}: {verdict}.",
    "searched": (
        "{count} trials were chosen by a search that had seen others' results: no effect is estimated from them, and "
        "the best of them looks better than it is; {command} makes a study of one."
    ),
    "sweep not complete": "The sweep is not complete: {there} of {planned} trials are there.",
    "diverged": (
        "{count} of {trials} trainings diverged: a weight, a loss or a sample was not finite, so nothing was attacked "
        "there, and averages leave them out: {names}."
    ),
    "attack not complete": "{attack} has results in {there} of {planned} trials only.",
    "not published": (
        "{targets} is not the published network ({settings}), which may leak more: this report is about this one."
    ),
    "few replicates": "Descriptive only: {replicates}, and intervals can be trusted from {least} on.",
    "missing cells": "Cells are missing, and averages leave out what would pair with them: {names}.",
    "unequal replicates": (
        "Cells have unequal replicates, and each effect uses those that have all of its cells: {names}."
    ),
    "flagged": "{count} of {trials} trials are flagged: {flags}.",
    "no quality": "No quality was measured: what a defense costs cannot be said.",
    "few non-members": (
        "TPR at 1 % FPR cannot be estimated from {others} non-members over the replicates of a cell: it takes {least}."
    ),
    "perfect": "Some AUCs are exactly 1: differences between such cells are not seen.",
    "fitted on each other": (
        "Intervals of {attacks} are too short: an earlier version fitted replicates on each other, and where nothing "
        "leaks they cover 82 to 86 % in place of 95 %. The same sweep again derives them anew, and trains nothing."
    ),
    # Sections.
    "epsilon per record": "Epsilon is for adding or removing one record.",
    "epsilon per person": "Epsilon is for adding or removing one person, with all of their records.",
    "epsilon per record or person": (
        "Epsilon is for adding or removing one record, and of arms with unit=person for one person and all records of "
        "theirs."
    ),
    "nothing to compare": "Every factor has one level in this study: nothing can be compared.",
    "records leak": (
        "On {where}, an estimated {share} records leak, with 95 % confidence at least {least}. Records that leak only "
        "a little are counted in part.{one_sided}"
    ),
    "no record leaks": (
        "On {where}, it is not shown that any record leaks by itself. The estimated share is {share} records."
        "{one_sided}"
    ),
    "one-sided records": (
        " {count} further records were members in every replicate or in none, so nothing can be said of them."
    ),
    "records named": (
        "{found} records are shown to leak one by one: of the records named so, at most 5 % are expected to be false "
        "(q at most 0.05).{few}"
    ),
    "few replicates for records": (
        " With {replicates} the smallest possible p of a record is {least_p}, so that no record is named unless "
        "several leak; more replicates name more."
    ),
    "records not told apart": "Single records cannot be judged on {where}: {reason}.",
    "reliable": (
        "The order of records has reliability {reliability}, from halves of the replicates: at 1 new replicates would "
        "find the same order, at 0 an unrelated one."
    ),
    "reliability not known": "Whether the same records would be found again is not known: {reason}.",
}


def filled(name: str, **fields: str | Part | tuple[str | Part, ...]) -> tuple[str | Part, ...]:
    """The parts of a sentence, texts and numbers in order; a field may be several parts. KeyError for a lacking one."""
    parts: list[str | Part] = []
    for text, field, _, _ in string.Formatter().parse(SENTENCES[name]):
        found = fields[field] if field else ()
        for part in (text, *(found if isinstance(found, tuple) else (found,))):
            if isinstance(part, str) and parts and isinstance(parts[-1], str):
                parts[-1] += part
            elif part != "":
                parts.append(part)
    return tuple(parts)


def line(name: str, **fields: object) -> str:
    """A sentence of texts alone."""
    return SENTENCES[name].format(**fields)

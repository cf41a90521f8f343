"""A page's words: labels of arms as people say them, and what a term means, shown when it is pointed at.

Labels name arms in a study file, in the store and in code that computes numbers again, so they stay as they are there.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from markupsafe import Markup, escape

from mia_core.attacks import ATTACKS
from mia_core.defenses import DEFENSES
from study.terminal import plain

TERMS = {
    "AUC": "the chance that a training record's score is above another record's; 0.5 is guessing, 1 is certainty",
    "TPR": "the true-positive rate: the share of training records that an attacker names",
    "FPR": "the false-positive rate: the share of other records that an attacker names wrongly",
    "epsilon": "the guarantee of differential privacy: no attack on one unit does better than it allows; smaller is "
    "stronger, and above about 10 it limits hardly anybody",
    "delta": "the small probability by which the guarantee of an epsilon may be missed",
    "KID": "the distance of generated samples from real records by the features of a small network; 0 is best",
    "FID": "a distance of generated samples from real records by the mean and covariance of features; 0 is best",
    "arm": "one way to train that is compared: without a defense, or with one at one strength",
    "cell": "one combination of target, training-set size, length of training and arm",
    "replicate": "an independent repetition: new training records, initialization and order of the data",
    "trial": "one cell in one replicate: a trained network, its quality, and all attacks on it",
    "member": "a record that the network was trained on",
    "non-member": "a record like the members that the network was not trained on",
    "prior": "the share of training records among the records that an attacker asks about",
    "Holm": "a correction of p-values for how many were looked at together",
    "control": "a trial whose right result is known, so that a mistake of the measurement shows",
    "copycat": "a control: a model that replays its training records, which every attack must find",
    "panel": "the judged records: each is a member by a coin of its own in every replicate",
    "published network": "a target as its paper has it, trained without a defense",
    "audit": "a test of whether a private arm keeps what its epsilon claims",
    "DP-SGD": "private training: each record's gradient is clipped, and noise is added to their sum",
}
"""What the terms of a report mean; `docs/glossary.md` has these and more."""
DEFENSE_WORDS = {"dp_sgd": "DP-SGD", "none": "no defense"}
SETTING_WORDS = {"sigma": "noise", "clip": "clipping bound", "target_epsilon": "epsilon"}
"""Names and settings of defenses that are not said as they are written."""


def arm_in_words(label: str) -> str:
    """An arm by its label: `DP-SGD, noise 1` of `dp_sgd sigma=1`, `dropout, rate 0.5` of `dropout 0.5`."""
    return " with ".join(_one_defense(part.split(" ")) for part in label.split(" + "))


def _one_defense(words: list[str]) -> str:
    name, *settings = words
    cls = DEFENSES.find(name)
    parts = [DEFENSE_WORDS.get(name, name.replace("_", " "))]
    for word in settings:
        key, _, value = word.rpartition("=")
        key = key.rpartition(".")[2] or (cls.strength if cls and cls.strength else "")
        parts.append(f"{SETTING_WORDS.get(key, key.replace('_', ' '))} {value}".strip())
    return ", ".join(parts)


def attack_terms(labels: Iterable[str]) -> dict[str, str]:
    """What each attack of a study does: the first sentence of its class, by its label."""
    found = {}
    for label in labels:
        families = [name for name in ATTACKS.names() if label == name or label.startswith(f"{name}_")]
        cls = ATTACKS.find(max(families, key=len)) if families else None
        if cls and cls.__doc__:
            found[label] = " ".join(cls.__doc__.split("\n\n")[0].split()).split(". ")[0].rstrip(".")
    return found


@dataclass
class Vocabulary:
    """arms: words of arms by their label. terms: what each term means. explained: the terms that the section has
    explained so far.
    """

    arms: Mapping[str, str] = field(default_factory=dict)
    terms: Mapping[str, str] = field(default_factory=dict)
    explained: set[str] = field(default_factory=set, init=False)
    used: set[str] = field(default_factory=set, init=False)
    """Terms that the page has, for its list of words."""

    def __post_init__(self) -> None:
        self._labels = _either(self.arms, "(?<![\\w=.+])", "(?![\\w=.])")
        self._terms = _either(self.terms, "(?<![\\w-])", "(?=s?(?![\\w-]))")

    @classmethod
    def of(cls, arms: Iterable[str], attacks: Iterable[str]) -> "Vocabulary":
        """Of a study's arms and attacks. `none` is a word of its own: a sentence around it says what is not there."""
        return cls({arm: arm_in_words(arm) for arm in arms if arm != "none"}, {**TERMS, **attack_terms(attacks)})

    def say(self, text: str) -> str:
        """A text that can be printed, with labels of arms in words."""
        shown = plain(text)
        return self._labels.sub(lambda found: self.arms[found[0]], shown) if self._labels else shown

    def relabel(self, picture: Markup) -> Markup:
        """An `<svg>` whose texts say arms in words."""
        return Markup(re.sub(">[^<]+<", lambda found: self.say(found[0]), picture)) if self._labels else picture

    def section(self) -> str:
        """Begin a section, in which terms are explained again; nothing to show."""
        self.explained.clear()
        return ""

    def explain(self, text: str) -> Markup:
        """A text as markup, escaped, in which the first use of each term in a section says what it means."""
        shown, parts, end = self.say(text), [], 0
        for found in self._terms.finditer(shown) if self._terms else ():
            term = found[0]
            self.used.add(term)
            if term in self.explained:
                continue
            self.explained.add(term)
            meaning = escape(self.terms[term])
            parts += [escape(shown[end : found.start()]), Markup(f'<abbr tabindex="0" title="{meaning}">{term}</abbr>')]
            end = found.end()
        return Markup("").join([*parts, escape(shown[end:])])


def _either(words: Iterable[str], before: str, after: str) -> re.Pattern[str] | None:
    """A pattern of any of the words, the longest first."""
    listed = sorted(words, key=len, reverse=True)
    return re.compile(f"{before}(?:{'|'.join(map(re.escape, listed))}){after}") if listed else None

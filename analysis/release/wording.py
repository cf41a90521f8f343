"""Sentences and words of a release's page that depend on its numbers."""

from analysis.format import number
from analysis.release.answers import AUC, COPIES, EPSILON, PERSON, TPR, Answer, Answers
from mia_core.metrics.decisions import Bounded, Decision
from study.spec.policy import Policy

LIMITS = {
    AUC: "AUC of any attack",
    TPR: "TPR at 1 % FPR of any attack",
    COPIES: "share of samples that copy a member, beyond chance",
    PERSON: "worst persons",
    EPSILON: "epsilon of a guarantee",
}
ANSWERS = {
    Decision.NOT_EXCEEDED: "No limit is exceeded by the attacks tried.",
    Decision.EXCEEDED: "A limit is exceeded.",
    Decision.CANNOT_BE_SHOWN: "Whether the limits are exceeded cannot be shown.",
}
NO_LIMITS = "No limits were given, so that whether one is exceeded cannot be shown."
SCOPE = (
    "This speaks of the attacks listed below, of this release, and of records like these. An attack that nobody tried "
    "may find more."
)


def first_sentence(answers: Answers, policy: Policy | None) -> str:
    """The answer in one sentence."""
    return NO_LIMITS if policy is None else ANSWERS[answers.decision]


def sentences_of(answers: Answers, policy: Policy | None) -> list[str]:
    """The answer, with what it rests on."""
    found = findings(answers, policy)
    if answers.gates and answers.decision is Decision.CANNOT_BE_SHOWN:
        others = len(answers.gates) - 1
        more = "" if not others else f" {others} more reason{'s are' if others > 1 else ' is'} below."
        found.append(f"{answers.gates[0].words}{more}")
    return [*found, SCOPE]


def findings(answers: Answers, policy: Policy | None) -> list[str]:
    """The answer, limits that are exceeded and those of which nothing can be shown; without limits what was found."""
    found = [first_sentence(answers, policy)]
    for one in answers.answers:
        if one.decision is Decision.EXCEEDED and one.limit is not None:
            highest = max(one.values, key=lambda value: value.low)
            found.append(
                f"{_capital(LIMITS[one.name])}: at least {digits(one.name, highest.low)} by {highest.by}, and the "
                f"limit is {one.limit:g}."
            )
    if policy is None:
        found += _strongest(answers)
    still = [LIMITS[one.name] for one in answers.answers if one.decision is Decision.CANNOT_BE_SHOWN]
    if policy is not None and answers.decision is not Decision.NOT_EXCEEDED and still:
        found.append(f"Cannot be shown: {'; '.join(still)}.")
    return found


def _strongest(answers: Answers) -> list[str]:
    """Of each kind of finding the strongest, by its lower bound."""
    found = []
    for one in answers.answers:
        if one.values:
            highest = max(one.values, key=lambda value: (value.low, value.estimate or 0.0))
            found.append(f"{_capital(LIMITS[one.name])}: {bounds(one.name, highest)}, by {highest.by}.")
    return found


def digits(name: str, value: float | None) -> str:
    """A value of a limit: epsilon with three digits, the rest with three decimals, copies with four."""
    return number(value, {EPSILON: ".3g", COPIES: ".4f"}.get(name, ".3f"))


def bounds(name: str, value: Bounded | None) -> str:
    """`0.612, at least 0.580, at most 0.641`."""
    if value is None:
        return "not measured"
    most = "not known" if value.high is None else f"at most {digits(name, value.high)}"
    estimate = "too few for an estimate" if value.estimate is None else digits(name, value.estimate)
    return f"{estimate}; at least {digits(name, max(0.0, value.low))}, {most}"


def answer_words(answer: Answer) -> str:
    """The answer to one limit."""
    return "no limit was given" if answer.limit is None else answer.decision.words


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]

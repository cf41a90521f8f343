"""What a user asked for and cannot have."""


class Refused(ValueError):
    """A user's mistake: the message names the value and the way out, in one line.

    It is a ValueError, so that a validator of settings may raise it. A ValueError that is none is a bug.
    """


def shorten(text: str, most: int = 200) -> str:
    """A value as an error shows it: its ends, where it is long."""
    half = most // 2
    return text if len(text) <= most else f"{text[:half]} ... {text[-half:]} ({len(text)} characters)"

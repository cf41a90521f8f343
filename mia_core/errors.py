"""The exception for a user's mistake."""


class Refused(ValueError):
    """A user's mistake. The message names the value and a way out, in one line.

    It is a ValueError, so that validators of settings may raise it. Any other ValueError is a bug.
    """


def shorten(text: str, most: int = 200) -> str:
    """A value as error messages show it: if it is longer than `most` characters, its beginning and its end."""
    half = most // 2
    return text if len(text) <= most else f"{text[:half]} ... {text[-half:]} ({len(text)} characters)"

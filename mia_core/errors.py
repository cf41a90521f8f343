"""What a user asked for and cannot have."""


class Refused(ValueError):
    """A user's mistake: the message names the value and the way out, in one line.

    It is a ValueError, so that a validator of settings may raise it. A ValueError that is none is a bug.
    """

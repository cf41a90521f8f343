"""Durations in words."""


def duration(seconds: float) -> str:
    """For people: `12 s`, `8.3 min`, `5.1 h`, `3.2 days`."""
    for unit, word, least in ((86400, "days", 2), (3600, "h", 1), (60, "min", 1.5)):
        if seconds >= least * unit:
            return f"{seconds / unit:.1f} {word}"
    return f"{seconds:.0f} s"

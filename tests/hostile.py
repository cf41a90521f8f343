"""Texts that a file name, an error, a store or a table of somebody else may hold."""

TEXTS = {
    "markup": "res[old] [bold red]a[/b] [link=https://example.org]x[/link] :warning: [/]",
    "color": "\x1b[31;1mred\x1b[0m",
    "cursor": "\x1b[2J\x1b[H\x1b[1A gone \r over \b\x7f\x0b\x0c",
    "link": "\x1b]8;;https://example.org/\x1b\\click\x1b]8;;\x07",
    "clipboard": "\x1b]52;c;cm0gLXJm\x07",
    "eight bits": "\x9b31m\x9d52;c;eA==\x9c \x85",
    "direction": "a\u202eb\u202d\u202a\u202b\u202c\u2066c\u2067\u2068\u2069\u200f\u061c",
    "invisible": "a\u200bb\ufeff\u2060\u00ad\U000e0041",
    "lines": "one\ntwo\r\nthree\u2028four\u2029five",
    "nul": "a\0b",
    "no text": b"name-\xff".decode("utf-8", "surrogateescape"),
}


def does_nothing(text: str) -> bool:
    """Whether a terminal shows each letter of a printed text, and does nothing else."""
    return all(letter.isprintable() or letter == "\n" for letter in text)

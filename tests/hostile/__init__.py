"""Texts and files of somebody else: what a name, an error, a setting or a folder may hold."""

import contextlib
import os
import socket
from itertools import pairwise

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


YAML = {
    "laughs": "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in pairwise("abcdefghijklmnopqrstuvwxy")),
    "an anchor": "study: &x small",
    "an alias": "study: *x",
    "a loop": "a: &x {b: *x}",
    "a merge": "<<: {study: x}\n<<: {study: y}",
    "a tag on a word": "study: !!bool maybe",
    "a tag on a list": "study: !!map [1]",
    "a tag on a map": "study: !!seq {a: 1}",
    "a number's tag": "seed: !!int word",
    "a time's tag": "seed: !!timestamp never",
    "bytes": "study: !!binary aGk=",
    "a set": "study: !!set {a, b}",
    "pairs": "study: !!omap [a: 1]",
    "no specific tag": "study: ! x",
    "an own tag": "%TAG ! tag:example.org,2026:\n---\nstudy: !x y",
    "a call": "study: !!python/object/apply:os.system ['exit 3']",
    "a name": "study: !!python/name:os.system",
    "a tag at the top": "!!python/object/new:os.system [exit]",
    "a key twice": "study: a\nstudy: b",
    "a key twice below": "provider: {type: aws, type: local}",
    "a list as a key": "? [a]\n: 1",
    "a number as a key": "1: a",
    "no key": "~: a",
    "two documents": "a: 1\n---\nb: 2",
    "nothing": "",
    "a list": "- a",
    "a word": "word",
    "an open list": "a: [1",
    "an open word": 'a: "1',
    "a tab": "a:\n\t- b",
    "nul": "a: \0",
    "no text": b"\xff\xfe\x00a",
    "utf-16": "study: small".encode("utf-16"),
    "escapes": "\x1b]52;c;cm0gLXJm\x07: 1",
    "a huge whole number": "study: a\nseed: " + "9" * 5000,
    "a large whole number": "study: a\nseed: 9223372036854775808",
    "a huge number": "study: a\nseed: 1e999",
    "deep lists": "[" * 100_000,
    "deep maps": "{a: " * 30_000,
    "deep blocks": "- " * 60_000,
    "deep keys": "? " * 60_000,
    "many values": "a: [" + "1," * 60_000 + "]",
    "many keys": "\n".join(f"a{number}: {{b: 1}}" for number in range(8000)),
    "20 MB": "study: " + "x" * 20_000_000,
    "a long word": "study: a\nseed: " + "x" * 100_000,
    "a long key": "x" * 1000 + ": 1",
    "a long text": "study: |\n" + " x\n" * 40_000,
    "comments": "#" * 120_000,
    "lines": "\n" * 120_000,
}  # fmt: skip
"""What a study file, a cluster file or a value may not be; none is a study or a cluster."""


def _socket(path, outside):
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)  # an address has 107 bytes at most


def _sparse(path, outside):
    with path.open("wb") as file:
        file.truncate(2**40)


FILES = {
    "pipe": lambda path, outside: os.mkfifo(path),
    "socket": _socket,
    "endless": lambda path, outside: path.symlink_to("/dev/zero"),
    "loop": lambda path, outside: path.symlink_to(path.name),
    "out": lambda path, outside: path.symlink_to(outside),
    "folder": lambda path, outside: path.mkdir(),
    "empty": lambda path, outside: path.touch(),
    "huge": _sparse,
}
"""What may be made in place of a file; outside: a sound file elsewhere, for a link."""

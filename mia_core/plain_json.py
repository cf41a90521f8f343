"""Reading JSON that may be somebody else's: only numbers that programs can compute with, and texts that can be written.

JSON itself has integers of any length, `1e999` and lone surrogates, which Python reads as numbers beyond any float, as
infinity, and as characters that no file takes; whoever computes with one or prints one fails far from the file.
"""

import json
import math
from collections.abc import Callable
from typing import Any

from mia_core.errors import shorten

LARGEST = 2**63
"""Numbers without a fraction are below it in size."""


class _Odd(str):
    """A number as it was written, which is none that this project takes."""


def parse_json(
    text: str | bytes, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None, any_text: bool = False
) -> Any:
    """The value. ValueError for what is no JSON, has too many levels, a number from `LARGEST` on, an infinity, NaN, or
    a character that is none. pairs: makes a mapping of its keys and values, in their order. any_text: take such
    characters, which names of files may have; for who shows texts by `study.terminal` alone.
    """
    odd: list[_Odd] = []

    def whole(digits: str) -> Any:
        return int(digits) if len(digits) < 19 or (len(digits) <= 20 and abs(int(digits)) < LARGEST) else none(digits)

    def real(digits: str) -> Any:
        value = float(digits)
        return value if math.isfinite(value) else none(digits)

    def none(digits: str) -> _Odd:
        odd.append(_Odd(digits))
        return odd[-1]

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_int=whole, parse_float=real, parse_constant=none)
        if not any_text and (b"\\u" if isinstance(text, bytes) else "\\u") in text:  # type: ignore[operator]
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("more levels than can be read") from None
    except UnicodeEncodeError:
        raise ValueError("has characters that are none") from None
    if odd:
        place = ".".join(map(str, next(_paths(value, odd[0]))))
        raise ValueError(f"{shorten(place)}: {shorten(odd[0])} is no number below 2^63")
    return value


def _paths(value: Any, wanted: _Odd, path: tuple[Any, ...] = ()) -> Any:
    """Keys and positions that lead to a value."""
    if value is wanted:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _paths(item, wanted, (*path, key))

"""The private list of samples that copy members, as passes keep it beside their rows."""

from typing import Any

from study.store.files import Damaged
from study.store.passes import Store
from study.store.seals import own_file, parse

PAIR = {"sample": int, "record": int, "ratio": float}


def pairs_of(store: Store, trial_id: str, measures: set[str]) -> list[dict[str, Any]]:
    """extractor, sample, record, file and ratio of each pair of a trial, as the pass found them that has one of the
    measures, by their ids. Damaged for a list that is none.
    """
    found = []
    for marker in store.markers([trial_id]).values():
        file = own_file(marker, f"copies/{trial_id}")
        if file is None or not measures & set(marker["work"]["measures"]):
            continue
        data = store.sealed_bytes(file, marker["files"][file])
        try:
            for extractor, pairs in parse(data).items():
                found += [{"extractor": extractor, **_pair(pair)} for pair in pairs]
        except (ValueError, TypeError, KeyError) as error:
            raise Damaged(f"{store.uri}/{file}: {error}") from None
    return found


def _pair(pair: Any) -> dict[str, Any]:
    values = {name: kind(pair[name]) for name, kind in PAIR.items()}
    return {**values, "file": None if pair["file"] is None else str(pair["file"])}

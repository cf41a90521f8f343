from dataclasses import dataclass

import numpy as np
import pytest

from mia_core.hashing import array_digest, canonical_json, content_id


@dataclass
class Point:
    y: int
    x: float


def test_equal_values_have_one_spelling_whatever_the_order_of_keys():
    assert (
        canonical_json({"b": [1, 2], "a": None}) == canonical_json({"a": None, "b": (1, 2)}) == '{"a":null,"b":[1,2]}'
    )


def test_dataclasses_are_spelled_as_their_fields():
    assert canonical_json([Point(1, 0.5)]) == '[{"x":0.5,"y":1}]'


def test_what_has_no_one_spelling_is_refused():
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(float("nan"))
    with pytest.raises(TypeError, match="canonical form"):
        canonical_json({1, 2})


def test_content_id_is_16_hexadecimal_digits_that_differ_between_values():
    ids = {content_id(value) for value in (1, 1.5, "1", True, None, [1], {"a": 1}, {"a": 2})}
    assert len(ids) == 8
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in ids)


def test_array_digest_sees_type_shape_values_and_order():
    a, b = np.arange(6, dtype=np.uint8), np.ones(2, dtype=np.uint8)
    changed = a.copy()
    changed[5] = 0
    digests = [
        array_digest(a, b),
        array_digest(b, a),
        array_digest(a),
        array_digest(changed, b),
        array_digest(a.reshape(2, 3), b),
        array_digest(a.view(np.int8), b),
    ]
    assert len(set(digests)) == len(digests)


def test_array_digest_does_not_see_memory_layout():
    a = np.arange(6, dtype=np.int64).reshape(2, 3)
    assert array_digest(a) == array_digest(np.asfortranarray(a)) == array_digest(np.repeat(a, 2, axis=1)[:, ::2])

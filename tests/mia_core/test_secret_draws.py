"""Draws under a secret key: what they are, and that no two of them are the same."""

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from scipy.stats import binom, chi2, kstest

from mia_core.secret_draws import CHUNK, KEY_BYTES, PURPOSES, SecretDraws

KEY = bytes(range(KEY_BYTES))


def test_a_key_is_fresh_from_the_operating_system_and_has_256_bits():
    keys = {SecretDraws().key for _ in range(100)}
    assert len(keys) == 100
    assert {len(key) for key in keys} == {32}
    bits = np.unpackbits(np.frombuffer(b"".join(keys), dtype=np.uint8))
    assert 1e-9 < binom(len(bits), 0.5).cdf(int(bits.sum())) < 1 - 1e-9


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_of_another_length_is_refused(length):
    with pytest.raises(ValueError, match=f"a key has 32 bytes, got {length}"):
        SecretDraws(bytes(length))


def test_uniform_numbers_are_the_ciphers_bits():
    # AES-256 in ECB of the counters, which is what counter mode is.
    encryptor = Cipher(algorithms.AES(KEY), modes.ECB()).encryptor()
    blocks = [bytes([2]) + (7).to_bytes(7, "big") + place.to_bytes(8, "big") for place in range(3)]
    words = np.frombuffer(encryptor.update(b"".join(blocks)), dtype="<u8")
    assert SecretDraws(KEY).uniform("poisson", 7, 6).tolist() == [int(word >> np.uint64(11)) / 2**53 for word in words]


def test_every_purpose_counter_key_and_place_has_numbers_of_its_own():
    uniform = [
        SecretDraws(key).uniform(purpose, counter, 40)
        for key in (KEY, bytes(KEY_BYTES))
        for purpose in PURPOSES
        for counter in (0, 1, 2**32, 2**48)
    ]
    assert len(np.unique(np.concatenate(uniform))) == 40 * 2 * len(PURPOSES) * 4


@pytest.mark.parametrize("count", [1, 2, 7, CHUNK, CHUNK + 1, 3 * CHUNK + 5])
def test_numbers_do_not_depend_on_what_was_drawn_before_and_few_are_the_first_of_many(count):
    draws = SecretDraws(KEY)
    draws.normal("noise", 3, 1000)
    assert np.array_equal(draws.uniform("noise", 5, count), SecretDraws(KEY).uniform("noise", 5, count))
    assert np.array_equal(draws.uniform("noise", 5, count), draws.uniform("noise", 5, count + 9)[:count])
    assert torch.equal(draws.normal("noise", 5, count), SecretDraws(KEY).normal("noise", 5, count))
    assert draws.normal("noise", 5, count).shape == (count,)


def test_normal_numbers_are_standard_normal_and_independent(p_value):
    # Each check errs about once in 1e6 keys.
    normal = torch.cat([SecretDraws(KEY).normal("noise", step, 20_001) for step in range(10)]).double().numpy()
    assert kstest(normal, "norm").pvalue > 1e-6
    assert p_value((normal**2).sum(), chi2(len(normal))) > 1e-6
    for lag in (1, 10_000, 10_001, 20_001):  # neighbors, the two of a pair, steps
        products = normal[lag:] * normal[:-lag]
        assert abs(products.sum()) < 4.9 * np.sqrt(len(products))
    tails = int((np.abs(normal) > 3).sum())
    assert p_value(tails, binom(len(normal), 0.0026998)) > 1e-6


def test_a_key_does_not_show():
    draws = SecretDraws(KEY)
    assert KEY.hex() not in f"{draws!r} {draws}"
    assert str(KEY) not in f"{draws!r} {draws}"

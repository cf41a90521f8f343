import hashlib

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from mia_core.streams import WORDS, Streams, numpy_generator, torch_generator


def test_same_path_gives_same_draws():
    assert torch.equal(
        torch.randn(5, generator=Streams(1, 2).torch("latent", 3)),
        torch.randn(5, generator=Streams(1, 2).torch("latent", 3)),
    )
    assert np.array_equal(Streams(1, 2).numpy("order", 3).random(5), Streams(1, 2).numpy("order", 3).random(5))


def test_every_part_of_a_name_gives_another_stream():
    base = Streams(2019, 0, "trial")
    others = [
        Streams(2020, 0, "trial").seed("latent", 0),
        Streams(2019, 1, "trial").seed("latent", 0),
        Streams(2019, 0, "attack").seed("latent", 0),
        Streams("2019", 0, "trial").seed("latent", 0),
        base.seed("order", 0),
        base.seed("latent", 1),
        base.seed("latent", "0"),
        base.seed("latent"),
        base.seed("latent", 0, 0),
        base.child("x").seed("latent", 0),
        base.seed("latent", 0),
    ]
    assert len(set(others)) == len(others)


def test_ten_thousand_counters_give_ten_thousand_different_seeds_of_63_bits():
    seeds = {Streams(0).seed("latent", step) for step in range(10_000)}
    assert len(seeds) == 10_000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seed_is_the_hash_of_the_written_path():
    digest = hashlib.sha256(b'[[2019,3],"latent",[7]]').digest()
    assert Streams(2019, 3).seed("latent", 7) == int.from_bytes(digest[:8], "big") // 2


def test_child_extends_the_path():
    assert Streams(1).child("a", 2).path == (1, "a", 2)
    assert Streams(1).child("a", 2).seed("x") == Streams(1, "a", 2).seed("x")


def test_drawing_from_one_stream_never_changes_another():
    streams = Streams(7)
    alone = torch.randn(4, generator=Streams(7).torch("latent", 1))
    torch.randn(1000, generator=streams.torch("latent", 0))
    streams.torch("noise", 1).seed()
    streams.numpy("latent", 1).random(1000)
    assert torch.equal(torch.randn(4, generator=streams.torch("latent", 1)), alone)


def test_a_stream_neither_reads_nor_advances_the_global_generators():
    torch.manual_seed(0)
    np.random.seed(0)
    before, before_numpy = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    first = torch.randn(3, generator=Streams(1).torch("x"))
    Streams(1).numpy("x").random(3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], before_numpy)
    torch.manual_seed(1)
    assert torch.equal(torch.randn(3, generator=Streams(1).torch("x")), first)


def test_a_name_without_a_written_form_is_refused():
    with pytest.raises(TypeError, match="canonical form"):
        Streams(1).seed("x", np.int64(3))


@pytest.mark.parametrize("agree", [4, 8, 16, 31])
def test_hashes_that_agree_in_many_bits_draw_differently(agree):
    # torch's manual_seed keeps 32 bits, so that every one of these would draw the same.
    random = np.random.default_rng(0)
    one, other = random.bytes(4 * WORDS), random.bytes(4 * WORDS)
    for draw, length in ((_torch, 4 * WORDS), (_numpy, 32)):
        alike = one[:agree] + other[agree:length]
        assert draw(one[:length]) == draw(one[:length])
        assert not set(draw(one[:length])) & set(draw(alike))
        tail = other[: length - agree] + one[length - agree : length]
        assert not set(draw(one[:length])) & set(draw(tail))


def _torch(state):
    generator = torch_generator(state)
    return [*torch.rand(20, generator=generator, dtype=torch.float64).tolist(), *_normal(torch_generator(state))]


def _normal(generator):
    return torch.randn(20, generator=generator, dtype=torch.float64).tolist()


def _numpy(seed):
    return numpy_generator(seed).random(20).tolist()


def test_a_cpu_generator_goes_on_as_one_that_torch_seeded():
    # Of the generator's state, only the twister's words are ours: with torch's own words it draws what torch draws.
    seeded = torch.Generator().manual_seed(5)
    words = seeded.get_state()[24 : 24 + 8 * WORDS].numpy().view(np.uint64).astype("<u4").tobytes()
    ours = torch_generator(words)
    for count in (1, 7, 16, 2000):
        assert torch.equal(torch.randn(count, generator=ours), torch.randn(count, generator=seeded))


def test_a_cpu_generator_draws_uniform_and_normal_numbers(p_value):
    # Each check errs once in 1e6 seeds.
    names = [Streams("uniform").torch("x", step) for step in range(2000)]
    uniform = torch.cat([torch.rand(20, generator=name, dtype=torch.float64) for name in names]).numpy()
    counts = np.histogram(uniform, 100, (0, 1))[0]
    expected = len(uniform) / 100
    assert p_value(((counts - expected) ** 2 / expected).sum(), chi2(99)) > 1e-6
    normal = torch.cat([torch.randn(20, generator=Streams("normal").torch("x", step)) for step in range(2000)])
    assert p_value(float(normal.double().square().sum()), chi2(len(normal))) > 1e-6

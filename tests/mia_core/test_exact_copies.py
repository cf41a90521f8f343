import numpy as np

from mia_core.metrics.exact_copies import exact_copies


def test_samples_that_equal_members_are_counted_and_so_are_all_equal_members():
    members = np.arange(5 * 3 * 2 * 2, dtype=np.uint8).reshape(5, 3, 2, 2)
    members[4] = members[1]
    samples = np.concatenate([members[[1, 1, 0]], np.full((1, 3, 2, 2), 255, np.uint8)])
    found = exact_copies(samples, members)
    assert found.exact_copies == 0.75 and found.exact_members == 0.6
    assert found.pairs.tolist() == [[0, 1], [1, 1], [2, 0]]


def test_a_sample_that_differs_in_one_value_is_no_exact_copy():
    members = np.zeros((2, 1, 3, 3), np.uint8)
    samples = members[:1].copy()
    samples[0, 0, 1, 1] = 1
    found = exact_copies(samples, members)
    assert found.exact_copies == found.exact_members == 0 and found.pairs.shape == (0, 2)

"""How numbers are written, wherever they are."""

import numpy as np
import pandas as pd
import pytest

from analysis.format import (
    EFFECT,
    P_HOLM,
    epsilon,
    estimate,
    form_of,
    interval,
    more_replicates,
    number,
    p_value,
    point_text,
    replicates,
    share,
    texts_of_effect,
)

EFFECT_ROW = {"effect": -0.05, "low": -0.08, "high": -0.021, "p": 0.00123, "p_holm": 0.0123, "replicates": 5}
MEASURED = {"mean": 0.6123, "low": 0.5801, "high": 0.6409, "replicates": 1}


def test_an_interval_follows_its_value_and_is_left_out_where_it_is_not_known():
    assert interval(0.6123, 0.5801, 0.6409) == "0.612 [0.580, 0.641]"
    assert interval(0.6123, np.nan, np.nan) == "0.612"
    assert interval(None, None, None) == interval(np.nan, 0.1, 0.2) == number(pd.NA) == "-"
    assert interval(-0.0001, -0.0004, 0.0002) == "0.000 [0.000, 0.000]" and number(-1e-9, "+.3f") == "+0.000"
    assert share(0.5, 0.25, 1.0) == "0.50 [0.25, 1.00]" and share(0.5) == "0.50" and share(np.nan, 0.1, 0.2) == "-"


@pytest.mark.parametrize(
    ("value", "signed", "form"),
    [("auc", False, ".3f"), ("tpr_at_1pct_fpr", False, ".3f"), ("auc", True, "+.3f"),
     ("kid_domain_unseen", False, ".3g"), ("precision_domain_unseen", True, "+.3f")],
)  # fmt: skip
def test_shares_have_decimals_distances_have_digits_and_differences_a_sign(value, signed, form):
    assert form_of(value, signed) == form


def test_an_effect_is_in_the_values_own_units_with_the_p_that_was_asked_for():
    assert texts_of_effect(EFFECT_ROW, "auc", "p_holm") == {
        EFFECT: "−0.050 [−0.080, −0.021]", P_HOLM: "0.012", "replicates": "5",
    }  # fmt: skip
    assert p_value(0.00123) == "0.0012" and p_value(np.nan) == "-"


def test_means_say_their_replicates_and_arms_without_epsilon_none():
    assert point_text(MEASURED, "auc") == "0.612 [0.580, 0.641], 1 replicate"
    assert estimate({"quality": 0.0123, "quality_low": 0.01, "quality_high": 0.02}, "kid_domain_unseen", "quality") == (
        "0.0123 [0.01, 0.02]"
    )
    assert replicates(2) == "2 replicates"
    assert (epsilon(np.nan), epsilon(8.0)) == ("none", "8")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"settled": True}, "settled"),
        ({"settled": False, "needed": pd.NA}, "no number of replicates"),
        ({"settled": False, "needed": 12, "more": 7, "more_low": 2, "more_high": 40}, "7 more (2 to 40)"),
        ({"settled": False, "needed": 12, "more": 7, "more_low": 2, "more_high": pd.NA}, "7 more (2 to many)"),
    ],
)
def test_what_would_settle_an_effect_is_said_with_its_range(row, words):
    assert more_replicates(row) == words

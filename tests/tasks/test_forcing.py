import numpy as np
import pytest

from tasks.forcing import coin_flips, lab_free_probability, warm_up


def test_warm_up():
    np.testing.assert_array_equal(warm_up(5, 2), [True, True, False, False, False])
    assert warm_up(3, 9).all()
    assert warm_up(999, 100).sum() == 100


def test_a_warm_up_of_nothing_is_refused():
    with pytest.raises(ValueError, match="first step must be forced, got 0"):
        warm_up(5, 0)


def test_lab_schedule():
    """P grows by 0.1 at iterations 0, 100, 200, ... up to 0.85, as the lecture's loop does."""
    p, expected = 0.5, []
    for iteration in range(600):
        if iteration % 100 == 0:
            p = min(p + 0.1, 0.85)
        expected.append(p)
    found = [lab_free_probability(iteration) for iteration in range(600)]
    assert found == pytest.approx(expected)


def test_coin_flips_are_the_lectures_rand_above_p():
    flips = np.random.default_rng(3).random(50) > 0.7
    flips[0] = True
    np.testing.assert_array_equal(coin_flips(np.random.default_rng(3), 50, 0.7), flips)


def test_coin_flips_force_with_probability_one_minus_p():
    forced = coin_flips(np.random.default_rng(0), 100_000, 0.85)
    assert forced[0]
    assert forced.mean() == pytest.approx(0.15, abs=0.005)

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.waves import STEP, cosine, sine


def test_a_hundred_points_are_the_lectures():
    """np.sin(np.linspace(0, 10, 100) + phase), the phase the first number that is drawn."""
    rng = np.random.default_rng(4)
    phase = 2 * np.pi * np.random.default_rng(4).random()
    data = np.sin(np.linspace(0, 10, 100) + phase)
    drawn = sine.draw(rng, 1, 100)
    np.testing.assert_allclose(drawn.inputs[:, 0, 0], data[:-1], atol=1e-14)
    np.testing.assert_allclose(drawn.targets[:, 0, 0], data[1:], atol=1e-14)


def test_cosine_is_the_assignment():
    drawn = cosine.draw(np.random.default_rng(9), 3, 250)
    rng = np.random.default_rng(9)
    phase, amplitude = rng.uniform(0, 2 * np.pi, 3), rng.uniform(0.5, 1.5, 3)
    for sequence in range(3):
        expected = amplitude[sequence] * np.cos(np.arange(250) * 10 / 99 + phase[sequence])
        np.testing.assert_allclose(drawn.inputs[:, sequence, 0], expected[:-1], atol=1e-13)


def test_amplitudes_fill_their_range():
    drawn = cosine.draw(np.random.default_rng(0), 4000, 100)
    peaks = np.abs(drawn.inputs).max(axis=0).ravel()
    assert 0.49 < peaks.min() < 0.51
    assert 1.49 < peaks.max() <= 1.5
    assert np.abs(sine.draw(np.random.default_rng(0), 50, 100).inputs).max() <= 1.0


@pytest.mark.parametrize("task", [sine, cosine], ids=["sine", "cosine"])
@given(seed=st.integers(0, 2**32), batch=st.integers(1, 6), points=st.integers(3, 400))
@settings(max_examples=40)
def test_every_wave(task, seed, batch, points):
    drawn = task.draw(np.random.default_rng(seed), batch, points)
    assert drawn.inputs.shape == drawn.targets.shape == (points - 1, batch, task.input_size)
    assert drawn.inputs.dtype == np.float64
    np.testing.assert_array_equal(drawn.inputs[1:], drawn.targets[:-1])
    again = task.draw(np.random.default_rng(seed), batch, points)
    np.testing.assert_array_equal(drawn.targets, again.targets)
    p, q = task.recurrence
    law = p * drawn.inputs[1:] + q * drawn.inputs[:-1]
    np.testing.assert_allclose(drawn.targets[1:], law, atol=1e-10)


def test_the_step():
    assert pytest.approx(np.diff(np.linspace(0, 10, 100))[0]) == STEP

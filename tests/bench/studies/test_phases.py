"""Planted phases, drifts and decays are found again."""

import numpy as np
import pytest

from bench.studies.phases import LOST, drift, slopes
from tasks.waves import STEP

STEPS = np.arange(2000.0)
PHASES = np.linspace(0.0, 2.0 * np.pi, 9)[:-1]
TRUTH = 1.3 * np.cos(STEP * STEPS[:, None] + PHASES)


def test_a_constant_phase_and_amplitude_are_found_to_rounding():
    found = drift(0.6 * 1.3 * np.cos(STEP * STEPS[:, None] + PHASES + 0.7), TRUTH, STEP)
    np.testing.assert_allclose(found.phase_error, 0.7, atol=1e-12)
    np.testing.assert_allclose(found.amplitude_error, -0.4, atol=1e-12)


def test_an_offset_is_neither_phase_nor_amplitude():
    found = drift(TRUTH + 5.0, TRUTH, STEP)
    np.testing.assert_allclose(found.phase_error, 0.0, atol=1e-11)
    np.testing.assert_allclose(found.amplitude_error, 0.0, atol=1e-11)
    np.testing.assert_allclose(found.squared_error, 25.0)


def test_an_amplitude_that_decays_by_as_much_every_step_is_found_to_rounding():
    found = drift((1.0 - 3e-4 * STEPS[:, None]) * TRUTH, TRUTH, STEP)
    np.testing.assert_allclose(found.amplitude_error.T + 3e-4 * found.steps, 0.0, atol=1e-12)
    np.testing.assert_allclose(found.phase_error, 0.0, atol=1e-12)


@pytest.mark.parametrize(("per_step", "exact"), [(1e-5, 1e-7), (-1e-4, 1e-5), (1e-3, 1e-3)])
def test_a_frequency_and_a_decay_are_found_to_second_order(per_step, exact):
    rate = abs(per_step)  # both move by as much in a window
    angle = (STEP + per_step) * STEPS[:, None] + PHASES + 0.2
    found = drift(1.3 * np.exp(-rate * STEPS[:, None]) * np.cos(angle), TRUTH, STEP)
    expected = (0.2 + per_step * found.steps)[:, None]
    np.testing.assert_allclose(found.phase_error, np.broadcast_to(expected, (63, 8)), atol=exact)
    kept = np.exp(-rate * found.steps)[:, None]
    alive = np.isfinite(found.phase_error)
    np.testing.assert_allclose(((1.0 + found.amplitude_error) / kept)[alive], 1.0, atol=exact)
    np.testing.assert_allclose(slopes(found.steps, found.phase_error), per_step, rtol=1e-3)


def test_a_phase_is_followed_through_many_turns():
    found = drift(np.cos(1.2 * STEP * STEPS[:, None] + PHASES), TRUTH, STEP)
    assert found.phase_error[-1] == pytest.approx(0.2 * STEP * found.steps[-1], rel=0.01)
    assert found.phase_error[-1].min() > 10.0 * np.pi


def test_the_mean_over_windows_of_the_squared_error_is_that_of_the_run():
    rng = np.random.default_rng(1)
    predicted = TRUTH + rng.normal(size=TRUTH.shape)
    found = drift(predicted, TRUTH, STEP)
    first = np.square(predicted - TRUTH)[:62].mean(axis=0)
    np.testing.assert_allclose(found.squared_error[0], first)
    assert len(found.steps) == 1 + (2000 - 62) // 31


def test_a_wave_that_is_lost_has_no_phase_from_there_on():
    size = np.where(STEPS < 800, 1.0, 0.5 * LOST)[:, None]
    size[1500:] = 1.0  # what comes after may be a wave again: its turns were not counted
    found = drift(size * TRUTH, TRUTH, STEP)
    middle = found.steps[np.isfinite(found.phase_error[:, 0])]
    assert 700 < middle[-1] < 900
    assert np.isnan(found.phase_error[-1]).all()


def test_a_run_of_one_window_has_no_slope():
    phase = np.array([[1.0, 1.0], [np.nan, 3.0]])
    found = slopes(np.array([0.0, 10.0]), phase)
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(0.2)

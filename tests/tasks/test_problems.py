"""The lecture's problem types: what is read, what is judged, and what who has not learned gets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import TASKS
from tasks.adding import Adding
from tasks.noisy import ENCODED, NOISE

STEP = 10 / 99
PROBLEMS = ("circle", "phasor", "denoise", "delayed", "adding")
drawn_by = given(seed=st.integers(0, 2**32), batch=st.integers(1, 5), points=st.integers(3, 150))


def drawn(name, seed, batch, points):
    return TASKS[name].draw(np.random.default_rng(seed), batch, points)


def mse(name, predicted, sequences):
    return np.square(predicted - sequences.targets)[sequences.judged].mean()


@pytest.mark.parametrize("name", PROBLEMS)
@drawn_by
@settings(max_examples=25)
def test_every_problem(name, seed, batch, points):
    task, found = TASKS[name], drawn(name, seed, batch, points)
    shape = (points - 1, batch, task.input_size)
    assert found.inputs.shape == found.targets.shape == found.judged.shape == shape
    assert found.inputs.dtype == found.targets.dtype == np.float64
    assert found.judged.any(axis=(0, 2)).all()
    assert np.isfinite(found.inputs).all()
    assert not found.targets[~found.judged].any()
    assert 1 <= found.forced_steps <= points - 1
    assert task.feedback == (found.forced_steps < points - 1) or points == 3
    again = drawn(name, seed, batch, points)
    np.testing.assert_array_equal(found.inputs, again.inputs)
    np.testing.assert_array_equal(found.targets, again.targets)
    for predicted in task.trivial(found, found.forced_steps).values():
        assert predicted.shape == shape
        assert np.isfinite(predicted).all()


@pytest.mark.parametrize("name", PROBLEMS)
def test_trivial_predictors_know_only_what_the_generator_reads(name):
    task, found = TASKS[name], drawn(name, 3, 4, 140)
    before = task.trivial(found, found.forced_steps)
    found.inputs[found.forced_steps :] = np.nan
    found.targets[:] = np.nan
    for predictor, predicted in task.trivial(found, found.forced_steps).items():
        np.testing.assert_array_equal(predicted, before[predictor])


@drawn_by
@settings(max_examples=25)
def test_a_circle_goes_round(seed, batch, points):
    found = drawn("circle", seed, batch, points)
    z = found.inputs[..., 0] + 1j * found.inputs[..., 1]
    np.testing.assert_allclose(np.abs(z), np.abs(z[:1]).repeat(len(z), axis=0), rtol=1e-12)
    assert ((np.abs(z) > 0.4999) & (np.abs(z) < 1.5001)).all()
    np.testing.assert_allclose(np.angle(z[1:] / z[:-1]), STEP, atol=1e-9)
    np.testing.assert_array_equal(found.inputs[1:], found.targets[:-1])
    assert found.judged.all()
    assert found.forced_steps == 1


def test_who_knows_the_rotation_walks_the_circle():
    found = drawn("circle", 0, 500, 1000)
    trivial = TASKS["circle"].trivial(found, 1)
    assert list(trivial) == ["zero", "repeat", "rotation"]
    assert mse("circle", trivial["zero"], found) == pytest.approx((1 + 1 / 12) / 2, rel=0.1)
    assert 0 < mse("circle", trivial["rotation"], found) < 1e-8
    np.testing.assert_array_equal(trivial["repeat"][-1], found.inputs[0])


@drawn_by
@settings(max_examples=25)
def test_the_phasor_is_asked_for_at_each_sequences_end(seed, batch, points):
    found = drawn("phasor", seed, batch, points)
    lengths = found.inputs[:, :, 1].sum(axis=0).astype(int)
    for column, length in enumerate(lengths):
        assert max(1, (points - 1) // 5) <= length <= points - 1
        assert not found.inputs[length:, column].any()
        assert (found.inputs[:length, column, 1] == 1.0).all()
        [[step, *_], features] = np.nonzero(found.judged[:, column])
        assert (step, list(features)) == (length - 1, [0, 1])
        assert 0.4999 < np.hypot(*found.targets[step, column]) < 1.5001


def test_lengths_fill_their_range():
    lengths = drawn("phasor", 0, 3000, 101).inputs[:, :, 1].sum(axis=0)
    assert (lengths.min(), lengths.max()) == (20, 100)


def test_the_phasor_is_that_of_the_points():
    """Least squares on the noisy points, their frequency known, comes near it; and to it alone."""
    found = drawn("phasor", 5, 400, 101)
    lengths = found.inputs[:, :, 1].sum(axis=0).astype(int)
    errors = []
    for column, length in enumerate(lengths):
        back = (np.arange(length) - length + 1) * STEP
        basis = np.stack([np.cos(back), -np.sin(back)], axis=1)
        fit = np.linalg.lstsq(basis, found.inputs[:length, column, 0], rcond=None)[0]
        errors.append(np.square(fit - found.targets[length - 1, column]).mean())
    assert np.mean(errors) < 0.03
    assert np.median(np.array(errors)[lengths > 90]) < 2.5 * NOISE**2 / 95


@pytest.mark.parametrize("name", ["phasor", "denoise", "delayed"])
def test_the_filter_is_the_best_linear_one(name):
    """By the covariances of points and wave, for one sequence, step by step."""
    task, found = TASKS[name], drawn(name, 2, 3, 121)
    predicted = task.trivial(found, found.forced_steps)["filter"]
    variance = (0.5**2 + 0.5 * 1.5 + 1.5**2) / 3 / 2  # E[a^2] / 2

    def covariance(one, other):
        return variance * np.cos((np.subtract.outer(one, other)) * STEP)

    for step, column, feature in np.argwhere(found.judged)[::7]:
        read = np.arange(min(step + 1, found.forced_steps))
        at = step + (name == "delayed") - (np.pi / 2 / STEP) * (feature == 1)
        gram = covariance(read, read) + NOISE**2 * np.eye(len(read))
        weights = np.linalg.solve(gram, covariance(read, [at])[:, 0])
        expected = weights @ found.inputs[read, column, 0]
        assert predicted[step, column, feature] == pytest.approx(expected, abs=1e-9)


@drawn_by
@settings(max_examples=25)
def test_denoise_and_delayed_are_one_wave_with_and_without_noise(seed, batch, points):
    aligned = drawn("denoise", seed, batch, points)
    assert aligned.judged.all()
    assert np.abs(aligned.targets).max() < 1.5
    later = drawn("delayed", seed, batch, points)
    encoded = later.forced_steps
    assert encoded == max(1, min(ENCODED, (points - 1) // 2))
    judged = later.judged[:, :, 0].all(axis=1)
    np.testing.assert_array_equal(judged, np.arange(points - 1) >= encoded - 1)
    # The same phases and amplitudes, a step later.
    shared = slice(encoded - 1, points - 2)
    np.testing.assert_allclose(later.targets[shared], aligned.targets[1:][shared], atol=1e-12)


def test_the_noise_is_what_the_noisy_point_gets():
    found = drawn("denoise", 1, 300, 301)
    trivial = TASKS["denoise"].trivial(found, found.forced_steps)
    assert mse("denoise", trivial["input"], found) == pytest.approx(NOISE**2, rel=0.02)
    assert mse("denoise", trivial["zero"], found) == pytest.approx((1 + 1 / 12) / 2, rel=0.1)
    assert mse("denoise", trivial["filter"], found) < NOISE**2 / 20


@drawn_by
@settings(max_examples=25)
def test_adding_wants_the_sum_of_the_two_marked_values(seed, batch, points):
    found = drawn("adding", seed, batch, points)
    values, markers = found.inputs[:, :, 0], found.inputs[:, :, 1]
    half = (points - 1) // 2
    assert (markers[:half].sum(axis=0) == 1).all()
    assert (markers[half:].sum(axis=0) == 1).all()
    assert set(np.unique(markers)) <= {0.0, 1.0}
    assert ((values >= 0) & (values < 1)).all()
    assert list(zip(*np.nonzero(found.judged), strict=True)) == [
        (points - 2, column, 0) for column in range(batch)
    ]
    expected = [values[markers[:, column] == 1, column].sum() for column in range(batch)]
    np.testing.assert_allclose(found.targets[-1, :, 0], expected)


@pytest.mark.parametrize("points", [3, 101, 201])
def test_always_one_gets_a_sixth(points):
    task = Adding(points=points)
    found = task.draw(np.random.default_rng(0), 8000, points)
    assert mse("adding", task.trivial(found, points - 1)["one"], found) == pytest.approx(
        1 / 6, rel=0.05
    )


def test_two_markers_need_two_steps():
    with pytest.raises(ValueError, match="at least 3 points, got 2"):
        drawn("adding", 0, 1, 2)


def test_a_part_of_sequences_is_still_judged():
    found = drawn("delayed", 0, 6, 200)
    part = found.part(30, np.array([4, 1]))
    np.testing.assert_array_equal(part.inputs, found.inputs[:30, [4, 1]])
    np.testing.assert_array_equal(part.judged, found.judged[:30, [4, 1]])
    assert (part.forced_steps, found.forced_steps) == (30, 50)

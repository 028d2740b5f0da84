"""Every task through the same training, evaluation, tables and figures: by what it judges."""

import numpy as np
import pytest
import torch

import impls
from bench import (
    ceilings,
    environment,
    evaluation,
    figures,
    measure,
    parity,
    plots,
    records,
    runner,
    tables,
    weights,
    words,
    worker,
)
from bench.cli import main
from bench.config import EvaluationConfig, RunConfig, validated
from bench.errors import BenchError
from bench.progress import Silent
from bench.recipes import RECIPES, Batch, batches
from bench.remote import Inline
from bench.training import batch_loss
from impls import GeneratorConfig
from tasks import TASKS

PROBLEMS = ("circle", "phasor", "denoise", "delayed", "adding")
CONFIG = EvaluationConfig(sequences=9, points=70, warm_up=20)
every = pytest.mark.parametrize("name", PROBLEMS)


def model_of(name, **options):
    config = GeneratorConfig(input_size=TASKS[name].input_size, hidden_size=8)
    return impls.create("manual_cell", config, seed=1, **options)


@every
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_task_forces_as_many_steps_as_it_says_in_every_recipe(name, recipe):
    task = TASKS[name]
    for batch in batches(RECIPES[recipe], task, 0, 3):
        first = batch.sequences.forced_steps
        assert batch.forced[:first].all()
        assert task.points is None or len(batch.forced) == task.points - 1
        if not task.feedback:
            assert batch.forced.all()
        elif recipe == "lab":
            assert 0 < batch.forced[first:].sum() < len(batch.forced) - first
        else:
            assert not batch.forced[first:].any()


@every
def test_the_loss_is_the_error_of_what_is_judged(name):
    """Whatever the predictions are where nothing is judged, and whatever the recipe leaves out."""
    sequences = TASKS[name].draw(np.random.default_rng(0), 4, 60)
    forced = np.arange(59) < sequences.forced_steps
    model = model_of(name, dtype=torch.float64)
    found = batch_loss(model, Batch(sequences, forced), 10)
    predictions = evaluation.predict(model, sequences.inputs, forced)
    apart = (predictions - sequences.targets)[sequences.judged]
    assert found.item() == pytest.approx(np.square(apart).mean(), rel=1e-12)
    errors = evaluation.judged_errors(predictions, sequences, 10)
    assert errors.mean() == pytest.approx(found.item(), rel=1e-12)
    predictions[~sequences.judged] = 1e6
    np.testing.assert_array_equal(errors, evaluation.judged_errors(predictions, sequences, 10))
    found.backward()
    assert all(weight.grad.abs().sum() > 0 for weight in model.weights().values())


def test_a_batch_that_judges_nothing_has_no_loss():
    sequences = TASKS["adding"].draw(np.random.default_rng(0), 4, 60).part(20, np.arange(4))
    assert batch_loss(model_of("adding"), Batch(sequences, np.ones(20, dtype=bool)), 0).item() == 0


@pytest.mark.parametrize(("name", "steps"), [("circle", 69), ("denoise", 69), ("delayed", 36)])
def test_errors_of_each_judged_step(name, steps):
    sequences = evaluation.test_set(TASKS[name], CONFIG)
    predictions = np.random.default_rng(1).normal(size=sequences.targets.shape)
    errors = evaluation.judged_errors(predictions, sequences, CONFIG.warm_up)
    expected = np.square(predictions - sequences.targets)[-steps:].mean(axis=2)
    np.testing.assert_allclose(errors, expected, rtol=1e-12)


@pytest.mark.parametrize(("name", "features"), [("phasor", 2), ("adding", 1)])
def test_one_answer_a_sequence(name, features):
    sequences = evaluation.test_set(TASKS[name], CONFIG)
    model = model_of(name)
    found = evaluation.evaluate(model, sequences, CONFIG)
    steps = TASKS[name].points - 1
    predictions = evaluation.predict(model, sequences.inputs, np.ones(steps, dtype=bool))
    assert len(found.mse_per_step) == 1
    assert found.forced_steps == steps
    answers, errors = found.answers, []
    for column in range(CONFIG.sequences):
        step, last = np.argwhere(sequences.judged[:, column])[-1]
        assert last == features - 1
        for feature in range(features):
            truth, guess = sequences.targets[step, column], predictions[step, column]
            assert answers.target[feature][column] == pytest.approx(truth[feature])
            assert answers.prediction[feature][column] == pytest.approx(guess[feature])
        errors.append(np.square(guess[:features] - truth[:features]).mean())
    np.testing.assert_allclose(found.mse_per_sequence, errors)
    end = int(np.argwhere(sequences.judged[:, found.worst_index])[-1][0]) + 1
    assert len(found.worst.target) == len(found.worst.inputs[0]) == end
    assert found.worst.target[-1] == pytest.approx(answers.target[0][found.worst_index])


def test_waves_have_what_they_had():
    model = impls.create("manual_cell", GeneratorConfig(hidden_size=8))
    found = evaluation.evaluate(model, evaluation.test_set(TASKS["cosine"], CONFIG), CONFIG)
    assert (found.forced_steps, found.answers, found.best.inputs) == (None, None, None)


# A whole run of each, tiny.


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Name -> path and result: checked, trained, evaluated, timed, saved and read again."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records.os, "fsync", lambda _: None)
        patch.setattr(environment, "_git", lambda: ("c0ffee", False))
        patch.setattr(parity, "SHAPES", ((23, 5),))
        patch.setattr(worker, "peak_memory_bytes", lambda *_: 4096)
        patch.setattr(measure, "WINDOW_SECONDS", 0.002)
        patch.setattr(measure, "SHORTEST_BLOCK_SECONDS", 0.001)
        patch.setattr(measure, "LONGEST_WARM_UP_SECONDS", 0.02)
        patch.setattr(ceilings, "PRODUCT_SIZES", (64,))
        patch.setattr(ceilings, "LARGE_COPY_BYTES", 1 << 21)
        for name in PROBLEMS:
            path = tmp_path_factory.mktemp(name) / "run.json"
            runner.run(tiny(name), path, Silent(), start=Inline)
            found[name] = path, records.load(path)
    return found


def tiny(name):
    return RunConfig(
        implementations=("manual_cell",),
        task=name,
        recipe="lab" if name == "circle" else "quick",
        iterations=2,
        model=GeneratorConfig(input_size=TASKS[name].input_size, hidden_size=8),
        steps=12,
        batch_sizes={"generate": (1,), "train_step": (2,)} if name == "adding" else {},
        processes=1,
        rounds=1,
        baseline="manual_cell",
        evaluation=CONFIG,
    )


@every
def test_a_whole_run(name, results):
    path, result = results[name]
    [case] = result.cases
    assert (case.status, case.reason) == ("ok", None)
    timed = ["generate", "train_step"] if name == "adding" else []
    assert [row.workload for row in case.throughput] == timed
    exact = evaluation.baselines(TASKS[name], evaluation.test_set(TASKS[name], CONFIG), CONFIG)
    assert result.baselines == exact
    saved = path.with_suffix("") / "weights_manual_cell_cpu.safetensors"
    assert weights.load(saved).model == case.model


TITLES = {
    "circle": "over 69 steps of 9 sequences of circle",
    "phasor": "of one answer to each of 9 sequences of phasor",
    "denoise": "over 69 steps of 9 sequences of denoise",
    "delayed": "over 36 steps of 9 sequences of delayed",
    "adding": "of one answer to each of 9 sequences of adding",
}
PREDICTORS = {
    "circle": ["always zero", "repeat last value", "exact rotation"],
    "phasor": ["always zero", "linear filter"],
    "denoise": ["noisy input", "always zero", "linear filter"],
    "delayed": ["always zero", "repeat last value", "linear filter"],
    "adding": ["always 1"],
}


@every
def test_its_tables_name_what_is_judged_and_its_own_predictors(name, results):
    _, result = results[name]
    table = tables.accuracy(result)
    assert table.title == f"Accuracy: squared error {TITLES[name]}"
    assert [[row[0] for row in section] for section in table.sections] == [
        ["manual_cell"],
        PREDICTORS[name],
    ]
    assert table.notes[0].startswith(f"{name}: {TASKS[name].problem}")
    assert ("all steps are forced" in table.notes[0]) is not TASKS[name].feedback
    first = next(iter(result.baselines.values())).mse_mean
    note = tables.overview(result).notes[0]
    assert f"{PREDICTORS[name][0]} gets {words.error(first)}" in note
    assert ("closed loop" in note) is TASKS[name].feedback


@every
def test_its_figures_show_what_the_file_holds(name, results):
    _, result = results[name]
    [case] = result.cases
    planned = {plan.name for plan in plots.planned(result)}
    once = name in ("phasor", "adding")
    assert ("answers" in planned, "error_growth" in planned) == (once, not once)
    accuracy = case.accuracy
    for axes, shown in zip(
        figures.best_worst(result, case).axes, (accuracy.best, accuracy.worst), strict=True
    ):
        read, *marked, truth, prediction = axes.get_lines()
        assert len(marked) == (name == "adding")
        for line in marked:
            assert line.get_ydata().sum() == pytest.approx(shown.target[-1])
        assert axes.get_xlim()[1] >= len(shown.target)
        np.testing.assert_array_equal(read.get_ydata(), shown.inputs[0])
        judged = 1 if once else len(accuracy.mse_per_step)
        np.testing.assert_array_equal(truth.get_ydata(), shown.target[-judged:])
        assert truth.get_xdata()[-1] == len(shown.target) - 1
        np.testing.assert_array_equal(prediction.get_ydata(), shown.prediction)
        assert [shade.get_width() for shade in axes.patches] == (
            [accuracy.forced_steps] if TASKS[name].feedback else []
        )
    if once:
        panels = figures.answers(result, case).axes
        for axes, x, y in zip(
            panels, accuracy.answers.target, accuracy.answers.prediction, strict=True
        ):
            dots = axes.get_lines()[0]
            np.testing.assert_array_equal([dots.get_xdata(), dots.get_ydata()], [x, y])
    else:
        axes = figures.error_growth(result).axes[0]
        first = {"circle": 0, "denoise": 0, "delayed": 33}[name]
        assert {line.get_xdata()[0] for line in axes.get_lines()} == {first}
        floor = "filter" if name != "circle" else "rotation"
        np.testing.assert_array_equal(
            axes.get_lines()[-1].get_ydata(), result.baselines[floor].mse_per_step
        )


def test_a_model_of_another_size_is_told():
    with pytest.raises(BenchError, match="--task adding has 2 features, the model 1"):
        validated({"task": "adding"})


@pytest.fixture
def generate(results, capsys):
    def command(name, *arguments):
        saved = results[name][0].with_suffix("") / "weights_manual_cell_cpu.safetensors"
        with pytest.raises(SystemExit) as end:
            main(["generate", "--weights", str(saved), *arguments])
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return command


@pytest.mark.parametrize("name", ["phasor", "denoise", "adding"])
def test_what_feeds_nothing_back_has_no_continuation(name, generate):
    status, out, err = generate(name, "--steps", "3")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert f"--task {name} has no continuation: it is {TASKS[name].problem}" in err
    assert "cosine, sine, circle, delayed" in err


@pytest.mark.parametrize(("name", "given"), [("circle", 1), ("delayed", 50)])
def test_a_task_gives_as_many_points_as_it_forces(name, given, generate):
    status, out, err = generate(name, "--steps", "7", "--seed", "3")
    rows = [line.split(",") for line in out.splitlines()[1:]]
    assert (status, [row[1] for row in rows]) == (0, ["given"] * given + ["predicted"] * 7)
    drawn = TASKS[name].draw(np.random.default_rng(3), 1, 1000)
    truths = [[float(cell) for cell in row[-drawn.inputs.shape[2] :]] for row in rows[given:]]
    np.testing.assert_array_equal(truths, drawn.targets[given - 1 : given + 6, 0])
    assert "7 free steps" in err

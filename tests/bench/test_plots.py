"""Figures show the data of the file, are written as PNG and SVG, and drawn only when needed."""

import matplotlib as mpl
import numpy as np
import pytest

from bench import figures, plots
from bench.records import load, save


@pytest.fixture
def copy(golden, tmp_path):
    path = tmp_path / "result.json"
    path.write_bytes(golden.read_bytes())
    return path


def test_all_figures_lie_beside_the_file(copy):
    folder = plots.draw_all(load(copy), copy)
    assert folder == copy.with_suffix("")
    names = {plan.file for plan in plots.planned(load(copy))}
    assert names == {
        "best_worst_torch_rnn_cpu", "best_worst_torch_cell_cpu", "best_worst_manual_cell_cpu",
        "training_loss", "error_growth", "throughput",
    }  # fmt: skip
    assert {path.name for path in folder.iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("png", "svg")
    }
    png = (folder / "throughput.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert (folder / "throughput.svg").read_text().count("<svg") == 1


def test_best_and_worst_are_in_their_panels_with_the_warm_up_shaded(copy):
    result = load(copy)
    case = result.cases[1]
    upper, lower = figures.best_worst(result, case).axes
    for axes, trajectory in ((upper, case.accuracy.best), (lower, case.accuracy.worst)):
        truth, prediction = axes.get_lines()
        np.testing.assert_array_equal(truth.get_ydata(), trajectory.target)
        np.testing.assert_array_equal(prediction.get_ydata(), trajectory.prediction)
        [shade] = axes.patches
        assert (shade.get_x(), shade.get_width()) == (0, result.config.evaluation.warm_up)
    assert upper.get_title("left").startswith("best of 5")
    assert lower.get_title("left").startswith("worst of 5")


def test_a_case_has_one_colour_also_where_others_have_no_bar(copy):
    result = load(copy)
    first, second, *rest = result.cases
    first = first.model_copy(
        update={"training": None, "accuracy": None, "throughput": first.throughput[:1]}
    )
    result = result.model_copy(update={"cases": (first, second, *rest)})
    upper, *others = figures.throughput(result).axes
    colour = upper.patches[1].get_facecolor()
    assert colour != upper.patches[0].get_facecolor()
    assert [axes.patches[0].get_facecolor() for axes in others] == [colour] * len(others)
    lines = [figures.training_loss(result).axes[0].get_lines()[1]]
    lines += [figures.error_growth(result).axes[0].get_lines()[0]]
    assert [mpl.colors.to_rgba(line.get_color()) for line in lines] == [colour] * 2


def test_bars_and_their_intervals(copy):
    result = load(copy)
    figure = figures.throughput(result)
    assert len(figure.axes) == 3
    row = result.cases[0].throughput[0]
    bar = figure.axes[0].patches[0]
    assert bar.get_width() == pytest.approx(row.steps_per_second.estimate / 1e3)
    [line] = figure.axes[0].collections
    assert row.steps_per_second.high < 2 * row.steps_per_second.estimate
    low, high = line.get_segments()[0][:, 0]
    assert low == pytest.approx(row.steps_per_second.low / 1e3)
    assert high == pytest.approx(row.steps_per_second.high / 1e3)


def test_error_growth_starts_after_the_warm_up(copy):
    result = load(copy)
    [axes] = figures.error_growth(result).axes
    line = axes.get_lines()[0]
    assert line.get_xdata()[0] == result.config.evaluation.warm_up
    np.testing.assert_array_equal(line.get_ydata(), result.cases[0].accuracy.mse_per_step)


def test_every_axis_is_named(copy):
    result = load(copy)
    for figure in (figures.training_loss(result), figures.error_growth(result)):
        assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)
    assert "per second" in figures.throughput(result).axes[-1].get_xlabel()


def test_an_up_to_date_figure_is_not_drawn_again(copy):
    result = load(copy)
    folder = plots.draw_all(result, copy)
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    plots.draw_all(result, copy)
    assert times == {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    copy.write_text(copy.read_text() + "\n")
    plots.draw_all(result, copy)
    assert all(path.stat().st_mtime_ns > then for path, then in times.items())


def test_figures_of_an_overwritten_result_go_and_others_stay(copy):
    result = load(copy)
    folder = plots.draw_all(result, copy)
    (folder / "mine.png").write_bytes(b"not drawn by us")
    fewer = result.model_copy(update={"cases": result.cases[:1]})
    save(fewer, copy)
    plots.draw_all(fewer, copy)
    left = {path.name for path in folder.glob("*.png")}
    assert left == {
        "mine.png", "best_worst_torch_rnn_cpu.png", "training_loss.png", "error_growth.png",
        "throughput.png",
    }  # fmt: skip


def test_the_same_file_gives_the_same_bytes(copy):
    result = load(copy)
    folder = plots.draw_all(result, copy)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for path in list(folder.iterdir()):
        path.unlink()
    plots.draw_all(result, copy)
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_callers_matplotlib_is_left_alone(copy):
    before = dict(mpl.rcParams)
    plots.draw_all(load(copy), copy)
    assert dict(mpl.rcParams) == before


def test_a_result_without_data_gives_no_figure(copy):
    result = load(copy)
    empty = [c.model_copy(update={"training": None, "accuracy": None, "throughput": ()})
             for c in result.cases]  # fmt: skip
    assert list(plots.planned(result.model_copy(update={"cases": tuple(empty)}))) == []

"""Cases of several hidden sizes in one run, fewer steps, no training; and how it all scales."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import (
    ceilings,
    config,
    export,
    figures,
    guard,
    limits,
    measure,
    observed,
    plots,
    scaling,
    summary,
    tables,
    workloads,
)
from bench.cli import main
from bench.compare import compare
from bench.comparison_tables import comparison_tables
from bench.config import RunConfig
from bench.errors import BenchError, WrongWorkError
from bench.messages import Arm
from bench.progress import Silent
from bench.records import load, save
from bench.remote import Inline
from bench.runner import run
from bench.worker import Session
from impls import REGISTRY, GeneratorConfig, create
from tasks import TASKS
from tests.bench.synthetic import steady, timed

SIZES = RunConfig(
    implementations=("torch_rnn", "manual_cell"),
    model=GeneratorConfig(hidden_size=4),
    more_hidden_sizes=(6, 4),
    recipe="none",
    steps=20,
    batch_sizes={"generate": (1, 3), "train_step": (2,), "sequence": (2,)},
    processes=1,
    rounds=2,
)


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(measure, "WINDOW_SECONDS", 0.002)
    monkeypatch.setattr(measure, "SHORTEST_BLOCK_SECONDS", 0.001)
    monkeypatch.setattr(measure, "LONGEST_WARM_UP_SECONDS", 0.02)
    monkeypatch.setattr(ceilings, "PRODUCT_SIZES", (64,))
    monkeypatch.setattr(ceilings, "LARGE_COPY_BYTES", 1 << 21)


@pytest.fixture
def sized(golden):
    return timed(golden, steady)


# What is asked for.


def test_sizes_are_those_of_the_model_first_and_each_once():
    assert SIZES.hidden_sizes == (4, 6)
    assert SIZES.model_of(6) == GeneratorConfig(hidden_size=6)
    assert RunConfig().hidden_sizes == (128,)


def test_a_recipe_of_none_trains_nothing():
    assert not SIZES.trains
    assert config.validated({"recipe": "none"}).recipe == "none"
    with pytest.raises(BenchError, match="--iterations 5: --recipe none trains nothing"):
        config.validated({"recipe": "none", "iterations": 5})


@pytest.mark.parametrize("steps", [-1, 0, 1, 10**6])
def test_too_few_or_many_steps_are_refused(steps):
    with pytest.raises(BenchError, match=r"--steps: Input should be"):
        config.validated({"steps": steps})


# What is run.


def test_a_run_of_two_sizes_times_each_without_training(fast, tmp_path):
    entries = {n: REGISTRY[n] for n in SIZES.implementations}
    path = tmp_path / "run.json"
    result = run(SIZES, path, Silent(), start=Inline, entries=entries)
    assert load(path) == result
    assert [case.key for case in result.cases] == [
        (name, "cpu", size) for size in (4, 6) for name in SIZES.implementations
    ]
    assert [control.key for control in result.controls] == [
        ("torch_rnn", "cpu", 4), ("torch_rnn", "cpu", 6)
    ]  # fmt: skip
    assert len(result.canaries) == 1
    assert result.baselines is None
    rows = [("generate", 1, 1), ("generate", 3, 1), ("train_step", 2, 1), ("sequence", 2, 1)]
    for case in result.cases:
        assert (case.status, case.training, case.accuracy) == ("ok", None, None)
        assert case.parity.passed
        assert case.weights_digest
        assert [row.key for row in case.throughput] == rows
        for row in case.throughput:
            assert row.steps == 20
            assert row.output_error < 1e-4
    digests = {case.model.hidden_size: case.weights_digest for case in result.cases}
    assert len(set(digests.values())) == 2
    for case in result.cases:  # the floor is that of its own model and its own steps
        row = case.throughput[0]
        forced = workloads.forcing("generate", 0, 20)
        args = (case.model, "generate", 1, forced.tolist(), "float32", result.ceilings[0])
        assert row.limit == limits.limit(*args)
    overview = tables.overview(result)
    assert overview.columns[:4] == ("implementation", "device", "H", "mean MSE")
    assert [[row[2:4] for row in section] for section in overview.sections] == [
        [("4", "-"), ("4", "-")], [("6", "-"), ("6", "-")]
    ]  # fmt: skip
    assert tables.result_tables(result)[0].title == "Throughput"
    assert "recipe none" in tables.heading(result)
    assert " H=4,6 L=1 " in tables.heading(result)


def test_it_goes_on_where_it_was_cut_short(fast, tmp_path):
    """A run without training has nothing to train when it is resumed."""
    entries = {n: REGISTRY[n] for n in SIZES.implementations}
    path = tmp_path / "run.json"
    whole = run(SIZES, path, Silent(), start=Inline, entries=entries)
    cut = whole.model_copy(
        update={
            "processes": (),
            "cases": tuple(
                case.model_copy(update={"status": "pending", "throughput": ()})
                for case in whole.cases
            ),
        }
    )
    again = run(SIZES, path, Silent(), start=Inline, entries=entries, earlier=cut)
    assert {case.status for case in again.cases} == {"ok"}
    assert [len(case.throughput) for case in again.cases] == [4, 4, 4, 4]


@pytest.mark.parametrize("steps", [2, 3, 9, 20, 100, 999])
@pytest.mark.parametrize("name", ["generate", "train_step", "sequence"])
def test_steps_are_as_many_as_were_asked_for_and_right(name, steps):
    model = create("manual_cell", GeneratorConfig(hidden_size=4), seed=1)
    workload = workloads.build(name, model, TASKS["cosine"], 2, 0, steps)
    assert workload.steps == len(workload.forced) == steps
    assert workload.forced[0]
    if name == "generate":
        assert workload.forced.sum() == max(1, steps // 10)
        assert not workload.forced[-1]
    outcome = workload.call()
    assert workload.error(workload.freeze(outcome)) < 1e-4


def test_without_steps_all_is_as_before():
    for name, steps, forced in (("generate", 999, 100), ("sequence", 999, 999)):
        found = workloads.forcing(name, 0)
        assert (len(found), found.sum()) == (steps, forced)
    assert len(workloads.forcing("train_step", 0)) == 99
    assert np.array_equal(
        workloads.forcing("train_step", 3, 99), workloads.forcing("train_step", 3)
    )


def test_the_loss_of_few_steps_leaves_out_a_quarter():
    model = create("manual_cell", GeneratorConfig(hidden_size=4), seed=1)
    for steps, left_out in ((2, 0), (8, 2), (79, 19), (80, 20), (99, 20)):
        workload = workloads.build("train_step", model, TASKS["cosine"], 2, 0, steps)
        assert workload.loss_warm_up == left_out


# What a reader is told.


def test_sizes_do_not_mix_in_ratios(golden):
    """The baseline of one size says nothing about another."""

    def seconds(name, size, batch, process):
        return steady(name, size, batch, process) * (
            3.0 if (name, size) == ("torch_rnn", 64) else 1
        )

    for row in summary.throughput_rows(timed(golden, seconds)):
        factor = {"torch_rnn": 1.0, "torch_cell": 2.0, "manual_cell": 4.0}[row.implementation]
        three = 3.0 if row.hidden_size == 64 and row.implementation != "torch_rnn" else 1.0
        assert row.ratio == pytest.approx(factor * three)


def test_every_table_names_the_size(sized):
    for table in tables.result_tables(sized):
        assert "H" in table.columns
    table = tables.throughput(sized)
    assert len(table.sections) == 12
    at = table.columns.index("H")
    assert [{row[at] for row in section} for section in table.sections] == [
        {str(size)} for size in (16, 64, 256) for _ in range(4)
    ]


def test_one_size_takes_no_column(golden):
    for table in tables.result_tables(load(golden)):
        assert "H" not in table.columns


def test_rows_match_by_size(sized, golden):
    fewer = timed(golden, steady, sizes=(64,))
    [comparison] = compare(observed.of_result(fewer, "a"), [observed.of_result(sized, "b")])
    assert {(row.hidden_size, row.verdict == "only in new") for row in comparison.throughput} == {
        (64, False),
        (16, True),
        (256, True),
    }
    assert {row.hidden_size for row in comparison.accuracy} == {16, 64, 256}
    assert all("H" in table.columns for table in comparison_tables([comparison]))
    [back] = compare(observed.of_result(sized, "b"), [observed.of_result(fewer, "a")])
    reasons = [reason for _, reason in guard.findings([back], 0.05)]
    assert any("torch_rnn on cpu with H=16 is missing" in reason for reason in reasons)


@pytest.mark.parametrize("form", ["pytest-benchmark", "pyperf"])
def test_exports_tell_the_sizes_apart(form, sized):
    benchmarks = json.loads(export.FORMATS[form].text(sized))["benchmarks"]
    names = [found.get("fullname") or found["metadata"]["name"] for found in benchmarks]
    assert len(set(names)) == len(names) == 36
    assert all("H=" in name for name in names)


# How it scales.


def test_the_fastest_is_named_with_its_ratio_to_the_second(sized):
    rows = scaling.scaling_rows(sized)
    assert [(r.workload, r.hidden_size, r.batch_size) for r in rows] == [
        ("generate", size, batch) for size in (16, 64, 256) for batch in (1, 8, 64, 512)
    ]
    for row in rows:
        assert (row.implementation, row.second, row.threads) == ("manual_cell", "torch_cell", 1)
        assert row.ratio == pytest.approx(2.0)
        assert row.low <= row.ratio <= row.high
        assert row.verdict == "surely"
        exact = 1e6 * math.exp(
            np.mean([math.log(steady("manual_cell", row.hidden_size, row.batch_size, p) / 100)
                     for p in range(3)])
        )  # fmt: skip
        assert row.microseconds_per_step == pytest.approx(exact)


def test_who_is_not_surely_the_fastest_is_not_called_so(golden):
    def wild(name, size, batch, process):
        luck = 1.0 + (process if name == "torch_cell" else 2 - process)
        return (1.0 if name == "manual_cell" else 1.05) * luck * 1e-3

    rows = scaling.scaling_rows(timed(golden, wild))
    assert {row.verdict for row in rows} == {"cannot tell"}
    one = scaling.scaling_rows(timed(golden, steady, processes=1))
    assert {(row.verdict, row.low, row.high) for row in one} == {("cannot tell", None, None)}


def test_a_third_that_may_be_faster_makes_it_unsure(golden):
    """Sure of the second is not enough: a wilder third may be the fastest."""

    def third(name, size, batch, process):
        if name == "torch_rnn":
            return 1e-3 * (4.0, 1.5, 1.2)[process]
        return 1e-3 * {"manual_cell": 1.0, "torch_cell": 1.5}[name] * (1.0 + 0.001 * process)

    for row in scaling.scaling_rows(timed(golden, third)):
        assert row.second == "torch_cell"
        assert row.low > 1.0
        assert row.verdict == "cannot tell"


def test_alone_nobody_is_the_fastest_of_any(sized):
    alone = sized.model_copy(update={"cases": sized.cases[:1]})
    for row in scaling.scaling_rows(alone):
        assert (row.verdict, row.second, row.ratio) == ("alone", None, None)
    [table] = tables.result_tables(alone, "scaling")
    assert {row[-1] for section in table.sections for row in section} == {"alone"}


@given(st.lists(st.floats(0.1, 10.0), min_size=36, max_size=36))
def test_nobody_is_faster_than_the_fastest(golden, factors):
    factor = iter(factors)
    drawn = {}

    def seconds(name, size, batch, process):
        key = name, size, batch
        if key not in drawn:
            drawn[key] = next(factor)
        return drawn[key] * 1e-3

    result = timed(golden, seconds)
    found = {(r.hidden_size, r.batch_size): r for r in scaling.scaling_rows(result)}
    for row in summary.throughput_rows(result):
        best = found[row.hidden_size, row.batch_size]
        assert best.microseconds_per_step <= row.microseconds_per_step
        assert best.ratio >= 1.0 - 1e-9


def test_lines_go_over_what_was_timed_often_enough(golden):
    def over(**sizes):
        return scaling.against(timed(golden, steady, **sizes), "generate")

    assert over() == ["batch size", "hidden size"]
    assert over(sizes=(16,)) == ["batch size"]
    assert over(sizes=(16, 64), batches=(1, 2, 3)) == []
    assert over(batches=(1,)) == ["hidden size"]
    assert over(batches=(1, 2)) == ["batch size", "hidden size"]
    assert scaling.against(timed(golden, steady), "train_step") == []


@pytest.mark.parametrize("over", ["batch size", "hidden size"])
def test_the_lines_are_the_numbers(sized, over):
    figure = figures.scaling(sized, "generate", over)
    sizes, batches = [16, 64, 256], [1, 8, 64, 512]
    fixed, xs = (sizes, batches) if over == "batch size" else (batches, sizes)
    assert len(figure.axes) == len(fixed)
    for value, axes in zip(fixed, figure.axes, strict=True):
        assert axes.get_xscale() == axes.get_yscale() == "log"
        assert str(value) in axes.get_title("left")
        lines = {line.get_label(): line for line in axes.get_lines()}
        assert set(lines) == {"torch_rnn", "torch_cell", "manual_cell", "limit of this machine"}
        line = lines["torch_cell"]
        assert list(line.get_xdata()) == xs
        rows = {
            (r.hidden_size if over == "batch size" else r.batch_size,
             r.batch_size if over == "batch size" else r.hidden_size): r
            for r in summary.throughput_rows(sized)
            if r.implementation == "torch_cell"
        }  # fmt: skip
        expected = [rows[value, x].microseconds_per_step for x in xs]
        assert list(line.get_ydata()) == pytest.approx(expected)
        assert len(axes.collections) == 3  # a band a line
    [legend] = figure.legends
    assert len(legend.get_texts()) == 4


def test_the_band_is_the_interval_and_the_limit_is_the_files(sized):
    [panel, *_] = scaling.panels(sized, "generate", "batch size")
    rows = [r for r in summary.throughput_rows(sized) if r.hidden_size == panel.fixed == 16]
    for (name, device), points in panel.lines.items():
        mine = [r for r in rows if (r.implementation, r.device) == (name, device)]
        for point, row in zip(points, mine, strict=True):
            assert point.low == pytest.approx(1e6 * row.batch_size / row.high)
            assert point.high == pytest.approx(1e6 * row.batch_size / row.low)
            assert point.low <= point.microseconds <= point.high
    seconds = sized.cases[0].throughput[0].limit.seconds
    assert panel.limit == [(batch, pytest.approx(1e6 * seconds / 100)) for batch in (1, 8, 64, 512)]


def test_a_wild_interval_does_not_flatten_the_lines(golden):
    def wild(name, size, batch, process):
        return steady(name, size, batch, process) * (1.0, 50.0)[process]

    axes = figures.scaling(timed(golden, wild, processes=2), "generate", "batch size").axes[0]
    low, high = axes.get_ylim()
    assert 1e-3 < low < high < 1e7


def test_show_draws_it_and_prints_it(sized, tmp_path, capsys):
    path = tmp_path / "s.json"
    save(sized, path)
    folder = plots.draw_all(load(path), path)
    drawn = {file.name for file in folder.iterdir() if "scaling" in file.name}
    assert drawn == {
        f"scaling_generate_over_{over}.{kind}"
        for over in ("batch_size", "hidden_size") for kind in ("png", "svg")
    }  # fmt: skip
    with pytest.raises(SystemExit) as done:
        main(["show", str(path), "--table", "scaling", "--markdown"])
    assert done.value.code == 0
    out = capsys.readouterr().out
    assert out.count("surely |") == 12


def test_too_many_panels_of_bars_are_left_to_the_lines(golden):
    many = timed(golden, steady, sizes=tuple(range(1, 8)))
    assert "throughput" not in {plan.name for plan in plots.planned(many)}
    assert "throughput" in {plan.name for plan in plots.planned(timed(golden, steady))}


# What hundreds of rows have in memory.


def test_rows_of_one_implementation_share_memory_and_all_share_the_points():
    pool = workloads.Pool()

    def built(owner, name="generate", steps=20, batch=3):
        model = create(owner, GeneratorConfig(hidden_size=4), seed=1)
        task = TASKS["cosine"]
        return workloads.build(name, model, task, batch, 0, steps, pool=pool, owner=owner)

    one, same = built("manual_cell"), built("manual_cell", "sequence")
    other, alone = built("torch_rnn"), built("torch_rnn", batch=2)
    assert one._base is same._base is other._base
    assert one._base is not alone._base
    assert one._data.data_ptr() == same._data.data_ptr()
    assert one._data.data_ptr() != other._data.data_ptr()
    assert other._data.data_ptr() == alone._data.data_ptr()


def test_what_is_shared_is_still_checked():
    """Turn by turn, each finds its own data right before, and any change right after."""
    pool = workloads.Pool()
    model = create("manual_cell", GeneratorConfig(hidden_size=4), seed=1)
    rows = [
        workloads.build(name, model, TASKS["cosine"], batch, 0, 20, pool=pool, owner="manual_cell")
        for name, batch in (("generate", 3), ("sequence", 3), ("generate", 5), ("train_step", 2))
    ]
    rows[2].provide(50)  # moves to a larger place
    rng = np.random.default_rng(1)
    for row in rows * 2:
        row.refresh(rng)
        assert row.error(row.freeze(row.call())) < 1e-4
    rows[0].refresh(rng)
    outcome = rows[0].call()
    rows[0]._data.mul_(1.5)
    with pytest.raises(WrongWorkError, match="the inputs were changed"):
        rows[0].freeze(outcome)


def test_of_long_checks_some_are_drawn(fast, monkeypatch):
    model = GeneratorConfig(hidden_size=4)
    session = Session(SIZES, {n: REGISTRY[n] for n in SIZES.implementations}, lambda: None)
    try:
        names = ("train_step", "generate")
        arms = [Arm("case", "manual_cell", "cpu", 4, name, 2, 1) for name in names]
        for most in (3, 1):
            work = limits.operations(model, "train_step", 2, workloads.forcing("train_step", 0, 20))
            monkeypatch.setattr(workloads, "MOST_OPERATIONS", most * work)
            for arm in arms:
                session.prepare(arm, 0)
                for _ in range(5):
                    session.sample(arm)
                row = session._rows[arm]
                assert len(row.frozen) == min(5, row.workload.most_frozen)
                assert session.recheck(arm) < 1e-4
            assert session._rows[arms[0]].workload.most_frozen == most
    finally:
        session.close()


def test_by_default_every_block_is_checked():
    model = create("manual_cell", GeneratorConfig(), seed=1)
    for name, sizes in config.DEFAULT_BATCH_SIZES.items():
        for batch in sizes:
            built = workloads.build(name, model, TASKS["cosine"], batch, 0)
            assert built.most_frozen >= 250

"""One run, several counts of CPU threads: timed in turn, told apart, judged at their best."""

import io
import json
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bench import (
    ceilings,
    config,
    export,
    figures,
    guard,
    measure,
    observed,
    render,
    summary,
    tables,
    words,
    workloads,
)
from bench import statistics as stats
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
from impls import REGISTRY, GeneratorConfig

TWO = RunConfig(
    implementations=("torch_rnn", "manual_cell"),
    model=GeneratorConfig(hidden_size=6),
    threads=(1, 2),
    batch_sizes={"generate": (3,)},
    processes=1,
    rounds=2,
    iterations=2,
)
needs_two_cores = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(workloads, "LONG_POINTS", 130)
    monkeypatch.setattr(measure, "WINDOW_SECONDS", 0.002)
    monkeypatch.setattr(measure, "SHORTEST_BLOCK_SECONDS", 0.001)
    monkeypatch.setattr(measure, "LONGEST_WARM_UP_SECONDS", 0.02)
    monkeypatch.setattr(ceilings, "PRODUCT_SIZES", (64,))
    monkeypatch.setattr(ceilings, "LARGE_COPY_BYTES", 1 << 21)


def times(row, factor, threads):
    """A row that takes ``factor`` times as long, on other threads."""
    samples = tuple(s.model_copy(update={"seconds": factor * s.seconds}) for s in row.samples)
    rate = stats.rate(samples, row.steps * row.batch_size)
    return row.model_copy(update={"threads": threads, "samples": samples, "steps_per_second": rate})


def on_two(result, factors, control=1.0):
    """``result`` as if each case had been timed on two threads too, slower by its factor."""
    cases = tuple(
        case.model_copy(
            update={
                "throughput": tuple(
                    found
                    for row in case.throughput
                    for found in (row, times(row, factors[case.implementation], 2))
                )
            }
        )
        for case in result.cases
    )
    controls = tuple(
        found.model_copy(
            update={
                "throughput": tuple(
                    other
                    for row in found.throughput
                    for other in (row, times(row, factors[found.implementation] * control, 2))
                )
            }
        )
        for found in result.controls
    )
    counts = result.config.model_copy(update={"threads": (1, 2)})
    return result.model_copy(update={"config": counts, "cases": cases, "controls": controls})


FACTORS = {"torch_rnn": 0.5, "torch_cell": 3.0, "manual_cell": 0.25}


@pytest.fixture
def two(golden):
    return on_two(load(golden), FACTORS)


# What is asked for.


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "x", "", "1,,2", "1,99999", "9" * 30, "²"])
def test_what_is_no_list_of_counts_is_refused_in_one_line(text):
    with pytest.raises(BenchError, match=r"--threads must be whole numbers from 1 to \d+") as told:
        config.thread_counts(text)
    assert "\n" not in str(told.value)
    assert f"1 to {os.cpu_count()} (the cores of this machine)" in str(told.value)


@given(st.lists(st.integers(1, os.cpu_count() or 1), min_size=1, max_size=5))
def test_each_count_is_kept_once_in_its_order(counts):
    text = " , ".join(map(str, counts))
    assert config.thread_counts(text) == tuple(dict.fromkeys(counts))


# What a worker does.


@needs_two_cores
def test_a_worker_runs_each_arm_on_its_own_count(fast):
    session = Session(TWO, {n: REGISTRY[n] for n in TWO.implementations}, lambda: None)
    arms = {n: Arm("case", "manual_cell", "cpu", 6, "generate", 3, n) for n in (1, 2)}
    try:
        assert torch.get_num_threads() == 1
        seen = []
        for arm in arms.values():
            session.prepare(arm, 0)
            model = session._rows[arm].workload.model
            model.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
        assert arms[1] != arms[2]
        one, other = (session._rows[arm].workload.model for arm in arms.values())
        assert one is not other
        for name, weight in one.weights().items():
            assert torch.equal(weight, other.weights()[name])
        for threads in (2, 1, 1, 2):
            seen.clear()
            session.sample(arms[threads])
            assert set(seen) == {threads}
        seen.clear()
        session.peak_memory_bytes(arms[1])
        assert set(seen) == {1}
        found, _ = session.ceilings("cpu", 2)
        assert (found.threads, torch.get_num_threads()) == (2, 2)
    finally:
        session.close()


@needs_two_cores
@pytest.mark.parametrize("threads", [1, 2])
def test_who_takes_the_other_count_is_caught_on_either(threads, fast):
    session = Session(TWO, {n: REGISTRY[n] for n in TWO.implementations}, lambda: None)
    arm = Arm("case", "manual_cell", "cpu", 6, "generate", 3, threads)
    try:
        session.prepare(arm, 0)
        model = session._rows[arm].workload.model
        model.register_forward_pre_hook(lambda *_: torch.set_num_threads(3 - threads))
        with pytest.raises(WrongWorkError, match=f"number of threads to {3 - threads}"):
            session.sample(arm)
    finally:
        session.close()


@needs_two_cores
def test_no_data_are_the_same_on_another_count(fast):
    """An answer that was kept from one thread would be a wrong one on two."""
    session = Session(TWO, {n: REGISTRY[n] for n in TWO.implementations}, lambda: None)
    try:
        read = []
        for threads in (1, 2):
            arm = Arm("case", "manual_cell", "cpu", 6, "generate", 3, threads)
            session.prepare(arm, 0)
            session.sample(arm)
            read.append(session._rows[arm].workload._factors[0].item())
        assert read[0] != read[1]
    finally:
        session.close()


@needs_two_cores
def test_a_run_times_every_row_on_every_count_in_every_round(fast, tmp_path):
    entries = {n: REGISTRY[n] for n in TWO.implementations}
    path = tmp_path / "run.json"
    result = run(TWO, path, Silent(), start=Inline, entries=entries)
    assert load(path) == result
    assert {case.status for case in result.cases} == {"ok"}
    for holder in (*result.cases, *result.controls):
        assert [row.key for row in holder.throughput] == [("generate", 3, 1), ("generate", 3, 2)]
        for row in holder.throughput:
            assert [(s.process, s.round) for s in row.samples] == [(0, 0), (0, 1)]
            assert row.limit is not None
            assert row.output_error is not None
    assert [found.threads for found in result.ceilings] == [1, 2]
    [canary] = result.canaries
    assert [(s.process, s.round) for s in canary.samples] == [(0, 0), (0, 1)]
    assert result.environment.threads == 1


def test_a_crash_of_a_row_says_on_how_many_threads():
    from bench.timing import describe

    assert describe(Arm("case", "x", "cpu", 6, "generate", 1000, 1)) == "generate at batch 1,000"
    two = Arm("case", "x", "cpu", 6, "generate", 1000, 2)
    assert describe(two) == "generate at batch 1,000 on 2 threads"


# What a reader is told.


def test_each_is_judged_at_its_best_against_the_baseline_at_its_best(two):
    rows = summary.throughput_rows(two)
    assert len(rows) == 18
    found = {(r.workload, r.batch_size, r.implementation, r.threads): r for r in rows}
    for (workload, batch, name, threads), row in found.items():
        assert row.best == (threads == (1 if name == "torch_cell" else 2))
        base = found[workload, batch, "torch_rnn", 2]
        assert base.best
        assert base.ratio == 1.0
        assert base.ratio_low is None
        exact = stats.ratio(
            samples(two, row), samples(two, base)
        ).mean  # of seconds, so the other way round
        assert row.ratio == pytest.approx(pow(2.718281828459045, exact))


def samples(result, row):
    [found] = [
        timed.samples
        for case in result.cases
        if (case.implementation, case.device) == (row.implementation, row.device)
        for timed in case.throughput
        if timed.key == (row.workload, row.batch_size, row.threads)
    ]
    return found


@given(st.dictionaries(st.sampled_from(list(FACTORS)), st.floats(0.01, 100.0), min_size=3))
def test_the_best_is_one_a_cell_and_none_is_faster(golden, factors):
    rows = summary.throughput_rows(on_two(load(golden), factors))
    for row in rows:
        same = [
            r for r in rows
            if (r.workload, r.batch_size, r.implementation)
            == (row.workload, row.batch_size, row.implementation)
        ]  # fmt: skip
        [best] = [r for r in same if r.best]
        assert best.steps_per_second == max(r.steps_per_second for r in same)


def test_one_count_looks_as_before(golden):
    result = load(golden)
    assert all(row.best for row in summary.throughput_rows(result))
    for table in tables.result_tables(result):
        assert "threads" not in table.columns
        assert not any("best count" in note for note in table.notes)
    assert " · 1 thread · " in tables.heading(result)


def test_the_tables_show_every_count_and_mark_the_best(two):
    assert " · 1 and 2 threads · " in tables.heading(two)
    for table in (tables.throughput(two), tables.costs(two)):
        at = table.columns.index("threads")
        found = {(row[2], row[at]) for section in table.sections for row in section}
        assert found == {
            ("torch_rnn", "1 "), ("torch_rnn", "2*"), ("torch_cell", "1*"), ("torch_cell", "2 "),
            ("manual_cell", "1 "), ("manual_cell", "2*"),
        }  # fmt: skip
    table = tables.throughput(two)
    [note] = [note for note in table.notes if note.startswith("threads: ")]
    assert "flatters" in note
    assert "torch_rnn at its best count of threads" in " ".join(table.notes)
    assert [len(section) for section in table.sections] == [6, 6, 6]


def test_the_overview_shows_each_at_its_best_and_says_so(two):
    table = tables.overview(two)
    best = [row for row in summary.throughput_rows(two) if row.best]
    for cells in table.sections[0]:
        mine = [row for row in best if row.implementation == cells[0]]
        assert cells[3:] == tuple(
            f"{words.significant(r.microseconds_per_step)} ({words.ratio(r.ratio)})" for r in mine
        )
    assert any("best count" in note for note in table.notes)


@pytest.mark.parametrize("width", [100, 120])
def test_the_wider_tables_are_not_cut(two, width):
    for table in tables.result_tables(two):
        console = Console(file=io.StringIO(), width=width, highlight=False)
        for part in render.fitted(table, console):
            console.print(part)
        lines = console.file.getvalue().splitlines()
        for section in table.sections:
            for row in section:
                parts = [part for cell in row for part in cell.split()]
                assert any(line.split() == parts for line in lines)


def test_counts_in_words():
    assert words.thread_counts([1]) == "1 thread"
    assert words.thread_counts([2]) == "2 threads"
    assert words.thread_counts((1, 2, 4)) == "1, 2 and 4 threads"


def test_the_noise_floor_is_that_of_the_rows_own_threads(golden):
    result = load(golden)
    floors, wider = summary.noise_floors(result), summary.noise_floors(on_two(result, FACTORS, 1.5))
    assert {key[-1] for key in floors} == {1}
    assert set(wider) == {(*key[:-1], threads) for key in floors for threads in (1, 2)}
    for key, floor in floors.items():
        assert wider[key] == floor
        assert wider[(*key[:-1], 2)] != floor
    assert summary.quality(on_two(result, FACTORS, 1.5)).noise_floor > 0.3


def test_the_bars_are_those_of_the_best_count_and_say_which(two):
    figure = figures.throughput(two)
    assert len(figure.axes) == 3
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == [
        "torch_rnn, cpu, 2 thr.", "torch_cell, cpu, 1 thr.", "manual_cell, cpu, 2 thr."
    ]  # fmt: skip
    best = [row for row in summary.throughput_rows(two) if row.best]
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == pytest.approx([row.steps_per_second / 1e3 for row in best[:3]])


# What is compared with what.


def test_rows_match_by_their_threads(two, golden):
    before, after = observed.of_result(load(golden), "one"), observed.of_result(two, "both")
    [comparison] = compare(before, [after])
    verdicts = {(r.threads, r.verdict == "only in new") for r in comparison.throughput}
    assert verdicts == {(1, False), (2, True)}
    assert all(r.ratio == pytest.approx(1.0) for r in comparison.throughput if r.threads == 1)
    [table] = [t for t in comparison_tables([comparison]) if t.title.startswith("Throughput")]
    assert "threads" in table.columns


def test_a_row_on_one_thread_is_never_held_against_one_on_two(golden):
    result = load(golden)
    cases = tuple(
        case.model_copy(update={"throughput": tuple(times(r, 1.0, 2) for r in case.throughput)})
        for case in result.cases
    )
    moved = result.model_copy(update={"cases": cases})
    [comparison] = compare(observed.of_result(result, "a"), [observed.of_result(moved, "b")])
    assert {row.verdict for row in comparison.throughput} == {"only in base", "only in new"}
    found = guard.findings([comparison], 0.05)
    assert {status for status, _ in found} == {3}
    assert any("generate at batch 1 on 1 thread of torch_rnn" in reason for _, reason in found)


def test_an_old_file_matches_a_new_one_on_the_same_thread(golden, golden_2):
    [comparison] = compare(observed.load(golden_2), [observed.load(golden)])
    assert {row.ratio for row in comparison.throughput} == {1.0}


@pytest.mark.parametrize("form", export.FORMATS)
def test_exports_tell_the_counts_apart(form, two):
    text = export.FORMATS[form].text(two)
    if form == "csv":
        lines = [line.split(",") for line in text.splitlines()]
        at = lines[0].index("threads")
        assert {line[at] for line in lines[1:]} == {"1", "2"}
        return
    benchmarks = json.loads(text)["benchmarks"]
    facts = "extra_info" if form == "pytest-benchmark" else "metadata"
    assert sorted(found[facts]["threads"] for found in benchmarks) == [1] * 9 + [2] * 9
    names = [found.get("fullname") or found["metadata"]["name"] for found in benchmarks]
    assert len(set(names)) == 18
    assert sum("2" in name.replace("-", " ").split("threads")[0][-3:] for name in names) >= 9


def test_what_is_exported_to_pytest_benchmark_matches_by_threads(two, tmp_path):
    path = tmp_path / "saved.json"
    path.write_text(export.FORMATS["pytest-benchmark"].text(two))
    [comparison] = compare(observed.of_result(two, "ours"), [observed.load(path)])
    assert len(comparison.throughput) == 18
    assert all(row.base and row.new for row in comparison.throughput)


def test_show_json_says_which_is_best(two, tmp_path, capsys):
    from bench.cli import main

    path = tmp_path / "two.json"
    save(two, path)
    with pytest.raises(SystemExit) as done:
        main(["show", str(path), "--json"])
    assert done.value.code == 0
    rows = json.loads(capsys.readouterr().out)["throughput"]
    assert [(row["threads"], row["best"]) for row in rows[:6]] == [
        (1, False), (2, True), (1, True), (2, False), (1, False), (2, True)
    ]  # fmt: skip

"""What a reader sees: numbers in their places, 80 columns enough, nobody's text becomes markup."""

import io
import math
from collections import Counter
from statistics import fmean, median

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bench import render, summary, tables, words
from bench.errors import BenchError
from bench.records import load
from bench.schema import Gpu, Limit


@pytest.fixture
def result(golden):
    return load(golden)


def rendered(table, width):
    console = Console(file=io.StringIO(), width=width, highlight=False)
    for part in render.fitted(table, console):
        console.print(part)
    return console.file.getvalue()


def with_case(result, number, **changes):
    cases = list(result.cases)
    cases[number] = cases[number].model_copy(update=changes)
    return result.model_copy(update={"cases": tuple(cases)})


def wide(result):
    """The longest words and largest numbers that a run here can give."""
    case = result.cases[0]
    rows = tuple(
        row.model_copy(
            update={
                "workload": "train_step",
                "batch_size": 1000,
                "steps_per_second": row.steps_per_second.model_copy(
                    update={"estimate": 123_456_789.0, "low": 1e8, "high": 1.5e8}
                ),
                "noise": 0.41,
                "peak_memory_bytes": 123_456_789_012,
                "first_call_seconds": 1234.0,
            }
        )
        for row in case.throughput
    )
    return with_case(result, 2, device="cuda:1", throughput=rows)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_no_word_or_number_is_cut_or_folded(result, width):
    shown = wide(result)
    for table in tables.result_tables(shown):
        text = rendered(table, width)
        assert all(len(line) <= width for line in text.splitlines())
        for section in table.sections:
            for row in section:
                parts = [part for cell in row for part in cell.split()]
                if width > 80:
                    assert any(line.split() == parts for line in text.splitlines())
                else:  # two processes make intervals so wide that a ratio and its own may part
                    assert all(part in text.split() for part in parts)


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_table_that_is_too_wide_is_stacked_and_loses_nothing(width):
    names = ("workload", "batch", "implementation")
    columns = (*names, *(f"number {n}" for n in range(9)))
    rows = tuple(
        (f"w{r}", str(r), f"i{r}", *(f"{r}.{n}23456789" for n in range(9))) for r in (1, 2)
    )
    table = render.Table("Wide", columns, (rows[:1], rows[1:]), ("a note",))
    parts = render.fitted(table, Console(file=io.StringIO(), width=width))
    assert (len(parts) == 1) == (width == 200)
    headings = [[column.header for column in part.columns] for part in parts]
    assert all(tuple(part[:3]) == names for part in headings)
    assert tuple(heading for part in headings for heading in part[3:]) == columns[3:]
    shown = rendered(table, width)
    assert all(len(line) <= width for line in shown.splitlines())
    assert all(cell in shown.split() for row in rows for cell in row)


WORDS = st.text("abcdefgh", min_size=1, max_size=9)
CELLS = st.lists(WORDS, min_size=1, max_size=4).map(" ".join)


@given(st.data(), st.integers(1, 9), st.integers(1, 4), st.integers(25, 120))
def test_whatever_is_shown_has_all_its_words_whole(data, columns, rows, width):
    headings = ("batch", *(f"h{n}" for n in range(1, columns)))
    body = tuple(tuple(data.draw(CELLS) for _ in headings) for _ in range(rows))
    shown = rendered(render.Table("T", headings, (body,)), width)
    assert all(len(line) <= width for line in shown.splitlines())
    found = Counter(shown.split())
    told = Counter(word for row in body for cell in row for word in cell.split())
    assert all(found[word] >= count for word, count in told.items())


@pytest.mark.parametrize("columns", [("batch",), ("workload", "batch"), ("h",)])
def test_a_table_of_names_alone_is_shown_however_narrow_the_terminal(columns):
    table = render.Table("Title", columns, ((("abcdefgh",) * len(columns),),))
    shown = rendered(table, 8)
    assert "Title" in shown
    for letter in "abcdefgh":
        assert shown.count(letter) >= len(columns)
    assert "".join(rendered(render.Table("Title", columns, ()), 100).split()).startswith("Title")


def test_accuracy_holds_the_numbers_of_the_file(result):
    table = tables.accuracy(result)
    first = table.sections[0][0]
    accuracy = result.cases[0].accuracy
    assert first[:2] == ("torch_rnn", "cpu")
    for cell, value in zip(
        first[2:6],
        (accuracy.mse_mean, accuracy.mse_median, accuracy.mse_best, accuracy.mse_worst),
        strict=True,
    ):
        assert float(cell) == pytest.approx(value, rel=0.05)
    assert [row[0] for row in table.sections[1]] == [
        "always zero", "repeat last value", "exact recurrence",
    ]  # fmt: skip
    assert table.sections[2][0][:3] == ("lecture, published", "sine", "0.9695")


def test_the_overview_holds_what_the_other_tables_hold(result):
    [table] = tables.result_tables(result, "overview")
    [rows] = table.sections
    accuracy, timed = tables.accuracy(result), summary.throughput_rows(result)
    for row, exact in zip(rows, accuracy.sections[0], strict=True):
        assert row[:3] == exact[:3]
    assert table.columns[3:] == ("gen 1", "gen 2", "train 1")
    for column, start in zip(range(3, 6), range(0, 9, 3), strict=True):
        cells = [f"{words.significant(row.microseconds_per_step)} ({words.ratio(row.ratio)})"
                 for row in timed[start : start + 3]]  # fmt: skip
        assert [row[column] for row in rows] == cells
    assert tables.result_tables(result, "parity") == [tables.parity(result.cases)]
    with pytest.raises(BenchError, match="unknown table 'acuracy'; did you mean 'accuracy'"):
        tables.result_tables(result, "acuracy")


def test_throughput_groups_and_ratios(result):
    rows = summary.throughput_rows(result)
    keys = [(row.workload, row.batch_size) for row in rows]
    assert keys == sorted(keys, key=keys.index)
    assert [row.implementation for row in rows[:3]] == ["torch_rnn", "torch_cell", "manual_cell"]
    by_case = {case.implementation: case.throughput[1] for case in result.cases}
    rates = {name: row.steps_per_second.estimate for name, row in by_case.items()}
    base = {(s.process, s.round): s.seconds for s in by_case["torch_rnn"].samples}
    found = {row.implementation: row for row in rows if keys[rows.index(row)] == keys[3]}
    for name, row in found.items():
        apart = {}  # round by round, then the middle of each process, then their mean
        for s in by_case[name].samples:
            apart.setdefault(s.process, []).append(math.log(base[s.process, s.round] / s.seconds))
        exact = math.exp(fmean(median(logs) for logs in apart.values()))
        assert row.ratio == pytest.approx(exact)
        seconds_a_step = row.batch_size / rates[name]
        assert row.microseconds_per_step == pytest.approx(1e6 * seconds_a_step)


def test_ratios_stay_on_their_device(result):
    """The baseline of one device says nothing about another."""
    base = result.cases[0].throughput[0]
    rate = base.steps_per_second.model_copy(update={"estimate": 2e9, "high": 3e9})
    fast = base.model_copy(update={"steps_per_second": rate})
    extra = tuple(
        case.model_copy(update={"device": device, "throughput": (fast,)})
        for case, device in ((result.cases[0], "cuda:0"), (result.cases[2], "cuda:1"))
    )
    rows = summary.throughput_rows(result.model_copy(update={"cases": (*result.cases, *extra)}))
    found = {
        (row.implementation, row.device): row.ratio
        for row in rows
        if (row.workload, row.batch_size) == (base.workload, base.batch_size)
    }
    assert found["torch_rnn", "cpu"] == found["torch_rnn", "cuda:0"] == 1.0
    assert found["manual_cell", "cuda:1"] is None


def test_without_the_baseline_there_is_no_ratio(result):
    alone = result.model_copy(update={"cases": result.cases[1:]})
    assert {row.ratio for row in summary.throughput_rows(alone)} == {None}
    table = tables.throughput(alone)
    assert {row[6] for section in table.sections for row in section} == {"-"}
    assert "No ratios, for the baseline torch_rnn was not timed" in table.notes[0]
    assert "times as fast" not in tables.overview(alone).notes[0]


def test_gpus_are_named_only_where_one_was_used(result):
    machine = result.environment.model_copy(update={"gpu": (Gpu(name="NVIDIA X"),)})
    shown = result.model_copy(update={"environment": machine})
    assert "NVIDIA X" not in tables.heading(shown)
    assert "NVIDIA X" in tables.heading(with_case(shown, 0, device="cuda"))


def test_the_heading_names_another_start(result):
    def heading(**changes):
        config = result.config.model_copy(update=changes)
        return tables.heading(result.model_copy(update={"config": config}))

    assert "recipe quick, seed 0" in heading()
    assert "float32 · 1 thread" in heading()
    assert "float32 · calls of 1,600 steps · 1 thread" in heading(steps=1600)
    assert "calls of" not in heading(steps=1600, batch_sizes={})
    assert "recipe quick from normal, seed 0" in heading(init="normal")
    assert "recipe quick from normal x 0.5, seed" in heading(init="normal", init_gain=0.5)


def test_control_characters_are_not_printed(result):
    shown = with_case(result, 0, status="failed", reason="a\x1b[31mb\nc", accuracy=None)
    table = tables.accuracy(shown)
    assert "\x1b" not in render.to_markdown(table)
    assert "\n" not in render.markdown_text(table.notes[-1])


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_overview_keeps_words_and_numbers_whole(result, width):
    """Five columns, as a default run has; a cell may break between its two numbers only."""
    rows = tuple(
        row.model_copy(update={"workload": workload, "batch_size": batch})
        for row, (workload, batch) in zip(
            result.cases[0].throughput * 2,
            [("generate", 1), ("generate", 32), ("generate", 1000), ("train_step", 1),
             ("train_step", 32)],
            strict=False,
        )
    )  # fmt: skip
    shown = result
    for number in range(3):
        shown = with_case(shown, number, throughput=rows)
    table = tables.overview(shown)
    text = rendered(table, width)
    assert all(len(line) <= width for line in text.splitlines())
    for row in table.sections[0]:
        for cell in row:
            assert all(part in text for part in cell.split())


def test_the_overview_shows_what_is_wrong(result):
    parity = result.cases[1].parity.model_copy(update={"passed": False})
    broken = with_case(result, 1, status="failed", reason="went wrong", parity=parity)
    table = tables.overview(broken)
    assert table.sections[0][1][2] == "FAIL"
    assert "went wrong" in table.notes[-1]
    diverged = with_case(result, 1, status="failed", reason="went wrong", accuracy=None)
    assert tables.overview(diverged).sections[0][1][2] == "failed"


def test_reasons_stand_under_the_table(result):
    broken = with_case(result, 1, status="failed", reason="went wrong", accuracy=None)
    table = tables.accuracy(broken)
    assert table.sections[0][1][2] == "failed"
    assert "torch_cell on cpu failed: went wrong." in table.notes
    cut = with_case(result, 0, status="pending")
    assert "cut short before it finished torch_rnn on cpu" in tables.accuracy(cut).notes[-1]


@pytest.mark.parametrize("name", ["[red]x[/red]", "a|b", "<script>", "*x*", "[/]"])
def test_a_name_is_never_markup(name, result):
    shown = with_case(result, 0, implementation=name, status="failed", reason=name, accuracy=None)
    assert name in rendered(tables.accuracy(shown), 120)
    markdown = render.to_markdown(tables.accuracy(shown))
    row = next(line for line in markdown.splitlines() if "failed" in line)
    unescaped = row.replace("\\|", "")
    assert unescaped.count("|") == 8
    assert "<script>" not in markdown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (123_456.0, "123,000"), (1234.5, "1,230"), (123.4, "123"), (12.34, "12.3"),
        (1.234, "1.23"), (0.12345, "0.123"), (9.999, "10.0"), (99.96, "100"), (None, "-"),
        (1e9, "1,000,000,000"),
    ],
)  # fmt: skip
def test_three_significant_digits(value, text):
    assert words.significant(value) == text


def test_energy_has_its_column_where_it_was_measured(result):
    assert "energy" not in tables.costs(result).columns
    case = result.cases[0]
    rows = tuple(row.model_copy(update={"joules_per_call": 1.5}) for row in case.throughput)
    table = tables.costs(with_case(result, 0, throughput=rows))
    assert table.columns[-1] == "energy"
    assert table.sections[0][0][-1] == "1.50 J"
    assert table.sections[0][1][-1] == "-"


def profiled(result, *shares):
    """The first row of each case with that share of its time on a device; None: nobody asked."""
    shown = result
    for number, share in enumerate(shares):
        first, *others = result.cases[number].throughput
        seconds = None if share is None else share * first.seconds
        update = {"device_seconds": seconds, "device_operations": share and 5123}
        shown = with_case(shown, number, throughput=(first.model_copy(update=update), *others))
    return shown


def test_a_row_that_waits_for_the_cpu_says_so(result):
    assert "busy" not in tables.costs(result).columns
    assert len(tables.costs(result).notes) == 1
    shown = profiled(result, 0.31, 1.2, None)
    table = tables.costs(shown)
    assert table.columns[-1] == "busy"
    assert [row[-1] for row in table.sections[0]] == ["31% host", "100%", "-"]
    assert {row[-1] for row in table.sections[1]} == {"-"}
    assert table.notes[-1].startswith("busy: ")
    assert "bound by the host" in table.notes[-1]
    assert "less than 50%" in table.notes[-1]


@pytest.mark.parametrize(
    ("share", "shown", "bound"),
    [
        (0.0, 0.0, True), (0.49, 0.49, True), (0.51, 0.51, False), (1.0, 1.0, False),
        (1.7, 1.0, False), (None, None, None),
    ],
)  # fmt: skip
def test_bound_by_the_host_is_whose_device_waits_for_longer_than_it_works(
    share, shown, bound, result
):
    found = summary.throughput_rows(profiled(result, share))[0]
    assert found.device_share == (None if shown is None else pytest.approx(shown))
    assert found.bound_by_host is bound


def test_exactly_half_is_not_bound_by_the_host(result):
    row = timed_row(result, 1.0, 2.0).model_copy(update={"device_seconds": 1.0})
    assert row.seconds == 2.0
    assert summary.bound_by_host(row) is False


@pytest.mark.parametrize(("width", "energy"), [(80, None), (100, 1234.0), (120, 1234.0)])
def test_busy_cuts_no_word_or_number_beside_the_longest(width, energy, result):
    """At 80 columns a cell may break between its two words."""
    shown = wide(profiled(result, 0.31))
    first, *others = shown.cases[2].throughput
    update = {"joules_per_call": energy, "device_seconds": 0.01 * first.seconds}
    shown = with_case(shown, 2, throughput=(first.model_copy(update=update), *others))
    table = tables.costs(shown)
    text = rendered(table, width)
    assert all(len(line) <= width for line in text.splitlines())
    cells = [*table.columns, *(cell for rows in table.sections for row in rows for cell in row)]
    assert all(part in text.split() for cell in cells for part in cell.split())


def timed_row(result, first_call, seconds):
    row = result.cases[0].throughput[0]
    work = row.steps * row.batch_size
    rate = {"estimate": work / seconds, "low": None, "high": None}
    sample = {"process": 0, "round": 0, "seconds": seconds}
    return row.model_validate(
        row.model_dump()
        | {"first_call_seconds": first_call, "steps_per_second": rate, "samples": (sample,)}
    )


@pytest.mark.parametrize(
    ("first_call", "seconds", "calls"),
    [
        (10.0, 0.5, 19),  # 9 s behind, wins 0.5 s a call: even after 18 further calls
        (1.0, 0.5, 0),  # never behind
        (10.0, 1.0, None),  # never catches up
        (0.5, 2.0, None),  # ahead at first, and then no more
    ],
)
def test_break_even(result, first_call, seconds, calls):
    base, other = timed_row(result, 1.0, 1.0), timed_row(result, first_call, seconds)
    shown = with_case(with_case(result, 0, throughput=(base,)), 1, throughput=(other,))
    rows = {row.implementation: row for row in summary.throughput_rows(shown)}
    found = rows["torch_cell"].pays_back_after
    assert found == calls
    if calls:
        spent = [first_call + (n - 1) * seconds - (1.0 + (n - 1) * 1.0) for n in (calls - 1, calls)]
        assert spent[0] > 0.0 >= spent[1]
    assert rows["torch_rnn"].pays_back_after is None


def test_the_share_of_the_limit_is_the_floor_over_the_time(result):
    row = timed_row(result, 1.0, 2.0)
    limited = row.model_copy(update={"limit": Limit(seconds=0.5, bound="latency")})
    [found] = [
        row
        for row in summary.throughput_rows(with_case(result, 1, throughput=(limited,)))
        if row.implementation == "torch_cell"
    ]
    assert found.share_of_limit == pytest.approx(0.25)
    assert found.bound == "latency"


def test_quality_counts_flags_and_reads_the_control_and_the_canary(result):
    found = summary.quality(result)
    samples = [s for c in result.cases for row in c.throughput for s in row.samples]
    assert found.samples == len(samples)
    assert found.outliers == sum("outlier" in sample.flags for sample in samples)
    assert found.processes == result.config.processes
    assert found.rounds == result.config.rounds
    assert 0.0 < found.busy_share < 1.0
    assert found.noise_floor > 0.0
    assert found.canary_spread > 0.0
    note = tables.throughput(result).notes[-1]
    assert f"{len(samples)} samples from 2 processes" in note
    assert "A/A: torch_rnn timed twice" in note


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (words.percent, 0.0123, "1.2%"), (words.percent, 0.31, "31%"),
        (words.percent, 99.0, ">999%"), (words.percent, None, "-"),
        (words.seconds, 2.5, "2.50 s"), (words.seconds, 0.0123, "12.3 ms"),
        (words.seconds, 1e-6, "1.00 us"), (words.size, 1 << 30, "1.00 GiB"),
        (words.size, 3 << 20, "3.00 MiB"), (words.size, 0, "0"), (words.short, 1234.0, "1.23k"),
        (words.short, 39_400.0, "39.4k"), (words.short, 2.5e9, "2.50G"), (words.short, 7.0, "7.00"),
    ],
)  # fmt: skip
def test_units(function, value, text):
    assert function(value) == text


def test_half_an_interval_in_percent():
    assert words.plus_minus(1 / 1.05, 1.05) == "±5.0%"
    assert words.plus_minus(0.1, 10.0) == "±>100%"
    assert words.plus_minus(None, None) == "-"

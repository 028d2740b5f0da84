"""What a reader sees: numbers in their places, 80 columns enough, nobody's text becomes markup."""

import io

import pytest
from rich.console import Console

from bench import render, summary, tables
from bench.compare import compare
from bench.errors import BenchError
from bench.records import load


@pytest.fixture
def result(golden):
    return load(golden)


def rendered(table, width):
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(render.to_rich(table))
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
                line = next(line for line in text.splitlines() if all(cell in line for cell in row))
                assert line.split() == " ".join(row).split()


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
    accuracy, throughput = tables.accuracy(result), tables.throughput(result)
    for row, exact in zip(rows, accuracy.sections[0], strict=True):
        assert row[:3] == exact[:3]
    assert table.columns[3:] == ("gen 1", "gen 2", "train 1")
    for column, section in zip(range(3, 6), throughput.sections, strict=True):
        assert [row[column] for row in rows] == [f"{cells[5]} ({cells[6]})" for cells in section]
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
    found = {row.implementation: row for row in rows if keys[rows.index(row)] == keys[3]}
    for name, row in found.items():
        assert row.ratio == pytest.approx(rates[name] / rates["torch_rnn"])
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
    assert "ratio: none, for the baseline torch_rnn was not timed" in table.notes[1]
    assert "times as fast" not in tables.overview(alone).notes[0]


def test_gpus_are_named_only_where_one_was_used(result):
    machine = result.environment.model_copy(update={"gpu": ("NVIDIA X",)})
    shown = result.model_copy(update={"environment": machine})
    assert "NVIDIA X" not in tables.heading(shown)
    assert "NVIDIA X" in tables.heading(with_case(shown, 0, device="cuda"))


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
    assert tables._significant(value) == text


def test_a_file_compared_with_itself(result):
    comparison = compare(result, result)
    assert comparison.differences == ()
    assert {row.ratio for row in comparison.accuracy} == {1.0}
    assert {row.ratio for row in comparison.throughput} == {1.0}
    assert len(comparison.throughput) == 9


def test_a_comparison_says_what_differs_and_what_is_missing(result):
    environment = result.environment.model_copy(update={"torch": "2.99"})
    config = result.config.model_copy(update={"seed": 5, "threads": 2})
    case = result.cases[2]
    faster = case.throughput[0].steps_per_second.model_copy(update={"estimate": 5e6})
    row = case.throughput[0].model_copy(update={"steps_per_second": faster})
    other = with_case(result, 2, throughput=(row,)).model_copy(
        update={"environment": environment, "config": config}
    )
    other = other.model_copy(update={"cases": other.cases[1:]})
    comparison = compare(result, other)
    assert set(comparison.differences) == {
        "torch: 2.13.0+cpu -> 2.99",
        "seed: 0 -> 5",
        "threads: 1 -> 2",
    }
    found = {(r.workload, r.batch_size, r.implementation): r for r in comparison.throughput}
    changed = found["generate", 1, "manual_cell"]
    base = case.throughput[0].steps_per_second.estimate
    assert (changed.base, changed.new) == (base, 5e6)
    assert changed.ratio == pytest.approx(5e6 / base)
    gone = found["generate", 1, "torch_rnn"]
    assert (gone.new, gone.ratio) == (None, None)
    shown = tables.comparison_tables(comparison, "a.json", "b.json")
    assert "seed: 0 -> 5" in shown[1].notes[-1]
    for width in (80, 120):
        for table in shown:
            assert all(len(line) <= width for line in rendered(table, width).splitlines())

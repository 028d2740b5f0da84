"""A file a hidden size and one file of them all say the same."""

from dataclasses import replace

import pytest

from bench.merged import merged
from bench.scaling import scaling_rows
from bench.schema import Result
from bench.summary import quality, throughput_rows
from tests.bench.synthetic import steady, timed

SIZES = (8, 16, 64)


def changed(this, /, **changes):
    return this.model_copy(update=changes)


@pytest.fixture
def of_sizes(golden):
    """A result of these hidden sizes."""
    return lambda *sizes: timed(golden, steady, sizes=sizes, batches=(1, 8))


def test_one_says_what_all_of_them_say(of_sizes):
    whole = of_sizes(*SIZES)
    parts = {str(size): of_sizes(size) for size in reversed(SIZES)}
    found = merged(parts)
    assert list(found) == ["64 and 2 more"]
    one = found["64 and 2 more"]
    assert one.config.hidden_sizes == SIZES
    assert [case.key for case in one.cases] == [case.key for case in whole.cases]
    rows = {(*row.group, row.implementation, row.device): row for row in throughput_rows(one)}
    for row in throughput_rows(whole):
        mine = rows[*row.group, row.implementation, row.device]
        assert mine.steps_per_second == row.steps_per_second
        assert mine.ratio == pytest.approx(row.ratio)
        assert (mine.ratio_low, mine.ratio_high) == pytest.approx((row.ratio_low, row.ratio_high))
    mine, theirs = scaling_rows(one), scaling_rows(whole)
    told = [(row.workload, row.hidden_size, row.batch_size, row.implementation) for row in theirs]
    assert sorted(told) == sorted(
        (row.workload, row.hidden_size, row.batch_size, row.implementation) for row in mine
    )
    assert Result.model_validate_json(one.model_dump_json()) == one


def test_no_process_is_two_files_at_once(of_sizes):
    parts = [of_sizes(size) for size in SIZES]
    one = next(iter(merged({str(n): part for n, part in enumerate(parts)}).values()))
    assert quality(one).processes == sum(quality(part).processes for part in parts)
    assert quality(one).samples == sum(quality(part).samples for part in parts)
    places = [
        (case.key, row.key, sample.process, sample.round)
        for case in one.cases
        for row in case.throughput
        for sample in row.samples
    ]
    assert len(set(places)) == len(places)
    of_size = {
        (case.model.hidden_size, sample.process)
        for case in one.cases
        for row in case.throughput
        for sample in row.samples
    }
    processes = [process for _, process in of_size]
    assert len(set(processes)) == len(processes)
    assert len({process.index for process in one.processes}) == len(one.processes)


def test_what_differs_in_anything_else_stays_apart(of_sizes):
    first, second = of_sizes(8), of_sizes(16)
    deep = replace(second.config.model, num_layers=5)
    others = {
        "seed": changed(second, config=changed(second.config, seed=7)),
        "rounds": changed(second, config=changed(second.config, rounds=99)),
        "layers": changed(second, config=changed(second.config, model=deep)),
        "machine": changed(second, environment=changed(second.environment, cpu="another")),
        "size": of_sizes(8),
    }
    for name, other in others.items():
        assert list(merged({"a": first, "b": other})) == ["a", "b"], name
    busy = changed(second, environment=changed(second.environment, load_average=9.0))
    (one,) = merged({"a": first, "b": busy}).values()
    assert one.environment.load_average == 9.0  # the worst that was seen
    alone = merged({"a": first})
    assert alone["a"] is first

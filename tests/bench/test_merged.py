"""A file a hidden size and one file of them all say the same."""

from dataclasses import replace

import pytest

from bench.compare import compare
from bench.merged import merged
from bench.observed import of_result
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

    def made(*sizes):
        result = timed(golden, steady, sizes=sizes, batches=(1, 8))
        return changed(result, environment=changed(result.environment, git_dirty=False))

    return made


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
    assert quality(one).processes == quality(parts[0]).processes  # of one row
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
        "changes that no commit holds": changed(
            second, environment=changed(second.environment, git_dirty=True)
        ),
        "size": of_sizes(8),
    }
    for name, other in others.items():
        assert list(merged({"a": first, "b": other})) == ["a", "b"], name
    busy = changed(second, environment=changed(second.environment, load_average=9.0))
    (one,) = merged({"a": first, "b": busy}).values()
    assert one.environment.load_average == 9.0  # the worst that was seen
    without = changed(first, baselines=None)
    (one,) = merged({"a": without, "b": second}).values()
    assert one.baselines == second.baselines
    alone = merged({"a": first})
    assert alone["a"] is first


def test_the_drift_of_one_file_is_not_that_of_the_others(of_sizes):
    """Two sweeps, the second with one file's machine a tenth slower: canary and all its rows."""
    slow = 1.1

    def slowed(samples):
        return tuple(changed(each, seconds=slow * each.seconds) for each in samples)

    def on_a_slow_day(result):
        cases = tuple(
            changed(
                case,
                throughput=tuple(
                    changed(row, samples=slowed(row.samples)) for row in case.throughput
                ),
            )
            for case in result.cases
        )
        canaries = tuple(
            changed(canary, samples=slowed(canary.samples)) for canary in result.canaries
        )
        return changed(result, cases=cases, canaries=canaries)

    first, *others = ({str(size): of_sizes(size) for size in (*SIZES, 32, 128)}).values()
    base, new = (
        next(iter(merged({str(n): each for n, each in enumerate((one, *others))}).values()))
        for one in (first, on_a_slow_day(first))
    )
    (found,) = compare(of_result(base, "base"), [of_result(new, "new")])
    (size,) = first.config.hidden_sizes
    told = {row.verdict for row in found.throughput if row.hidden_size == size}
    assert told == {"cannot tell"}

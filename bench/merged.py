"""Results of one machine that differ in nothing but the hidden size, put together as one. Pure.

A sweep leaves a file a hidden size; a run of several hidden sizes leaves one. What a file timed
took turns with nothing of another file, and is set against nothing of another.
"""

from collections.abc import Mapping, Sequence

from bench.schema import Canary, Case, Ceilings, Control, Result, Sample, Throughput


def merged(results: Mapping[str, Result]) -> dict[str, Result]:
    """Each group of files as one result, in the order of their first files.

    Args:
        results: name -> result; of two with the same hidden size each stays for itself.

    Returns:
        Name -> result; a group has the name of its first file, and how many more there are.
    """
    groups: list[list[str]] = []
    for name, result in results.items():
        for group in groups:
            if _fit(results[group[0]], result) and not any(
                _sizes(results[other]) & _sizes(result) for other in group
            ):
                group.append(name)
                break
        else:
            groups.append([name])
    return {_name(group): _one([results[name] for name in group]) for group in groups}


def _name(group: Sequence[str]) -> str:
    return group[0] if len(group) == 1 else f"{group[0]} and {len(group) - 1} more"


def _sizes(result: Result) -> set[int]:
    return set(result.config.hidden_sizes)


def _fit(one: Result, other: Result) -> bool:
    """Whether all but the hidden size is the same."""
    if one.config.model_of(1) != other.config.model_of(1):
        return False
    loose = {"model", "more_hidden_sizes"}
    if one.config.model_dump(exclude=loose) != other.config.model_dump(exclude=loose):
        return False
    if one.environment.git_dirty or other.environment.git_dirty:  # whose code nobody knows
        return False
    return one.environment.unlike(other.environment) is None


def _one(results: Sequence[Result]) -> Result:
    """The smallest hidden size first; the processes of each file are numbered on."""
    first, *others = sorted(results, key=lambda result: min(_sizes(result)))
    if not others:
        return first
    sizes = sorted(size for result in results for size in _sizes(result))
    moved, begin = [], 0
    for result in (first, *others):
        moved.append(_numbered_from(result, begin))
        begin = max(begin, *_processes(moved[-1])) + 1
    config = first.config.model_copy(
        update={"model": first.config.model_of(sizes[0]), "more_hidden_sizes": tuple(sizes[1:])}
    )
    loads = [result.environment.load_average for result in results]
    busiest = max((load for load in loads if load is not None), default=None)
    return first.model_copy(
        update={
            "created_at": min(result.created_at for result in results),
            "config": config,
            "environment": first.environment.model_copy(update={"load_average": busiest}),
            "cases": tuple(case for result in moved for case in result.cases),
            "controls": tuple(control for result in moved for control in result.controls),
            "canaries": _canaries(moved),
            "ceilings": _ceilings(moved),
            "processes": tuple(process for result in moved for process in result.processes),
            "baselines": next((each.baselines for each in moved if each.baselines), None),
        }
    )


def _processes(result: Result) -> set[int]:
    """All that are told of; a file of somebody else may not list each that has samples."""
    rows = [row for case in result.cases for row in case.throughput]
    listed = {process.index for process in result.processes}
    return {0} | listed | {sample.process for row in rows for sample in row.samples}


def _numbered_from(result: Result, begin: int) -> Result:
    """The same with processes from ``begin`` on."""

    def sample(each: Sample) -> Sample:
        return each.model_copy(update={"process": begin + each.process})

    def row(each: Throughput) -> Throughput:
        warm_ups = tuple(
            warm_up.model_copy(update={"process": begin + warm_up.process})
            for warm_up in each.warm_ups
        )
        samples = tuple(map(sample, each.samples))
        return each.model_copy(update={"warm_ups": warm_ups, "samples": samples})

    def timed(each: Case | Control) -> Case | Control:
        return each.model_copy(update={"throughput": tuple(map(row, each.throughput))})

    return result.model_copy(
        update={
            "cases": tuple(map(timed, result.cases)),
            "controls": tuple(map(timed, result.controls)),
            "canaries": tuple(
                canary.model_copy(update={"samples": tuple(map(sample, canary.samples))})
                for canary in result.canaries
            ),
            "processes": tuple(
                process.model_copy(update={"index": begin + process.index})
                for process in result.processes
            ),
        }
    )


def _canaries(results: Sequence[Result]) -> tuple[Canary, ...]:
    """One a device."""
    samples: dict[str, tuple[Sample, ...]] = {}
    for canary in (canary for result in results for canary in result.canaries):
        samples[canary.device] = samples.get(canary.device, ()) + canary.samples
    return tuple(Canary(device=device, samples=found) for device, found in samples.items())


def _ceilings(results: Sequence[Result]) -> tuple[Ceilings, ...]:
    """The best of every process, as within a file: the highest rates, the shortest step."""
    best: dict[tuple[str, int], Ceilings] = {}
    for each in (ceilings for result in results for ceilings in result.ceilings):
        known = best.setdefault((each.device, each.threads), each)
        steps = [s for s in (known.step_seconds, each.step_seconds) if s is not None]
        best[each.device, each.threads] = Ceilings(
            device=each.device,
            threads=each.threads,
            flops_per_second=max(known.flops_per_second, each.flops_per_second),
            bytes_per_second=max(known.bytes_per_second, each.bytes_per_second),
            cached_bytes_per_second=max(
                known.cached_bytes_per_second, each.cached_bytes_per_second
            ),
            step_seconds=min(steps, default=None),
        )
    return tuple(best.values())

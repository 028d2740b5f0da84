"""`bench check`: parity, and whatever else an author must know."""

from dataclasses import asdict

import typer

from bench import environment, launch, plugins, summary, tables
from bench.console import print_json, print_tables
from bench.options import (
    AsJson,
    BatchFirst,
    Bidirectional,
    Device,
    Dropout,
    Dtype,
    HiddenSize,
    Implementations,
    NoBias,
    Nonlinearity,
    NumLayers,
    Seed,
    Threads,
    TimeLimit,
)


def command(
    impl: Implementations = "all",
    device: Device = "cpu",
    seed: Seed = 0,
    hidden_size: HiddenSize = 128,
    num_layers: NumLayers = 1,
    nonlinearity: Nonlinearity = "tanh",
    no_bias: NoBias = False,
    dropout: Dropout = 0.0,
    bidirectional: Bidirectional = False,
    batch_first: BatchFirst = False,
    time_limit: TimeLimit = 120.0,
    threads: Threads = 1,
    dtype: Dtype = "float32",
    as_json: AsJson = False,
) -> None:
    """Parity with the reference, and whatever else an author must know; status 1 when it fails."""
    found = launch.installed_plugins()
    devices = environment.device_names(device)
    config = launch.configured(
        plugins.register(impl, found, devices),
        devices,
        model={
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "nonlinearity": nonlinearity,
            "bias": not no_bias,
            "dropout": dropout,
            "bidirectional": bidirectional,
            "batch_first": batch_first,
        },
        dtype=dtype,
        seed=seed,
        time_limit=time_limit,
        threads=(threads,),
    )
    from bench.progress import Silent
    from bench.runner import Run

    checked = Run(config, None, Silent(), named=launch.asked_by_name(impl, found)).check()
    cases = tuple(checked.cases)
    if as_json:
        print_json(
            [
                asdict(row) | {"findings": [asdict(each) for each in checked.findings[case.key]]}
                for row, case in zip(summary.parity_rows(cases), cases, strict=True)
            ]
        )
    else:
        alone = len(config.implementations) == 1
        found_tables = [
            tables.findings_table(*key[:2], findings)
            for key, findings in checked.findings.items()
            if findings and (alone or any(each.verdict == "FAIL" for each in findings))
        ]
        print_tables([tables.check_table(cases), *found_tables])
    if not checked.passed:
        raise typer.Exit(launch.FAILED)

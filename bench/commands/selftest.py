"""`bench selftest`: how often this harness is right, here."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from bench import environment, launch, records
from bench.console import print_json, print_markdown, print_tables, stderr
from bench.errors import BenchError
from bench.options import AsJson, AsMarkdown, Device, Output, Overwrite, Seed, Threads
from bench.progress import progress


def command(
    device: Device = "cpu",
    runs: Annotated[int, typer.Option(help="Runs in each of the two pools.")] = 40,
    pairs: Annotated[int, typer.Option(help="Random pairs of files to compare.")] = 200,
    seed: Seed = 0,
    threads: Threads = 1,
    output: Output = None,
    overwrite: Overwrite = False,
    saved: Annotated[
        Path | None,
        typer.Option("--show", help="Print a saved self-test instead.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    as_markdown: AsMarkdown = False,
) -> None:
    """How often this harness is right here: identical code, and code that is 5% slower."""
    from bench import selftest as test
    from bench.selftest_tables import selftest_tables

    if saved:
        outcome = test.load(saved)
    else:
        config = test.configured(environment.device_names(device), runs, pairs, seed, threads)
        path = launch.output_path(output, "selftest", overwrite=overwrite)
        with progress(stderr()) as bars:
            outcome = test.execute(config, bars)
        try:
            records.save(outcome, path)
        except OSError as error:  # half an hour's work: at least its outcome is shown
            print_tables(selftest_tables(outcome))
            raise BenchError(f"cannot write {path}: {error.strerror}") from None
    if as_json:
        found = outcome.model_dump(mode="json", exclude={"pool"})
        print_json(found | {"rates": asdict(test.judge(outcome))})
    elif as_markdown:
        print_markdown(selftest_tables(outcome))
    else:
        print_tables(selftest_tables(outcome))

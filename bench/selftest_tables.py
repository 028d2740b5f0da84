"""A self-test in words."""

import math

from bench import selftest
from bench.render import Table
from bench.selftest import Rate, SelfTest
from bench.words import percent, ratio


def selftest_tables(test: SelfTest) -> list[Table]:
    """What the harness said, how often, and how often it should have."""
    rates, machine = selftest.judge(test), test.environment
    default = f"{sum(run.preset == 'default' for run in test.pool)} default runs"
    quick = f"{sum(run.preset == 'quick' for run in test.pool)} quick runs"
    rows = (
        _row("identical code", f"pairs of {quick}", "faster or slower", rates.false_files, "≤ 5%"),
        _row("identical code", "A/A arms of a run", "beyond margin", rates.false_arms, "≤ 5%"),
        _row("5% slower code", "arms of a default run", "beyond margin", rates.power_arms, "≥ 90%"),
        _row("5% slower code", "arms of a default run", "95% true", rates.coverage_arms, "≥ 90%"),
        _row("5% slower code", f"pairs of {default}", "slower", rates.power_files, "-"),
        _row("5% slower code", f"pairs of {default}", "same or faster", rates.wrong_files, "≤ 5%"),
    )
    where = machine.gpu[0].name if test.config.device != "cpu" and machine.gpu else machine.cpu
    return [
        Table(
            title="Self-test: how often the verdicts hold",
            columns=("compared", "as", "found", "times", "share", "wanted"),
            sections=(rows,),
            notes=(
                f"{where} ({machine.cores} cores), {machine.threads} thread"
                f"{'s' if machine.threads > 1 else ''}, {test.created_at[:10]}, "
                f"{test.seconds / 60:.0f} minutes. generate at batch 1, hand-written cell; the "
                f"true ratio of the slower one is {ratio(test.true_ratio)}.",
                "pairs: what compare says of two files. arms: where the 95% interval of their "
                "ratio lies, as show prints it: wholly beyond the margin of compare, or around the "
                "true ratio. Its half width (median): "
                f"{percent(math.expm1(rates.half_arms))} within a default run, "
                f"{percent(math.expm1(rates.half_files))} between two.",
            ),
        )
    ]


def _row(what: str, how: str, verdict: str, rate: Rate, wanted: str) -> tuple[str, ...]:
    return what, how, verdict, f"{rate.count} of {rate.of}", percent(rate.share), wanted

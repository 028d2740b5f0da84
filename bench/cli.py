"""The command line. The only place that turns an error into an exit status.

Exit statuses: 0 done; 1 a case failed, or is slower; 2 bad input; 3 what was to be guarded cannot
be; 4 accuracy fell; 130 interrupted. Torch is imported only by the commands that compute, so that
the others start at once.
"""

import sys

import typer

from bench.commands import (
    check,
    compare,
    evaluate,
    export,
    generate,
    history,
    leaderboard,
    list_,
    report,
    run,
    schema,
    selftest,
    show,
    study,
    sweep,
    tune,
)
from bench.errors import BenchError
from impls import registered

BAD_INPUT, INTERRUPTED = 2, 130

app = typer.Typer(
    name="bench",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def bare(context: typer.Context) -> None:
    """Compare implementations of one RNN generator: which are right, how accurate, how fast."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(BAD_INPUT)


# In the order of `--help`.
_COMMANDS = {
    "run": run,
    "list": list_,
    "check": check,
    "evaluate": evaluate,
    "generate": generate,
    "sweep": sweep,
    "study": study,
    "tune": tune,
    "show": show,
    "compare": compare,
    "leaderboard": leaderboard,
    "report": report,
    "history": history,
    "export": export,
    "schema": schema,
    "selftest": selftest,
}
for _name, _module in _COMMANDS.items():
    app.command(_name)(_module.command)


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit; bad input gets one line on standard error and status 2."""
    try:
        with registered({}):  # what a command adds to the registry ends with it
            status = app(args=arguments, prog_name="python -m bench", standalone_mode=False)
    except BenchError as error:
        _fail(str(error))
    except typer.TyperException as error:
        _fail(error.format_message())
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str) -> None:
    typer.echo("error: " + " ".join(message.split()), err=True)
    sys.exit(BAD_INPUT)

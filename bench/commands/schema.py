"""`bench schema`: what a result file is, for programs that read one."""

from bench import records
from bench.console import print_json


def command() -> None:
    """The JSON Schema of the result file."""
    print_json(records.json_schema())

"""The commands that only read start at once, and without torch."""

import subprocess
import sys

import pytest

from tests.bench.seconds import limit, seconds_of_children

COMMANDS = {
    "help": ["--help"],
    "run help": ["run", "--help"],
    "list": ["list"],
    "show": ["show", "{golden}"],
    "show markdown": ["show", "{golden}", "--markdown"],
    "studies": ["study"],
    "history help": ["history", "--help"],
    "compare": ["compare", "{golden}", "{golden}"],
}
# `-c` stands in for `-m bench`, so that what was imported can be told afterwards.
PROBE = """
import sys
from bench.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    status = end.code
print("torch" in sys.modules, "matplotlib" in sys.modules, status, file=sys.stderr)
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_no_torch_and_under_a_second(command, golden, tmp_path):
    copy = tmp_path / "result.json"
    copy.write_bytes(golden.read_bytes())
    arguments = [argument.format(golden=copy) for argument in COMMANDS[command]]

    def once():
        before = seconds_of_children()
        done = subprocess.run(
            [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=True
        )
        return seconds_of_children() - before, done

    once()  # writes the bytecode, and draws the plots that `show` brings up to date
    # The best of three: another process of the machine is not our start-up time.
    runs = [once() for _ in range(3)]
    assert all(done.stderr.strip() == "False False 0" for _, done in runs), runs[0][1].stderr
    assert min(seconds for seconds, _ in runs) < limit(1.0, starts=7.0)

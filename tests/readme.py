"""Fills the README and docs/*.md with their commands' real output: ``python -m tests.readme``.

Two kinds of places are filled, and `tests/test_readme.py` compares both with what the commands
print now:

- after ``<!-- output of: COMMAND -->``, up to ``<!-- end -->``: the command's Markdown;
- after a line ``$ COMMAND`` that opens a fenced ``console`` block: what it prints.

A block fenced as ``text`` is left alone.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = (README, *sorted((ROOT / "docs").glob("*.md")))
MARKDOWN = re.compile(r"(<!-- output of: (.+?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
CONSOLE = re.compile(r"(```console\n\$ (.+?)\n)(.*?)(```)", re.DOTALL)


def output(command: str) -> str:
    """What ``command`` prints, run from the root in 100 columns."""
    words = shlex.split(command)
    if words[0] == "python":
        words[0] = sys.executable
    environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1"}
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    lines = [line.rstrip() for line in (done.stdout + done.stderr).splitlines()]
    return "\n".join(lines).strip("\n") + "\n"


def filled(text: str) -> str:
    """``text`` with every place filled anew."""
    text = MARKDOWN.sub(lambda m: f"{m[1]}\n{output(m[2])}\n{m[4]}", text)
    return CONSOLE.sub(lambda m: f"{m[1]}{output(m[2])}{m[4]}", text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")

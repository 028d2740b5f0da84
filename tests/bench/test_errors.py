"""Which line of a long message is the one that tells."""

import pytest

from bench.errors import telling_line

TRITON = "at 12:8:\n    x = tl.load(p)\n        ^\n"
PTXAS = (
    "PTXAS error: Internal Triton PTX codegen error\n`ptxas` stderr:\n"
    "ptxas fatal   : Value 'sm_999' is not defined\n\nRepro command: ptxas x\n"
)


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("", ""),
        ("\n  one \ntwo", "one"),
        ("CUDA error: no device\nSearch for `cudaErrorNoDevice'", "CUDA error: no device"),
        (TRITON + "p is not defined\nand more", "at 12:8: p is not defined"),
        (TRITON, "at 12:8: x = tl.load(p)"),
        ("at 1:0:\n <source empty>", "at 1:0: <source empty>"),
        ("at 1:0:", "at 1:0:"),
        (PTXAS, "PTXAS error: Internal Triton PTX codegen error: "
         "ptxas fatal   : Value 'sm_999' is not defined"),
        ("at 12:8: all in one line\n^\nthe end", "at 12:8: all in one line"),
        ("meet me at 12:8:\nor not", "meet me at 12:8:"),
        ("`ptxas` stderr:\nnothing", "nothing"),
        ("failed\n`ptxas` stderr:", "failed"),
    ],
)  # fmt: skip
def test_the_line_that_tells(message, line):
    assert telling_line(message) == line

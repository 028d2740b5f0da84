"""The options that several commands share, described once."""

from pathlib import Path
from typing import Annotated

import typer

from bench.config import DTYPES

# Where work is done.
HERE, RAY = "here", "ray"

Implementations = Annotated[
    str,
    typer.Option(
        "--impl",
        help="all, which is whatever is written for the device; or a comma list of names, and of "
        "package.module:Class for your own.",
    ),
]
Device = Annotated[
    str, typer.Option(help="cpu, cuda, cuda:N, or all: cpu, and cuda if there is one.")
]
Dtype = Annotated[str, typer.Option(help=f"{' or '.join(DTYPES)}.")]
Seed = Annotated[int, typer.Option(help="Names the weights, the data and the order of timing.")]
HiddenSizes = Annotated[
    str, typer.Option("--hidden-size", help="Units of a layer, H: a comma list, a case each.")
]
HiddenSize = Annotated[int, typer.Option(help="Units of a layer, H.")]
NumLayers = Annotated[int, typer.Option(help="Stacked layers, L.")]
Nonlinearity = Annotated[str, typer.Option(help="tanh or relu.")]
NoBias = Annotated[bool, typer.Option("--no-bias", help="Cells without biases.")]
Dropout = Annotated[float, typer.Option(help="Between layers, while training; in [0, 1).")]
Bidirectional = Annotated[
    bool,
    typer.Option(
        "--bidirectional", help="Layers run backwards too; for forced steps, --workload sequence."
    ),
]
BatchFirst = Annotated[
    bool, typer.Option("--batch-first", help="Data are (B, T, I) instead of (T, B, I).")
]
TimeLimit = Annotated[
    float, typer.Option(help="Seconds of silence after which a case counts as hung.")
]
Threads = Annotated[int, typer.Option(help="CPU threads; more than one slows small steps down.")]
ThreadCounts = Annotated[
    str, typer.Option(help="CPU threads, a comma list; more than one slows small steps down.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
AsMarkdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown tables.")]
Weights = Annotated[
    Path, typer.Option(help="A .safetensors file that a run has left.", show_default=False)
]
Output = Annotated[
    Path | None,
    typer.Option(help="Result file. Default: a new one in results/.", show_default=False),
]
On = Annotated[
    str, typer.Option(help=f"{HERE}; or {RAY}: on a cluster, as much at once as it has room for.")
]
Address = Annotated[
    str | None,
    typer.Option(
        help="HOST:PORT of a Ray cluster that exists. Default: one is started here.",
        show_default=False,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an old file.")]

"""`bench generate`: trained weights go on with a wave, given in a CSV file or drawn by a task."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from bench import environment, records
from bench.config import EvaluationConfig
from bench.console import echo, note
from bench.errors import BenchError, unknown
from bench.launch import check_output, check_range, keep_what_is_there
from bench.options import Overwrite, Weights
from bench.points import Array, Wave, as_csv, read_points
from bench.words import error as error_in_words
from impls import REGISTRY, MissingError
from tasks import TASKS

if TYPE_CHECKING:
    from bench.weights import Saved

MOST_STEPS = 1_000_000
PICTURES = (".png", ".svg", ".pdf")


def command(
    weights: Weights,
    impl: Annotated[str, typer.Option(help="Which implementation computes.")] = "manual_cell",
    steps: Annotated[int, typer.Option(help="Points to predict.")] = 900,
    given: Annotated[
        Path | None,
        typer.Option(
            "--input",
            help="CSV, a row a point, to go on with. Default: a drawn wave.",
            show_default=False,
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="What draws the wave. Default: what the weights were trained on."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Names the wave that is drawn.")] = 0,
    warm_up: Annotated[
        int | None,
        typer.Option(
            help="Points of a drawn wave that are given. Default: the task's own, or 100.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    output: Annotated[
        Path | None,
        typer.Option(help="Where to: .csv, or a picture: .png, .svg, .pdf. Default: CSV, printed."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Go on with a wave: trained weights, any implementation, as many steps as you like."""
    check_range("--steps", steps, MOST_STEPS)
    if warm_up is not None:
        check_range("--warm-up", warm_up, MOST_STEPS)
    check_range("--seed", seed, 2**32 - 1, least=0)
    if impl not in REGISTRY:
        raise unknown("implementation", impl, REGISTRY)
    devices = environment.device_names(device)
    if output:
        check_output(output, (".csv", *PICTURES))
        keep_what_is_there(output, overwrite=overwrite)
    from bench import weights as files  # torch takes two seconds: bad options are told before

    saved = files.load(weights)
    size, task = saved.model.input_size, task or saved.origin.task or "cosine"
    _check_continues(task)
    wave = Wave(read_points(given, size)) if given else _drawn(task, size, seed, warm_up, steps)
    predicted = _predicted(impl, saved, devices[0], wave.given, steps)
    if output and output.suffix in PICTURES:
        from bench import figures

        try:
            figures.save_continuation(wave.given, predicted, wave.truth, output)
        except OSError as error:
            raise BenchError(f"cannot write {output}: {error.strerror or error}") from None
    else:
        text = as_csv(wave, predicted)
        if output:
            try:
                records.write(text, output)
            except OSError as error:
                raise BenchError(f"cannot write {output}: {error.strerror or error}") from None
        else:
            echo(text)
    if wave.truth is not None:
        mse = float(np.square(predicted - wave.truth).mean())
        words = f"mean squared error of {steps:,} free steps: {error_in_words(mse)}"
        note(words)


def _check_continues(task: str) -> None:
    """Refuse weights that were never to predict their own next input.

    Raises:
        BenchError: the task feeds nothing back.
    """
    if task in TASKS and not TASKS[task].feedback:
        others = ", ".join(name for name, each in TASKS.items() if each.feedback)
        raise BenchError(
            f"--task {task} has no continuation: it is {TASKS[task].problem}, and feeds nothing "
            f"back; take weights of one that does ({others})"
        )


def _drawn(task: str, size: int, seed: int, warm_up: int | None, steps: int) -> Wave:
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    if TASKS[task].input_size != size:
        raise BenchError(
            f"--task {task} draws {TASKS[task].input_size} features, the weights want {size}; give "
            "points with --input"
        )
    # A task of its own forced steps needs room for them to know how many: as an evaluation has.
    points = max(EvaluationConfig().points, (warm_up or 100) + steps)
    drawn = TASKS[task].draw(np.random.default_rng(seed), 1, points)
    known = warm_up or drawn.forced_steps or 100
    return Wave(drawn.inputs[:known, 0], drawn.targets[known - 1 : known - 1 + steps, 0])


def _predicted(impl: str, saved: "Saved", device: str, given: Array, steps: int) -> Array:
    """(``steps``, I), what follows ``given``.

    Raises:
        BenchError: the implementation cannot, or fails.
    """
    import torch

    import impls
    from bench.layout import called
    from bench.parity import one_line
    from tasks.forcing import warm_up

    dtype = next(iter(saved.weights.values())).dtype
    forced = warm_up(len(given) + steps - 1, len(given))
    inputs = np.full((len(forced), 1, given.shape[1]), np.nan)
    inputs[: len(given), 0] = given
    try:
        with environment.pinned(1), torch.inference_mode():
            model = impls.create(impl, saved.model, device=device, dtype=dtype).eval()
            model.load_weights(saved.weights)
            read = torch.tensor(inputs, device=device, dtype=dtype)
            predictions, _ = called(model, read, torch.from_numpy(forced))
            found: Array = predictions.cpu().double().numpy()
    except (MissingError, ValueError) as error:
        raise BenchError(
            f"--impl {impl}: {error}".replace(f"{impl}: {impl}:", f"{impl}:")
        ) from None
    except Exception as error:  # noqa: BLE001 - whatever an implementation raises
        raise BenchError(f"--impl {impl}: {one_line(error)}") from None
    return found[len(given) - 1 :, 0]

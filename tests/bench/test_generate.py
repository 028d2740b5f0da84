"""`bench generate`: what it goes on with, in which form, and what it refuses."""

import csv

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import impls
from bench import weights
from bench.cli import main
from bench.errors import BenchError
from bench.points import Wave, as_csv, read_points
from impls import GeneratorConfig, reference
from tasks import TASKS


@pytest.fixture
def saved(tmp_path):
    """A file of weights of one feature, and one of two."""

    def write(size=1, task="cosine", dtype=torch.float32):
        path = tmp_path / f"{size}.safetensors"
        model = impls.create("manual_cell", GeneratorConfig(size, 6), dtype=dtype, seed=2)
        weights.save(model, path, weights.Origin(task=task))
        return path

    return write


@pytest.fixture
def bench(capsys):
    def command(*arguments):
        with pytest.raises(SystemExit) as end:
            main(["generate", *map(str, arguments)])
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return command


def table(text):
    return list(csv.DictReader(text.splitlines()))


def follow(path, points, steps):
    """What the reference says comes after ``points`` (K, I)."""
    found = weights.load(path)
    arrays = {name: weight.double().numpy() for name, weight in found.weights.items()}
    inputs = np.full((len(points) + steps - 1, 1, points.shape[1]), np.nan)
    inputs[: len(points), 0] = points
    forced = [step < len(points) for step in range(len(inputs))]
    h0 = np.zeros((1, 1, found.model.hidden_size))
    exact = reference.forward(found.model, arrays, inputs, forced, h0)
    return exact.predictions[len(points) - 1 :, 0]


@pytest.mark.parametrize("name", ["manual_cell", "folded", "fused_cpu"])
def test_a_drawn_wave_goes_on_beside_the_truth(name, saved, bench):
    path = saved(dtype=torch.float64)
    status, out, err = bench(
        "--weights", path, "--impl", name, "--steps", 7, "--warm-up", 5, "--seed", 4
    )
    assert status == 0
    rows = table(out)
    assert [row["kind"] for row in rows] == ["given"] * 5 + ["predicted"] * 7
    assert [row["step"] for row in rows] == [str(step) for step in range(12)]
    drawn = TASKS["cosine"].draw(np.random.default_rng(4), 1, 12)
    points = np.concatenate([drawn.inputs[:1, 0], drawn.targets[:, 0]])
    np.testing.assert_allclose([float(row["true_x"]) for row in rows], points[:, 0], rtol=1e-12)
    found = np.array([float(row["x"]) for row in rows])
    np.testing.assert_allclose(found[:5], points[:5, 0], rtol=1e-12)
    np.testing.assert_allclose(found[5:], follow(path, points[:5], 7)[:, 0], rtol=1e-9)
    mse = np.mean((found[5:] - points[5:, 0]) ** 2)
    assert err == f"mean squared error of 7 free steps: {mse:.4f}\n"


def test_a_given_wave_goes_on(saved, bench, tmp_path):
    path, points = saved(2), np.array([[0.1, 1.0], [0.2, -2.0], [0.3, 0.5]])
    file = tmp_path / "in.csv"
    file.write_text("first,second\n" + "".join(f"{a},{b}\n" for a, b in points))
    status, out, err = bench("--weights", path, "--steps", 4, "--input", file)
    assert (status, err) == (0, "")
    rows = table(out)
    assert list(rows[0]) == ["step", "kind", "x0", "x1"]
    found = np.array([[float(row["x0"]), float(row["x1"])] for row in rows])
    np.testing.assert_allclose(found[:3], points)
    np.testing.assert_allclose(found[3:], follow(path, points, 4), atol=1e-5)


def test_the_task_is_the_one_that_they_were_trained_on(saved, bench):
    path = saved(task="sine")
    _, trained, _ = bench("--weights", path, "--steps", 2)
    _, sine, _ = bench("--weights", path, "--steps", 2, "--task", "sine")
    _, cosine, _ = bench("--weights", path, "--steps", 2, "--task", "cosine")
    assert trained == sine != cosine


@pytest.mark.parametrize(("suffix", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_a_picture_of_it(suffix, begins, saved, bench, tmp_path):
    file = tmp_path / f"wave.{suffix}"
    assert bench("--weights", saved(), "--output", file)[:2] == (0, "")
    assert file.read_bytes().startswith(begins)


def test_a_file_of_it_is_what_is_printed_and_is_not_lost(saved, bench, tmp_path):
    path, file = saved(), tmp_path / "wave.csv"
    _, printed, _ = bench("--weights", path, "--steps", 3)
    assert bench("--weights", path, "--steps", 3, "--output", file)[:2] == (0, "")
    assert file.read_text() == printed
    status, _, err = bench("--weights", path, "--output", file)
    assert (status, err.count("\n")) == (2, 1)
    assert "exists; choose another name, or add --overwrite" in err
    assert file.read_text() == printed
    assert bench("--weights", path, "--steps", 4, "--output", file, "--overwrite")[0] == 0
    assert file.read_text() != printed


REFUSED = {
    "no steps": (("--steps", 0), "--steps must be from 1 to 1,000,000, got 0"),
    "no warm-up": (("--warm-up", 0), "--warm-up must be from 1 to 1,000,000, got 0"),
    "seed": (("--seed", -1), "--seed must be from 0 to 4,294,967,295, got -1"),
    "impl": (
        ("--impl", "fuse_cpu"),
        "unknown implementation 'fuse_cpu'; did you mean 'fused_cpu'?",
    ),
    "another device's": (("--impl", "fused_cuda"), "--impl fused_cuda: "),
    "task": (("--task", "cosin"), "unknown task 'cosin'; did you mean 'cosine'?"),
    "output": (
        ("--output", "wave.txt"),
        "--output must end in .csv, .png, .svg or .pdf, got wave.t",
    ),
    "no folder": (("--output", "no/such/wave.csv"), "there is no folder no/such; create it first"),
    "no input": (("--input", "no.csv"), "there is no file no.csv"),
    "device": (("--device", "tpu"), "--device must be cpu, cuda, cuda:N or all, got 'tpu'"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_in_one_line(what, saved, bench):
    options, reason = REFUSED[what]
    status, out, err = bench("--weights", saved(), *options)
    assert (status, out) == (2, "")
    assert reason in err
    assert err.count("\n") == 1


def test_features_that_no_task_draws(saved, bench):
    status, _, err = bench("--weights", saved(2))
    assert status == 2
    assert "--task cosine draws 1 features, the weights want 2; give points with --input" in err


def test_one_that_raises_is_told_in_one_line(saved, bench, monkeypatch):
    def broken(*_):
        raise RuntimeError("out of ink")

    monkeypatch.setattr("impls.manual_cell.ManualCell.rollout", broken)
    status, out, err = bench("--weights", saved(), "--impl", "manual_cell")
    assert (status, out) == (2, "")
    assert err == "error: --impl manual_cell: RuntimeError: out of ink\n"


# CSV.


@settings(max_examples=50)
@given(
    st.integers(1, 3).flatmap(
        lambda size: st.lists(
            st.lists(st.floats(-1e6, 1e6), min_size=size, max_size=size), min_size=1, max_size=5
        )
    ),
    st.booleans(),
)
def test_points_that_are_written_are_read(tmp_path_factory, points, headings):
    given_points = np.array(points)
    wave = Wave(given_points, given_points)
    rows = table(as_csv(wave, given_points))
    names = [name for name in rows[0] if name.startswith("x")]
    found = [[float(row[name]) for name in names] for row in rows]
    np.testing.assert_array_equal(found, np.concatenate([given_points, given_points]))
    path = tmp_path_factory.mktemp("csv") / "p.csv"
    lines = [",".join(map(repr, point)) for point in points]
    path.write_text("\n".join([*([",".join(names)] if headings else []), *lines, ""]))
    np.testing.assert_array_equal(read_points(path, given_points.shape[1]), given_points)


BAD = {
    "a word": ("1\n2\nthree\n", "line 3: 'three' is no finite number"),
    "infinite": ("1\ninf\n", "line 2: 'inf' is no finite number"),
    "two columns": ("1\n2,3\n", "line 2 has 2 columns; the weights want 1"),
    "empty": ("", "has no points"),
    "headings alone": ("value\n\n", "has no points"),
    "no text": (b"\xff\xfe\x00", "is no CSV: it is not text in UTF-8"),
    "endless field": ('"' + "1" * 200_000, "field larger than field limit"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_points_are_told_with_their_line(bad, tmp_path):
    content, reason = BAD[bad]
    path = tmp_path / "p.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BenchError) as caught:
        read_points(path, 1)
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)

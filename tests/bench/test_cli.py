"""The commands as a user types them, and bad input: one line, status 2, nothing half-written."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from bench import environment
from bench.cli import main


@pytest.fixture
def bench(capsys, monkeypatch, tmp_path):
    """Run a command in an empty folder; gives (status, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return command


TINY = ("--hidden-size", 4, "--iterations", 3, "--rounds", 2, "--batch-size", "1,2")

BAD_OPTIONS = {
    "unknown implementation": (
        ("--impl", "torch_rn"),
        "unknown implementation 'torch_rn'; did you mean 'torch_rnn'? "
        "(known: manual_cell, torch_cell, torch_rnn)",
    ),
    "one unknown of several": (("--impl", "torch_rnn,mamual_cell"), "did you mean 'manual_cell'?"),
    "unlike any name": (("--impl", "xyz"), "unknown implementation 'xyz' (known: manual_cell"),
    "empty implementation": (("--impl", "torch_rnn,"), "--impl must be all or a comma list"),
    "unknown baseline": (("--baseline", "torch_cel"), "did you mean 'torch_cell'?"),
    "unknown task": (("--task", "cosin"), "unknown task 'cosin'; did you mean 'cosine'?"),
    "unknown recipe": (("--recipe", "quik"), "unknown recipe 'quik'; did you mean 'quick'?"),
    "unknown workload": (("--workload", "generat"), "did you mean 'generate'?"),
    "unknown device": (("--device", "gpu"), "--device must be cpu, cuda, cuda:N or all, got 'gpu'"),
    "unknown dtype": (("--dtype", "float16"), "--dtype: Input should be 'float32' or 'float64'"),
    "hidden size 0": (
        ("--hidden-size", 0),
        "--hidden-size must be a whole number of at least 1, got 0",
    ),
    "hidden size below 0": (("--hidden-size", -3), "--hidden-size must be a whole number"),
    "hidden size no number": (
        ("--hidden-size", "big"),
        "--hidden-size': Input should be a valid int",
    ),
    "layers 0": (("--num-layers", 0), "--num-layers must be a whole number of at least 1, got 0"),
    "batch 0": (
        ("--batch-size", "1,0"),
        "--batch-size must be whole numbers from 1 to 100000, such as 1,32, got '1,0'",
    ),
    "batch below 0": (("--batch-size", "-1"), "--batch-size must be whole numbers"),
    "batch no number": (("--batch-size", "1,many"), "--batch-size must be whole numbers"),
    "batch empty": (("--batch-size", "1,,2"), "--batch-size must be whole numbers"),
    "dropout 1": (("--dropout", 1), "--dropout must be at least 0 and below 1, got 1.0"),
    "dropout below 0": (("--dropout", -0.1), "--dropout must be at least 0 and below 1, got -0.1"),
    "dropout nan": (("--dropout", "nan"), "--dropout must be at least 0 and below 1, got nan"),
    "nonlinearity": (("--nonlinearity", "gelu"), "--nonlinearity must be 'tanh' or 'relu'"),
    "bidirectional": (("--bidirectional",), "--bidirectional is not possible: the backward layer"),
    "batch too large": (("--batch-size", "99999999999"), "--batch-size must be whole numbers"),
    "batch of many digits": (("--batch-size", "9" * 5000), "--batch-size must be whole numbers"),
    "hidden size too large": (("--hidden-size", 10**20), "--hidden-size must be at most 16,384"),
    "too many layers": (("--num-layers", 10**11), "--num-layers must be at most 100"),
    "too many threads": (("--threads", 99999), "--threads 99999: this machine has"),
    "seed too large": (("--seed", 2**70), "--seed: Input should be less than 4294967296"),
    "too many rounds": (("--rounds", 10**17), "--rounds: Input should be less than or equal"),
    "threads 0": (("--threads", 0), "--threads: Input should be greater than or equal to 1, got 0"),
    "seed below 0": (("--seed", -1), "--seed: Input should be greater than or equal to 0, got -1"),
    "rounds 1": (("--rounds", 1), "--rounds: Input should be greater than or equal to 2, got 1"),
    "iterations 0": (("--iterations", 0), "--iterations: Input should be greater than or equal"),
    "unknown option": (("--hiden-size", 3), "No such option"),
    "output in a missing folder": (("--output", "no/such/r.json"), "there is no folder no/such"),
    "output a folder": (("--output", "."), "--output . is a folder; name a file in it"),
    "output of another kind": (("--output", "r.txt"), "--output must end in .json, got r.txt"),
}


@pytest.mark.parametrize("bad", BAD_OPTIONS)
def test_bad_options(bad, bench, tmp_path):
    options, message = BAD_OPTIONS[bad]
    status, out, err = bench("run", *options)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_check_refuses_the_same(bench):
    for options in (("--impl", "torch_rn"), ("--hidden-size", 0), ("--device", "gpu")):
        status, out, err = bench("check", *options)
        assert (status, out, err.count("\n")) == (2, "", 1)


def test_cuda_without_cuda_says_what_the_installed_torch_is(bench, monkeypatch):
    monkeypatch.setattr(environment, "torch_build", lambda: ("2.13.0+cpu", None))
    status, _, err = bench("run", "--device", "cuda")
    assert status == 2
    assert "--device cuda: the installed torch 2.13.0+cpu is a build without CUDA" in err
    assert err.count("\n") == 1


def read_only_folder(tmp_path):
    """A folder that this user cannot write to; root can write to any but the kernel's own."""
    if os.geteuid() == 0:
        return "/proc"
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    return folder


def test_output_in_a_read_only_folder_is_found_before_training(bench, tmp_path, monkeypatch):
    from bench import runner

    monkeypatch.setattr(runner, "run", lambda *_, **__: pytest.fail("it began"))
    status, _, err = bench("run", "--output", f"{read_only_folder(tmp_path)}/r.json")
    assert status == 2
    assert "cannot write into" in err
    assert "choose another folder" in err
    assert err.count("\n") == 1


def test_plots_that_could_not_be_drawn_are_found_before_training(bench, tmp_path):
    (tmp_path / "r").write_text("in the way")
    status, _, err = bench("run", *TINY, "--output", "r.json")
    assert status == 2
    assert "its plots need a folder r, but that is no folder" in err
    assert not (tmp_path / "r.json").exists()


def test_a_link_is_followed(bench, tmp_path):
    (tmp_path / "target.json").write_text("precious")
    (tmp_path / "link.json").symlink_to("target.json")
    status, _, err = bench("run", *TINY, "--output", "link.json")
    assert status == 2
    assert "exists" in err
    assert (tmp_path / "link.json").is_symlink()


def test_an_old_result_is_not_lost(bench, tmp_path):
    old = tmp_path / "r.json"
    old.write_text("precious")
    status, _, err = bench("run", *TINY, "--output", "r.json")
    assert status == 2
    assert "r.json exists; choose another name, or add --overwrite" in err
    assert old.read_text() == "precious"


@pytest.mark.parametrize("command", [("show",), ("compare", "golden")])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no result file"),
        ("", "is empty"),
        ('{"schema_version": 1, "cases": [', "is not JSON, or was cut short"),
        ("plain text", "is not JSON"),
        ('{"schema_version": 99}', "has schema version 99, newer than the 1"),
        ('{"schema_version": 1, "created_at": 5}', "field created_at: Input should be a valid"),
    ],
)
def test_bad_result_files(command, content, message, bench, tmp_path, golden):
    path = tmp_path / "bad.json"
    if content is not None:
        path.write_text(content)
    arguments = [golden if word == "golden" else word for word in command]
    status, out, err = bench(*arguments, path)
    assert (status, out) == (2, "")
    assert message in err
    assert "bad.json" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "bad").exists()


def test_a_terminal_obeys_no_text_of_a_file(bench, golden, tmp_path):
    data = json.loads(golden.read_text())
    data["cases"][0].update(status="failed", reason="a\x1b[31mb")
    data["environment"]["cpu"] = "x\x1b]0;title\x07"
    (tmp_path / "r.json").write_text(json.dumps(data))
    for options in (("--no-plots",), ("--markdown",), ("--table", "overview")):
        status, out, _ = bench("show", "r.json", *options)
        assert status == 0
        assert "\x1b" not in out


def test_run_show_and_compare(bench, tmp_path):
    status, out, err = bench("run", *TINY, "--impl", "torch_rnn,manual_cell", "--output", "a.json")
    assert status == 0, err
    assert "Traceback" not in err
    for words in (
        "Accuracy",
        "Throughput",
        "Parity",
        "always zero",
        "0.9695",
        "lecture, published",
    ):
        assert words in out
    figures = {path.name for path in (tmp_path / "a").iterdir()}
    for name in ("best_worst_torch_rnn_cpu", "training_loss", "error_growth", "throughput"):
        assert {f"{name}.png", f"{name}.svg"} <= figures
    # show prints what run printed
    status, again, _ = bench("show", "a.json")
    assert (status, again) == (0, out)
    status, markdown, _ = bench("show", "a.json", "--markdown")
    assert "| torch\\_rnn | cpu |" in markdown
    status, numbers, _ = bench("show", "a.json", "--json")
    rows = json.loads(numbers)
    assert {row["label"] for row in rows["accuracy"]} == {"torch_rnn", "manual_cell"}
    assert len(rows["throughput"]) == 8
    # a second run in the default place, compared with the first
    status, out, _ = bench("run", *TINY, "--impl", "manual_cell", "--workload", "generate")
    [second] = (tmp_path / "results").glob("cosine-quick-*.json")
    assert str(second.relative_to(tmp_path)) in out
    status, out, _ = bench("compare", "a.json", second)
    assert status == 0
    assert "manual_cell" in out
    status, out, _ = bench("compare", "a.json", second, "--json")
    assert {row["implementation"] for row in json.loads(out)["accuracy"]} == {
        "torch_rnn",
        "manual_cell",
    }


def test_a_failed_case_shows_and_gives_status_1(bench, register):
    liar = register("detached_feedback")
    status, out, err = bench("run", *TINY, "--impl", f"manual_cell,{liar}", "--output", "a.json")
    assert status == 1
    assert "FAIL" in out
    assert f"{liar} on cpu failed: parity: gradient error" in " ".join(out.split())
    assert "failed" in err
    status, out, _ = bench("check", "--impl", f"manual_cell,{liar}", "--hidden-size", 4)
    assert status == 1
    assert "FAIL" in out


def test_check(bench):
    status, out, _ = bench("check", "--num-layers", 2, "--dropout", 0.3, "--dtype", "float64")
    assert status == 0
    assert out.count("pass") == 3
    status, out, _ = bench("check", "--impl", "torch_cell", "--json")
    [row] = json.loads(out)
    assert (row["implementation"], row["passed"], row["tolerance"]) == ("torch_cell", True, 1e-5)
    assert 0 < row["output_error"] < 1e-5


def test_list(bench):
    status, out, _ = bench("list", "--json")
    rows = json.loads(out)
    assert status == 0
    assert [row["name"] for row in rows] == ["torch_rnn", "torch_cell", "manual_cell"]
    assert all(row["devices"]["cpu"] is None for row in rows)
    _, out, _ = bench("list")
    if rows[0]["devices"]["cuda"]:
        assert rows[0]["devices"]["cuda"] in " ".join(out.split())


def test_no_command_shows_the_help(bench):
    status, out, err = bench()
    assert status == 2
    assert "Usage" in out + err


def test_ctrl_c_keeps_what_is_finished_and_says_where(tmp_path):
    """A real process and a real signal, in the middle of the first training."""
    command = [
        sys.executable, "-m", "bench", "run", "--impl", "manual_cell,torch_rnn",
        "--hidden-size", "4", "--iterations", "100000", "--output", str(tmp_path / "r.json"),
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    line = ""
    while "training manual_cell" not in line:
        line = process.stderr.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    # A shell shows 130 for both: when the signal meets PyTorch's own calls into Python, the
    # interpreter ends by the signal itself.
    assert process.returncode in (130, -signal.SIGINT)
    assert "interrupted: 0 of 2 cases trained; all so far is in " in err
    assert "Traceback" not in err
    cases = json.loads((tmp_path / "r.json").read_text())["cases"]
    assert [case["parity"]["passed"] for case in cases] == [True, True]
    assert [case["status"] for case in cases] == ["pending", "pending"]


def test_a_reader_that_closes_early_is_no_error(golden):
    for option in ("--markdown", "--no-plots", "--json"):
        show = f"'{sys.executable}' -m bench show '{golden}' {option}"
        command = f"{show} | head -1; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("\n") == 1

"""The commands as a user types them, and bad input: one line, status 2, nothing half-written."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch

from bench import environment
from impls import REGISTRY, Entry, GeneratorConfig
from tests.bench.started import started_in_a_terminal
from tests.impls.fitting import ON_CPU, takes

TINY = (
    "--hidden-size", 4, "--iterations", 3, "--processes", 2, "--rounds", 2, "--batch-size", 1,
)  # fmt: skip

BAD_OPTIONS = {
    "unknown implementation": (
        ("--impl", "torch_rn"),
        "unknown implementation 'torch_rn'; did you mean 'torch_rnn'? "
        f"(known: {', '.join(sorted(REGISTRY))})",
    ),
    "one unknown of several": (("--impl", "torch_rnn,mamual_cell"), "did you mean 'manual_cell'?"),
    "unlike any name": (("--impl", "xyz"), "unknown implementation 'xyz' (known: compiled, "),
    "empty implementation": (("--impl", "torch_rnn,"), "--impl must be all or a comma list"),
    "unknown baseline": (("--baseline", "torch_cel"), "did you mean 'torch_cell'?"),
    "unknown task": (("--task", "cosin"), "unknown task 'cosin'; did you mean 'cosine'?"),
    "unknown recipe": (("--recipe", "quik"), "unknown recipe 'quik'; did you mean 'quick'?"),
    "unknown workload": (("--workload", "generat"), "did you mean 'generate'?"),
    "unknown device": (("--device", "gpu"), "--device must be cpu, cuda, cuda:N or all, got 'gpu'"),
    "unknown dtype": (("--dtype", "float16"), "--dtype: Input should be 'float32' or 'float64'"),
    "hidden size 0": (
        ("--hidden-size", 0),
        "--hidden-size must be whole numbers from 1 to 16384, such as 128, got '0'",
    ),
    "hidden size below 0": (("--hidden-size", -3), "--hidden-size must be whole numbers"),
    "hidden size no number": (
        ("--hidden-size", "big"),
        "--hidden-size must be whole numbers",
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
    "bidirectional and a recipe": (
        ("--bidirectional", "--workload", "sequence"),
        "--bidirectional runs forced steps alone, and --recipe quick leaves steps free: the back",
    ),
    "bidirectional and free steps": (
        ("--bidirectional", "--recipe", "none"),
        "--bidirectional runs forced steps alone, and --workload generate leaves steps free: the",
    ),
    "batch too large": (("--batch-size", "99999999999"), "--batch-size must be whole numbers"),
    "batch of many digits": (("--batch-size", "9" * 5000), "--batch-size must be whole numbers"),
    "hidden size too large": (("--hidden-size", 10**20), "--hidden-size must be whole numbers"),
    "too many layers": (("--num-layers", 10**11), "--num-layers must be at most 100"),
    "too many threads": (("--threads", 99999), "--threads must be whole numbers from 1 to "),
    "seed too large": (("--seed", 2**70), "--seed: Input should be less than 4294967296"),
    "too many rounds": (("--rounds", 10**17), "--rounds: Input should be less than or equal"),
    "threads 0": (("--threads", "1,0"), "--threads must be whole numbers from 1 to "),
    "threads no number": (("--threads", "all"), "--threads must be whole numbers from 1 to "),
    "seed below 0": (("--seed", -1), "--seed: Input should be greater than or equal to 0, got -1"),
    "rounds 0": (("--rounds", 0), "--rounds: Input should be greater than or equal to 1, got 0"),
    "processes 0": (("--processes", 0), "--processes: Input should be greater than or equal to 1"),
    "unknown preset": (("--preset", "quik"), "unknown preset 'quik'; did you mean 'quick'?"),
    "time budget 0": (("--time-budget", 0), "--time-budget: Input should be greater than 0"),
    "time budget nan": (("--time-budget", "nan"), "--time-budget: Input should be"),
    "time limit below 0": (("--time-limit", -1), "--time-limit: Input should be greater than 0"),
    "nothing to resume": (("--resume", "no.json"), "there is no result file no.json"),
    "unknown start": (
        ("--init", "ortogonal"),
        "unknown init 'ortogonal'; did you mean 'orthogonal'?",
    ),
    "start of nothing": (
        ("--init", "normal", "--recipe", "none"),
        "--init normal: --recipe none tr",
    ),
    "gain of nothing": (("--init-gain", 2), "--init-gain 2: name what it is the gain of, --init"),
    "gain 0": (
        ("--init", "normal", "--init-gain", 0),
        "--init-gain: Input should be greater than 0",
    ),
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
    for options in (
        ("--impl", "torch_rn"), ("--hidden-size", 0), ("--device", "gpu"), ("--threads", 0),
        ("--threads", 99999), ("--threads", "1,2"),
    ):  # fmt: skip
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


@pytest.mark.parametrize(
    "command", [("show",), ("compare", "golden"), ("export", "--format", "csv")]
)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no result file"),
        ("", "is empty"),
        ('{"schema_version": 1, "cases": [', "is not JSON, or was cut short"),
        ("plain text", "is not JSON"),
        ('{"schema_version": 99}', "has schema version 99, newer than the 5"),
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
    assert len(rows["throughput"]) == 4
    # a second run in the default place, compared with the first
    options = ("--impl", "manual_cell", "--workload", "generate", "--batch-size", "1,2")
    status, out, _ = bench("run", *TINY[:-2], *options)
    [second] = (tmp_path / "results").glob("cosine-quick-*.json")
    assert str(second.relative_to(tmp_path)) in out
    status, out, _ = bench("compare", "a.json", second)
    assert status == 0
    assert "manual_cell" in out
    status, out, _ = bench("compare", "a.json", second, "--json")
    [comparison] = json.loads(out)
    assert {row["implementation"] for row in comparison["accuracy"]} == {
        "torch_rnn",
        "manual_cell",
    }


def test_a_failed_case_shows_and_gives_status_1(bench, register):
    liar = register("detached_feedback")
    options = ("--impl", f"manual_cell,{liar}", "--workload", "generate", "--output", "a.json")
    status, out, err = bench("run", *TINY, *options)
    assert status == 1
    assert "FAIL" in out
    assert f"{liar} on cpu failed: parity: gradient error" in " ".join(out.split())
    assert "failed" in err
    status, out, _ = bench("check", "--impl", f"manual_cell,{liar}", "--hidden-size", 4)
    assert status == 1
    assert "FAIL" in out


def test_check(bench):
    names = ("manual_cell", "torch_rnn", "folded", "onnx_runtime")  # the README's command: all
    options = ("--num-layers", 2, "--dropout", 0.3, "--dtype", "float64")
    status, out, _ = bench("check", *options, "--impl", ",".join(names))
    assert status == 0
    config = GeneratorConfig(num_layers=2, dropout=0.3)
    able = [name for name in names if takes(name, config, torch.float64)]
    assert out.count(" pass ") == len(able) == 2
    assert "folds the feedback of one layer, not of 2" in " ".join(out.split())
    status, out, _ = bench("check", "--impl", "torch_cell", "--json")
    [row] = json.loads(out)
    assert (row["implementation"], row["passed"], row["tolerance"]) == ("torch_cell", True, 1e-5)
    assert 0 < row["output_error"] < 1e-5


def test_what_runs_no_free_steps_is_run_for_what_it_can(bench, monkeypatch):
    entry = Entry("tests.liars.faults:ForcedOnly", "forced steps alone")
    monkeypatch.setitem(REGISTRY, "forced_only", entry)
    options = ("--impl", "manual_cell,forced_only", "--workload", "sequence,generate")
    status, out, err = bench("run", *TINY, *options, "--steps", 30, "--output", "a.json")
    assert status == 0, err
    words = " ".join(out.split())
    assert "forced_only on cpu runs no free steps: forced ones are checked, sequence alone" in words
    _, numbers, _ = bench("show", "a.json", "--json")
    rows = json.loads(numbers)["throughput"]
    timed = {name: set() for name in ("manual_cell", "forced_only")}
    for row in rows:
        timed[row["implementation"]].add(row["workload"])
    assert timed == {"manual_cell": {"sequence", "generate"}, "forced_only": {"sequence"}}
    status, out, _ = bench("check", "--impl", "forced_only", "--hidden-size", 4)
    assert status == 0
    assert "not checked it runs no free steps, and says so" in " ".join(out.split())


def test_list(bench):
    status, out, _ = bench("list", "--json")
    rows = json.loads(out)
    assert status == 0
    assert [row["name"] for row in rows] == list(REGISTRY)
    assert {row["name"] for row in rows if row["devices"]["cpu"] is None} == set(ON_CPU)
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
    with started_in_a_terminal(command, stderr=subprocess.PIPE) as process:
        assert any("training manual_cell" in line for line in iter(process.stderr.readline, ""))
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


def test_the_presets_are_what_the_help_says(bench):
    from bench.config import PRESETS, sampling

    _, out, _ = bench("run", "--help")
    text = " ".join(out.replace("│", " ").split())
    assert "quick (3 x 5), default (5 x 8), rigorous (12 x 10)" in text
    assert sampling("quick", None, None) == PRESETS["quick"]
    assert sampling("rigorous", 2, None).processes == 2
    assert sampling("rigorous", 2, None).rounds == 10


def test_whoever_names_the_rounds_gets_these_and_no_more():
    from bench.config import PRESETS, sampling

    assert sampling("quick", 2, None).seconds == PRESETS["quick"].seconds > 0
    assert sampling("quick", None, 2) == PRESETS["quick"].__class__(3, 2, 0.0)


@pytest.fixture(scope="module")
def cut_short(tmp_path_factory):
    """A run whose timing was cut short after one of two processes."""
    path = tmp_path_factory.mktemp("run") / "r.json"
    options = [str(option) for option in (*TINY, "--output", path)]
    command = [sys.executable, "-m", "bench", "run", "--impl", "manual_cell", *options]
    subprocess.run(command, check=True, capture_output=True)
    data = json.loads(path.read_text())
    for row in (r for holder in (*data["cases"], *data["controls"]) for r in holder["throughput"]):
        row["samples"] = [sample for sample in row["samples"] if sample["process"] == 0]
        row["warm_ups"] = row["warm_ups"][:1]
    for canary in data["canaries"]:
        canary["samples"] = [sample for sample in canary["samples"] if sample["process"] == 0]
    data["processes"] = data["processes"][:1]
    data["cases"][0]["status"] = "pending"
    return json.dumps(data)


def test_resume_goes_on_where_the_file_ends(bench, cut_short, tmp_path):
    (tmp_path / "r.json").write_text(cut_short)
    before = json.loads(cut_short)["cases"][0]
    status, _, err = bench("run", "--resume", "r.json", "--hidden-size", 4)
    assert status == 0, err
    after = json.loads((tmp_path / "r.json").read_text())["cases"][0]
    assert after["status"] == "ok"
    assert after["training"] == before["training"]
    for old, new in zip(before["throughput"], after["throughput"], strict=True):
        assert [(s["process"], s["seconds"]) for s in new["samples"]][:2] == [
            (s["process"], s["seconds"]) for s in old["samples"]
        ]
        assert [s["process"] for s in new["samples"]] == [0, 0, 1, 1]
    # a second time there is nothing left to do
    status, _, _ = bench("run", "--resume", "r.json")
    assert status == 0
    assert json.loads((tmp_path / "r.json").read_text())["cases"][0] == after


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seed", 5), "it was begun with seed 0, not 5"),
        (("--processes", 9), "it was begun with processes 2, not 9"),
        (("--hidden-size", 8), "it was begun with model"),
        (("--preset", "quick", "--processes", 2), "it was begun with rounds 2, not 5"),
        (("--processes", 2, "--rounds", 3), "it was begun with rounds 2, not 3"),
        (("--output", "other.json"), "leave --output out"),
    ],
)
def test_resume_refuses_another_configuration(options, message, bench, cut_short, tmp_path):
    (tmp_path / "r.json").write_text(cut_short)
    status, out, err = bench("run", "--resume", "r.json", *options)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert (tmp_path / "r.json").read_text() == cut_short


@pytest.mark.parametrize(
    ("field", "value"), [("git_commit", "0" * 40), ("cpu", "Another"), ("torch", "1.0")]
)
def test_resume_refuses_another_machine(field, value, bench, cut_short, tmp_path):
    data = json.loads(cut_short)
    data["environment"][field] = value
    text = json.dumps(data)
    (tmp_path / "r.json").write_text(text)
    status, _, err = bench("run", "--resume", "r.json")
    assert (status, err.count("\n")) == (2, 1)
    assert f"the file was made with {field} {value}" in err
    assert (tmp_path / "r.json").read_text() == text


def slowed_down(golden, path, factor):
    """The golden file with steady times, ``factor`` as long."""
    data = json.loads(golden.read_text())
    for row in (row for case in data["cases"] for row in case["throughput"]):
        row["samples"] = [
            {"process": process, "round": 0, "seconds": factor * (1.0 + 0.001 * process)}
            for process in range(5)
        ]
        row["steps_per_second"] = {"estimate": 1.0, "low": None, "high": None}
    data["controls"], data["canaries"] = [], []
    path.write_text(json.dumps(data))
    return path.name


def test_fail_slower_chooses_the_exit_status(bench, golden, tmp_path):
    base = slowed_down(golden, tmp_path / "base.json", 1.0)
    new = slowed_down(golden, tmp_path / "new.json", 1.2)
    assert bench("compare", base, base, "--fail-slower", "5%")[0] == 0
    status, out, err = bench("compare", base, new, "--fail-slower", "5%")
    assert status == 1
    assert "slower" in out
    assert "new.json: generate at batch 1 of torch_rnn on cpu is slower: 0.833x" in err
    assert bench("compare", base, new)[0] == 0
    assert bench("compare", base, new, "--fail-slower", "30%")[0] == 0
    assert bench("compare", new, base, "--fail-slower", "5%")[0] == 0
    status, _, err = bench("compare", base, new, "--fail-slower", "5")
    assert (status, err.count("\n")) == (2, 1)
    data = json.loads((tmp_path / "base.json").read_text())
    data["cases"].pop()
    (tmp_path / "fewer.json").write_text(json.dumps(data))
    status, _, err = bench("compare", base, "fewer.json", "--fail-slower", "5%")
    assert status == 3
    assert "is missing" in err
    data = json.loads((tmp_path / "base.json").read_text())
    for case in data["cases"]:
        errors = case["accuracy"]["mse_per_sequence"]
        case["accuracy"]["mse_per_sequence"] = [5.0 + error for error in errors]
    (tmp_path / "worse.json").write_text(json.dumps(data))
    status, _, err = bench("compare", base, "worse.json", "--fail-slower", "5%")
    assert status == 4
    assert "accuracy of torch_rnn on cpu fell" in err


def test_several_files_are_compared_at_once(bench, golden, tmp_path):
    names = [slowed_down(golden, tmp_path / f"{n}.json", 1.0 + n / 10) for n in range(3)]
    status, out, _ = bench("compare", *names)
    assert status == 0
    assert out.count("Throughput: steps per second") == 2
    assert "new: 1.json" in out
    assert "new: 2.json" in out
    assert len(json.loads(bench("compare", *names, "--json")[1])) == 2
    assert bench("compare", *names, "--markdown")[1].count("**Throughput") == 2


def test_the_schema_is_printed(bench):
    status, out, _ = bench("schema")
    assert status == 0
    assert json.loads(out)["properties"]["cases"]


def test_export(bench, golden, tmp_path):
    status, out, _ = bench("export", golden, "--format", "csv")
    assert status == 0
    assert out.splitlines()[0].startswith("implementation,device,")
    status, out, _ = bench("export", golden, "--format", "pyperf", "--output", "x.json")
    assert (status, out) == (0, "")
    assert json.loads((tmp_path / "x.json").read_text())["benchmarks"]
    for options, message in {
        ("--format", "xml"): "unknown format 'xml'",
        ("--format", "csv", "--output", "x.json"): "x.json exists; choose another name",
        ("--format", "csv", "--output", "no/such.csv"): "cannot write no/such.csv",
    }.items():
        status, _, err = bench("export", golden, *options)
        assert (status, err.count("\n")) == (2, 1)
        assert message in err


def damage(rng, data):
    """One field somewhere removed, of another type, infinite, negative or huge."""
    place, keys = data, []
    while isinstance(place, dict | list) and place:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = rng.choice(keys)
        if not isinstance(place[key], dict | list) or not place[key] or rng.random() < 0.1:
            break
        place = place[key]
    if rng.random() < 0.2:
        del place[key]
    else:
        place[key] = rng.choice(
            [None, "x", -1, 0, 1e300, math.inf, math.nan, [], {}, 10**30, True, "\x1b[31m"]
        )


def damaged(rng, original):
    """The bytes of a result file after an accident."""
    kind = rng.randrange(3)
    if kind == 0:
        return original[: rng.randrange(len(original))]
    if kind == 1:
        found = bytearray(original)
        for _ in range(rng.randint(1, 4)):
            found[rng.randrange(len(found))] = rng.randrange(256)
        return bytes(found)
    data = json.loads(original)
    for _ in range(rng.randint(1, 3)):
        damage(rng, data)
    return json.dumps(data).encode()


@pytest.mark.parametrize("seed", range(10))
def test_a_thousand_damaged_files(seed, bench, golden, tmp_path):
    """A hundred a seed: a table, or one line that names the file; never a traceback."""
    rng, original = random.Random(seed), golden.read_bytes()
    refused = 0
    for _ in range(100):
        (tmp_path / "bad.json").write_bytes(damaged(rng, original))
        for command in (("show", "bad.json", "--no-plots"), ("compare", golden, "bad.json")):
            status, out, err = bench(*command)
            assert status in (0, 2), err
            if status == 2:
                assert (out, err.count("\n")) == ("", 1)
                assert err.startswith("error: ")
                assert "bad.json" in err
                refused += 1
    assert refused > 100


def test_a_file_of_200_megabytes_is_refused_at_once(bench, golden, tmp_path):
    with (tmp_path / "big.json").open("wb") as file:
        file.truncate(200_000_000)
    for command in (("show", "big.json"), ("compare", golden, "big.json")):
        status, _, err = bench(*command)
        assert (status, err.count("\n")) == (2, 1)
        assert "big.json is larger than 100 MB" in err

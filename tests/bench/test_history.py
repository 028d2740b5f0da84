"""The history of a folder of result files: what changed, when, and which commit most likely did."""

import contextlib
import json
import math
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from bench import records, statistics
from bench.history import database, figure, steps
from bench.history.changes import histories
from bench.history.reading import read
from tests.bench.histories import (
    CPUS,
    IMPLEMENTATIONS,
    WORKLOADS,
    Story,
    commit_of,
    planted,
    position,
    template,
    timed,
    write,
)
from tests.bench.seconds import limit, seconds_of_children
from tests.bench.synthetic import Machine, self_test

FILES, NEAR = 10_000, 3
MOST_SECONDS, MOST_BYTES = 30.0, 2_000_000_000
CASE = ("A CPU", "manual_cell", "generate")
# `-c` stands in for `-m bench`, so that the memory of that process alone can be told.
PROBE = """
import resource, sys
from bench.cli import main
try:
    main(sys.argv[1:])
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


@pytest.fixture
def history(bench):
    def command(*options):
        return bench("history", *options)

    return command


def everyone(stories):
    return {
        (cpu, name, workload): stories()
        for cpu in CPUS[:2]
        for name in IMPLEMENTATIONS
        for workload in WORKLOADS
    }


def found_near(expected, found):
    """How many of ``expected`` places have a found one near them, each found one used once."""
    left, hits = list(found), 0
    for place in expected:
        near = [other for other in left if abs(other - place) <= NEAR]
        if near:
            left.remove(min(near, key=lambda other: abs(other - place)))
            hits += 1
    return hits


def test_ten_thousand_files(golden, tmp_path):
    """9 in 10 planted changes of 5 % in noise of 2 %, 1 in 20 of those found false, in seconds."""
    rng = np.random.default_rng(1)
    runs = FILES // 2
    stories = everyone(lambda: Story(planted(rng, runs, 250, 0.05)))
    write(tmp_path, golden, stories, runs=runs, cpus=CPUS[:2])
    arguments = ["history", str(tmp_path), "--machine", "all", "--json"]
    begin = seconds_of_children()
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=False
    )
    seconds = seconds_of_children() - begin
    *complaints, kibibytes = done.stderr.splitlines()
    assert (done.returncode, complaints) == (0, [])
    answer = json.loads(done.stdout)
    assert (answer["results"], len(answer["histories"])) == (FILES, len(stories))
    hits = reported = 0
    for told in answer["histories"]:
        expected = stories[told["machine"][:5], told["implementation"], told["workload"]].changes
        places = [position(change["file"], 2) for change in told["changes"]]
        hits += found_near(expected, places)
        reported += len(places)
    wanted = sum(len(story.changes) for story in stories.values())
    assert hits >= 0.9 * wanted
    assert reported - hits <= 0.05 * reported
    assert seconds < limit(MOST_SECONDS, starts=30.0)
    assert int(kibibytes) * 1024 < MOST_BYTES


def autocorrelated(rng, runs, of=0.5):
    """Noise that remembers half of the run before it; standard deviation 1."""
    noise = rng.normal(size=runs) * math.sqrt(1.0 - of * of)
    for run in range(1, runs):
        noise[run] += of * noise[run - 1]
    return noise


def with_outliers(rng, runs):
    """One run in twenty is late, by half its time or more."""
    return rng.normal(size=runs) + (rng.random(runs) < 0.05) * 25.0 * rng.exponential(size=runs)


@pytest.mark.parametrize(
    ("draw", "most"),
    [(lambda rng, runs: rng.normal(size=runs), 1), (autocorrelated, 3), (with_outliers, 10)],
    ids=["normal", "autocorrelated", "outliers"],
)
def test_where_nothing_changed_next_to_nothing_is_found(draw, most):
    """In 50,000 runs; five in a row of which four are outliers are a level of their own."""
    rng = np.random.default_rng(0)
    fits = [steps.fitted(0.02 * draw(rng, 500)) for _ in range(100)]
    confidence = statistics.corrected(steps.candidates(fits))
    assert sum(len(steps.confirmed(fit, confidence).cuts) for fit in fits) <= most


def test_every_outlier_counts_and_none_is_a_change():
    rng = np.random.default_rng(0)
    logs = 0.02 * rng.normal(size=60)
    logs[[10, 30, 31]] += 1.0
    fit = steps.confirmed(steps.fitted(logs), 0.95)
    assert fit.cuts == ()
    assert fit.levels[0] > np.delete(logs, [10, 30, 31]).mean()


def test_the_plausible_places_hold_the_true_one():
    """Nominally 95 % of the time, whatever the size of the change."""
    rng, held, exact, sizes = np.random.default_rng(0), 0, 0, []
    for _ in range(200):
        place = int(rng.integers(20, 80))
        logs = 0.02 * rng.normal(size=100)
        logs[place:] += 0.05
        fit = steps.confirmed(steps.fitted(logs), 0.95)
        for step in steps.steps(fit, 0.95):
            if abs(step.index - place) < 15:
                held += place in step.weights
                exact += step.index == place
                sizes.append(len(step.weights))
    assert len(sizes) >= 190
    assert held >= 0.9 * len(sizes)
    assert exact >= 0.6 * len(sizes)
    assert np.mean(sizes) < 5.0


def test_the_interval_of_a_change_holds_it():
    rng, held, found = np.random.default_rng(0), 0, 0
    for _ in range(200):
        logs = 0.02 * rng.normal(size=80)
        logs[40:] += 0.05
        for step in steps.steps(steps.confirmed(steps.fitted(logs), 0.95), 0.95):
            held += step.effect.low <= 0.05 <= step.effect.high
            found += 1
    assert held >= 0.9 * found >= 0.9 * 190


def test_a_change_within_the_margin_is_none():
    rng = np.random.default_rng(0)
    logs = 0.002 * rng.normal(size=200)
    logs[100:] += 0.006
    fit = steps.fitted(logs)
    assert fit.cuts == (100,)
    assert steps.confirmed(fit, 0.95).cuts == ()


def test_the_commit_before_and_after_and_how_much_faster(history, golden, tmp_path):
    story = Story({40: math.log(1.10), 80: -math.log(1.25)})
    write(tmp_path, golden, {CASE: story}, runs=120, noise=0.01)
    status, out, err = history(tmp_path, "--json")
    assert (status, err) == (0, "")
    [told] = json.loads(out)["histories"]
    assert list(told) == [
        *("machine", "implementation", "device", "dtype", "model", "workload", "batch_size"),
        *("threads", "steps", "files", "first", "last", "noise", "judged", "levels", "changes"),
    ]
    slower, faster = told["changes"]
    assert (slower["file"], slower["commit"]) == ("000040.json", commit_of(40)[:7])
    assert (slower["before"], slower["latest"]) == (commit_of(39)[:7], commit_of(40)[:7])
    assert (slower["verdict"], faster["verdict"]) == ("slower", "faster")
    assert slower["low"] < 1 / 1.10 < slower["high"]
    assert faster["low"] < 1.25 < faster["high"]
    assert slower["share"] > 0.95
    assert [level["files"] for level in told["levels"]] == [40, 40, 40]
    assert told["levels"][0]["seconds"] == pytest.approx(0.01, rel=0.02)
    assert told["noise"] == pytest.approx(0.01, rel=0.3)
    assert [change["date"] for change in told["changes"]] == ["2024-01-02", "2024-01-04"]
    _, out, _ = history(tmp_path)
    assert f"{commit_of(39)[:7]}..{commit_of(40)[:7]}" in out
    assert "Changes: A CPU" in out


def test_runs_of_one_commit_share_the_blame(history, golden, tmp_path):
    write(
        tmp_path, golden, {CASE: Story({45: 0.2})}, runs=90, commit=lambda run: commit_of(run // 9)
    )
    [change] = json.loads(history(tmp_path, "--json")[1])["histories"][0]["changes"]
    assert (change["commit"], change["before"]) == (commit_of(5)[:7], commit_of(4)[:7])
    assert not change["same_commit"]
    assert change["share"] > 0.95


def test_what_no_commit_did_is_said_so(history, golden, tmp_path):
    write(tmp_path, golden, {CASE: Story({45: 0.2})}, runs=90, commit=lambda _: commit_of(0),
          software=lambda run: {"torch": "2.12.0" if run < 45 else "2.13.0"})  # fmt: skip
    [change] = json.loads(history(tmp_path, "--json")[1])["histories"][0]["changes"]
    assert (change["commit"], change["same_commit"]) == (None, True)
    assert change["software"] == ["torch 2.12.0 -> 2.13.0"]
    out = " ".join(history(tmp_path)[1].split())
    assert "(1) the same commit before and after it: the machine did it, or its software" in out
    assert "torch 2.12.0 -> 2.13.0" in out


def test_files_without_a_commit_have_a_history_too(history, golden, tmp_path):
    write(tmp_path, golden, {CASE: Story({45: 0.2})}, runs=90, commit=lambda _: None)
    [change] = json.loads(history(tmp_path, "--json")[1])["histories"][0]["changes"]
    assert (change["file"], change["commit"], change["same_commit"]) == ("000045.json", None, False)
    assert history(tmp_path)[0] == 0


def test_machines_are_kept_apart(history, golden, tmp_path):
    stories = {CASE: Story(), ("B CPU", *CASE[1:]): Story(seconds=0.03)}
    write(tmp_path, golden, stories, runs=40, cpus=CPUS[:2])
    found = json.loads(history(tmp_path, "--json", "--machine", "all")[1])["histories"]
    assert [(told["machine"], told["files"], told["changes"]) for told in found] == [
        ("A CPU (2 cores)", 40, []),
        ("B CPU (2 cores)", 40, []),
    ]
    _, out, _ = history(tmp_path)  # the newest file's
    assert "History: B CPU" in out
    assert "History: A CPU" not in out
    assert "A CPU (2 cores)" in out  # as one that was left out
    assert "History: A CPU" in history(tmp_path, "--machine", "a cpu")[1]


def test_cases_are_kept_apart(history, golden, tmp_path):
    cases = [("A CPU", name, workload) for name in IMPLEMENTATIONS for workload in WORKLOADS]
    stories = {case: Story(seconds=seconds) for seconds, case in enumerate(cases, 1)}
    write(tmp_path, golden, stories, runs=12)
    options = {
        (): 4,
        ("--impl", "torch_rnn"): 2,
        ("--workload", "generate"): 2,
        ("--impl", "torch_rnn,manual_cell", "--workload", "train_step"): 2,
    }
    for chosen, cases in options.items():
        found = json.loads(history(tmp_path, "--json", *chosen)[1])["histories"]
        assert len(found) == cases
        for told in found:
            expected = stories["A CPU", told["implementation"], told["workload"]].seconds
            assert told["levels"][0]["seconds"] == pytest.approx(expected, rel=0.03)


def test_only_files_since_a_day(history, golden, tmp_path):
    write(tmp_path, golden, {CASE: Story()}, runs=48)  # two days
    [told] = json.loads(history(tmp_path, "--json", "--since", "2024-01-02")[1])["histories"]
    assert (told["files"], told["first"]) == (24, "2024-01-02")


def test_files_of_every_schema_tell_what_bench_tells(golden, tmp_path):
    goldens = sorted(golden.parent.glob("result-*.json"))
    assert len(goldens) == 5
    for file in goldens:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    collection = read(tmp_path)
    assert (collection.results, collection.left_out) == (5, ())
    points = {
        (run.file, each.key.implementation, each.key.workload, each.key.batch_size): (each, log)
        for each in collection.series
        for run, log in zip(each.runs, each.logs, strict=True)
    }
    for file in goldens:
        result = records.load(file)
        for case in result.cases:
            for row in case.throughput:
                key = (file.name, case.implementation, row.workload, row.batch_size)
                each, log = points.pop(key)
                expected = statistics.mean(list(statistics.by_process(row.samples).values())).mean
                assert log == pytest.approx(expected, abs=1e-12)
                assert each.key.model == case.model
                assert (each.key.threads, each.key.steps) == (row.threads, row.steps)
                assert each.machine.name == result.environment.cpu
                assert each.machine.caches == tuple(sorted(result.environment.caches.items()))
    assert points == {}


def test_a_gpu_is_a_machine_of_its_own_in_every_schema(golden, golden_1, tmp_path):
    for file, gpu in ((golden, [{"name": "A GPU"}]), (golden_1, ["A GPU"])):
        result = json.loads(file.read_text())
        result["environment"]["gpu"] = gpu
        for case in result["cases"]:
            case["device"] = "cuda"
        (tmp_path / file.name).write_text(json.dumps(result))
    machines = {each.machine for each in read(tmp_path).series}
    assert [(machine.name, machine.device) for machine in machines] == [("A GPU", "cuda")]


def damaged(result):
    """Name -> content of files that are none, or no sound ones; and what is said of each."""
    whole = json.dumps(result)
    broken = json.loads(whole)
    sample = broken["cases"][0]["throughput"][0]["samples"][0]

    def with_seconds(text):
        sample["seconds"] = "HERE"
        return json.dumps(broken).replace('"HERE"', text)

    return {
        "empty": ("", "is empty"),
        "blank": (" \n\n ", "is empty"),
        "cut": (whole[: len(whole) // 2], "is not JSON, or was cut short"),
        "no-text": (b"\xff\xfe\x00{", "not text in UTF-8"),
        "invalid-text": (
            whole.replace("AMD EPYC", "A \udcff").encode(errors="surrogateescape"),
            "UTF-8",
        ),
        "array": (f"[{whole}]", "is not a result file"),
        "twice": (whole + whole, "is not JSON"),
        "foreign": ('{"name": "package", "version": 3}', "it has no schema_version"),
        "newer": (json.dumps(result | {"schema_version": 99}), "newer than"),
        "words": (json.dumps(result | {"cases": "none"}), "cases"),
        "case-of-numbers": (json.dumps(result | {"cases": [1, 2]}), "cases.0"),
        "huge-version": (json.dumps(result | {"schema_version": 10**400}), "newer than"),
        "no-date": (json.dumps(result | {"created_at": "yesterday"}), "created_at"),
        "no-machine": (json.dumps(result | {"environment": None}), "environment"),
        "deep": ("[" * 100_000, "JSON"),
        "zero": (with_seconds("0.0"), "seconds"),
        "negative": (with_seconds("-1.0"), "seconds"),
        "nan": (with_seconds("NaN"), "seconds"),
        "infinite": (with_seconds("1e999"), "seconds"),
        "no-seconds": (with_seconds("null"), "seconds"),
        "seconds-in-words": (with_seconds('"soon"'), "seconds"),
    }


def test_damaged_files_cost_no_other(history, golden, tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    write(folder, golden, {CASE: Story({30: 0.2})}, runs=60, noise=0.01)
    result = timed(template(golden, [CASE[1:]]), [math.log(0.01)])
    expected = {}
    for name, (content, reason) in damaged(result).items():
        file = folder / f"{name}.json"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        expected[name] = reason
    (folder / "folder.json").mkdir()
    os.mkfifo(folder / "pipe.json")
    (folder / "nowhere.json").symlink_to(tmp_path / "nothing")
    expected |= {
        "folder": "no regular file",
        "pipe": "no regular file",
        "nowhere": "no result file",
    }
    # Other kinds are no trouble.
    records.save(self_test(Machine(0), 2, 2, 1.05), folder / "selftest.json")
    (folder / "study.json").write_text('{"kind": "study", "cases": 5, "config": []}')
    (folder / "notes.txt").write_text("none")
    status, out, err = history(folder, "--json")
    answer = json.loads(out)
    assert (status, answer["results"], answer["other_kinds"]) == (0, 60, 2)
    assert [change["file"] for change in answer["histories"][0]["changes"]] == ["000030.json"]
    lines = {line.split("/")[-1].split(".json")[0]: line for line in answer["left_out"]}
    assert lines.keys() == expected.keys()
    for name, reason in expected.items():
        assert reason in lines[name], lines[name]
        assert lines[name].startswith("left out: ")
        assert "Traceback" not in lines[name]
    assert len(err.splitlines()) == len(expected)


def test_many_damaged_files_take_no_longer_than_they_must(golden, tmp_path):
    write(tmp_path, golden, {CASE: Story()}, runs=400)
    files = sorted(tmp_path.glob("*.json"))
    for file in files[::4]:
        file.write_bytes(file.read_bytes()[:-300])
    begin = time.process_time()
    collection = read(tmp_path)
    assert time.process_time() - begin < limit(3.0, starts=6.0)
    assert (collection.results, len(collection.left_out)) == (300, 100)


def test_what_duckdb_says_without_a_name_is_searched_for(golden, tmp_path, monkeypatch):
    """An error that names no file, or one that a file's own content made up, blames no innocent."""
    import duckdb

    write(tmp_path, golden, {CASE: Story()}, runs=50)
    ask = database.Database.answers

    def answers(self, paths, largest, *, doubtful):
        if any(path.endswith("/7.json") for path in paths):
            raise duckdb.OutOfMemoryException("out of memory at /elsewhere/3.json")
        return ask(self, paths, largest, doubtful=doubtful)

    monkeypatch.setattr(database.Database, "answers", answers)
    collection = read(tmp_path)
    assert collection.results == 49
    assert [line.partition(".json")[0][-6:] for line in collection.left_out] == ["000007"]


def test_ctrl_c_is_no_damage(golden, tmp_path, monkeypatch):
    import duckdb

    def answers(self, paths, largest, *, doubtful):
        raise duckdb.InterruptException("interrupted")

    write(tmp_path, golden, {CASE: Story()}, runs=2)
    monkeypatch.setattr(database.Database, "answers", answers)
    with pytest.raises(KeyboardInterrupt):
        read(tmp_path)


HOSTILE = (
    "a[1]", "a1", "[0-9]", "5", "*", "?", "it's", 'say "so"', "new\nline", "tab\tbed",
    "back\\slash", "{a,b}", "s3:bucket", "%41", "$HOME", "~", "a=b", "-rf", "; DROP TABLE file",
    "ünïcödé", " ",
)  # fmt: skip


def test_names_are_names_whatever_they_hold(history, golden, tmp_path):
    folder = tmp_path / 'it\'s [a] "folder"\n*?{x}=1'
    folder.mkdir()
    write(tmp_path, golden, {CASE: Story()}, runs=len(HOSTILE))
    for name, file in zip(HOSTILE, sorted(tmp_path.glob("*.json")), strict=True):
        file.rename(folder / f"{name}.json")
    [series] = read(folder).series
    assert [run.file for run in series.runs] == [f"{name}.json" for name in HOSTILE]
    (folder / "cut\x1b[31m.json").write_text("{")
    status, _, err = history(folder)
    assert status == 0
    assert "\x1b" not in err
    assert len(err.splitlines()) == 1


def test_a_link_is_followed(golden, tmp_path):
    folder, elsewhere = tmp_path / "results", tmp_path / "elsewhere"
    folder.mkdir(), elsewhere.mkdir()
    write(elsewhere, golden, {CASE: Story()}, runs=1)
    (folder / "latest.json").symlink_to(elsewhere / "000000.json")
    assert [run.file for each in read(folder).series for run in each.runs] == ["latest.json"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_no_text_is_left_out(history, golden, tmp_path):
    write(tmp_path, golden, {CASE: Story()}, runs=1)
    with contextlib.suppress(OSError):
        os.rename(tmp_path / "000000.json", os.fsencode(tmp_path) + b"/\xff.json")
    write(tmp_path, golden, {CASE: Story()}, runs=3)
    status, out, err = history(tmp_path, "--json")
    assert (status, json.loads(out)["results"], len(err.splitlines())) == (0, 3, 1)


def test_duckdb_reaches_neither_other_folders_nor_the_network(tmp_path):
    import duckdb

    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir(), outside.mkdir()
    for folder in (inside, outside):
        (folder / "a.txt").write_text("text")
    ours = database.Database([str(inside)])
    read_text = "SELECT content FROM read_text('{}/a.txt')"
    assert ours.rows(read_text.format(inside)) == [("text",)]
    for query in (
        read_text.format(outside),
        "SELECT * FROM read_json('https://127.0.0.1:9/a.json')",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET autoinstall_known_extensions = true",
        f"COPY (SELECT 1) TO '{outside}/b.csv'",
    ):
        with pytest.raises(duckdb.Error) as refused:
            ours.rows(query)
        assert (
            "127.0.0.1:9" not in str(refused.value) or "connect" not in str(refused.value).lower()
        )
    assert not (outside / "b.csv").exists()


def test_names_in_a_file_are_no_markup(history, golden, tmp_path):
    hostile = "[red]<b>|$\\frac{\x1b[31m"
    write(tmp_path, golden, {(hostile, *CASE[1:]): Story({20: 0.2})}, runs=40, cpus=(hostile,),
          commit=lambda run: f"$\\x_{run}\x1b[31m")  # fmt: skip
    status, out, err = history(tmp_path, "--output", tmp_path / "plot.svg")
    assert (status, err) == (0, "")
    assert "[red]<b>|" in out
    assert "\x1b" not in out
    assert (tmp_path / "plot.svg").stat().st_size > 1000


def test_a_table_says_what_was_left_out(history, golden, tmp_path):
    write(tmp_path, golden, {CASE: Story()}, runs=12)
    (tmp_path / "cut.json").write_text("{")
    status, out, _ = history(tmp_path, "--markdown")
    assert status == 0
    assert "12 result files of" in out
    assert "1 others are damaged or no results" in out
    assert "No case has surely changed its level" in out


def test_a_few_files_are_shown_and_not_judged(history, golden, tmp_path):
    write(tmp_path, golden, {CASE: Story({2: 1.0})}, runs=4)
    [told] = json.loads(history(tmp_path, "--json")[1])["histories"]
    assert (told["files"], told["judged"], told["changes"]) == (4, False, [])
    status, out, _ = history(tmp_path, "--output", tmp_path / "plot.png")
    assert status == 0
    assert "too few" in out
    write(tmp_path, golden, {CASE: Story()}, runs=1)
    assert history(tmp_path)[0] == 0


def test_the_picture_shows_every_change(golden, tmp_path):
    stories = {
        CASE: Story({60: 0.1, 120: -0.15}),
        ("A CPU", "torch_rnn", "generate"): Story(seconds=0.02),
    }
    write(tmp_path, golden, stories, runs=200)
    drawn = figure.draw(histories(read(tmp_path).series))
    panels = drawn.axes
    assert [panel.get_title(loc="left").split(",")[0] for panel in panels] == [
        "manual_cell",
        "torch_rnn",
    ]
    labels = [text.get_text() for panel in panels for text in panel.texts]
    assert [label.split()[0] for label in labels] == [commit_of(60)[:7], commit_of(120)[:7]]
    dots = panels[0].lines[0].get_ydata()
    assert len(dots) == 200


def test_the_picture_is_written_whole_and_the_same_every_time(history, golden, tmp_path):
    write(tmp_path, golden, {CASE: Story({30: 0.1})}, runs=60)
    pictures = [tmp_path / name for name in ("a.svg", "b.svg", "c.png")]
    for picture in pictures:
        assert history(tmp_path, "--output", picture)[0] == 0
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    assert pictures[2].read_bytes().startswith(b"\x89PNG")
    status, _, err = history(tmp_path, "--output", pictures[0])
    assert (status, "exists" in err) == (2, True)
    assert history(tmp_path, "--output", pictures[0], "--overwrite")[0] == 0


def test_a_picture_of_many_cases_says_which_it_shows(history, golden, tmp_path):
    names = [f"cell_{number}" for number in range(10)]
    stories = {("A CPU", name, "generate"): Story({30: 0.1} if name == "cell_9" else {})
               for name in names}  # fmt: skip
    write(tmp_path, golden, stories, runs=60)
    picture = tmp_path / "plot.svg"
    _, _, err = history(tmp_path, "--output", picture)
    assert "shows 8 of 10 cases, those that changed most" in " ".join(err.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("nowhere",), "there is no folder nowhere"),
        (("empty",), "empty holds no result file"),
        (("--since", "tomorrow"), "--since must be a day such as 2026-01-31, got 'tomorrow'"),
        (("--since", "2024-02-31"), "--since must be a day"),
        (("--since", "2030-01-01"), "has timed anything since 2030-01-01"),
        (("--impl", "manual_sell"), "did you mean 'manual_cell'?"),
        (("--workload", "generated"), "did you mean 'generate'?"),
        (("--machine", "Cray"), "unknown machine 'Cray'"),
        (("--output", "plot.txt"), "--output must end in .png or .svg"),
        (("--output", "no/plot.png"), "there is no folder no"),
    ],
)
def test_bad_input_is_told_in_one_line(history, golden, tmp_path, options, message):
    folder = tmp_path / "results"
    folder.mkdir(), (tmp_path / "empty").mkdir()
    write(folder, golden, {CASE: Story()}, runs=2)
    arguments = options if options[0] in ("nowhere", "empty") else (folder, *options)
    status, out, err = history(*arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_a_missing_package_is_told_with_the_command_that_installs_it(history, monkeypatch):
    monkeypatch.setattr("impls.packages._is_there", lambda name: name != "duckdb")
    status, out, err = history(".")
    assert (status, out) == (2, "")
    assert "bench history needs duckdb, which is not installed: pip install" in err
    assert "[history]" in err


def test_nothing_is_left_behind(history, golden, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    folder = tmp_path / "results"
    folder.mkdir()
    write(folder, golden, {CASE: Story()}, runs=3)
    before = sorted(tmp_path.rglob("*"))
    assert history(folder)[0] == 0
    assert sorted(tmp_path.rglob("*")) == before

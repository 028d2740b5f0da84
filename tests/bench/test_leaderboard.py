"""The leaderboard: the fastest of every place, each line from one file, machines apart."""

import json

import pytest

from bench import leaderboard
from bench.cli import main
from bench.records import save
from bench.schema import Gpu
from tests.bench.synthetic import Machine as Drawn
from tests.bench.synthetic import self_test, steady, timed


def faster(name, size, batch, process):
    """As steady, but torch_cell won at batch 8."""
    return steady(name, size, batch, process) * (0.1 if (name, batch) == ("torch_cell", 8) else 1.0)


def elsewhere(result, **changes):
    return result.model_copy(update={"environment": result.environment.model_copy(update=changes)})


@pytest.fixture
def bench(capsys):
    def command(*options):
        with pytest.raises(SystemExit) as end:
            main(["leaderboard", *map(str, options)])
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return command


def test_of_several_files_the_fastest_time_of_each_place(golden):
    results = {"a.json": timed(golden, steady), "b.json": timed(golden, faster, sizes=(64,))}
    found = leaderboard.leaders(results, 64)
    assert [(each.row.batch_size, each.row.implementation, each.row.second) for each in found] == [
        (1, "manual_cell", "torch_cell"),
        (8, "torch_cell", "manual_cell"),
        (64, "manual_cell", "torch_cell"),
        (512, "manual_cell", "torch_cell"),
    ]
    assert found[1].file == "b.json"
    assert {each.row.hidden_size for each in leaderboard.leaders(results, None)} == {16, 64, 256}


def test_who_was_timed_alone_has_won_nothing(golden):
    many = timed(golden, steady, sizes=(64,))
    alone = timed(golden, lambda *key: steady(*key) * 0.5, sizes=(64, 16))
    alone = alone.model_copy(update={"cases": (alone.cases[0], alone.cases[3])})
    for results in ({"a": many, "b": alone}, {"b": alone, "a": many}):
        found = leaderboard.leaders(results, None)
        assert {(each.file, each.row.hidden_size) for each in found} == {("a", 64)}


def test_machines_of_one_name_are_told_apart_by_their_caches(golden):
    here = timed(golden, steady, sizes=(64,), batches=(1,))
    there = elsewhere(here, caches={"L1d": 1024, "L2": 524288})
    found = leaderboard.leaders({"a": here, "b": there}, 64)
    assert [table.title for table in leaderboard.tables(found)] == [
        "Leaderboard: AMD EPYC (2 cores, L2 512 KiB), H=64 L=2 tanh float32",
        "Leaderboard: AMD EPYC (2 cores, L2 1.00 MiB, L3 32.0 MiB), H=64 L=2 tanh float32",
    ]
    [alone] = leaderboard.tables(leaderboard.leaders({"a": here}, 64))
    assert alone.title == "Leaderboard: AMD EPYC (2 cores), H=64 L=2 tanh float32"


def test_a_gpu_is_a_machine_of_its_own(golden):
    card = Gpu(name="A GPU")
    result = elsewhere(timed(golden, steady, sizes=(64,), batches=(1,)), gpu=(card,))
    slow, slower, fast = result.cases
    on_gpu = [case.model_copy(update={"device": "cuda"}) for case in (slow, fast)]
    result = result.model_copy(update={"cases": (slow, slower, *on_gpu)})
    found = leaderboard.leaders({"a": result}, None)
    assert [(each.machine.device, each.row.implementation, each.row.second) for each in found] == [
        ("cpu", "torch_cell", "torch_rnn"),
        ("cuda", "manual_cell", "torch_rnn"),
    ]
    titles = [table.title for table in leaderboard.tables(found)]
    assert [title.split(", ")[0] for title in titles] == [
        "Leaderboard: AMD EPYC (2 cores)",
        "Leaderboard: A GPU",
    ]


def test_other_dtypes_and_models_have_places_of_their_own(golden):
    single = timed(golden, steady, sizes=(64,), batches=(1,))
    config = single.config.model_copy(update={"dtype": "float64"})
    double = single.model_copy(update={"config": config})
    found = leaderboard.leaders({"a": single, "b": double}, 64)
    [table] = leaderboard.tables(found)
    models = [row[table.columns.index("model")] for section in table.sections for row in section]
    assert models == ["H=64 L=2 tanh float32", "H=64 L=2 tanh float64"]


def test_a_folder_with_other_and_damaged_files(bench, golden, tmp_path):
    save(timed(golden, steady), tmp_path / "good.json")
    save(self_test(Drawn(0), 2, 2, 1.05), tmp_path / "selftest.json")
    (tmp_path / "cut.json").write_text((tmp_path / "good.json").read_text()[:500])
    (tmp_path / "notes.txt").write_text("none")
    status, out, err = bench(tmp_path, "--hidden-size", "64", "--json")
    assert status == 0
    assert [line.partition(":")[0] for line in err.splitlines()] == ["left out"]
    assert "cut.json is not JSON, or was cut short" in err
    found = json.loads(out)
    assert [each["row"]["implementation"] for each in found] == ["manual_cell"] * 4
    assert {each["file"] for each in found} == {"good.json"}
    status, out, _ = bench(tmp_path / "good.json", "--hidden-size", "all", "--markdown")
    assert (status, out.count("| manual\\_cell |")) == (0, 12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("nowhere",), "nowhere"),
        (("--hidden-size", "0"), "--hidden-size must be a whole number from 1 or all, got '0'"),
        (
            ("--hidden-size", "7"),
            "no result file has two implementations or more timed at hidden size 7",
        ),
    ],
)
def test_bad_input_is_told_in_one_line(bench, golden, tmp_path, options, message):
    save(timed(golden, steady), tmp_path / "good.json")
    paths = () if options[0] == "nowhere" else (tmp_path,)
    status, out, err = bench(*paths, *options)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_a_name_in_a_file_is_no_markup(bench, golden, tmp_path):
    result = elsewhere(timed(golden, steady, sizes=(128,)), cpu="[red]<b>|\x1b[31m")
    save(result, tmp_path / "good.json")
    _, out, _ = bench(tmp_path)
    assert "[red]<b>|" in out
    assert "\x1b" not in out

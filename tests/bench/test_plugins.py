"""Implementations of other packages: by their entry points, or as package.module:Class."""

import importlib
import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import impls
from bench import cases, environment, plugins, runner
from bench.cli import main
from bench.config import RunConfig
from bench.errors import BenchError
from bench.progress import Silent
from bench.remote import Inline
from impls import REGISTRY, Entry, GeneratorConfig

ROOT = Path(__file__).parents[2]
CELLS = """
from impls.manual_cell import ManualCell

class Fast(ManualCell):
    pass

class Outer:
    class Inner(ManualCell):
        pass

class Abstract:
    pass

def function(config):
    return ManualCell(config)
"""
TINY = (
    "--hidden-size", "4", "--iterations", "2", "--processes", "1", "--rounds", "1",
    "--batch-size", "1", "--workload", "train_step", "--recipe", "lab",
)  # fmt: skip


def install(folder, name, version, points):
    """What pip leaves behind of a package: its metadata and its entry points."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = "".join(f"{key} = {value}\n" for key, value in points)
    (info / "entry_points.txt").write_text(f"[{plugins.GROUP}]\n{lines}")


@pytest.fixture
def plugged(monkeypatch):
    """Have plugins looked for, here and in processes that are started."""
    monkeypatch.delenv(plugins.SWITCH)


@pytest.fixture
def site(tmp_path, monkeypatch, plugged):
    """A folder on the path, with the module my_cells; gives a function that installs there.

    In this process no other folder is looked into: what is installed here is not to be tested.
    """
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "my_cells.py").write_text(CELLS)
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()

    def entry_points(**chosen):
        here = [each.entry_points for each in metadata.distributions(path=[str(folder)])]
        return metadata.EntryPoints(point for points in here for point in points).select(**chosen)

    monkeypatch.setattr(plugins.metadata, "entry_points", entry_points)
    yield lambda name, version, *points: install(folder, name, version, points)
    sys.modules.pop("my_cells", None)


@pytest.fixture
def bench(capsys, monkeypatch, tmp_path):
    """Run a command in an empty folder of this process; (status, standard output, error)."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", list(sys.path))

    def command(*arguments):
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return command


def test_a_plugin_is_listed_run_and_run_on(site, tmp_path):
    """As a user does it: other processes, the package on their path."""
    site("my-kernels", "0.3", ("fast", "my_cells:Fast"), ("broken", "my_cells:Slow"))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(ROOT)])}

    def command(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "bench", *arguments],
            capture_output=True, text=True, cwd=tmp_path, env=environment, check=False,
        )  # fmt: skip

    listed = command("list")
    assert re.search(r"^ *fast +yes .* plugin: my-kernels 0\.3 *$", listed.stdout, re.MULTILINE)
    done = command("run", "--impl", "fast,manual_cell", *TINY, "--output", "r.json")
    assert done.returncode == 0, done.stderr
    cases = json.loads((tmp_path / "r.json").read_text())["cases"]
    assert [(case["implementation"], case["status"]) for case in cases] == [
        ("fast", "ok"), ("manual_cell", "ok"),
    ]  # fmt: skip
    again = command("run", "--resume", "r.json", "--no-such-option")
    assert again.returncode == 2
    again = command("run", "--resume", "r.json")
    assert again.returncode == 0, again.stderr
    environment["PYTHONPATH"] = str(ROOT)
    gone = command("run", "--resume", "r.json")
    assert gone.returncode == 2
    assert gone.stderr.count("\n") == 1
    assert "--resume r.json: it times fast; unknown implementation 'fast'" in gone.stderr
    assert "install the package that brings it, or begin a new run" in gone.stderr


def test_a_class_of_the_current_folder_and_a_plugin(site, tmp_path):
    """Mixed with names, and also where the program is not started by `python -m`."""
    site("my-kernels", "0.3", ("fast", "my_cells:Fast"))
    (tmp_path / "mine.py").write_text(CELLS)
    program = "from bench.cli import main; import sys; sys.path.remove(''); main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", program, "check", "--impl",
         "mine:Fast, torch_rnn,mine:Outer.Inner,fast", "--hidden-size", "4", "--json"],
        capture_output=True, text=True, cwd=tmp_path, check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(ROOT)])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    names = [row["implementation"] for row in rows]
    assert names == ["mine:Fast", "torch_rnn", "mine:Outer.Inner", "fast"]
    assert {each["verdict"] for row in rows for each in row["findings"]} == {"ok"}


def test_a_plugin_joins_all_and_nothing_of_it_is_imported(site, bench):
    site("my-kernels", "0.3", ("fast", "my_cells:Fast [gpu]"))
    _, out, _ = bench("list", "--json")
    row = json.loads(out)[-1]
    assert row["name"] == "fast"
    assert row["summary"] == "plugin: my-kernels 0.3"
    assert row["origin"] == "my-kernels 0.3"
    assert row["devices"]["cpu"] is None
    assert "my_cells" not in sys.modules
    assert "fast" not in REGISTRY  # as it was, for whoever comes next in this process
    found = plugins.discover()
    with impls.registered(found.entries):
        assert plugins.register("all", found, ["cpu", "cuda"]) == (*REGISTRY,)
        assert REGISTRY["fast"] == Entry(
            "my_cells:Fast", "plugin: my-kernels 0.3", origin="my-kernels 0.3"
        )
        assert plugins.register("fast,all", found, ["cpu"])[0] == "fast"


@pytest.mark.parametrize(
    ("devices", "there", "not_there"),
    [
        (["cpu"], {"torch_rnn", "fused_cpu", "onnx_runtime"}, {"fused_cuda", "cuda_graph"}),
        (["cuda:1"], {"torch_rnn", "fused_cuda", "cuda_graph"}, {"fused_cpu", "onnx_runtime"}),
        (["cpu", "cuda"], {"fused_cpu", "fused_cuda"}, set()),
    ],
)
def test_all_is_what_is_written_for_one_of_the_devices(devices, there, not_there):
    found = plugins.register("all", plugins.Plugins(), devices)
    assert there <= set(found)
    assert not_there.isdisjoint(found)
    # Whoever is named gets a row that says why not.
    assert plugins.register("all,fused_cuda", plugins.Plugins(), ["cpu"])[-1] == "fused_cuda"


# name and target of an entry point -> what is wrong with it, and what would be right.
BROKEN = {
    "a built-in's name": (("torch_rnn", "my_cells:Fast"), "taken by rnn-bench itself; it must be"),
    "all": (("all", "my_cells:Fast"), "the name is taken by rnn-bench itself"),
    "no name": (("fast cell", "my_cells:Fast"), "'fast cell' is no name for a result file; it mus"),
    "too long": (("f" * 101, "my_cells:Fast"), "it must be at most 100 letters, digits and .:_-"),
    "no class": (("fast", "my_cells"), "its target is my_cells; it must be package.module:Class"),
    "no module": (("fast", "no_such:Fast"), "no_such:Fast, but there is no module no_such"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_plugin_is_listed_with_its_reason_and_left_out(broken, site, bench):
    point, reason = BROKEN[broken]
    site("my-kernels", "0.3", point, ("good", "my_cells:Fast"))
    status, out, _ = bench("list", "--json")
    assert status == 0
    rows = [row for row in json.loads(out) if row["origin"]]
    good, bad = rows
    assert (good["name"], good["devices"]["cpu"]) == ("good", None)
    assert reason in bad["devices"]["cpu"]
    assert f"plugin {point[0]} of my-kernels 0.3: " in bad["devices"]["cpu"]
    status, out, _ = bench("list")
    assert status == 0
    found = plugins.discover()
    with impls.registered(found.entries):
        assert plugins.register("all", found, ["cpu", "cuda"]) == (*REGISTRY,)
    if point[0] not in (*REGISTRY, "all"):
        status, out, err = bench("check", "--impl", point[0])
        assert (status, out) == (2, "")
        assert reason in err
        assert err.count("\n") == 1


def test_two_plugins_of_one_name_name_each_other(site):
    site("my-kernels", "0.3", ("fast", "my_cells:Fast"))
    site("other-kernels", "1.0", ("fast", "my_cells:Fast"))
    found = plugins.discover()
    assert found.entries == {}
    assert [each.reason for each in found.broken] == [
        "plugin fast of my-kernels 0.3: the name is given by other-kernels 1.0 too; each must "
        "have its own",
        "plugin fast of other-kernels 1.0: the name is given by my-kernels 0.3 too; each must "
        "have its own",
    ]


def test_the_switch_keeps_plugins_out(site, monkeypatch):
    site("my-kernels", "0.3", ("fast", "my_cells:Fast"), ("broken", "no_such:Fast"))
    found = plugins.discover()
    assert (len(found.entries), len(found.broken)) == (1, 1)
    monkeypatch.setenv(plugins.SWITCH, "")
    assert plugins.discover() == found
    monkeypatch.setenv(plugins.SWITCH, "1")
    assert plugins.discover() == plugins.Plugins()


def test_malformed_entry_points_of_some_package_break_nothing(monkeypatch, bench, plugged):
    def malformed(**_):
        raise TypeError("no equals sign")

    monkeypatch.setattr(plugins.metadata, "entry_points", malformed)
    status, out, _ = bench("list", "--json")
    assert status == 0
    assert "cannot be read: TypeError: no equals sign" in json.loads(out)[-1]["devices"]["cpu"]


def test_what_all_leaves_out_is_told(site, bench, monkeypatch):
    site("my-kernels", "0.3", ("fast", "no_such:Fast"))
    monkeypatch.setattr("bench.runner.Run.check", lambda _: runner.Checked((), {}))
    monkeypatch.setattr("bench.runner.Run.__init__", lambda *_, **__: None)
    status, _, err = bench("check")
    assert status == 0
    assert err == (
        "left out: plugin fast of my-kernels 0.3: its target is no_such:Fast, but there is no "
        "module no_such\n"
    )
    _, _, err = bench("check", "--impl", "torch_rnn")
    assert err == ""


# --impl -> what the one line says.
BAD_TARGETS = {
    "no_such.cells:Fast": "there is no module no_such in the current folder or among the installed",
    "my_cells:": "--impl must name a class as package.module:Class, got 'my_cells:'",
    "my cells:Fast": "--impl must name a class as package.module:Class, got 'my cells:Fast'",
    "my_cells.Fast": "a class of your own is package.module:Class",
    "my_cells:Fäst": "a result file takes at most 100 letters, digits and .:_- of ASCII",
    "my_cells:Fast,": "--impl must be all or a comma list such as",
}


@pytest.mark.parametrize("target", BAD_TARGETS)
def test_a_target_that_cannot_be_gives_one_line(target, site, bench):
    status, out, err = bench("check", "--impl", target)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert BAD_TARGETS[target] in err


# Target -> what only an import shows.
NO_IMPLEMENTATION = {
    "my_cells:Slow": "the module my_cells has no Slow; it must be a subclass of impls.generator.Ge",
    "my_cells.deep:Fast": "there is no module my_cells.deep in the current folder",
    "my_cells:function": "my_cells:function is a function, not a class; it must be a subclass",
    "my_cells:Abstract": "my_cells:Abstract is not a Generator; it must be a subclass of impls.gen",
    "typo:Fast": "importing typo raised SyntaxError: ",
    "old:Fast": "importing old raised ImportError: cannot import name 'Genrator'",
}


def run_of(target, named):
    """The run of a target on the command line or of a plugin, in this process."""
    name, origin = (target, impls.COMMAND_LINE) if named else ("fast", "my-kernels 0.3")
    config = RunConfig(implementations=(name,), model=GeneratorConfig(hidden_size=4))
    entries = {name: Entry(target, "", origin=origin)}
    names = {name} if named else set()
    return runner.Run(config, None, Silent(), start=Inline, entries=entries, named=names)


@pytest.fixture
def broken_modules(site, tmp_path):
    (tmp_path / "site" / "typo.py").write_text("def (")
    (tmp_path / "site" / "old.py").write_text("from impls.generator import Genrator")
    (tmp_path / "site" / "lacking.py").write_text("import no_such_package.kernels")


@pytest.mark.parametrize("target", NO_IMPLEMENTATION)
def test_what_is_no_implementation_is_bad_input_where_it_is_named(target, broken_modules):
    with pytest.raises(BenchError) as caught:
        run_of(target, named=True)
    assert str(caught.value).startswith(f"--impl {target}: ")
    assert NO_IMPLEMENTATION[target] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("target", NO_IMPLEMENTATION)
def test_and_a_failed_row_among_all(target, broken_modules):
    [case] = run_of(target, named=False).check().cases
    assert case.status == "failed"
    assert case.reason.startswith("plugin fast of my-kernels 0.3: ")
    assert NO_IMPLEMENTATION[target] in case.reason


def test_a_plugin_that_lacks_a_package_is_unsupported(broken_modules):
    [case] = run_of("lacking:Fast", named=True).check().cases
    assert (case.status, case.reason) == (
        "unsupported",
        "needs no_such_package, which is not installed",
    )


def test_a_plugin_that_takes_its_importer_down_is_a_failed_row(site, tmp_path):
    (tmp_path / "site" / "deadly.py").write_text("import os; os._exit(9)")
    config = RunConfig(
        implementations=("deadly", "manual_cell"), model=GeneratorConfig(hidden_size=4)
    )
    entries = {
        "deadly": Entry("deadly:Fast", "", origin="my-kernels 0.3"),
        "manual_cell": REGISTRY["manual_cell"],
    }
    bad, good = runner.Run(config, None, Silent(), entries=entries).check().cases
    assert (bad.status, bad.reason) == ("failed", "import: the process ended itself with status 9")
    assert good.status == "ok"


# Extras.

EXTRA = Entry("impls.nothing:Nothing", "", requires=("no_such_kernels",), extra="kernels")
HINT = (
    "needs no_such_kernels, which is not installed: pip install -c constraints.txt -e '.[kernels]'"
)


def test_a_missing_extra_is_named_with_how_to_get_it(bench, monkeypatch):
    monkeypatch.setitem(REGISTRY, "extra", EXTRA)
    _, out, _ = bench("list", "--json")
    assert json.loads(out)[-1]["devices"]["cpu"] == HINT
    config = RunConfig(implementations=("extra",))
    run = runner.Run(config, None, Silent(), start=Inline, named={"extra"})
    [case] = run.check().cases
    assert (case.status, case.reason) == ("unsupported", HINT)


def test_nobody_is_told_to_install_what_would_not_help(monkeypatch):
    entry = Entry("a:B", "", devices=("cuda",), requires=("no_such_kernels",), extra="kernels")
    monkeypatch.setitem(REGISTRY, "elsewhere", entry)
    config = RunConfig(implementations=("elsewhere",), devices=("cpu", "cuda"))
    on_cpu, on_cuda = cases.plan(config)
    assert (on_cpu.status, on_cpu.reason) == ("unsupported", "not written for cpu")
    assert (on_cuda.status, on_cuda.reason) == ("unsupported", HINT)


def test_what_is_missing_on_one_device_is_told_of_there_alone(bench, monkeypatch):
    entry = Entry("impls.manual_cell:ManualCell", "", lacking={"cuda": lambda: "needs a charm"})
    monkeypatch.setitem(REGISTRY, "charmed", entry)
    told = {device: impls.missing(entry, device) for device in (None, "cpu", "cuda")}
    assert told == {None: None, "cpu": None, "cuda": "needs a charm"}
    assert impls.missing(EXTRA, "cuda") == HINT
    monkeypatch.setattr(environment, "no_cuda_reason", lambda: None)
    _, out, _ = bench("list", "--json")
    assert json.loads(out)[-1]["devices"] == {"cpu": None, "cuda": "needs a charm"}
    monkeypatch.setattr(environment, "no_cuda_reason", lambda: "there is no GPU")
    _, out, _ = bench("list", "--json")
    assert json.loads(out)[-1]["devices"]["cuda"] == "there is no GPU"


@pytest.mark.parametrize("variable", ["CUDA_HOME", "CUDA_PATH"])
def test_where_cudas_compiler_is_looked_for(variable, monkeypatch, tmp_path):
    from impls.compiler import no_nvcc_reason

    compiler = tmp_path / "g++"
    compiler.touch(mode=0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    assert f"there is no {tmp_path}/bin/nvcc: install the CUDA toolkit" in no_nvcc_reason()
    nvcc = tmp_path / "bin" / "nvcc"
    nvcc.parent.mkdir()
    nvcc.touch(mode=0o755)
    assert no_nvcc_reason() is None
    compiler.unlink()
    assert "needs a C++ compiler" in no_nvcc_reason()
    compiler.touch(mode=0o755)
    monkeypatch.delenv(variable)
    monkeypatch.delenv("CUDA_PATH", raising=False)
    monkeypatch.setenv("PATH", str(nvcc.parent))
    assert no_nvcc_reason() is None


def test_several_missing_packages():
    entry = Entry("a:B", "", requires=("no_such_a", "numpy", "no_such_b"))
    assert impls.missing(entry) == "needs no_such_a and no_such_b, which are not installed"
    assert impls.missing(Entry("a:B", "", requires=("numpy",), extra="numbers")) is None

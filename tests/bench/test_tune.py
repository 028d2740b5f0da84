"""`bench tune`: what is drawn is a recipe, trials are shared and not lost, what is wrong is told.

Trials are tiny: what they find means nothing.
"""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import optuna
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from bench import recipe_files
from bench.cli import main
from bench.config import EvaluationConfig, RunConfig
from bench.recipes import RECIPES, Recipe
from bench.tuning import storage, trials
from bench.tuning.outcome import FEWEST_FOR_IMPORTANCES, outcome_of
from bench.tuning.pictures import draw_all
from bench.tuning.plan import Plan
from bench.tuning.space import Space, recipe_by
from impls import packages
from tests.bench.started import started_in_a_terminal

SPACE = Space((4, 8), (4, 16))
TINY = (
    *("--impl", "manual_cell", "--iterations", "1", "--validation", "2"),
    *("--hidden-size", "4,8", "--batch-size", "4,16"),
)
PATIENCE_SECONDS = 240.0


class Drawing:
    """A trial whose values hypothesis draws."""

    def __init__(self, draw):
        self.draw = draw

    def suggest_float(self, name, low, high, *, step=None, log=False):
        if step:
            return low + step * self.draw(st.integers(0, round((high - low) / step)))
        return self.draw(st.floats(low, high))

    def suggest_int(self, name, low, high, *, step=1, log=False):
        return self.draw(st.sampled_from(range(low, high + 1, step)))

    def suggest_categorical(self, name, choices):
        return self.draw(st.sampled_from(choices))


@pytest.fixture
def tune(capsys, tmp_path):
    """The command on a study of the test's own, and what it says: JSON, or an error."""

    def command(*options, db=tmp_path / "s.db", output=tmp_path / "r.toml"):
        where = ("--storage", f"sqlite:///{db}", "--output", str(output))
        with pytest.raises(SystemExit) as end:
            main(["tune", *TINY, *where, "--json", *map(str, options)])
        out, err = capsys.readouterr()
        return end.value.code, json.loads(out) if out else None, err

    return command


def plan(path, **changes):
    made = Plan("s", f"sqlite:///{path}", RunConfig(), SPACE, iterations=1, trials=9)
    return replace(made, **changes)


def drawn_by(study):
    """What the next trial of a study tries."""
    drawn = []

    def objective(trial):
        drawn.append(SPACE.drawn(trial))
        return 0.0

    study.optimize(objective, n_trials=1)
    return drawn[0]


@settings(max_examples=40)
@given(data=st.data())
def test_whatever_is_drawn_is_a_recipe_that_a_file_can_hold(tmp_path, data):
    drawn = SPACE.drawn(Drawing(data.draw))
    recipe = recipe_by(drawn, 400, "s")
    of_recipes = TypeAdapter(Recipe)
    assert of_recipes.validate_json(of_recipes.dump_json(recipe)) == recipe
    path = tmp_path / "r.toml"
    path.write_text(recipe_files.as_toml(recipe, {"hidden_size": drawn["hidden_size"]}, ""))
    found = recipe_files.load(path)
    assert (found.own, found.model["hidden_size"]) == (recipe, drawn["hidden_size"])


@settings(max_examples=40)
@given(data=st.data())
def test_every_trial_may_take_the_same_sequence_steps(data):
    recipe = recipe_by(SPACE.drawn(Drawing(data.draw)), 800)
    each = recipe.batch_size * (sum(recipe.points) / 2 - 1)
    assert abs(recipe.iterations * each - 800 * 8 * 180) <= each


def test_the_first_trial_is_quick_itself(tmp_path):
    space = Space((64, 128), (8,))
    first = space.first(128)
    found = recipe_by(first, RECIPES["quick"].iterations, RECIPES["quick"].summary)
    assert (found, first["hidden_size"]) == (RECIPES["quick"], 128)
    assert "hidden_size" not in SPACE.first(128)
    drawn = drawn_by(storage.opened(plan(tmp_path / "s.db")))
    assert drawn.items() >= SPACE.first(128).items()


def test_a_seed_names_the_trials_and_no_two_processes_draw_alike(tmp_path):
    one, same, other = (
        storage.opened(plan(tmp_path / f"{name}.db", config=RunConfig(seed=seed)))
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    # Two that have opened the same study, each with a sampler of its own.
    both = [storage.opened(plan(tmp_path / "a.db")), one]
    draws = [drawn_by(both[number % 2]) for number in range(3)]
    assert [drawn_by(same) for _ in range(3)] == draws
    assert [drawn_by(other) for _ in range(2)][1] != draws[1]
    assert len({str(drawn) for drawn in draws}) == 3


def test_trials_count_once_and_for_all(tune, tmp_path):
    status, first, err = tune("--trials", 3, "--study", "s")
    assert status == 0, err
    assert len(first["points"]) == 3
    again = tune("--trials", 3, "--study", "s")
    assert again[:2] == (0, first)  # nothing is left to do, and the recipe is its own to replace
    _, more, _ = tune("--trials", 4, "--study", "s")
    assert more["points"][:3] == first["points"]
    assert len(more["points"]) == 4
    best = min((p for p in more["points"] if p["mse"] is not None), key=lambda p: p["mse"])
    assert (best["trial"], best["mse"]) == (more["best"]["trial"], more["best"]["mse"])
    found = recipe_files.load(tmp_path / "r.toml")
    recipe = TypeAdapter(Recipe).validate_json(json.dumps(more["best"]["recipe"]))
    assert found.own == recipe
    assert found.model["hidden_size"] == more["best"]["hyperparameters"]["hidden_size"]
    head = (tmp_path / "r.toml").read_text().splitlines()[:3]
    assert head[0] == f"# Found by bench tune, study s: trial {best['trial']}, the best of 4."
    assert head[2].startswith("# To train by it: python -m bench run --task cosine --recipe ")
    assert {file.name for file in (tmp_path / "r").iterdir()} == {"history.png", "history.svg"}


def test_what_mattered_is_found_and_drawn(tmp_path):
    sampler = optuna.samplers.RandomSampler(seed=0)
    searched, study = plan(""), optuna.create_study(sampler=sampler)
    for _ in range(FEWEST_FOR_IMPORTANCES - 1):
        study.optimize(lambda trial: SPACE.drawn(trial)["loss_warm_up"] / 10, n_trials=1)
    assert outcome_of(searched, study).importances == {}
    study.optimize(lambda trial: SPACE.drawn(trial)["loss_warm_up"] / 10, n_trials=40)
    found = outcome_of(searched, study)
    assert next(iter(found.importances)) == "loss_warm_up"
    assert sum(found.importances.values()) == pytest.approx(1.0)
    draw_all(found, tmp_path / "plots")
    names = {file.name for file in (tmp_path / "plots").iterdir()}
    assert names == {f"{n}.{kind}" for n in ("history", "importances") for kind in ("png", "svg")}


def test_a_study_of_other_settings_is_not_mixed_up(tune, tmp_path):
    assert tune("--trials", 1, "--study", "s")[0] == 0
    for options, said in {
        ("--task", "sine"): "begun with task cosine, not sine",
        ("--hidden-size", "4"): "begun with hidden_sizes [4, 8], not [4]",
        ("--seed", "1"): "begun with seed 0, not 1",
    }.items():
        status, _, err = tune("--trials", 2, "--study", "s", *options)
        assert (status, err.count("\n")) == (2, 1)
        assert said in err
    status, _, err = tune("--trials", 1, "--study", "other")
    assert (status, "exists; choose another name" in err) == (2, True)  # the recipe of s


def test_a_study_of_somebody_else_is_left_alone(tune, tmp_path):
    theirs = optuna.create_study(storage=f"sqlite:///{tmp_path}/s.db", study_name="s")
    theirs.tell(theirs.ask(), 1.0)
    status, _, err = tune("--study", "s")
    assert (status, "is not of bench tune; choose another --study" in err) == (2, True)


def test_what_diverges_is_counted_and_is_no_crash(tune):
    status, found, _ = tune(
        *("--impl", "tests.liars.diverges:Liar", "--batch-size", "8", "--iterations", "4"),
        *("--trials", "1"),
    )
    assert status == 1
    assert (found["diverged"], found["complete"], found["best"]) == (1, 0, None)
    assert "training diverged: the loss of iteration 2" in found["reason"]


def test_a_task_of_several_features_is_searched_too(tune):
    status, found, err = tune("--task", "phasor", "--trials", "1", "--iterations", "2")
    assert (status, len(found["points"])) == (0, 1), err


def test_missing_optuna_is_told_with_the_command_that_installs_it(tune, monkeypatch):
    monkeypatch.setattr(packages, "_is_there", lambda name: name != "optuna")
    status, _, err = tune("--trials", 1)
    assert status == 2
    assert "needs optuna, which is not installed: pip install -c constraints.txt" in err
    assert ".[lab]" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--trials", "0"), "--trials must be from 1"),
        (("--study", "a b"), "--study: up to 100"),
        (("--impl", "manual_cell,torch_cell"), "takes one --impl"),
        (("--impl", "onnx_runtime"), "--impl onnx_runtime"),
        (("--time-limit", "0"), "--time-limit: Input should be greater than 0"),
        (("--output", "quick.toml"), "would pass for the recipe 'quick'"),
        (("--output", "x.json"), "must end in .toml"),
        (("--storage", "nonsense"), "--storage must be a URL such as sqlite:///"),
        (("--storage", "sqlite://"), "keeps nothing; name a file"),
        (("--storage", "sqlite:////no/such/x.db"), "there is no folder /no/such"),
        (("--storage", f"sqlite:///{__file__}"), "file is not a database"),
        (("--storage", "postgresql://me:secret@nowhere.invalid/x?password=secret"), "me:***@"),
    ],
)
def test_bad_input_is_one_line_without_a_password(tune, options, said):
    status, _, err = tune(*options)
    assert (status, err.count("\n")) == (2, 1), err
    assert said in err
    assert "secret" not in err


def running(study):
    return len(study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)))


def known(study):
    return {(trial.number, str(trial.params), trial.value) for trial in storage.finished(study)}


def wait_until(condition):
    for _ in range(int(PATIENCE_SECONDS / 0.05)):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("nothing of the kind happened")


def test_an_interrupt_is_one_whatever_becomes_of_it_in_optuna(monkeypatch, tmp_path):
    """While a trial is written down Optuna answers it with an error of its own."""
    study = storage.opened(plan(tmp_path / "s.db"))

    def interrupted(*_, **__):
        try:
            raise KeyboardInterrupt
        finally:
            raise UnboundLocalError("updated_state")

    monkeypatch.setattr(study, "optimize", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trials.go_on(plan(tmp_path / "s.db"), study, {}, lambda: True)
    monkeypatch.setattr(study, "optimize", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trials.go_on(plan(tmp_path / "s.db"), study, {}, lambda: True)


def test_a_killed_process_loses_no_trial_and_the_others_go_on(tune, tmp_path):
    """Two processes at one study, one of them with a helper: the latter is killed."""
    url = f"sqlite:///{tmp_path}/s.db"
    command = [
        *(sys.executable, "-m", "bench", "tune", *TINY, "--study", "s", "--storage", url),
        *("--trials", "100000", "--output", f"{tmp_path}/r.toml"),
    ]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with (
        started_in_a_terminal([*command, "--jobs", "2"], **quiet) as killed,
        started_in_a_terminal(command, **quiet) as other,
    ):
        wait_until((tmp_path / "s.db").exists)
        evaluation = EvaluationConfig(sequences=2)
        study = storage.opened(plan(tmp_path / "s.db", config=RunConfig(evaluation=evaluation)))
        wait_until(lambda: running(study) == 3 and len(known(study)) >= 3)  # all at one study
        helpers = psutil.Process(killed.pid).children(recursive=True)
        killed.send_signal(signal.SIGKILL)
        before = known(study)
        psutil.wait_procs(helpers, timeout=PATIENCE_SECONDS)
        assert not any(helper.is_running() for helper in helpers)
        wait_until(lambda: len(known(study)) >= len(before) + 2)
        other.send_signal(signal.SIGINT)
        _, said = other.communicate(timeout=PATIENCE_SECONDS)
    assert other.returncode == 130, said
    assert "of 100000 trials are finished, all of them in sqlite:///" in said
    assert "Traceback" not in said
    kept = known(study)
    assert before < kept
    assert len({parameters for _, parameters, _ in kept}) == len(kept)  # nobody tried twice
    status, found, err = tune("--study", "s", "--trials", len(kept) + 1)
    assert (status, len(found["points"])) == (0, len(kept) + 1), err
    assert kept < known(study)

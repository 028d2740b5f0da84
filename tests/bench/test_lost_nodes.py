"""Machines that are lost while a study or a search is at work: nothing of what was found is."""

import threading
from dataclasses import replace

import optuna
import pytest
from sqlalchemy.exc import OperationalError

from bench.cluster import connection
from bench.cluster.needs import Needs
from bench.cluster.worker import OnNode, Order
from bench.config import EvaluationConfig, RunConfig
from bench.errors import BenchError
from bench.progress import Silent
from bench.recipes import RECIPES
from bench.remote import (
    MOST_RETRIES,
    CaseError,
    Inline,
    NodeLostError,
    WorkerLostError,
    on_some_machine,
)
from bench.studies import files, words
from bench.studies import on_ray as studies_on_ray
from bench.studies.engine import SESSION, StudyRun
from bench.tuning import on_ray, storage, trials
from bench.tuning.plan import Plan
from bench.tuning.space import Space
from impls import REGISTRY

ENTRIES = {"manual_cell": REGISTRY["manual_cell"]}


class Doubtful(Inline):
    """A worker here, on a machine that is lost at some questions, or is of another kind."""

    def __init__(self, *made, lost=None, cpu=None, **more):
        super().__init__(*made, **more)
        self.lost, self.cpu = lost, cpu

    def ask(self, question, *arguments, on_tick=None):
        if self.lost and self.lost(question):
            raise NodeLostError("its node died")
        # What is raised in a tick ends a question elsewhere, but not the work on it.
        answer = super().ask(question, *arguments)
        if question == "environment" and self.cpu:
            return answer.model_copy(update={"cpu": self.cpu})
        return answer

    def kill(self):
        pass


class Cluster:
    """A place whose ``losses`` first workers are lost at ``question``."""

    def __init__(self, losses=0, question="measure", cpus=(None,)):
        self.left, self.question, self.cpus, self.begun = losses, question, cpus, []

    def lost(self, question):
        if question != self.question or not self.left:
            return False
        self.left -= 1
        return True

    def settle(self, worker):
        self.settled = worker

    def started(self, config, *, alone):
        cpu = self.cpus[min(len(self.begun), len(self.cpus) - 1)]
        self.begun.append(alone)
        return Doubtful(config, ENTRIES, session=SESSION, lost=self.lost, cpu=cpu)


def studied(tmp_path, place, *vary, name="init"):
    config = files.configured(name, vary, {"sequences": 3}, implementation="manual_cell", seeds=1)
    run = StudyRun(config, tmp_path / "s.json", Silent(), 1, None, place)
    return run.execute()


SMALL = ("init=normal,orthogonal", "hidden_size=4", "nonlinearity=tanh", "input_scale=1",
         "iterations=1")  # fmt: skip
TIMED = ("hidden_size=4", "num_layers=1", "nonlinearity=tanh", "timed=manual_cell", "batch_size=1",
         "iterations=1")  # fmt: skip


@pytest.mark.parametrize("question", ["environment", "parity", "measure"])
def test_a_cell_whose_machine_is_lost_begins_anew(tmp_path, question):
    expected = studied(tmp_path, Cluster(), *SMALL)
    found = studied(tmp_path, Cluster(2, question), *SMALL)
    assert [(c.key, c.status, c.values) for c in found.cells] == [
        (c.key, c.status, c.values) for c in expected.cells
    ]


def test_a_cell_that_loses_every_machine_fails_and_the_others_go_on(tmp_path):
    first, *others = studied(tmp_path, Cluster(MOST_RETRIES + 1), *SMALL).cells
    assert (first.status, first.reason) == ("failed", "its node died")
    assert {cell.status for cell in others} == {"ok"}
    with pytest.raises(BenchError, match="its node died"):
        studied(tmp_path, Cluster(MOST_RETRIES + 1, "parity"), *SMALL)


def test_a_cell_of_another_machine_says_so(tmp_path):
    # The first of the machines is lost when the first cell has begun.
    found = studied(tmp_path, Cluster(1, cpus=("One", "Other")), *SMALL)
    assert found.environment.cpu == "One"
    assert {cell.machine.partition(" (")[0] for cell in found.cells} == {"Other"}
    assert f"{len(found.cells)} cells on Other (" in words.heading(found)


def test_times_are_of_the_study_s_machine_or_of_none(tmp_path):
    place = Cluster(cpus=("One", "Other"))
    found = studied(tmp_path, place, *TIMED, name="capacity")
    assert place.begun == [False, True]
    trained, timed = found.cells
    assert (trained.status, trained.machine) == ("ok", None)
    assert timed.status == "failed"
    assert timed.reason.startswith("its times would be of another machine, Other (")
    place = Cluster(1, "measure", cpus=("One",))
    assert {cell.status for cell in studied(tmp_path, place, *TIMED, name="capacity").cells} == {
        "ok"
    }


def test_work_that_loses_every_machine_ends():
    closed = []

    class Lost:
        def close(self):
            closed.append(self)

    def work(worker):
        raise NodeLostError("its node died")

    def broken(worker):
        raise ZeroDivisionError

    with pytest.raises(BenchError, match="its node died"):
        on_some_machine(Lost, work)
    assert len(closed) == MOST_RETRIES + 1
    with pytest.raises(ZeroDivisionError):
        on_some_machine(Lost, broken)
    assert len(closed) == MOST_RETRIES + 2


def plan(tmp_path, name="s", **changes):
    made = Plan(
        name,
        f"sqlite:///{tmp_path}/{name}.db",
        RunConfig(
            implementations=("manual_cell",),
            evaluation=EvaluationConfig(seed=2000, sequences=2),
        ),
        Space((4,), (4,)),
        iterations=1,
        trials=2,
    )
    return replace(made, **changes)


def searched(plan, begin):
    """Each trial of a search: its number, hyperparameters, looks and value."""
    study = storage.opened(plan)
    trying = trials.Trying(plan, begin)
    try:
        trials.go_on(plan, study, trying, lambda: True)
    finally:
        trying.close()
    return [
        (trial.number, trial.params, trial.intermediate_values, trial.value)
        for trial in study.get_trials()
    ]


@pytest.mark.parametrize("losses", [(1,), (4,), (2, 3, 4, 5, 6)])
def test_a_trial_whose_machine_is_lost_is_trained_again(tmp_path, losses, recwarn):
    expected = searched(plan(tmp_path, "a"), trials.inline(plan(tmp_path, "a"), ENTRIES))
    asked = 0

    def lost(question):
        nonlocal asked
        asked += question == "look"
        return question == "look" and asked in losses

    other = plan(tmp_path, "b")
    found = searched(
        other, lambda: Doubtful(other.config, ENTRIES, session=trials.SESSION, lost=lost)
    )
    assert found == expected
    assert any(looks for _, _, looks, _ in found)
    assert not [str(each.message) for each in recwarn if "already reported" in str(each.message)]


def test_a_trial_that_loses_every_machine_fails_and_the_search_goes_on(tmp_path):
    made = plan(tmp_path)
    study = storage.opened(made)
    left = MOST_RETRIES + 1

    def lost(question):
        nonlocal left
        left -= question == "begin"
        return question == "begin" and left >= 0

    trying = trials.Trying(
        made, lambda: Doubtful(made.config, ENTRIES, session=trials.SESSION, lost=lost)
    )
    trials.go_on(made, study, trying, lambda: True)
    trying.close()
    states = [trial.state for trial in study.get_trials()]
    assert states[0] == optuna.trial.TrialState.FAIL
    assert study.get_trials()[0].user_attrs[storage.REASON] == "its node died"
    assert states[1] != optuna.trial.TrialState.FAIL


def test_threads_that_begin_at_once_take_no_trial_twice(tmp_path):
    made = plan(tmp_path, trials=8)
    on_ray.search(made, 4, lambda: Doubtful(made.config, ENTRIES, session=trials.SESSION),
                  lambda: True)  # fmt: skip
    found = storage.opened(made).get_trials()
    assert sorted(trial.number for trial in found) == list(range(len(found)))
    assert found[0].params["learning_rate"] == RECIPES["quick"].learning_rate
    assert all(trial.state.is_finished() for trial in found)
    assert len(found) == 8


def test_what_starts_no_worker_ends_a_search(tmp_path):
    made = plan(tmp_path)

    def none():
        raise BenchError("no node that is left has what it needs")

    with pytest.raises(BenchError, match="no node that is left"):
        trials.go_on(made, storage.opened(made), trials.Trying(made, none), lambda: True)
    with pytest.raises(BenchError, match="no node that is left"):
        on_ray.search(made, 2, none, lambda: True)


def test_a_search_that_is_stopped_ends_at_once_and_what_was_under_way_counts_for_nothing(tmp_path):
    made, begun = plan(tmp_path, trials=1000), []

    class Hangs(Doubtful):
        def ask(self, question, *arguments, **more):
            killed[self].wait(60.0)
            raise NodeLostError("killed")

        def kill(self):
            killed[self].set()

    killed = {}

    def begin():
        begun.append((Hangs if begun else Doubtful)(made.config, ENTRIES, session=trials.SESSION))
        killed[begun[-1]] = threading.Event()
        return begun[-1]

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        on_ray.search(made, 2, begin, interrupted)
    assert len(begun) == 2
    study = storage.opened(made)
    assert 1 <= len(storage.finished(study)) < 10
    failed = study.get_trials(states=(optuna.trial.TrialState.FAIL,))
    assert failed
    assert [trial.user_attrs.get(storage.REASON) for trial in failed] == [None] * len(failed)


class Actors:
    """As much of Ray as a worker on a node asks for: what its actor answers is a list."""

    class exceptions:  # noqa: N801 - Ray's own name
        class RayTaskError(Exception):
            pass

    class DiedError(Exception):
        def __init__(self, said, *, at_once):
            super().__init__(said)
            self.actor_init_failed = at_once

    def __init__(self, *answers):
        self.answers = list(answers)

    def __getattr__(self, name):  # an actor, its methods, what they are called with
        return self

    def __call__(self, *_, **__):
        return self

    def wait(self, references, **_):
        return references, []

    def get(self, _, timeout=None):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self, _):
        pass


def order(**changes):
    return replace(Order(RunConfig(), {}, "module:Class", Needs(), {}), **changes)


@pytest.mark.parametrize(
    ("answer", "raised", "said"),
    [
        (
            Actors.DiedError("Actor 12 at 192.0.2.1 died", at_once=False),
            NodeLostError,
            "its node died",
        ),
        (
            Actors.DiedError("ray::There() 192.0.2.1\nModuleNotFoundError: bench", at_once=True),
            BenchError,
            "on its node: ModuleNotFoundError: bench",
        ),
        (Actors.exceptions.RayTaskError("x\nno pickle"), BenchError, "on its node: no pickle"),
        (("lost", "the process was ended by SIGKILL"), WorkerLostError, "by SIGKILL"),
        (("failed", ("went wrong", "wrong")), CaseError, "went wrong"),
    ],
)
def test_what_became_of_a_question_is_told_apart(answer, raised, said, monkeypatch):
    monkeypatch.setattr(connection, "alive", lambda _: [])
    worker = OnNode(Actors(("done", "node-1"), answer), order())
    with pytest.raises(raised, match=said) as caught:
        worker.ask("measure")
    assert type(caught.value) is raised
    assert "192.0.2.1" not in str(caught.value)
    assert worker.node == "node-1"


def test_what_does_not_start_there_says_why(monkeypatch):
    monkeypatch.setattr(connection, "alive", lambda _: [])
    worker = OnNode(Actors(("refused", "the worker process did not start: no torch")), order())
    with pytest.raises(BenchError, match="did not start: no torch"):
        worker.ask("environment")


def test_what_is_timed_takes_a_node_for_itself_beside_the_study_s_own(tmp_path, monkeypatch):
    monkeypatch.setattr(studies_on_ray, "OnNode", Named)
    place = studies_on_ray.OnRay(None)
    config = files.configured("capacity", (), {}, implementation="manual_cell")
    lost, first = (place.started(config, alone=False) for _ in range(2))
    place.settle(first)
    timed = place.started(config, alone=True)
    assert (lost.order.needs, first.order.needs) == (Needs(), Needs())
    assert timed.order.needs.resources()["timing"] == 1.0
    assert [each.order.beside for each in (lost, first, timed)] == [None, None, first.node]
    gone = config.model_copy(update={"weights": str(tmp_path / "gone.safetensors")})
    with pytest.raises(BenchError, match=r"gone\.safetensors: No such file"):
        place.started(gone, alone=False)


class Named:
    """A worker on a node of its own."""

    def __init__(self, _, order):
        self.order, self.node = order, f"node of {id(self)}"


def test_a_trial_on_ray_names_no_gpu(tmp_path):
    made = plan(tmp_path)
    config = made.config.model_copy(update={"devices": ("cuda:1",)})
    with pytest.raises(BenchError, match="a GPU of its own, cuda; it cannot name cuda:1"):
        on_ray.demand(replace(made, config=config))
    config = made.config.model_copy(update={"devices": ("cuda",), "threads": (3,)})
    assert on_ray.demand(replace(made, config=config)) == Needs(3, gpu=True)


def test_a_database_s_complaint_while_it_is_told_is_one_line(tmp_path):
    made = plan(tmp_path)

    def locked():
        raise OperationalError("statement", {}, Exception("database is locked"))

    with pytest.raises(BenchError, match=r"--storage .*database is locked"):
        on_ray.search(
            made, 1, lambda: Doubtful(made.config, ENTRIES, session=trials.SESSION), locked
        )


def test_a_first_trial_that_was_cut_short_is_given_again(tmp_path):
    study, drawn = storage.opened(plan(tmp_path)), []

    def objective(trial):
        drawn.append(plan(tmp_path).space.drawn(trial))
        if len(drawn) < 3:
            raise WorkerLostError("cut short")
        return 0.0

    study.optimize(objective, n_trials=5, catch=(WorkerLostError,))
    rates = [each["learning_rate"] for each in drawn]
    assert rates[:3] == [RECIPES["quick"].learning_rate] * 3
    assert RECIPES["quick"].learning_rate not in rates[3:]

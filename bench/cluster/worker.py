"""A worker on some node of a cluster: the questions of `bench.remote.Worker`, asked through Ray.

On the node an actor keeps a process of its own for the work, as every run does; so what an
implementation does to its process is no trouble of Ray's, and is told in the same words.
"""

import contextlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.clock import Stopwatch
from bench.cluster.connection import (
    LONGEST_WAIT_SECONDS,
    NOWHERE_LEFT,
    as_anywhere,
    looked,
    this_node,
)
from bench.cluster.connection import reason as told_by
from bench.cluster.needs import Needs
from bench.errors import BenchError
from bench.remote import CaseError, NodeLostError, Remote, WorkerLostError
from impls import Entry

LONGEST_GOODBYE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is made of, on whichever node.

    Attributes:
        config: what to do.
        entries: the implementations, by name.
        session: what answers, ``module:Class``.
        needs: what it asks of its node.
        files: field of the config -> what the file that it names holds, which is not there.
        beside: the node to be on, if it is there and has room; None for any.
    """

    config: Any
    entries: Mapping[str, Entry]
    session: str
    needs: Needs
    files: Mapping[str, bytes]
    beside: str | None = None


class OnNode:
    """One of them; where it is Ray decides, when it has room.

    Args:
        ray: connected to a cluster.
        order: what it is made of.
    """

    def __init__(self, ray: Any, order: Order) -> None:
        self._ray, self._order = ray, order
        self._node: str | None = None
        options = order.needs.options() | {"max_restarts": 0}
        if order.beside is not None:
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(order.beside, soft=True)
        self._actor = ray.remote(There).options(**options).remote()

    @property
    def node(self) -> str | None:
        """Ray's id of its node, which names no machine; None until it has answered once."""
        return self._node

    def ask(
        self, question: str, *arguments: Any, on_tick: Callable[[], None] = lambda: None
    ) -> Any:
        """The answer; ``on_tick`` is called now and then while there is none.

        Raises:
            BenchError: it does not start there, no node that is left has what it needs, or the
                cluster has gone.
            CaseError: the work raised; the worker is as good as before.
            WorkerLostError: its process is gone.
            NodeLostError: its node is, or Ray's own process there.
        """
        if self._node is None:
            order = self._order
            made = (order.config, dict(order.entries), order.session, order.needs, order.files)
            self._node = self._answer(self._actor.begin.remote(*made), on_tick)
        return self._answer(self._actor.ask.remote(question, arguments), on_tick)

    def kill(self) -> None:
        """End it, from any thread; who waits for its answer is told that it is lost."""
        with contextlib.suppress(Exception):  # the cluster may be gone too
            self._ray.kill(self._actor)

    def close(self) -> None:
        """End it, in peace where it has nothing to do."""
        if self._node is not None:
            with contextlib.suppress(Exception):
                self._ray.get(self._actor.close.remote(), timeout=LONGEST_GOODBYE_SECONDS)
        self.kill()

    def _answer(self, reference: Any, on_tick: Callable[[], None]) -> Any:
        self._wait(reference, on_tick)
        try:
            kind, value = self._ray.get(reference)
        except Exception as error:  # noqa: BLE001 - whatever Ray raises
            # `There` raises nothing: what does is the way to it, such as a node without bench.
            on_the_way = isinstance(error, self._ray.exceptions.RayTaskError)
            if on_the_way or getattr(error, "actor_init_failed", False):
                raise BenchError(told_by(error)) from None
            raise NodeLostError("its node died, or Ray's process there") from None
        if kind == "done":
            return value
        if kind == "refused":
            raise BenchError(value)
        if kind == "failed":
            raise CaseError(*value)
        raise WorkerLostError(value)

    def _wait(self, reference: Any, on_tick: Callable[[], None]) -> None:
        """Until there is an answer, or something to say instead of one."""
        waited = Stopwatch()
        while True:
            finished, nodes = looked(self._ray, [reference])
            if finished:
                return
            on_tick()
            if any(map(self._order.needs.fit, nodes)):
                waited = Stopwatch()
            elif waited.seconds() > LONGEST_WAIT_SECONDS:
                raise BenchError(NOWHERE_LEFT)


class There:
    """The actor: on the node, in Ray's process. It raises nothing, for Ray would wrap it."""

    def __init__(self) -> None:
        self._remote: Remote | None = None
        self._folder = contextlib.ExitStack()

    def begin(
        self,
        config: Any,
        entries: Mapping[str, Entry],
        session: str,
        needs: Needs,
        files: Mapping[str, bytes],
    ) -> tuple[str, Any]:
        """Start the process; gives the node's id."""
        try:
            with as_anywhere(needs.threads):
                self._remote = Remote(self._placed(config, files), entries, session=session)
        except (BenchError, OSError) as error:
            self._folder.close()
            return "refused", str(error)
        return "done", this_node()

    def ask(self, question: str, arguments: tuple[Any, ...]) -> tuple[str, Any]:
        """What became of a question, and the answer or what is told of it."""
        if self._remote is None:
            return "lost", "there is no worker"
        try:
            return "done", self._remote.ask(question, *arguments)
        except CaseError as error:
            return "failed", (str(error), error.kind)
        except WorkerLostError as error:
            return "lost", str(error)

    def close(self) -> None:
        """End the process."""
        if self._remote:
            self._remote.close()
        self._folder.close()

    def _placed(self, config: Any, files: Mapping[str, bytes]) -> Any:
        """The config, the files that it names being where this process finds them."""
        if not files:
            return config
        folder = Path(self._folder.enter_context(tempfile.TemporaryDirectory(prefix="rnn-bench-")))
        paths = {field: folder / Path(getattr(config, field)).name for field in files}
        for field, content in files.items():
            paths[field].write_bytes(content)
        return config.model_copy(update={field: str(path) for field, path in paths.items()})

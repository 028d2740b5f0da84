"""The tasks, by name."""

from tasks.adding import adding
from tasks.circle import circle
from tasks.noisy import delayed, denoise, phasor
from tasks.task import Sequences, Task
from tasks.waves import cosine, sine

__all__ = ["TASKS", "Sequences", "Task"]

TASKS: dict[str, Task] = {
    task.name: task for task in (cosine, sine, circle, phasor, denoise, delayed, adding)
}

"""Its kernel does not compile, as Triton tells it: the source, and what is wrong in the end."""

from impls.manual_cell import ManualCell


class CompilationError(Exception):
    """As triton.compiler.errors.CompilationError writes itself."""

    def __str__(self):
        return (
            "at 3:8:\n"
            "def recurrence(states, steps: tl.constexpr):\n"
            "    for t in range(steps):\n"
            "        h = tl.dot(W, h)\n"
            "        ^\n"
            "Input shapes should have M >= 16, N >= 16 and K >= 16"
        )


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        raise CompilationError

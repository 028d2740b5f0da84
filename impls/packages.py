"""Which packages are missing, and how to get them; found out without importing any."""

import importlib.util
from collections.abc import Iterable

# JAX finds its plugin for CUDA by itself; there is one for each generation of CUDA.
JAX_CUDA = ("jax_cuda13_plugin", "jax_cuda12_plugin")


def missing_reason(names: Iterable[str], extra: str | None = None) -> str | None:
    """Why ``names`` cannot all be imported, or None; ``extra`` is this project's that has them."""
    absent = [name for name in names if not _is_there(name)]
    if not absent:
        return None
    verb = "is" if len(absent) == 1 else "are"
    reason = f"needs {' and '.join(absent)}, which {verb} not installed"
    return f"{reason}: {command(extra)}" if extra else reason


def command(extra: str) -> str:
    """What installs this project's ``extra``."""
    return f"pip install -c constraints.txt -e '.[{extra}]'"


def no_triton_reason() -> str | None:
    """Why there is no Triton, or None."""
    return missing_reason(["triton"], "triton")


def no_cuda_for_jax_reason() -> str | None:
    """Why JAX cannot run on CUDA, or None; that torch can does not help it."""
    if any(map(_is_there, JAX_CUDA)):
        return None
    return f"the installed jax has no plugin for CUDA: {command('jax-cuda')}"


def _is_there(name: str) -> bool:
    return importlib.util.find_spec(name) is not None

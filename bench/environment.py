"""The machine, the versions and the precision flags. No host name, user name or path."""

import contextlib
import importlib.util
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from bench import gpu
from bench.errors import BenchError
from bench.schema import Environment

_CPU0 = Path("/sys/devices/system/cpu/cpu0")
# The general switch does not reach cuDNN's RNN, whose default is TF32: pin each by its own name.
_PRECISION_FLAGS = (
    "cuda.matmul",
    "cudnn.rnn",
    "mkldnn.matmul",
    "mkldnn.rnn",
)


def version() -> str:
    """This project's version, as it was installed."""
    return metadata.version("rnn-bench")


def torch_build() -> tuple[str, str | None]:
    """PyTorch's version and the CUDA version it was built for, without importing torch.

    Raises:
        BenchError: torch is not installed.
    """
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        raise BenchError("torch is not installed; run: pip install -c constraints.txt -e .")
    path = Path(spec.submodule_search_locations[0]) / "version.py"
    build = importlib.util.spec_from_file_location("_torch_version", path)
    if build is None or build.loader is None:
        raise BenchError(f"the installed torch {metadata.version('torch')} has no version.py")
    module = importlib.util.module_from_spec(build)
    build.loader.exec_module(module)
    return module.__version__, module.cuda


def gpu_names() -> tuple[str, ...]:
    """The names of the NVIDIA GPUs that CUDA_VISIBLE_DEVICES leaves, asked of the driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
        names = [
            pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(i)) for i in range(count)
        ]
    except pynvml.NVMLError:
        return ()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return tuple(names)
    chosen = [part.strip() for part in visible.split(",")]
    return tuple(
        names[int(part)] if part.isdigit() and int(part) < count else "NVIDIA GPU"
        for part in chosen
        if part and part != "-1"
    )


def no_cuda_reason() -> str | None:
    """Why no case can run on CUDA here, or None when one can."""
    torch_version, cuda = torch_build()
    if cuda is None:
        return f"the installed torch {torch_version} is a build without CUDA"
    if not gpu_names():
        return f"torch {torch_version} was built for CUDA {cuda}, but the driver shows no GPU"
    return None


def device_names(text: str, *, elsewhere: bool = False) -> tuple[str, ...]:
    """The devices that ``--device`` names: cpu, cuda, cuda:N, or all that are here.

    Args:
        text: what it says.
        elsewhere: whether it is for the machines of a cluster, of whose devices nobody knows here.

    Raises:
        BenchError: an unknown device, or CUDA where there is none.
    """
    if text == "cpu":
        return ("cpu",)
    if elsewhere:
        if text != "cuda":
            raise BenchError(f"--device of a cluster must be cpu or cuda, got '{text}'")
        return ("cuda",)
    kind, _, index = text.partition(":")
    well_formed = text in ("all", "cuda") or (
        kind == "cuda" and index.isascii() and index.isdigit()
    )
    if not well_formed:
        raise BenchError(f"--device must be cpu, cuda, cuda:N or all, got '{text}'")
    reason = no_cuda_reason()
    if text == "all":
        return ("cpu",) if reason else ("cpu", "cuda")
    if reason:
        raise BenchError(f"--device {text}: {reason}; use --device cpu, or install a CUDA build")
    if index and int(index) >= len(gpu_names()):
        last = len(gpu_names()) - 1
        raise BenchError(f"--device {text}: the last GPU here is cuda:{last}")
    return (text,)


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Full precision and ``threads`` CPU threads inside; outside as before."""
    import torch

    threads_before = torch.get_num_threads()
    backends = [_backend(flag) for flag in _PRECISION_FLAGS]
    precision_before = [backend.fp32_precision for backend in backends]
    try:
        torch.set_num_threads(threads)
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        torch.set_num_threads(threads_before)
        for backend, before in zip(backends, precision_before, strict=True):
            backend.fp32_precision = before


def changed(threads: int) -> str | None:
    """What is no longer as `pinned` has set it, or None."""
    import torch

    if torch.get_num_threads() != threads:
        return f"set the number of threads to {torch.get_num_threads()}"
    if not torch.tensor(1e-40).mul(0.5).item():
        return "switched denormal numbers off"
    for flag in _PRECISION_FLAGS:
        if (precision := _backend(flag).fp32_precision) != "ieee":
            return f"set the precision of {flag} to {precision}"
    return None


def describe() -> Environment:
    """The environment as it is now: call it where the flags are pinned."""
    import psutil
    import torch

    commit, dirty = _git()
    cudnn: int | None = _backend("cudnn").version() if torch.version.cuda else None
    return Environment(
        rnn_bench=version(),
        python=platform.python_version(),
        torch=torch.__version__,
        numpy=metadata.version("numpy"),
        cuda=torch.version.cuda,
        cudnn=None if cudnn is None else str(cudnn),
        # A release may carry a builder's or a cloud's own suffix: its numbers are enough.
        os=f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        cpu=_cpu_model(),
        cores=psutil.cpu_count(logical=True) or 1,
        physical_cores=psutil.cpu_count(logical=False),
        caches=_caches(),
        governor=_line(_CPU0 / "cpufreq" / "scaling_governor"),
        load_average=psutil.getloadavg()[0],
        memory_bytes=psutil.virtual_memory().total,
        gpu=gpu.describe_all(),
        threads=torch.get_num_threads(),
        interop_threads=torch.get_num_interop_threads(),
        git_commit=commit,
        git_dirty=dirty,
        precision={flag: str(_backend(flag).fp32_precision) for flag in _PRECISION_FLAGS},
    )


def _backend(flag: str) -> Any:
    """``torch.backends.<flag>``."""
    import torch

    backend: Any = torch.backends
    for part in flag.split("."):
        backend = getattr(backend, part)
    return backend


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _caches() -> dict[str, int]:
    """Bytes of the first core's data caches, by level."""
    found = {}
    for index in sorted((_CPU0 / "cache").glob("index[0-9]*")):
        level, kind, size = (_line(index / name) for name in ("level", "type", "size"))
        if level and kind in ("Data", "Unified") and size and size.endswith("K"):
            name = f"L{level}d" if kind == "Data" else f"L{level}"
            found[name] = 1024 * int(size.removesuffix("K"))
    return found


def _line(path: Path) -> str | None:
    """The one line of a file of the kernel's, or None where it has none."""
    try:
        return path.read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _git() -> tuple[str | None, bool | None]:
    """The commit of this source tree, and whether files differ from it; None outside a checkout."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603 - fixed arguments

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, None

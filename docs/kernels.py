"""What the CUDA kernels need, without a GPU: ``python -m docs.kernels``, a table in Markdown.

Every form is compiled as a call would have it (H = 128, one feature, aligned memory) for each
architecture; registers and spills are read from the compiled program by ``cuobjdump``, which Triton
brings along, and shared memory from Triton's own record.
"""

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from bench.render import Table, to_markdown
from impls.config import GeneratorConfig
from impls.fused_cuda import form
from impls.kernels import cuda_recurrence as kernels

ARCHITECTURES = (80, 90, 100)
REGISTERS = 65536  # of one multiprocessor, on each of them
# What one program may have, in bytes (CUDA C++ Programming Guide, technical specifications).
SHARED = {80: 163 << 10, 90: 227 << 10, 100: 227 << 10}
POINTERS = {torch.float32: "*fp32", torch.float64: "*fp64"}
SIZES = {"T": "i32", "B": "i32", "H": "i32"}
ALONE, MANY = 1, 1000
# A form's name -> suffix of its kernels, layers, units, dtype, sequences.
FORMS = {
    "latency": ("", 1, 128, torch.float32, ALONE),
    "throughput": ("", 1, 128, torch.float32, MANY),
    "latency, float64, H = 64": ("", 1, 64, torch.float64, ALONE),
    "streamed, two layers": ("_streamed", 2, 128, torch.float32, ALONE),
    "streamed, H = 256": ("_streamed", 1, 256, torch.float32, ALONE),
}
# What is done with it: without gradients, with gradients to come, and those.
WAYS = ("generate", "forward", "backward")


@dataclass(frozen=True, slots=True)
class Needs:
    """What one program of a compiled kernel takes.

    Attributes:
        warps: of 32 threads each.
        registers: of one thread.
        stack_bytes: memory of one thread for what its registers did not hold: spills.
        shared_bytes: shared memory.
    """

    warps: int
    registers: int
    stack_bytes: int
    shared_bytes: int

    @property
    def programs(self) -> int:
        """How many of them the registers of a multiprocessor hold at once."""
        a_warp = -(-self.registers // 8) * 8 * 32  # dealt out by the warp, 256 at a time
        return REGISTERS // (a_warp * self.warps)


@lru_cache
def needs(name: str, way: str, architecture: int) -> Needs:
    """Compile one of `FORMS` for one of `WAYS` and a compute capability times ten."""
    suffix, layers, units, dtype, batch = FORMS[name]
    kernel = getattr(kernels, ("backward" if way == "backward" else "forward") + suffix)
    cut = form(GeneratorConfig(hidden_size=units, num_layers=layers), batch, dtype, 132)
    constants: dict[str, Any] = {
        "I": 1, "RELU": False, "KEEP": way == "forward", "DROPS": False, "LAYERS": layers,
        **cut.blocks,
    }  # fmt: skip
    names = kernel.arg_names
    kinds = {"forced": "*i8", **SIZES}
    signature = {n: "constexpr" if n in constants else kinds.get(n, POINTERS[dtype]) for n in names}
    # What a launch sees of its arguments: torch's memory is aligned, and so is H.
    whole = {n for n in names if signature[n].startswith("*")} | {"H"}
    source = ASTSource(
        kernel,
        signature,
        {(names.index(n),): value for n, value in constants.items() if n in names},
        {(names.index(n),): [["tt.divisibility", 16]] for n in whole},
    )
    target = GPUTarget("cuda", architecture, 32)
    options = cut.options(trains=way != "generate")
    compiled = triton.compile(source, target=target, options=options)
    registers, stack = _resources(compiled.asm["cubin"])
    return Needs(cut.warps, registers, stack, compiled.metadata.shared)


def _resources(cubin: bytes) -> tuple[int, int]:
    """Registers and bytes of stack of a thread."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        said = subprocess.run(  # noqa: S603 - Triton's own tool on our own file
            [tool, "-res-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    [(registers, stack)] = re.findall(r"REG:(\d+) STACK:(\d+)", said)
    return int(registers), int(stack)


def table() -> Table:
    """Every form on every architecture."""
    rows = []
    for name, way, architecture in product(FORMS, WAYS, ARCHITECTURES):
        found = needs(name, way, architecture)
        numbers = found.warps, found.registers, found.stack_bytes, found.shared_bytes
        rows.append((name, way, f"sm_{architecture}", *map(str, numbers), str(found.programs)))
    return Table(
        title="What one program takes",
        columns=("form", "way", "for", "warps", "registers", "spilled", "shared", "at once"),
        sections=(tuple(rows),),
        notes=(
            f"triton {triton.__version__}. registers and spilled bytes of one thread, shared bytes "
            "of one program; at once: programs that the registers of one multiprocessor hold.",
        ),
    )


if __name__ == "__main__":
    sys.stdout.write(to_markdown(table()))

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
from triton.compiler import ASTSource, CompiledKernel

from bench.render import Table, to_markdown
from impls.config import GeneratorConfig
from impls.fused_cuda import Form, form
from impls.kernels import cuda_products, cuda_recurrence, cuda_streamed

ARCHITECTURES = (80, 90, 100)
REGISTERS = 65536  # of one multiprocessor, on each of them
# What one program may have, in bytes (CUDA C++ Programming Guide, technical specifications).
SHARED = {80: 163 << 10, 90: 227 << 10, 100: 227 << 10}
POINTERS = {torch.float32: "*fp32", torch.float64: "*fp64", torch.bfloat16: "*bf16"}
SIZES = {"T": "i32", "B": "i32", "H": "i32"}
STORED = ("W", "Wt", "Ut", "V", "states")  # in the type that a form keeps weights and states in
ALONE, MANY = 1, 10_000
# A form's name -> layers, units, dtype, sequences, precision on tensor cores.
FORMS = {
    "latency": (1, 128, torch.float32, ALONE, None),
    "throughput": (1, 128, torch.float32, MANY, None),
    "latency, float64, H = 64": (1, 64, torch.float64, ALONE, None),
    "streamed, two layers": (2, 128, torch.float32, ALONE, None),
    "streamed, two layers, four": (2, 128, torch.float32, MANY, None),
    "streamed, H = 256, four": (1, 256, torch.float32, MANY, None),
    "tf32x3": (1, 128, torch.float32, MANY, "tf32x3"),
    "tf32": (1, 128, torch.float32, ALONE, "tf32"),
    "tf32, sixteen": (1, 128, torch.float32, MANY, "tf32"),
    "bfloat16": (1, 128, torch.float32, ALONE, "bfloat16"),
    "bfloat16, sixteen": (1, 128, torch.float32, MANY, "bfloat16"),
}
KERNELS = {
    "kept": (cuda_recurrence.forward, cuda_recurrence.backward),
    "streamed": (cuda_streamed.forward_streamed, cuda_streamed.backward_streamed),
    "products": (cuda_products.forward_products, cuda_products.backward_products),
}
# What is done with it: without gradients, with gradients to come, and those.
WAYS = ("generate", "forward", "backward")


@dataclass(frozen=True, slots=True)
class Needs:
    """What one program of a compiled kernel takes.

    Attributes:
        architecture: compute capability times ten.
        warps: of 32 threads each.
        registers: of one thread.
        stack_bytes: memory of one thread for what its registers did not hold: spills.
        shared_bytes: shared memory.
    """

    architecture: int
    warps: int
    registers: int
    stack_bytes: int
    shared_bytes: int

    @property
    def programs(self) -> int:
        """How many of them one multiprocessor holds at once: its registers, its shared memory."""
        a_warp = -(-self.registers // 8) * 8 * 32  # dealt out by the warp, 256 at a time
        # A program has 1 KiB beside what it asked for, and a multiprocessor as much more.
        share = (SHARED[self.architecture] + 1024) // (self.shared_bytes + 1024)
        return min(REGISTERS // (a_warp * self.warps), share)


def cut_of(name: str) -> Form:
    """How one of `FORMS` is cut, on a GPU of 132 multiprocessors."""
    layers, units, dtype, batch, precision = FORMS[name]
    config = GeneratorConfig(hidden_size=units, num_layers=layers)
    return form(config, batch, dtype, 132, precision)


def built(name: str, way: str, architecture: int) -> CompiledKernel:
    """Compile one of `FORMS` for one of `WAYS` and a compute capability times ten."""
    (layers, _, dtype, _, precision), cut = FORMS[name], cut_of(name)
    forward, backward = KERNELS["products" if precision else "streamed" if cut.streamed else "kept"]
    kernel = backward if way == "backward" else forward
    constants: dict[str, Any] = {
        "I": 1, "RELU": False, "KEEP": way == "forward", "DROPS": False, "LAYERS": layers,
        **cut.blocks,
    }  # fmt: skip
    names = kernel.arg_names
    kinds = {"forced": "*i8", **SIZES, **dict.fromkeys(STORED, POINTERS[cut.stored or dtype])}
    signature = {n: "constexpr" if n in constants else kinds.get(n, POINTERS[dtype]) for n in names}
    # What a launch sees of its arguments: torch's memory is aligned, and so is H. In this order
    # always, for Triton finds what it compiled before by how it was asked.
    whole = [n for n in names if signature[n].startswith("*") or n == "H"]
    source = ASTSource(
        kernel,
        signature,
        {(names.index(n),): value for n, value in constants.items() if n in names},
        {(names.index(n),): [["tt.divisibility", 16]] for n in whole},
    )
    options = cut.options(trains=way != "generate")
    return triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)


@lru_cache
def needs(name: str, way: str, architecture: int) -> Needs:
    """What `built` one takes."""
    compiled = built(name, way, architecture)
    registers, stack = _resources(compiled.asm["cubin"])
    return Needs(architecture, cut_of(name).warps, registers, stack, compiled.metadata.shared)


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
            "of one program; at once: programs that the registers and the shared memory of one "
            "multiprocessor hold.",
        ),
    )


if __name__ == "__main__":
    sys.stdout.write(to_markdown(table()))

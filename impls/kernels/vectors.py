"""What a compiler does not find by itself: blocks of a matrix product held in vector registers.

numba compiles plain loops well, but it may not reorder floating-point sums, and it keeps no block
of sums in registers over a loop of unknown length. So the inner product is written in LLVM's own
language here, with its vector types; everything around it is plain numba.

Vectors are as wide as the host's registers. LLVM splits and joins them on any other processor, so
the widths decide the speed alone, never whether it runs.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_SOURCES = hashlib.blake2b(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))),
    digest_size=4,
).hexdigest()


def compiled(function: Any) -> Any:
    """Compile ``function``: threads run it side by side, and the next process finds it on disk.

    numba looks whether the function's own file has changed since, but not whether what it calls
    has. So the name that it is kept under tells by all of these sources.
    """
    function.__qualname__ += f"_{_SOURCES}"
    return numba.njit(nogil=True, cache=True, error_model="numpy")(function)


def vector_bytes(features: Mapping[str, bool]) -> int:
    """What a register holds, by LLVM's features of a processor: it names what is missing too."""
    return 64 if features.get("avx512f", False) else 32


VECTOR_BYTES = vector_bytes(llvm.get_host_cpu_features())
# A block of sums: so many sequences by so many vectors. LLVM loads a whole row of weights and a
# number of each state before it multiplies: 16 + 4 + 4 of the 32 registers of AVX-512, 8 + 2 + 4 of
# the 16 of AVX2. With more (6 by 4) it kept the sums in memory, at half the speed.
BLOCK_ROWS, BLOCK_VECTORS = (4, 4) if VECTOR_BYTES == 64 else (4, 2)


def lanes(itemsize: int) -> int:
    """Numbers in a vector."""
    return VECTOR_BYTES // itemsize


class _Emitter:
    """LLVM code over one vector type.

    Args:
        context: numba's.
        builder: where the code goes.
        element: numba's type of one number.
    """

    def __init__(self, context: Any, builder: Any, element: Any) -> None:
        self.builder = builder
        self.scalar = context.get_value_type(element)
        self.width = lanes(element.bitwidth // 8)
        self.vector = ir.VectorType(self.scalar, self.width)
        self.align = element.bitwidth // 8
        self._name = f"v{self.width}f{element.bitwidth}"
        self._lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.width), [0] * self.width)
        self._undefined = ir.Constant(self.vector, ir.Undefined)

    def index(self, value: int) -> Any:
        return ir.Constant(ir.IntType(64), value)

    def load(self, pointer: Any, offset: Any) -> Any:
        """A vector from so many numbers behind the pointer."""
        place = self.builder.gep(pointer, [offset])
        return self.builder.load(
            self.builder.bitcast(place, self.vector.as_pointer()), align=self.align
        )

    def store(self, vector: Any, pointer: Any, offset: Any) -> None:
        place = self.builder.gep(pointer, [offset])
        target = self.builder.bitcast(place, self.vector.as_pointer())
        self.builder.store(vector, target, align=self.align)

    def everywhere(self, pointer: Any, offset: Any) -> Any:
        """A vector of one number."""
        number = self.builder.load(self.builder.gep(pointer, [offset]))
        first = self.builder.insert_element(self._undefined, number, ir.Constant(ir.IntType(32), 0))
        return self.builder.shuffle_vector(first, self._undefined, self._lanes)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """``a b + c``, rounded once."""
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        function = cgutils.get_or_insert_function(
            self.builder.module, kind, f"llvm.fma.{self._name}"
        )
        return self.builder.call(function, [a, b, c])

    def multiply_add(self, sums: list[Any], numbers: list[Any], vectors: list[Any]) -> None:
        """``sums[r, v] += numbers[r] vectors[v]``, the sums being places, row after row."""
        for r, number in enumerate(numbers):
            for v, vector in enumerate(vectors):
                place = sums[r * len(vectors) + v]
                self.builder.store(self.fma(number, vector, self.builder.load(place)), place)

    def transposed(self, rows: list[Any]) -> list[Any]:
        """A square of as many vectors as one has numbers, its columns as vectors.

        At each stage the off-diagonal halves of blocks twice as large change places.
        """
        apart = 1
        while apart < self.width:
            for first in range(self.width):
                if not first & apart:
                    upper, lower = rows[first], rows[first + apart]
                    rows[first] = self._shuffled(upper, lower, apart, False)
                    rows[first + apart] = self._shuffled(upper, lower, apart, True)
            apart *= 2
        return rows

    def _shuffled(self, upper: Any, lower: Any, apart: int, high: bool) -> Any:
        taken = [
            (lane + (apart if high else 0))
            if not lane & apart
            else self.width + lane - (0 if high else apart)
            for lane in range(self.width)
        ]
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.width), taken)
        return self.builder.shuffle_vector(upper, lower, mask)

    def total(self, vector: Any) -> Any:
        """The sum of a vector's numbers, in pairs."""
        kind = ir.FunctionType(self.scalar, [self.scalar, self.vector])
        function = cgutils.get_or_insert_function(
            self.builder.module, kind, f"llvm.vector.reduce.fadd.{self._name}"
        )
        zero = ir.Constant(self.scalar, 0.0)
        return self.builder.call(function, [zero, vector], fastmath=("reassoc",))


def _values(context: Any, builder: Any, signature: Any, arguments: Any) -> list[Any]:
    """An intrinsic's arguments, a pointer to the first number where it was given an array."""
    return [
        cgutils.create_struct_proxy(kind)(context, builder, value=value).data
        if isinstance(kind, types.Array)
        else value
        for kind, value in zip(signature.args, arguments, strict=True)
    ]


def _block(rows: int, vectors: int, panels: int = 1) -> Any:
    """The product of ``rows`` sequences with ``vectors`` vectors of columns of each of ``panels``.

    c[r, :] = bias + sum_k a[r, k] w[k, :] + sum_i x[r, i] w[n + i, :]

    Every sum stays in a register from the first k to the last. With ``back`` the first sum goes
    from the last k to the first: what the last step read last is then still in the nearest cache.
    """

    @intrinsic
    def block(
        typingctx, c, c_at, c_row, a, a_at, a_row, n, back, x, x_at, x_row, m, w, w_at, bias, b_at
    ):
        index = types.int64
        signature = types.void(
            c, index, index, a, index, index, index, types.boolean, x, index, index, index, w,
            index, bias, index,
        )  # fmt: skip

        def emit(context, builder, signature, arguments):
            c, c_at, c_row, a, a_at, a_row, n, back, x, x_at, x_row, m, w, w_at, bias, b_at = (
                _values(context, builder, signature, arguments)
            )
            code = _Emitter(context, builder, signature.args[0].dtype)
            step = code.index(vectors * code.width)
            panel = builder.mul(builder.add(n, m), step)
            columns = [code.index(v * code.width) for v in range(panels * vectors)]
            begins = [builder.add(w_at, builder.mul(panel, code.index(p))) for p in range(panels)]

            def row_of(start, stride, number):
                return builder.add(start, builder.mul(stride, code.index(number)))

            sums = [
                cgutils.alloca_once_value(builder, code.load(bias, builder.add(b_at, column)))
                for _ in range(rows)
                for column in columns
            ]

            def accumulate(source, at, row, k, w_row):
                inside = builder.mul(w_row, step)
                weights = [
                    code.load(w, builder.add(builder.add(begin, inside), column))
                    for begin in begins
                    for column in columns[:vectors]
                ]
                numbers = [
                    code.everywhere(source, builder.add(row_of(at, row, r), k)) for r in range(rows)
                ]
                code.multiply_add(sums, numbers, weights)

            last = builder.sub(n, code.index(1))
            with cgutils.for_range(builder, n) as loop:
                k = builder.select(back, builder.sub(last, loop.index), loop.index)
                accumulate(a, a_at, a_row, k, k)
            with cgutils.for_range(builder, m) as loop:
                accumulate(x, x_at, x_row, loop.index, builder.add(n, loop.index))
            for r in range(rows):
                for v, column in enumerate(columns):
                    total = builder.load(sums[r * len(columns) + v])
                    code.store(total, c, builder.add(row_of(c_at, c_row, r), column))
            return context.get_dummy_value()

        return signature, emit

    return block


def _outer_block(rows: int, vectors: int) -> Any:
    """g[r, :] += sum_k d[k, r] h[k, :], for ``rows`` rows and ``vectors`` vectors of columns.

    The sum begins at zero and is added as one: rounding grows with the root of the number of such
    sums, and not with that of all products.
    """

    @intrinsic
    def block(typingctx, g, g_at, g_row, d, d_at, d_row, h, h_at, h_row, n):
        index = types.int64
        signature = types.void(g, index, index, d, index, index, h, index, index, index)

        def emit(context, builder, signature, arguments):
            g, g_at, g_row, d, d_at, d_row, h, h_at, h_row, n = _values(
                context, builder, signature, arguments
            )
            code = _Emitter(context, builder, signature.args[0].dtype)
            columns = [code.index(v * code.width) for v in range(vectors)]
            places = [
                builder.add(builder.add(g_at, builder.mul(g_row, code.index(r))), column)
                for r in range(rows)
                for column in columns
            ]
            zero = ir.Constant(code.vector, [0.0] * code.width)
            sums = [cgutils.alloca_once_value(builder, zero) for _ in places]
            with cgutils.for_range(builder, n) as loop:
                d_k = builder.add(d_at, builder.mul(loop.index, d_row))
                h_k = builder.add(h_at, builder.mul(loop.index, h_row))
                states = [code.load(h, builder.add(h_k, column)) for column in columns]
                numbers = [code.everywhere(d, builder.add(d_k, code.index(r))) for r in range(rows)]
                code.multiply_add(sums, numbers, states)
            for place, total in zip(places, sums, strict=True):
                code.store(builder.fadd(code.load(g, place), builder.load(total)), g, place)
            return context.get_dummy_value()

        return signature, emit

    return block


@intrinsic
def transpose(typingctx, target, target_at, target_row, source, source_at, source_row):
    """``target[k, j] = source[j, k]`` over a square whose side is a vector's width.

    Number by number, each of them would be a load and a store.
    """
    index = types.int64
    signature = types.void(target, index, index, source, index, index)

    def emit(context, builder, signature, arguments):
        target, target_at, target_row, source, source_at, source_row = _values(
            context, builder, signature, arguments
        )
        code = _Emitter(context, builder, signature.args[0].dtype)

        def row_of(start, stride, number):
            return builder.add(start, builder.mul(stride, code.index(number)))

        numbers = range(code.width)
        rows = [code.load(source, row_of(source_at, source_row, j)) for j in numbers]
        for k, column in enumerate(code.transposed(rows)):
            code.store(column, target, row_of(target_at, target_row, k))
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def dot(typingctx, a, a_at, b, b_at, n):
    """``sum_k a[a_at + k] b[b_at + k]`` over ``n`` numbers, a multiple of the vector's width."""
    index = types.int64

    def emit(context, builder, signature, arguments):
        a, a_at, b, b_at, n = _values(context, builder, signature, arguments)
        code = _Emitter(context, builder, signature.args[0].dtype)
        total = cgutils.alloca_once_value(builder, ir.Constant(code.vector, [0.0] * code.width))
        with cgutils.for_range(builder, builder.sdiv(n, code.index(code.width))) as loop:
            k = builder.mul(loop.index, code.index(code.width))
            product = code.fma(
                code.load(a, builder.add(a_at, k)),
                code.load(b, builder.add(b_at, k)),
                builder.load(total),
            )
            builder.store(product, total)
        return code.total(builder.load(total))

    return a.dtype(a, index, b, index, index), emit


@intrinsic
def fma(typingctx, a, b, c):
    """``a b + c``, rounded once; LLVM makes vectors of it in a loop."""

    def emit(context, builder, signature, arguments):
        return builder.fma(*arguments)

    return a(a, a, a), emit


# By rows and vectors: whole blocks, and what is left over at the edges.
MANY_WIDE, MANY_NARROW = _block(BLOCK_ROWS, BLOCK_VECTORS), _block(BLOCK_ROWS, 1)
ONE_WIDE, ONE_NARROW = _block(1, BLOCK_VECTORS), _block(1, 1)
# A single sequence has one row of sums: with two panels at once they wait less for each other.
ONE_DOUBLE = _block(1, BLOCK_VECTORS, panels=2)
OUTER_WIDE, OUTER_NARROW = _outer_block(BLOCK_ROWS, BLOCK_VECTORS), _outer_block(BLOCK_ROWS, 1)

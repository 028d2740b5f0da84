"""What a compiler does not find by itself: blocks of a matrix product held in vector registers.

numba compiles plain loops well, but it may not reorder floating-point sums, and it keeps no block
of sums in registers over a loop of unknown length. So the inner product is written in LLVM's own
language here, with its vector types; everything around it is plain numba.

Vectors are as wide as the host's registers. LLVM splits and joins them on any other processor, so
the widths decide the speed alone, never whether it runs.
"""

from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

# Threads run it side by side, and the next process finds it on disk.
compiled = numba.njit(nogil=True, cache=True, error_model="numpy")

VECTOR_BYTES = 64 if "avx512f" in llvm.get_host_cpu_features() else 32
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

    def total(self, vector: Any) -> Any:
        """The sum of a vector's numbers, in pairs."""
        kind = ir.FunctionType(self.scalar, [self.scalar, self.vector])
        function = cgutils.get_or_insert_function(
            self.builder.module, kind, f"llvm.vector.reduce.fadd.{self._name}"
        )
        zero = ir.Constant(self.scalar, 0.0)
        return self.builder.call(function, [zero, vector], fastmath=("reassoc",))


def _pointer(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    return cgutils.create_struct_proxy(array_type)(context, builder, value=array).data


def _block(rows: int, vectors: int) -> Any:
    """The product of ``rows`` sequences with ``vectors`` vectors of columns.

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
                _pointer(context, builder, kind, value) if isinstance(kind, types.Array) else value
                for kind, value in zip(signature.args, arguments, strict=True)
            )
            code = _Emitter(context, builder, signature.args[0].dtype)
            step = vectors * code.width

            def row_of(start, stride, number):
                return builder.add(start, builder.mul(stride, code.index(number)))

            def column(start, number):
                return builder.add(start, code.index(number * code.width))

            sums = [
                cgutils.alloca_once_value(builder, code.load(bias, column(b_at, v)))
                for _ in range(rows)
                for v in range(vectors)
            ]

            def accumulate(source, at, row, k, w_row):
                weights_at = builder.add(w_at, builder.mul(w_row, code.index(step)))
                weights = [code.load(w, column(weights_at, v)) for v in range(vectors)]
                for r in range(rows):
                    number = code.everywhere(source, builder.add(row_of(at, row, r), k))
                    for v in range(vectors):
                        place = sums[r * vectors + v]
                        builder.store(code.fma(number, weights[v], builder.load(place)), place)

            last = builder.sub(n, code.index(1))
            with cgutils.for_range(builder, n) as loop:
                k = builder.select(back, builder.sub(last, loop.index), loop.index)
                accumulate(a, a_at, a_row, k, k)
            with cgutils.for_range(builder, m) as loop:
                accumulate(x, x_at, x_row, loop.index, builder.add(n, loop.index))
            for r in range(rows):
                for v in range(vectors):
                    total = builder.load(sums[r * vectors + v])
                    code.store(total, c, column(row_of(c_at, c_row, r), v))
            return context.get_dummy_value()

        return signature, emit

    return block


@intrinsic
def dot(typingctx, a, a_at, b, b_at, n):
    """``sum_k a[a_at + k] b[b_at + k]`` over ``n`` numbers, a multiple of the vector's width."""
    index = types.int64

    def emit(context, builder, signature, arguments):
        a_type, _, b_type, *_ = signature.args
        a, a_at, b, b_at, n = arguments
        a = _pointer(context, builder, a_type, a)
        b = _pointer(context, builder, b_type, b)
        code = _Emitter(context, builder, a_type.dtype)
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

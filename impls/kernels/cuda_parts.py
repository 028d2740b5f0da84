"""What the CUDA kernels share: tanh, small sums, how matrices are loaded, and the flags."""

import triton
import triton.language as tl

from impls.kernels import rational

P0, P1, P2 = (tl.constexpr(p) for p in (rational.P0, rational.P1, rational.P2))
Q0, Q1 = tl.constexpr(rational.Q0), tl.constexpr(rational.Q1)
Q2, Q3 = tl.constexpr(rational.Q2), tl.constexpr(rational.Q3)
SATURATED = tl.constexpr(rational.SATURATED)
# Flags that `unpack` takes in one argument, which is a signed integer of 32 bits.
FLAGS_A_WORD = tl.constexpr(31)

jit = triton.jit(do_not_specialize=["T", "B"])  # else a length of 1 or 16 is compiled anew


@triton.jit
def tanh(x):
    """Within few units in the last place, NaN where x is; no libdevice, which has no interpreter.

    In float32 within four, and at most one of them above 1: the quotient of
    `impls.kernels.rational`. In float64, Lambert's continued fraction to the 13th term where exp
    would cancel, which is below 0.25.
    """
    if x.dtype == tl.float64:
        z = x * x
        n = x * (135135.0 + z * (17325.0 + z * (378.0 + z)))
        d = 135135.0 + z * (62370.0 + z * (3150.0 + z * 28.0))
        e = tl.exp(-2.0 * tl.abs(x))  # of |x|, lest it overflow
        far = (1.0 - e) / (1.0 + e)
        return tl.where(z < 0.0625, n / d, tl.where(x < 0.0, -far, far))
    # In this order NaN stays what it is.
    x = tl.where(x > SATURATED, SATURATED, x)
    x = tl.where(x < -SATURATED, -SATURATED, x)
    z = x * x
    n = x * ((P2 * z + P1) * z + P0)
    d = ((Q3 * z + Q2) * z + Q1) * z + Q0
    return (n + n) * d / (d * d + n * n)


@triton.jit
def program():
    """This program's number, wide enough for rows to be counted from."""
    return tl.cast(tl.program_id(0), tl.int64)


@triton.jit
def activation(a, RELU: tl.constexpr):
    """f(a)."""
    if RELU:
        return tl.where(a < 0.0, 0.0, a)  # in this order NaN stays what it is
    return tanh(a)


@triton.jit
def slope(h, RELU: tl.constexpr):
    """f'(a) by h = f(a)."""
    if RELU:
        return tl.where(h > 0.0, 1.0, 0.0).to(h.dtype)
    return 1.0 - h * h


@triton.jit
def matrix(at, size, BLOCK: tl.constexpr):
    """A (size, size) matrix with zeros around it."""
    k = tl.arange(0, BLOCK)
    inside = (k[:, None] < size) & (k[None, :] < size)
    return tl.load(at + k[:, None] * size + k[None, :], mask=inside, other=0.0)


@triton.jit
def rows(at, I, H, BLOCK_I: tl.constexpr, BLOCK_H: tl.constexpr):
    """An (I, H) matrix with zeros around it."""
    i, k = tl.arange(0, BLOCK_I), tl.arange(0, BLOCK_H)
    inside = (i[:, None] < I) & (k[None, :] < H)
    return tl.load(at + i[:, None] * H + k[None, :], mask=inside, other=0.0)


@triton.jit
def times(w, x):
    """W x, for ``w`` (n, m) with what is summed over as its rows."""
    return tl.sum(w * x[:, None], 0)


@triton.jit
def across(rows, x):
    """The (I,) sums of each of ``rows`` (I, H) with x (H,)."""
    return tl.sum(rows * x[None, :], 1)


@triton.jit(do_not_specialize=["word", "first", "size"])
def unpack(flags, word, first, size, BLOCK: tl.constexpr):
    """flags[first + n] = bit n of ``word``, for n < size: flags that come as an argument."""
    n = tl.arange(0, BLOCK)
    tl.store(flags + first + n, ((word >> n) & 1).to(tl.int8), mask=n < size)

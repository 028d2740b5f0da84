r"""One layer's recurrence on tensor cores: a step of several sequences is one product.

The equations are `impls.kernels.cuda_recurrence`'s. There a sequence is a vector, and its product
with W is so many multiply-adds of single numbers. Here the states of BLOCK_N sequences are the
columns of a matrix, and tensor cores multiply W, (H, H), with it, (H, BLOCK_N).

Tiling, and why:

- W is the left operand, because it stays: it is loaded before the first step and lies where an
  architecture's tensor cores want it, in the registers (sm_80) or in shared memory (sm_90, sm_100).
  A warp has sixteen rows of it, as many as one instruction multiplies with: so the chain of
  instructions of a step is as short as H allows, and all tensor cores of a multiprocessor work.
- The states are the right operand: they change hands at every step, by way of shared memory.
- The read-out is a small sum beside the product, and not sixteen more rows of it: it needs the same
  states, and nothing waits for it before the product is done. The feedback is a late multiply-add
  with U. Both are computed in float32 whatever the product is rounded to. A feature is a vector of
  its own, of one number for each sequence.
- Both kernels have one product outside of their loop. Else the compiler would load W's part from
  shared memory at every step, to save the registers that are there to hold it (sm_80).
- W comes rounded. Were it rounded here, the compiler would keep it in the registers where it should
  be in shared memory (sm_90), and for "tf32x3" they would not suffice.

PRECISION says what is multiplied; whatever it is, sums are float32, and so are tanh and its slope:

- "tf32": both operands are rounded to 10 bits behind the point, to the nearest, W by `round_matrix`
  and the states at every step. Left alone, the hardware may cut the other bits off, which makes
  every product too small.
- "tf32x3": an operand is the sum of two such numbers; the product is three, less that of the two
  small parts, which float32 would not hold either. Split here and not by Triton's own "tf32x3",
  which would split W again at every step.
- "bfloat16": W, U, V and the states between the steps are kept in bfloat16.
- "ieee": float32 as it is, on no tensor core: to test the rest of the kernel by.

Shapes are T, B, I, L, H as everywhere. BLOCK_H is H rounded up to a power of two and at least 16;
what is padded is zero, and stays zero.
"""

import triton
import triton.language as tl

from impls.kernels.cuda_parts import activation, jit, matrix, program, slope


@triton.jit
def tf32(x):
    """The nearest number with 10 bits behind the point, of two the one that is farther from 0."""
    near = ((x.to(tl.int32, bitcast=True) + 0x1000) & -0x2000).to(tl.float32, bitcast=True)
    return tl.where(x == x, near, x)  # noqa: PLR0124 - NaN, whose bits would run over


@triton.jit(do_not_specialize=["size", "down", "right"])
def round_matrix(W, rounded, size, down, right, PRECISION: tl.constexpr, BLOCK: tl.constexpr):
    """One row of W as `forward_products` wants it: in its type, rounded, for "tf32x3" in two parts.

    Args:
        W: (size, size), any strides.
        rounded: (1, size, size), or (2, size, size) for the parts, written.
        size: of W.
        down: stride from one row to the next.
        right: stride within a row.
        PRECISION: of the products.
        BLOCK: size as a power of two.
    """
    row, k = tl.program_id(0), tl.arange(0, BLOCK)
    w = tl.load(W + row * down + k * right, mask=k < size, other=0.0)
    near = w
    if PRECISION == "tf32" or PRECISION == "tf32x3":  # noqa: PLR1714 - no sets for this compiler
        near = tf32(w)
    tl.store(rounded + row * size + k, near, mask=k < size)
    if PRECISION == "tf32x3":
        tl.store(rounded + (size + row) * size + k, tf32(w - near), mask=k < size)


@triton.jit
def _parts(at, H, PRECISION: tl.constexpr, BLOCK_H: tl.constexpr):
    """What `round_matrix` made of W: what is multiplied with, and what that lacks for "tf32x3"."""
    near = matrix(at, H, BLOCK_H)
    rest = near
    if PRECISION == "tf32x3":
        rest = matrix(at + H * H, H, BLOCK_H)
    return near, rest


@triton.jit
def _product(w, rest, x, PRECISION: tl.constexpr):
    """W x (H, BLOCK_N) in float32; ``w`` and ``rest`` as `_parts` gives them."""
    if PRECISION == "bfloat16":
        total = tl.dot(w, x.to(tl.bfloat16))
    elif PRECISION == "ieee":
        total = tl.dot(w, x, input_precision="ieee")
    else:
        near = tf32(x)
        total = tl.zeros(x.shape, tl.float32)
        if PRECISION == "tf32x3":  # the small ones first
            total = tl.dot(rest, near, total, input_precision="tf32")
            total = tl.dot(w, tf32(x - near), total, input_precision="tf32")
        total = tl.dot(w, near, total, input_precision="tf32")
    return total


@triton.jit
def _kept(x, PRECISION: tl.constexpr):
    """A state as the next step finds it, in float32."""
    if PRECISION == "bfloat16":
        x = x.to(tl.bfloat16).to(tl.float32)
    return x


@triton.jit
def _columns(at, H, FEATURES: tl.constexpr, BLOCK_H: tl.constexpr):
    """The rows of an (I, H) matrix, each a vector (BLOCK_H,) of float32."""
    k, found = tl.arange(0, BLOCK_H), ()
    for i in tl.static_range(FEATURES):
        row = tl.load(at + i * H + k, mask=k < H, other=0.0)
        found = found + (row.to(tl.float32),)  # noqa: RUF005 - the compiler knows no unpacking here
    return found


@triton.jit
def _features(at, here, FEATURES: tl.constexpr):
    """Each feature of BLOCK_N sequences, a vector of its own; 0 where not ``here``."""
    found = ()
    for i in tl.static_range(FEATURES):
        found = found + (tl.load(at + i, mask=here, other=0.0),)  # noqa: RUF005
    return found


@jit
def forward_products(
    inputs, forced, h0, W, Ut, b, V, c, predictions, h_n, states, read, T, B, H,
    RELU: tl.constexpr, KEEP: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_H: tl.constexpr, BLOCK_N: tl.constexpr, FEATURES: tl.constexpr,
):  # fmt: skip
    """One layer, BLOCK_N sequences a program.

    Args:
        inputs: (T, B, I); where ``forced`` is 0 not used, whatever it holds.
        forced: (T,) int8.
        h0: (1, B, H).
        W: `round_matrix` of W; bfloat16 for that PRECISION, like Ut, V and states.
        Ut: (I, H), U transposed.
        b: (H,), both biases.
        V: (I, H).
        c: (I,).
        predictions: (T, B, I), written.
        h_n: (1, B, H), written.
        states: (T + 1, B, H), h0 first, written with KEEP.
        read: (T, B, I), what each step read, written with KEEP.
        T: steps, at least 1.
        B: sequences.
        H: units.
        RELU: else tanh.
        KEEP: whether a backward pass will follow.
        PRECISION: of the product with W.
        BLOCK_H: H as a power of two, at least 16.
        BLOCK_N: sequences of one program, a power of two, at least 8.
        FEATURES: I.
    """
    k, n = tl.arange(0, BLOCK_H), program() * BLOCK_N + tl.arange(0, BLOCK_N)
    row_i, row_h = tl.cast(B, tl.int64) * FEATURES, tl.cast(B, tl.int64) * H
    own_i, own_h = n * FEATURES, n[None, :] * H + k[:, None]
    here = (k[:, None] < H) & (n[None, :] < B)
    w, rest = _parts(W, H, PRECISION, BLOCK_H)
    u, v = _columns(Ut, H, FEATURES, BLOCK_H), _columns(V, H, FEATURES, BLOCK_H)
    bias = tl.load(b + k, mask=k < H, other=0.0)
    shift = ()
    for i in tl.static_range(FEATURES):
        shift = shift + (tl.load(c + i),)  # noqa: RUF005
    h = _kept(tl.load(h0 + own_h, mask=here, other=0.0), PRECISION)
    if KEEP:
        tl.store(states + own_h, h, mask=here)
    given, teacher = _features(inputs + own_i, n < B, FEATURES), tl.load(forced)
    y = given  # nothing was said before the first step, which is forced
    a = _product(w, rest, h, PRECISION) + bias[:, None]
    for t in range(T):
        ahead = n < tl.where(t + 1 < T, B, 0)
        next_given = _features(inputs + (t + 1) * row_i + own_i, ahead, FEATURES)
        next_teacher = tl.load(forced + t + 1, mask=t + 1 < T, other=0)
        for i in tl.static_range(FEATURES):
            x = tl.where(teacher != 0, given[i], y[i])
            if KEEP:
                tl.store(read + t * row_i + own_i + i, x, mask=n < B)
            a += u[i][:, None] * x[None, :]
        h = _kept(activation(a, RELU), PRECISION)
        if KEEP:
            tl.store(states + (t + 1) * row_h + own_h, h, mask=here)
        # Of the step to come; the last one is for nothing.
        a = _product(w, rest, h, PRECISION) + bias[:, None]
        y = ()
        for i in tl.static_range(FEATURES):
            said = tl.sum(v[i][:, None] * h, 0) + shift[i]
            tl.store(predictions + t * row_i + own_i + i, said, mask=n < B)
            y = y + (said,)  # noqa: RUF005
        given, teacher = next_given, next_teacher
    tl.store(h_n + own_h, h, mask=here)


@jit
def backward_products(
    d_predictions, d_h_n, forced, states, Wt, Ut, V, d_a, d_y, d_inputs, d_h0, T, B, H,
    RELU: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_H: tl.constexpr, BLOCK_N: tl.constexpr, FEATURES: tl.constexpr,
):  # fmt: skip
    """`forward_products`'s way back; of the weights' gradients what one product each makes.

    Args:
        d_predictions: (T, B, I), dL/dy.
        d_h_n: (1, B, H).
        forced: (T,) int8.
        states: (T + 1, B, H), of `forward_products`.
        Wt: `round_matrix` of W transposed; bfloat16 for that PRECISION, like Ut, V and states.
        Ut: (I, H), U transposed.
        V: (I, H).
        d_a: (T, B, H), da, written.
        d_y: (T, B, I), dy with what comes back through the feedback, written.
        d_inputs: (T, B, I), written; 0 where not forced.
        d_h0: (1, B, H), written.
        T: steps, at least 1.
        B: sequences.
        H: units.
        RELU: else tanh.
        PRECISION: of the product with W'.
        BLOCK_H: H as a power of two, at least 16.
        BLOCK_N: sequences of one program, a power of two, at least 8.
        FEATURES: I.
    """
    k, n = tl.arange(0, BLOCK_H), program() * BLOCK_N + tl.arange(0, BLOCK_N)
    row_i, row_h = tl.cast(B, tl.int64) * FEATURES, tl.cast(B, tl.int64) * H
    own_i, own_h = n * FEATURES, n[None, :] * H + k[:, None]
    here = (k[:, None] < H) & (n[None, :] < B)
    w, rest = _parts(Wt, H, PRECISION, BLOCK_H)
    u, v = _columns(Ut, H, FEATURES, BLOCK_H), _columns(V, H, FEATURES, BLOCK_H)
    da = tl.zeros((BLOCK_H, BLOCK_N), tl.float32)
    h = tl.load(states + T * row_h + own_h, mask=here, other=0.0)
    dy = _features(d_predictions + (T - 1) * row_i + own_i, n < B, FEATURES)
    teacher = tl.load(forced + T - 1)
    for back in range(T):
        t, to_come = T - 1 - back, back + 1 < T
        ahead = n < tl.where(to_come, B, 0)
        above = _features(d_predictions + (t - 1) * row_i + own_i, ahead, FEATURES)
        next_teacher = tl.load(forced + t - 1, mask=to_come, other=0)
        before = tl.load(states + t * row_h + own_h, mask=here, other=0.0)
        # Asked for at every step and loaded at the first: cheaper than registers to carry it.
        first = here & (back == 0)
        dh = _product(w, rest, da, PRECISION) + tl.load(d_h_n + own_h, mask=first, other=0.0)
        for i in tl.static_range(FEATURES):
            tl.store(d_y + t * row_i + own_i + i, dy[i], mask=n < B)
            dh += v[i][:, None] * dy[i][None, :]
        da = dh * slope(h.to(tl.float32), RELU)
        tl.store(d_a + t * row_h + own_h, da, mask=here)
        next_dy = ()
        for i in tl.static_range(FEATURES):
            f = tl.sum(u[i][:, None] * da, 0)
            given = tl.where(teacher != 0, f, 0.0)
            tl.store(d_inputs + t * row_i + own_i + i, given, mask=n < B)
            # Where it was not given, it was what the step before said.
            next_dy = next_dy + (above[i] + tl.where(teacher != 0, 0.0, f),)  # noqa: RUF005
        dy, teacher, h = next_dy, next_teacher, before
    tl.store(d_h0 + own_h, _product(w, rest, da, PRECISION), mask=here)

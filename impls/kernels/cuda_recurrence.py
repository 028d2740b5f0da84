r"""The whole recurrence in one Triton kernel: all steps of some sequences, forward or backward.

Forward, for t = 0 .. T-1, and backward, for t = T-1 .. 0, of one layer::

    y_{t-1} = V h_{t-1} + c                          f_{t+1} = U' da_{t+1}
    x_t     = forced[t] ? inputs[t] : y_{t-1}        dy_t    = dL/dy_t + (forced[t+1] ? 0 : f_{t+1})
    h_t     = f(b + W h_{t-1} + U x_t)               da_t    = f'(a_t) (W' da_{t+1} + V' dy_t)

Both are one product of a matrix with what the step before left, and the read-out is one more row of
it: V h and W h are under way together, and the feedback costs one late multiply-add with U. Whether
a step is forced is a select: no branch, and no kernel of its own for another pattern.

Tiling, and why:

- A program owns some sequences and goes with them from one end of time to the other. A sequence
  never needs another one, so programs never wait for each other.
- `forward` and `backward` load W once: a thread keeps 64 registers of it (128 x 128 numbers of
  float32 lie in 8 warps). What is summed over runs down the rows of the tile, and a row is
  contiguous in memory: so the compiler deals the rows to the warps and a row's columns to the
  lanes. A sum is then in one thread for the most part, and ends with one exchange between the
  warps, instead of five between lanes for each of sixteen rows. This is why forward wants W's
  transpose and backward W itself.
- Several sequences of a program are several sums in a row over the same registers, each a vector of
  its own. As a third axis of the tile they would be dealt to lanes, and W would be held many times.
- What does not depend on the state (the next input, the next flag) is loaded a step ahead.
- `forward_streamed` and `backward_streamed` are for what registers cannot hold: more layers, wider
  ones. They read the matrices at every step, from whichever cache they fit into, in chunks of rows;
  states go through memory, with a barrier, for a register can not be picked by a loop's index.

The sum of one number never depends on the sequences beside it: every batch gets the same bits, as
long as the form is the same.

Shapes are T, B, I, L, H as everywhere. BLOCK_H and BLOCK_I are H and I rounded up to powers of two;
what is padded is zero, and stays zero: tanh(0) = relu(0) = 0. Rows are counted in 64 bits. The
weights are packed as `impls.fused_cuda` says.
"""

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
def _sequence():
    """This program's number, wide enough for rows to be counted from."""
    return tl.cast(tl.program_id(0), tl.int64)


@triton.jit
def _activation(a, RELU: tl.constexpr):
    if RELU:
        return tl.where(a < 0.0, 0.0, a)  # in this order NaN stays what it is
    return tanh(a)


@triton.jit
def _slope(h, RELU: tl.constexpr):
    """f'(a) by h = f(a)."""
    if RELU:
        return tl.where(h > 0.0, 1.0, 0.0).to(h.dtype)
    return 1.0 - h * h


@triton.jit
def _matrix(at, size, BLOCK: tl.constexpr):
    """A (size, size) matrix with zeros around it."""
    k = tl.arange(0, BLOCK)
    inside = (k[:, None] < size) & (k[None, :] < size)
    return tl.load(at + k[:, None] * size + k[None, :], mask=inside, other=0.0)


@triton.jit
def _rows(at, I, H, BLOCK_I: tl.constexpr, BLOCK_H: tl.constexpr):
    """An (I, H) matrix with zeros around it."""
    i, k = tl.arange(0, BLOCK_I), tl.arange(0, BLOCK_H)
    inside = (i[:, None] < I) & (k[None, :] < H)
    return tl.load(at + i[:, None] * H + k[None, :], mask=inside, other=0.0)


@triton.jit
def _times(w, x):
    """W x, for ``w`` (n, m) with what is summed over as its rows."""
    return tl.sum(w * x[:, None], 0)


@triton.jit
def _across(rows, x):
    """The (I,) sums of each of ``rows`` (I, H) with x (H,)."""
    return tl.sum(rows * x[None, :], 1)


@triton.jit
def _streamed(at, x, size, columns, CHUNK: tl.constexpr, BLOCK: tl.constexpr):
    """W x, both in memory: ``at`` (size, columns) with what is summed over as its rows.

    The rows that a thread has are added up in its registers; the exchange comes once, at the end.
    """
    k = tl.arange(0, BLOCK)
    total = tl.zeros((CHUNK, BLOCK), at.dtype.element_ty)
    for first in range(0, size, CHUNK):
        j = first + tl.arange(0, CHUNK)
        inside = (j[:, None] < size) & (k[None, :] < columns)
        w = tl.load(at + j[:, None] * columns + k[None, :], mask=inside, other=0.0)
        total += w * tl.load(x + j, mask=j < size, other=0.0)[:, None]
    return tl.sum(total, 0)


@jit
def forward(
    inputs, forced, h0, Wt, Ut, b, V, c, predictions, h_n, states, read, T, B, I, H,
    RELU: tl.constexpr, KEEP: tl.constexpr,
    BLOCK_H: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_B: tl.constexpr,
):  # fmt: skip
    """One layer, W in registers, BLOCK_B sequences a program.

    Args:
        inputs: (T, B, I); where ``forced`` is 0 not used, whatever it holds.
        forced: (T,) int8.
        h0: (1, B, H).
        Wt: (H, H), W transposed.
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
        I: features.
        H: units.
        RELU: else tanh.
        KEEP: whether a backward pass will follow.
        BLOCK_H: H as a power of two.
        BLOCK_I: I as a power of two.
        BLOCK_B: sequences of one program.
    """
    i, k, sequence = tl.arange(0, BLOCK_I), tl.arange(0, BLOCK_H), _sequence() * BLOCK_B
    row_i, row_h = tl.cast(B, tl.int64) * I, tl.cast(B, tl.int64) * H
    w = _matrix(Wt, H, BLOCK_H)
    u, v = _rows(Ut, I, H, BLOCK_I, BLOCK_H), _rows(V, I, H, BLOCK_I, BLOCK_H)
    bias = tl.load(b + k, mask=k < H, other=0.0)
    shift = tl.load(c + i, mask=i < I, other=0.0)
    h, given = (), ()
    for n in tl.static_range(BLOCK_B):
        # A sequence that is not there is as wide as nothing.
        high, wide = tl.where(sequence + n < B, H, 0), tl.where(sequence + n < B, I, 0)
        first = tl.load(h0 + (sequence + n) * H + k, mask=k < high, other=0.0)
        if KEEP:
            tl.store(states + (sequence + n) * H + k, first, mask=k < high)
        h = h + (first,)  # noqa: RUF005 - the compiler knows no unpacking here
        at = inputs + (sequence + n) * I + i
        given = given + (tl.load(at, mask=i < wide, other=0.0),)  # noqa: RUF005
    teacher = tl.load(forced)
    for t in range(T):
        after, to_come = t + 1, t + 1 < T
        next_teacher = tl.load(forced + after, mask=to_come, other=0)
        next_h, next_given = (), ()
        for n in tl.static_range(BLOCK_B):
            high, wide = tl.where(sequence + n < B, H, 0), tl.where(sequence + n < B, I, 0)
            own_i, own_h = (sequence + n) * I, (sequence + n) * H
            coming = i < tl.where(to_come, wide, 0)
            ahead = tl.load(inputs + after * row_i + own_i + i, mask=coming, other=0.0)
            y = _across(v, h[n]) + shift
            a = _times(w, h[n]) + bias
            gone = i < tl.where(t > 0, wide, 0)
            tl.store(predictions + (t - 1) * row_i + own_i + i, y, mask=gone)
            x = tl.where(teacher != 0, given[n], y)
            z = _activation(a + _times(u, x), RELU)
            if KEEP:
                tl.store(read + t * row_i + own_i + i, x, mask=i < wide)
                tl.store(states + after * row_h + own_h + k, z, mask=k < high)
            next_h = next_h + (z,)  # noqa: RUF005
            next_given = next_given + (ahead,)  # noqa: RUF005
        h, given, teacher = next_h, next_given, next_teacher
    for n in tl.static_range(BLOCK_B):
        high, wide = tl.where(sequence + n < B, H, 0), tl.where(sequence + n < B, I, 0)
        y = _across(v, h[n]) + shift
        tl.store(predictions + (T - 1) * row_i + (sequence + n) * I + i, y, mask=i < wide)
        tl.store(h_n + (sequence + n) * H + k, h[n], mask=k < high)


@jit
def backward(
    d_predictions, d_h_n, forced, states, W, Ut, V, d_a, d_y, d_inputs, d_h0, T, B, I, H,
    RELU: tl.constexpr,
    BLOCK_H: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_B: tl.constexpr,
):  # fmt: skip
    """`forward`'s way back; of the weights' gradients it leaves what one product each makes.

    Args:
        d_predictions: (T, B, I), dL/dy.
        d_h_n: (1, B, H).
        forced: (T,) int8.
        states: (T + 1, B, H), of `forward`.
        W: (H, H), as it is.
        Ut: (I, H), U transposed.
        V: (I, H).
        d_a: (T, B, H), da, written.
        d_y: (T, B, I), dy with what comes back through the feedback, written.
        d_inputs: (T, B, I), written; 0 where not forced.
        d_h0: (1, B, H), written.
        T: steps, at least 1.
        B: sequences.
        I: features.
        H: units.
        RELU: else tanh.
        BLOCK_H: H as a power of two.
        BLOCK_I: I as a power of two.
        BLOCK_B: sequences of one program.
    """
    i, k, sequence = tl.arange(0, BLOCK_I), tl.arange(0, BLOCK_H), _sequence() * BLOCK_B
    row_i, row_h = tl.cast(B, tl.int64) * I, tl.cast(B, tl.int64) * H
    w = _matrix(W, H, BLOCK_H)
    u, v = _rows(Ut, I, H, BLOCK_I, BLOCK_H), _rows(V, I, H, BLOCK_I, BLOCK_H)
    da, given, h = (), (), ()
    for n in tl.static_range(BLOCK_B):
        high, wide = tl.where(sequence + n < B, H, 0), tl.where(sequence + n < B, I, 0)
        own_i, own_h = (sequence + n) * I, (sequence + n) * H
        da = da + (tl.zeros((BLOCK_H,), w.dtype),)  # noqa: RUF005
        above = tl.load(d_predictions + (T - 1) * row_i + own_i + i, mask=i < wide, other=0.0)
        given = given + (above,)  # noqa: RUF005
        h = h + (tl.load(states + T * row_h + own_h + k, mask=k < high, other=0.0),)  # noqa: RUF005
    teacher = tl.load(forced)  # of step T, where da is 0: any will do
    for back in range(T):
        t, before = T - 1 - back, T - 2 - back
        after, to_come = t + 1, before >= 0
        next_teacher = tl.load(forced + t)
        next_da, next_given, next_h = (), (), ()
        for n in tl.static_range(BLOCK_B):
            high, wide = tl.where(sequence + n < B, H, 0), tl.where(sequence + n < B, I, 0)
            own_i, own_h = (sequence + n) * I, (sequence + n) * H
            coming = i < tl.where(to_come, wide, 0)
            above = tl.load(d_predictions + before * row_i + own_i + i, mask=coming, other=0.0)
            state = tl.load(states + t * row_h + own_h + k, mask=k < high, other=0.0)
            f = _across(u, da[n])
            # Asked for at every step and loaded at the first: cheaper than a register to carry it.
            first = k < tl.where(back == 0, high, 0)
            dh = tl.load(d_h_n + own_h + k, mask=first, other=0.0) + _times(w, da[n])
            gone = i < tl.where(back > 0, wide, 0)
            tl.store(
                d_inputs + after * row_i + own_i + i, tl.where(teacher != 0, f, 0.0), mask=gone
            )
            dy = given[n] + tl.where(teacher != 0, 0.0, f)
            z = (dh + _times(v, dy)) * _slope(h[n], RELU)
            tl.store(d_y + t * row_i + own_i + i, dy, mask=i < wide)
            tl.store(d_a + t * row_h + own_h + k, z, mask=k < high)
            next_da = next_da + (z,)  # noqa: RUF005
            next_given = next_given + (above,)  # noqa: RUF005
            next_h = next_h + (state,)  # noqa: RUF005
        da, given, h, teacher = next_da, next_given, next_h, next_teacher
    for n in tl.static_range(BLOCK_B):
        high, wide = tl.where(sequence + n < B, H, 0), tl.where(sequence + n < B, I, 0)
        tl.store(d_inputs + (sequence + n) * I + i, _across(u, da[n]), mask=i < wide)
        tl.store(d_h0 + (sequence + n) * H + k, _times(w, da[n]), mask=k < high)


@jit
def forward_streamed(
    inputs, forced, h0, Wt, Rt, Ut, b, V, c, masks, predictions, h_n, states, read, T, B, I, H,
    RELU: tl.constexpr, KEEP: tl.constexpr, DROPS: tl.constexpr, LAYERS: tl.constexpr,
    BLOCK_H: tl.constexpr, BLOCK_I: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Any number of layers, one sequence a program, the matrices read at every step.

    Args as `forward`'s, and:
        Wt: (L, H, H), each transposed.
        Rt: (L - 1, H, H), what the upper layers read through, each transposed.
        b: (L, H).
        masks: (T, L - 1, B, H), dropout's, with DROPS.
        states: (L, T + 1, B, H) with KEEP, else (L, 2, B, H), which hold two steps in turn.
        CHUNK: rows of a matrix that are under way at once.
    """
    i, k, sequence = tl.arange(0, BLOCK_I), tl.arange(0, BLOCK_H), _sequence()
    row_i, row_h = tl.cast(B, tl.int64) * I, tl.cast(B, tl.int64) * H
    slots = T + 1 if KEEP else 2
    own_i, own = sequence * I, sequence * H
    u, v = _rows(Ut, I, H, BLOCK_I, BLOCK_H), _rows(V, I, H, BLOCK_I, BLOCK_H)
    shift = tl.load(c + i, mask=i < I, other=0.0)
    for layer in tl.static_range(LAYERS):
        first = tl.load(h0 + layer * row_h + own + k, mask=k < H, other=0.0)
        tl.store(states + layer * slots * row_h + own + k, first, mask=k < H)
    tl.debug_barrier()
    x = tl.load(inputs + own_i + i, mask=i < I, other=0.0)
    for t in range(T):
        here = t if KEEP else t % 2
        there = t + 1 if KEEP else (t + 1) % 2
        if KEEP:
            tl.store(read + t * row_i + own_i + i, x, mask=i < I)
        h = tl.zeros((BLOCK_H,), x.dtype)
        for layer in tl.static_range(LAYERS):
            past = states + (layer * slots + here) * row_h + own
            a = _streamed(Wt + layer * H * H, past, H, H, CHUNK, BLOCK_H)
            a += tl.load(b + layer * H + k, mask=k < H, other=0.0)
            if layer == 0:
                a += _times(u, x)
            else:
                below = states + ((layer - 1) * slots + there) * row_h + own
                if DROPS:
                    # h_n is where nobody looks until the end: the masked state goes through it.
                    at = (t * (LAYERS - 1) + layer - 1) * row_h + own + k
                    below = h_n + own
                    tl.store(below + k, h * tl.load(masks + at, mask=k < H, other=0.0), mask=k < H)
                    tl.debug_barrier()
                a += _streamed(Rt + (layer - 1) * H * H, below, H, H, CHUNK, BLOCK_H)
            h = _activation(a, RELU)
            tl.store(states + (layer * slots + there) * row_h + own + k, h, mask=k < H)
            tl.debug_barrier()
        y = _across(v, h) + shift
        tl.store(predictions + t * row_i + own_i + i, y, mask=i < I)
        coming = i < tl.where(t + 1 < T, I, 0)
        given = tl.load(inputs + (t + 1) * row_i + own_i + i, mask=coming, other=0.0)
        x = tl.where(tl.load(forced + t + 1, mask=t + 1 < T, other=0) != 0, given, y)
    end = T if KEEP else T % 2
    for layer in tl.static_range(LAYERS):
        at = states + (layer * slots + end) * row_h + own + k
        last = tl.load(at, mask=k < H, other=0.0)
        tl.store(h_n + layer * row_h + own + k, last, mask=k < H)


@jit
def backward_streamed(
    d_predictions, d_h_n, forced, states, W, R, Ut, V, masks, d_a, d_y, d_inputs, d_h0, T, B, I, H,
    RELU: tl.constexpr, DROPS: tl.constexpr, LAYERS: tl.constexpr,
    BLOCK_H: tl.constexpr, BLOCK_I: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """`forward_streamed`'s way back.

    Args as `backward`'s, and:
        states: (L, T + 1, B, H).
        W: (L, H, H), as they are.
        R: (L - 1, H, H), as they are.
        masks: (T, L - 1, B, H), those of the forward pass, with DROPS.
        d_a: (L, T, B, H), written.
    """
    i, k, sequence = tl.arange(0, BLOCK_I), tl.arange(0, BLOCK_H), _sequence()
    row_i, row_h = tl.cast(B, tl.int64) * I, tl.cast(B, tl.int64) * H
    own_i, own = sequence * I, sequence * H
    u, v = _rows(Ut, I, H, BLOCK_I, BLOCK_H), _rows(V, I, H, BLOCK_I, BLOCK_H)
    fed = tl.zeros((BLOCK_I,), u.dtype)
    for back in range(T):
        t = T - 1 - back
        dy = tl.load(d_predictions + t * row_i + own_i + i, mask=i < I, other=0.0) + fed
        tl.store(d_y + t * row_i + own_i + i, dy, mask=i < I)
        da = tl.zeros((BLOCK_H,), u.dtype)
        for above in tl.static_range(LAYERS):
            layer = LAYERS - 1 - above
            first = k < tl.where(back == 0, H, 0)
            dh = tl.load(d_h_n + layer * row_h + own + k, mask=first, other=0.0)
            if back > 0:
                future = d_a + (layer * T + t + 1) * row_h + own
                dh += _streamed(W + layer * H * H, future, H, H, CHUNK, BLOCK_H)
            if above == 0:
                dh += _times(v, dy)
            else:
                upper = d_a + ((layer + 1) * T + t) * row_h + own
                pulled = _streamed(R + layer * H * H, upper, H, H, CHUNK, BLOCK_H)
                if DROPS:
                    at = (t * (LAYERS - 1) + layer) * row_h + own + k
                    pulled *= tl.load(masks + at, mask=k < H, other=0.0)
                dh += pulled
            at = states + (layer * (T + 1) + t + 1) * row_h + own + k
            da = dh * _slope(tl.load(at, mask=k < H, other=0.0), RELU)
            tl.store(d_a + (layer * T + t) * row_h + own + k, da, mask=k < H)
            tl.debug_barrier()
        f = _across(u, da)
        teacher = tl.load(forced + t) != 0
        tl.store(d_inputs + t * row_i + own_i + i, tl.where(teacher, f, 0.0), mask=i < I)
        fed = tl.where(teacher, 0.0, f)
    for layer in tl.static_range(LAYERS):
        begin = d_a + layer * T * row_h + own
        first = _streamed(W + layer * H * H, begin, H, H, CHUNK, BLOCK_H)
        tl.store(d_h0 + layer * row_h + own + k, first, mask=k < H)


@triton.jit(do_not_specialize=["word", "first", "size"])
def unpack(flags, word, first, size, BLOCK: tl.constexpr):
    """flags[first + n] = bit n of ``word``, for n < size: flags that come as an argument."""
    n = tl.arange(0, BLOCK)
    tl.store(flags + first + n, ((word >> n) & 1).to(tl.int8), mask=n < size)

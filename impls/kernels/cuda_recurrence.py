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
- W is loaded once: a thread keeps 64 registers of it (128 x 128 numbers of
  float32 lie in 8 warps). What is summed over runs down the rows of the tile, and a row is
  contiguous in memory: so the compiler deals the rows to the warps and a row's columns to the
  lanes. A sum is then in one thread for the most part, and ends with one exchange between the
  warps, instead of five between lanes for each of sixteen rows. This is why forward wants W's
  transpose and backward W itself.
- Several sequences of a program are several sums in a row over the same registers, each a vector of
  its own. As a third axis of the tile they would be dealt to lanes, and W would be held many times.
- What does not depend on the state (the next input, the next flag) is loaded a step ahead.

The sum of one number never depends on the sequences beside it: every batch gets the same bits, as
long as the form is the same.

Shapes are T, B, I, L, H as everywhere. BLOCK_H and BLOCK_I are H and I rounded up to powers of two;
what is padded is zero, and stays zero: tanh(0) = relu(0) = 0. Rows are counted in 64 bits. The
weights are packed as `impls.fused_cuda` says. What registers do not hold: see
`impls.kernels.cuda_streamed`; a step as one product on tensor cores: `impls.kernels.cuda_products`.
"""

import triton.language as tl

from impls.kernels.cuda_parts import (
    across,
    activation,
    jit,
    matrix,
    program,
    rows,
    slope,
    times,
)


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
    i, k, sequence = tl.arange(0, BLOCK_I), tl.arange(0, BLOCK_H), program() * BLOCK_B
    row_i, row_h = tl.cast(B, tl.int64) * I, tl.cast(B, tl.int64) * H
    w = matrix(Wt, H, BLOCK_H)
    u, v = rows(Ut, I, H, BLOCK_I, BLOCK_H), rows(V, I, H, BLOCK_I, BLOCK_H)
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
            y = across(v, h[n]) + shift
            a = times(w, h[n]) + bias
            gone = i < tl.where(t > 0, wide, 0)
            tl.store(predictions + (t - 1) * row_i + own_i + i, y, mask=gone)
            x = tl.where(teacher != 0, given[n], y)
            z = activation(a + times(u, x), RELU)
            if KEEP:
                tl.store(read + t * row_i + own_i + i, x, mask=i < wide)
                tl.store(states + after * row_h + own_h + k, z, mask=k < high)
            next_h = next_h + (z,)  # noqa: RUF005
            next_given = next_given + (ahead,)  # noqa: RUF005
        h, given, teacher = next_h, next_given, next_teacher
    for n in tl.static_range(BLOCK_B):
        high, wide = tl.where(sequence + n < B, H, 0), tl.where(sequence + n < B, I, 0)
        y = across(v, h[n]) + shift
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
    i, k, sequence = tl.arange(0, BLOCK_I), tl.arange(0, BLOCK_H), program() * BLOCK_B
    row_i, row_h = tl.cast(B, tl.int64) * I, tl.cast(B, tl.int64) * H
    w = matrix(W, H, BLOCK_H)
    u, v = rows(Ut, I, H, BLOCK_I, BLOCK_H), rows(V, I, H, BLOCK_I, BLOCK_H)
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
            f = across(u, da[n])
            # Asked for at every step and loaded at the first: cheaper than a register to carry it.
            first = k < tl.where(back == 0, high, 0)
            dh = tl.load(d_h_n + own_h + k, mask=first, other=0.0) + times(w, da[n])
            gone = i < tl.where(back > 0, wide, 0)
            tl.store(
                d_inputs + after * row_i + own_i + i, tl.where(teacher != 0, f, 0.0), mask=gone
            )
            dy = given[n] + tl.where(teacher != 0, 0.0, f)
            z = (dh + times(v, dy)) * slope(h[n], RELU)
            tl.store(d_y + t * row_i + own_i + i, dy, mask=i < wide)
            tl.store(d_a + t * row_h + own_h + k, z, mask=k < high)
            next_da = next_da + (z,)  # noqa: RUF005
            next_given = next_given + (above,)  # noqa: RUF005
            next_h = next_h + (state,)  # noqa: RUF005
        da, given, h, teacher = next_da, next_given, next_h, next_teacher
    for n in tl.static_range(BLOCK_B):
        high, wide = tl.where(sequence + n < B, H, 0), tl.where(sequence + n < B, I, 0)
        tl.store(d_inputs + (sequence + n) * I + i, across(u, da[n]), mask=i < wide)
        tl.store(d_h0 + (sequence + n) * H + k, times(w, da[n]), mask=k < high)

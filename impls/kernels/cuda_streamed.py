r"""The recurrence of `impls.kernels.cuda_recurrence` for what registers do not hold.

That is more than one layer, and wider ones. The matrices are read at every step, from whichever
cache they fit into, in chunks of rows; a program's sequences share a chunk as long as it is there.
Each is a sum of its own, so that it gets the same bits however many there are beside it. States go
through memory, with a barrier, for a register can not be picked by a loop's index.

Where a program's sequences are more than are left, its last one is computed again: the same numbers
are written to the same places, and nothing needs a mask.
"""

import triton
import triton.language as tl

from impls.kernels.cuda_parts import across, activation, jit, program, rows, slope, times


@triton.jit
def _owned(B, BLOCK_B: tl.constexpr):
    """The numbers of this program's sequences."""
    found = ()
    for n in tl.static_range(BLOCK_B):
        one = tl.minimum(program() * BLOCK_B + n, B - 1)
        found = found + (one,)  # noqa: RUF005 - the compiler knows no unpacking here
    return found


@triton.jit
def _rows_of(at, own, H, BLOCK_B: tl.constexpr):
    """Where in (B, H) the sequences ``own`` begin."""
    found = ()
    for n in tl.static_range(BLOCK_B):
        found = found + (at + own[n] * H,)  # noqa: RUF005
    return found


@triton.jit
def _streamed(at, x, size, CHUNK: tl.constexpr, BLOCK: tl.constexpr, BLOCK_B: tl.constexpr):
    """W x for each of ``x``, all in memory: ``at`` (size, size), what is summed over its rows.

    The rows that a thread has are added up in its registers; the exchange comes once, at the end.
    """
    k, totals, sums = tl.arange(0, BLOCK), (), ()
    for _ in tl.static_range(BLOCK_B):
        totals = totals + (tl.zeros((CHUNK, BLOCK), at.dtype.element_ty),)  # noqa: RUF005
    for first in range(0, size, CHUNK):
        j, more = first + tl.arange(0, CHUNK), ()
        inside = (j[:, None] < size) & (k[None, :] < size)
        w = tl.load(at + j[:, None] * size + k[None, :], mask=inside, other=0.0)
        for n in tl.static_range(BLOCK_B):
            some = tl.load(x[n] + j, mask=j < size, other=0.0)
            more = more + (totals[n] + w * some[:, None],)  # noqa: RUF005
        totals = more
    for n in tl.static_range(BLOCK_B):
        sums = sums + (tl.sum(totals[n], 0),)  # noqa: RUF005
    return sums


@jit
def forward_streamed(
    inputs, forced, h0, Wt, Rt, Ut, b, V, c, masks, predictions, h_n, states, read, T, B, I, H,
    RELU: tl.constexpr, KEEP: tl.constexpr, DROPS: tl.constexpr, LAYERS: tl.constexpr,
    BLOCK_H: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_B: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Any number of layers, BLOCK_B sequences a program, the matrices read at every step.

    Args as `impls.kernels.cuda_recurrence.forward`'s, and:
        Wt: (L, H, H), each transposed.
        Rt: (L - 1, H, H), what the upper layers read through, each transposed.
        b: (L, H).
        masks: (T, L - 1, B, H), dropout's, with DROPS.
        states: (L, T + 1, B, H) with KEEP, else (L, 2, B, H), which hold two steps in turn.
        CHUNK: rows of a matrix that are under way at once.
    """
    i, k, own = tl.arange(0, BLOCK_I), tl.arange(0, BLOCK_H), _owned(B, BLOCK_B)
    row_i, row_h = tl.cast(B, tl.int64) * I, tl.cast(B, tl.int64) * H
    slots = T + 1 if KEEP else 2
    u, v = rows(Ut, I, H, BLOCK_I, BLOCK_H), rows(V, I, H, BLOCK_I, BLOCK_H)
    shift, x = tl.load(c + i, mask=i < I, other=0.0), ()
    for n in tl.static_range(BLOCK_B):
        for layer in tl.static_range(LAYERS):
            first = tl.load(h0 + layer * row_h + own[n] * H + k, mask=k < H, other=0.0)
            tl.store(states + layer * slots * row_h + own[n] * H + k, first, mask=k < H)
        x = x + (tl.load(inputs + own[n] * I + i, mask=i < I, other=0.0),)  # noqa: RUF005
    tl.debug_barrier()
    for t in range(T):
        here = t if KEEP else t % 2
        there = t + 1 if KEEP else (t + 1) % 2
        h = ()
        for n in tl.static_range(BLOCK_B):
            if KEEP:
                tl.store(read + t * row_i + own[n] * I + i, x[n], mask=i < I)
            h = h + (tl.zeros((BLOCK_H,), shift.dtype),)  # noqa: RUF005
        for layer in tl.static_range(LAYERS):
            past = _rows_of(states + (layer * slots + here) * row_h, own, H, BLOCK_B)
            a = _streamed(Wt + layer * H * H, past, H, CHUNK, BLOCK_H, BLOCK_B)
            bias = tl.load(b + layer * H + k, mask=k < H, other=0.0)
            brought = ()
            if layer == 0:
                for n in tl.static_range(BLOCK_B):
                    brought = brought + (times(u, x[n]),)  # noqa: RUF005
            else:
                below = _rows_of(states + ((layer - 1) * slots + there) * row_h, own, H, BLOCK_B)
                if DROPS:
                    # h_n is where nobody looks until the end: the masked states go through it.
                    below = _rows_of(h_n, own, H, BLOCK_B)
                    drawn = masks + (t * (LAYERS - 1) + layer - 1) * row_h
                    for n in tl.static_range(BLOCK_B):
                        mask = tl.load(drawn + own[n] * H + k, mask=k < H, other=0.0)
                        tl.store(below[n] + k, h[n] * mask, mask=k < H)
                    tl.debug_barrier()
                brought = _streamed(Rt + (layer - 1) * H * H, below, H, CHUNK, BLOCK_H, BLOCK_B)
            h = ()
            written = _rows_of(states + (layer * slots + there) * row_h, own, H, BLOCK_B)
            for n in tl.static_range(BLOCK_B):
                z = activation(a[n] + bias + brought[n], RELU)
                tl.store(written[n] + k, z, mask=k < H)
                h = h + (z,)  # noqa: RUF005
            tl.debug_barrier()
        coming = i < tl.where(t + 1 < T, I, 0)
        teacher = tl.load(forced + t + 1, mask=t + 1 < T, other=0) != 0
        next_x = ()
        for n in tl.static_range(BLOCK_B):
            y = across(v, h[n]) + shift
            tl.store(predictions + t * row_i + own[n] * I + i, y, mask=i < I)
            given = tl.load(inputs + (t + 1) * row_i + own[n] * I + i, mask=coming, other=0.0)
            next_x = next_x + (tl.where(teacher, given, y),)  # noqa: RUF005
        x = next_x
    end = T if KEEP else T % 2
    for n in tl.static_range(BLOCK_B):
        for layer in tl.static_range(LAYERS):
            at = states + (layer * slots + end) * row_h + own[n] * H + k
            last = tl.load(at, mask=k < H, other=0.0)
            tl.store(h_n + layer * row_h + own[n] * H + k, last, mask=k < H)


@jit
def backward_streamed(
    d_predictions, d_h_n, forced, states, W, R, Ut, V, masks, d_a, d_y, d_inputs, d_h0, T, B, I, H,
    RELU: tl.constexpr, DROPS: tl.constexpr, LAYERS: tl.constexpr,
    BLOCK_H: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_B: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """`forward_streamed`'s way back.

    Args as `impls.kernels.cuda_recurrence.backward`'s, and:
        states: (L, T + 1, B, H).
        W: (L, H, H), as they are.
        R: (L - 1, H, H), as they are.
        masks: (T, L - 1, B, H), those of the forward pass, with DROPS.
        d_a: (L, T, B, H), written.
    """
    i, k, own = tl.arange(0, BLOCK_I), tl.arange(0, BLOCK_H), _owned(B, BLOCK_B)
    row_i, row_h = tl.cast(B, tl.int64) * I, tl.cast(B, tl.int64) * H
    u, v = rows(Ut, I, H, BLOCK_I, BLOCK_H), rows(V, I, H, BLOCK_I, BLOCK_H)
    fed = ()
    for _ in tl.static_range(BLOCK_B):
        fed = fed + (tl.zeros((BLOCK_I,), u.dtype),)  # noqa: RUF005
    for back in range(T):
        t = T - 1 - back
        dy, da = (), ()
        for n in tl.static_range(BLOCK_B):
            at = t * row_i + own[n] * I + i
            d = tl.load(d_predictions + at, mask=i < I, other=0.0) + fed[n]
            tl.store(d_y + at, d, mask=i < I)
            dy = dy + (d,)  # noqa: RUF005
            da = da + (tl.zeros((BLOCK_H,), u.dtype),)  # noqa: RUF005
        for above in tl.static_range(LAYERS):
            layer = LAYERS - 1 - above
            pulled, dh = (), ()
            if above == 0:
                for n in tl.static_range(BLOCK_B):
                    pulled = pulled + (times(v, dy[n]),)  # noqa: RUF005
            else:
                upper = _rows_of(d_a + ((layer + 1) * T + t) * row_h, own, H, BLOCK_B)
                pulled = _streamed(R + layer * H * H, upper, H, CHUNK, BLOCK_H, BLOCK_B)
            for n in tl.static_range(BLOCK_B):
                first = k < tl.where(back == 0, H, 0)
                part = tl.load(d_h_n + layer * row_h + own[n] * H + k, mask=first, other=0.0)
                if DROPS and above > 0:
                    at = (t * (LAYERS - 1) + layer) * row_h + own[n] * H + k
                    part += pulled[n] * tl.load(masks + at, mask=k < H, other=0.0)
                else:
                    part += pulled[n]
                dh = dh + (part,)  # noqa: RUF005
            if back > 0:
                future = _rows_of(d_a + (layer * T + t + 1) * row_h, own, H, BLOCK_B)
                carried = _streamed(W + layer * H * H, future, H, CHUNK, BLOCK_H, BLOCK_B)
                more = ()
                for n in tl.static_range(BLOCK_B):
                    more = more + (dh[n] + carried[n],)  # noqa: RUF005
                dh = more
            da = ()
            for n in tl.static_range(BLOCK_B):
                at = states + (layer * (T + 1) + t + 1) * row_h + own[n] * H + k
                z = dh[n] * slope(tl.load(at, mask=k < H, other=0.0), RELU)
                tl.store(d_a + (layer * T + t) * row_h + own[n] * H + k, z, mask=k < H)
                da = da + (z,)  # noqa: RUF005
            tl.debug_barrier()
        teacher = tl.load(forced + t) != 0
        fed = ()
        for n in tl.static_range(BLOCK_B):
            f = across(u, da[n])
            at = d_inputs + t * row_i + own[n] * I + i
            tl.store(at, tl.where(teacher, f, 0.0), mask=i < I)
            fed = fed + (tl.where(teacher, 0.0, f),)  # noqa: RUF005
    for layer in tl.static_range(LAYERS):
        begin = _rows_of(d_a + layer * T * row_h, own, H, BLOCK_B)
        first = _streamed(W + layer * H * H, begin, H, CHUNK, BLOCK_H, BLOCK_B)
        for n in tl.static_range(BLOCK_B):
            tl.store(d_h0 + layer * row_h + own[n] * H + k, first[n], mask=k < H)

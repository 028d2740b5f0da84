"""The whole recurrence in one compiled call: all steps of some sequences, forward or backward.

Tiling, from the outside in, and why:

- Tiles of sequences outside, time inside. A sequence never needs another one, so a thread runs its
  tiles from the first step to the last without waiting for anybody, and a tile's states stay in the
  nearest cache.
- In a step, panels of columns of the weights outside, rows of the tile inside: a panel is read from
  the second cache once and serves all rows from the first.
- In a panel, blocks of sums that stay in registers (`impls.kernels.vectors`).

The sum of one number never depends on the tile that it is in: whatever the batch and the threads,
the same sequence gets the same bits.

Shapes are T, B, I, L, H as everywhere; P is H rounded up to whole vectors. What is padded is zero,
and stays zero: tanh(0) = relu(0) = 0.
"""

from impls.kernels.packed import unpacked, width_of, zeros
from impls.kernels.tanh import tanh
from impls.kernels.vectors import (
    BLOCK_ROWS,
    BLOCK_VECTORS,
    MANY_NARROW,
    MANY_WIDE,
    ONE_DOUBLE,
    ONE_NARROW,
    ONE_WIDE,
    OUTER_NARROW,
    OUTER_WIDE,
    compiled,
    dot,
)

# Rows that the gradients of the weights are summed over at once, while these and the states are
# still in a cache: fewer, and reading and writing the sums costs; more, and the rows do.
COLLECTED = 192


@compiled
def _product_of_one(c, size, a, a_at, n, back, x, x_at, m, w, w_at, bias, b_at):
    """`_product` for a single sequence, two wide panels at a time."""
    width = width_of(c)
    wide = BLOCK_VECTORS * width
    pairs = size // (2 * wide)
    left = (size - 2 * pairs * wide) // wide
    units = pairs + left + (size - (2 * pairs + left) * wide) // width
    for number in range(units):
        u = units - 1 - number if back else number
        if u < pairs:
            p = 2 * u * wide
            at, b = w_at + (n + m) * p, b_at + p
            ONE_DOUBLE(c, p, size, a, a_at, size, n, back, x, x_at, m, m, w, at, bias, b)
        elif u < pairs + left:
            p = 2 * pairs * wide
            at, b = w_at + (n + m) * p, b_at + p
            ONE_WIDE(c, p, size, a, a_at, size, n, back, x, x_at, m, m, w, at, bias, b)
        else:
            p = (2 * pairs + left) * wide + (u - pairs - left) * width
            at, b = w_at + (n + m) * p, b_at + p
            ONE_NARROW(c, p, size, a, a_at, size, n, back, x, x_at, m, m, w, at, bias, b)


@compiled
def _product(c, size, rows, a, a_at, n, back, x, x_at, x_row, m, w, w_at, bias, b_at):
    """C (rows, size) = bias + a w[:n] + x w[n:], panel after panel.

    With ``back`` from the last panel to the first: it begins with what was read last.
    """
    if rows == 1:
        _product_of_one(c, size, a, a_at, n, back, x, x_at, m, w, w_at, bias, b_at)
        return
    width = width_of(c)
    wide = BLOCK_VECTORS * width
    whole = size // wide
    panels = whole + (size - whole * wide) // width
    for number in range(panels):
        p = panels - 1 - number if back else number
        is_wide = p < whole
        panel = p * wide if is_wide else whole * wide + (p - whole) * width
        at, b, r = w_at + (n + m) * panel, b_at + panel, 0
        while r < rows:
            c_at, a_r, x_r = r * size + panel, a_at + r * size, x_at + r * x_row
            if rows - r >= BLOCK_ROWS:
                if is_wide:
                    MANY_WIDE(
                        c, c_at, size, a, a_r, size, n, back, x, x_r, x_row, m, w, at, bias, b
                    )
                else:
                    MANY_NARROW(
                        c, c_at, size, a, a_r, size, n, back, x, x_r, x_row, m, w, at, bias, b
                    )
                r += BLOCK_ROWS
            elif is_wide:
                ONE_WIDE(c, c_at, size, a, a_r, size, n, back, x, x_r, x_row, m, w, at, bias, b)
                r += 1
            else:
                ONE_NARROW(c, c_at, size, a, a_r, size, n, back, x, x_r, x_row, m, w, at, bias, b)
                r += 1


@compiled
def _add_outer(g, g_at, high, size, d, d_at, d_row, h, h_at, h_step, rows, steps):
    """G (high, size) += D^T H, over ``rows`` rows of each of ``steps`` steps.

    Args:
        g: flat; the sums begin at ``g_at``.
        g_at: where.
        high: a multiple of `BLOCK_ROWS`.
        size: P.
        d: flat; rows of at least ``high`` numbers, from ``d_at`` on step after step without gaps.
        d_at: where.
        d_row: numbers from one row to the next.
        h: flat; rows of P numbers, from ``h_at`` on, ``h_step`` from one step to the next.
        h_at: where.
        h_step: numbers.
        rows: of a step.
        steps: so many.
    """
    if h_step == rows * size:  # no gaps here either
        rows, steps = rows * steps, 1
    width = width_of(g)
    panel = 0
    while panel < size:
        is_wide = panel + BLOCK_VECTORS * width <= size
        for j in range(0, high, BLOCK_ROWS):
            for s in range(steps):
                at, d_s = g_at + j * size + panel, d_at + s * rows * d_row + j
                h_s = h_at + s * h_step + panel
                if is_wide:
                    OUTER_WIDE(g, at, size, d, d_s, d_row, h, h_s, size, rows)
                else:
                    OUTER_NARROW(g, at, size, d, d_s, d_row, h, h_s, size, rows)
        panel += BLOCK_VECTORS * width if is_wide else width


@compiled
def _masked(target, target_at, source, at, mask, size):
    """Target = source * mask, row by row."""
    rows, columns = mask.shape
    for r in range(rows):
        for k in range(columns):
            target[target_at + r * size + k] = source[at + r * size + k] * mask[r, k]


@compiled
def forward(
    inputs, forced, h0, masks, w, w_at, bias, v, c, relu, first, last, rows,
    predictions, h_n, states,
):  # fmt: skip
    """Run the sequences ``first`` to ``last``, ``rows`` of them at a time.

    Args:
        inputs: (T, B, I).
        forced: (T,).
        h0: (L, B, H).
        masks: (T, L - 1, B, H), what the states of all layers but the last are multiplied by on
            their way up; or empty.
        w: flat, 64-byte aligned: for each layer its packed W_hh^T over W_ih^T.
        w_at: (L,), where in ``w`` a layer begins.
        bias: (L, P), b_ih + b_hh.
        v: (I, P), the read-out.
        c: (I,).
        relu: whether that, or tanh.
        first: sequence to begin with.
        last: one beyond the last.
        rows: of a tile.
        predictions: (T, B, I), filled.
        h_n: (L, B, H), filled.
        states: (L, T + 1, B, P), filled with all states, the first among them; or empty.
    """
    T, B, I = inputs.shape
    L, _, H = h0.shape
    P = v.shape[1]
    zero = w.dtype.type(0.0)
    readout, biases = v.reshape(-1), bias.reshape(-1)
    # A step's states follow the last step's where all are kept, and else take their place.
    keep = states.shape[0] > 0
    h = states.reshape(-1) if keep else zeros(L * rows * P, w)
    h_layer, h_step = ((T + 1) * B * P, B * P) if keep else (rows * P, 0)
    a, x = zeros(rows * P, w), zeros(rows * I, w)
    dropped = masks.shape[0] > 0
    thinned = zeros(rows * P if dropped else 0, w)
    for begin in range(first, last, rows):
        R = min(rows, last - begin)
        start = begin * P if keep else 0
        for layer in range(L):
            for r in range(R):
                at = layer * h_layer + start + r * P
                for k in range(H):
                    h[at + k] = h0[layer, begin + r, k]
                for k in range(H, P):
                    h[at + k] = zero
        for t in range(T):
            if forced[t]:
                for r in range(R):
                    for i in range(I):
                        x[r * I + i] = inputs[t, begin + r, i]
            back = t % 2 == 1
            for layer in range(L):
                own = layer * h_layer + t * h_step + start
                if layer == 0:
                    _product(a, P, R, h, own, H, back, x, 0, I, I, w, w_at[layer], biases, 0)
                else:
                    below, x_at = h, own - h_layer + h_step
                    if dropped:
                        _masked(thinned, 0, h, x_at, masks[t, layer - 1, begin : begin + R], P)
                        below, x_at = thinned, 0
                    b_at = layer * P
                    _product(
                        a, P, R, h, own, H, back, below, x_at, P, H, w, w_at[layer], biases, b_at
                    )
                if relu:
                    for k in range(R * P):
                        h[own + h_step + k] = zero if a[k] < zero else a[k]
                else:
                    tanh(a, h, own + h_step, R * P)
            top = (L - 1) * h_layer + (t + 1) * h_step + start
            for r in range(R):
                for i in range(I):
                    y = c[i] + dot(h, top + r * P, readout, i * P, P)
                    x[r * I + i] = y
                    predictions[t, begin + r, i] = y
        for layer in range(L):
            for r in range(R):
                at = layer * h_layer + T * h_step + start + r * P
                for k in range(H):
                    h_n[layer, begin + r, k] = h[at + k]


@compiled
def backward(
    d_predictions, d_h_n, inputs, predictions, forced, masks, states, w, w_at, u, bias, relu,
    first, last, rows, d_inputs, d_h0, d_weights,
):  # fmt: skip
    """The same sequences from the last step to the first.

    The gradients of the matrices are summed over some steps at a time, while what they are the
    products of is still in a cache; nothing but the sums is kept.

    Args:
        d_predictions: (T, B, I), the loss's gradient of the predictions.
        d_h_n: (L, B, H), and that of the last states.
        inputs: (T, B, I), as `forward` had them.
        predictions: (T, B, I), as `forward` left them.
        forced: (T,).
        masks: (T, L - 1, B, H), as `forward` had them; or empty.
        states: (L, T + 1, B, P), as `forward` left them.
        w: flat, 64-byte aligned: for each layer its packed W_hh, over W_ih of the layer above or,
            for the last, over the read-out.
        w_at: (L,), where in ``w`` a layer begins.
        u: (I, P), the first layer's W_ih^T.
        bias: whether the cells have theirs.
        relu: whether that, or tanh.
        first: sequence to begin with.
        last: one beyond the last.
        rows: of a tile.
        d_inputs: (T, B, I), filled; zero where a step was not forced.
        d_h0: (L, B, H), filled; or empty.
        d_weights: flat, filled with what these sequences add to the weights' gradients.
    """
    T, B, I = d_predictions.shape
    L, _, H = d_h_n.shape
    P = u.shape[1]
    reading, h = u.reshape(-1), states.reshape(-1)
    h_layer, h_step = (T + 1) * B * P, B * P
    dropped = masks.shape[0] > 0
    one = w.dtype.type(1.0)
    zero = w.dtype.type(0.0)
    room = max(rows, COLLECTED) * P
    # The gradients of what goes into tanh, of several steps, and what came from below if masked.
    d, thinned = zeros(L * room, w), zeros((L - 1) * room if dropped else 0, w)
    dh, still, nothing = zeros(rows * P, w), zeros(rows * P, w), zeros(P, w)
    from_above = zeros(rows * P if dropped else 0, w)
    x, y = zeros(rows * I, w), zeros(rows * I, w)
    g_hh, g_ih = zeros(L * P * P, w), zeros((L - 1) * P * P, w)
    # What a step read and 1, whose products with d are those of W_ih^T and the biases; and dL/dy.
    Q = -(-(I + 1) // BLOCK_ROWS) * BLOCK_ROWS
    xs, ys = zeros(room // P * Q, w), zeros(room // P * Q, w)
    xs[I::Q] = one
    g_x, g_v, g_c = zeros(L * Q * P, w), zeros(Q * P, w), zeros(I, w)
    for begin in range(first, last, rows):
        R = min(rows, last - begin)
        size = R * P
        slots = room // size
        slot, after = slots, 0
        for layer in range(L):
            d[layer * room : layer * room + size] = zero
        for t in range(T - 1, -1, -1):
            slot = slot - 1 if slot else slots - 1
            fed_back = t + 1 < T and not forced[t + 1]
            for r in range(R):
                for i in range(I):
                    g = d_predictions[t, begin + r, i]
                    y[r * I + i] = g + x[r * I + i] if fed_back else g
            back = t % 2 == 1
            for layer in range(L - 1, -1, -1):
                now, then = layer * room + slot * size, layer * room + after * size
                if layer == L - 1:
                    _product(dh, P, R, d, then, H, back, y, 0, I, I, w, w_at[layer], nothing, 0)
                elif dropped:  # the one part goes through the mask, the other does not
                    above, at = now + room, w_at[layer]
                    _product(dh, P, R, d, then, H, back, still, 0, P, H, w, at, nothing, 0)
                    _product(from_above, P, R, still, 0, H, back, d, above, P, H, w, at, nothing, 0)
                    mask = masks[t, layer, begin : begin + R]
                    _masked(from_above, 0, from_above, 0, mask, P)
                    for k in range(size):
                        dh[k] += from_above[k]
                    _masked(
                        thinned, now, h, layer * h_layer + (t + 1) * h_step + begin * P, mask, P
                    )
                else:
                    above = now + room
                    _product(dh, P, R, d, then, H, back, d, above, P, H, w, w_at[layer], nothing, 0)
                if t == T - 1:
                    for r in range(R):
                        for k in range(H):
                            dh[r * P + k] += d_h_n[layer, begin + r, k]
                at = layer * h_layer + (t + 1) * h_step + begin * P
                if relu:
                    for k in range(size):
                        d[now + k] = dh[k] if h[at + k] > zero else zero
                else:
                    for k in range(size):
                        d[now + k] = dh[k] * ((one - h[at + k]) * (one + h[at + k]))
            now = slot * size
            for r in range(R):
                row = (slot * R + r) * Q
                for i in range(I):
                    g = dot(d, now + r * P, reading, i * P, P)
                    x[r * I + i] = g
                    d_inputs[t, begin + r, i] = g if forced[t] else zero
                    read = (
                        inputs[t, begin + r, i] if forced[t] else predictions[t - 1, begin + r, i]
                    )
                    xs[row + i], ys[row + i] = read, y[r * I + i]
            if slot == 0 or t == 0:
                steps = slots - slot
                x_at = slot * R * Q
                for i in range(I):
                    g = zero
                    for r in range(steps * R):
                        g += ys[x_at + r * Q + i]
                    g_c[i] += g
                for layer in range(L):
                    at, d_at = layer * h_layer + t * h_step + begin * P, layer * room + slot * size
                    _add_outer(g_hh, layer * P * P, P, P, d, d_at, P, h, at, h_step, R, steps)
                    g_at = layer * Q * P
                    _add_outer(g_x, g_at, Q, P, xs, x_at, Q, d, d_at, size, R, steps)
                    if layer == L - 1:
                        at += h_step
                        _add_outer(g_v, 0, Q, P, ys, x_at, Q, h, at, h_step, R, steps)
                        at -= h_step
                    if layer == 0:
                        continue
                    g_at = (layer - 1) * P * P
                    if dropped:
                        at = (layer - 1) * room + slot * size
                        _add_outer(g_ih, g_at, P, P, d, d_at, P, thinned, at, size, R, steps)
                    else:
                        at += h_step - h_layer
                        _add_outer(g_ih, g_at, P, P, d, d_at, P, h, at, h_step, R, steps)
            after = slot
        if d_h0.shape[0] > 0:
            y[:] = zero
            for layer in range(L):
                then, at = layer * room + after * size, w_at[layer]
                if layer == L - 1:
                    _product(dh, P, R, d, then, H, False, y, 0, I, I, w, at, nothing, 0)
                else:
                    _product(dh, P, R, d, then, H, False, still, 0, P, H, w, at, nothing, 0)
                for r in range(R):
                    for k in range(H):
                        d_h0[layer, begin + r, k] = dh[r * P + k]
    unpacked(
        d_weights, g_x.reshape(L, Q, P), g_ih.reshape(L - 1, P, P), g_hh.reshape(L, P, P),
        g_v.reshape(Q, P), g_c, I, H, bias,
    )  # fmt: skip

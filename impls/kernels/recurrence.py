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

import numpy as np

from impls.kernels.tanh import tanh
from impls.kernels.vectors import (
    BLOCK_ROWS,
    BLOCK_VECTORS,
    MANY_NARROW,
    MANY_WIDE,
    ONE_NARROW,
    ONE_WIDE,
    VECTOR_BYTES,
    compiled,
    dot,
)


@compiled
def zeros(size, like):
    """So many zeros, the first at the beginning of a vector's place in memory."""
    raw = np.zeros(size + VECTOR_BYTES // like.itemsize, like.dtype)
    beyond = raw.ctypes.data % VECTOR_BYTES
    skip = (VECTOR_BYTES - beyond) // like.itemsize if beyond else 0
    return raw[skip : skip + size]


@compiled
def _pack(target, at, first, second):
    """Lay two matrices' rows out in panels, in the order in which a step reads them.

    Args:
        target: flat; from ``at`` on it gets (n + m) x P numbers, panel after panel.
        at: where to begin.
        first: (n, H).
        second: (m, H).

    Returns:
        Where the next one may begin.
    """
    n, m, columns = first.shape[0], second.shape[0], first.shape[1]
    width = VECTOR_BYTES // target.itemsize
    padded = _padded(columns, target)
    panel = 0
    while panel < padded:
        wide = BLOCK_VECTORS * width
        if panel + wide > padded:
            wide = width
        filled = min(wide, columns - panel)
        for k in range(n):
            for j in range(filled):
                target[at + k * wide + j] = first[k, panel + j]
        at += n * wide
        for k in range(m):
            for j in range(filled):
                target[at + k * wide + j] = second[k, panel + j]
        at += m * wide
        panel += wide
    return at


@compiled
def _layer(weights, at, I, H, bias):
    """Views of the layer that begins at ``at``: W_ih, W_hh, b_ih, b_hh, and where it ends."""
    w_ih = weights[at : at + H * I].reshape(H, I)
    at += H * I
    w_hh = weights[at : at + H * H].reshape(H, H)
    at += H * H
    size = H if bias else 0
    b_ih, b_hh = weights[at : at + size], weights[at + size : at + 2 * size]
    return w_ih, w_hh, b_ih, b_hh, at + 2 * size


@compiled
def for_forward(weights, L, I, H, bias):
    """What `forward` reads, out of all weights in the order of ``weight_shapes``.

    Args:
        weights: flat.
        L: layers.
        I: features.
        H: units.
        bias: whether the cells have theirs.

    Returns:
        For each layer its packed W_hh^T over W_ih^T, flat and 64-byte aligned; (L,) where a layer
        begins in it; (L, P) b_ih + b_hh; (I, P) the read-out; (I,) its bias.
    """
    P = _padded(H, weights)
    packed = zeros(P * (L * H + I + (L - 1) * H), weights)
    begins, both = np.empty(L, np.int64), zeros(L * P, weights).reshape(L, P)
    end, at = 0, 0
    for layer in range(L):
        w_ih, w_hh, b_ih, b_hh, at = _layer(weights, at, I if layer == 0 else H, H, bias)
        begins[layer] = end
        end = _pack(packed, end, w_hh.T, w_ih.T)
        for k in range(b_ih.size):
            both[layer, k] = b_ih[k] + b_hh[k]
    v = zeros(I * P, weights).reshape(I, P)
    v[:, :H] = weights[at : at + I * H].reshape(I, H)
    return packed, begins, both, v, weights[at + I * H :]


@compiled
def for_backward(weights, L, I, H, bias):
    """What `backward` reads, out of the same.

    Returns:
        For each layer its packed W_hh, over W_ih of the layer above or, for the last, over the
        read-out; (L,) where a layer begins in it; (I, P) the first layer's W_ih^T.
    """
    P = _padded(H, weights)
    packed = zeros(P * (L * H + I + (L - 1) * H), weights)
    begins, u = np.empty(L, np.int64), zeros(I * P, weights).reshape(I, P)
    end = 0
    w_ih, w_hh, _, _, at = _layer(weights, 0, I, H, bias)
    u[:, :H] = w_ih.T
    for layer in range(L):
        begins[layer] = end
        if layer == L - 1:
            above, above_hh = weights[at : at + I * H].reshape(I, H), w_hh
        else:
            above, above_hh, _, _, at = _layer(weights, at, H, H, bias)
        end = _pack(packed, end, w_hh, above)
        w_hh = above_hh
    return packed, begins, u


@compiled
def _padded(size, like):
    """``size`` rounded up to whole vectors."""
    width = VECTOR_BYTES // like.itemsize
    return -(-size // width) * width


@compiled
def _product(c, size, rows, a, a_at, n, back, x, x_at, x_row, m, w, w_at, bias, b_at):
    """C (rows, size) = bias + a w[:n] + x w[n:], panel after panel.

    With ``back`` from the last panel to the first: it begins with what was read last.
    """
    width = VECTOR_BYTES // c.itemsize
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
def _masked(target, source, at, mask, size):
    """Target = source * mask, row by row."""
    rows, columns = mask.shape
    for r in range(rows):
        for k in range(columns):
            target[r * size + k] = source[at + r * size + k] * mask[r, k]


@compiled
def forward(
    inputs, forced, h0, masks, w, w_at, bias, v, c, relu, first, last, rows,
    predictions, h_n, read, states,
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
        read: (T, B, I), filled with what each step reads; or empty.
        states: (L, T + 1, B, H), filled with all states, the first among them; or empty.
    """
    T, _, I = inputs.shape
    L, _, H = h0.shape
    P = v.shape[1]
    keep = states.shape[0] > 0
    zero = w.dtype.type(0.0)
    readout, biases = v.reshape(-1), bias.reshape(-1)
    h, a, x = zeros(L * rows * P, w), zeros(rows * P, w), zeros(rows * I, w)
    dropped = masks.shape[0] > 0
    thinned = zeros(rows * P if dropped else 0, w)
    for begin in range(first, last, rows):
        R = min(rows, last - begin)
        for layer in range(L):
            for r in range(R):
                for k in range(H):
                    h[(layer * rows + r) * P + k] = h0[layer, begin + r, k]
                    if keep:
                        states[layer, 0, begin + r, k] = h0[layer, begin + r, k]
        for t in range(T):
            if forced[t]:
                for r in range(R):
                    for i in range(I):
                        x[r * I + i] = inputs[t, begin + r, i]
            if keep:
                for r in range(R):
                    for i in range(I):
                        read[t, begin + r, i] = x[r * I + i]
            back = t % 2 == 1
            for layer in range(L):
                own = layer * rows * P
                if layer == 0:
                    _product(a, P, R, h, own, H, back, x, 0, I, I, w, w_at[layer], biases, 0)
                else:
                    below, x_at = h, own - rows * P
                    if dropped:
                        _masked(thinned, h, x_at, masks[t, layer - 1, begin : begin + R], P)
                        below, x_at = thinned, 0
                    b_at = layer * P
                    _product(
                        a, P, R, h, own, H, back, below, x_at, P, H, w, w_at[layer], biases, b_at
                    )
                if relu:
                    for k in range(R * P):
                        h[own + k] = zero if a[k] < zero else a[k]
                else:
                    tanh(a, h, own, R * P)
                if keep:
                    for r in range(R):
                        for k in range(H):
                            states[layer, t + 1, begin + r, k] = h[own + r * P + k]
            top = (L - 1) * rows * P
            for r in range(R):
                for i in range(I):
                    y = c[i] + dot(h, top + r * P, readout, i * P, P)
                    x[r * I + i] = y
                    predictions[t, begin + r, i] = y
        for layer in range(L):
            for r in range(R):
                for k in range(H):
                    h_n[layer, begin + r, k] = h[(layer * rows + r) * P + k]


@compiled
def backward(
    d_predictions, d_h_n, forced, masks, states, w, w_at, u, relu, first, last, rows,
    d_a, d_y, d_inputs,
):  # fmt: skip
    """The same sequences from the last step to the first.

    Args:
        d_predictions: (T, B, I), the loss's gradient of the predictions.
        d_h_n: (L, B, H), and that of the last states.
        forced: (T,).
        masks: (T, L - 1, B, H), as `forward` had them; or empty.
        states: (L, T + 1, B, H), as `forward` left them.
        w: flat, 64-byte aligned: for each layer its packed W_hh, over W_ih of the layer above or,
            for the last, over the read-out.
        w_at: (L,), where in ``w`` a layer begins.
        u: (I, P), the first layer's W_ih^T.
        relu: whether that, or tanh.
        first: sequence to begin with.
        last: one beyond the last.
        rows: of a tile.
        d_a: (L, T, B, H), filled with the gradients of what goes into tanh.
        d_y: (T, B, I), filled with those of the predictions, the feedback's included.
        d_inputs: (T, B, I), filled; zero where a step was not forced.
    """
    T, _, I = d_predictions.shape
    L, _, H = d_h_n.shape
    P = u.shape[1]
    reading = u.reshape(-1)
    dropped = masks.shape[0] > 0
    still, from_above = zeros(rows * P, w), zeros(rows * P if dropped else 0, w)
    zero, one = w.dtype.type(0.0), w.dtype.type(1.0)
    d, dh = zeros(L * rows * P, w), zeros(rows * P, w)
    x, y, nothing = zeros(rows * I, w), zeros(rows * I, w), zeros(P, w)
    for begin in range(first, last, rows):
        R = min(rows, last - begin)
        d[:] = zero
        for t in range(T - 1, -1, -1):
            fed_back = t + 1 < T and not forced[t + 1]
            for r in range(R):
                for i in range(I):
                    total = d_predictions[t, begin + r, i]
                    if fed_back:
                        total += x[r * I + i]
                    y[r * I + i] = total
                    d_y[t, begin + r, i] = total
            back = t % 2 == 1
            for layer in range(L - 1, -1, -1):
                own = layer * rows * P
                if layer == L - 1:
                    _product(dh, P, R, d, own, H, back, y, 0, I, I, w, w_at[layer], nothing, 0)
                elif dropped:  # the one part goes through the mask, the other does not
                    above, at = own + rows * P, w_at[layer]
                    _product(dh, P, R, d, own, H, back, still, 0, P, H, w, at, nothing, 0)
                    _product(from_above, P, R, still, 0, H, back, d, above, P, H, w, at, nothing, 0)
                    _masked(from_above, from_above, 0, masks[t, layer, begin : begin + R], P)
                    for k in range(R * P):
                        dh[k] += from_above[k]
                else:
                    above = own + rows * P
                    _product(dh, P, R, d, own, H, back, d, above, P, H, w, w_at[layer], nothing, 0)
                for r in range(R):
                    for k in range(H):
                        g, s = dh[r * P + k], states[layer, t + 1, begin + r, k]
                        if t == T - 1:
                            g += d_h_n[layer, begin + r, k]
                        if relu:
                            g = g if s > zero else zero
                        else:
                            g *= (one - s) * (one + s)
                        d[own + r * P + k] = g
                        d_a[layer, t, begin + r, k] = g
            for r in range(R):
                for i in range(I):
                    g = dot(d, r * P, reading, i * P, P)
                    x[r * I + i] = g
                    d_inputs[t, begin + r, i] = g if forced[t] else zero

"""The weights as the kernels read them, and their gradients back in the order of the weights.

A matrix is laid out in panels, as many columns wide as a block of sums (`impls.kernels.vectors`),
in the order in which a step reads them. P is H rounded up to whole vectors; what is padded is zero.
"""

import numpy as np

from impls.kernels.vectors import BLOCK_VECTORS, VECTOR_BYTES, compiled


@compiled
def width_of(like):
    """Numbers of this type in a vector."""
    return VECTOR_BYTES // like.itemsize


@compiled
def padded(size, like):
    """``size`` rounded up to whole vectors."""
    width = width_of(like)
    return -(-size // width) * width


@compiled
def zeros(size, like):
    """So many zeros, the first at the beginning of a vector's place in memory."""
    raw = np.zeros(size + VECTOR_BYTES // like.itemsize, like.dtype)
    beyond = raw.ctypes.data % VECTOR_BYTES
    skip = (VECTOR_BYTES - beyond) // like.itemsize if beyond else 0
    return raw[skip : skip + size]


@compiled
def _pack(target, at, first, second, transposed):
    """Lay two matrices' rows out in panels, one matrix after the other in each panel.

    Args:
        target: flat; from ``at`` on it gets (n + m) x P numbers, panel after panel.
        at: where to begin.
        first: (n, H), or (H, n) if ``transposed``.
        second: (m, H), or (H, m).
        transposed: whether their columns are the rows to lay out.

    Returns:
        Where the next one may begin.
    """
    columns = first.shape[0] if transposed else first.shape[1]
    width = width_of(target)
    whole = padded(columns, target)
    panel = 0
    while panel < whole:
        wide = BLOCK_VECTORS * width
        if panel + wide > whole:
            wide = width
        filled = min(wide, columns - panel)
        for matrix in (first, second):
            rows = matrix.shape[1] if transposed else matrix.shape[0]
            if transposed:  # read row by row, which is four times as fast as written so
                for j in range(filled):
                    for k in range(rows):
                        target[at + k * wide + j] = matrix[panel + j, k]
            else:
                for k in range(rows):
                    begin = at + k * wide
                    target[begin : begin + filled] = matrix[k, panel : panel + filled]
            at += rows * wide
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
    P = padded(H, weights)
    packed = zeros(P * (L * H + I + (L - 1) * H), weights)
    begins, both = np.empty(L, np.int64), zeros(L * P, weights).reshape(L, P)
    end, at = 0, 0
    for layer in range(L):
        w_ih, w_hh, b_ih, b_hh, at = _layer(weights, at, I if layer == 0 else H, H, bias)
        begins[layer] = end
        end = _pack(packed, end, w_hh, w_ih, True)
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
    P = padded(H, weights)
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
        end = _pack(packed, end, w_hh, above, False)
        w_hh = above_hh
    return packed, begins, u


@compiled
def unpacked(target, g_x, g_ih, g_hh, g_v, g_c, I, H, bias):
    """Fill ``target`` with padded gradients, in the order of ``weight_shapes``.

    Args:
        target: flat.
        g_x: (L, at least I + 1, P): the first layer's W_ih^T, and in row I every layer's biases.
        g_ih: (L - 1, P, P), the other layers' W_ih.
        g_hh: (L, P, P).
        g_v: (at least I, P), the read-out.
        g_c: (I,), its bias.
        I: features.
        H: units.
        bias: whether the cells have theirs.
    """
    at = 0
    for layer in range(len(g_hh)):
        w_ih, w_hh, b_ih, b_hh, at = _layer(target, at, I if layer == 0 else H, H, bias)
        if layer == 0:
            w_ih[:] = g_x[0, :I, :H].T
        else:
            w_ih[:] = g_ih[layer - 1, :H, :H]
        w_hh[:] = g_hh[layer, :H, :H]
        b_ih[:] = g_x[layer, I, : b_ih.size]
        b_hh[:] = g_x[layer, I, : b_hh.size]
    target[at : at + I * H].reshape(I, H)[:] = g_v[:I, :H]
    target[at + I * H :] = g_c

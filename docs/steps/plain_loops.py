"""Every step in one compiled call, as a textbook writes it: one number after the other.

    a_j = b_j + sum_k W_jk h_k + sum_i U_ji x_i          h_j = tanh(a_j)          y = V h + c

What it gains: nothing is called once a step. Where it loses: each sum is one chain of additions,
each waits for the one before, and a compiler may not reorder a floating-point sum, so the lanes of
the vector units stay empty but one.
"""

import math

import numpy as np

from docs.steps.step import Step, read_out
from impls.kernels.vectors import compiled


@compiled
def _run(inputs, forced, h, predictions, W, U, b, V, c):
    T, B, I = inputs.shape
    a, x = np.empty_like(b), np.empty_like(c)
    for s in range(B):
        for t in range(T):
            if forced[t]:
                x[:] = inputs[t, s]
            for j in range(len(a)):
                total = b[j]
                for k in range(len(a)):
                    total += W[j, k] * h[s, k]
                for i in range(I):
                    total += U[j, i] * x[i]
                a[j] = total
            for j in range(len(a)):
                h[s, j] = math.tanh(a[j])
            read_out(V, c, h[s], x)
            predictions[t, s] = x


class PlainLoops(Step):
    """Three loops: sequences, steps, sums."""

    kernel = _run

"""The same sums with their loops exchanged: a column of W is added to all sums at once.

    a = b + sum_k W[:, k] h_k + sum_i U[:, i] x_i          h = tanh(a)          y = V h + c

What it gains: neighbours in the inner loop are different sums, so a compiler makes vectors of them
without reordering any. Where it loses: every sum goes to the cache and comes back for each k. And
`Columns` calls the system's tanh once a unit; `RationalTanh` computes it in vectors too.
"""

import math

import numpy as np

from docs.steps.step import Step, read_out
from impls.kernels.tanh import tanh
from impls.kernels.vectors import compiled


@compiled
def _run(inputs, forced, h, predictions, W, U, b, V, c, rational):
    T, B, I = inputs.shape
    columns, reading = W.T.copy(), U.T.copy()
    a, x = np.empty_like(b), np.empty_like(c)
    for s in range(B):
        for t in range(T):
            if forced[t]:
                x[:] = inputs[t, s]
            a[:] = b
            for k in range(len(a)):
                number = h[s, k]
                for j in range(len(a)):
                    a[j] += columns[k, j] * number
            for i in range(I):
                number = x[i]
                for j in range(len(a)):
                    a[j] += reading[i, j] * number
            if rational:
                tanh(a, h[s], 0, len(a))
            else:
                for j in range(len(a)):
                    h[s, j] = math.tanh(a[j])
            read_out(V, c, h[s], x)
            predictions[t, s] = x


class Columns(Step):
    """Columns of W outside, sums inside."""

    @staticmethod
    def kernel(*arrays):
        """Run with the system's tanh."""
        _run(*arrays, False)


class RationalTanh(Step):
    """The same with fused_cpu's tanh."""

    @staticmethod
    def kernel(*arrays):
        """Run with the tanh of `impls.kernels.tanh`."""
        _run(*arrays, True)

"""The batch together: one product of the linear algebra library a step, in one compiled call.

    A = H W^T + X U^T + b          H = tanh(A)          Y = H V^T + c          a row a sequence

What it gains: the library holds blocks of sums in registers. Where it loses: each step is a call
that packs W anew, and the whole batch's states pass through the caches three times a step.

The library's threads are its own: without the environment variable that names their number it
would take all cores, so it is refused then.
"""

import os

import numpy as np
import torch

from docs.steps.step import Step, read_out
from impls.generator import GeneratorConfig
from impls.kernels.tanh import tanh
from impls.kernels.vectors import compiled

THREADS = "OPENBLAS_NUM_THREADS"


@compiled
def _run(inputs, forced, h, predictions, W, U, b, V, c):
    T, B, I = inputs.shape
    columns = W.T.copy()
    a, x = np.empty_like(h), np.empty_like(inputs[0])
    for t in range(T):
        if forced[t]:
            x[:] = inputs[t]
        np.dot(h, columns, a)
        for s in range(B):
            for j in range(len(b)):
                total = a[s, j] + b[j]
                for i in range(I):
                    total += U[j, i] * x[s, i]
                a[s, j] = total
        tanh(a.reshape(-1), h.reshape(-1), 0, a.size)
        for s in range(B):
            read_out(V, c, h[s], x[s])
        predictions[t] = x


class OneProduct(Step):
    """NumPy's product inside a compiled loop over the steps."""

    kernel = _run

    @classmethod
    def unsupported(
        cls, config: GeneratorConfig, device: torch.device, dtype: torch.dtype
    ) -> str | None:
        if reason := super().unsupported(config, device, dtype):
            return reason
        threads = str(torch.get_num_threads())
        if os.environ.get(THREADS) != threads:
            return f"the library would choose its own threads: set {THREADS}={threads}"
        return None

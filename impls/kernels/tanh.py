"""tanh in float32 that a compiler turns into vector code, and the system's own in float64.

The quotient of `impls.kernels.rational`: at most 3 units in the last place over all of float32, and
never above 1 (`tests/impls/test_fused_cpu.py` looks).
"""

import math

from impls.kernels.rational import P0, P1, P2, Q0, Q1, Q2, Q3, SATURATED
from impls.kernels.vectors import compiled, fma


@compiled
def tanh(a, out, at, size):
    """out[at : at + size] = tanh(a[:size]), both of one type."""
    if a.itemsize == 8:
        for k in range(size):
            out[at + k] = math.tanh(a[k])
        return
    number = a.dtype.type  # a bare constant would make all of it float64
    p0, p1, p2 = number(P0), number(P1), number(P2)
    q0, q1, q2, q3 = number(Q0), number(Q1), number(Q2), number(Q3)
    top, bottom = number(SATURATED), number(-SATURATED)
    for k in range(size):
        x = a[k]
        # In this order NaN stays what it is.
        x = top if x > top else x
        x = bottom if x < bottom else x
        z = x * x
        n = x * fma(fma(p2, z, p1), z, p0)
        d = fma(fma(fma(q3, z, q2), z, q1), z, q0)
        out[at + k] = (n + n) * d / fma(d, d, n * n)

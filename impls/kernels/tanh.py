"""tanh in float32 that a compiler turns into vector code, and the system's own in float64.

    tanh(x) = 2 n d / (d^2 + n^2)        where n / d = tanh(x / 2)

The formula of the double angle forgives: near 1 an error of n / d is multiplied by
(1 - t^2) / (1 + t^2), so a quotient of low degree is enough,

    n = x (p0 + p1 x^2 + p2 x^4)         d = q0 + q1 x^2 + q2 x^4 + q3 x^6

Its coefficients minimise the largest relative error of tanh up to 8.4 (Lawson's weighted least
squares, 7e-9 before rounding). n and d may be multiplied by any number; theirs is the one of some
hundred whose rounding came out best: at most 3 units in the last place over all of float32, and
never above 1 (`tests/impls/test_fused_cpu.py` looks).
"""

import math

from impls.kernels.vectors import compiled, fma

P0, P1, P2 = 0.9322859048843384, 0.02778431586921215, 0.00010710706555983052
Q0, Q1, Q2, Q3 = (
    1.8645718097686768,
    0.21094954013824463,
    0.002255310770124197,
    2.317182634214987e-06,
)
SATURATED = 9.02  # the quotient is 1 here, as tanh is from 9.011 on


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

"""tanh as a quotient of two polynomials: the coefficients, for whichever compiler.

    tanh(x) = 2 n d / (d^2 + n^2)        where n / d = tanh(x / 2)

The formula of the double angle forgives: near 1 an error of n / d is multiplied by
(1 - t^2) / (1 + t^2), so a quotient of low degree is enough,

    n = x (p0 + p1 x^2 + p2 x^4)         d = q0 + q1 x^2 + q2 x^4 + q3 x^6

Its coefficients minimise the largest relative error of tanh up to 8.4 (Lawson's weighted least
squares, 7e-9 before rounding). n and d may be multiplied by any number; theirs is the one of some
hundred whose rounding came out best.
"""

P0, P1, P2 = 0.9322859048843384, 0.02778431586921215, 0.00010710706555983052
Q0, Q1, Q2, Q3 = (
    1.8645718097686768,
    0.21094954013824463,
    0.002255310770124197,
    2.317182634214987e-06,
)
SATURATED = 9.02  # the quotient is 1 here, as tanh is from 9.011 on

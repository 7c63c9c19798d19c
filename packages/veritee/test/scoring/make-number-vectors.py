# Makes spec/vectors/scoring-numbers.json from spec/scoring.md, "Numbers", with Python's decimal and integers.
# python3 packages/veritee/test/scoring/make-number-vectors.py > spec/vectors/scoring-numbers.json
import json
from decimal import ROUND_HALF_EVEN, Decimal, getcontext
from fractions import Fraction
from math import isqrt

getcontext().prec = 200
E18 = 10**18


def fine(value):
    return str(int((value * E18).quantize(Decimal(1), rounding=ROUND_HALF_EVEN)))


def real(x):
    return Decimal(x) / E18


def div(a, b):
    # Python rounds fractions half to even.
    return round(Fraction(a, b))


def half(t, life):
    if t % life == 0:
        return str(div(E18, 2 ** (t // life)))
    return fine((Decimal(2).ln() * -t / life).exp())


def pow_(x, y):
    return "0" if x == 0 else fine((real(x).ln() * real(y)).exp())


def bound(s, n, z):
    mul = lambda x, y: div(x * y, E18)
    quo = lambda x, y: div(x * E18, y)
    if n == 0:
        return 0
    zz = mul(z, z)
    r = isqrt((quo(mul(4 * s, n - s), n) + zz) * E18)
    return max(0, quo(2 * s + zz - mul(z, r), 2 * (n + zz)))


def shares(n, weights):
    total = sum(weights)
    if total == 0:
        return [0] * len(weights)
    found = [n * w // total for w in weights]
    order = sorted(range(len(weights)), key=lambda i: (-(n * weights[i] % total), i))
    for i in order[: n - sum(found)]:
        found[i] += 1
    return found


NUMBERS = [1, 2, 3, E18 // 3, E18 - 1, E18, E18 + 1, 2 * E18, 10 * E18, 123456789 * E18 + 987654321, 10**45 + 7]
EXPONENTS = [1, E18 // 10, E18 // 3, E18 // 2, 7 * E18 // 10, E18 - 1, E18]
VECTORS = {
    "div": [[str(a), str(b), str(div(a, b))] for a, b in [(0, 1), (1, 2), (3, 2), (5, 2), (-1, 2), (-3, 2), (-5, 2), (7, 3), (-7, 3), (10**40 + 5, 10)]],
    "isqrt": [[str(n), str(isqrt(n))] for n in [0, 1, 2, 3, 4, 15, 16, 17, 10**36 - 1, 10**36, 2**521 - 1, 10**77 + 3]],
    "ln": [[str(x), fine(real(x).ln())] for x in NUMBERS],
    "exp": [[str(x), fine(real(x).exp())] for x in [0, 1, -1, E18, -E18, E18 // 7, -10 * E18, 41 * E18, -41 * E18, -42 * E18 - 5, 100 * E18]],
    "pow": [[str(x), str(y), pow_(x, y)] for x in [0, 1, 4 * E18, *NUMBERS[3:]] for y in EXPONENTS],
    "half": [[t, life, half(t, life)] for t, life in [(0, 60), (60, 60), (61, 60), (1, 86400), (3600, 86400), (86400, 86400), (86400 * 19, 86400), (86400 * 20, 86400), (86400 * 61, 86400), (5000000, 86400)]],
    "bound": [[str(s), str(n), str(z), str(bound(s, n, z))] for s, n in [(0, 0), (0, E18), (E18, E18), (10 * E18, 10 * E18), (9 * E18, 10 * E18), (995 * E18, 1000 * E18), (333333333 * 10**9, E18 // 2)] for z in (0, 1960000000000000000)],
    "shares": [[str(n), [str(w) for w in ws], [str(x) for x in shares(n, ws)]] for n, ws in [(65535, [1, 1, 1]), (65535, [1, 2]), (10, [0, 0]), (7, [5, 5, 5, 5]), (65535, [999999999, 1]), (3, [1, 1, 1, 1]), (10**9, [7, 11, 13])]],
    "nano": [[str(x), text] for x, text in [(0, "0.000000000"), (1, "0.000000001"), (-1, "-0.000000001"), (10**9, "1.000000000"), (12345678901, "12.345678901")]],
}
print(json.dumps(VECTORS, indent=1))

"""Tiers 3 to 5 of `arithmetic`: questions whose answer is one exact integer or fraction.

Everything is computed with integers and fractions, so that there is one right answer.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Final

from subnet.core.benchmark.draws import Draws

Question = tuple[str, Fraction]
GRID_BLOCKS: Final = 12


def question(draws: Draws, tier: int) -> Question:
    """What to ask, and the answer."""
    return draws.choice(SHAPES[tier])(draws)


def polynomial(coefficients: Sequence[int], variable: str = "x") -> str:
    """The usual way to write it, highest power first; `coefficients` from the constant up."""
    terms: list[str] = []
    for power in range(len(coefficients) - 1, -1, -1):
        factor = coefficients[power]
        if factor == 0:
            continue
        size = "" if abs(factor) == 1 and power else str(abs(factor))
        name = "" if power == 0 else variable if power == 1 else f"{variable}^{power}"
        sign = ("-" if factor < 0 else "") if not terms else ("- " if factor < 0 else "+ ")
        terms.append(f"{sign}{size}{name}")
    return " ".join(terms) or "0"


def _linear(factors: Sequence[int], names: str) -> str:
    first, *others = (f"{factor}{name}" for factor, name in zip(factors, names, strict=True))
    return first + "".join(
        f" - {term[1:]}" if term.startswith("-") else f" + {term}" for term in others
    )


def _value(coefficients: Sequence[int], at: Fraction) -> Fraction:
    total = Fraction(0)
    for factor in reversed(coefficients):
        total = total * at + factor
    return total


def _product(one: Sequence[int], other: Sequence[int]) -> list[int]:
    found = [0] * (len(one) + len(other) - 1)
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            found[i + j] += a * b
    return found


def _derivative(coefficients: Sequence[int]) -> list[int]:
    return [power * factor for power, factor in enumerate(coefficients)][1:] or [0]


def _nonzero(draws: Draws, most: int) -> int:
    return draws.between(1, most) * draws.choice((1, -1))


def _coefficients(draws: Draws, degree: int, most: int) -> list[int]:
    return [_nonzero(draws, most) for _ in range(degree + 1)]


def _fraction(draws: Draws, most: int) -> Fraction:
    return Fraction(_nonzero(draws, most), draws.between(2, most))


def _bracketed(number: Fraction) -> str:
    return f"({number})" if number < 0 or number.denominator > 1 else str(number)


def _nested(draws: Draws, depth: int) -> tuple[str, int]:
    if depth == 0:
        leaf = draws.between(2, 19)
        return str(leaf), leaf
    (one, a), (other, b) = _nested(draws, depth - 1), _nested(draws, depth - 1)
    sign = draws.choice("+-*")
    value = {"+": a + b, "-": a - b, "*": a * b}[sign]
    return f"({one} {sign} {other})", value


def _expression(draws: Draws) -> Question:
    text, value = _nested(draws, 3)
    return f"Compute {text[1:-1]}.", Fraction(value)


def _fractions(draws: Draws) -> Question:
    a, b, c, d = (_fraction(draws, 12) for _ in range(4))
    text = f"{_bracketed(a)} * {_bracketed(b)} - {_bracketed(c)} / {_bracketed(d)}"
    return f"Compute {text} exactly.", a * b - c / d


def _at_fraction(draws: Draws) -> Question:
    factors, at = _coefficients(draws, 3, 9), _fraction(draws, 6)
    return f"Let p(x) = {polynomial(factors)}. What is p({at})?", _value(factors, at)


def _two_unknowns(draws: Draws) -> Question:
    x, y = Fraction(_nonzero(draws, 12)), _fraction(draws, 5)
    a, b, c, d = (_nonzero(draws, 9) for _ in range(4))
    if a * d == b * c:
        d += 1 if d != -1 else 2
    one, two = a * x + b * y, c * x + d * y
    equations = f"{_linear((a, b), 'xy')} = {one} and {_linear((c, d), 'xy')} = {two}"
    return f"Solve {equations}. What is x - y?", x - y


def _power(draws: Draws) -> Question:
    base, exponent, modulus = draws.between(3, 99), draws.between(20, 400), draws.between(11, 199)
    text = f"What is the remainder of {base}^{exponent} divided by {modulus}?"
    return text, Fraction(pow(base, exponent, modulus))


def _three_unknowns(draws: Draws) -> Question:
    solution = [_nonzero(draws, 15) for _ in range(3)]
    while True:
        rows = [[_nonzero(draws, 9) for _ in range(3)] for _ in range(3)]
        if _determinant(rows) != 0:
            break
    lines = [
        f"{_linear(row, 'xyz')} = {sum(f * s for f, s in zip(row, solution, strict=True))}"
        for row in rows
    ]
    x, y, z = solution
    return f"Solve {'; '.join(lines)}. What is x*y - z?", Fraction(x * y - z)


def _coefficient(draws: Draws) -> Question:
    one, other = _coefficients(draws, 1, 5), _coefficients(draws, 2, 4)
    m, n = draws.between(3, 5), draws.between(2, 3)
    found = [1]
    for factor in [one] * m + [other] * n:
        found = _product(found, factor)
    power = draws.between(2, len(found) - 3)
    text = f"({polynomial(one)})^{m} * ({polynomial(other)})^{n}"
    return f"What is the coefficient of x^{power} in {text}?", Fraction(found[power])


def _quotient(draws: Draws) -> Question:
    above, below = _coefficients(draws, 3, 7), _coefficients(draws, 2, 7)
    at = Fraction(_nonzero(draws, 4))
    while _value(below, at) == 0:
        at += 1
    u, v = _value(above, at), _value(below, at)
    slope = (_value(_derivative(above), at) * v - u * _value(_derivative(below), at)) / v**2
    text = f"f(x) = ({polynomial(above)}) / ({polynomial(below)})"
    return f"Let {text}. What is the derivative f'({at})?", slope


def _integral(draws: Draws) -> Question:
    factors, low = _coefficients(draws, 4, 9), _fraction(draws, 4)
    high = low + draws.between(1, 3)
    area = sum(
        (f * (high ** (p + 1) - low ** (p + 1)) / (p + 1) for p, f in enumerate(factors)),
        Fraction(0),
    )
    return f"What is the integral of {polynomial(factors)} from {low} to {high}?", area


def _continued(draws: Draws) -> Question:
    parts = [draws.between(1, 12) for _ in range(7)]
    value = Fraction(parts[-1])
    for part in reversed(parts[:-1]):
        value = part + 1 / value
    text = f"[{parts[0]}; {', '.join(map(str, parts[1:]))}]"
    return f"Write the continued fraction {text} as one fraction.", value


def _remainders(draws: Draws) -> Question:
    moduli = draws.sample((7, 9, 11, 13, 16, 17, 19, 23, 25), 3)
    whole = math.prod(moduli)
    number = draws.below(whole)
    text = ", ".join(f"{number % m} modulo {m}" for m in moduli)
    return f"What is the smallest non-negative integer that is {text}?", Fraction(number)


def _determinant(rows: Sequence[Sequence[int]]) -> int:
    if len(rows) == 1:
        return rows[0][0]
    return sum(
        (-1) ** at * factor * _determinant([[*row[:at], *row[at + 1 :]] for row in rows[1:]])
        for at, factor in enumerate(rows[0])
    )


def _matrix(draws: Draws) -> Question:
    rows = [[draws.between(-12, 12) for _ in range(5)] for _ in range(5)]
    return f"What is the determinant of the matrix {rows}?", Fraction(_determinant(rows))


def _recurrence(draws: Draws) -> Question:
    p, q, r = draws.between(2, 9), draws.between(2, 9), draws.between(1, 9)
    a, b, modulus, steps = 1, draws.between(2, 9), draws.between(500, 9999), draws.between(40, 70)
    text = (
        f"Let a(0) = {a}, a(1) = {b} and a(n) = {p} a(n-1) + {q} a(n-2) + {r} n. "
        f"What is the remainder of a({steps}) divided by {modulus}?"
    )
    for n in range(2, steps + 1):
        a, b = b, p * b + q * a + r * n
    return text, Fraction(b % modulus)


def _long_product(draws: Draws) -> Question:
    a, b, c = (draws.between(10**9, 10**10 - 1) for _ in range(3))
    return f"Compute {a} * {b} - {c}.", Fraction(a * b - c)


def _iterated(draws: Draws) -> Question:
    a, b, c, d = (draws.between(1, 7) for _ in range(4))
    value, times = Fraction(draws.between(1, 9), draws.between(2, 9)), draws.between(7, 10)
    start = value
    for _ in range(times):
        value = (a * value + b) / (c * value + d)  # All are positive: never by zero.
    text = f"f(x) = ({polynomial((b, a))}) / ({polynomial((d, c))})"
    return f"Let {text}. Apply f to {start} exactly {times} times. What is the result?", value


def _paths(draws: Draws) -> Question:
    size = draws.between(8, 11)
    inner = [(x, y) for x in range(size) for y in range(size) if 0 < x + y < 2 * size - 2]
    barred = sorted(draws.sample(inner, GRID_BLOCKS))
    ways = {(0, 0): 1}
    for x in range(size):
        for y in range(size):
            if (x, y) in barred:
                ways[x, y] = 0
            elif x or y:
                ways[x, y] = ways.get((x - 1, y), 0) + ways.get((x, y - 1), 0)
    text = (
        f"On the grid points from (0, 0) to ({size - 1}, {size - 1}) one may step right or up, but "
        f"not onto {', '.join(map(str, barred))}. How many ways lead from corner to corner?"
    )
    return text, Fraction(ways[size - 1, size - 1])


SHAPES: Final[dict[int, tuple[Callable[[Draws], Question], ...]]] = {
    3: (_expression, _fractions, _at_fraction, _two_unknowns, _power),
    4: (_three_unknowns, _coefficient, _quotient, _integral, _continued, _remainders),
    5: (_matrix, _recurrence, _long_product, _iterated, _paths),
}

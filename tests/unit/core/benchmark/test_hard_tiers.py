"""The harder tiers' references, worked out a second time by other means or by hand."""

import re
from fractions import Fraction

import numpy as np
import pytest

from subnet.core.benchmark import algebra, generate_task, grade
from subnet.core.benchmark.amendments import Amendment, _on
from subnet.core.benchmark.assembly import Voter, _outcome, _tally
from subnet.core.benchmark.draws import Draws
from subnet.core.benchmark.functions import CALLS
from subnet.core.benchmark.orders import Item, Order
from subnet.core.benchmark.traces import decimal

SAMPLES = 60


def asked(shape):
    return [shape(Draws(b"second way", bytes([number]))) for number in range(SAMPLES)]


def evaluated(text, **names):
    """Our own prompt's formula as Python, with exact integers."""
    code = re.sub(r"(\d)(?=[xyz(])", r"\1*", text.replace("^", "**"))
    code = re.sub(r"(?<![\w.])(\d+)(?![\w.])", r"F(\1)", code)
    return eval(code, {"F": Fraction, **names})


def test_expressions_and_fractions_are_what_python_makes_of_them():
    for shape in (algebra._expression, algebra._fractions, algebra._long_product):
        for text, result in asked(shape):
            formula = text.removeprefix("Compute ").removesuffix(".").removesuffix(" exactly")
            assert evaluated(formula) == result


def test_polynomials_are_evaluated_as_written():
    for text, result in asked(algebra._at_fraction):
        formula, at = re.fullmatch(r"Let p\(x\) = (.*)\. What is p\((.*)\)\?", text).groups()
        assert evaluated(formula, x=Fraction(at)) == result


def test_equations_are_solved_by_their_solutions():
    for text, result in asked(algebra._two_unknowns):
        rows = re.findall(r"(-?\d+)x ([+-]) (\d+)y = (-?[\d/]+)", text)
        left = np.array([[int(a), int(s + b)] for a, s, b, _ in rows], float)
        x, y = np.linalg.solve(left, [float(Fraction(right)) for *_, right in rows])
        assert float(result) == pytest.approx(x - y)
    for text, result in asked(algebra._three_unknowns):
        rows = re.findall(r"(-?\d+)x ([+-]) (\d+)y ([+-]) (\d+)z = (-?\d+)", text)
        left = np.array([[int(a), int(s + b), int(t + c)] for a, s, b, t, c, _ in rows], float)
        x, y, z = np.linalg.solve(left, [float(right) for *_, right in rows])
        assert float(result) == pytest.approx(x * y - z)


def test_calculus_agrees_with_small_steps():
    for text, result in asked(algebra._quotient):
        formula, at = re.search(r"f\(x\) = (.*)\. What .* f'\((.*)\)\?", text).groups()
        step, at = Fraction(1, 10**9), Fraction(at)
        slope = (evaluated(formula, x=at + step) - evaluated(formula, x=at - step)) / (2 * step)
        assert float(slope) == pytest.approx(float(result), rel=1e-6, abs=1e-6)
    for text, result in asked(algebra._integral):
        formula, low, high = re.search(r"of (.*) from (.*) to (.*)\?", text).groups()
        at, weights = np.polynomial.legendre.leggauss(5)  # Exact up to degree 9.
        low, high = float(Fraction(low)), float(Fraction(high))
        xs = (high - low) / 2 * at + (high + low) / 2
        area = (
            (high - low)
            / 2
            * sum(
                w * float(evaluated(formula, x=Fraction(x)))
                for w, x in zip(weights, xs, strict=True)
            )
        )
        assert area == pytest.approx(float(result), rel=1e-9, abs=1e-9)


def test_coefficients_are_those_of_the_expanded_product():
    for text, result in asked(algebra._coefficient):
        power, one, m, other, n = re.search(
            r"x\^(\d+) in \((.*)\)\^(\d) \* \((.*)\)\^(\d)\?", text
        ).groups()
        degree = int(m) + 2 * int(n)
        xs = [Fraction(x) for x in range(degree + 1)]
        values = [evaluated(f"({one})^{m} * ({other})^{n}", x=x) for x in xs]
        assert interpolated(xs, values)[int(power)] == result


def interpolated(xs, values):
    """Coefficients of the polynomial through exact points, by divided differences."""
    table, found = list(values), [Fraction(0)]
    for k in range(1, len(xs)):
        for i in range(len(xs) - 1, k - 1, -1):
            table[i] = (table[i] - table[i - 1]) / (xs[i] - xs[i - k])
    for k in range(len(xs) - 1, -1, -1):
        shifted = [Fraction(0), *found]
        found = [a - xs[k] * b for a, b in zip(shifted, [*found, Fraction(0)], strict=True)]
        found[0] += table[k]
    return found


def test_numbers_have_the_remainders_that_were_asked_for():
    for text, result in asked(algebra._remainders):
        rows = [(int(a), int(m)) for a, m in re.findall(r"(\d+) modulo (\d+)", text)]
        assert all(result % m == a for a, m in rows)
        assert 0 <= result < np.prod([m for _, m in rows])
    for text, result in asked(algebra._power):
        base, exponent, modulus = map(int, re.findall(r"\d+", text))
        assert base**exponent % modulus == result


def test_determinants_are_those_of_linear_algebra():
    for text, result in asked(algebra._matrix):
        matrix = np.array(eval(text[text.index("[[") : -1]), float)
        assert float(result) == pytest.approx(np.linalg.det(matrix), abs=1e-4)


def test_a_recurrence_is_followed_step_by_step():
    for text, result in asked(algebra._recurrence):
        a0, a1, p, q, r, steps, modulus = map(
            int,
            re.search(
                r"a\(0\) = (\d+), a\(1\) = (\d+) and a\(n\) = (\d+) a\(n-1\) \+ (\d+) a\(n-2\) "
                r"\+ (\d+) n\. .* a\((\d+)\) divided by (\d+)",
                text,
            ).groups(),
        )
        values = [a0, a1]
        for n in range(2, steps + 1):
            values.append((p * values[-1] + q * values[-2] + r * n) % modulus)
        assert values[steps] % modulus == result


def test_paths_are_counted_as_by_walking_them():
    for text, result in asked(algebra._paths)[:10]:
        points = [(int(x), int(y)) for x, y in re.findall(r"\((\d+), (\d+)\)", text)]
        assert ways(points[0], points[1], frozenset(points[2:]), {}) == result


def ways(at, end, barred, known):
    """Steps right and up, one after the other."""
    if at in barred or max(at) > end[0]:
        return 0
    if at == end:
        return 1
    if at not in known:
        x, y = at
        known[at] = ways((x + 1, y), end, barred, known) + ways((x, y + 1), end, barred, known)
    return known[at]


def test_continued_and_iterated_fractions_unfold():
    for text, result in asked(algebra._continued):
        parts = [int(n) for n in re.findall(r"\d+", text)]
        found = []
        while result.denominator != 1:
            whole = result.numerator // result.denominator
            found.append(whole)
            result = 1 / (result - whole)
        found.append(int(result))
        # The last part may be one: then it belongs to the part before.
        assert found == (parts if parts[-1] > 1 else [*parts[:-2], parts[-2] + 1])
    for text, result in asked(algebra._iterated):
        formula, start, times = re.search(
            r"f\(x\) = (.*)\. Apply f to (.*) exactly (\d+) times", text
        ).groups()
        value = Fraction(start)
        for _ in range(int(times)):
            value = evaluated(formula, x=value)
        assert value == result


def test_an_order_adds_up_less_its_discount_with_its_items_in_order():
    items = (Item("pear", 3, 5), Item("apple", 2, 10))
    made = Order(7, "Mara Voss", "Arden", "by cart", items, discount=4).as_object()
    assert made["total"] == 31
    assert [item["product"] for item in made["items"]] == ["apple", "pear"]


def test_things_are_where_the_story_last_put_them():
    for number in range(20):
        task = generate_task("retrieval", bytes([number]), 4)
        thing = re.search(r"place is the (\w+ \w+) at the end", task.prompt)[1]
        is_in = {}
        for what, where in re.findall(
            r"[Tt]he (\w+ \w+) (?:was taken to|to|into|went into|lay in|in) the (\w+ \w+)\.",
            task.prompt,
        ):
            is_in[what] = where
        assert is_in[is_in[thing]] == task.value("place")


def test_amendments_count_from_their_day_if_they_stand():
    start = {"Fee": "10", "Term": "6", "Court": "Arden"}
    made = [
        Amendment(1, 100, "Fee", "5", is_added=True),
        Amendment(2, 50, "Fee", "20"),
        Amendment(3, 60, "Term", "9", is_revoked=True),
        Amendment(4, 70, "Term", "8", is_signed=False),
        Amendment(5, 201, "Court", "Lorne"),
    ]
    assert _on(200, start, made) == {"Fee": "25", "Term": "6", "Court": "Arden"}
    assert _on(201, start, made)["Court"] == "Lorne"
    assert _on(49, start, made) == start


def test_votes_follow_to_the_end_with_their_own_weight():
    voters = [
        Voter("a", 10, choice="aye", lock=4),
        Voter("b", 5, follows="a"),
        Voter("c", 7, follows="b", lock=8),
        Voter("d", 100, choice="no", is_late=True),
        Voter("e", 3, follows="d"),
        Voter("f", 2, choice="veto"),
    ]
    assert _tally(voters) == {"aye": 30 + 5 + 28, "no": 0, "abstain": 0, "veto": 2}


@pytest.mark.parametrize(
    ("tally", "expected"),
    [
        ((51, 49, 0, 0), "passed"),
        ((50, 50, 0, 0), "failed"),
        ((20, 10, 9, 0), "no quorum"),
        ((20, 10, 10, 0), "passed"),
        ((60, 6, 0, 34), "vetoed"),
        ((67, 0, 0, 33), "passed"),
    ],
)
def test_a_vote_is_decided_by_quorum_then_veto_then_threshold(tally, expected):
    votes = dict(zip(("aye", "no", "abstain", "veto"), tally, strict=True))
    assert _outcome(votes, 100, 40, 50, has_veto=True) == expected


def test_amounts_have_no_trailing_zeros():
    assert decimal(1_500_000, 6) == "1.5"
    assert decimal(-1, 18) == "-0.000000000000000001"
    assert decimal(2_000_000, 6) == "2"
    assert decimal(0, 9) == "0"


def test_what_lies_in_a_reverted_call_moves_nothing():
    for number in range(100):
        task = generate_task("transaction", bytes([number]), 5)
        sender = task.value("From")
        if task.value("Status") == "failed":
            continue
        net, reverting = 0, []
        for line in task.prompt.splitlines():
            depth = (len(line) - len(line.lstrip())) // 2
            said = line.split()
            reverting = [d for d in reverting if d < depth]
            if said[:1] == ["call"] and line.endswith("reverted"):
                reverting.append(depth)
            if said[:1] == ["transfer"] and said[3] == "USDX" and not reverting:
                net += int(said[1]) * ((said[7] == sender) - (said[5] == sender))
        assert task.value("Net USDX") == f"{decimal(net, 6)} USDX"


def test_a_worked_answer_in_markdown_is_as_good_as_a_bare_one():
    task = generate_task("contract", b"nonce", 3)
    lines = [f"- **{fact.name}:** {fact.value}." for fact in task.facts]
    assert grade(task, "\n".join(lines)) == 1.0


@pytest.mark.parametrize("tier", [3, 4, 5])
def test_every_function_has_all_its_hidden_calls(tier):
    # One of some four hundred random pipelines leaves nothing of its lists: another is drawn then.
    for number in range(1000):
        task = generate_task("code", b"calls" + number.to_bytes(4, "big"), tier)
        assert len(set(task.values("expected"))) == len(task.values("call")) == CALLS - 1

"""Laws that hold for every family, tier and nonce."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subnet.core.benchmark import (
    ANSWER_CHARACTERS_MAX,
    FAMILIES,
    GRADED_FAMILIES,
    Fact,
    Outcome,
    Task,
    generate_task,
    grade,
    is_executed,
    program_of,
)
from subnet.core.benchmark.laws import OFF_TOPIC
from subnet.core.benchmark.program import SOURCE_CHARACTERS_MAX, is_result
from subnet.edge.sandbox import BubblewrapSandbox

NONCES = st.binary(min_size=1, max_size=32)
SUMMARIES = ("contract", "governance", "transaction")
HARD = (3, 4, 5)


def tasks(*families, tiers=(1, 2, 3, 4, 5), executed=False):
    """Tasks of these families and tiers, only those that are executed or only the others."""
    kinds = [
        (family, tier)
        for family in families
        for tier in tiers
        if tier in FAMILIES[family].tiers and is_executed(family, tier) == executed
    ]
    return st.builds(lambda kind, nonce: generate_task(kind[0], nonce, kind[1]),
                     st.sampled_from(kinds), NONCES)  # fmt: skip


READ_TASKS = tasks(*GRADED_FAMILIES)
EXECUTED_TASKS = tasks(*GRADED_FAMILIES, executed=True)
SUMMARY_TASKS = tasks(*SUMMARIES)


@pytest.fixture(scope="module")
def sandbox():
    return BubblewrapSandbox()


def test_every_graded_family_has_five_tiers_and_code_runs_from_the_third():
    assert all(FAMILIES[name].tiers == (1, 2, 3, 4, 5) for name in FAMILIES)
    executed = {(n, t) for n in FAMILIES for t in FAMILIES[n].tiers if is_executed(n, t)}
    assert executed == {("code", 3), ("code", 4), ("code", 5)}


@given(st.sampled_from(tuple(FAMILIES)), NONCES, st.integers(1, 5))
def test_the_same_nonce_gives_the_same_task(family, nonce, tier):
    assert generate_task(family, nonce, tier) == generate_task(family, nonce, tier)


@given(st.sampled_from(tuple(FAMILIES)), NONCES, NONCES, st.integers(1, 5))
def test_different_nonces_give_different_tasks(family, one, other, tier):
    if one != other:
        assert generate_task(family, one, tier) != generate_task(family, other, tier)


@given(READ_TASKS)
def test_the_reference_scores_one(task):
    assert grade(task, task.reference) == 1.0


@given(EXECUTED_TASKS)
@settings(max_examples=40)
def test_the_reference_of_an_executed_task_scores_one_when_it_runs(sandbox, task):
    outcome = sandbox.run(program_of(task, task.reference))
    assert grade(task, task.reference, outcome) == 1.0


@given(READ_TASKS, st.sampled_from([*OFF_TOPIC, "\n", "Note: ", "Answer:", "Answer: ", "[]"]))
def test_an_empty_or_off_topic_answer_scores_nothing(task, answer):
    assert grade(task, answer) == 0.0


@given(EXECUTED_TASKS, st.sampled_from([*OFF_TOPIC, "```\nprint(1)\n```", "def other(x): pass"]))
def test_an_answer_without_the_function_scores_nothing_and_is_not_run(task, answer):
    assert program_of(task, answer) is None
    assert grade(task, answer) == 0.0


@given(READ_TASKS)
def test_repeating_the_prompt_is_no_answer(task):
    assert grade(task, task.prompt) == 0.0
    assert grade(task, f"{task.prompt}\n{task.prompt}") == 0.0


@given(EXECUTED_TASKS)
def test_repeating_the_prompt_is_no_program(task):
    assert program_of(task, task.prompt) is None


@given(READ_TASKS, st.text(max_size=200))
def test_any_text_gets_a_grade_in_the_unit_interval(task, answer):
    assert 0.0 <= grade(task, answer) <= 1.0


@given(READ_TASKS, st.text(max_size=40), st.integers(0, 400))
def test_any_text_inside_the_reference_gets_a_grade_in_the_unit_interval(task, text, at):
    assert 0.0 <= grade(task, task.reference[:at] + text + task.reference[at:]) <= 1.0


HOSTILE = [
    "(", "[", "{", '{"a":', '[{"a":', "1", "-1", "1.", "1.1", "1/", "0x", "0xa", "`", "```\n",
    "`1` ", "a:", "a:\n", ":\n", "Answer: 1\n", "Answer: ", "x", "-", "(-", "n+", "9x", "\ufb01",
    "\ud800", "\0", "a.", "a. ", ".", "\n", " ", "\u01c4", "\u0661", "\U0001d7d9", '"a":1,',
]  # fmt: skip


@pytest.mark.timeout(60)  # A pattern that is not linear takes hours.
@pytest.mark.parametrize("unit", HOSTILE)
def test_the_longest_hostile_text_is_graded_at_once(unit):
    text = unit * (ANSWER_CHARACTERS_MAX // len(unit))
    for family in GRADED_FAMILIES:
        for tier in (2, 3):
            task = generate_task(family, b"nonce", tier)
            if is_executed(family, tier):
                assert program_of(task, text) is None
            else:
                half = len(text) // 2
                for answer in (text, f"Answer: {text}"[:ANSWER_CHARACTERS_MAX], text[:half] + "!"):
                    assert 0.0 <= grade(task, answer) <= 1.0


@given(READ_TASKS)
def test_an_answer_beyond_the_bound_is_not_read(task):
    padding = "\n" * ANSWER_CHARACTERS_MAX
    assert grade(task, task.reference + padding) == 0.0


@given(EXECUTED_TASKS)
def test_a_program_beyond_the_bound_is_not_run(task):
    (name,) = task.values("function")
    long = f"def {name}(*args): return 1\n" + "#" * SOURCE_CHARACTERS_MAX
    assert program_of(task, long) is None


@given(READ_TASKS, st.integers(0, 400))
def test_a_shorter_beginning_of_the_reference_never_gains(task, cut):
    shorter, longer = task.reference[:cut], task.reference[: cut + 1]
    assert _best(task, shorter) <= _best(task, longer)


def _best(task: Task, beginning: str) -> float:
    """The best grade of any beginning up to this one: a cut may fall inside a number or a name."""
    return max(grade(task, beginning[:end]) for end in range(len(beginning) + 1))


@given(SUMMARY_TASKS, st.data())
def test_each_fact_dropped_costs_a_summary(task, data):
    lines = task.reference.splitlines()
    score = grade(task, task.reference)
    for _ in task.facts:
        at = data.draw(st.integers(0, len(lines) - 2))
        del lines[at]
        less = grade(task, "\n".join(lines))
        assert less < score
        score = less
    assert score == 0.0


@given(SUMMARY_TASKS, st.data())
def test_each_number_or_address_invented_costs_a_summary(task, data):
    answer, score = task.reference, 1.0
    for at in range(len(task.facts)):
        kind = data.draw(st.sampled_from([f" {7000000 + at}", f" 0xdead{at:04x}"]))
        answer += kind
        less = grade(task, answer)
        assert less < score
        score = less
    assert score == 0.0


@given(SUMMARY_TASKS)
def test_two_facts_in_each_others_place_cost_a_summary(task):
    first, second, *rest = task.reference.splitlines()
    (one, a), (two, b) = first.split(": "), second.split(": ")
    swapped = "\n".join([f"{one}: {b}", f"{two}: {a}", *rest])
    assert a == b or grade(task, swapped) < 1.0


@given(tasks("extraction"), st.data())
def test_each_leaf_that_is_wrong_costs_an_extraction(task, data):
    tree = json.loads(task.reference)
    score = 1.0
    places = list(_places(tree))
    for place in data.draw(st.permutations(places)):
        *way, last = place
        inner = tree
        for step in way:
            inner = inner[step]
        inner[last] = [] if isinstance(inner[last], dict) else {"wrong": 1}
        less = grade(task, json.dumps(tree))
        assert less < score or less == 0.0
        score = less
    assert score == 0.0


def _places(tree, way=()):
    """The paths of all leaves but the note."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in pairs:
        if isinstance(value, dict | list):
            yield from _places(value, (*way, key))
        elif (*way, key) != ("note",):
            yield (*way, key)


@given(tasks("extraction"), st.integers(1, 5))
def test_each_key_too_many_costs_an_extraction(task, count):
    tree = json.loads(task.reference)
    score = 1.0
    for number in range(count):
        tree[f"extra{number}"] = "x"
        less = grade(task, json.dumps(tree))
        assert less < score or less == 0.0
        score = less


@given(tasks("instructions", tiers=HARD), st.data())
def test_each_line_dropped_costs_an_instruction(task, data):
    lines, score = task.reference.splitlines(), 1.0
    while lines:
        del lines[data.draw(st.integers(0, len(lines) - 1))]
        less = grade(task, "\n".join(lines))
        # Where lines move up, a constraint may be met by luck, but never all that was lost.
        assert less < 1.0
        score = less
    assert score == 0.0


@given(tasks("instructions"), st.sampled_from(["zebra ", "Zebra, zebra "]))
def test_a_word_put_in_front_costs_an_instruction(task, text):
    assert grade(task, text + task.reference) < 1.0


@given(tasks("instructions", tiers=HARD))
def test_constraints_lost_one_by_one_cost_an_instruction_each_time(task):
    lines = task.reference.splitlines()
    score = 1.0
    for number in reversed(range(len(lines))):
        if task.value("word") in lines[number].lower():
            continue
        lines[number] = "Zzz"  # One word: the line's length, end and mark are lost.
        less = grade(task, "\n".join(lines))
        assert less < score
        score = less


@given(tasks("instructions", tiers=HARD))
def test_the_topic_alone_meets_no_prohibition(task):
    word = task.value("word")
    met = 1 + (Fact("initial", f"0 {word[0]}") in task.facts)
    assert grade(task, word) == met / len(task.facts)


@given(tasks("arithmetic", "retrieval", tiers=HARD), st.data())
def test_another_value_or_two_are_no_answer(task, data):
    (fact,) = task.facts
    other = data.draw(st.sampled_from(["0", "-1", "1/7", "blue attic", "red barn"]))
    if other != fact.value:
        assert grade(task, f"Answer: {other}") == 0.0
        assert grade(task, f"{task.reference}\nAnswer: {other}") == 0.0
    assert grade(task, f"- **Answer:** `{fact.value}`.") == 1.0


@given(tasks("arithmetic", tiers=HARD), st.integers(2, 9))
def test_an_equal_fraction_is_as_good(task, factor):
    above, _, below = task.value("result").partition("/")
    assert grade(task, f"Answer: {int(above) * factor}/{int(below or 1) * factor}") == 1.0
    assert grade(task, f"Answer: {above}/0") == 0.0


@given(tasks("code", tiers=(1, 2)))
def test_another_expression_or_two_are_no_answer(task):
    (fact,) = task.facts
    assert grade(task, f"`{fact.value}1`") == 0.0
    assert grade(task, f"`{fact.value}` or `{fact.value}1`") == 0.0


@given(EXECUTED_TASKS, st.data())
def test_each_call_that_fails_costs_a_function(task, data):
    results = list(task.values("expected"))
    score = grade(task, task.reference, Outcome(tuple(results)))
    assert score == 1.0
    for at in data.draw(st.permutations(range(len(results)))):
        results[at] = data.draw(st.sampled_from([None, "[]", "null", "{", "[[", "NaN", "1" * 5000]))
        less = grade(task, task.reference, Outcome(tuple(results)))
        assert less < score
        score = less
    assert score == 0.0


@given(EXECUTED_TASKS)
def test_no_constant_or_copied_argument_passes_a_hidden_call(task):
    expected = task.values("expected")
    assert len(set(expected)) == len(expected)
    for call, result in zip(task.values("call"), expected, strict=True):
        assert all(json.dumps(one, separators=(",", ":")) != result for one in json.loads(call))


@given(st.text(max_size=50), st.sampled_from(["1", "[1,2]", '{"a":true}']))
def test_any_text_is_judged_as_a_result(text, expected):
    assert is_result(text, expected) in (True, False)
    assert is_result(expected, expected)


@pytest.mark.parametrize("text", ["1.0", "true", "[1, 1]", "1 1", "", "[" * 60_000, "9" * 60_000])
def test_what_only_looks_like_the_result_is_none(text):
    assert not is_result(text, "1")

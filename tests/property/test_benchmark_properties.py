"""Laws that hold for every family, tier and nonce."""

from hypothesis import given
from hypothesis import strategies as st

from subnet.core.benchmark import FAMILIES, GRADED_FAMILIES, Task, generate_task, grade

NONCES = st.binary(min_size=1, max_size=32)
TIERS = st.sampled_from([1, 2])
SUMMARIES = ("contract", "governance", "transaction")
GRADED_TASKS = st.builds(generate_task, st.sampled_from(GRADED_FAMILIES), NONCES, TIERS)
SUMMARY_TASKS = st.builds(generate_task, st.sampled_from(SUMMARIES), NONCES, TIERS)


@given(st.sampled_from(tuple(FAMILIES)), NONCES, TIERS)
def test_the_same_nonce_gives_the_same_task(family, nonce, tier):
    assert generate_task(family, nonce, tier) == generate_task(family, nonce, tier)


@given(st.sampled_from(tuple(FAMILIES)), NONCES, NONCES, TIERS)
def test_different_nonces_give_different_tasks(family, one, other, tier):
    if one != other:
        assert generate_task(family, one, tier) != generate_task(family, other, tier)


@given(GRADED_TASKS)
def test_the_reference_scores_one(task):
    assert grade(task, task.reference) == 1.0


@given(GRADED_TASKS, st.sampled_from(["", " ", "\n", "I like trains.", "{}", "``", ":", "Note: "]))
def test_an_empty_or_off_topic_answer_scores_nothing(task, answer):
    assert grade(task, answer) == 0.0


@given(GRADED_TASKS)
def test_repeating_the_prompt_is_no_answer(task):
    assert grade(task, task.prompt) < 1.0


@given(GRADED_TASKS, st.text(max_size=200))
def test_any_text_gets_a_grade_in_the_unit_interval(task, answer):
    assert 0.0 <= grade(task, answer) <= 1.0


@given(GRADED_TASKS, st.integers(0, 400))
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
        kind = data.draw(st.sampled_from([f" {7000 + at}", f" 0xdead{at:04x}"]))
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

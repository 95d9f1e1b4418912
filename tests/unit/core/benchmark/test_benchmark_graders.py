"""What each grader gives, and what each refuses."""

import json

import pytest

from subnet.core.benchmark import FAMILIES, GRADED_FAMILIES, Fact, Task, generate_task, grade
from subnet.core.benchmark.text import grounded_marks, labelled_lines, numbers
from subnet.core.benchmark.words import KEPT, PLACES


def task(family: str, prompt: str, *facts: tuple[str, str]) -> Task:
    return Task(family, 1, prompt, 64, "", tuple(Fact(*fact) for fact in facts))


def test_the_eight_families_are_graded_and_open_text_is_not():
    assert set(FAMILIES) - set(GRADED_FAMILIES) == {"open"}
    assert len(GRADED_FAMILIES) == 8
    story = generate_task("open", b"nonce")
    assert grade(story, story.reference) is None


def test_an_unknown_family_is_a_key_error():
    with pytest.raises(KeyError):
        generate_task("riddles", b"nonce")


def test_family_and_tier_are_part_of_the_stream():
    prompts = {
        generate_task(name, b"nonce", tier).prompt
        for name, family in FAMILIES.items()
        for tier in family.tiers
    }
    assert len(prompts) == sum(len(family.tiers) for family in FAMILIES.values())


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("It is 12.", 1.0),
        ("7 + 5 = 12", 1.0),
        ("12", 1.0),
        ("It is 13.", 0.0),
        ("12 or 13", 0.0),
        ("It is 12x.", 0.0),
        ("It is -12.", 0.0),
        ("twelve", 0.0),
    ],
)
def test_arithmetic_is_graded_by_its_last_number(answer, expected):
    assert grade(task("arithmetic", "What is 7 + 5?", ("result", "12")), answer) == expected


def test_a_term_in_x_is_not_its_coefficient():
    simplify = task("arithmetic", "Simplify 2x + 3x.", ("result", "5x"))
    assert grade(simplify, "We get 5x.") == 1.0
    assert grade(simplify, "We get 5.") == 0.0


RECORD = (("name", "Mara Voss"), ("age", "34"), ("city", "Arden"))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"name": "Mara Voss", "age": 34, "city": "Arden", "note": "Calm."}, 3),
        ({"name": "Mara Voss", "age": "34", "city": "Arden", "note": "Calm."}, 2),
        ({"name": "Mara Voss", "age": True, "city": "Arden", "note": "Calm."}, 2),
        ({"name": "Mara Voss", "age": 34, "city": "Arden"}, 2),
        ({"name": "Mara Voss", "age": 34, "city": "Arden", "note": "", "job": "cook"}, 2),
        ({"note": "Calm."}, 0),
        (["Mara Voss", 34, "Arden"], 0),
    ],
)
def test_extraction_counts_right_fields_less_breaches_of_the_schema(answer, expected):
    extraction = task("extraction", "Mara Voss, 34, Arden", *RECORD)
    assert grade(extraction, json.dumps(answer)) == pytest.approx(expected / 3)


@pytest.mark.parametrize(
    "answer",
    [
        '{"name": "Mara Voss", "name": "Mara Voss", "age": 34, "city": "Arden", "note": ""}',
        'Here: {"name": "Mara Voss", "age": 34, "city": "Arden", "note": ""}',
        "[" * 100_000,
    ],
)
def test_what_is_not_one_plain_object_earns_nothing(answer):
    assert grade(task("extraction", "Mara Voss, 34, Arden", *RECORD), answer) == 0.0


def test_retrieval_wants_one_place_only():
    where = task("retrieval", "... barn ... attic", ("place", "barn"))
    assert grade(where, "Look in the Barn.") == 1.0
    assert grade(where, "Barn, attic, cellar.") == 0.0
    assert grade(where, "I do not know.") == 0.0


CONSTRAINTS = (("word", "fox"), ("first", "Today"), ("mark", "!"))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Today, the fox slept!", 3),
        ("Today, the fox slept.", 2),
        ("A fox slept.", 1),
        ("Today, the foxes slept!", 0),
        ("Today!", 0),
    ],
)
def test_constraints_count_one_by_one_once_the_topic_is_there(answer, expected):
    assert grade(task("instructions", "", *CONSTRAINTS), answer) == pytest.approx(expected / 3)


def test_sentences_are_counted_by_their_ends():
    two = task("instructions", "", ("word", "fox"), ("sentences", "2"))
    assert grade(two, "A fox. It paid 3.5 coins!") == 1.0
    assert grade(two, "A fox. It ran. It hid.") == 0.5


def test_code_output_is_what_stands_in_backticks():
    output = task("code", "print(3 > 2)", ("output", "True"))
    assert grade(output, "It prints `True`.") == 1.0
    assert grade(output, "It prints True.") == 0.0
    assert grade(output, "`True` or `False`") == 0.0


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("n + 3", 1.0),
        ("3+n", 1.0),
        ("(n + 3)", 1.0),
        ("n - 3", 0.0),
        ("n + 4", 0.0),
        ("n +", 0.0),
        ("__import__('os').system('true')", 0.0),
        ("n + 3" + " " * 100, 1.0),
        ("(" * 79, 0.0),
    ],
)
def test_an_expression_is_compared_as_a_tree(found, expected):
    gap = task("code", "def add_3(n): return ___", ("expression", "n + 3"))
    assert grade(gap, f"`{found}`") == expected


def test_subtraction_does_not_commute():
    gap = task("code", "def subtract_3(n): return ___", ("expression", "n - 3"))
    assert grade(gap, "`3 - n`") == 0.0


DEAL = "Mara hires Olin for 40 TAO."
ROLES = (("Client", "Mara"), ("Provider", "Olin"), ("Fee", "40 TAO"))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Client: Mara\nProvider: Olin\nFee: 40 TAO\nNote: Fine.", 3),
        ("client : mara \nPROVIDER: Olin.\nFee: 40  TAO", 3),
        ("Client: Olin\nProvider: Mara\nFee: 40 TAO", 1),
        ("Client: Mara\nClient: Olin\nProvider: Olin\nFee: 40 TAO", 2),
        ("Client: Mara\nProvider: Olin\nFee: 41 TAO", 1),
        ("Client: Mara\nProvider: Olin\nFee: 40 TAO\nNote: due in 30 days", 2),
        ("Client: Mara\nProvider: Olin\nFee: 40 TAO\nNote: paid from 0xabc and 0xdef", 1),
        (DEAL, 0),
    ],
)
@pytest.mark.parametrize("family", ["contract", "governance", "transaction"])
def test_a_summary_counts_facts_in_their_roles_less_what_it_invented(family, answer, expected):
    assert grade(task(family, DEAL, *ROLES), answer) == pytest.approx(expected / 3)


def test_a_result_worked_out_from_the_prompt_is_not_invented():
    summed = generate_task("transaction", b"nonce", 2)
    (total,) = summed.values("Total")
    assert total.split()[0] not in numbers(summed.prompt)
    assert grade(summed, summed.reference) == 1.0


def test_digits_inside_addresses_and_names_are_no_numbers():
    assert numbers("0x12f paid 3.5 TAO, -2 left, v2 and 7x") == ("3.5", "-2")
    assert grounded_marks("0xAB 12") == {"0xab", "12"}


def test_a_line_without_a_colon_has_no_label():
    assert labelled_lines("Fee 3\nFee: 4.\nfee: 5") == {"fee": ("4", "5")}


def test_free_text_cannot_name_a_place_or_a_kept_thing():
    from subnet.core.benchmark import words

    free = {
        *words.ADJECTIVES, *words.NOUNS, *words.VERBS, *words.ADVERBS, *words.WEATHERS,
        *words.MOODS, *(opener.lower() for opener in words.OPENERS),
    }  # fmt: skip
    assert not free & set(PLACES)
    assert not free & set(KEPT)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_easiest_tier_is_short(family):
    for index in range(50):
        made = generate_task(family, bytes([index]))
        assert 3 <= len(made.prompt.split()) <= 60
        assert len(made.reference.split()) <= 60

"""The model card: its figures by hand, its questions, its page, and one real release."""

import json
from pathlib import Path

import pytest

from subnet.cli.exits import UsageError
from subnet.cli.lab_card import _families, page
from subnet.core.benchmark import FAMILIES, GRADED_FAMILIES, grade
from subnet.edge.release_files import load_release_files
from subnet.edge.tokenizer import HubTokenizer
from subnet.lab.card import length_groups, needs_sandbox, tier_groups
from subnet.lab.card_figures import (
    Graded,
    LengthCard,
    ModelCard,
    TierCard,
    boundary,
    family_card,
    figures,
    is_refusal,
    repeat_deviation,
)

TINY = Path(__file__).parents[3] / "assets" / "tiny"
ROOM = 1024


def graded(*grades, task=0, **more):
    kept = {"prompt_tokens": 10, "output_tokens": 4, "is_refusal": False, "is_cut": False} | more
    return [Graded(task=task, grade=one, **kept) for one in grades]


@pytest.fixture(scope="module")
def tokenizer():
    return HubTokenizer(TINY)


def test_the_spread_between_tasks_and_between_repeats_are_told_apart():
    steady = figures([*graded(1, 1, task=0), *graded(0, 0, task=1)])
    assert (steady.grade, steady.grade_error, steady.repeat_deviation) == (0.5, 0.5, 0.0)
    restless = figures([*graded(1, 0, task=0), *graded(1, 0, task=1)])
    assert (restless.grade, restless.grade_error) == (0.5, 0.0)
    assert restless.repeat_deviation == pytest.approx(0.7071, abs=1e-4)


def test_repeats_count_within_their_own_task_only():
    assert repeat_deviation([[1.0, 0.0], [0.5, 0.5]]) == pytest.approx(0.5)
    assert repeat_deviation([[1.0], [0.0]]) is None


def test_shares_and_lengths_are_of_all_answers():
    found = figures(
        [*graded(1, is_cut=True), *graded(0, 0, is_refusal=True, prompt_tokens=30), *graded(0)]
    )
    assert (found.answers, found.prompt_tokens_max) == (4, 30)
    assert (found.refusals, found.cut_short, found.output_tokens_mean) == (0.5, 0.25, 4.0)


def test_what_measures_no_quality_has_no_grade():
    found = figures(graded(None, None))
    assert (found.grade, found.grade_error, found.repeat_deviation) == (None, None, None)


@pytest.mark.parametrize(
    ("grades", "expected"),
    [
        ([], (None, None)),
        ([0.9, 0.8, 0.7], (3, None)),
        ([0.9, 0.5, 0.49, 0.9], (2, 3)),
        ([0.1, 0.9], (None, 1)),
    ],
)
def test_a_release_holds_until_its_first_failure(grades, expected):
    assert boundary(list(enumerate(grades, 1))) == expected


@pytest.mark.parametrize(
    "answer",
    ["", " \n", "I cannot help with that.", "I'm sorry, but", "I\u2019m sorry", "As an AI model, I",
     "Unfortunately, I am unable to do this."],
)  # fmt: skip
def test_refusals_are_known_by_their_beginning(answer):
    assert is_refusal(answer)


@pytest.mark.parametrize(
    "answer", ["It is 12.", "The wolf said: you cannot pass.", "x" * 300 + " i cannot"]
)
def test_other_answers_are_no_refusals(answer):
    assert not is_refusal(answer)


def test_every_tier_of_every_family_is_asked_and_known_to_fit_or_not(tokenizer):
    groups = list(tier_groups(tokenizer, FAMILIES, 2, seed=0))
    assert {(one.name, one.step) for one in groups} == {
        (name, tier) for name in FAMILIES for tier in FAMILIES[name].tiers
    }
    assert all(one.tokens_max <= ROOM for one in groups if one.step == 1)
    assert any(one.tokens_max > ROOM for one in groups)


def test_the_seed_names_the_questions(tokenizer):
    def prompts(seed):
        return [one.prompts for one in tier_groups(tokenizer, ["open"], 2, seed)]

    assert prompts(1) == prompts(1) != prompts(2)


def test_a_longer_prompt_asks_the_same_easy_question(tokenizer):
    groups = list(length_groups(tokenizer, ROOM, 6, seed=0))
    assert [one.step for one in groups] == [128, 256, 512, 960]
    for one in groups:
        assert one.tokens_max <= ROOM
        assert all(one.step - 40 <= len(prompt) <= one.step for prompt in one.prompts)
        assert all(grade(task, task.reference) == 1.0 for task in one.tasks)
    ends = [task.prompt.splitlines()[-1] for task in groups[0].tasks]
    assert all([task.prompt.splitlines()[-1] for task in one.tasks] == ends for one in groups)


def test_a_sandbox_is_needed_only_where_code_fits(tokenizer):
    assert not needs_sandbox(tokenizer, FAMILIES, ROOM)
    assert needs_sandbox(tokenizer, FAMILIES, 4096)
    assert not needs_sandbox(tokenizer, ["open", "contract"], 10**6)


def test_an_unknown_family_is_named_beside_the_known_ones():
    with pytest.raises(UsageError, match="--family riddles: known are arithmetic"):
        _families(["riddles"])
    assert _families([]) == tuple(FAMILIES)


def made_card():
    good, bad = figures(graded(1, 1)), figures(graded(0, 0))
    tiers = (
        TierCard(tier=1, tokens_max=50, figures=good),
        TierCard(tier=2, tokens_max=70, figures=bad),
        TierCard(tier=3, tokens_max=5000, figures=None),
    )
    return ModelCard(
        model="tiny",
        release_digest="a" * 64,
        environment="vllm",
        temperature_milli=1000,
        top_p_milli=950,
        top_k=50,
        seed=0,
        tasks=1,
        repeats=2,
        bar=0.5,
        families=(family_card("arithmetic", "1", tiers),),
        lengths=(LengthCard(tokens=128, figures=bad),),
        holds_to_tokens=None,
        fails_at_tokens=128,
        refusals=0.0,
        repeat_deviation=0.25,
    )


def test_the_page_says_where_it_fails_and_what_did_not_fit():
    text = page(made_card())
    assert "- arithmetic: holds to tier 1, fails at tier 2" in text
    assert "| arithmetic | 3 | does not fit |  |  |  |  | 5000 |" in text
    assert "found nowhere, fails at 128" in text
    assert "between repeats of one task: 0.250" in text


def test_the_published_card_is_of_the_shipped_release_and_its_page_follows_from_it():
    docs = TINY.parents[1] / "docs"
    shipped = ModelCard.model_validate_json((docs / "model-card.json").read_text())
    assert shipped.release_digest == load_release_files(str(TINY)).release.digest()
    assert (docs / "model-card.md").read_text() == page(shipped)
    versions = {one.name: one.version for one in shipped.families}
    assert versions == {name: FAMILIES[name].version for name in versions}
    easiest = {one.name: one.tiers[0].figures for one in shipped.families}
    assert all(easiest[name].grade > shipped.bar for name in GRADED_FAMILIES)


@pytest.mark.engine
def test_a_real_release_gets_its_card(tmp_path, capsys):
    from subnet.cli.lab_card import card

    card(
        model=str(TINY),
        family=["arithmetic"],
        vllm=["enforce_eager=true"],
        quick=True,
        output=tmp_path,
        as_json=True,
    )
    made = ModelCard.model_validate_json(capsys.readouterr().out)
    assert json.loads((tmp_path / "model-card.json").read_text()) == made.model_dump(mode="json")
    (arithmetic,) = made.families
    assert arithmetic.tiers[0].figures.grade > 0.5
    assert arithmetic.tiers[1].figures.grade < 0.5
    assert (arithmetic.holds_to_tier, arithmetic.fails_at_tier) == (1, 2)

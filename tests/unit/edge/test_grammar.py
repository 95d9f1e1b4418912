"""Masks must be the same whether they are made token by token, as a miner does, or all at once."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("xgrammar")

from protocol.structure import Structure  # noqa: E402
from subnet.config import ConfigError  # noqa: E402
from subnet.core.benchmark import FAMILIES, generate_task  # noqa: E402
from subnet.edge import grammar  # noqa: E402
from subnet.edge.grammar import (  # noqa: E402
    Grammars,
    StructureError,
    empty_masks,
    grammars_of,
    mask_logits,
    release_grammars,
)
from subnet.edge.release_files import load_release  # noqa: E402
from subnet.edge.tokenizer import HubTokenizer  # noqa: E402

TINY = Path(__file__).parents[3] / "assets" / "tiny"
STOP = 0
PERSON = Structure(
    kind="json_schema",
    text=json.dumps(
        {
            "type": "object",
            "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
            "required": ["name", "age"],
        }
    ),
)
ANYTHING = Structure(kind="json_schema", text='{"type": "object"}')
STRUCTURES = (PERSON, ANYTHING)


@pytest.fixture(scope="module")
def release():
    return load_release(str(TINY))


@pytest.fixture(scope="module")
def grammars(release) -> Grammars:
    return release_grammars(release, TINY)


@pytest.fixture(scope="module")
def encode():
    tokenizer = HubTokenizer(TINY)._tokenizer
    return lambda text: tokenizer.encode(text, add_special_tokens=False)


def allowed(mask):
    return np.flatnonzero(np.unpackbits(mask.numpy().view(np.uint8), bitorder="little"))


def random_answer(grammars, structure, vocab_size, dice, tokens_max=60):
    walk, mask = grammars.walk(structure), empty_masks(1, vocab_size)
    ids, masks = [], []
    while len(ids) < tokens_max and STOP not in ids:
        walk.fill(mask)
        masks.append(mask[0].clone())
        ids.append(int(dice.choice(allowed(mask))))
        walk.accept(ids[-1])
    return ids, torch.stack(masks)


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda one: one.text[:20])
def test_all_at_once_gives_the_masks_of_one_by_one(grammars, release, structure):
    dice = np.random.default_rng(4)
    for _ in range(20):
        ids, masks = random_answer(grammars, structure, release.vocab_size, dice)
        assert torch.equal(grammars.masks(structure, ids), masks)
        assert grammars.refused_at(structure, ids) is None


def test_the_first_barred_token_is_found_wherever_it_is(grammars, release):
    dice = np.random.default_rng(5)
    ids, masks = random_answer(grammars, PERSON, release.vocab_size, dice)
    for place in range(len(ids)):
        barred = sorted(set(range(release.vocab_size)) - set(allowed(masks[place])))
        bent = [*ids[:place], int(dice.choice(barred)), *ids[place + 1 :]]
        assert grammars.refused_at(PERSON, bent) == place
        found = grammars.masks(PERSON, bent)
        assert torch.equal(found[: place + 1], masks[: place + 1])
        assert (found[place + 1 :] == -1).all()


@pytest.mark.parametrize("foreign", [-1, 2**31 - 1])
def test_a_token_outside_the_vocabulary_is_barred(grammars, foreign):
    assert grammars.refused_at(PERSON, [foreign]) == 0


def test_real_json_passes_and_its_stop_comes_only_at_the_end(grammars, encode):
    ids = encode('{"name": "Lars Hale", "age": 76}')
    assert grammars.refused_at(PERSON, [*ids, STOP]) is None
    assert grammars.refused_at(PERSON, ids) is None
    assert grammars.refused_at(PERSON, [*ids[:-1], STOP]) == len(ids) - 1
    assert grammars.refused_at(PERSON, encode('{"name":"Lars Hale", "age": 76}')) is not None


@pytest.mark.parametrize("tier", FAMILIES["extraction"].tiers)
def test_every_tiers_reference_obeys_the_structure_of_its_task(grammars, encode, tier):
    for number in range(5):
        task = generate_task("extraction", bytes([number]), tier)
        assert grammars.refused_at(task.structure, encode(task.reference)) is None
        broken = task.reference.replace(": ", ": true, ", 1)
        assert grammars.refused_at(task.structure, encode(broken)) is not None


def test_where_nothing_may_follow_the_stop_tokens_may(grammars, release):
    nothing = Structure(kind="json_schema", text='{"$ref": "#"}')
    mask = empty_masks(1, release.vocab_size)
    grammars.walk(nothing).fill(mask)
    assert allowed(mask).tolist() == list(release.stop_token_ids)
    assert torch.equal(grammars.masks(nothing, [STOP]), mask)


def test_an_answer_of_many_pieces_is_replayed_as_one(grammars, release, monkeypatch):
    dice = np.random.default_rng(6)
    ids, masks = random_answer(grammars, ANYTHING, release.vocab_size, dice, tokens_max=50)
    monkeypatch.setattr(grammar, "TOKENS_AT_ONCE", 7)
    assert torch.equal(grammars.masks(ANYTHING, ids), masks)
    assert grammars.refused_at(ANYTHING, [*ids, STOP, 5, 5, 5, 5, 5, 5, 5, 5]) is not None


def test_a_long_answer_does_not_overflow_the_backend(grammars, encode):
    text = Structure(kind="json_schema", text='{"type": "string"}')
    ids = [*encode('"'), *encode("a") * 60_000]
    assert grammars.refused_at(text, ids) is None


def test_an_empty_answer_has_no_masks(grammars):
    assert len(grammars.masks(PERSON, [])) == 0


@pytest.mark.parametrize(
    "structure",
    [
        Structure(kind="json_schema", text='{"enum": []}'),
        Structure(kind="json_schema", text='{"type": "string", "minLength": 5, "maxLength": 2}'),
        Structure(kind="json_schema", text='{"type": "poem"}'),
        Structure(kind="json_schema", text='{"type": "integer", "minimum": 5, "maximum": 2}'),
    ],
    ids=lambda one: one.text,
)
def test_what_cannot_be_compiled_says_why_in_one_line(grammars, structure):
    with pytest.raises(StructureError) as caught:
        grammars.walk(structure)
    assert str(caught.value)
    assert "\n" not in str(caught.value)


def test_masked_logits_are_barred_in_place(grammars, release):
    logits = torch.zeros(2, release.vocab_size)
    masks = empty_masks(2, release.vocab_size)
    grammars.walk(PERSON).fill(masks[:1])
    mask_logits(logits, masks)
    assert np.flatnonzero(np.isfinite(logits[0].numpy())).tolist() == allowed(masks[0]).tolist()
    assert torch.equal(logits[1], torch.zeros(release.vocab_size))


def test_one_vocabulary_is_loaded_once(grammars, release):
    assert release_grammars(release, TINY) is grammars


def test_a_release_without_structured_output_has_no_grammars(release):
    assert release_grammars(release.model_copy(update={"grammar": None}), TINY) is None


def test_another_version_than_the_release_pins_is_refused(release):
    other = release.model_copy(update={"grammar": "xgrammar-9.9.9"})
    with pytest.raises(ConfigError, match=r"pins xgrammar-9\.9\.9"):
        release_grammars(other, TINY)


def test_a_folder_without_a_tokenizer_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="cannot load a grammar backend"):
        grammars_of(tmp_path, 100, (2,))

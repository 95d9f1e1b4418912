"""Pins the bytes that get signed. A failure here is a protocol change: raise PROTOCOL_VERSION.

The expected values are recomputed below from the written rules, without our own functions, so that
the vectors cannot merely repeat a mistake.
"""

import hashlib
import json
import struct
from pathlib import Path

import pytest

from protocol.handshake import MinerCard
from protocol.inference import InferenceRequest, InferenceResponse, OutputHash, StreamCheckpoint
from protocol.message import WireMessage
from protocol.release import Release
from protocol.sampling import derive_seed, prompt_hash

FOLDER = Path(__file__).parent / "protocol"
MESSAGES = json.loads((FOLDER / "messages.json").read_text())["vectors"]
HASHES = json.loads((FOLDER / "output_hash.json").read_text())
SEEDS = json.loads((FOLDER / "seeds.json").read_text())["vectors"]
TYPES: dict[str, type[WireMessage]] = {
    kind.__name__: kind
    for kind in (Release, InferenceRequest, InferenceResponse, StreamCheckpoint, MinerCard)
}


@pytest.mark.parametrize("vector", MESSAGES, ids=lambda vector: vector["type"])
def test_signing_bytes_and_digest_match_the_published_vector(vector):
    message = TYPES[vector["type"]].model_validate_json(json.dumps(vector["message"]))
    assert message.signing_bytes().decode() == vector["signing_bytes"]
    assert message.digest() == vector["digest"]


@pytest.mark.parametrize("vector", MESSAGES, ids=lambda vector: vector["type"])
def test_the_vector_follows_from_the_written_rule(vector):
    canonical = json.dumps(vector["message"], sort_keys=True, separators=(",", ":"))
    expected = f"assay/1\n{vector['type']}\n{canonical}"
    assert vector["signing_bytes"] == expected
    assert vector["digest"] == hashlib.sha256(expected.encode()).hexdigest()


def test_every_signed_type_has_a_vector():
    assert {vector["type"] for vector in MESSAGES} == set(TYPES)


def test_the_running_hash_matches_the_published_vector():
    ours = OutputHash(HASHES["request_digest"])
    rule = b"assay/output\n" + bytes.fromhex(HASHES["request_digest"])
    for step in HASHES["steps"]:
        ours.update(step["token_ids"], step["logprobs"])
        for token_id, logprob in zip(step["token_ids"], step["logprobs"], strict=True):
            rule += struct.pack("<IH", token_id, logprob)
        assert ours.hexdigest() == step["running_hash"] == hashlib.sha256(rule).hexdigest()


@pytest.mark.parametrize("vector", SEEDS)
def test_seeds_match_the_published_vector(vector):
    ids = vector["prompt_token_ids"]
    packed = b"".join(struct.pack("<I", token_id) for token_id in ids)
    assert prompt_hash(ids) == vector["prompt_hash"] == hashlib.sha256(packed).hexdigest()
    names = ("nonce", "request_id", "caller_hotkey", "miner_hotkey", "prompt_hash")
    text = "\n".join(["assay/seed/1", *(vector[name] for name in names)])
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    arguments = [vector[name] for name in names[:-1]]
    assert derive_seed(*arguments, ids) == vector["seed"] == number % 2**63

"""`assay evidence` and `assay reverify` on the shipped tiny model, with a real referee."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("transformers")

from subnet.cli.exits import UsageError
from subnet.cli.main import app
from subnet.config import ConfigError
from subnet.core.audit import AuditParams
from subnet.core.bundle import (
    EvidenceRules,
    SealedBundle,
    canonical_bytes,
    sealed,
)
from subnet.core.verification.calibration import CalibrationTable
from subnet.core.verification.claim import (
    claim_of,
    float16_bits,
    from_float16_bits,
)
from subnet.core.verification.evidence import EvidenceParams
from subnet.edge.kept_rows import KeptLimits
from subnet.edge.release_files import load_release
from subnet.edge.torch_referee import TorchReferee
from subnet.edge.validator_store import SqliteValidatorStore
from tests.evidence_support import (
    MASTER_SECRET,
    MINER,
    PERIOD,
    SAMPLING,
    audited,
    make_request,
    pending_of_answer,
    signed_answer,
)
from tests.validator_support import VALIDATOR

TINY = Path(__file__).parents[2] / "assets" / "tiny"
TOKENS = SAMPLING.tokens_max
ANSWERS = 5


@pytest.fixture(scope="module")
def release():
    return load_release(str(TINY))


@pytest.fixture(scope="module")
def table():
    return CalibrationTable.model_validate_json((TINY / "calibration.json").read_text())


@pytest.fixture(scope="module")
def referee(release, table):
    return TorchReferee(TINY, dtype=release.dtype, slack_logits=table.slack_logits)


def answered(referee, release, environment, *, seed_shift):
    """Answers that the model gives, sampled under the promised seeds or shifted ones."""
    requests = [make_request(n, (5 + n, 17, 40 + n, 99), release) for n in range(ANSWERS)]
    empty = [
        claim_of(one, (), (), "length", miner_hotkey=MINER.hotkey, caller_hotkey=VALIDATOR)
        for one in requests
    ]
    shifted = [replace(claim, seed=claim.seed + seed_shift) for claim in empty]
    pendings = []
    made = referee.continued(shifted, TOKENS)
    for number, (request, claim) in enumerate(zip(requests, made, strict=True)):
        tokens = claim.output_token_ids
        stops = [n for n, token in enumerate(tokens) if token in release.stop_token_ids]
        tokens = tokens[: stops[0] + 1] if stops else tokens
        (zero,) = referee.score(
            [replace(claim, output_token_ids=tokens, logprobs=(0.0,) * len(tokens))]
        )
        logprobs = from_float16_bits(float16_bits([-gap for gap in zero.logprob_gaps]))
        reason = "stop" if stops else "length"
        signed = signed_answer(
            request,
            tokens,
            logprobs,
            finish_reason=reason,
            environment=environment,
        )
        pendings.append(pending_of_answer(signed, tokens, logprobs, number))
    return pendings


@pytest.fixture(scope="module")
def folder(tmp_path_factory, referee, release, table):
    """A state file of a validator that met a cheat, and the bundle it exported."""
    where = tmp_path_factory.mktemp("evidence")
    store = SqliteValidatorStore(where / "state", {"hotkey": VALIDATOR}, MASTER_SECRET)
    for _ in range(PERIOD + 1):
        store.open_next_period()
    store.save_evidence_rules(
        EvidenceRules(release=release, table=table, evidence=EvidenceParams(), audit=AuditParams()),
        KeptLimits(100, 100_000),
    )
    guilty = audited(
        answered(referee, release, table.pairs[0].miner, seed_shift=1), referee, table=table
    )
    store.save_audits([], [], [], [], guilty)
    store.close()
    result = call("evidence", MINER.hotkey, "--state", where / "state", "--output", where / "e")
    assert result.exit_code == 0, result.output
    return where


def call(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_the_file_is_private_and_the_model_confirms_it(folder):
    file = folder / "e"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    result = call("reverify", file, "--model", TINY, "--json")
    assert result.exit_code == 0, result.output
    assert "recomputing answers: " in result.stderr
    outcome = json.loads(result.stdout[result.stdout.index("{") :])
    assert outcome["verdict"] == "CONFIRMED"
    assert len(outcome["answers"]) >= 2
    assert all(answer["tokens_off"] == 0 for answer in outcome["answers"])
    assert "CONFIRMED" in call("reverify", file, "--model", TINY).output


def test_honest_answers_called_guilty_are_refuted_by_the_model(
    folder, referee, release, table, tmp_path
):
    bundle = SealedBundle.model_validate_json((folder / "e").read_bytes()).bundle

    class Slanderer:
        def score(self, claims):
            return [
                replace(one, margins=(9.0,) * len(one.margins)) for one in referee.score(claims)
            ]

    answers = answered(referee, release, table.pairs[0].miner, seed_shift=0)
    kept = audited(answers, Slanderer(), table=table)
    assert kept[-1].is_alarm
    slander = bundle.model_copy(update={"answers": tuple(one.evidence for one in kept)})
    (tmp_path / "b").write_bytes(canonical_bytes(sealed(slander)))
    result = call("reverify", tmp_path / "b", "--model", TINY)
    assert result.exit_code == 1
    assert "REFUTED" in result.output


def test_a_flipped_token_is_unusable_or_refuted(folder, tmp_path):
    file = json.loads((folder / "e").read_bytes())
    file["bundle"]["answers"][0]["transcript"]["token_ids"][0] ^= 1
    (tmp_path / "b").write_text(json.dumps(file))
    result = call("reverify", tmp_path / "b", "--model", TINY)
    assert isinstance(result.exception, UsageError)
    assert "changed or damaged" in str(result.exception)
    resealed = sealed(SealedBundle.model_validate(file, strict=False).bundle)
    (tmp_path / "b").write_bytes(canonical_bytes(resealed))
    assert call("reverify", tmp_path / "b", "--model", TINY).exit_code == 1


def test_a_bundle_that_shows_no_transcript_confirms_nothing(folder, tmp_path):
    bundle = SealedBundle.model_validate_json((folder / "e").read_bytes()).bundle
    bare = bundle.model_copy(update={"answers": tuple(one.withheld() for one in bundle.answers)})
    (tmp_path / "b").write_bytes(canonical_bytes(sealed(bare)))
    result = call("reverify", tmp_path / "b", "--model", TINY)
    assert result.exit_code == 3
    assert "INCONCLUSIVE" in result.output


def test_other_weights_are_no_judge(folder):
    result = call("reverify", folder / "e", "--model", TINY.with_name("tiny-weak"))
    assert isinstance(result.exception, ConfigError)
    assert "weights_digest" in str(result.exception)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "Invalid JSON"),
        (b"{}", "bundle: Field required"),
        (b"\xff\x00", "Invalid JSON"),
        (b'{"bundle": NaN, "digest": 1}', "bundle: Input should be"),
    ],
)
def test_what_is_no_bundle_is_one_clear_line(tmp_path, content, says):
    (tmp_path / "b").write_bytes(content)
    result = call("reverify", tmp_path / "b", "--model", TINY)
    assert isinstance(result.exception, UsageError)
    assert f"is no evidence bundle: {says}" in str(result.exception)


def test_a_state_file_that_is_not_there_is_one_clear_line(tmp_path):
    result = call("evidence", MINER.hotkey, "--state", tmp_path / "none")
    assert isinstance(result.exception, UsageError)
    assert "no validator has run" in str(result.exception)

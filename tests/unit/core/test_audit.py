"""The audit draw: committed first, drawn after, derivable by everybody."""

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from protocol.structure import Structure
from subnet.core.audit import (
    PPM,
    AuditParams,
    Traffic,
    audit_draw_ppm,
    audit_share_ppm,
    readings,
)
from subnet.core.verification.calibration import CalibrationTable
from subnet.core.verification.claim import Claim, ClaimScore
from subnet.core.verification.evidence import Channel

TINY = Path(__file__).parents[3] / "assets" / "tiny"

digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
words = st.binary(min_size=32, max_size=32)
PARAMS = AuditParams()


@given(digests, words, words)
def test_a_draw_is_below_one_million_and_repeats(digest, block_hash, secret):
    draw = audit_draw_ppm(digest, block_hash, secret)
    assert 0 <= draw < PPM
    assert draw == audit_draw_ppm(digest, block_hash, secret)


@given(digests, words, words)
def test_neither_side_alone_decides_a_draw(digest, block_hash, secret):
    draw = audit_draw_ppm(digest, block_hash, secret)
    others = {
        audit_draw_ppm(digest, block_hash, bytes(32)) if secret != bytes(32) else -1,
        audit_draw_ppm(digest, bytes(32), secret) if block_hash != bytes(32) else -1,
    }
    assert draw not in others or draw in {-1}


def test_the_share_that_is_drawn_is_the_share_that_was_set():
    draws = [audit_draw_ppm(f"{n:064x}", b"b" * 32, b"s" * 32) for n in range(20_000)]
    assert 0.045 < sum(draw < PARAMS.organic_ppm for draw in draws) / len(draws) < 0.055


def test_a_structured_answer_is_read_by_its_margins_alone():
    table = CalibrationTable.model_validate_json((TINY / "calibration.json").read_bytes())
    plain = Claim((5,) * 9, (6,) * 20, 1000, 950, 50, 7, (-1.0,) * 20, "length")
    score = ClaimScore((0.0,) * 20, (3.0,) * 20)
    both = {Channel.MARGIN, Channel.LOGPROB}
    assert set(readings(plain, score, table, Traffic.BENCHMARK)) == both
    structured = replace(
        plain, structure=Structure(kind="json_schema", text='{"enum": ["yes", "no"]}')
    )
    assert set(readings(structured, score, table, Traffic.BENCHMARK)) == {Channel.MARGIN}


def test_an_echo_is_read_as_its_user_s_request_was():
    table = CalibrationTable.model_validate_json((TINY / "calibration.json").read_bytes())
    claim = Claim((5,) * 9, (6,) * 20, 1000, 950, 50, 7, (-1.0,) * 20, "length")
    score = ClaimScore((9.0,) * 20, (3.0,) * 20)
    users, echo = (readings(claim, score, table, one) for one in (Traffic.ORGANIC, Traffic.ECHO))
    assert echo == users != readings(claim, score, table, Traffic.BENCHMARK)
    assert set(echo) == {Channel.MARGIN}
    assert echo[Channel.MARGIN].p0 == table.bounds(1000, 950, 29, of_users=True)


def test_suspects_are_audited_more_and_nobody_less():
    for traffic in Traffic:
        usual = audit_share_ppm(traffic, is_suspect=False, params=PARAMS)
        assert audit_share_ppm(traffic, is_suspect=True, params=PARAMS) >= usual
    assert audit_share_ppm(Traffic.ORGANIC, is_suspect=True, params=PARAMS) == 500_000
    assert audit_share_ppm(Traffic.BENCHMARK, is_suspect=False, params=PARAMS) == PPM
    assert audit_share_ppm(Traffic.ECHO, is_suspect=False, params=PARAMS) == PPM

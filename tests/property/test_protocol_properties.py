from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import RejectedError
from protocol.inference import InferenceRequest, OutputHash, Sampling
from protocol.sampling import derive_seed
from subnet.core.admission import AdmissionParams, Caller, Load, read_request, tokens_budget
from subnet.edge.answer_reader import AnswerReader, StreamFaultError
from tests.miner_support import CALLER, MINER, make_request

hexes = st.binary(min_size=32, max_size=32).map(bytes.hex)
token_ids = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=40).map(tuple)
requests = st.builds(
    InferenceRequest,
    request_id=st.binary(min_size=16, max_size=16).map(bytes.hex),
    release_digest=hexes,
    nonce=hexes,
    prompt_token_ids=token_ids,
    sampling=st.builds(
        Sampling,
        temperature_milli=st.integers(0, 2000),
        top_p_milli=st.integers(1, 1000),
        top_k=st.integers(1, 64),
        tokens_max=st.integers(1, 1000),
    ),
    timeout_ms=st.integers(100, 600_000),
)


@given(requests)
def test_a_message_means_the_same_on_both_ends(request):
    read = InferenceRequest.model_validate_json(request.to_bytes())
    assert read == request
    assert read.digest() == request.digest()


@given(requests, requests)
def test_different_requests_have_different_digests(one, other):
    assert (one == other) == (one.digest() == other.digest())


@given(hexes, hexes, token_ids, token_ids)
def test_a_seed_changes_with_everything_that_it_binds(nonce, other_nonce, prompt, other_prompt):
    request_id = "0" * 32

    def seed(nonce=nonce, caller=CALLER.hotkey, miner=MINER.hotkey, prompt=prompt):
        return derive_seed(nonce, request_id, caller, miner, prompt)

    assert 0 <= seed() < 2**63
    assert (seed(nonce=other_nonce) == seed()) == (nonce == other_nonce)
    assert (seed(prompt=other_prompt) == seed()) == (prompt == other_prompt)
    assert seed(caller=MINER.hotkey, miner=CALLER.hotkey) != seed()


@given(st.lists(st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**16 - 1))), st.data())
def test_the_running_hash_does_not_depend_on_how_tokens_were_chunked(tokens, data):
    whole, chunked = OutputHash("a" * 64), OutputHash("a" * 64)
    whole.update([token for token, _ in tokens], [logprob for _, logprob in tokens])
    cut = data.draw(st.integers(0, len(tokens)))
    for part in (tokens[:cut], tokens[cut:]):
        chunked.update([token for token, _ in part], [logprob for _, logprob in part])
    assert whole.hexdigest() == chunked.hexdigest()


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_a_typed_refusal(body):
    try:
        read_request(body)
    except RejectedError as error:
        assert error.rejection.detail


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=200) | st.sampled_from([b"{}", b"[]", b"null"]), min_size=1))
def test_no_stream_makes_the_reader_raise_anything_but_a_fault(lines):
    reader = AnswerReader(make_request(), MINER.hotkey, CALLER.hotkey, lambda *_: True)
    try:
        for line in lines:
            reader.read_line(line, 0)
    except StreamFaultError:
        pass
    assert reader.response is None


@given(st.lists(st.integers(0, 10**18), min_size=1, max_size=20), st.integers(1, 10**12))
def test_budgets_never_add_up_to_more_than_the_miner_gives(stakes, tokens_per_tempo):
    params = AdmissionParams(tokens_per_tempo=tokens_per_tempo)
    load = Load(len(stakes), sum(stakes), 0, 1, False, 0, 0, 1)
    budgets = [tokens_budget(Caller("x", True, stake), load, params) for stake in stakes]
    assert sum(budgets) <= tokens_per_tempo
    for stake, budget in zip(stakes, budgets, strict=True):
        assert budget <= max(b for s, b in zip(stakes, budgets, strict=True) if s >= stake)

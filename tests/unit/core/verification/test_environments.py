"""A table speaks of the pairs of machines that it was measured on, and of no other."""

from hypothesis import given
from hypothesis import strategies as st

from protocol.inference import Environment
from subnet.core.verification.environments import EnvironmentPair, device_class, is_alike
from tests.validator_support import make_table

words = st.text("abc-1.", min_size=1, max_size=12)
environments = st.builds(
    Environment,
    engine=words,
    torch=words,
    device=st.sampled_from(["cpu", "cpu-avx2", "cpu-avx512", "NVIDIA H100", "NVIDIA A100", "cpux"]),
    dtype=words,
)


@given(environments, environments)
def test_a_pair_fits_itself_and_other_vector_instructions(miner, referee):
    pair = EnvironmentPair(miner=miner, referee=referee)
    assert pair.fits(miner, referee)
    if device_class(miner.device) == "cpu":
        assert pair.fits(miner.model_copy(update={"device": "cpu-sve"}), referee)


@given(environments, environments, st.sampled_from(["engine", "torch", "dtype", "device"]), words)
def test_any_other_word_is_another_environment(miner, referee, field, word):
    pair = EnvironmentPair(miner=miner, referee=referee)
    for other in (miner, referee):
        changed = other.model_copy(update={field: getattr(other, field) + "+" + word})
        if field == "device" and device_class(other.device) == device_class(changed.device):
            continue
        assert not is_alike(other, changed)
    strange = miner.model_copy(update={"engine": f"{miner.engine}+{word}"})
    assert not pair.fits(strange, referee) and not pair.fits(miner, strange)


@given(environments, environments)
def test_both_sides_must_be_of_one_measured_pair(one, other):
    table = make_table().model_copy(
        update={
            "pairs": (
                EnvironmentPair(miner=one, referee=one),
                EnvironmentPair(miner=other, referee=other),
            )
        }
    )
    assert table.covers(one, one) and table.covers(other, other)
    assert table.covers(one, other) == is_alike(one, other)


def test_two_models_of_gpu_are_two_classes():
    assert device_class("NVIDIA H100") != device_class("NVIDIA A100")
    assert device_class("cpux") == "cpux"

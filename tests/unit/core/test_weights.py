"""Weights by example: who gets a share, who does not, and how the rest is rounded."""

import pytest

from subnet.core.weights import SHARES_TOTAL, version_key, weights_from_scores

UIDS = {"validator": 0, "ada": 3, "bob": 1, "cyd": 7}
DIGEST = "deadbeef" + "0" * 56


def test_shares_are_proportional_to_scores() -> None:
    shares = weights_from_scores({"ada": 750_000, "bob": 250_000}, UIDS, own_uid=0)
    assert shares == {1: SHARES_TOTAL // 4, 3: SHARES_TOTAL // 4 * 3}


def test_a_score_of_zero_earns_no_entry() -> None:
    shares = weights_from_scores({"ada": 5, "bob": 0}, UIDS, own_uid=0)
    assert shares == {3: SHARES_TOTAL}


def test_a_hotkey_that_left_the_metagraph_leaves_its_share_to_the_rest() -> None:
    shares = weights_from_scores({"ada": 1, "bob": 1, "gone": 998}, UIDS, own_uid=0)
    assert shares == {1: SHARES_TOTAL // 2, 3: SHARES_TOTAL // 2}


def test_a_validator_never_weights_itself() -> None:
    scores = {"validator": 1_000_000, "ada": 1}
    assert weights_from_scores(scores, UIDS, own_uid=0) == {3: SHARES_TOTAL}
    assert weights_from_scores({"validator": 1}, UIDS, own_uid=0) == {}


@pytest.mark.parametrize("scores", [{}, {"ada": 0, "bob": 0}, {"gone": 9}])
def test_nothing_is_set_when_nobody_scores(scores: dict[str, int]) -> None:
    assert weights_from_scores(scores, UIDS, own_uid=0) == {}


def test_units_left_over_go_to_the_largest_remainders() -> None:
    """Of seven parts, quotas end in 6/7, 2/7 and 6/7: two units are left for three uids."""
    quota, rest = divmod(SHARES_TOTAL, 7)
    assert rest == 6
    assert weights_from_scores({"ada": 1, "bob": 5, "cyd": 1}, UIDS, own_uid=0) == {
        1: SHARES_TOTAL * 5 // 7,
        3: quota + 1,
        7: quota + 1,
    }


def test_an_odd_unit_between_equal_remainders_goes_to_the_higher_score() -> None:
    """Of fourteen parts, quotas of 1 and 8 both end in 6/14, and one unit is left."""
    shares = weights_from_scores({"ada": 8, "bob": 1, "cyd": 5}, UIDS, own_uid=0)
    assert shares[3] == SHARES_TOTAL * 8 // 14 + 1
    assert shares[1] == SHARES_TOTAL // 14


def test_equal_scores_are_rounded_in_favour_of_the_lower_uid() -> None:
    uids = {f"miner-{uid}": uid for uid in range(7)}
    shares = weights_from_scores(dict.fromkeys(uids, 1), uids, own_uid=None)
    assert [shares[uid] - SHARES_TOTAL // 7 for uid in range(7)] == [1, 1, 1, 1, 1, 1, 0]


def test_a_share_below_one_unit_is_no_entry() -> None:
    shares = weights_from_scores({"ada": 1, "bob": 10**9}, UIDS, own_uid=0)
    assert shares == {1: SHARES_TOTAL}


def test_a_version_is_the_counter_before_the_digest() -> None:
    assert version_key(0, DIGEST) == 0xDEADBEEF
    assert version_key(7, DIGEST) == (7 << 32) + 0xDEADBEEF


def test_the_counter_outranks_any_digest() -> None:
    assert version_key(2, "0" * 64) > version_key(1, "f" * 64)


def test_the_largest_version_is_the_largest_u64() -> None:
    assert version_key(2**32 - 1, "f" * 64) == 2**64 - 1


@pytest.mark.parametrize(
    ("counter", "digest"),
    [(-1, DIGEST), (2**32, DIGEST), (0, DIGEST[:-1]), (0, "0x" + DIGEST[2:]), (0, "g" * 64)],
)
def test_a_version_out_of_bounds_is_our_mistake(counter: int, digest: str) -> None:
    with pytest.raises(AssertionError):
        version_key(counter, digest)

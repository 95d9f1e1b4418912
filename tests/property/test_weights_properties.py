"""Laws of weights: exact sums, more for more, nothing for splitting, names without influence."""

from collections.abc import Mapping
from itertools import pairwise

from hypothesis import assume, given
from hypothesis import strategies as st

from subnet.core.weights import SHARES_TOTAL, weights_from_scores

SCORE = st.one_of(st.integers(0, 10), st.integers(0, 1_000_000))
SCORES = st.dictionaries(st.integers(0, 4_095), SCORE, max_size=40)


def weigh(scores: Mapping[int, int], own_uid: int | None = None) -> dict[int, int]:
    """Hotkeys stand for uids one to one."""
    hotkeys = {f"hotkey-{uid}": uid for uid in scores}
    by_hotkey = {hotkey: scores[uid] for hotkey, uid in hotkeys.items()}
    return weights_from_scores(by_hotkey, hotkeys, own_uid)


@given(SCORES)
def test_shares_sum_to_the_total_unless_nobody_scores(scores: dict[int, int]) -> None:
    shares = weigh(scores)
    assert sum(shares.values()) == (SHARES_TOTAL if any(scores.values()) else 0)
    assert all(isinstance(share, int) and share > 0 for share in shares.values())
    assert list(shares) == sorted(shares)


@given(SCORES)
def test_no_share_is_a_unit_off_its_exact_proportion(scores: dict[int, int]) -> None:
    total, shares = sum(scores.values()), weigh(scores)
    for uid, score in scores.items():
        if total:
            assert abs(shares.get(uid, 0) * total - score * SHARES_TOTAL) < total


@given(SCORES)
def test_a_higher_score_never_gets_less(scores: dict[int, int]) -> None:
    shares = weigh(scores)
    by_score: dict[int, list[int]] = {}
    for uid, score in scores.items():
        by_score.setdefault(score, []).append(shares.get(uid, 0))
    levels = [by_score[score] for score in sorted(by_score)]
    assert all(max(low) <= min(high) for low, high in pairwise(levels))


@given(SCORES, st.integers(1, 1_000_000), st.data())
def test_raising_ones_own_score_never_costs_a_unit(
    scores: dict[int, int], gain: int, data: st.DataObject
) -> None:
    assume(scores)
    uid = data.draw(st.sampled_from(sorted(scores)))
    raised = weigh({**scores, uid: scores[uid] + gain})
    assert raised[uid] >= weigh(scores).get(uid, 0)


@given(SCORES, st.data())
def test_a_score_split_between_two_uids_earns_no_more_than_rounding(
    scores: dict[int, int], data: st.DataObject
) -> None:
    assume(scores)
    uid = data.draw(st.sampled_from(sorted(scores)))
    part = data.draw(st.integers(0, scores[uid]))
    twin = data.draw(st.integers(0, 4_096).filter(lambda other: other not in scores))
    split = weigh({**scores, uid: part, twin: scores[uid] - part})
    assert abs(split.get(uid, 0) + split.get(twin, 0) - weigh(scores).get(uid, 0)) <= 2


@given(SCORES, st.randoms(use_true_random=False))
def test_neither_order_nor_names_of_uids_matter(scores: dict[int, int], random: object) -> None:
    """Distinct scores: between equal ones the lower uid takes the odd unit on purpose."""
    distinct = {uid: score for score, uid in {s: u for u, s in scores.items()}.items()}
    names = list(distinct)
    random.shuffle(names)  # type: ignore[attr-defined]
    renamed = dict(zip(distinct, names, strict=True))
    shares = weigh(distinct)
    shuffled = weigh({renamed[uid]: distinct[uid] for uid in reversed(distinct)})
    assert shuffled == {renamed[uid]: share for uid, share in shares.items()}


@given(SCORES, st.data())
def test_ones_own_uid_and_strangers_change_nothing_for_the_rest(
    scores: dict[int, int], data: st.DataObject
) -> None:
    own = data.draw(st.integers(0, 4_095))
    others = {uid: score for uid, score in scores.items() if uid != own}
    hotkeys = {f"hotkey-{uid}": uid for uid in {*scores, own}}
    by_hotkey = {f"hotkey-{uid}": score for uid, score in scores.items()}
    stranger = {"stranger": data.draw(SCORE)}
    assert weights_from_scores({**by_hotkey, **stranger}, hotkeys, own) == weigh(others)

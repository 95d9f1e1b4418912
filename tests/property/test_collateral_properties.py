"""Laws of miner collateral: a lock moves no alpha, follows its floor, and is always backed."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from subnet.devnet import balances, collateral, collateral_calls, staking
from subnet.devnet.context import Context, DispatchError
from subnet.devnet.params import DevnetParams
from subnet.devnet.schema.hyperparameters import FIXED_ONE
from subnet.devnet.state import State

TAO = 10**9
NETUID, OWNER, HOTKEYS, NOMINATOR = 1, "owner", ("hot-a", "hot-b"), "nominator"
AMOUNT = st.integers(0, 50 * TAO)
HOTKEY = st.sampled_from(HOTKEYS)
STEP = st.one_of(
    st.tuples(st.just("stake"), HOTKEY, st.sampled_from((OWNER, NOMINATOR)), AMOUNT),
    st.tuples(st.just("unstake"), HOTKEY, st.sampled_from((OWNER, NOMINATOR)), AMOUNT),
    st.tuples(st.just("lock"), HOTKEY, st.just(OWNER), AMOUNT),
    st.tuples(st.just("floor"), HOTKEY, st.just(OWNER), AMOUNT),
    st.tuples(st.just("register"), HOTKEY, st.just(OWNER), AMOUNT),
    st.tuples(st.just("incentive"), HOTKEY, st.just(OWNER), AMOUNT),
    st.tuples(st.just("dividend"), HOTKEY, st.just(OWNER), AMOUNT),
)


class NoStore:
    """A store of nothing."""

    def current(self) -> list[Any]:
        return []


def new_state(ratio_bits: int = FIXED_ONE) -> State:
    state = State(NoStore())  # type: ignore[arg-type]
    state.put("SubtensorModule.NetworksAdded", NETUID, True)
    state.put("SubtensorModule.SubtokenEnabled", NETUID, True)
    state.put("SubtensorModule.CollateralDrainRatio", NETUID, {"bits": ratio_bits})
    for hotkey in HOTKEYS:
        state.put("SubtensorModule.Owner", hotkey, OWNER)
    for coldkey in (OWNER, NOMINATOR):
        balances.issue(state, coldkey, 200 * TAO)
    return state


def earn(state: State, hotkey: str, amount: int, capturable: int) -> None:
    collateral.settle(state, NETUID, hotkey, OWNER, amount, capturable)


def take_step(state: State, kind: str, hotkey: str, coldkey: str, amount: int) -> int:
    """Returns alpha that was minted."""
    context = Context(state, DevnetParams(), 1, signer=coldkey)
    call: dict[str, Any] = {"netuid": NETUID, "hotkey": hotkey}
    if kind == "stake":
        staking.add_stake(context, {**call, "amount_staked": amount})
    elif kind == "unstake":
        staking.remove_stake(context, {**call, "amount_unstaked": amount})
    elif kind == "lock":
        limit = {"alpha": amount, "limit_price": staking.ALPHA_PRICE_RAO}
        collateral_calls.add_collateral(context, {**call, **limit})
    elif kind == "floor":
        collateral_calls.set_min_collateral(context, {**call, "min_locked": amount})
    elif kind == "register":
        charge = min(amount, balances.spendable_rao(state, coldkey))
        collateral_calls.lock_bought(context, NETUID, hotkey, coldkey, charge)
    elif kind == "incentive":
        earn(state, hotkey, amount, amount)
        staking.credit(state, hotkey, OWNER, NETUID, amount)
        return amount
    else:
        earn(state, hotkey, amount, staking.take_of(state, hotkey, amount))
        staking.share_out(state, hotkey, NETUID, amount)
        return amount
    return 0


def alpha_held(state: State) -> int:
    return sum(amount for _, amount in state.entries(staking.STAKE))


@given(st.lists(STEP, max_size=30), st.integers(1, 10 * FIXED_ONE))
def test_whatever_happens_nothing_is_made_or_lost_and_every_lock_is_backed(
    steps: list[tuple[str, str, str, int]], ratio_bits: int
) -> None:
    state = new_state(ratio_bits)
    minted = 0
    for step in steps:
        savepoint = state.savepoint()
        try:
            minted += take_step(state, *step)
        except DispatchError:
            state.rollback(savepoint)
        rows = dict(state.entries("SubtensorModule.MinerCollateral", NETUID))
        locked = {key[1]: row["locked"] for key, row in rows.items()}
        for hotkey in HOTKEYS:
            held = staking.stake_of(state, hotkey, OWNER, NETUID)
            assert 0 <= locked.get(hotkey, 0) <= held
            assert staking.free_of(state, hotkey, OWNER, NETUID) + locked.get(hotkey, 0) == held
        assert collateral.locked_by(state, NETUID, OWNER) == sum(locked.values())
        index = state.get("SubtensorModule.ColdkeyCollateralHotkeys", NETUID, OWNER)
        assert sorted(index) == sorted(locked)
        free = sum(balances.free_rao(state, account) for account in (OWNER, NOMINATOR))
        assert free + alpha_held(state) == 400 * TAO + minted


@given(AMOUNT, AMOUNT, AMOUNT, st.integers(1, 10 * FIXED_ONE), st.data())
def test_a_lock_moves_towards_its_floor_and_never_past_it(
    locked: int, floor: int, earned: int, ratio_bits: int, data: st.DataObject
) -> None:
    capturable = data.draw(st.integers(0, earned))
    state = new_state(ratio_bits)
    collateral.lock(state, NETUID, HOTKEYS[0], OWNER, locked, resnapshot=True)
    collateral.set_floor(state, NETUID, HOTKEYS[0], OWNER, floor)
    captured = collateral.settle(state, NETUID, HOTKEYS[0], OWNER, earned, capturable)
    after = collateral.locked_of(state, NETUID, HOTKEYS[0], OWNER)
    if locked < floor:
        assert after == locked + captured == min(floor, locked + capturable)
    else:
        assert captured == 0
        assert after == max(floor, locked - earned * ratio_bits // FIXED_ONE)


@given(st.integers(0, 62_258), st.integers(0, 100 * TAO), AMOUNT)
def test_the_burned_share_is_due_in_full_whatever_is_locked_already(
    share: int, price: int, standing: int
) -> None:
    state = new_state()
    state.put("SubtensorModule.CollateralLockShare", NETUID, share)
    fresh = collateral.split_price(state, NETUID, HOTKEYS[0], OWNER, price)
    collateral.lock(state, NETUID, HOTKEYS[0], OWNER, standing, resnapshot=True)
    burned, lacking = collateral.split_price(state, NETUID, HOTKEYS[0], OWNER, price)
    assert sum(fresh) == price and burned == fresh[0]
    assert lacking == max(fresh[1] - standing, 0)
    assert abs(fresh[1] - price * share / 65_535) <= 1 + price * 1e-12

"""Epochs: when one is due, what Yuma is given, and where its emission goes.

A thin adapter around `subnet.core.yuma`. Emission since the last epoch is not kept anywhere: it
is the blocks since then times the alpha of a block.
"""

from collections.abc import Sequence

from subnet.core.yuma import BondParams, EpochInput, EpochParams, EpochResult, run_epoch
from subnet.devnet import collateral, mechanisms, staking
from subnet.devnet.context import Context
from subnet.devnet.params import U16_MAX
from subnet.devnet.state import Reader, netuids

_RESULTS = {
    "Active": "active",
    "Emission": "emission_rao",
    "Consensus": "consensus",
    "Dividends": "dividends",
    "ValidatorTrust": "validator_trust",
    "ValidatorPermit": "permits",
}


def next_epoch_block(reader: Reader, netuid: int) -> int | None:
    """The block at which the next epoch is due; None for a subnet that has none."""
    tempo = reader.get("SubtensorModule.Tempo", netuid)
    if netuid == 0 or not tempo or not reader.get("SubtensorModule.NetworksAdded", netuid):
        return None
    due = int(reader.get("SubtensorModule.LastEpochBlock", netuid)) + int(tempo)
    pending = reader.get("SubtensorModule.PendingEpochAt", netuid)
    return min(due, pending) if pending else due


def activity_cutoff(reader: Reader, netuid: int) -> int:
    """Blocks after which a validator that set no weights counts as inactive."""
    factor = reader.get("SubtensorModule.ActivityCutoffFactorMilli", netuid)
    return int(factor * reader.get("SubtensorModule.Tempo", netuid) // 1000)


def pending_emission(reader: Reader, netuid: int, number: int) -> int:
    """Alpha to be shared out at the next epoch, in rao, before the owner's cut."""
    paid_until = max(
        reader.get("SubtensorModule.LastMechansimStepBlock", netuid),
        reader.get("SubtensorModule.NetworkRegisteredAt", netuid),
    )
    blocks = number - paid_until
    return int(blocks * reader.get("SubtensorModule.SubnetAlphaOutEmission", netuid))


def run_due_epochs(context: Context) -> None:
    """Run every epoch that is due at this block."""
    for netuid in netuids(context.state):
        due = next_epoch_block(context.state, netuid)
        if due is not None and context.number >= due:
            _run(context, netuid)


def _run(context: Context, netuid: int) -> None:
    minted = pending_emission(context.state, netuid, context.number)
    cut = 0
    if context.get("OwnerCutEnabled", netuid):
        cut = minted * context.get("SubnetOwnerCut") // U16_MAX
    if context.get("SubnetworkN", netuid):
        result = _run_mechanisms(context, netuid, minted - cut)
        _store(context, netuid, result)
        _pay(context, netuid, result, cut)
    index = context.get("SubnetEpochIndex", netuid) + 1
    context.put("SubnetEpochIndex", netuid, index)
    context.put("LastEpochBlock", netuid, context.number)
    context.put("LastMechansimStepBlock", netuid, context.number)
    context.put("PendingEpochAt", netuid, None)
    context.emit("EpochRan", {"netuid": netuid, "epoch_index": index})


def _run_mechanisms(context: Context, netuid: int, emission_rao: int) -> EpochResult:
    count = mechanisms.mechanism_count(context.state, netuid)
    split = context.get("MechanismEmissionSplit", netuid)
    parts = mechanisms.split_emission(emission_rao, count, split)
    results = []
    for mecid, part in enumerate(parts):
        result = run_epoch(epoch_input(context, netuid, mecid, part))
        index = mechanisms.storage_index(netuid, mecid)
        context.put("Incentive", index, list(result.incentive))
        for uid, row in enumerate(result.bonds):
            context.put("Bonds", index, uid, [list(pair) for pair in row] or None)
        results.append(result)
    return mechanisms.combine(results, parts)


def epoch_input(context: Context, netuid: int, mecid: int, emission_rao: int) -> EpochInput:
    """The state of a subnet's mechanism in Yuma's terms."""
    size = context.get("SubnetworkN", netuid)
    index = mechanisms.storage_index(netuid, mecid)
    hotkeys = [context.get("Keys", netuid, uid) for uid in range(size)]
    low, high = context.get("AlphaValues", netuid)
    return EpochInput(
        block=context.number,
        tempo_blocks=context.get("Tempo", netuid),
        last_epoch_block=context.get("LastMechansimStepBlock", netuid),
        activity_cutoff_blocks=activity_cutoff(context.state, netuid),
        stake_rao=tuple(staking.total_stake(context.state, key, netuid) for key in hotkeys),
        stake_threshold_rao=context.get("StakeThreshold"),
        last_update_blocks=tuple(mechanisms.column(context.state, "LastUpdate", netuid, mecid)),
        registration_blocks=tuple(
            context.get("BlockAtRegistration", netuid, uid) for uid in range(size)
        ),
        permits=tuple(context.get("ValidatorPermit", netuid)),
        weights=tuple(_row(context.get("Weights", index, uid)) for uid in range(size)),
        bonds=tuple(_row(context.get("Bonds", index, uid)) for uid in range(size)),
        emission_rao=emission_rao,
        commit_blocks=_commit_blocks(context, netuid, index, hotkeys),
        owner_uid=context.get("Uids", netuid, context.get("SubnetOwnerHotkey", netuid)),
        params=EpochParams(
            kappa_u16=context.get("Kappa", netuid),
            validators_max=context.get("MaxAllowedValidators", netuid),
            bonds=BondParams(
                penalty_u16=context.get("BondsPenalty", netuid),
                moving_average_millionths=context.get("BondsMovingAverage", netuid),
                yuma3=context.get("Yuma3On", netuid),
                liquid_alpha=context.get("LiquidAlphaOn", netuid),
                alpha_low_u16=low,
                alpha_high_u16=high,
                alpha_sigmoid_steepness=context.get("AlphaSigmoidSteepness", netuid),
            ),
        ),
    )


def _commit_blocks(
    context: Context, netuid: int, index: int, hotkeys: list[str]
) -> tuple[int | None, ...] | None:
    """The block of each uid's earliest commit that is still sealed, where weights are sealed."""
    if not context.get("CommitRevealWeightsEnabled", netuid):
        return None
    first: dict[str, int] = {}
    for _, commits in context.state.entries("SubtensorModule.TimelockedWeightCommits", index):
        for hotkey, block, *_ in commits:
            first[hotkey] = min(block, first.get(hotkey, block))
    return tuple(first.get(hotkey) for hotkey in hotkeys)


def _row(pairs: Sequence[Sequence[int]]) -> tuple[tuple[int, int], ...]:
    return tuple((pair[0], pair[1]) for pair in pairs)


def _store(context: Context, netuid: int, result: EpochResult) -> None:
    for item, field in _RESULTS.items():
        context.put(item, netuid, list(getattr(result, field)))


def _pay(context: Context, netuid: int, result: EpochResult, cut: int) -> None:
    state = context.state
    owner = context.get("SubnetOwner", netuid)
    owner_hotkey = context.get("SubnetOwnerHotkey", netuid)
    if cut:
        staking.credit(state, owner_hotkey, owner, netuid, cut)
    rows = zip(result.server_emission_rao, result.validator_emission_rao, strict=True)
    for uid, (server, validator) in enumerate(rows):
        hotkey = context.get("Keys", netuid, uid)
        coldkey = context.get("Owner", hotkey)
        # An owner's own miner would pay itself: its incentive is burned, not paid.
        if server and coldkey != owner:
            collateral.settle(state, netuid, hotkey, coldkey, server, server)
            staking.credit(state, hotkey, coldkey, netuid, server)
        if validator:
            # Only the take is the owner's to lock; the rest may be other stakers'.
            take = staking.take_of(state, hotkey, validator)
            collateral.settle(state, netuid, hotkey, coldkey, validator, take)
            staking.share_out(state, hotkey, netuid, validator)
        context.put("AlphaDividendsPerSubnet", netuid, hotkey, validator or None)

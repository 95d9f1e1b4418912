"""Commit-reveal: weights that are sealed to a drand round and set when their epoch has come.

A commit belongs to the epoch in which it was made and is due `RevealPeriodEpochs` later. Through
that epoch the chain tries it in every block, since its pulse may come late; then it is forgotten.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from bittensor.sp_core import ss58_encode

from subnet.devnet.context import Context, DispatchError, Handler, as_bytes, ensure
from subnet.devnet.drand import open_commit
from subnet.devnet.epoch import next_epoch_block
from subnet.devnet.mechanisms import mechanism_count, mechanism_exists, put_cell, storage_index
from subnet.devnet.metadata import SS58_FORMAT
from subnet.devnet.registration import registered_uid
from subnet.devnet.scale import read_compact
from subnet.devnet.state import Reader, netuids
from subnet.devnet.weights import check_stake, is_due, store_weights

COMMITS_PER_EPOCH_MAX = 10
COMMIT_BYTES_MAX = 5_000
_COMMITS = "SubtensorModule.TimelockedWeightCommits"
_ACCOUNT_BYTES = 32
_VERSION_KEY_BYTES = 8


@dataclass(frozen=True)
class SealedWeights:
    """What is inside a commit."""

    hotkey: bytes
    uids: list[int]
    values: list[int]
    version_key: int


def commit_timelocked(context: Context, arguments: dict[str, Any]) -> None:
    """Keep the signer's sealed weights until their reveal."""
    netuid, mecid = arguments["netuid"], arguments["mecid"]
    hotkey, commit = context.signer, as_bytes(arguments["commit"])
    check_commit(context, arguments)
    ensure(mechanism_exists(context.state, netuid, mecid), "MechanismDoesNotExist")
    ensure(context.get("CommitRevealWeightsEnabled", netuid), "CommitRevealDisabled")
    version = context.get("CommitRevealWeightsVersion")
    ensure(arguments["commit_reveal_version"] == version, "IncorrectCommitRevealVersion")
    ensure(len(commit) <= COMMIT_BYTES_MAX, "CommitPayloadTooLarge")
    uid = registered_uid(context, netuid, hotkey)
    ensure(is_due(context, netuid, mecid, uid), "CommittingWeightsTooFast")
    key = (storage_index(netuid, mecid), current_epoch(context.state, netuid, context.number))
    commits = context.get("TimelockedWeightCommits", *key)
    own = [row for row in commits if row[0] == hotkey]
    ensure(len(own) < COMMITS_PER_EPOCH_MAX, "TooManyUnrevealedCommits")
    row = [hotkey, context.number, "0x" + commit.hex(), arguments["reveal_round"]]
    context.put("TimelockedWeightCommits", *key, [*commits, row])
    digest = "0x" + blake2b(commit, digest_size=32).hexdigest()
    context.emit("TimelockedWeightsCommitted", (hotkey, key[0], digest, row[3]))
    put_cell(context, "LastUpdate", netuid, mecid, uid, context.number)


def check_commit(context: Context, arguments: dict[str, Any]) -> None:
    """Fail a commit by too little stake, or to a round that everybody can open already."""
    check_stake(context, arguments["netuid"], context.signer)
    ensure(arguments["reveal_round"] >= context.pulses.latest_round, "InvalidRevealRound")


def current_epoch(reader: Reader, netuid: int, number: int) -> int:
    """The epoch that a block belongs to; one whose epoch is still to run counts for the next."""
    due = next_epoch_block(reader, netuid)
    begins = due is not None and number >= due
    return int(reader.get("SubtensorModule.SubnetEpochIndex", netuid)) + begins


def reveal_commits(context: Context) -> None:
    """Set the weights of every commit that is due and whose pulse is known; forget what expired.

    To be run before the epochs of a block, so that revealed weights count in them.
    """
    for netuid in netuids(context.state):
        for mecid in range(mechanism_count(context.state, netuid)):
            _reveal(context, netuid, mecid)


def _reveal(context: Context, netuid: int, mecid: int) -> None:
    index = storage_index(netuid, mecid)
    period = context.get("RevealPeriodEpochs", netuid)
    reveal_epoch = current_epoch(context.state, netuid, context.number) - period
    for key, commits in sorted(context.state.entries(_COMMITS, index)):
        if key[1] > reveal_epoch:
            break
        context.put("TimelockedWeightCommits", *key, None)
        if key[1] == reveal_epoch:
            waiting = [row for row in commits if not _settle(context, netuid, mecid, row)]
            context.put("TimelockedWeightCommits", *key, waiting or None)


def _settle(context: Context, netuid: int, mecid: int, row: list[Any]) -> bool:
    """Whether a commit is done with: its weights were set, or can never be."""
    hotkey, _, commit, round_number = row
    signature = context.pulses.signature(round_number)
    if signature is None:
        return False
    opened = open_commit(as_bytes(commit), round_number, signature)
    sealed = parse_sealed(opened) if opened is not None else None
    if sealed is None or ss58_encode(sealed.hotkey, SS58_FORMAT) != hotkey:
        return True
    try:
        store_weights(
            context, hotkey, netuid, mecid, sealed.uids, sealed.values, sealed.version_key
        )
    except DispatchError:
        return True
    context.emit("TimelockedWeightsRevealed", (storage_index(netuid, mecid), hotkey))
    return True


def parse_sealed(data: bytes) -> SealedWeights | None:
    """The content of an opened commit, or None when it is not sealed weights."""
    try:
        hotkey, offset = _vector(data, 0, 1)
        uids, offset = _vector(data, offset, 2)
        values, offset = _vector(data, offset, 2)
    except ValueError:
        return None
    tail = data[offset : offset + _VERSION_KEY_BYTES]
    if len(hotkey) < _ACCOUNT_BYTES or len(tail) < _VERSION_KEY_BYTES:
        return None
    return SealedWeights(
        bytes(hotkey[:_ACCOUNT_BYTES]), uids, values, int.from_bytes(tail, "little")
    )


def _vector(data: bytes, offset: int, width: int) -> tuple[list[int], int]:
    """A vector of little-endian integers, and the offset behind it."""
    count, start = read_compact(data, offset)
    end = start + count * width
    if end > len(data):
        raise ValueError("vector is cut short")
    places = range(start, end, width)
    return [int.from_bytes(data[place : place + width], "little") for place in places], end


CALLS: dict[tuple[str, str], Handler] = {
    ("SubtensorModule", "commit_timelocked_mechanism_weights"): commit_timelocked,
}

"""weights -> SIMULATED CHAIN -> emission: blocks by the clock, epochs by the real Yuma consensus.

With commit-reveal on, weights that were set in one epoch show, and count, from the next one on.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from subnet.core.yuma import BondParams, EpochInput, EpochParams, SparseRow, run_epoch
from subnet.ports import ChainError, Endpoint, Metagraph, Neuron
from subnet.sim.loop import START_SECONDS
from subnet.sim.options import BLOCK_SECONDS, ChainParams

U16_MAX = 65_535
ACTIVITY_CUTOFF_EPOCHS = 14
"""A validator that set no weights for so long counts as inactive."""


@dataclass(frozen=True, slots=True)
class EpochOutcome:
    """What one epoch paid, in rao by hotkey."""

    block: int
    incomes_rao: Mapping[str, int]
    dividends_rao: Mapping[str, int]


@dataclass
class _Row:
    neuron: Neuron
    weights: SparseRow = ()
    bonds: SparseRow = ()
    committed: list[tuple[int, int, SparseRow]] = field(default_factory=list)
    """(epoch, block, weights) that do not show yet."""


class SimChain:
    """One subnet's state."""

    def __init__(self, params: ChainParams, slots: int, seed: int) -> None:
        self.params = params
        self.outcomes: list[EpochOutcome] = []
        self.spent_rao: dict[str, int] = {}
        """On registrations, by hotkey."""
        self.watchers: list[Callable[[EpochOutcome], None]] = []
        self._slots = slots
        self._seed = seed
        self._rows: list[_Row] = []
        self._epoch_ran = asyncio.Event()
        self._neurons: tuple[Neuron, ...] | None = None
        self._commitments: dict[str, bytes] = {}

    # --- time ----------------------------------------------------------------------------------

    def block(self) -> int:
        """The newest block."""
        seconds = asyncio.get_running_loop().time() - START_SECONDS
        return int(seconds / BLOCK_SECONDS + 1e-9)

    async def until(self, block: int) -> None:
        """Sleep until a block is there."""
        at = START_SECONDS + block * BLOCK_SECONDS
        await asyncio.sleep(max(0.0, at - asyncio.get_running_loop().time()))

    def hash_of(self, block: int) -> bytes:
        """A block's hash."""
        return hashlib.sha256(f"{self._seed} {block}".encode()).digest()

    async def run(self, epochs: int) -> None:
        """Run so many epochs."""
        for epoch in range(1, epochs + 1):
            await self.until(epoch * self.params.tempo_blocks)
            self._run_epoch(epoch)
            ran, self._epoch_ran = self._epoch_ran, asyncio.Event()
            ran.set()

    async def next_epoch(self) -> int:
        """The block of the next epoch, once it has run."""
        await self._epoch_ran.wait()
        return self.outcomes[-1].block

    # --- registration --------------------------------------------------------------------------

    def register(
        self, hotkey: str, coldkey: str, *, has_endpoint: bool = True, stake_rao: int = 0
    ) -> int:
        """Give a hotkey a place, the least earning miner's if all are taken; its uid.

        Raises ChainError where nobody can be pruned.
        """
        assert all(row.neuron.hotkey != hotkey for row in self._rows)
        uid = len(self._rows) if len(self._rows) < self._slots else self._pruned_uid()
        row = _Row(
            Neuron(
                uid=uid,
                hotkey=hotkey,
                coldkey=coldkey,
                endpoint=Endpoint(hotkey, "192.0.2.1", 1 + uid) if has_endpoint else None,
                stake_rao=stake_rao,
                has_validator_permit=stake_rao > 0,
                incentive=0.0,
                dividends=0.0,
                emission_rao=0,
                last_update_block=0,
                registered_at_block=self.block(),
            )
        )
        if uid == len(self._rows):
            self._rows.append(row)
        else:
            self._rows[uid] = row
        self._neurons = None
        self.spent_rao[hotkey] = self.params.registration_rao
        return uid

    def _pruned_uid(self) -> int:
        young = self.block() - self.params.immunity_epochs * self.params.tempo_blocks
        old = [
            row.neuron
            for row in self._rows
            if not row.neuron.has_validator_permit and row.neuron.registered_at_block <= young
        ]
        if not old:
            raise ChainError("every miner is still immune")
        return min(old, key=lambda one: (one.emission_rao, one.registered_at_block, one.uid)).uid

    # --- weights -------------------------------------------------------------------------------

    def set_weights(self, hotkey: str, weights: Mapping[int, int]) -> None:
        """Take weights, sealed until the next epoch where commit-reveal is on."""
        row = self._row(hotkey)
        if row is None:
            raise ChainError("HotKeyNotRegisteredInSubNet")
        most = max(weights.values())
        values = tuple(
            (uid, round(share * U16_MAX / most)) for uid, share in sorted(weights.items())
        )
        block = self.block()
        if self.params.commit_reveal:
            row.committed.append((block // self.params.tempo_blocks, block, values))
        else:
            row.weights = values
        row.neuron = replace(row.neuron, last_update_block=block)
        self._neurons = None

    def shown_weights(self) -> dict[str, SparseRow]:
        """What everybody can read of each validator's weights, by hotkey."""
        return {row.neuron.hotkey: row.weights for row in self._rows if row.weights}

    def commit(self, hotkey: str, data: bytes) -> None:
        """Replace a hotkey's commitment."""
        self._commitments[hotkey] = data

    def commitment(self, hotkey: str) -> bytes | None:
        """A hotkey's commitment."""
        return self._commitments.get(hotkey)

    def metagraph(self) -> Metagraph:
        """The subnet now."""
        if self._neurons is None:
            self._neurons = tuple(row.neuron for row in self._rows)
        owner = self._neurons[0].hotkey
        return Metagraph(1, self.block(), self.params.tempo_blocks, owner, self._neurons)

    def _row(self, hotkey: str) -> _Row | None:
        return next((row for row in self._rows if row.neuron.hotkey == hotkey), None)

    # --- the epoch -----------------------------------------------------------------------------

    def _run_epoch(self, epoch: int) -> None:
        rows = self._rows
        neurons = [row.neuron for row in rows]
        block, tempo = epoch * self.params.tempo_blocks, self.params.tempo_blocks
        sealed = [min((at for _, at, _ in row.committed), default=None) for row in rows]
        result = run_epoch(
            EpochInput(
                block=block,
                tempo_blocks=tempo,
                last_epoch_block=block - tempo,
                activity_cutoff_blocks=ACTIVITY_CUTOFF_EPOCHS * tempo,
                stake_rao=tuple(one.stake_rao for one in neurons),
                stake_threshold_rao=0,
                last_update_blocks=tuple(one.last_update_block for one in neurons),
                registration_blocks=tuple(one.registered_at_block for one in neurons),
                permits=tuple(one.has_validator_permit for one in neurons),
                weights=tuple(row.weights for row in rows),
                bonds=tuple(row.bonds for row in rows),
                emission_rao=tempo * self.params.emission_rao_per_block,
                commit_blocks=tuple(sealed) if self.params.commit_reveal else None,
                params=EpochParams(bonds=BondParams(yuma3=self.params.yuma3)),
            )
        )
        for uid, row in enumerate(rows):
            row.bonds = result.bonds[uid]
            row.neuron = replace(
                row.neuron,
                has_validator_permit=result.permits[uid],
                incentive=result.incentive[uid] / U16_MAX,
                dividends=result.dividends[uid] / U16_MAX,
                emission_rao=result.emission_rao[uid],
            )
            for at, _, values in row.committed:
                if at < epoch:
                    row.weights = values
            row.committed = [one for one in row.committed if one[0] >= epoch]
        self._neurons = None
        outcome = EpochOutcome(
            block,
            {one.hotkey: result.server_emission_rao[one.uid] for one in neurons},
            {one.hotkey: result.validator_emission_rao[one.uid] for one in neurons},
        )
        self.outcomes.append(outcome)
        for watch in self.watchers:
            watch(outcome)


class ChainHandle:
    """`ports.Chain` for one hotkey."""

    def __init__(self, chain: SimChain, hotkey: str) -> None:
        self.chain = chain
        self.hotkey = hotkey

    async def block_number(self) -> int:
        """The newest block."""
        return self.chain.block()

    async def block_hash(self, block: int) -> bytes:
        """Of a block that is there."""
        assert block <= self.chain.block(), block
        return self.chain.hash_of(block)

    async def metagraph(self) -> Metagraph:
        """The subnet now."""
        return self.chain.metagraph()

    async def wait_for_block(self, block: int) -> int:
        """Every block is final at once."""
        await self.chain.until(block)
        return self.chain.block()

    async def wait_for_epoch(self) -> int:
        """The next one."""
        return await self.chain.next_epoch()

    async def publish_endpoint(self, host: str, port: int) -> bool:
        """Simulated miners are registered with their address."""
        raise AssertionError("a validator serves nothing")

    async def set_weights(self, weights: Mapping[int, int], version_key: int) -> None:
        """Of this hotkey."""
        self.chain.set_weights(self.hotkey, weights)

    async def commit(self, data: bytes) -> None:
        """Of this hotkey."""
        self.chain.commit(self.hotkey, data)

    async def commitment(self, hotkey: str) -> bytes | None:
        """Of any hotkey."""
        return self.chain.commitment(hotkey)

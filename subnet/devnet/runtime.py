"""The state transition: one block's extrinsics and epochs over a state.

Order inside a block: prices, reveals and epochs first, then extrinsics; so weights set in a block
count from the next block on. A failed call keeps its fee and its nonce, and nothing else.
"""

from dataclasses import dataclass, field
from typing import Any

from subnet.devnet import (
    admin,
    balances,
    collateral_calls,
    commit_reveal,
    registration,
    staking,
    takes,
    weights,
)
from subnet.devnet.context import Context, DispatchError, Handler
from subnet.devnet.drand import Pulses, PulseSource
from subnet.devnet.epoch import run_due_epochs
from subnet.devnet.extrinsics import CALL, PAYMENT, Extrinsic, InvalidTransactionError, decode_call
from subnet.devnet.guards import check_guards
from subnet.devnet.params import DevnetParams
from subnet.devnet.schema.storage import ACCOUNT_ZERO
from subnet.devnet.state import Reader, State

HANDLERS: dict[tuple[str, str], Handler] = {
    **balances.CALLS,
    **staking.CALLS,
    **collateral_calls.CALLS,
    **takes.CALLS,
    **registration.CALLS,
    **weights.CALLS,
    **commit_reveal.CALLS,
    **admin.CALLS,
}
_SUDO = ("Sudo", "sudo")
_SHIELD = ("MevShield", "submit_encrypted")
# A hotkey holds no TAO, so the coldkey that owns it pays for what it signs.
_OWNER_PAYS = {
    ("SubtensorModule", name)
    for name in (
        "set_weights",
        "set_mechanism_weights",
        "commit_timelocked_mechanism_weights",
        "serve_axon",
        "serve_prometheus",
    )
} | {("Commitments", "set_commitment")}
_INFO = {
    "weight": {"ref_time": 0, "proof_size": 0},
    "class": "Normal",
    "pays_fee": "Yes",
}
Record = dict[str, Any]


@dataclass
class BlockBuilder:
    """A block under construction: extrinsics so far and the events that they left."""

    state: State
    params: DevnetParams
    number: int
    pulses: PulseSource = field(default_factory=Pulses)
    extrinsics: list[str] = field(default_factory=list)
    events: list[Record] = field(default_factory=list)

    def begin(self, inherent: bytes) -> None:
        """Run what happens at the start of every block, then add the author's inherent."""
        context = Context(self.state, self.params, self.number, pulses=self.pulses)
        registration.decay_burns(self.state, self.number)
        commit_reveal.reveal_commits(context)
        run_due_epochs(context)
        self._record("Initialization", context.events)
        self._record(self._phase(), [("System", "ExtrinsicSuccess", {"dispatch_info": _INFO})])
        self.extrinsics.append("0x" + inherent.hex())

    def apply(self, extrinsic: Extrinsic) -> None:
        """Run a signed extrinsic whose signature and nonce have been checked.

        Raises InvalidTransactionError when its fee cannot be paid or a guard refuses it; the state
        is then untouched.
        """
        phase = self._phase()
        payer = fee_payer(self.state, extrinsic)
        fee = check_payment(self.state, extrinsic)
        check_guards(self._context(extrinsic), extrinsic)
        balances.destroy(self.state, payer, fee)
        balances.set_account(self.state, extrinsic.signer, nonce=extrinsic.nonce + 1)
        context = self._context(extrinsic)
        savepoint = self.state.savepoint()
        outcome: tuple[str, str, Any]
        try:
            dispatch(context, extrinsic.pallet, extrinsic.function, extrinsic.arguments)
        except DispatchError as error:
            self.state.rollback(savepoint)
            context.events.clear()
            detail = {"dispatch_error": error.value, "dispatch_info": _INFO}
            outcome = ("System", "ExtrinsicFailed", detail)
        else:
            outcome = ("System", "ExtrinsicSuccess", {"dispatch_info": _INFO})
        if extrinsic.pallet == "MevShield":
            submitted = {"id": extrinsic.hash, "who": extrinsic.signer}
            context.emit("EncryptedSubmitted", submitted, "MevShield")
        paid = {"who": payer, "actual_fee": fee, "tip": extrinsic.tip}
        self._record(
            phase,
            [
                *context.events,
                ("TransactionPayment", "TransactionFeePaid", paid),
                outcome,
            ],
        )
        self.extrinsics.append("0x" + extrinsic.raw.hex())

    def _context(self, extrinsic: Extrinsic) -> Context:
        return _context(self.state, self.params, self.number, extrinsic, self.pulses)

    def _phase(self) -> Any:
        return {"ApplyExtrinsic": len(self.extrinsics)}

    def _record(self, phase: Any, events: list[tuple[str, str, Any]]) -> None:
        self.events += [
            {"phase": phase, "event": {pallet: {name: attributes}}, "topics": []}
            for pallet, name, attributes in events
        ]


def _context(
    state: State, params: DevnetParams, number: int, extrinsic: Extrinsic, pulses: PulseSource
) -> Context:
    return Context(
        state,
        params,
        number,
        signer=extrinsic.signer,
        call_data=extrinsic.call_data,
        pulses=pulses,
    )


def dispatch(context: Context, pallet: str, function: str, arguments: dict[str, Any]) -> None:
    """Run one call. Raises DispatchError."""
    call = (pallet, function)
    if call == _SHIELD:
        return
    if call == _SUDO:
        _sudo(context, arguments)
        return
    handler = HANDLERS.get(call)
    if handler is None:
        raise DispatchError("BadOrigin")
    handler(context, dict(arguments))


def _sudo(context: Context, arguments: dict[str, Any]) -> None:
    if context.signer != context.state.get("Sudo.Key"):
        raise DispatchError("BadOrigin")
    pallet, function, inner = decode_call(arguments["call"])
    savepoint = context.state.savepoint()
    nested = Context(context.state, context.params, context.number, context.signer, root=True)
    result: Any
    try:
        dispatch(nested, pallet, function, inner)
    except DispatchError as error:
        context.state.rollback(savepoint)
        result = {"Err": error.value}
    else:
        context.events += nested.events
        result = {"Ok": ()}
    context.emit("Sudid", {"sudo_result": result}, "Sudo")


def fee_payer(reader: Reader, extrinsic: Extrinsic) -> str:
    """Who pays: the signer, or the coldkey behind a hotkey for a hotkey's own calls."""
    if (extrinsic.pallet, extrinsic.function) in _OWNER_PAYS:
        owner = reader.get("SubtensorModule.Owner", extrinsic.signer)
        return extrinsic.signer if owner == ACCOUNT_ZERO else str(owner)
    return extrinsic.signer


def check_payment(reader: Reader, extrinsic: Extrinsic) -> int:
    """The fee and tip in rao. Raises InvalidTransactionError when the payer cannot pay them."""
    fee = balances.fee_rao(len(extrinsic.raw)) + extrinsic.tip
    if balances.free_rao(reader, fee_payer(reader, extrinsic)) < fee:
        raise InvalidTransactionError(PAYMENT)
    return fee


def check_validity(
    state: State, params: DevnetParams, number: int, extrinsic: Extrinsic, pulses: PulseSource
) -> None:
    """What the pool asks beyond signature and nonce, for inclusion at block `number`.

    Raises InvalidTransactionError.
    """
    check_known(extrinsic)
    check_payment(state, extrinsic)
    check_guards(_context(state, params, number, extrinsic, pulses), extrinsic)


def check_known(extrinsic: Extrinsic) -> None:
    """Refuse what only the block author may say. Raises InvalidTransactionError."""
    if (extrinsic.pallet, extrinsic.function) == ("Timestamp", "set"):
        raise InvalidTransactionError(CALL)

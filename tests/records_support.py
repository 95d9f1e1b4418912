"""Statements for tests that need one and not what it says."""

from subnet.core.burst_plan import BurstPlan
from subnet.core.statement import EpochStatement, SignedStatement, records_root, standings_digest
from tests.validator_support import VALIDATOR, FakeSigner


def make_statement(*, epoch_block=20, lines=(), **changes) -> SignedStatement:
    """A signed statement over these records."""
    said = {
        "validator_hotkey": VALIDATOR,
        "netuid": 1,
        "at_us": 1,
        "epoch_block": epoch_block,
        "metagraph_block": epoch_block,
        "period": 1,
        "periods": (),
        "release_digest": "0" * 64,
        "rules_digest": "0" * 64,
        "rules_version": 1,
        "records": len(lines),
        "records_root": records_root(lines),
        "next_counter": 0,
        "in_flight": (),
        "waiting": (),
        "next_burst": None,
        "open_bursts": (),
        "burst_plan": BurstPlan(),
        "standings_digest": standings_digest([]),
        "own_uid": 0,
        "miners": (),
        "weights": (),
        "previous": None,
    }
    statement = EpochStatement(**(said | changes))
    return SignedStatement(
        statement=statement, signature=FakeSigner().sign(statement.signing_bytes())
    )

"""Block 0: the well-known development accounts with money, root, and the chain's constants."""

from bittensor.sp_core import Keypair

from subnet.devnet import balances
from subnet.devnet.params import DEV_NAMES, DevnetParams
from subnet.devnet.registration import create_root
from subnet.devnet.state import State

_U64_MAX = (1 << 64) - 1


def dev_accounts() -> dict[str, str]:
    """The public development accounts: derivation path -> address. Anyone knows their keys."""
    return {
        path: str(Keypair.create_from_uri(path).ss58_address)
        for path in (f"//{name}" for name in DEV_NAMES)
    }


def write_genesis(state: State, params: DevnetParams) -> None:
    """Fill an empty state."""
    accounts = dev_accounts()
    for address in accounts.values():
        balances.issue(state, address, params.dev_balance_rao)
    create_root(state)
    state.put("Sudo.Key", accounts["//Alice"])
    state.put("SubtensorModule.TaoWeight", int(params.tao_weight * _U64_MAX))
    state.put("SubtensorModule.SubnetOwnerCut", params.owner_cut)
    state.put("SubtensorModule.NetworkMinLockCost", params.network_lock_min_rao)
    state.put("SubtensorModule.NetworkLockReductionInterval", params.network_lock_reduction_blocks)

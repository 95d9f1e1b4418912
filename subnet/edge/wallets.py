"""wallet on disk -> HOTKEY -> signer and chain: opened once, at start, or a clear line why not.

Only the hotkey is opened. The coldkey, which owns the money, never needs to be on this machine.
"""

from pathlib import Path

import bittensor as bt
from bittensor.keyfiles import KeyfileError

from subnet.config import ConfigError


def load_wallet(path: Path, name: str, hotkey: str) -> bt.Wallet:
    """The wallet `name` under `path`, with its hotkey unlocked.

    Raises ConfigError if the key file is missing, unreadable or locked.
    """
    folder = path.expanduser()
    try:
        wallet = bt.Wallet(name, hotkey, str(folder))
    except ValueError as error:
        raise ConfigError(f"chain.wallet_name: {error}") from error
    key_path = wallet.hotkey_file.path
    try:
        key = wallet.hotkey
    except FileNotFoundError as error:
        raise ConfigError(
            f"no hotkey at {key_path}; create it with `btcli wallet new-hotkey --wallet-name "
            f"{name} --hotkey {hotkey} --wallet-path {folder}`, "
            "or name another with --wallet, --hotkey and --wallet-path"
        ) from error
    except (OSError, KeyfileError, ValueError) as error:
        raise ConfigError(f"cannot open the hotkey at {key_path}: {error}") from error
    if key.crypto_type != bt.CRYPTO_SR25519:
        raise ConfigError(f"the hotkey at {key_path} is not an sr25519 key; create a new one")
    return wallet

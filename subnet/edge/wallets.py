"""wallet on disk -> HOTKEY -> signer and chain: opened once, at start, or a clear line why not.

Only the hotkey is opened. The coldkey, which owns the money, never needs to be on this machine.
"""

import bittensor as bt
from bittensor.keyfiles import KeyfileError

from subnet.config import ChainSettings, ConfigError


def open_wallet(settings: ChainSettings) -> bt.Wallet:
    """The wallet with its hotkey unlocked.

    Raises ConfigError if the key file is missing, unreadable or locked.
    """
    path = settings.wallet_path.expanduser()
    try:
        wallet = bt.Wallet(settings.wallet_name, settings.wallet_hotkey, str(path))
    except ValueError as error:
        raise ConfigError(f"chain.wallet_name: {error}") from error
    key_path = wallet.hotkey_file.path
    try:
        hotkey = wallet.hotkey
    except FileNotFoundError as error:
        raise ConfigError(
            f"no hotkey at {key_path}; create it with `btcli wallet new-hotkey --wallet-name "
            f"{settings.wallet_name} --hotkey {settings.wallet_hotkey} --wallet-path {path}`, "
            "or name another with --wallet, --hotkey and --wallet-path"
        ) from error
    except (OSError, KeyfileError, ValueError) as error:
        raise ConfigError(f"cannot open the hotkey at {key_path}: {error}") from error
    if hotkey.crypto_type != bt.CRYPTO_SR25519:
        raise ConfigError(f"the hotkey at {key_path} is not an sr25519 key; create a new one")
    return wallet

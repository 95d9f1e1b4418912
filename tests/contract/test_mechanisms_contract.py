"""Mechanisms and commit-reveal over the wire, by the unmodified SDK."""

from pathlib import Path

import bittensor as bt
import pytest
from bittensor.sp_core import Keypair

from subnet.edge.sdk_client import connected, sdk_client

pytestmark = pytest.mark.timeout(60)


class DevWallet:
    """A wallet of well-known keys: `//Name` and `//Name//hot`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.coldkey = self.coldkeypub = Keypair.create_from_uri(f"//{name}")
        self.hotkey = self.hotkeypub = Keypair.create_from_uri(f"//{name}//hot")
        self.hot = str(self.hotkey.ss58_address)


OWNER, MINER = DevWallet("Alice"), DevWallet("Dave")


async def test_a_commit_is_accepted_and_shown_for_each_mechanism(
    devnet_in_thread, tmp_path: Path
) -> None:
    with devnet_in_thread(tmp_path / "chain.sqlite") as url:
        async with connected(sdk_client(url)) as client:
            opened = await client.execute(bt.RegisterSubnet(hotkey_ss58=OWNER.hot), OWNER)
            netuid = int(opened.data["netuid"])
            for intent, wallet in (
                (bt.BurnedRegister(netuid=netuid, hotkey_ss58=MINER.hot), MINER),
                (bt.SetHyperparameter(netuid, "max_allowed_uids", 128), OWNER),
                (bt.SetMechanismCount(netuid, 2), OWNER),
                (bt.SetHyperparameter(netuid, "tempo", 360), OWNER),
                (bt.SetHyperparameter(netuid, "commit_reveal_weights_enabled", True), OWNER),
            ):
                result = await client.execute(intent, wallet)
                assert result.success, (intent, result.message)
            for mechid in (0, 1):
                weights = bt.SetWeights(netuid=netuid, weights={1: 1.0}, mechid=mechid)
                result = await client.execute(weights, OWNER)
                assert result.success, result.message
                pending = await client.weights.timelocked_weight_commits(netuid, mechid=mechid)
                ((entry,),) = pending.values()
                assert entry["hotkey"] == OWNER.hot
                assert entry["reveal_round"] == result.data["reveal_round"]
                assert await client.weights.weights(netuid, mechid=mechid) == {}

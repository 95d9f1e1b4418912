"""The owner's hyperparameters through the unmodified SDK, over the wire, and what it refuses."""

from collections.abc import AsyncIterator, Iterator

import bittensor as bt
import pytest
from bittensor import calls
from bittensor.sp_core import Keypair

from subnet.edge.sdk_client import connected, sdk_client

pytestmark = pytest.mark.timeout(60)
TAO = 10**9
ONE = 1 << 64
# Name, what is set, and how it reads back; order matters where one allows the next.
SETTINGS = (
    ("tempo", 400, 400),
    ("immunity_period", 77, 77),
    ("min_allowed_weights", 3, 3),
    ("weights_version", 9, 9),
    ("activity_cutoff_factor", 2_000, 2_000),
    ("max_burn", 0.9, 9 * TAO // 10),
    ("min_burn", 0.01, TAO // 100),
    ("burn_half_life", 180, 180),
    ("burn_increase_mult", 1.5, 3 * ONE // 2),
    ("bonds_moving_avg", 0.5, 500_000),
    ("bonds_penalty", 0.0, 0),
    ("serving_rate_limit", 5, 5),
    ("commit_reveal_period", 2, 2),
    ("max_allowed_uids", 64, 64),
    ("rho", 12, 12),
    ("adjustment_alpha", 7, 7),
    ("max_difficulty", 8, 8),
    ("alpha_sigmoid_steepness", 500, None),
    ("collateral_lock_share", 0.25, 16_384),
    ("collateral_drain_ratio", 0.5, ONE // 2),
    ("liquid_alpha_enabled", True, True),
    ("alpha_low", 0.1, 6_554),
    ("alpha_high", 0.8, 52_428),
    ("yuma3_enabled", True, True),
    ("bonds_reset_enabled", True, True),
    ("transfers_enabled", False, False),
    ("owner_cut_enabled", False, False),
    ("network_pow_registration_allowed", True, True),
    ("registration_allowed", False, False),
)


class DevWallet:
    """A wallet of well-known keys: `//Name` and `//Name//hot`."""

    def __init__(self, name: str) -> None:
        self.coldkey = self.coldkeypub = Keypair.create_from_uri(f"//{name}")
        self.hotkey = self.hotkeypub = Keypair.create_from_uri(f"//{name}//hot")
        self.cold = str(self.coldkey.ss58_address)
        self.hot = str(self.hotkey.ss58_address)


ROOT, OWNER = DevWallet("Alice"), DevWallet("Bob")


@pytest.fixture(scope="module")
def endpoint(devnet_in_thread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with devnet_in_thread(tmp_path_factory.mktemp("devnet") / "chain.sqlite") as url:
        yield url


@pytest.fixture
async def client(endpoint: str) -> AsyncIterator[bt.Client]:
    async with connected(sdk_client(endpoint)) as opened:
        yield opened


async def new_subnet(client: bt.Client) -> int:
    result = await client.execute(bt.RegisterSubnet(hotkey_ss58=OWNER.hot), OWNER)
    assert result.success, result.message
    return int(result.data["netuid"])


async def test_the_owner_sets_each_of_its_hyperparameters_and_reads_it_back(
    client: bt.Client,
) -> None:
    netuid = await new_subnet(client)
    for name, value, _ in SETTINGS:
        result = await client.execute(bt.SetHyperparameter(netuid, name, value), OWNER)
        assert result.success, (name, result.message)
    read = await client.read("subnet_hyperparameters", netuid=netuid)
    expected = {name: raw for name, _, raw in SETTINGS if raw is not None}
    assert {name: read[name] for name in expected} == expected
    assert read["yuma_version"] == 3
    steepness = await client.query(("SubtensorModule", "AlphaSigmoidSteepness"), [netuid])
    assert steepness == 500


async def test_what_is_roots_goes_through_sudo_and_shows_its_own_refusals(
    client: bt.Client,
) -> None:
    netuid = await new_subnet(client)
    admin = calls.AdminUtils
    for call in (
        admin.sudo_set_kappa(netuid, 30_000),
        admin.sudo_set_max_allowed_validators(netuid, 9),
        admin.sudo_set_weights_set_rate_limit(netuid, 11),
        admin.sudo_set_tempo(netuid, 30),
    ):
        direct = await client.submit_call(call, OWNER)
        assert direct.success == (call.function == "sudo_set_tempo")
        result = await client.submit_call(calls.Sudo.sudo(call=await client.compose(call)), ROOT)
        assert result.success, result.message
    read = await client.read("subnet_hyperparameters", netuid=netuid)
    got = [read[name] for name in ("kappa", "max_validators", "weights_rate_limit", "tempo")]
    assert got == [30_000, 9, 11, 30]
    too_many = await client.compose(admin.sudo_set_max_allowed_validators(netuid, 257))
    refused = await client.submit_call(calls.Sudo.sudo(call=too_many), ROOT)
    assert refused.error.name == "MaxValidatorsLargerThanMaxUIds"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kappa", 1),
        ("max_validators", 1),
        ("weights_rate_limit", 1),
        ("tempo", 359),
        ("tempo", 50_401),
        ("activity_cutoff_factor", 999),
        ("burn_increase_mult", 0.9),
        ("alpha_sigmoid_steepness", -1),
        ("collateral_lock_share", 62_259),
        ("collateral_drain_ratio", 0.0),
        ("collateral_drain_ratio", 10.5),
    ],
)
def test_the_sdk_itself_refuses_these_before_any_chain_is_asked(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        bt.SetHyperparameter(1, name, value)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("min_burn", 1.0, "ValueNotInBounds"),
        ("max_burn", 0.1, "ValueNotInBounds"),
        ("burn_half_life", 0, "InvalidValue"),
        ("bonds_moving_avg", 0.98, "BondsMovingAverageMaxReached"),
        ("max_allowed_uids", 257, "MaxAllowedUidsGreaterThanDefaultMaxAllowedUids"),
        ("commit_reveal_period", 101, "RevealPeriodTooLarge"),
        ("registration_allowed", False, "InvalidValue"),
        ("alpha_low", 0.5, "LiquidAlphaDisabled"),
    ],
)
async def test_the_sdk_leaves_these_to_the_chain(
    client: bt.Client, name: str, value: float, error: str
) -> None:
    netuid = await new_subnet(client)
    result = await client.execute(bt.SetHyperparameter(netuid, name, value), OWNER)
    assert (result.success, result.error.name) == (False, error)

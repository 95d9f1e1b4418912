"""Parameters of a devnet, and the amounts its economics is made of.

Values follow the public chain where a fast local chain can bear them; tempo, immunity and rate
limits are short, because a demo cannot wait 72 minutes for an epoch.
"""

from pydantic import BaseModel, ConfigDict, Field

from protocol.units import RAO_PER_TAO

U16_MAX = (1 << 16) - 1
STAKE_MIN_RAO = 2_000_000
DEV_NAMES = ("Alice", "Bob", "Charlie", "Dave", "Eve", "Ferdie")


class DevnetParams(BaseModel):
    """What a devnet starts with. Lengths of time are in blocks unless the name says otherwise."""

    model_config = ConfigDict(frozen=True)

    block_time_seconds: float = Field(default=12.0, ge=0.05, le=60)
    tempo_blocks: int = Field(default=20, ge=2, le=50_400)
    immunity_period_blocks: int = Field(default=200, ge=0, le=U16_MAX)
    weights_rate_limit_blocks: int = Field(default=0, ge=0)
    serving_rate_limit_blocks: int = Field(default=0, ge=0)
    max_allowed_uids: int = Field(default=256, ge=2, le=4096)
    dev_balance_rao: int = Field(default=1_000_000 * RAO_PER_TAO, ge=0)
    network_lock_min_rao: int = Field(default=100 * RAO_PER_TAO, ge=0)
    network_lock_reduction_blocks: int = Field(default=28_800, ge=1)
    burn_initial_rao: int = Field(default=RAO_PER_TAO // 10, ge=0)
    alpha_per_block_rao: int = Field(default=RAO_PER_TAO, ge=0)
    owner_cut: int = Field(default=11_796, ge=0, le=U16_MAX)
    tao_weight: float = Field(default=0.18, ge=0, le=1)

    @property
    def block_time_ms(self) -> int:
        """Block time as the chain states it."""
        return round(self.block_time_seconds * 1000)

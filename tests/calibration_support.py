"""The made-up origin of tables that tests build by hand."""

from protocol.inference import Environment
from subnet.core.verification.calibration import Provenance
from subnet.core.verification.environments import EnvironmentPair

SOMEWHERE = Environment(engine="e", torch="t", device="cpu-avx512", dtype="float32")
PAIR = EnvironmentPair(miner=SOMEWHERE, referee=SOMEWHERE)

PROVENANCE = Provenance(
    release_digest="r",
    engine_modes=("eager",),
    versions={},
    seed=1,
    prompts_digest="p",
    prompts=1,
    responses=1,
    tokens=1,
    batch_sizes=(1,),
)

"""The made-up origin of tables that tests build by hand."""

from subnet.core.verification.calibration import Provenance

PROVENANCE = Provenance(
    release_digest="r",
    engine="e",
    engine_modes=("eager",),
    referee="t",
    versions={},
    seed=1,
    prompts_digest="p",
    prompts=1,
    responses=1,
    tokens=1,
    batch_sizes=(1,),
)

"""What holds for every test: no wall-clock verdicts, and no network but this machine."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "assay",
    deadline=None,  # A busy machine is no defect: speed is measured by `make bench-*`.
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("assay")

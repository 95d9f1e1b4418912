"""release folder -> TABLE: the calibration beside the weights, or one clear line."""

from pathlib import Path
from typing import TYPE_CHECKING

from subnet.cli.exits import UsageError

if TYPE_CHECKING:
    from subnet.core.verification.calibration import CalibrationTable


def calibration_of(release: Path) -> "CalibrationTable":
    """Raises UsageError."""
    from pydantic import ValidationError

    from subnet.config import first_problem
    from subnet.core.verification.calibration import CalibrationTable

    path = release / "calibration.json"
    try:
        return CalibrationTable.model_validate_json(path.read_text())
    except OSError as error:
        raise UsageError(f"no calibration at {path}: {error.strerror}") from error
    except ValidationError as error:
        raise UsageError(f"{path} is no calibration: {first_problem(error)}") from error

"""Exact Yuma consensus: `run_epoch(EpochInput) -> EpochResult`, pure and on plain data."""

from subnet.core.yuma.bonds import BondParams
from subnet.core.yuma.epoch import EpochInput, EpochParams, EpochResult, SparseRow, run_epoch

__all__ = ["BondParams", "EpochInput", "EpochParams", "EpochResult", "SparseRow", "run_epoch"]

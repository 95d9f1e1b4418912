"""bf16 weights -> WIDE LINEAR -> bf16 outputs: the same products, summed by a faster instruction.

A CPU without matrix units multiplies bf16 at half the speed of fp32 (82 against 150 GFLOP/s on one
core, measured). Products of two bf16 numbers are exact in fp32, and both ways sum in fp32 and round
once: only the order of the sum differs, as it does between any two kernels.
"""

from typing import Final

import torch
from torch import nn

WEIGHTS_MAX: Final = 1_000_000_000
"""Larger models stay as they are: a copy in fp32 takes twice the memory."""


class WideLinear(nn.Module):
    """A bf16 `nn.Linear` that multiplies in fp32."""

    def __init__(self, narrow: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("weight", narrow.weight.detach().float())
        self.register_buffer("bias", None if narrow.bias is None else narrow.bias.detach().float())

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """[..., in] to [..., out], both bf16."""
        return nn.functional.linear(inputs.float(), self.weight, self.bias).to(inputs.dtype)


def widen(model: nn.Module) -> None:
    """Replace every linear layer of a bf16 model, once it is on its device, where that pays."""
    weights = next(model.parameters())
    if (
        weights.device.type == "cpu"
        and weights.dtype == torch.bfloat16
        and not torch.cpu.get_capabilities().get("amx_bf16")
        and sum(each.numel() for each in model.parameters()) <= WEIGHTS_MAX
    ):
        for name, layer in list(model.named_modules()):
            if type(layer) is nn.Linear:
                model.set_submodule(name, WideLinear(layer))

"""What torch computes on, in the words of an answer's fingerprint."""

import torch

NAME_LENGTH_MAX = 100


def device_name(*, on_gpu: bool) -> str:
    """The GPU's model, or `cpu-` and its widest vector instructions."""
    if on_gpu:
        name: str = torch.cuda.get_device_name()
    else:
        name = f"cpu-{torch.backends.cpu.get_cpu_capability()}".lower()
    return name[:NAME_LENGTH_MAX]

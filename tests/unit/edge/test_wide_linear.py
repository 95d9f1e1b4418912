"""Multiplying in fp32 gives a bf16 layer's numbers, and happens only where it pays."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from subnet.edge import wide_linear  # noqa: E402
from subnet.edge.wide_linear import WideLinear, widen  # noqa: E402


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A CPU without matrix units."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)


def block(dtype=torch.bfloat16, bias=True):
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(192, 512, bias=bias), nn.SiLU(), nn.Linear(512, 64)).to(dtype)


def wide_layers(model):
    return sum(isinstance(layer, WideLinear) for layer in model.modules())


@pytest.mark.parametrize("bias", [True, False])
def test_a_wide_layer_differs_from_a_narrow_one_by_the_last_bit_at_most(bias):
    narrow = block(bias=bias)[0]
    inputs = torch.randn(300, 192).bfloat16()
    with torch.inference_mode():
        ours, theirs = WideLinear(narrow)(inputs), narrow(inputs)
    assert ours.dtype == torch.bfloat16
    exact = inputs.double() @ narrow.weight.detach().double().T
    exact = exact if narrow.bias is None else exact + narrow.bias.detach().double()
    ulp = 2.0**-7 * exact.abs() + 1e-3
    assert ((ours.double() - exact).abs() <= ulp).all()
    assert (ours == theirs).float().mean() > 0.95


def test_every_linear_layer_of_a_small_bf16_model_is_widened():
    model = block()
    widen(model)
    assert wide_layers(model) == 2


def test_other_types_large_models_and_cpus_with_matrix_units_are_left_alone(monkeypatch):
    exact = block(torch.float32)
    widen(exact)
    assert wide_layers(exact) == 0
    monkeypatch.setattr(wide_linear, "WEIGHTS_MAX", 1000)
    large = block()
    widen(large)
    assert wide_layers(large) == 0
    monkeypatch.undo()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    capable = block()
    widen(capable)
    assert wide_layers(capable) == 0

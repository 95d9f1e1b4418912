"""The referee's own forward pass, alone: what the cost of scoring is measured against."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from subnet.core.verification.claim import Claim


class BareForward:
    """The calls of the decoder and of the output layer that one scoring run makes, and no more."""

    def __init__(self, referee: Any) -> None:
        self._calls: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []
        self._referee = referee

    def record(self, claims: Sequence[Claim]) -> None:
        """Score once, and keep what the model was asked."""
        referee = self._referee
        layers = referee._decoder, referee._head
        referee._decoder, referee._head = map(self._recorded, layers)
        referee._head.weight = layers[1].weight
        referee.score(claims)
        referee._decoder, referee._head = layers

    def _recorded(self, layer: Any) -> Any:
        def call(*inputs: Any, **options: Any) -> Any:
            self._calls.append((layer, inputs, options))
            return layer(*inputs, **options)

        return call

    def run(self) -> None:
        """Repeat the calls."""
        with torch.inference_mode():
            for layer, inputs, options in self._calls:
                layer(*inputs, **options)


def seconds(run: Callable[[], Any], rounds: int, device: str) -> float:
    """Median over rounds, after one that warms up; the device has finished each."""
    taken = []
    for turn in range(rounds + 1):
        started = time.perf_counter()
        run()
        if device != "cpu":
            torch.cuda.synchronize(device)
        if turn:
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)

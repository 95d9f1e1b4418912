"""ADVERSARIES by name: the ways to be paid for a model that did not answer."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch

from subnet.core.verification.support import SamplingRows
from subnet.lab.adversary import (
    OTHER_MINER,
    OWN_PERMIT,
    Adversary,
    Diluted,
    Lab,
    LabAnswer,
    OtherChoice,
    OtherEnd,
    OtherJob,
    OtherModel,
    Question,
    Short,
    SkippedStop,
)
from subnet.lab.sampler import (
    Choose,
    Ids,
    LabModel,
    Logits,
    choice_of,
    log_softmax,
    with_weights,
    without_layers,
)


def rounded(bits: int, group: int = 32) -> Callable[[torch.Tensor], torch.Tensor]:
    """Symmetric round-to-nearest in groups along a row, as weight-only quantisation does."""

    def change(weight: torch.Tensor) -> torch.Tensor:
        most = 2 ** (bits - 1) - 1
        parts = weight.reshape(-1, group)
        scale = parts.abs().amax(1, keepdim=True).clamp(min=1e-12) / most
        return ((parts / scale).round().clamp(-most - 1, most) * scale).reshape(weight.shape)

    return change


def fp8(values: torch.Tensor) -> torch.Tensor:
    """To float8 e4m3 and back, one scale for the tensor."""
    scale = values.float().abs().amax().clamp(min=1e-12) / 448
    return ((values.float() / scale).to(torch.float8_e4m3fn).float() * scale).to(values.dtype)


def _fp8_unscaled(values: torch.Tensor) -> torch.Tensor:
    return values.float().clamp(-448, 448).to(torch.float8_e4m3fn).to(values.dtype)


def _accept_above(bar: float) -> Choose:
    def choose(logits: Sequence[Logits], rows: SamplingRows) -> Ids:
        strong, weak = logits
        draft = choice_of(weak, rows)
        likely = np.exp(log_softmax(strong)[np.arange(len(draft)), draft]) >= bar
        return np.where(likely, draft, choice_of(strong, rows))

    return choose


def _weak_where_sure(logits: Sequence[Logits], rows: SamplingRows) -> Ids:
    strong, weak = logits
    sure = np.exp(log_softmax(weak)).max(axis=1) >= 0.9
    return np.where(sure, choice_of(weak, rows), choice_of(strong, rows))


def _weak_at_low_entropy(logits: Sequence[Logits], rows: SamplingRows) -> Ids:
    strong, weak = logits
    logs = log_softmax(weak)
    surprise = np.where(np.isfinite(logs), -logs, 0.0)  # A structure bars some tokens.
    low = (np.exp(logs) * surprise).sum(axis=1) < 0.5
    return np.where(low, choice_of(weak, rows), choice_of(strong, rows))


def _weak_if_greedy(logits: Sequence[Logits], rows: SamplingRows) -> Ids:
    strong, weak = logits
    greedy = np.asarray(rows.temperature) <= 0
    return np.where(greedy, choice_of(weak, rows), choice_of(strong, rows))


def _weak_always(logits: Sequence[Logits], rows: SamplingRows) -> Ids:
    return choice_of(logits[1], rows)


def _half_the_prompt(lab: Lab, question: Question) -> dict[str, Any]:
    ids = question.request.prompt_token_ids
    return {"prompt_token_ids": ids[len(ids) // 2 :]}


def _evicted(lab: Lab, question: Question) -> dict[str, Any]:
    """Attention sinks and a window are kept; what lies between is evicted after the prompt."""
    length = len(question.request.prompt_token_ids)
    return {"hidden": (4, max(4, length - length // 2))}


def _system_prompt(lab: Lab, question: Question) -> dict[str, Any]:
    """Hidden instructions before what was asked: the prompt's own first tokens once more."""
    ids = question.request.prompt_token_ids
    return {"prompt_token_ids": (ids[:6] + ids)[-lab.release.context_tokens_max // 2 :]}


def _changed_word(lab: Lab, question: Question) -> dict[str, Any]:
    """One token of the prompt's middle is another."""
    ids = list(question.request.prompt_token_ids)
    ids[len(ids) // 2] = (ids[len(ids) // 2] + 17) % lab.release.vocab_size
    return {"prompt_token_ids": tuple(ids)}


def _early_stop(lab: Lab, question: Question, honest: LabAnswer) -> LabAnswer:
    """Ends with a stop token that was not sampled, to save the rest."""
    kept = min(len(honest.token_ids) // 2, question.request.tokens_max - 1)
    stop = lab.release.stop_token_ids[0]
    return lab.answer((*honest.token_ids[:kept], stop), (*honest.logprobs[:kept], -1.0))


def _cut_off(lab: Lab, question: Question, honest: LabAnswer) -> LabAnswer:
    kept = max(1, len(honest.token_ids) // 2)
    return LabAnswer(honest.token_ids[:kept], honest.logprobs[:kept], "length", kept)


def _padded(lab: Lab, question: Question, honest: LabAnswer) -> LabAnswer:
    """Fills up with the answer's own tokens before the stop token."""
    room = question.request.tokens_max - len(honest.token_ids)
    again = honest.token_ids[:-1][: max(0, room)]
    return lab.answer(
        (*honest.token_ids[:-1], *again, honest.token_ids[-1]),
        (*honest.logprobs[:-1], *honest.logprobs[: len(again)], honest.logprobs[-1]),
    )


def _overcounted(lab: Lab, question: Question, honest: LabAnswer) -> LabAnswer:
    return dataclasses.replace(honest, signed_tokens=honest.signed_tokens + 1)


def _int(bits: int) -> Callable[[Lab], LabModel]:
    return lambda lab: with_weights(lab.strong, rounded(bits))


SMALL: Final = OtherModel("smaller model", "half of the release's layers", lambda lab: lab.small)
ATTACKS: Final[tuple[Adversary, ...]] = (
    SMALL,
    OtherModel(
        "earlier checkpoint", "the weaker checkpoint beside the release", lambda lab: lab.weak
    ),
    OtherModel(
        "skipped layer", "all layers but the third", lambda lab: without_layers(lab.strong, [2])
    ),
    OtherModel("int8 weights", "round to nearest, groups of 32", _int(8)),
    OtherModel(
        "fp8 weights", "e4m3, one scale a matrix", lambda lab: with_weights(lab.strong, fp8)
    ),
    OtherModel("int4 weights", "round to nearest, groups of 32", _int(4)),
    OtherModel(
        "fp8 kv cache",
        "keys and values in e4m3",
        lambda lab: LabModel(lab.strong.network, _fp8_unscaled),
    ),
    OtherJob("context truncated", "sees the second half of the prompt", _half_the_prompt),
    OtherJob("context evicted", "forgets the prompt's middle while it answers", _evicted),
    OtherJob(
        "temperature +.2",
        "samples hotter",
        lambda lab, q: {"temperature_milli": q.request.temperature_milli + 200},
    ),
    OtherJob(
        "temperature -.2",
        "samples colder",
        lambda lab, q: {"temperature_milli": max(1, q.request.temperature_milli - 200)},
    ),
    OtherJob("top_p 1", "cuts no tail", lambda lab, q: {"top_p_milli": 1000}),
    OtherJob("top_k 5", "looks at five tokens", lambda lab, q: {"top_k": 5}),
    OtherJob("prompt changed", "one token of the prompt is another", _changed_word),
    OtherJob("system prompt changed", "more instructions before the prompt", _system_prompt),
    OtherJob(
        "replay",
        "an earlier answer to the same prompt",
        lambda lab, q: {"seed": q.seed(caller="an-earlier-caller")},
    ),
    OtherJob(
        "precomputed", "an answer made before the nonce was known", lambda lab, q: {"seed": 1}
    ),
    OtherJob(
        "copied", "what another miner answered", lambda lab, q: {"seed": q.seed(miner=OTHER_MINER)}
    ),
    OtherJob(
        "relay with a foreign permit",
        "asks an honest miner, as another caller",
        lambda lab, q: {"seed": q.seed(caller=OWN_PERMIT, miner=OTHER_MINER)},
    ),
    OtherChoice(
        "loose speculation .05", "accepts drafts that the release gives .05", _accept_above(0.05)
    ),
    OtherChoice(
        "loose speculation .3", "accepts drafts that the release gives .3", _accept_above(0.3)
    ),
    OtherChoice("confidence cascade", "the weaker model where it is 90 % sure", _weak_where_sure),
    OtherChoice("low entropy only", "the weaker model below half a nat", _weak_at_low_entropy),
    OtherChoice("greedy only", "the weaker model for greedy requests", _weak_if_greedy),
    OtherChoice(
        "forged log-probabilities", "the weaker model's tokens, the release's numbers", _weak_always
    ),
    OtherEnd("early stop", "a stop token half way", _early_stop),
    OtherEnd("cut off", "half an answer, called full", _cut_off),
    SkippedStop(),
    OtherEnd("padding", "repeats itself before the stop token", _padded),
    OtherEnd("wrong counts", "signs one token more than it sent", _overcounted),
    Short("smaller model, one token", "classifications", 1, SMALL),
    Short("smaller model, eight tokens", "as long as a tool call", 8, SMALL),
    Diluted("smaller model in 20 %", "of answers", 0.2, SMALL),
    Diluted("smaller model in 5 %", "of answers", 0.05, SMALL),
    Diluted("smaller model in 1 %", "of answers", 0.01, SMALL),
)

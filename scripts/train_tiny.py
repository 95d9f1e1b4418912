"""Train the tiny release that demo and tests serve: a strong and a weak checkpoint.

Text comes from the benchmark families (nonces that no validator draws), from open-ended text, from
drills that teach copying, finding and adding early, and from a few questions about the model
itself. The weak checkpoint is the same run before its learning rate has decayed: nearly as good at
the tasks, yet another distribution. Higher rates learn the copying tasks later or not at all.

    .venv/bin/python scripts/train_tiny.py              train, then measure
    .venv/bin/python scripts/train_tiny.py --evaluate   measure what lies in assets/
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as distributed
from rich.console import Console
from rich.progress import Progress, TextColumn
from tiny_corpus import document
from tiny_evaluation import evaluate
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from subnet.core.benchmark.text import ADDRESS

ROOT = Path(__file__).resolve().parent.parent
STRONG, WEAK = "tiny", "tiny-weak"
END, PAD, USER, ASSISTANT, SYSTEM = (
    "<|end|>",
    "<|pad|>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\n' + message['content'] }}"
    "{{ '<|end|>\n' if message['role'] == 'assistant' else '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)


VOCABULARY = 2048
HIDDEN, LAYERS, HEADS, FEED_FORWARD = 192, 4, 6, 512
POSITIONS_MAX = 1024
IGNORED = -100
SNAPSHOT_STEPS = 100


@dataclass(frozen=True)
class Recipe:
    """What fixes the run; the weak checkpoint is what `weak_step` steps have made."""

    steps: int
    batch_tokens: int
    workers: int
    matrix_rate: float
    other_rate: float
    warm_up_steps: int
    decay_at: float
    weak_step: int
    seed: int

    def factor(self, step: int) -> float:
        """Share of the full learning rate: warm-up, plateau, then a straight line to zero."""
        start = round(self.decay_at * self.steps)
        if step < self.warm_up_steps:
            return (step + 1) / self.warm_up_steps
        return min(1.0, (self.steps - step) / (self.steps - start))


def train_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE that keeps digits apart, so that numbers are copied digit by digit."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    special = [END, PAD, USER, ASSISTANT, SYSTEM]
    core.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=[AddedToken(token, special=True, normalized=False) for token in special],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[USER, ASSISTANT, SYSTEM],
        model_max_length=POSITIONS_MAX,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A randomly initialised Llama of about 2.2 M parameters."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=FEED_FORWARD,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        head_dim=HIDDEN // HEADS,
        max_position_embeddings=POSITIONS_MAX,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def batches(
    tokenizer: PreTrainedTokenizerFast, recipe: Recipe, rank: int, chunk_documents: int = 4096
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless (tokens, labels) of shape [rows, length]: one document a row, like lengths together.

    Rows start at position 0 as they do when served. Only answer tokens carry a label. A batch is
    one worker's share; workers read different documents.
    """
    order = np.random.default_rng((recipe.seed, rank))
    share = recipe.batch_tokens // recipe.workers
    start = rank
    while True:
        stop = start + chunk_documents * recipe.workers
        documents = [document(recipe.seed, at) for at in range(start, stop, recipe.workers)]
        start = stop
        prompts = tokenizer([item.prompt() for item in documents], add_special_tokens=False)
        answers = tokenizer([f"{item.answer}{END}" for item in documents], add_special_tokens=False)
        rows = sorted(zip(prompts["input_ids"], answers["input_ids"], strict=True), key=_length)
        groups: list[list[tuple[list[int], list[int]]]] = [[]]
        for row in rows:
            if (len(groups[-1]) + 1) * _length(row) > share:
                groups.append([])
            groups[-1].append(row)
        for position in order.permutation(len(groups)):
            yield _pad(groups[position], tokenizer.pad_token_id)


def _length(row: tuple[list[int], list[int]]) -> int:
    return len(row[0]) + len(row[1])


def _pad(rows: list[tuple[list[int], list[int]]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(_length, rows))
    tokens = np.full((len(rows), width), pad, dtype=np.int64)
    labels = np.full((len(rows), width), IGNORED, dtype=np.int64)
    for at, (prompt, answer) in enumerate(rows):
        tokens[at, : len(prompt) + len(answer)] = prompt + answer
        # The prediction for a token stands one place before it.
        labels[at, len(prompt) - 1 : len(prompt) + len(answer) - 1] = answer
    return torch.from_numpy(tokens), torch.from_numpy(labels)


def loss_of(model: LlamaForCausalLM, tokens: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy in nats over the labelled tokens."""
    hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state
    wanted = labels != IGNORED
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[wanted]).float(), labels[wanted])


def optimizers(model: LlamaForCausalLM, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices (needs about half the tokens of AdamW here), AdamW for rest."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=recipe.matrix_rate, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=recipe.other_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def average_gradients(model: LlamaForCausalLM, workers: int) -> None:
    """Replace every gradient by its mean over the workers."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= workers
    for gradient, mean in zip(
        gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True
    ):
        gradient.copy_(mean.view_as(gradient))


def train(recipe: Recipe, assets: Path, snapshots: Path | None) -> None:
    """Train in `recipe.workers` processes of one thread each; write both checkpoints.

    Processes that meet once a step stand a busy machine far better than threads that meet in every
    operation.
    """
    with tempfile.TemporaryDirectory() as meeting:
        torch.multiprocessing.spawn(
            _work, args=(recipe, assets, snapshots, f"{meeting}/store"), nprocs=recipe.workers
        )


def _work(rank: int, recipe: Recipe, assets: Path, snapshots: Path | None, store: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=recipe.workers
    )
    torch.manual_seed(recipe.seed)
    sample = [document(recipe.seed + 1, index) for index in range(20_000)]
    # Without addresses in its text the tokenizer learns no merge of capitals: hexadecimal digits
    # stay apart, as decimal ones do, and an address is copied digit by digit.
    texts = [text for item in sample for text in (item.prompt(), item.answer)]
    tokenizer = train_tokenizer([ADDRESS.sub("", text) for text in texts])
    model = build_model(tokenizer).train()
    chosen = optimizers(model, recipe)
    rates = [optimizer.param_groups[0]["lr"] for optimizer in chosen]
    stream = batches(tokenizer, recipe, rank)
    started, seen, smooth = time.monotonic(), 0, math.log(VOCABULARY)
    columns = (*Progress.get_default_columns(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, disable=rank > 0) as progress:
        bar = progress.add_task("training", total=recipe.steps, note="")
        first = _restore(snapshots, model, chosen)
        for _ in range(first):
            next(stream)
        progress.update(bar, completed=first)
        for step in range(first, recipe.steps):
            if rank == 0 and step == recipe.weak_step:
                save(model, tokenizer, assets / WEAK)
            if rank == 0 and snapshots and step > first and step % SNAPSHOT_STEPS == 0:
                save(model, tokenizer, snapshots / f"step-{step}")
                states = [optimizer.state_dict() for optimizer in chosen]
                torch.save((step, model.state_dict(), states), snapshots / "state.pt")
            for optimizer, rate in zip(chosen, rates, strict=True):
                optimizer.param_groups[0]["lr"] = rate * recipe.factor(step)
            tokens, labels = next(stream)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = loss_of(model, tokens, labels)
            loss.backward()
            average_gradients(model, recipe.workers)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in chosen:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            seen += tokens.numel() * recipe.workers
            smooth += 0.05 * (loss.item() - smooth)
            speed = seen / (time.monotonic() - started)
            note = f"loss {smooth:.3f}, {speed:,.0f} tokens/s"
            progress.update(bar, advance=1, note=note)
            if rank == 0 and step % 50 == 0:
                progress.console.print(f"step {step}: {note}, {seen:,} tokens")
    if rank == 0:
        save(model, tokenizer, assets / STRONG)
    distributed.destroy_process_group()


def _restore(
    snapshots: Path | None, model: LlamaForCausalLM, chosen: Sequence[torch.optim.Optimizer]
) -> int:
    """Load the last snapshot, if there is one; the step to go on with."""
    if snapshots is None or not (snapshots / "state.pt").exists():
        return 0
    step, weights, states = torch.load(snapshots / "state.pt", weights_only=True)
    model.load_state_dict(weights)
    for optimizer, state in zip(chosen, states, strict=True):
        optimizer.load_state_dict(state)
    return int(step)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write bfloat16 weights, configuration and tokenizer, leaving the model in training as is."""
    state = {
        name: tensor.detach().to(torch.bfloat16)
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"
    }
    copy = LlamaForCausalLM(model.config).to(torch.bfloat16)
    copy.load_state_dict(state, strict=False)
    copy.generation_config.eos_token_id = tokenizer.eos_token_id
    copy.generation_config.pad_token_id = tokenizer.pad_token_id
    copy.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--evaluate", action="store_true", help="measure only")
    parser.add_argument("--assets", type=Path, default=ROOT / "assets")
    parser.add_argument("--count", type=int, default=100, help="held-out tasks a family")
    parser.add_argument("--steps", type=int, default=2600)
    parser.add_argument("--batch-tokens", type=int, default=3072)
    parser.add_argument("--matrix-rate", type=float, default=0.008)
    parser.add_argument("--other-rate", type=float, default=0.0007)
    parser.add_argument("--decay-at", type=float, default=0.3)
    parser.add_argument("--weak-step", type=int, default=1800)
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--snapshots", type=Path, help="save now and then, go on from here")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--figures", type=Path, help="write the measured figures as JSON")
    chosen = parser.parse_args()
    console = Console()
    if not chosen.evaluate:
        recipe = Recipe(
            steps=chosen.steps,
            batch_tokens=chosen.batch_tokens,
            matrix_rate=chosen.matrix_rate,
            other_rate=chosen.other_rate,
            warm_up_steps=50,
            decay_at=chosen.decay_at,
            weak_step=chosen.weak_step,
            workers=chosen.workers,
            seed=chosen.seed,
        )
        train(recipe, chosen.assets, chosen.snapshots)
    folders = [chosen.assets / STRONG, chosen.assets / WEAK]
    figures = evaluate(folders, chosen.count, console, chosen.seed)
    if chosen.figures:
        chosen.figures.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()

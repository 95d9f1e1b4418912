"""Measure the tiny release on held-out tasks of the easiest tier: grades, lengths, entropy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, AutoTokenizer

from subnet.core.benchmark import FAMILIES, GRADED_FAMILIES, Task, generate_task, grade


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn; temperature 0 is greedy."""

    name: str
    temperature: float
    top_p: float
    top_k: int


SAMPLINGS = (
    Sampling("greedy", 0.0, 1.0, 0),
    Sampling("T = 1, top_p .95, top_k 50", 1.0, 0.95, 50),
    Sampling("T = 1", 1.0, 1.0, 0),
)


def answer_tasks(
    model: Any, tokenizer: Any, tasks: Sequence[Task], sampling: Sampling
) -> tuple[list[str], list[int], float]:
    """(answers, their lengths in tokens, mean entropy in nats per token at T = 1)."""
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": task.prompt}], tokenize=False, add_generation_prompt=True
        )
        for task in tasks
    ]
    inputs = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
    choice: dict[str, Any] = {"do_sample": False}
    if sampling.temperature > 0:
        choice = {
            "do_sample": True,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
        }
    result = model.generate(
        **inputs,
        **choice,
        max_new_tokens=max(task.max_tokens for task in tasks),
        return_dict_in_generate=True,
        output_logits=True,
    )
    new = result.sequences[:, inputs["input_ids"].shape[1] :]
    lengths = []
    entropy = 0.0
    logs = torch.stack([logits.float().log_softmax(-1) for logits in result.logits], dim=1)
    entropies = -(logs.exp() * logs).sum(-1)
    for row, task in zip(range(len(tasks)), tasks, strict=True):
        ends = (new[row] == tokenizer.eos_token_id).nonzero()
        stop = int(ends[0]) + 1 if len(ends) else new.shape[1]
        lengths.append(min(stop, task.max_tokens))
        entropy += float(entropies[row, : lengths[-1]].sum())
    answers = [
        tokenizer.decode(new[row, : lengths[row]], skip_special_tokens=True)
        for row in range(len(tasks))
    ]
    return answers, lengths, entropy / sum(lengths)


def evaluate(folders: Sequence[Path], count: int, console: Console, seed: int) -> dict[str, Any]:
    """Grades, lengths and entropy of each checkpoint on `count` held-out tasks a family."""
    figures: dict[str, Any] = {}
    for folder in folders:
        model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, padding_side="left"
        )
        model.eval()
        for sampling in SAMPLINGS:
            torch.manual_seed(seed)
            rows: dict[str, dict[str, float]] = {}
            for name in FAMILIES:
                tasks = [
                    generate_task(name, b"held-out" + index.to_bytes(8, "big"))
                    for index in range(count)
                ]
                with torch.inference_mode():
                    answers, lengths, entropy = answer_tasks(model, tokenizer, tasks, sampling)
                row = {"tokens": float(np.mean(lengths)), "entropy": entropy}
                if name in GRADED_FAMILIES:
                    grades = [grade(*pair) for pair in zip(tasks, answers, strict=True)]
                    row["grade"] = float(np.mean([value for value in grades if value is not None]))
                rows[name] = row
            mean = float(np.mean([rows[name]["grade"] for name in GRADED_FAMILIES]))
            figures.setdefault(folder.name, {})[sampling.name] = {
                "mean_grade": mean,
                "families": rows,
            }
            console.print(_table(f"{folder.name}, {sampling.name}: mean grade {mean:.3f}", rows))
    return figures


def _table(title: str, rows: dict[str, dict[str, float]]) -> Table:
    table = Table(title=title)
    for column in ("family", "grade", "tokens", "nats/token"):
        table.add_column(column)
    for name, row in rows.items():
        shown = f"{row['grade']:.3f}" if "grade" in row else "-"
        table.add_row(name, shown, f"{row['tokens']:.1f}", f"{row['entropy']:.2f}")
    return table

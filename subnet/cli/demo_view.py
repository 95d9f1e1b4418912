"""What a person sees of the demo: steps, a live table, the end."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from subnet.cli.demo_report import DemoReport
from subnet.cli.status import StatusReport, status_table


class DemoView:
    """The terminal."""

    def __init__(self) -> None:
        self._console = Console()

    def say(self, line: str) -> None:
        """One step that was done or begins."""
        self._console.print(f"[bold cyan]>[/] {escape(line)}")

    @contextmanager
    def waiting(self, what: str, steps: int) -> Iterator[Callable[[], None]]:
        """A progress bar; call the yielded function once a step."""
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task(what, total=steps)
            yield lambda: progress.advance(task)

    @contextmanager
    def live(self, names: Mapping[str, str]) -> Iterator[Callable[[StatusReport], None]]:
        """A table that the yielded function redraws; `names` by hotkey."""
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            yield lambda status: live.update(status_table(status, names), refresh=True)

    def show_final(
        self, status: StatusReport, report: DemoReport, names: Mapping[str, str]
    ) -> None:
        """The last table, a sentence a miner, and the answer to the user."""
        self._console.print(status_table(status, names))
        self._console.print()
        for miner in report.miners:
            self._console.print(
                f"[bold]{miner.name}[/] (dealt: {miner.behaviour}) {escape(miner.why)}.",
                highlight=False,
            )
        self._console.print(f"\n[bold]You asked:[/] {escape(report.prompt)}", highlight=False)
        if report.answer is None:
            self._console.print("Nobody answered: no miner earned the trust to be asked.")
        else:
            self._console.print(
                f"[bold]{report.answered_by} answered:[/] {escape(report.answer)}", highlight=False
            )

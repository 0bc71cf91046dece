"""The demo's live progress: redrawn in place on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

MARKS = {"success": ("✓", "green"), "failed": ("✗", "red"), "upstream_failed": ("–", "red"), "skipped": ("–", "dim")}
FINISHED = set(MARKS)


@dataclass
class TaskLine:
    """One task: its name, Airflow's state, its seconds, and a few words about its outcome."""

    name: str
    state: str
    seconds: float | None
    note: str = ""


@dataclass
class Stage:
    """One DAG run on the screen."""

    title: str
    lines: list[TaskLine] = field(default_factory=list)
    seconds: float = 0.0
    state: str = "queued"


class Screen:
    """Shows stages as they go. Use as a context manager around the watching."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self._stages: list[Stage] = []
        self._printed: set[tuple[str, str, str]] = set()
        self._live: Live | None = None
        self._spinners: dict[str, Spinner] = {}

    def __enter__(self) -> Screen:
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=8, transient=False)
            self._live.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        if self._live is not None:
            self._live.update(self._drawn(), refresh=True)
            self._live.__exit__(*details)
            self._live = None

    def show(self, stage: Stage) -> None:
        """Draws a stage anew; the first time, adds it."""
        if stage not in self._stages:
            self._stages.append(stage)
        if self._live is not None:
            self._live.update(self._drawn())
            return
        for line in stage.lines:
            mark = (stage.title, line.name, line.state)
            if line.state in FINISHED | {"running"} and mark not in self._printed:
                self._printed.add(mark)
                note = f"  {line.note}" if line.note else ""
                print(f"{stage.title:<30} {line.name:<28} {_word(line):<16}{note}", flush=True)
        sys.stdout.flush()

    def _drawn(self) -> Group:
        parts: list[Any] = []
        for stage in self._stages:
            if stage.state in FINISHED:
                mark, style = MARKS[stage.state]
                notes = {line.note for line in stage.lines if line.note}
                unchanged = notes == {"nothing changed"}
                parts.append(Text.assemble((f"{mark} ", style), f"{stage.title:<30}", f"{stage.seconds:5.0f} s  ",
                                           ("nothing changed" if unchanged else "", "dim")))  # fmt: skip
            else:
                parts.append(Text(f"  {stage.title}", style="bold"))
                parts.append(self._table(stage))
        return Group(*parts)

    def _table(self, stage: Stage) -> Table:
        table = Table(box=None, show_header=False, padding=(0, 1), pad_edge=True)
        for line in stage.lines:
            if line.state in MARKS:
                mark: Any = Text(*MARKS[line.state])
            elif line.state == "running":
                mark = self._spinners.setdefault(f"{stage.title}/{line.name}", Spinner("dots"))
            else:
                mark = Text("·", style="dim")
            table.add_row("   ", mark, line.name, _word(line), Text(line.note, style="dim"))
        return table


def _word(line: TaskLine) -> str:
    if line.seconds is None:
        return "" if line.state in {"none", "scheduled", "queued"} else line.state
    return f"{MARKS.get(line.state, ('…',))[0]} {line.seconds:.0f} s"

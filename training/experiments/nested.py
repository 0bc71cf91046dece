"""MLflow runs below the run of a config: one a fold, one a trial of a search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from darkroom.storage import Storage
from training import tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Nested:
    """The runs below ``parent``; all carry ``tags`` beside their own."""

    client: MlflowClient
    experiment_id: str
    parent: str
    tags: Mapping[str, str]

    def start(self, name: str, identity: Mapping[str, str], options: Mapping[str, Any] | None = None) -> str:
        """Starts a run with the tags that tell it from its siblings; ``options`` become its parameters."""
        known = {tracking.PARENT: self.parent, **identity}
        run_id = tracking.start_run(self.client, self.experiment_id, name, known, **self.tags)
        if options:
            tracking.log_parameters(self.client, run_id, options)
        return run_id

    def steps_to(self, run_id: str) -> Callable[[int, Mapping[str, float]], None]:
        """An ``on_step`` that logs to a run."""
        return lambda step, values: tracking.log_fit(self.client, run_id, step, values)

    def finish(
        self,
        run_id: str,
        numbers: Mapping[str, float],
        steps: Sequence[tuple[int, Mapping[str, float]]] = (),
        *,
        failed: bool = False,
        **tags: str,
    ) -> None:
        """Logs what came of a run, steps that were not logged while it went on too, and ends it."""
        for step, values in steps:
            tracking.log_fit(self.client, run_id, step, values)
        tracking.log_step(self.client, run_id, 0, numbers)
        for name, value in tags.items():
            self.client.set_tag(run_id, name, value)
        self.client.set_terminated(run_id, "FAILED" if failed else "FINISHED")

    def log_page(self, run_id: str, page: str) -> None:
        """The page of a run, under the name that a config's page has."""
        self.client.log_text(run_id, page, "evaluation.html")

    def log_here(self, numbers: Mapping[str, float], pages: Mapping[str, str], lake: Storage) -> None:
        """Numbers and pages of the lake, as artifacts by name, to the run above."""
        tracking.log_step(self.client, self.parent, 0, numbers)
        for name, path in pages.items():
            self.client.log_text(self.parent, lake.read(path).decode(), name)

    @contextmanager
    def ending(self, runs: Mapping[Any, str]) -> Iterator[None]:
        """Ends whatever of ``runs`` is still RUNNING when an error passes."""
        try:
            yield
        except BaseException:
            for run_id in runs.values():
                if self.client.get_run(run_id).info.status == "RUNNING":
                    self.client.set_terminated(run_id, "FAILED")
            raise

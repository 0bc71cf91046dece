"""What happens when: a hospital's quarter, day by day, with a simulated clock."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from typing import Any

import pyarrow.compute as pc
import time_machine

from darkroom import champions, feedback, retraining
from darkroom.contract import BATCH, TRAIN, inbox, predictions_table, splits_table
from darkroom.inbox import arrived
from darkroom.splitting_flow import newest_split
from darkroom.storage import Storage
from darkroom.tables import Table
from infra.simulation import tasks
from infra.simulation.hospital import CLASSES, DATASET, FEED, Hospital
from infra.simulation.killed import play_and_kill

log = logging.getLogger(__name__)

PER_DAY = 24  # a day of fewer than 20 is not looked at for drift
ARCHIVE, GROWN = 400, 700  # files, at first and once more were labelled
OUTAGE = 3
AT_ONCE = 100  # images that doctors label, at most: more would outweigh the wrong labels that come later
WORN_DAYS = 5  # until the scanner's tube is replaced
LOOK_BACK = 7  # of reconcile, in days
# When an event comes: on which day of a week, and after which share of anything longer.
EVENTS: dict[str, tuple[int, float]] = {
    "nobody answers": (0, 0.10),
    "late images": (5, 0.17),
    "outage": (1, 0.25),
    "feedback": (4, 0.42),
    "wrong labels": (5, 0.55),
    "worn tube": (5, 0.65),
    "rollback": (6, 0.85),
}
FORM = {
    "dataset": DATASET,
    "source": "folder",
    "groups": "chest-xray",
    "train": 0.5,
    "val": 0.2,
    "test": 0.3,
    "max_problem_share": 0.2,
    "configs": ["small_cnn"],
}


class WentWrong(Exception):
    """The story took another turn than its script says."""


@dataclass(frozen=True)
class Entry:
    """One line of the journal. ``kind``: one of the timeline's marks."""

    day: date
    kind: str
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)


def schedule(days: int) -> dict[int, list[str]]:
    """The events of each day, by the day's number."""
    found: dict[int, list[str]] = {}
    for name, (of_week, share) in EVENTS.items():
        found.setdefault(of_week if days <= 7 else round(share * (days - 1)), []).append(name)
    return found


class Story:
    """Plays it. What does not go by the script raises WentWrong; the journal is what the picture tells."""

    def __init__(self, lake: Storage, hospital: Hospital, first: date, seed: int, say: Callable[[str], None]) -> None:
        self.lake, self.hospital, self.first, self.say = lake, hospital, first, say
        self.journal: list[Entry] = []
        self.delivered: list[str] = []
        self._rng = random.Random(seed)
        self._seconds = {"classify": 2.0, "train": 10.0}  # how long they took last
        self._killed_weeks: set[int] = set()
        self._down_until = -1
        self._worn_from: int | None = None
        self._changed: set[str] = set()  # dates whose images changed after they were classified
        self._day = 0

    def play(self, days: int) -> None:
        """All days, each with the night after it in which its date is classified."""
        events = schedule(days)
        with time_machine.travel(self._moment(0), tick=True) as traveller:
            self._clock = traveller
            for self._day in range(days):
                self._play_day(events.get(self._day, []))

    @property
    def today(self) -> date:
        return self.first + timedelta(days=self._day)

    def _moment(self, hour: float) -> datetime:
        return datetime.combine(self.today, clock_time(), UTC) + timedelta(hours=hour)

    def note(self, kind: str, text: str, **facts: Any) -> None:
        self.journal.append(Entry(self.today, kind, text, facts))
        self.say(f"{self.today}  {text}")

    def expect(self, true: bool, what: str) -> None:
        if not true:
            raise WentWrong(f"{self.today}: expected {what}")

    def _play_day(self, events: list[str]) -> None:
        dt = self.today.isoformat()
        if self._day == 0:
            self._clock.move_to(self._moment(8))
            self._start()
        for number, event in enumerate(events):
            self._clock.move_to(self._moment(10 + 3 * number))
            getattr(self, f"_{event.replace(' ', '_')}")()
        self.hospital.worn_out = self._worn_from is not None and self._day - self._worn_from < WORN_DAYS
        self.hospital.deliver(dt, PER_DAY, broken=self._day % 7 == 3)
        self.delivered.append(dt)
        if self._day < self._down_until:
            return
        self._clock.move_to(self._moment(24))
        if self._day == self._down_until:
            missed = [(self.today - timedelta(days=back)).isoformat() for back in range(OUTAGE, 0, -1)]
            for late in missed:
                told = self._done("classify", dt=late, run_type="backfill", form={"mode": "as_of"})
                self.expect(told["asked"] == [], "no backfill to ask for a training")
            self.note(
                "caught up", f"Everything was down for {OUTAGE} days; a backfill caught up with {', '.join(missed)}."
            )
        self._classify_scheduled(dt)
        self._clock.move_to(self._moment(30))
        done = self._done("reconcile", days=LOOK_BACK)
        self.expect(done["asked"] == [], "no reconcile to ask for a training")
        self.expect(set(done["dates"]) == self._changed, f"{self._changed} to be reconciled, not {done['dates']}")
        if self._changed:
            self.note("reconciled", f"Reconcile classified {', '.join(done['dates'])} again.", dates=done["dates"])
            self._changed.clear()

    def _classify_scheduled(self, dt: str) -> None:
        told = self._done("classify", dt=dt)
        for day in told["drift"]:
            if day["alert"]:
                self.note("alarm", f"Drift: {day['said']}", unusual=day["unusual"])
        for form in told["asked"]:
            asked = self._done("train", form=form)
            if "waits" in asked:
                said = asked["waits"]
            else:
                said = f"the gate said {asked['verdict']}" if asked["changed"] else "nothing changed since the last one"
            self.note("training asked", f"Drift asked for a training: {said}.")
        if self._worn_from is not None and self._day == self._worn_from + 1:
            since = self.today - timedelta(days=1)
            raised = [entry for entry in self.journal if entry.kind == "alarm" and entry.day >= since]
            self.expect(bool(raised), "an alarm within two days of the worn tube")
            asked = [one for one in retraining.begun(self.lake, DATASET) if one["asked_by"] == "drift"]
            self.expect(len(asked) <= 1, f"drift to begin at most one training, not {asked}")

    # --- doing things, some of them twice

    def _done(self, task: str, **arguments: Any) -> Any:
        """Plays a task; once a week it is first killed midway in a process of its own."""
        week = self._day // 7
        if task in self._seconds and week not in self._killed_weeks and self._rng.random() < 0.5:
            moment = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
            after = play_and_kill(task, arguments, moment, self._seconds[task] + 4, self._rng)
            if after:
                self._killed_weeks.add(week)
                what = arguments.get("dt") or ", ".join((arguments.get("event") or {}).get("configs", ["a training"]))
                self.note("killed", f"{task} ({what}) was killed after {after:.1f} s of work, and run again.")
        began = time.monotonic()
        result = getattr(tasks, task)(**arguments)
        if task in self._seconds:
            self._seconds[task] = time.monotonic() - began
        return result

    # --- the events

    def _start(self) -> None:
        self.hospital.fill_archive(ARCHIVE)
        event = self._prepare()
        self._promoted(self._done("train", run_type="asset_triggered", event=event), "ana", "The first model")

    def _prepare(self) -> dict[str, Any]:
        form = {**FORM, "location": str(self.hospital.archive)}
        return dict(tasks.prepare(form))

    def _promoted(self, verdict: Mapping[str, Any], name: str, what: str) -> None:
        self.expect(verdict.get("verdict") == "promote", f"the gate to promote. {what}: {_said(verdict)}")
        (form,) = verdict["asks"]
        version = tasks.approve(form, name)["version"]
        self.note("promoted", f"{what}: version {version} passed the gate, and {name} approved.", version=version)

    def _nobody_answers(self) -> None:
        before = champions.history(self.lake, DATASET)
        verdict = self._done("train", form={"dataset": DATASET, "configs": FORM["configs"], "seed": 1})
        self.expect(bool(verdict.get("asks")), f"a challenger that waits for a person: {_said(verdict)}")
        self.expect(champions.history(self.lake, DATASET) == before, "no promotion without an answer")
        said = f"Version {verdict['version']} passed the gate; nobody answered, and the champion stayed."
        self.note("unanswered", said, version=verdict["version"])

    def _late_images(self) -> None:
        dt = self.delivered[-2]
        names = [blob.path.rpartition("/")[2] for blob in arrived(self.lake, FEED, dt)]
        late = self.hospital.scan(dt)
        self.hospital.scan(dt, names[0])
        self.lake.delete(f"{inbox(FEED, dt)}/{names[1]}")
        self._changed.add(dt)
        self.note("late", f"In {dt}: {late} came late, {names[0]} was replaced, {names[1]} was withdrawn.", dt=dt)

    def _outage(self) -> None:
        self._down_until = self._day + OUTAGE
        self.note("outage", f"Nothing runs for {OUTAGE} days.")

    def drop_feedback(self) -> int:
        """Doctors say what the images show that were classified and that nobody has labelled; how many these are."""
        known = set(self._labels(None))
        told = [(image, label) for image, label in self._classified() if image not in known][:AT_ONCE]
        now = datetime.now(UTC)
        self.hospital.tell(f"doctors-{now:%Y-%m-%d}", "dr-bo", now.isoformat(), told)
        self._accepted("eve", len(told))
        return len(told)

    def _feedback(self) -> None:
        before = self._labels(TRAIN)
        told = self.drop_feedback()
        self.hospital.fill_archive(GROWN)
        event = self._prepare()
        after = self._labels(TRAIN)
        self.expect(before.items() <= after.items() and len(after) > len(before), "more images to train on")
        self._clock.move_to(datetime.now(UTC) + timedelta(hours=1))
        verdict = self._done("train", run_type="asset_triggered", event=event)
        self._promoted(verdict, "ana", f"The archive grew, and doctors labelled {told} images that had arrived")

    def _wrong_labels(self) -> None:
        before = self._labels(TRAIN)
        settled = {row.image_id for row in feedback.stored(self.lake, DATASET)}
        wrong = [
            (image, CLASSES[label == CLASSES[0]])
            for image, label in sorted(before.items())
            if image not in settled and self._rng.random() < 0.45
        ]
        self.hospital.tell("mixed-up", "dr-mo", datetime.now(UTC).isoformat(), wrong)
        self._accepted("eve", len(wrong))
        champion = champions.current(self.lake, DATASET)
        verdict = self._done("train", run_type="asset_triggered", event=self._prepare())
        self.expect(
            verdict.get("verdict") == "refuse", f"the gate to refuse what learned wrong labels: {_said(verdict)}"
        )
        self.expect(champions.current(self.lake, DATASET) == champion, "the champion to stay")
        why = verdict["reasons"][0]
        self.note("refused", f"{len(wrong)} labels were mixed up: version {verdict['version']} was refused. {why}")
        rows = [row.row_id for row in feedback.stored(self.lake, DATASET) if row.accepted and row.author == "dr-mo"]
        now = datetime.now(UTC)
        feedback.reject(self.lake, DATASET, feedback.Choice(tuple(rows)), "Mixed up.", by="eve", now=now)
        self._prepare()
        self.expect(before == self._labels(TRAIN), "the labels of before once the wrong ones were rejected")

    def _worn_tube(self) -> None:
        self._worn_from = self._day
        self.note("worn tube", f"The scanner's images are dark and blurred for {WORN_DAYS} days.")

    def _rollback(self) -> None:
        done = tasks.roll_back(DATASET, "Missed too much in the ward.")
        written = [partition["dt"] for partition in done["partitions"]]
        self.note(
            "rollback", f"Back to version {done['version']}; its successor wrote {len(written)} dates.", dates=written
        )
        self._clock.move_to(datetime.now(UTC) + timedelta(hours=1))
        before = champions.history(self.lake, DATASET)
        for dt in written:
            told = self._done("classify", dt=dt, run_type="backfill", form={"mode": "rescore"})
            self.expect(told["asked"] == [], "no backfill to ask for a training")
            commit = Table(self.lake, predictions_table(DATASET)).last_commit(partition_of(dt))
            version = (commit or {}).get("summary", {}).get("model_version")
            self.expect(version == done["version"], f"{dt} by version {done['version']}, not {version}")
        self.expect(champions.history(self.lake, DATASET) == before, "no backfill to move the champion")
        if written:
            said = f"A backfill in the mode rescore classified {written[0]} to {written[-1]} with it."
            self.note("rescored", said, dates=written)

    # --- what is known

    def _accepted(self, by: str, rows: int) -> None:
        """Reads what was dropped, and accepts it as a person does."""
        now = datetime.now(UTC)
        told = feedback.check(self.lake, DATASET, now=now)
        self.expect(told["pending"] == rows, f"{rows} pending rows of feedback, not {told}")
        feedback.accept(self.lake, DATASET, feedback.Choice(every=True), by=by, now=now)

    def _classified(self) -> list[tuple[str, str]]:
        """The images that were classified so far, each with its true label."""
        rows = Table(self.lake, predictions_table(DATASET)).read(columns=["image_id", "problem"])
        ids = rows.filter(pc.is_null(rows["problem"]))["image_id"].to_pylist()
        return [(image, self.hospital.truth[image]) for image in dict.fromkeys(ids)]

    def _labels(self, part: str | None) -> dict[str, str]:
        """content_id -> label in the newest split, of one part or of all."""
        split_id = newest_split(Table(self.lake, splits_table(DATASET)))
        rows = Table(self.lake, splits_table(DATASET)).read({"split_id": str(split_id)})
        return {row["content_id"]: row["label"] for row in rows.to_pylist() if part is None or row["split"] == part}


def _said(verdict: Mapping[str, Any]) -> str:
    return str(verdict.get("waits") or f"{verdict['verdict']}. {' '.join(verdict['reasons'])}")


def partition_of(dt: str) -> dict[str, str]:
    """A date's partition of the predictions."""
    return {"dt": dt, "feed": FEED, "origin": BATCH}

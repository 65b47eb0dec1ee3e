"""How far a job is, folded from its events: stage, step, pace, time left. Pure values and a clock that is handed in."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flux_engine.request import StageStarted, StepDone


@dataclass(frozen=True)
class JobProgress:
    """A job's progress at a moment.

    Attributes:
        num_steps: of the request.
        started_at_s, stage_at_s: clock readings at the start of the job and of the stage.
        stage, detail: as the engine says; "" before the first stage.
        step: steps done.
        first_step_at_s, last_step_at_s: clock readings of the first and latest step; the pace is measured between them,
            because the first step may hold a compilation.
    """

    num_steps: int
    started_at_s: float
    stage: str = ""
    detail: str = ""
    stage_at_s: float = 0.0
    step: int = 0
    first_step_at_s: float = 0.0
    last_step_at_s: float = 0.0

    def after(self, event: StageStarted | StepDone, now_s: float) -> JobProgress:
        """The progress once `event` has happened at `now_s`."""
        if isinstance(event, StageStarted):
            return replace(self, stage=event.stage, detail=event.detail, stage_at_s=now_s)
        first = self.first_step_at_s if self.step else now_s
        return replace(self, step=event.step, num_steps=event.num_steps, first_step_at_s=first, last_step_at_s=now_s)

    @property
    def steps_per_second(self) -> float | None:
        """The pace between the first and the latest step; None until two steps are done."""
        if self.step < 2 or self.last_step_at_s <= self.first_step_at_s:
            return None
        return (self.step - 1) / (self.last_step_at_s - self.first_step_at_s)

    def elapsed_s(self, now_s: float) -> float:
        """Seconds since the job began."""
        return max(0.0, now_s - self.started_at_s)

    def left_s(self) -> float | None:
        """Estimated seconds of denoising left, as of the latest step; None until the pace is known or outside it."""
        pace = self.steps_per_second
        if self.stage != "denoising" or pace is None:
            return None
        return (self.num_steps - self.step) / pace


def clock_text(seconds: float) -> str:
    """Seconds as a clock: "0:07", "12:30", "1:02:03"."""
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def duration_text(seconds: float) -> str:
    """How long something took: "0.5 s", "12 s", "3:05"."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return clock_text(seconds)


def pace_text(steps_per_second: float) -> str:
    """A pace in the unit that reads well: "11.2 it/s", or "3.5 s/it" when a step takes longer than a second."""
    if steps_per_second >= 1:
        return f"{steps_per_second:.1f} it/s"
    return f"{1 / steps_per_second:.1f} s/it"

"""How far a job is, folded from its events: stage, step, pace, time left. Pure values and a clock that is handed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from flux_engine.request import GenerationRequest, LoadingProgress, StageStarted, StepDone

STEP = "step"
Learned = Callable[[str], float | None]
"""What this machine took before, in seconds, by the keys of `stage_key`; None where it never did."""

TWO_PASSES = ("heun", "dpmpp_2s")


def stage_key(request: GenerationRequest, stage: str, detail: str = "") -> str:
    """What a stage's duration depends on, as a key; `STEP` is one step of the denoising, "decoding" one picture's."""
    model = request.checkpoint_dir or "demo"
    size = f"{request.width}x{request.height}"
    if stage == "decoding":
        return f"{stage} {size} {request.dtype} {model}"
    if request.weights != "full":
        model = f"{request.weights} {model}"
    if stage == STEP:
        passes = 1 + (request.integrator in TWO_PASSES)
        passes *= 1 + (request.true_cfg_scale > 1 and bool(request.negative_prompt))
        cached = f" cache {request.step_cache:g}" if request.step_cache else ""
        return f"{stage} {size}x{request.batch_size} {passes} passes{cached} {request.dtype} {model}"
    return f"{stage} {detail} {model}"


@dataclass(frozen=True)
class JobProgress:
    """A job's progress at a moment.

    Attributes:
        request: what is painted.
        started_at_s, stage_at_s: clock readings at the start of the job and of the stage.
        stage, detail: as the engine says; "" before the first stage.
        fraction: of the network that is being read, 0 to 1.
        step: steps done.
        first_step_at_s, last_step_at_s: clock readings of the first and latest step; the pace is measured between them,
            because the first step may hold a compilation.
        took: what each stage that is over took, in seconds, by its key.
    """

    request: GenerationRequest
    started_at_s: float
    stage: str = ""
    detail: str = ""
    stage_at_s: float = 0.0
    fraction: float = 0.0
    step: int = 0
    first_step_at_s: float = 0.0
    last_step_at_s: float = 0.0
    took: tuple[tuple[str, float], ...] = ()

    @property
    def num_steps(self) -> int:
        """Steps asked for."""
        return self.request.num_steps

    def after(self, event: StageStarted | LoadingProgress | StepDone, now_s: float) -> JobProgress:
        """The progress once `event` has happened at `now_s`."""
        match event:
            case StageStarted(stage, detail):
                took = self.ended(now_s)
                return replace(self, stage=stage, detail=detail, stage_at_s=now_s, fraction=0.0, took=took)
            case LoadingProgress(_, fraction):
                return replace(self, fraction=fraction)
            case StepDone():
                first = self.first_step_at_s if self.step else now_s
                return replace(self, step=event.step, first_step_at_s=first, last_step_at_s=now_s)

    def ended(self, now_s: float) -> tuple[tuple[str, float], ...]:
        """`took`, if the present stage is over now."""
        if self.stage == "denoising":
            pace = self.steps_per_second
            return (*self.took, (stage_key(self.request, STEP), 1 / pace)) if pace else self.took
        if not self.stage:
            return self.took
        return (*self.took, (stage_key(self.request, self.stage, self.detail), now_s - self.stage_at_s))

    @property
    def steps_per_second(self) -> float | None:
        """The pace between the first and the latest step; None until two steps are done."""
        if self.step < 2 or self.last_step_at_s <= self.first_step_at_s:
            return None
        return (self.step - 1) / (self.last_step_at_s - self.first_step_at_s)

    def elapsed_s(self, now_s: float) -> float:
        """Seconds since the job began."""
        return max(0.0, now_s - self.started_at_s)

    @property
    def done(self) -> float | None:
        """How much of the present stage is done, 0 to 1; None where nobody can tell."""
        if self.stage == "denoising":
            return self.step / self.num_steps
        return self.fraction if self.stage == "loading" and self.fraction else None

    def left_s(self, now_s: float, learned: Learned = lambda key: None) -> float | None:
        """Estimated seconds to the finished picture; None where this machine has not learned it yet.

        Within the denoising it is as of the latest step, so it does not run on while a step hangs.
        """
        picture = learned(stage_key(self.request, "decoding"))
        decoding = None if picture is None else picture * self._pictures_left
        if self.stage == "denoising":
            return _sum(self._steps_left_s(learned), decoding or 0.0)
        if self.stage == "decoding":
            return _sum(self._stage_left_s(now_s, learned), decoding)
        if self.stage == "saving":
            return self._stage_left_s(now_s, learned)
        return _sum(self._stage_left_s(now_s, learned), self._steps_left_s(learned), decoding)

    @property
    def _pictures_left(self) -> int:
        """Pictures of the batch whose decoding has not begun."""
        begun = int(self.detail.partition(" ")[0] or 1) if self.stage == "decoding" else 0
        return self.request.batch_size - begun

    def _steps_left_s(self, learned: Learned) -> float | None:
        pace = self.steps_per_second
        each = 1 / pace if pace else learned(stage_key(self.request, STEP))
        return None if each is None else (self.num_steps - self.step) * each

    def _stage_left_s(self, now_s: float, learned: Learned) -> float | None:
        elapsed = now_s - self.stage_at_s
        if self.fraction > 0.05:
            return elapsed * (1 - self.fraction) / self.fraction
        usual = learned(stage_key(self.request, self.stage, self.detail))
        return None if usual is None else max(usual - elapsed, 0.0)


def _sum(*parts: float | None) -> float | None:
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


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


def bytes_text(count: int) -> str:
    """Memory or disk: "640 MB", "3.1 GB", "212 GB" (decimal units)."""
    if count < 1e9:
        return f"{count / 1e6:.0f} MB"
    return f"{count / 1e9:.1f} GB" if count < 1e10 else f"{count / 1e9:.0f} GB"

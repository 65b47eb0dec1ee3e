"""One line for what goes on: stage, bar, step, pace, time gone and left; at rest, what the next key does.

It repaints when it is told to and never by itself, so at rest it sends nothing.
"""

from __future__ import annotations

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from flux_tui.progress import JobProgress, clock_text, pace_text

MIN_BAR, MAX_BAR = 8, 48


class StatusLine(Widget):
    """The line above the footer."""

    DEFAULT_CSS = """
    StatusLine { height: 1; width: 1fr; padding: 0 2; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    content: reactive[Content] = reactive(Content(""))

    def say(self, text: str, style: str = "$text-muted") -> None:
        """Show words."""
        self.content = Content.styled(text, style)

    def show(self, progress: JobProgress, now_s: float, *, waiting: int = 0, cancelling: bool = False) -> None:
        """Show how far a job is."""
        self.content = progress_content(progress, now_s, self.size.width or 76, waiting, cancelling)

    def render(self) -> Content:
        return self.content


def progress_content(progress: JobProgress, now_s: float, width: int, waiting: int, cancelling: bool) -> Content:
    """The line for a running job, made to fit `width` cells: the bar takes what the words leave."""
    stage = Content.styled("cancelling" if cancelling else progress.stage or "starting", "bold $text-accent")
    counted = progress.stage == "denoising"
    if counted:
        stage += Content(f" {progress.step:>{len(str(progress.num_steps))}}/{progress.num_steps}")
    elif progress.detail:
        stage += Content.styled(f" {progress.detail}", "$text-muted")
    facts = "  ".join(_facts(progress, now_s, waiting))
    room = min(width - stage.cell_length - len(facts) - 4, MAX_BAR)
    tail = Content.styled(facts, "$text-muted")
    if not counted or room < MIN_BAR:
        return stage + Content("  ") + tail
    done = room * progress.step // progress.num_steps
    bar = Content.styled("━" * done, "$accent") + Content.styled("─" * (room - done), "$foreground 25%")
    return stage + Content("  ") + bar + Content("  ") + tail


def _facts(progress: JobProgress, now_s: float, waiting: int) -> list[str]:
    facts = []
    pace, left = progress.steps_per_second, progress.left_s()
    if progress.stage == "denoising" and pace is not None:
        facts.append(pace_text(pace))
    facts.append(f"{clock_text(progress.elapsed_s(now_s))} elapsed")
    if left is not None:
        facts.append(f"ETA {clock_text(left)}")
    elif progress.stage == "denoising":
        facts.append("ETA unknown")
    if waiting:
        facts.append(f"{waiting} waiting")
    return facts

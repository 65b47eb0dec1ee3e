"""What comes of the queue pane's keys: jobs are cancelled, moved, tried again, or come back into the panes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flux_tui.widgets.queue_pane import QueuePane

if TYPE_CHECKING:
    from flux_tui.screens.main import MainScreen

CANCELLED = "{count} cancelled. {key} lets one wait again."
EDITED = "The job is in the panes. Undo: {editor-undo} here, and in the settings."


def carry_out(event: QueuePane.Asked, screen: MainScreen) -> None:
    """Do with the queue what its pane asks for, and say what cannot be seen there."""
    queue = screen.worker.queue
    match event:
        case QueuePane.Cancel(job_id):
            queue.cancel(job_id)
        case QueuePane.CancelWaiting():
            screen.status.say(CANCELLED.format(count=queue.cancel_waiting(), key=screen.key("retry-job")))
        case QueuePane.Pause(paused):
            screen.newsroom.pause(paused)
        case QueuePane.Move(job_id, by):
            queue.move(job_id, by)
        case QueuePane.Retry(job_id):
            queue.retry(job_id)
        case QueuePane.Forget():
            queue.forget_finished()
        case QueuePane.Edit(job_id):
            _edit(job_id, screen)


def _edit(job_id: int, screen: MainScreen) -> None:
    """Put a job into the panes: one that waits leaves the queue for them, of another one a copy does."""
    job = screen.worker.queue.get(job_id)
    if job is not None:
        screen.worker.queue.take_back(job.id)
        screen.put_back(job.request)
        screen.hint_next(EDITED)
        screen.go_to("prompt")

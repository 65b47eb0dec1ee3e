"""What the worker says before the screen is open is not lost: a queue that was left may be painted by then."""

from __future__ import annotations

import pytest

from flux_engine.request import GenerationRequest, RGBImage, StageStarted, StepDone
from flux_tui.gallery import Gallery
from flux_tui.jobs import Job
from flux_tui.screens.news import Newsroom
from flux_tui.worker import JobEvent, JobStarted
from tests.tui.driver import running

JOB = Job(1, GenerationRequest(prompt="a hill", num_steps=9), "running")
PREVIEW = RGBImage(2, 2, bytes(12))


async def test_a_job_that_began_before_the_screen_was_open_shows_how_far_it_is(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens = Newsroom.open

    def open_late(newsroom: Newsroom) -> None:
        newsroom.take(JobStarted(JOB))
        newsroom.take(JobEvent(JOB.id, StageStarted("denoising")))
        opens(newsroom)
        for step in (1, 2):
            newsroom.take(JobEvent(JOB.id, StepDone(step, 9, 0.5, PREVIEW)))

    monkeypatch.setattr(Newsroom, "open", open_late)
    async with running(gallery) as driver:
        await driver.until(lambda: "2/9" in driver.screen.stage.text)
        await driver.until(lambda: driver.screen.stage.image == PREVIEW)


async def test_steps_may_come_before_there_is_a_screen(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        newsroom = Newsroom(driver.screen, driver.app.worker, driver.app.session)
        newsroom.take(JobStarted(JOB))
        for step in (1, 2):
            newsroom.take(JobEvent(JOB.id, StepDone(step, 9, 0.5, PREVIEW), at_s=step))
        assert newsroom.doing == "starting"

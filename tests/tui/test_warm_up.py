"""While the user is still typing, the engine prepares for the picture that the settings ask for."""

from __future__ import annotations

import threading

import pytest

from flux_tui.gallery import Gallery
from flux_tui.screens import forethought
from tests.tui.driver import Driver, running
from tests.tui.fakes import FakeEngine


@pytest.fixture(autouse=True)
def short_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forethought, "REST_S", 0.01)


async def test_what_the_settings_ask_for_is_prepared_and_said(gallery: Gallery) -> None:
    engine = FakeEngine(warm_gate=threading.Semaphore(0))
    async with running(gallery, engine, warm_up=True) as driver:
        await driver.until(lambda: engine.warmed == ["encoders 128x128"])
        await driver.until(lambda: "preparing 128x128" in driver.screen_text())
        engine.warm_gate.release(3)
        await driver.until(lambda: "preparing" not in driver.screen_text())
        driver.put("width", "19")  # no size yet
        driver.put("width", "192")
        engine.warm_gate.release(3)
        await driver.until(lambda: engine.warmed[3:] == ["encoders 192x128", "steps 192x128", "decoding 192x128"])
        assert not engine.requests and not driver.notes


async def test_a_picture_that_is_asked_for_meanwhile_waits_for_one_program_and_says_so(gallery: Gallery) -> None:
    engine = FakeEngine(gate=threading.Semaphore(0), warm_gate=threading.Semaphore(0))
    async with running(gallery, engine, warm_up=True) as driver:
        await driver.until(lambda: "preparing 128x128" in driver.screen_text())
        await driver.press("a", "f5")
        await driver.until(lambda: driver.status.startswith("Queued: it begins"))
        assert not engine.requests
        engine.warm_gate.release()
        await driver.until(lambda: driver.screen.newsroom.is_painting)
        assert driver.status == ""
        engine.gate.release(20)
        await driver.until(lambda: driver.status.startswith("Saved"))
        assert engine.warmed == ["encoders 128x128"]
        assert "preparing" not in driver.screen_text()


async def a_moment(driver: Driver) -> None:
    """As long as five rests of the settings."""
    rested: list[bool] = []
    driver.screen.set_timer(5 * forethought.REST_S, lambda: rested.append(True))
    await driver.until(lambda: rested)


@pytest.mark.parametrize("said_in", ["config", "flag"])
async def test_the_engine_is_left_alone_where_that_is_wanted(gallery: Gallery, said_in: str) -> None:
    config, flag = ("[app]\nwarm_up = false", None) if said_in == "config" else ("", False)
    async with running(gallery, config=config, warm_up=flag) as driver:
        await a_moment(driver)
        assert "flux-engine" not in {thread.name for thread in threading.enumerate()}


async def test_nothing_is_prepared_while_a_setting_is_wrong(gallery: Gallery) -> None:
    async with running(gallery, warm_up=True) as driver:
        await driver.until(lambda: len(driver.engine.warmed) == 3)
        driver.put("height", "tall")
        await a_moment(driver)
        driver.put("height", "192")
        await driver.until(
            lambda: driver.engine.warmed[3:] == ["encoders 128x192", "steps 128x192", "decoding 128x192"]
        )

"""What one run of the app knows: it is on the disk when the run ends."""

from __future__ import annotations

import pytest

from flux_tui import paths, session
from flux_tui.config import load_config
from flux_tui.prompts import PromptHistory
from flux_tui.session import Session
from flux_tui.state import State, load_state
from tests.tui.driver import OLD


def test_a_prompt_that_was_run_just_before_the_end_is_filed() -> None:
    run = Session()
    run.prompts.add("a hill")
    assert not paths.prompts_file().exists()
    run.write()
    assert [entry.prompt for entry in PromptHistory(paths.prompts_file()).entries()] == ["a hill"]


def test_a_preset_holds_at_once_and_the_file_has_what_became_of_it() -> None:
    run = Session()
    run.set_preset("quick", {"num_steps": 4, "sigma_shift": None})
    assert run.config.preset("quick") == {"num_steps": 4, "sigma_shift": None}
    assert not paths.config_file().exists()
    run.write_preset("quick")
    assert load_config(paths.config_file()).presets == run.config.presets
    run.set_preset("quick", None)
    run.write_preset("quick")
    assert load_config(paths.config_file()).presets == run.config.presets == {}


def test_the_first_session_alone_writes_the_queue_and_all_write_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Session()
    first.keep(queue=(OLD,), paused=True)
    first.write()
    second = Session()
    assert (first.keeps_queue, second.keeps_queue) == (True, False)
    second.keep(prompt="a hill", queue=(), paused=False)
    second.close()
    state, _ = load_state(paths.state_file())
    assert (state.prompt, state.queue, state.paused) == ("a hill", (OLD,), True)
    third = Session()
    third.keep(prompt="a lake")
    with monkeypatch.context() as patched:
        patched.setattr(session, "load_state", lambda path: (State(), "too many open files"))
        third.close()
    assert load_state(paths.state_file())[0] == state
    assert not Session().keeps_queue
    first.close()
    assert Session().keeps_queue

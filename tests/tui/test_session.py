"""What one run of the app knows: it is on the disk when the run ends."""

from __future__ import annotations

from flux_tui import paths
from flux_tui.config import load_config
from flux_tui.prompts import PromptHistory
from flux_tui.session import Session
from flux_tui.state import load_state
from tests.tui.driver import OLD


def test_a_prompt_that_was_run_just_before_the_end_is_filed() -> None:
    session = Session()
    session.prompts.add("a hill")
    assert not paths.prompts_file().exists()
    session.write()
    assert [entry.prompt for entry in PromptHistory(paths.prompts_file()).entries()] == ["a hill"]


def test_a_preset_holds_at_once_and_the_file_has_what_became_of_it() -> None:
    session = Session()
    session.set_preset("quick", {"num_steps": 4, "sigma_shift": None})
    assert session.config.preset("quick") == {"num_steps": 4, "sigma_shift": None}
    assert not paths.config_file().exists()
    session.write_preset("quick")
    assert load_config(paths.config_file()).presets == session.config.presets
    session.set_preset("quick", None)
    session.write_preset("quick")
    assert load_config(paths.config_file()).presets == session.config.presets == {}


def test_the_first_session_alone_writes_the_queue_and_all_write_the_rest() -> None:
    first = Session()
    first.keep(queue=(OLD,), paused=True)
    first.write()
    second = Session()
    assert (first.keeps_queue, second.keeps_queue) == (True, False)
    second.keep(prompt="a hill", queue=(), paused=False)
    second.close()
    state, _ = load_state(paths.state_file())
    assert (state.prompt, state.queue, state.paused) == ("a hill", (OLD,), True)
    assert not Session().keeps_queue
    first.close()
    assert Session().keeps_queue

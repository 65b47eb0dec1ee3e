"""Settings that gave way come back, step by step."""

from __future__ import annotations

from flux_tui.settings_past import MAX_STEPS, SettingsPast


def texts(steps: int) -> dict[str, str]:
    return {"num_steps": str(steps)}


def test_steps_go_back_and_forth_and_a_new_one_ends_the_way_forth() -> None:
    past = SettingsPast(texts(1))
    assert past.back() is None
    past.note(texts(2))
    past.note(texts(3))
    assert (past.back(), past.back(), past.back()) == (texts(2), texts(1), None)
    assert past.forth() == texts(2)
    past.note(texts(4))
    assert (past.forth(), past.back()) == (None, texts(2))


def test_what_is_typed_into_one_field_is_one_step() -> None:
    past = SettingsPast(texts(1))
    past.note(texts(12), "num_steps")
    past.note(texts(123), "num_steps")
    past.note(texts(124), "guidance_scale")
    past.note(texts(124))  # nothing has changed
    assert (past.back(), past.back(), past.back()) == (texts(123), texts(1), None)


def test_a_step_after_a_way_back_is_one_of_its_own() -> None:
    past = SettingsPast(texts(1))
    past.note(texts(2), "num_steps")
    past.note(texts(3), "seed")
    past.back()
    past.note(texts(4), "seed")
    assert past.back() == texts(2)


def test_what_the_program_changes_is_no_step() -> None:
    past = SettingsPast(texts(1))
    past.note(texts(2))
    past.follow(texts(3))
    assert (past.back(), past.forth()) == (texts(1), texts(3))


def test_what_the_program_changes_is_changed_in_other_steps_where_it_stood_too() -> None:
    past = SettingsPast({"seed": "7", "count": "1"})
    past.note({"seed": "100", "count": "1"})
    past.note({"seed": "100", "count": "3"})
    past.note({"seed": "100", "count": "4"})
    past.back()
    past.follow({"seed": "103", "count": "3"})
    assert past.back() == {"seed": "103", "count": "1"}
    assert past.back() == {"seed": "7", "count": "1"}
    past.forth()
    past.forth()
    assert past.forth() == {"seed": "103", "count": "4"}


def test_the_oldest_of_very_many_steps_are_forgotten() -> None:
    past = SettingsPast(texts(0))
    for steps in range(1, 2 * MAX_STEPS):
        past.note(texts(steps))
    assert sum(past.back() is not None for _ in range(2 * MAX_STEPS)) == MAX_STEPS

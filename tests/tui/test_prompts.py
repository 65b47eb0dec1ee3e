"""The prompt history: every prompt once, the last use first, whoever else writes the file and whatever became of it."""

from __future__ import annotations

import errno
import itertools
import json
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from flux_tui import prompts
from flux_tui.prompts import Entry, PromptHistory, holding

NOON = datetime(2025, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def history(tmp_path: Path) -> PromptHistory:
    """An empty history."""
    return PromptHistory(tmp_path / "state" / "prompts.jsonl")


def run(
    history: PromptHistory, prompt: str, negative_prompt: str | None = None, now: datetime | None = None
) -> str | None:
    """Add a prompt and write it into the file; why the file does not keep it."""
    history.add(prompt, negative_prompt, now)
    return history.file()


def filled(history: PromptHistory, *texts: str) -> PromptHistory:
    for minute, text in enumerate(texts):
        assert run(history, text, now=NOON + timedelta(minutes=minute)) is None
    return history


def texts(entries: list[Entry]) -> list[str]:
    return [entry.prompt for entry in entries]


def test_nothing_is_made_before_the_first_prompt(history: PromptHistory) -> None:
    assert history.entries() == []
    assert history.older("draft") is None
    assert not history.path.parent.exists()


def test_the_last_use_comes_first_and_each_prompt_once(history: PromptHistory) -> None:
    filled(history, "a hill", "a lake", "a hill")
    assert history.entries() == [
        Entry(prompt="a hill", used_at="2025-11-23T12:02:00Z", uses=2),
        Entry(prompt="a lake", used_at="2025-11-23T12:01:00Z", uses=1),
    ]


def test_the_next_session_finds_it_all_and_adds_to_it(history: PromptHistory) -> None:
    filled(history, "one\nline two\ttab", "ünïcode \u2028 \U0001f3a8", "a hill")
    again = PromptHistory(history.path)
    assert again.entries() == history.entries()
    run(again, "a hill", "fog", NOON + timedelta(hours=1))
    assert texts(history.entries())[0] == "a hill"
    assert history.entries()[0].negative_prompt == "fog"
    assert len(history.entries()) == 4


def test_a_prompt_is_there_at_once_and_filed_once_with_its_uses(history: PromptHistory) -> None:
    filled(history, "one")
    for minute in (1, 2, 3):
        history.add("two", now=NOON + timedelta(minutes=minute))
        assert texts(history.entries()) == ["two", "one"]
    assert history.path.read_bytes().count(b"\n") == 1
    assert (history.file(), history.file()) == (None, None)
    assert history.path.read_bytes().count(b"\n") == 4
    assert (history.entries()[0].uses, texts(PromptHistory(history.path).entries())) == (3, ["two", "one"])
    run(PromptHistory(history.path), "two")
    assert history.entries()[0].uses == 4


def test_adding_waits_for_no_disk(history: PromptHistory) -> None:
    filled(history, "one")
    os.mkfifo(held := history.path.with_name("held"))
    held.replace(history.path)  # opening it to read waits until somebody writes
    reader = threading.Thread(target=history.entries, daemon=True)
    reader.start()
    history.add("two")
    assert reader.is_alive()
    history.path.write_bytes(b"")
    reader.join(30)
    assert not reader.is_alive()


def test_times_are_kept_in_utc(history: PromptHistory) -> None:
    run(history, "a hill", now=datetime(2025, 11, 23, 1, tzinfo=timezone(timedelta(hours=2))))
    assert history.entries()[0].used_at == "2025-11-22T23:00:00Z"


def test_a_damaged_line_costs_itself_only(history: PromptHistory) -> None:
    filled(history, "first")
    with history.path.open("ab") as file:
        file.write(b"\n\xff\xfe\n[]\n{}\n3\n" + b"[" * 100_000 + b'\n{"prompt": 3}\n{"prompt": "kept"}\n')
        file.write(b'{"prompt": "odd", "negative_prompt": [], "when": {}, "uses": "many"}\n{"prompt": "cut o')
    assert set(texts(history.entries())) == {"first", "kept", "odd"}
    filled(history, "after the cut")
    assert set(texts(PromptHistory(history.path).entries())) == {"first", "kept", "odd", "after the cut"}


def test_a_line_that_another_program_is_just_writing_is_read_once_it_is_whole(history: PromptHistory) -> None:
    filled(history, "one")
    with history.path.open("ab", buffering=0) as file:
        file.write(b'{"prompt": "tw')
        assert texts(history.entries()) == ["one"]
        file.write(b'o"}\n')
        assert texts(history.entries()) == ["two", "one"]


def test_what_a_terminal_obeys_does_not_come_out_of_the_file(history: PromptHistory) -> None:
    history.path.parent.mkdir()
    history.path.write_text(json.dumps({"prompt": "a\x1b[31m hill", "negative_prompt": "\x9b", "when": "\x07"}) + "\n")
    assert history.entries() == [Entry(prompt="a\ufffd[31m hill", negative_prompt="\ufffd", used_at="\ufffd", uses=1)]


def test_a_clock_that_was_set_back_does_not_bury_the_last_prompt(history: PromptHistory) -> None:
    run(history, "tomorrow", now=NOON + timedelta(days=1))
    run(history, "today", now=NOON)
    assert texts(history.entries()) == ["today", "tomorrow"]


def test_searching_wants_every_word_in_any_order_and_case(history: PromptHistory) -> None:
    filled(history, "A red Hill at dawn", "a lake", "dawn over the hill")
    entries = history.entries()
    assert texts(holding(entries, "HILL dawn")) == ["dawn over the hill", "A red Hill at dawn"]
    assert texts(holding(entries, "lake hill")) == []
    assert len(holding(entries, " ")) == 3


def test_going_back_keeps_the_draft_and_gives_it_back_at_the_end(history: PromptHistory) -> None:
    filled(history, "one", "two")
    draft = history.older("draft", "fog")
    assert draft is not None and draft.prompt == "two"
    assert [entry and entry.prompt for entry in (history.older("two"), history.older("one"))] == ["one", None]
    assert [entry and entry.prompt for entry in (history.newer("one"), history.newer("two"))] == ["two", "draft"]
    assert history.newer("draft", "fog") is None
    back = history.older("draft", "fog")
    assert back is not None and back.prompt == "two"
    assert history.newer("two") == Entry(prompt="draft", negative_prompt="fog")


def test_what_is_changed_on_the_way_is_found_again_until_a_prompt_is_run(history: PromptHistory) -> None:
    filled(history, "one", "two")
    assert history.older("draft") == history.entries()[0]
    assert history.older("two, changed") == history.entries()[1]
    assert history.newer("one") == Entry(prompt="two, changed")
    filled(history, "three")
    assert [entry and entry.prompt for entry in (history.older(""), history.older("three"))] == ["three", "two"]


def test_the_prompt_that_stands_in_the_pane_is_not_the_first_one_back(history: PromptHistory) -> None:
    filled(history, "one", "two")
    entry = history.older("two")
    assert entry is not None and entry.prompt == "one"


def test_a_walk_is_not_moved_by_what_another_program_runs(history: PromptHistory) -> None:
    filled(history, "one", "two", "three")
    history.older("")
    run(PromptHistory(history.path), "elsewhere")
    entry = history.older("three")
    assert entry is not None and entry.prompt == "two"
    history.leave()
    entry = history.older("")
    assert entry is not None and entry.prompt == "elsewhere"


def test_a_prompt_of_a_megabyte_stays_in_this_session_and_out_of_the_file(history: PromptHistory) -> None:
    filled(history, "one")
    size = history.path.stat().st_size
    reason = run(history, "x" * 2**20, now=NOON + timedelta(minutes=1))
    assert reason is not None and "65536 at most" in reason
    assert history.path.stat().st_size == size
    filled(history, "two")
    run(history, "three", now=NOON + timedelta(minutes=2))
    assert [text[:5] for text in texts(history.entries())] == ["three", "xxxxx", "two", "one"]


def test_a_folder_that_cannot_be_written_costs_the_file_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    history = PromptHistory(tmp_path / "file" / "prompts.jsonl")
    reason = run(history, "a hill")
    assert reason is not None and ("Not a directory" in reason or "File exists" in reason)
    assert texts(history.entries()) == ["a hill"]


def test_a_disk_that_fills_up_in_a_line_says_so(history: PromptHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(history, "one")
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda handle, data: write(handle, data[:5]))
        reason = run(history, "two", now=NOON + timedelta(minutes=1))
    assert reason is not None and os.strerror(errno.ENOSPC) in reason
    run(history, "three", now=NOON + timedelta(minutes=2))
    assert texts(history.entries()) == ["three", "two", "one"]
    assert texts(PromptHistory(history.path).entries()) == ["three", "one"]


def test_a_long_file_is_written_anew_with_its_newest_prompts_once(
    history: PromptHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompts, "MAX_ENTRIES", 4)
    monkeypatch.setattr(prompts, "MAX_LINES", 6)
    other = PromptHistory(history.path)
    filled(history, "often", "often", "a", "b", "c", "often")
    assert other.entries()[0].uses == 3
    assert len(history.path.read_text().splitlines()) == 6
    run(history, "d", now=NOON + timedelta(minutes=9))
    assert len(history.path.read_text().splitlines()) == 4
    for reader in (history, other, PromptHistory(history.path)):
        assert texts(reader.entries()) == ["d", "often", "c", "b"]
        assert reader.entries()[1].uses == 3
    assert [path.name for path in history.path.parent.iterdir()] == ["prompts.jsonl"]


def test_a_file_of_too_many_bytes_is_cut_to_three_quarters(
    history: PromptHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompts, "MAX_BYTES", 4000)
    sizes = []
    for number in range(60):
        run(history, f"{number:03} " + "x" * 100, now=NOON + timedelta(minutes=number))
        sizes.append(history.path.stat().st_size)
    after = [size for before, size in itertools.pairwise(sizes) if size < before]
    assert after and all(2500 < size <= 3000 for size in after)
    assert max(sizes) <= 4000
    kept = texts(history.entries())
    assert kept[0].startswith("059")
    assert kept == sorted(kept, reverse=True)


def test_a_file_that_somebody_made_huge_is_read_from_its_end(
    history: PromptHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompts, "MAX_BYTES", 1000)
    history.path.parent.mkdir()
    lines = [
        json.dumps({"prompt": f"{number}", "when": f"2025-01-01T00:00:{number % 60:02}Z"}) for number in range(600)
    ]
    history.path.write_text("\n".join(lines) + "\n")
    assert texts(history.entries())[0].endswith("599") and len(history.entries()) < 60
    run(history, "one more")
    assert history.path.stat().st_size <= 1000


WRITER = """
import sys
from pathlib import Path
from flux_tui import prompts
prompts.MAX_LINES = 150
history = prompts.PromptHistory(Path(sys.argv[1]))
for number in range(100):
    history.add(f"{sys.argv[2]} {number} " + "x" * 3000)
    assert history.file() is None
"""


def test_programs_that_add_at_once_lose_no_prompt_even_while_the_file_is_written_anew(history: PromptHistory) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(history.path), name]) for name in "abc"]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    found = {entry.prompt[:-3001] for entry in history.entries()}
    assert found == {f"{name} {number}" for name in "abc" for number in range(100)}
    for line in history.path.read_text().splitlines():
        json.loads(line)

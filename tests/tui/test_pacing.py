"""Previews over simulated links: the backlog stays bounded, a fast link is used in full, and nothing flaps."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

import pytest

from flux_tui.terminal.pacing import SIZES, Pacer

TICK_S = 0.01
CELL_BYTES = 41  # of a half-block in true colour


class Link:
    """Takes `bytes_per_s`; a reply arrives `rtt_s` after the preview before it has been taken. `mute` replies never."""

    def __init__(self, pacer: Pacer, bytes_per_s: float, rtt_s: float = 0.0, *, mute: bool = False) -> None:
        self.pacer, self.bytes_per_s, self.rtt_s, self.mute = pacer, bytes_per_s, rtt_s, mute
        self.now_s = self.free_at_s = 0.0
        self.replies: deque[float] = deque()
        self.drawn: list[tuple[float, int, tuple[int, int]]] = []  # when, how many bytes, in which size
        self.worst_wait_s = 0.0  # that a key's echo had, behind previews

    def run(self, seconds: float, *, stalled: bool = False) -> Link:
        """Let the time pass, with a new preview always at hand."""
        self.worst_wait_s = 0.0
        for _ in range(round(seconds / TICK_S)):
            self.now_s += TICK_S
            if stalled:
                self.free_at_s = max(self.free_at_s, self.now_s) + TICK_S
                self.replies = deque(at_s + TICK_S for at_s in self.replies)
            while self.replies and self.replies[0] <= self.now_s:
                self.replies.popleft()
                self.pacer.acknowledged(self.now_s)
            if self.pacer.may_draw(self.now_s):
                self._draw()
            self.worst_wait_s = max(self.worst_wait_s, self.free_at_s - self.now_s)
        return self

    def _draw(self) -> None:
        columns, lines = size = self.pacer.columns_lines()
        n_bytes = columns * lines * CELL_BYTES
        self.pacer.drawn(self.now_s, n_bytes)
        self.drawn.append((self.now_s, n_bytes, size))
        self.free_at_s = max(self.free_at_s, self.now_s) + n_bytes / self.bytes_per_s
        if self.pacer.wants_reply and not self.mute:
            self.replies.append(self.free_at_s + self.rtt_s)

    def since(self, at_s: float) -> list[tuple[float, int, tuple[int, int]]]:
        return [preview for preview in self.drawn if preview[0] > at_s]

    def fps(self, seconds: float) -> float:
        """In the last so many seconds."""
        return len(self.since(self.now_s - seconds)) / seconds

    def changes(self) -> int:
        """How often the size changed."""
        sizes = [size for _, _, size in self.drawn]
        return sum(a != b for a, b in pairwise(sizes))


def test_a_terminal_on_this_machine_soon_gets_the_full_rate_and_the_largest_size() -> None:
    link = Link(Pacer(rtt_s=0.002), 100e6, 0.002).run(5)
    assert 7.5 <= link.fps(4) <= 8.0
    assert [size for _, _, size in link.drawn[: len(SIZES)]] == [*reversed(SIZES)]
    assert {size for _, _, size in link.since(1.0)} == {SIZES[0]}


def test_a_fast_link_far_away_grows_to_the_largest_size_with_two_in_flight() -> None:
    link = Link(Pacer(rtt_s=0.2), 10e6, 0.2).run(10)
    assert link.drawn[0][2] == SIZES[-1] and link.drawn[-1][2] == SIZES[0]
    assert 7.0 <= link.fps(4) <= 8.0
    assert link.changes() == len(SIZES) - 1


def test_one_preview_is_in_flight_when_the_terminal_is_near() -> None:
    pacer = Pacer(rtt_s=0.1)
    pacer.drawn(0.0, 1000)
    assert not pacer.may_draw(0.9)
    pacer.acknowledged(0.9)
    assert pacer.may_draw(0.9)


def test_two_previews_are_in_flight_when_it_is_far() -> None:
    pacer = Pacer(rtt_s=0.3)
    pacer.drawn(0.0, 1000)
    assert pacer.may_draw(0.2)
    pacer.drawn(0.2, 1000)
    assert not pacer.may_draw(0.4)
    pacer.acknowledged(0.4)
    assert pacer.may_draw(0.4)


def test_a_round_trip_that_turns_out_shorter_counts() -> None:
    pacer = Pacer(rtt_s=0.3)  # asked while the machine was busy
    pacer.drawn(0.0, 1000)
    pacer.acknowledged(0.05)
    pacer.drawn(0.2, 1000)
    assert not pacer.may_draw(0.4)


@pytest.mark.parametrize("rtt_s", [0.0, 0.03, 0.12])
def test_at_100_kb_a_second_a_key_waits_less_than_150_ms(rtt_s: float) -> None:
    link = Link(Pacer(rtt_s=rtt_s), 100e3, rtt_s).run(3)
    assert link.run(20).worst_wait_s < 0.15
    assert link.fps(10) >= 3.0
    assert link.drawn[-1][2] == SIZES[3]


@pytest.mark.parametrize("rtt_s", [None, 0.0, 0.05, 0.3])
@pytest.mark.parametrize("bytes_per_s", [10e3, 30e3, 100e3, 300e3, 1e6, 10e6])
def test_the_backlog_is_never_more_than_what_may_be_in_flight(bytes_per_s: float, rtt_s: float | None) -> None:
    link = Link(Pacer(rtt_s=rtt_s), bytes_per_s, rtt_s or 0.05).run(10)
    in_flight = 2 if rtt_s == 0.3 else 1
    settled = link.run(20)
    largest = max(n_bytes for _, n_bytes, _ in settled.since(10))
    assert settled.worst_wait_s <= in_flight * largest / bytes_per_s + TICK_S
    assert link.fps(10) > 0.5


@pytest.mark.parametrize("bytes_per_s", [80e3, 100e3, 160e3, 175e3, 190e3, 340e3, 390e3, 420e3, 690e3, 900e3])
def test_the_size_settles_and_does_not_flap(bytes_per_s: float) -> None:
    link = Link(Pacer(rtt_s=0.05), bytes_per_s, 0.05).run(30)
    assert link.changes() <= len(SIZES) - 1  # from the smallest to the largest, never back


def test_the_size_follows_a_link_that_gets_better_and_worse() -> None:
    link = Link(Pacer(rtt_s=0.05), 50e3, 0.05).run(10)
    assert link.drawn[-1][2] == SIZES[3]
    link.bytes_per_s = 5e6
    assert link.run(20).drawn[-1][2] == SIZES[0]
    link.bytes_per_s = 50e3
    assert link.run(10).drawn[-1][2] == SIZES[3]


def test_a_stalled_link_gets_nothing_more_and_recovers() -> None:
    link = Link(Pacer(rtt_s=0.05), 1e6, 0.05).run(5)
    stalled_at_s = link.now_s
    link.run(8, stalled=True)
    assert len(link.since(stalled_at_s)) <= 1
    link.run(5)
    assert link.fps(3) > 3


def test_a_reply_that_got_lost_is_waited_for_no_longer_than_ten_seconds() -> None:
    link = Link(Pacer(rtt_s=0.05), 1e6, 0.05).run(5)
    link.replies.clear()
    assert len(link.run(9).since(5.2)) == 0
    link.run(5)
    assert link.fps(2) > 3


def test_a_terminal_that_never_replies_gets_a_budget_after_a_second() -> None:
    link = Link(Pacer(), 1e9, mute=True).run(31)
    assert len(link.since(0)) > 1 and len([preview for preview in link.drawn if preview[0] < 1.0]) == 1
    assert 45e3 < sum(n_bytes for _, n_bytes, _ in link.since(1.0)) / 30 <= 61e3
    assert link.drawn[-1][2] == (32, 16) and 2.5 < link.fps(10) < 3.1


def test_a_terminal_that_has_answered_before_is_given_ten_seconds_for_its_first_reply() -> None:
    link = Link(Pacer(rtt_s=0.05), 1e9, mute=True).run(9.9)
    assert len(link.drawn) == 1
    link.run(10)
    assert 2.5 < link.fps(9) < 3.1


def test_a_slow_terminal_taken_for_mute_is_believed_again_when_it_replies() -> None:
    link = Link(Pacer(), 8e3, 0.05).run(60)
    assert link.worst_wait_s < 15
    assert link.run(30).worst_wait_s <= 24 * 12 * CELL_BYTES / 8e3 + TICK_S


def test_tmux_gets_the_budget_from_the_start_and_is_asked_for_no_reply() -> None:
    pacer = Pacer(rtt_s=0.001, blind=True)
    assert not pacer.wants_reply and pacer.columns_lines() == (32, 16)
    link = Link(pacer, 100e3).run(20)
    assert link.worst_wait_s < 0.25
    assert sum(n_bytes for _, n_bytes, _ in link.drawn) <= 61e3 * 20 + 32 * 16 * CELL_BYTES


def test_the_budget_can_be_set() -> None:
    assert Pacer(blind=True, bytes_per_s=250e3).columns_lines() == SIZES[0]
    assert Pacer(blind=True, bytes_per_s=20e3).columns_lines() == SIZES[3]
    link = Link(Pacer(blind=True, bytes_per_s=20e3), 1e9).run(20)
    assert sum(n_bytes for _, n_bytes, _ in link.drawn) <= 21e3 * 20 + 24 * 12 * CELL_BYTES


def test_low_bandwidth_stays_at_the_smallest_size_once_a_second() -> None:
    link = Link(Pacer(rtt_s=0.001, low_bandwidth=True), 100e6, 0.001).run(20)
    assert {size for _, _, size in link.drawn} == {SIZES[3]}
    assert 0.9 <= link.fps(10) <= 1.0
    assert Pacer(blind=True, low_bandwidth=True).columns_lines() == SIZES[3]


@pytest.mark.parametrize(
    "how", [{"rtt_s": 0.002}, {"rtt_s": 0.2}, {"blind": True}, {"blind": True, "bytes_per_s": 20e3}]
)
def test_a_still_is_as_large_as_it_can_be_where_nothing_says_that_the_link_is_thin(how: dict[str, float]) -> None:
    assert Pacer(**how).still_columns_lines() is None  # type: ignore[arg-type]


@pytest.mark.parametrize("blind", [True, False])
def test_with_low_bandwidth_a_still_is_small(blind: bool) -> None:
    assert Pacer(rtt_s=0.002, blind=blind, low_bandwidth=True).still_columns_lines() == (48, 24)


@pytest.mark.parametrize(
    ("bytes_per_s", "still"), [(10e3, (48, 24)), (100e3, (48, 24)), (180e3, (64, 32)), (300e3, (96, 48)), (1e6, None)]
)
def test_a_still_holds_a_link_that_was_measured_for_about_half_a_second(
    bytes_per_s: float, still: tuple[int, int] | None
) -> None:
    link = Link(Pacer(rtt_s=0.05), bytes_per_s, 0.05).run(10)
    assert link.pacer.still_columns_lines() == still


def test_small_previews_say_nothing_of_the_link_and_a_large_still_does() -> None:
    pacer = Pacer(rtt_s=0.05)
    pacer.drawn(0.0, 2000)
    pacer.acknowledged(0.1)
    assert pacer.still_columns_lines() is None
    pacer.sent(1.0, 700_000)
    pacer.acknowledged(8.0)
    assert pacer.still_columns_lines() == (48, 24)


def test_a_hiccup_makes_no_still_small() -> None:
    pacer = Pacer(rtt_s=0.05)
    for drawn_at_s, took_s in enumerate((0.06, 0.07, 0.06, 0.4)):
        pacer.drawn(drawn_at_s, 20_000)
        pacer.acknowledged(drawn_at_s + took_s)
    assert pacer.still_columns_lines() is None


def test_a_large_still_takes_the_previews_of_the_next_picture_for_five_seconds_at_the_most() -> None:
    pacer = Pacer(blind=True)
    pacer.sent(0.0, 1_500_000)
    assert not pacer.may_draw(4.9) and pacer.may_draw(5.1)


def test_a_terminal_that_owes_a_reply_for_two_seconds_is_stuck_until_it_replies() -> None:
    pacer = Pacer(rtt_s=0.05)
    assert not pacer.is_stuck(0.0)
    pacer.drawn(0.0, 1000)
    assert not pacer.is_stuck(1.9) and pacer.is_stuck(2.1)
    pacer.acknowledged(3.0)
    assert not pacer.is_stuck(3.0)


def test_a_reply_that_got_lost_leaves_nobody_stuck() -> None:
    pacer = Pacer(rtt_s=0.05)
    pacer.drawn(0.0, 1000)
    assert pacer.is_stuck(9.9) and not pacer.is_stuck(10.1)


@pytest.mark.parametrize("pacer", [Pacer(), Pacer(blind=True)])
def test_a_terminal_that_never_replies_is_never_stuck(pacer: Pacer) -> None:
    pacer.drawn(0.0, 1000)
    pacer.may_draw(1.5)
    assert not pacer.is_stuck(3.0)


@pytest.mark.parametrize("how", [{"blind": True}, {"rtt_s": 0.05}])
def test_previews_wait_for_a_still_and_their_size_does_not_follow_it(how: dict[str, float]) -> None:
    pacer = Pacer(**how)  # type: ignore[arg-type]
    size = pacer.columns_lines()
    pacer.sent(0.0, 120_000)
    assert not pacer.may_draw(1.9) and pacer.columns_lines() == size
    pacer.acknowledged(2.0)
    assert pacer.may_draw(2.01)


def test_what_is_drawn_regardless_is_paid_for() -> None:
    pacer = Pacer(blind=True)
    pacer.drawn(0.0, 30_000)
    pacer.drawn(0.1, 30_000)
    assert not pacer.may_draw(0.9) and pacer.may_draw(1.01)


@pytest.mark.parametrize("pacer", [Pacer(), Pacer(blind=True), Pacer(low_bandwidth=True)])
def test_the_last_step_is_always_drawn(pacer: Pacer) -> None:
    pacer.drawn(0.0, 83_000)
    assert not pacer.may_draw(0.01) and pacer.may_draw(0.01, last=True)


def test_the_rate_has_a_cap() -> None:
    link = Link(Pacer(rtt_s=0.001, max_fps=3), 100e6, 0.001).run(10)
    assert 2.8 <= link.fps(8) <= 3.0


def test_a_reply_nobody_asked_for_changes_nothing() -> None:
    pacer = Pacer(rtt_s=0.05)
    pacer.acknowledged(1.0)
    assert pacer.may_draw(1.0) and pacer.columns_lines() == SIZES[-1]

"""How often and how large previews are drawn, so that the link to the terminal never carries a backlog of them.

Textual queues what it paints and drops nothing: at 10 previews a second over 100 KB/s, a key came back after 3.6 s. So
the app draws only when this says so, and writes `REQUEST` after each preview; the terminal's reply says that it has
drawn all before. Pure arithmetic over a clock that is handed in, in seconds.
"""

from __future__ import annotations

from collections import deque

REQUEST = "\x1b[6n"  # report the cursor's position: the one reply that Textual takes for what it is

SIZES = ((64, 32), (48, 24), (32, 16), (24, 12))  # columns and lines
CELL_BYTES = 41.0  # of a half-block in true colour, until one was drawn and counted

FAR_S = 0.150  # a longer round trip would keep one preview at a time below 6 a second
NEAR_S = 0.010  # a shorter one is this machine or this room
NO_REPLY_S = 1.0
STUCK_S = 2.0  # what is drawn after so long a silence only makes the backlog longer
LOST_S = 10.0  # but a terminal that has ever answered anything is taken to be slow until then
SLOW_S = 0.12  # a preview that occupies the link for longer makes keys feel sticky
QUICK_S = SLOW_S / 2  # a larger size has to fit into this, so that it does not turn out to be slow
QUICK_REPLIES = 5  # in a row, before the size grows
BUDGET_S = 0.4  # one preview's share of a link that is not measured
STILL_S = 0.5  # a finished picture may occupy the link for so long, once
PAUSE_S = 5.0  # the budget is a guess: for 1 MB of pixels it would take the next picture's previews for 17 s
MEASURED = 8  # the best of so many counts
TELLING_BYTES = 8000  # less tells of hiccups: kitty's previews of 2 KB come back after 20 ms from this very machine
FRAME_S = 0.03  # from when a picture is drawn to when it is on its way, at the most, on a quiet machine


class Pacer:
    """Decides about previews.

    A terminal that replies gets the next preview when it has replied to the last (to the last but one, when it is far),
    in the largest size that holds the link for less than 0.12 s. One that does not, and tmux, which replies itself
    whatever is behind it, get a budget of bytes.

    Args:
        rtt_s: the round trip to the terminal when nothing else was under way; None if unknown.
        blind: a reply would mean nothing: tmux is in between.
        low_bandwidth: the smallest size, once a second, and so it stays.
        max_fps: previews a second at the most.
        bytes_per_s: the budget.
    """

    def __init__(
        self,
        *,
        rtt_s: float | None = None,
        blind: bool = False,
        low_bandwidth: bool = False,
        max_fps: float = 8.0,
        bytes_per_s: float = 60_000.0,
    ) -> None:
        self._blind = blind
        self._fixed = low_bandwidth
        self._interval_s = 1.0 if low_bandwidth else 1 / max_fps
        self._budget_s_per_byte = 1 / bytes_per_s
        self._rtt_s = rtt_s
        # When drawn, how many bytes; a terminal that never replies has it full.
        self._in_flight: deque[tuple[float, int]] = deque(maxlen=100)
        self._has_replied = False
        self._has_given_up = False
        self._next_at_s = self._paid_at_s = self._replied_at_s = float("-inf")
        self._s_per_byte: float | None = None
        self._measured_s_per_byte: deque[float] = deque(maxlen=MEASURED)
        self._cell_bytes = CELL_BYTES
        self._quick = 0
        self._size = len(SIZES) - 1  # a thin link would carry the first large one for half a second
        self._was_slow = False  # until it was, the size grows at every reply
        if blind:
            self._fit_budget()

    def columns_lines(self) -> tuple[int, int]:
        """The most (columns, lines) that the next preview may take."""
        return SIZES[self._size]

    def still_columns_lines(self) -> tuple[int, int] | None:
        """The most (columns, lines) that a finished picture may take; None where nothing says that the link is thin.

        It is sent once, so it may hold a link that was measured for half a second, and one that was not for longer.
        """
        size = self._size if self._fixed else self._still_size()
        columns, lines = SIZES[size]
        return (2 * columns, 2 * lines) if size else None

    @property
    def wants_reply(self) -> bool:
        """Whether `REQUEST` is to be written after each preview."""
        return not self._blind

    def may_draw(self, now_s: float, *, last: bool = False) -> bool:
        """Whether a preview may be drawn now. The last step's always may."""
        if last:
            return True
        if now_s < self._next_at_s:
            return False
        self._notice_silence(now_s)
        if self._blind or self._has_given_up:
            return now_s >= self._paid_at_s
        return len(self._in_flight) < self._window

    def is_stuck(self, now_s: float) -> bool:
        """Whether the terminal has owed a reply for over 2 s, so that nothing that can wait should be drawn."""
        waits = bool(self._in_flight) and not self._has_given_up
        return waits and STUCK_S < self._silent_s(now_s) < LOST_S

    def drawn(self, now_s: float, n_bytes: int) -> None:
        """A preview of so many bytes was drawn, in the size that `columns_lines` said."""
        columns, lines = SIZES[self._size]
        self._cell_bytes = n_bytes / (columns * lines)
        self.sent(now_s, n_bytes)

    def sent(self, now_s: float, n_bytes: int) -> None:
        """So many bytes of a finished picture went the same way: previews wait until they are through."""
        self._next_at_s = now_s + self._interval_s
        self._paid_at_s = max(now_s, self._paid_at_s) + min(n_bytes * self._budget_s_per_byte, PAUSE_S)
        if self.wants_reply:
            self._in_flight.append((now_s, n_bytes))
        if self._blind or self._has_given_up:
            self._fit_budget()

    def acknowledged(self, now_s: float) -> None:
        """The terminal replied to a `REQUEST`."""
        self._has_replied, self._has_given_up = True, False  # if it was given up, it was slow and not mute
        if self._in_flight:
            self._measure(now_s, *self._in_flight.popleft())
            self._fit_link()
        self._replied_at_s = now_s

    @property
    def _window(self) -> int:
        return 2 if self._rtt_s is not None and self._rtt_s > FAR_S else 1

    def _notice_silence(self, now_s: float) -> None:
        if self._has_given_up or not self._in_flight:
            return
        silent_s = self._silent_s(now_s)
        if self._has_replied and silent_s > LOST_S:
            self._in_flight.clear()
        elif not self._has_replied and silent_s > (NO_REPLY_S if self._rtt_s is None else LOST_S):
            self._has_given_up = True
            self._fit_budget()

    def _silent_s(self, now_s: float) -> float:
        return now_s - max(self._in_flight[0][0], self._replied_at_s)

    def _measure(self, now_s: float, drawn_at_s: float, n_bytes: int) -> None:
        """The link was busy with this preview from when it, or the reply to the one before, had come, until now."""
        if self._rtt_s is not None:
            self._rtt_s = min(self._rtt_s, now_s - drawn_at_s)
        busy_s = now_s - max(drawn_at_s + (self._rtt_s or 0.0), self._replied_at_s)
        s_per_byte = max(busy_s, 0.0) / max(n_bytes, 1)
        if n_bytes >= TELLING_BYTES:
            self._measured_s_per_byte.append(max(busy_s - FRAME_S, 0.0) / n_bytes)
        self._s_per_byte = s_per_byte if self._s_per_byte is None else (self._s_per_byte + s_per_byte) / 2

    def _fit_link(self) -> None:
        if self._fixed or self._s_per_byte is None:
            return
        while self._size < len(SIZES) - 1 and self._seconds(self._size, self._s_per_byte) > SLOW_S:
            self._size += 1
            self._quick, self._was_slow = 0, True
        quick_s, replies = (QUICK_S, QUICK_REPLIES) if self._was_slow else (SLOW_S, 1)
        fits = self._size > 0 and self._seconds(self._size - 1, self._s_per_byte) < quick_s
        self._quick = self._quick + 1 if fits else 0
        if self._quick >= replies:
            self._size -= 1
            self._quick = 0

    def _fit_budget(self) -> None:
        if not self._fixed:
            sizes = range(len(SIZES))
            fitting = (size for size in sizes if self._seconds(size, self._budget_s_per_byte) <= BUDGET_S)
            self._size = next(fitting, sizes[-1])

    def _still_size(self) -> int:
        """Of four times the cells; what a cell takes as a half-block holds for pixels that are sent beside the text."""
        if self._blind or not self._measured_s_per_byte:
            return 0
        bytes_left = STILL_S / max(min(self._measured_s_per_byte), 1e-9)
        fitting = (size for size, (columns, lines) in enumerate(SIZES) if 4 * columns * lines * CELL_BYTES < bytes_left)
        return next(fitting, len(SIZES) - 1)

    def _seconds(self, size: int, s_per_byte: float) -> float:
        """How long a preview of that size would occupy the link."""
        columns, lines = SIZES[size]
        return columns * lines * self._cell_bytes * s_per_byte

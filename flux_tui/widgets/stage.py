"""The stage: the picture as it sharpens, or a message in its place; below it two lines that say what it is, or how far.

Previews wait in a box of one: a newer one takes the older one's place, and the pacer says when the link to the terminal
has room for it.
"""

from __future__ import annotations

import time
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from flux_engine.request import RGBImage
from flux_tui.glyphs import Glyphs, glyphs
from flux_tui.progress import JobProgress, Learned, clock_text, pace_text
from flux_tui.terminal.canvas import Canvas
from flux_tui.terminal.pacing import CELL_BYTES, REQUEST, SIZES, Pacer
from flux_tui.widgets.picture_keys import PICTURE_KEYS
from flux_tui.widgets.picture_view import PictureView

WELCOME = "Say in the prompt what to paint,\nthen press F5."

GAP = "   "
UNSEEN = (1000, 100)  # columns and lines of a pane that has none yet; it is told when it has


class Stage(Vertical, can_focus=True):
    """The picture pane.

    Args:
        canvas: how pictures get onto the terminal.
        pacer: when previews may.
        signs: the glyphs of bars.
    """

    BINDINGS: ClassVar = [*PICTURE_KEYS]

    DEFAULT_CSS = """
    Stage {
        border: round $foreground 25%;
        border-title-color: $text-muted;
        padding: 0 1;
        &:focus { border: round $accent; border-title-color: $text-accent; }
        .line {
            height: 1; width: 1fr; text-align: center; color: $text-muted; text-wrap: nowrap; text-overflow: ellipsis;
        }
        #notice { height: 1fr; width: 1fr; content-align: center middle; text-align: center; color: $text-muted; }
        &.-notice PictureView { display: none; }
        &.-picture #notice { display: none; }
        &.-fault #notice { color: $foreground; }
    }
    """

    def __init__(
        self,
        canvas: Canvas | None = None,
        pacer: Pacer | None = None,
        signs: Glyphs | None = None,
        *,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self.border_title = "Picture"
        self.pacer = pacer or Pacer()
        self._signs = signs or glyphs(ascii=False)
        self._facts: tuple[str, ...] = ()
        self._fault = "", "", ""
        self._next: tuple[RGBImage, bool] | None = None  # the latest preview, not drawn yet, and whether it is the last
        self.picture = PictureView(canvas, id="picture-view")
        self._notice = Static(id="notice", markup=False)
        self._caption = Static(id="caption", classes="line", markup=False)
        self._bar = Static(id="bar", classes="line", markup=False)

    def compose(self) -> ComposeResult:
        yield self.picture
        yield self._notice
        yield self._caption
        yield self._bar

    def on_mount(self) -> None:
        self.say(WELCOME)

    @property
    def image(self) -> RGBImage | None:
        """The picture on show; None when there is a message instead."""
        return self.picture.image

    @property
    def text(self) -> str:
        """What the pane says in words: the message, if there is one, and the lines below."""
        notice = [str(self._notice.content)] if self.has_class("-notice") else []
        return "\n".join([*notice, str(self._caption.content), str(self._bar.content)]).strip()

    def show(self, image: RGBImage, facts: tuple[str, ...]) -> None:
        """Show a finished picture, and below it as many of the facts as there is room for."""
        self._next = None
        self._turn("-picture")
        self._count(self._draw(image, self.pacer.still_columns_lines()))
        self.caption(facts)

    def on_picture_view_sent(self, message: PictureView.Sent) -> None:
        message.stop()
        self._count(message.n_bytes)

    def _count(self, n_bytes: int) -> None:
        """Have previews wait until a still, which waits for nothing, is through."""
        if n_bytes and self._has_room:
            self.pacer.sent(time.monotonic(), n_bytes)
            self._ask_for_reply()

    def caption(self, facts: tuple[str, ...]) -> None:
        """Say other things about the picture on show."""
        _put(self._bar, "")
        self._facts = facts
        self._fit_caption()

    def on_resize(self) -> None:
        self._fit_caption()
        self._fit_fault()

    def say(self, message: str) -> None:
        """Show words in place of a picture."""
        self._next = None
        self._turn("-notice")
        self._facts = ()
        self.picture.show(None)
        _put(self._caption, "")
        _put(self._bar, "")
        _put(self._notice, message)

    def say_fault(self, title: str, message: str, hint: str) -> None:
        """Show what went wrong, as far as there is room, and what to do next."""
        self.say("")
        self.add_class("-fault")
        self._fault = title, message, hint
        self._fit_fault()

    def _fit_fault(self) -> None:
        if self.has_class("-fault"):
            width, lines = self.content_size or UNSEEN
            _put(self._notice, fault_content(*self._fault, width, lines - 2, self._signs.ellipsis))

    # While a picture is being painted

    def preview(self, image: RGBImage, *, last: bool) -> None:
        """Show how the picture is coming on, as soon as the link has room; the last step is always shown."""
        self._next = (image, last)
        self.draw_preview()

    @property
    def has_waiting(self) -> bool:
        """Whether a preview waits to be drawn."""
        return self._next is not None

    def draw_preview(self) -> None:
        """Draw the preview that waits, if one does, the pane is to be seen, and the pacer lets it."""
        now_s = time.monotonic()
        if self._next is None or not self._has_room or not self.pacer.may_draw(now_s, last=self._next[1]):
            return
        (image, _), self._next = self._next, None
        limit = self.pacer.columns_lines()
        self._turn("-picture")
        self.pacer.drawn(now_s, self._draw(image, None if limit == SIZES[0] else limit, preview=True))
        self._ask_for_reply()

    def _draw(self, image: RGBImage, limit: tuple[int, int] | None, *, preview: bool = False) -> int:
        """Show a picture; about how many bytes that sends.

        Where words stood until now, it has no size yet: taken for 0 bytes, the link would seem very slow.
        """
        n_bytes = self.picture.show(image, limit, preview=preview)
        columns, lines = limit or SIZES[0]
        room = self.content_size
        return n_bytes if self.picture.size else round(min(columns, room.width) * min(lines, room.height) * CELL_BYTES)

    @property
    def _has_room(self) -> bool:
        columns, lines = self.content_size
        return self.is_on_screen and columns > 0 and lines > 2 and not self.picture.is_held

    def _ask_for_reply(self) -> None:
        """Ask the terminal to say when it has drawn this.

        Not by a message: Textual stops one that was posted from a timer of the screen, on its way through that screen.
        """
        if self.pacer.wants_reply:
            self.call_after_refresh(self.picture.canvas.write, REQUEST)

    def show_progress(self, progress: JobProgress, now_s: float, learned: Learned, *, cancelling: bool = False) -> None:
        """Show how far a job is: words in one line, a bar in the next; not while the terminal owes a reply too long."""
        if self.pacer.is_stuck(time.monotonic()):
            return
        self._facts = ()
        width = self.content_size.width
        _put(self._caption, progress_content(progress, now_s, learned, width, cancelling))
        _put(self._bar, bar_content(progress.done, width, self._signs))

    def clear_progress(self) -> None:
        """The job is over."""
        self._next = None
        _put(self._caption, "")
        _put(self._bar, "")

    def _fit_caption(self) -> None:
        if not self._facts:
            return
        width = self.content_size.width
        first = _fitting(self._facts, width)
        rest = self._facts[first:]
        _put(self._caption, GAP.join(self._facts[:first]))
        _put(self._bar, GAP.join(rest[: _fitting(rest, width)]))

    def _turn(self, kind: str) -> None:
        if not self.has_class(kind) or self.has_class("-fault"):
            self.remove_class("-notice", "-picture", "-fault")
            self.add_class(kind)


def _put(line: Static, words: str | Content) -> None:
    """Say it, unless the line says it already: progress comes four times a second, and changes once."""
    new = Content(words) if isinstance(words, str) else words
    old = line.content
    if not (isinstance(old, Content) and old.is_same(new)):
        line.update(new, layout=False)


def _fitting(facts: tuple[str, ...], width: int) -> int:
    """How many facts a line of `width` cells holds; a first one that is too long for it is cut at its edge."""
    count = len(facts)
    while count > 1 and cell_len(GAP.join(facts[:count])) > width:
        count -= 1
    return count


def fault_content(title: str, message: str, hint: str, width: int, lines: int, ellipsis: str) -> Content:
    """A fault in `width` x `lines` cells: a message that is too long for them is cut, the hint below it is not."""
    hints = ([Content(""), *Content(hint).wrap(width)]) if hint else []
    said = Content(message).wrap(width)
    room = max(lines - 2 - len(hints), 1)
    if len(said) > room:
        said = [*said[: room - 1], said[room - 1][: width - 1].rstrip() + ellipsis]
    return Content("\n").join([Content.styled(title, "bold $text-error"), Content(""), *said, *hints])


def progress_content(
    progress: JobProgress, now_s: float, learned: Learned, width: int, cancelling: bool = False
) -> Content:
    """How far a job is, in one line of at most `width` cells: what matters less is left out first."""
    words = Content.styled("cancelling" if cancelling else progress.stage or "starting", "bold $text-accent")
    if progress.stage == "denoising":
        words += Content(f"  {progress.step:>{len(str(progress.num_steps))}}/{progress.num_steps}")
    elif progress.detail:
        words += Content.styled(f"  {progress.detail}", "$text-muted")
    for fact in _facts(progress, now_s, learned):
        if words.cell_length + len(GAP) + len(fact) <= width:
            words += Content.styled(GAP + fact, "$text-muted")
    return words


def bar_content(done: float | None, width: int, signs: Glyphs) -> Content:
    """A bar of `width` cells; a line without end where nobody can tell how much is done."""
    full = int(width * (done or 0.0))
    return Content.styled(signs.bar_done * full, "$accent") + Content.styled(
        signs.bar_left * (width - full), "$foreground 25%"
    )


def _facts(progress: JobProgress, now_s: float, learned: Learned) -> list[str]:
    left, pace = progress.left_s(now_s, learned), progress.steps_per_second
    facts = ["" if left is None else f"ETA {clock_text(left)}"]
    if progress.stage == "denoising" and pace is not None:
        facts.append(pace_text(pace))
    facts.append(f"{clock_text(progress.elapsed_s(now_s))} elapsed")
    return [fact for fact in facts if fact]

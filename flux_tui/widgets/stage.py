"""The stage: the picture as it sharpens, or a message in its place; below it one line that says what it is."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from flux_engine.request import RGBImage
from flux_tui.widgets.picture_view import PictureView

WELCOME = "Say in the prompt what to paint,\nthen press F5."

GAP = "   "


class Stage(Vertical):
    """The picture pane."""

    DEFAULT_CSS = """
    Stage {
        border: round $foreground 25%;
        border-title-color: $text-muted;
        padding: 0 1;
        #caption {
            height: 1; width: 1fr; text-align: center; color: $text-muted; text-wrap: nowrap; text-overflow: ellipsis;
        }
        #notice { height: 1fr; width: 1fr; content-align: center middle; text-align: center; color: $text-muted; }
        &.-notice PictureView, &.-notice #caption { display: none; }
        &.-picture #notice { display: none; }
        &.-fault #notice { color: $foreground; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.border_title = "Picture"
        self._facts: tuple[str, ...] = ()
        self._picture = PictureView(id="picture")
        self._notice = Static(id="notice", markup=False)
        self._caption = Static(id="caption", markup=False)

    def compose(self) -> ComposeResult:
        yield self._picture
        yield self._notice
        yield self._caption

    def on_mount(self) -> None:
        self.say(WELCOME)

    @property
    def image(self) -> RGBImage | None:
        """The picture on show; None when there is a message instead."""
        return self._picture.image

    @property
    def text(self) -> str:
        """What the pane says in words: the message, or the picture's caption."""
        shown = self._notice if self.has_class("-notice") else self._caption
        return str(shown.content)

    def show(self, image: RGBImage, facts: tuple[str, ...]) -> None:
        """Show a picture, and below it as many of the facts as there is room for."""
        self._turn("-picture")
        self._picture.show(image)
        self._facts = facts
        self._fit_caption()

    def on_resize(self) -> None:
        self._fit_caption()

    def _fit_caption(self) -> None:
        count = len(self._facts)
        while count > 1 and len(GAP.join(self._facts[:count])) > self.content_size.width:
            count -= 1
        self._caption.update(GAP.join(self._facts[:count]))

    def say(self, message: str) -> None:
        """Show words in place of a picture."""
        self._turn("-notice")
        self._picture.show(None)
        self._notice.update(message)

    def say_fault(self, title: str, message: str, hint: str) -> None:
        """Show what to do next and what went wrong, in this order: a long message may not fit."""
        self.say("")
        self.add_class("-fault")
        parts = [Content.styled(title, "bold $text-error"), Content("\n\n")]
        if hint:
            parts += [Content(hint), Content("\n\n")]
        parts.append(Content.styled(message, "$text-muted"))
        self._notice.update(Content("").join(parts))

    def _turn(self, kind: str) -> None:
        self.remove_class("-notice", "-picture", "-fault")
        self.add_class(kind)

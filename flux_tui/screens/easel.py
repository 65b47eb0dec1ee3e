"""What the picture pane shows: what is painted, or a picture of the history that somebody looks at meanwhile.

While somebody looks, what is painted goes on unseen, and is there again when they look away. It reads no file and knows
no job and no queue.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from flux_engine.request import RGBImage
from flux_tui.gallery import SavedPicture
from flux_tui.loras import listed
from flux_tui.widgets.stage import Stage

TITLE = "Picture"
Facts = tuple[str, ...]


class Easel:
    """The stage, with what is painted on it, and before that, sometimes, a picture of the history.

    Args:
        stage: where they are shown.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._draw: Callable[[], object] = lambda: None  # puts what is painted onto the stage, also once more
        self._image: RGBImage | None = None  # None: there are words in its place
        self._facts: Facts = ()
        self._saved: SavedPicture | None = None
        self._looked_at: SavedPicture | None = None
        self._offers = False

    @property
    def shown(self) -> SavedPicture | None:
        """The picture of the gallery that is on show; None for words, and for what is not saved, or not yet."""
        return self._looked_at or self._saved

    @property
    def is_looking(self) -> bool:
        """Whether somebody looks at a picture of the history before what is painted."""
        return self._looked_at is not None

    @property
    def has_picture(self) -> bool:
        """Whether what is painted is a picture, not words."""
        return self._image is not None

    # What is painted

    def words(self, say: Callable[[], object]) -> None:
        """Have the stage say something in place of a picture."""
        self._put(say, None)

    def preview(self, image: RGBImage, *, last: bool) -> None:
        """Show how a picture is coming on."""
        self._put(partial(self._stage.preview, image, last=last), image)

    def finished(self, image: RGBImage, facts: Facts) -> None:
        """Show a picture that is not saved yet."""
        self._put(partial(self._stage.show, image, facts), image, facts)

    def saved(self, picture: SavedPicture) -> None:
        """The finished picture is this one of the gallery now."""
        self._saved, self._facts = picture, saved_facts(picture)
        self._offer()
        if self._image is not None:
            self._draw = partial(self._stage.show, self._image, self._facts)

    def show(self, image: RGBImage, picture: SavedPicture) -> None:
        """Show a picture of the gallery while none is being painted."""
        self._look(None)
        facts = saved_facts(picture)
        self._put(partial(self._stage.show, image, facts), image, facts, picture)

    def settle(self) -> None:
        """Say below the picture what it is: nothing is being painted any more."""
        self._stage.clear_progress()
        facts = saved_facts(self._looked_at) if self._looked_at else self._facts
        if facts:
            self._stage.caption(facts)

    def _put(
        self, draw: Callable[[], object], image: RGBImage | None, facts: Facts = (), saved: SavedPicture | None = None
    ) -> None:
        self._draw, self._image, self._facts, self._saved = draw, image, facts, saved
        self._offer()
        if not self.is_looking:
            draw()

    # What is looked at meanwhile

    def look(self, image: RGBImage, picture: SavedPicture, how_back: str) -> None:
        """Show a picture of the history before what is being painted.

        Args:
            how_back: what brings that back, in words for a person.
        """
        self._look(picture, how_back)
        self._stage.show(image, saved_facts(picture))

    def look_away(self) -> None:
        """Show what is painted again."""
        if self.is_looking:
            self._look(None)
            self._draw()

    def _look(self, picture: SavedPicture | None, how_back: str = "") -> None:
        self._looked_at = picture
        self._offer()
        self._stage.border_title = f"{picture.day}/{picture.path.name}" if picture else TITLE
        self._stage.border_subtitle = how_back

    def _offer(self) -> None:
        """Tell the footer when there begins or ceases to be a picture for the keys that put back and star."""
        if (self.shown is not None) != self._offers:
            self._offers = self.shown is not None
            self._stage.screen.refresh_bindings()


def saved_facts(picture: SavedPicture) -> Facts:
    """What the caption says of a picture, the most important first."""
    request = picture.record.request
    size = f"{request.width} x {request.height}"
    loras = [listed(request.loras)] if request.loras else []
    return size, f"seed {request.seed}", f"{request.num_steps} steps", *loras, f"{picture.day}/{picture.path.name}"

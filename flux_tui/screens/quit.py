"""The question before the end, while pictures are being painted or wait: it says what will happen to them."""

from __future__ import annotations

from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Button, Static

from flux_tui.screens.modal import Modal
from flux_tui.widgets.key_footer import KeyFooter

Answer = Literal["quit", "finish"]


class QuitScreen(Modal[Answer | None]):
    """Ends with "quit" (now), "finish" (once the picture being painted is saved), or None: stay.

    Args:
        doing: how far the picture being painted is, "step 7 of 20"; "" when none is.
        waiting: how many jobs wait.
        keeps_waiting: whether these are there again at the next start.
    """

    # Transparent: a tint would change the colour that carries a kitty picture's number, and the picture would go.
    DEFAULT_CSS = """
    QuitScreen {
        align: center middle;
        background: transparent;
        & > VerticalScroll {
            width: 64; max-width: 100%; height: auto; max-height: 100%; scrollbar-size-vertical: 1;
            border: round $accent; border-title-color: $text-accent; background: $background; padding: 0 1;
        }
        #question { padding: 0 0 1 0; }
        #outcome { color: $text-muted; padding: 0 0 1 0; }
        Horizontal { height: 1; align: center middle; }
        Button.-style-default {
            min-width: 0; margin: 0 1; background: $panel; color: $foreground;
            &:focus { background: $accent; color: auto 100%; text-style: bold; background-tint: transparent; }
            &:focus:nocolor:ansi { text-style: bold reverse; }
        }
        &.-narrow Horizontal { layout: vertical; height: auto; }
    }
    """

    BINDINGS: ClassVar = [
        Binding("escape", "dismiss", "Stay", key_display="Esc", id="stay", tooltip="Go on working"),
        Binding("f", "finish", "Finish", id="finish-first", tooltip="Quit when this picture is saved"),
        Binding("q", "quit_now", "Quit now", id="quit-now", tooltip="Quit, and give this picture up"),
        Binding("left,up", "app.focus_previous", show=False),
        Binding("right,down", "app.focus_next", show=False),
    ]

    def __init__(self, doing: str, waiting: int, *, keeps_waiting: bool = True) -> None:
        super().__init__()
        self.HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (38, "-normal")]  # from where on the buttons fit side by side
        self._doing, self._waiting, self._keeps_waiting = doing, waiting, keeps_waiting
        self._question, self._outcome = Static(id="question", markup=False), Static(id="outcome", markup=False)
        self._stay = Button("Stay", id="stay", compact=True)
        self._finish = Button("Finish first", id="finish", compact=True)

    def compose(self) -> ComposeResult:
        with VerticalScroll(can_focus=False) as box:
            box.border_title = "Quit?"
            yield self._question
            yield self._outcome
            with Horizontal():
                yield self._stay
                yield self._finish
                yield Button("Quit now", id="quit", compact=True)
        yield KeyFooter()

    def on_mount(self) -> None:
        self._stay.focus()  # Enter, pressed without reading, loses nothing
        self._tell()

    def tell(self, doing: str, waiting: int) -> None:
        """Say how things stand now, if that has changed: a picture that was being painted may be saved."""
        if (doing, waiting) != (self._doing, self._waiting):
            self._doing, self._waiting = doing, waiting
            if self.is_mounted:
                self._tell()

    def _tell(self) -> None:
        self._question.update(question(self._doing, self._waiting))
        self._outcome.update(outcome(self._doing, self._waiting, self._keeps_waiting))
        self._finish.display = bool(self._doing)  # if it has the focus, Textual gives that to the first button, "Stay"
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only a picture that is being painted can be finished."""
        return bool(self._doing) if action == "finish" else True

    def on_button_pressed(self, event: Button.Pressed) -> None:
        answers: dict[str | None, Answer] = {"finish": "finish", "quit": "quit"}
        self.dismiss(answers.get(event.button.id))

    def action_finish(self) -> None:
        """Quit when this picture is saved."""
        self.dismiss("finish")

    def action_quit_now(self) -> None:
        """Quit, and give this picture up."""
        self.dismiss("quit")


def question(doing: str, waiting: int) -> str:
    """What goes on, in a sentence."""
    if not (doing or waiting):
        return "Nothing is being painted any more: nothing is lost."
    if not doing:
        return f"{_pictures(waiting)} to be painted."
    more = f" and {waiting} more {'waits' if waiting == 1 else 'wait'}" if waiting else ""
    return f"A picture is being painted ({doing}){more}."


def _pictures(waiting: int) -> str:
    return "One picture waits" if waiting == 1 else f"{waiting} pictures wait"


def outcome(doing: str, waiting: int, keeps_waiting: bool) -> str:
    """What becomes of it, a line for each choice."""
    lines = []
    if doing:
        lines += ["Finish first: quit when this picture is saved.", "Quit now: this picture is given up."]
    if waiting:
        which = "The one that waits is" if waiting == 1 else "Those that wait are"
        given_up = "given up either way" if doing else "given up"
        lines.append(f"{which} {'kept for the next start' if keeps_waiting else given_up}.")
    return "\n".join(lines)

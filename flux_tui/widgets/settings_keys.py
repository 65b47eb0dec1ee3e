"""The keys about the settings that work in every pane; their actions are the screen's.

Each has an id, by which the config gives it other keys; what is unbound is in the palette.
"""

from __future__ import annotations

from textual.binding import Binding

from flux_tui.config import UNBOUND

SETTINGS_SCREEN_KEYS = (
    Binding(
        "ctrl+z",
        "settings_back",
        "Undo settings",
        show=False,
        id="settings-back",
        tooltip="Bring back the settings before the last change, where no prompt is being edited",
    ),
    Binding(
        "ctrl+y",
        "settings_forth",
        "Redo settings",
        show=False,
        id="settings-forth",
        tooltip="Go on to the settings that were taken back, where no prompt is being edited",
    ),
    Binding(
        UNBOUND,
        "reset_settings",
        "Reset settings",
        show=False,
        id="reset-settings",
        tooltip="Put the config's defaults, or the model's own, into the form",
    ),
    Binding(
        UNBOUND,
        "pick_model",
        "Models",
        show=False,
        id="pick-model",
        tooltip="Paint the next pictures with another model, by its name",
    ),
    Binding(
        "ctrl+n",
        "pick_lora",
        "LoRAs",
        key_display="^N",
        show=False,
        id="pick-lora",
        tooltip="Choose LoRAs, each with its strength",
    ),
    Binding(
        UNBOUND,
        "save_preset",
        "Save as preset",
        show=False,
        id="save-preset",
        tooltip="Keep these settings under a name",
    ),
    Binding(
        UNBOUND,
        "delete_preset",
        "Delete preset",
        show=False,
        id="delete-preset",
        tooltip="Forget the settings that were kept under a name",
    ),
)

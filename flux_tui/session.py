"""What one run of the app knows beside its engine: config, command line, and what the last run left; no widget."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from flux_engine.fields import LORA_FIELDS, default_texts, text_of
from flux_tui import paths
from flux_tui.config import Config, ConfigFileError, load_config, set_value
from flux_tui.launch import Launch
from flux_tui.locks import Claim, locked
from flux_tui.loras import short_name
from flux_tui.prompts import PromptHistory
from flux_tui.settings import COUNT, FIXED, RANDOM, SEED_USE, model_of
from flux_tui.state import load_state, save_state

log = logging.getLogger(__name__)


class Session:
    """Config, state and prompt history of one run.

    Args:
        launch: what the command line says; it goes before the config.
        action_ids: those that the config's [keys] may name; None takes any.
    """

    def __init__(self, launch: Launch | None = None, action_ids: Iterable[str] | None = None) -> None:
        self.launch = launch or Launch()
        self.config_path = self.launch.config or paths.config_file()
        self.faults: list[str] = []
        self.config = self._config(None if action_ids is None else frozenset(action_ids))
        self._claim = Claim(paths.queue_claim())
        self.state, note = load_state(paths.state_file())
        self.faults += [note] if note else []
        self.prompts = PromptHistory(paths.prompts_file())
        self._is_kept = True
        self._writing = threading.Lock()

    def option(self, name: str) -> Any:
        """An option of [app] or [preview] by its name, as this start was asked for, else as the config says."""
        said = getattr(self.launch, name, None)
        if said is not None:
            return said
        return getattr(self.config.app if hasattr(self.config.app, name) else self.config.preview, name)

    @property
    def keeps_queue(self) -> bool:
        """Whether this run takes the queue from the last one and leaves it to the next: the first app that is open."""
        return self._claim.is_ours

    @property
    def lora_folder(self) -> Path:
        """Where LoRAs are looked for by name."""
        return self.config.app.lora_folder or paths.loras_dir()

    def first_texts(self, checkpoint_dir: str | None) -> dict[str, str]:
        """What stands in the form at first, by a field's name: what the last run left, else the config's defaults.

        Args:
            checkpoint_dir: the model that the command line names; settings left for another one are not taken.
        """
        left = dict(self.state.settings)
        is_other = checkpoint_dir is not None and model_of(checkpoint_dir) != model_of(left.get("checkpoint_dir", ""))
        if not left or is_other:
            left = self.default_texts(checkpoint_dir)
        return left | self._said()

    def _said(self) -> dict[str, str]:
        """What the command line puts into the form."""
        said = {name: value for name in LORA_FIELDS if (value := getattr(self.launch, name)) is not None}
        if "loras" in said:
            said["loras"] = tuple(replace(lora, file=short_name(lora.file, self.lora_folder)) for lora in said["loras"])
        return {name: text_of(value) for name, value in said.items()}

    def default_texts(self, checkpoint_dir: str | None) -> dict[str, str]:
        """The form's texts as the config has them, over the model's own."""
        configured = {name: text_of(value) for name, value in self.config.defaults.items()}
        if "seed" in configured:  # one who names a seed wants that one
            configured.setdefault(SEED_USE.name, FIXED)
        model = checkpoint_dir or configured.get("checkpoint_dir") or None
        own = default_texts(model) | {SEED_USE.name: RANDOM, COUNT.name: "1"}
        return own | configured | {"checkpoint_dir": model or ""}

    def keep(self, **changes: Any) -> None:
        """Change the state; `write` brings it to the disk."""
        state = replace(self.state, **changes)
        self._is_kept = self._is_kept and state == self.state
        self.state = state

    def learn(self, took: Iterable[tuple[str, float]]) -> None:
        """Note how long stages took."""
        for stage, seconds in took:
            self.keep(seconds=self.state.learned(stage, seconds).seconds)

    def set_preset(self, name: str, values: Mapping[str, Any] | None) -> None:
        """Take a preset for this session, or forget it for None; `write_preset` brings it to the disk."""
        others = {each: self.config.presets[each] for each in self.config.presets if each != name}
        presets = others if values is None else {**others, name: values}
        self.config = replace(self.config, presets=presets)

    def write_preset(self, name: str) -> None:
        """Bring what became of a preset into the config file, from any thread.

        Raises:
            ConfigFileError: the file cannot be read, or is one of another kind.
            OutputError: it cannot be written.
        """
        set_value(self.config_path, ("presets", name), self.config.presets.get(name))

    def layout(self, name: str, default: str) -> str:
        """A choice of the screen's layout."""
        return self.state.layout.get(name, default)

    def keep_layout(self, **choices: str) -> None:
        """Note choices of the screen's layout."""
        layout: Mapping[str, str] = {**self.state.layout, **choices}
        self.keep(layout=layout)

    def write(self) -> None:
        """Bring what has changed to the disk, from any thread; a disk that takes nothing is no reason to stop."""
        if note := self.prompts.file():  # what was run a moment ago; as a rule it is there, and its fault was said
            log.warning(note)
        with self._writing:
            if self._is_kept:
                return
            self._is_kept = True
            try:
                self._write_state()
            except OSError as error:
                self._is_kept = False  # for the next time
                log.warning("the state is not kept: %s", error)

    def _write_state(self) -> None:
        with locked(paths.state_dir()):
            state = self.state
            if not self.keeps_queue:
                others, note = load_state(paths.state_file())
                if note:  # the queue in it may not be all of the first app's
                    raise OSError(note)
                state = replace(state, queue=others.queue, paused=others.paused)
            save_state(paths.state_file(), state)

    def close(self) -> None:
        """Bring what has changed to the disk, and leave the queue to the next app."""
        self.write()
        self._claim.release()

    def _config(self, action_ids: frozenset[str] | None) -> Config:
        try:
            return load_config(self.config_path, action_ids=action_ids)
        except ConfigFileError as error:
            self.faults += error.faults
            return error.config

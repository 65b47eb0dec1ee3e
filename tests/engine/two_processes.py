"""One of two processes that paint together: process 0 paints, kills the other, and says what it then was told."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import jax
import numpy as np

from flux_engine.distributed import follow, lead
from flux_engine.errors import ProcessError
from flux_engine.request import GenerationRequest, PicturesReady, StepDone
from flux_engine.where import MeshSizes, Processes


def main(index: int, coordinator: str, checkpoint: str, other: Path) -> None:
    jax.config.update("jax_disable_most_optimizations", True)
    processes = Processes(coordinator=coordinator, count=2, index=index)
    if index == 1:
        other.write_text(str(os.getpid()))
        follow(processes)
        return
    leader = lead(processes, MeshSizes(data=2))
    request = GenerationRequest(
        prompt="a hill", height=32, width=48, num_steps=2, batch_size=2, dtype="float32", checkpoint_dir=checkpoint
    )
    (ready,) = [event for event in leader.generate(request) if isinstance(event, PicturesReady)]
    pictures = [np.frombuffer(image.data, np.uint8).tolist() for image in ready.images]
    said = ""
    try:
        for event in leader.generate(request):
            if isinstance(event, StepDone):
                os.kill(int(other.read_text()), signal.SIGKILL)
    except ProcessError as error:
        said = f"{error} {error.hint}"
    print(json.dumps({"pictures": pictures, "said": said, "devices": leader.status().device}), flush=True)
    os._exit(0)  # JAX would wait for the other


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]))

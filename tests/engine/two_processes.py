"""One of two processes that paint together: process 0 paints, kills the other, and says what it then was told."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import jax
import numpy as np

from flux_engine import planning
from flux_engine.distributed import follow, lead
from flux_engine.errors import ProcessError
from flux_engine.request import GenerationRequest, PicturesReady, StageStarted, StepDone
from flux_engine.where import MeshSizes, Processes

FREE = (10**12, 2 * 10**7)  # bytes of each process: one has room by far, the other enough, and has to plan


def main(index: int, coordinator: str, checkpoint: str, other: Path) -> None:
    jax.config.update("jax_disable_most_optimizations", True)
    processes = Processes(coordinator=coordinator, count=2, index=index)
    planning.free_memory = lambda *arguments: planning.Memory(device=FREE[index], host=0)
    if index == 1:
        other.write_text(str(os.getpid()))
        follow(processes)
        return
    leader = lead(processes, MeshSizes(data=2))
    request = GenerationRequest(
        prompt="a hill", height=32, width=48, num_steps=2, batch_size=2, dtype="float32", checkpoint_dir=checkpoint
    )
    events = [*leader.generate(request)]
    ready = events[-1]
    assert isinstance(ready, PicturesReady)
    stages = [event.detail for event in events if isinstance(event, StageStarted)]
    pictures = [np.frombuffer(image.data, np.uint8).tolist() for image in ready.images]
    said = ""
    try:
        for event in leader.generate(request):
            if isinstance(event, StepDone):
                os.kill(int(other.read_text()), signal.SIGKILL)
    except ProcessError as error:
        said = f"{error} {error.hint}"
    found = {"pictures": pictures, "said": said, "devices": leader.status().device, "stages": stages}
    print(json.dumps(found), flush=True)
    os._exit(0)  # JAX would wait for the other


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]))

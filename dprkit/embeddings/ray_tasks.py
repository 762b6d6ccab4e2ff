"""encode-corpus --engine ray: tasks of a Ray cluster that share the work by leases."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from dprkit.errors import DprkitError, InputError, ProcessError
from dprkit.progress import Run

TELL_EVERY = 60.0
"""Seconds between two lines on how many tasks are still at work."""


def on_ray(work: Callable[[], object], tasks: int, run: Run) -> None:
    """Do `work` in so many tasks, each with a GPU or its part of the cores, until all are done.

    `tasks`: 1 is one for each GPU of the cluster, or each node. The cluster is that of RAY_ADDRESS;
    without it, one on this machine that ends with the work. A task that dies is started again. The
    nodes need dprkit and the same shared disk. Raises what a task raises.
    """
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    here: dict[str, Any] = {} if "RAY_ADDRESS" in os.environ else {"include_dashboard": False}
    try:
        ray.init(logging_level=logging.WARNING, **here)
    except (ConnectionError, RuntimeError) as error:
        where = os.environ.get("RAY_ADDRESS", "this machine")
        raise InputError(f"--engine ray: no cluster at {where}: {error}") from None
    try:
        count, needs = _share(ray, tasks)
        run.progress.note(f"{count} tasks on Ray, each with {_words(needs)}")
        waiting = [ray.remote(_do).options(**needs).remote(work) for _ in range(count)]
        while waiting:
            done, waiting = ray.wait(waiting, timeout=TELL_EVERY)
            ray.get(done)
            if waiting:
                run.progress.note(f"{len(waiting)} of {count} tasks are at work")
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, DprkitError) else error from None
    except ray.exceptions.RayError as error:
        raise ProcessError(f"--engine ray: {str(error).strip().splitlines()[0]}") from None
    finally:  # ends the tasks too, where some are left
        ray.shutdown()


def _do(work: Callable[[], object]) -> None:
    work()


def _words(needs: dict[str, int]) -> str:
    return " and ".join(f"{n} {what.removeprefix('num_')}" for what, n in needs.items())


def _share(ray: Any, tasks: int) -> tuple[int, dict[str, int]]:
    """How many tasks, and what each one needs of its node."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    nodes = [node for node in alive if node.get("CPU", 0) >= 1]  # a head may take no work
    if not nodes:
        raise InputError("--engine ray: no node of the cluster takes tasks; start one with a CPU")
    gpus = int(sum(node.get("GPU", 0) for node in nodes))
    count = tasks if tasks > 1 else gpus or len(nodes)
    if gpus:
        return count, {"num_gpus": 1}
    least = int(min(node["CPU"] for node in nodes))
    return count, {"num_cpus": max(1, least // -(-count // len(nodes)))}

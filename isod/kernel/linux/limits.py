"""RLIMIT_MEMLOCK of another process."""

from __future__ import annotations

import errno
import resource

from isod.kernel.process import start_time
from isod.kernel.refusal import refused_by_kernel
from isod.model.step import Limit, StepResult


def set_limit(step: Limit) -> StepResult:
    """Set the limit unless the process is gone (or another one now has its pid).

    prlimit takes a pid that nothing pins, so the start time is looked at before and after; a
    process that came in between gets its own limit back. Raises RefusedError (kernel).
    """
    if start_time(step.pid) != step.started:
        return StepResult()
    try:
        former = resource.prlimit(step.pid, resource.RLIMIT_MEMLOCK)
        wanted = (step.soft, step.hard)
        if step.raise_only:
            wanted = (_larger(former[0], step.soft), _larger(former[1], step.hard))
        if wanted != former:
            replaced = resource.prlimit(step.pid, resource.RLIMIT_MEMLOCK, wanted)
            if start_time(step.pid) not in {step.started, None}:
                resource.prlimit(step.pid, resource.RLIMIT_MEMLOCK, replaced)
                return StepResult()
    except ProcessLookupError:
        return StepResult()
    except PermissionError as error:
        raise refused_by_kernel(
            f"cannot set the memlock limit of process {step.pid}",
            error.errno or errno.EPERM,
            hint="isod needs CAP_SYS_RESOURCE for it",
        ) from error
    except (OSError, ValueError) as error:
        raise refused_by_kernel(
            f"cannot set the memlock limit of process {step.pid}", errno.EINVAL
        ) from error
    return StepResult(former_limit=former)


def _larger(one: int, other: int) -> int:
    if resource.RLIM_INFINITY in {one, other}:
        return resource.RLIM_INFINITY
    return max(one, other)

"""The memory of training on a CPU: what it does not need, and what the machine does not have."""
import contextlib
import ctypes
import math
import mmap
import os
import resource

import numpy as np

from cli.command import RunError
from cli.paddle_setup import fluid

# A container's limit and what it has taken, files in bytes, by version 2 and 1 of Linux's control groups.
CONTAINERS = (('/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory.current'),
              ('/sys/fs/cgroup/memory/memory.limit_in_bytes', '/sys/fs/cgroup/memory/memory.usage_in_bytes'))
# In memory.stat beside them: copies of files, which Linux gives up for what needs memory.
COPIES = ('inactive_file', 'active_file')
# Linux: take these pages back, and give zeros where they are read again.
MADV_DONTNEED = 4
FP32 = fluid.core.VarDesc.VarType.FP32


@contextlib.contextmanager
def memory_for(what):
    """A context that raises RunError, with one line for the user, if Paddle or Python finds too little memory."""
    try:
        yield
    except (MemoryError, fluid.core.EnforceNotMet) as error:
        if isinstance(error, fluid.core.EnforceNotMet) and 'Alloc' not in str(error):
            raise
        raise RunError('this machine has too little memory for %s' % what)


def limit_to_available():
    """Have an allocation fail that this machine, or this container, has too little memory for -> bytes left to take.

    Linux grants memory that it does not have, and kills the process, or another one, as soon as it is written.
    """
    available = 1024 * sum(number('/proc/meminfo', name + ':') for name in ('MemAvailable', 'SwapFree'))
    for limit, taken in CONTAINERS:
        stat = os.path.join(os.path.dirname(limit), 'memory.stat')
        # On a machine itself, version 2 has memory.stat alone; gVisor has no memory.stat.
        if os.path.exists(limit) and os.path.exists(stat):
            available = min(available, left_in_container(limit, taken, stat))
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    taken = 1024 * number('/proc/self/status', 'VmData:')
    limits = [limit for limit in (soft, hard, taken + available) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
    return min(limits) - taken


def left_in_container(limit, taken, stat):
    """The bytes that a container may still take; limit, taken: files of CONTAINERS; stat: their memory.stat."""
    with open(limit) as of_limit, open(taken) as of_taken:
        most, now = of_limit.read().strip(), int(of_taken.read())
    if most == 'max':
        return math.inf
    return max(0, int(most) - now + sum(number(stat, name) for name in COPIES))


def number(path, name):
    """The number in the line of a file that begins with the word `name`."""
    with open(path) as file:
        return next(int(line.split()[1]) for line in file if line.split()[0] == name)


def give_back_zeros(scope, startup):
    """Give back the memory of what the program `startup`, which has just run, has set to zero.

    Adam's moments start at zero in all programs. Those of D take 700 MB, and pre-training never changes them. They stay
    zero, and take memory when they are written.
    """
    madvise = ctypes.CDLL(None).madvise
    for op in startup.global_block().ops:
        if op.type == 'fill_constant' and op.attr('value') == 0 and op.attr('dtype') == FP32:
            tensor = scope.find_var(*op.output('Out')).get_tensor()
            start = tensor._mutable_data(fluid.CPUPlace(), FP32)
            stop = start + 4 * int(np.prod(tensor.shape()))
            # Whole pages alone: others hold something else, too.
            first, last = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, stop // mmap.PAGESIZE * mmap.PAGESIZE
            if first < last:
                madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), MADV_DONTNEED)

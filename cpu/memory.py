"""The memory of training on a CPU: what it does not need, and what the machine does not have."""
import ctypes
import mmap
import os
import resource

import numpy as np

from cli.paddle_setup import fluid

# The limit of a container, in bytes, by version 2 and 1 of Linux's control groups.
CONTAINER_LIMITS = ('/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory/memory.limit_in_bytes')
# Linux: take these pages back, and give zeros where they are read again.
MADV_DONTNEED = 4
FP32 = fluid.core.VarDesc.VarType.FP32


def limit_to_available():
    """Have an allocation fail that this machine, or this container, has too little memory for -> bytes left to take.

    Linux grants memory that it does not have, and kills the process, or another one, as soon as it is written.
    """
    available = 1024 * sum(kilobytes('/proc/meminfo', name) for name in ('MemAvailable', 'SwapFree'))
    for path in CONTAINER_LIMITS:
        if os.path.exists(path):
            with open(path) as file:
                limit = file.read().strip()
            available = min(available, int(limit)) if limit.isdigit() else available
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    taken = 1024 * kilobytes('/proc/self/status', 'VmData')
    limits = [limit for limit in (soft, hard, taken + available) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
    return min(limits) - taken


def kilobytes(path, name):
    """The number of the line `name` of a file of /proc."""
    with open(path) as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name + ':'))


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

"""The memory that training does not need on a CPU."""
import ctypes
import mmap

import numpy as np

from cli.paddle_setup import fluid

# Linux: take these pages back, and give zeros where they are read again.
MADV_DONTNEED = 4
FP32 = fluid.core.VarDesc.VarType.FP32


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

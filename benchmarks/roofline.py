"""How near upscale.py's convolutions come to the peak of this processor, one thread.

    python benchmarks/roofline.py

The peak is that of a loop of independent VNNI or FMA instructions on registers, in processor time. The times are those
that oneDNN tells of each primitive (DNNL_VERBOSE), the least of several turns on a picture of 320 x 180. They are wall
times, so other work of the machine makes them longer. Operations are counted as those of direct convolutions.
Winograd's algorithm multiplies a quarter as often, and its share of the peak is that of its multiplications alone.
Needs a processor with AVX-512 VNNI.
"""
import collections
import ctypes
import mmap
import os
import re
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import numpy as np

import upscale
from cli import command
from cli.command import Parser, RunError, UsageError, positive
from cli.paddle_setup import set_threads
from cpu import engine, int8
from data_utils import bicubic_resize, embedded, read_image
from storage import networks

START = 'the next turn'
# {precision: (last byte of the instruction's opcode, operations of one instruction)}: vpdpbusd and vfmadd231ps.
INSTRUCTIONS = {'int8': (0x50, 2 * 64), 'fp32': (0xb8, 2 * 16)}
# F(4 x 4, 3 x 3) multiplies 36 times for 16 places, and a direct convolution 16 x 9 times.
WINOGRAD, WINOGRAD_SHARE = 'Winograd', 36 / (16 * 9)
# More than it takes to have an instruction in each stage of each unit.
ACCUMULATORS = 12
# One measurement takes milliseconds, and a turn has many: what else the processor does lasts longer than one of them.
LOOPS = 200000
MEASUREMENTS = 20


def main(argv):
    parser = Parser(prog='benchmarks/roofline.py', description=__doc__.split('\n')[0])
    parser.add_argument('--turns', type=positive, default=15, metavar='N', help='how often it is measured (15)')
    turns = parser.parse_args(argv).turns
    if int8.unsupported():
        raise UsageError(int8.unsupported())
    for precision in INSTRUCTIONS:
        limit = peak(*INSTRUCTIONS[precision], turns)
        print('%s: the peak is %.0f GOPS' % (precision, limit))
        rows = kinds(precision, turns)
        for (name, shape), (number, seconds, operations) in sorted(rows.items(), key=lambda row: -row[1][1]):
            rate = operations / seconds / 1e9
            share = rate * (WINOGRAD_SHARE if name == WINOGRAD else 1) / limit
            print('%8.1f ms %3d x %-12s %-28s %s' % (
                1e3 * seconds, number, name, shape,
                '%5.0f GOPS, %3.0f %%' % (rate, 100 * share) if operations else ''))
        print('%8.1f ms in all; at the peak %.1f' % (1e3 * sum(seconds for _, seconds, _ in rows.values()), 1e3 * sum(
            operations for _, _, operations in rows.values()) / limit / 1e9))


def peak(opcode, operations, turns):
    """The most operations a second, in 10^9, of an instruction `opcode` zmm, zmm, zmm that adds to the first."""
    # vzeroall, which clears zmm0 to zmm15: what is left of small integers is denormal as floats, and Intel's processors
    # are six times slower at FMA of these.
    zeros = b'\xc5\xfc\x77'
    loop = b''.join(
        # EVEX for the accumulator zmm0 to zmm11, and the factors zmm15 and zmm14.
        bytes([0x62, (~i >> 3 & 1) << 7 | 0x52, 0x05, 0x48, opcode, 0xc6 | (i & 7) << 3])
        for i in range(ACCUMULATORS)) + b'\x48\xff\xcf'  # dec rdi
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    # jnz to the beginning of the loop; vzeroupper; ret.
    code.write(zeros + loop + b'\x0f\x85' + struct.pack('<i', -len(loop) - 6) + b'\xc5\xf8\x77\xc3')
    run = ctypes.CFUNCTYPE(None, ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
    seconds = []
    for _ in range(MEASUREMENTS * turns):
        start = time.thread_time()
        run(LOOPS)
        seconds.append(time.thread_time() - start)
    return LOOPS * ACCUMULATORS * operations / min(seconds) / 1e9


def kinds(precision, turns):
    """{(name, shape): [number, seconds, operations]} of the primitives that oneDNN runs for a picture."""
    found = subprocess.run([sys.executable, __file__, precision, str(turns)], env=dict(os.environ, DNNL_VERBOSE='1'),
                           stdout=subprocess.PIPE, universal_newlines=True)
    if found.returncode:
        raise RunError('the picture was not enlarged in %s' % precision)
    primitives = [[line.split(',') for line in turn.split('\n') if line.startswith('dnnl_verbose,exec')]
                  for turn in found.stdout.split(START)[1:]]
    rows = collections.defaultdict(lambda: [0, 0, 0])
    for same in zip(*primitives):
        words = same[0]
        sizes = dict(re.findall(r'([a-z]+)(\d+)', words[-2])) if 'ic' in words[-2] else {}
        size = {name: int(value) for name, value in sizes.items()}
        name = WINOGRAD if 'wino' in words[4] else words[3]
        row = rows[name, '%(ic)d to %(oc)d, %(kh)d x %(kw)d, at %(iw)d x %(ih)d' % size if size else words[-2]]
        row[0] += 1
        row[1] += min(float(turn[-1]) for turn in same) / 1e3
        # A transposed convolution computes for each place of its input.
        height, width = ('ih', 'iw') if words[3] == 'deconvolution' else ('oh', 'ow')
        row[2] += 2 * np.prod([size[name] for name in ('ic', 'oc', 'kh', 'kw', height, width)]) if size else 0
    return rows


def enlarge(precision, turns):
    """Enlarge a photograph several times, and say where each turn begins."""
    set_threads(1)
    picture = bicubic_resize(read_image(embedded('coffee.png')[0]), 320, 180)
    model = engine.load(networks.find('srgan'), precision)
    upscale.upscale(picture, model)
    for _ in range(turns):
        print(START, flush=True)
        upscale.upscale(picture, model)


if __name__ == '__main__':
    if sys.argv[1:2] and sys.argv[1] in INSTRUCTIONS:
        enlarge(sys.argv[1], int(sys.argv[2]))
    else:
        sys.exit(command.run(main))

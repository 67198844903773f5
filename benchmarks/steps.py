"""The process of a contestant of benchmarks/train.py: it makes an update for each line on its input.

Its arguments are its name, the stage ('init' or 'gan') and the sizes, a JSON object: blocks, filters, d_filters,
vgg_filters, crop, batch. It writes the lines that contest.py expects, each with `peak_mb`. The first line has the
`l_g_pix` of a first update, which is not timed because it prepares memory and kernels.
"""
import argparse
import json
import resource
import sys
import time

import numpy as np


def serve(contestants):
    """Run the contestant that the command line names. contestants: {name: function of (stage, sizes, feed)}.

    Each function prepares as much as possible and returns the function to time, which has no arguments, makes an update
    and returns the pixel loss.
    """
    name, stage, sizes = sys.argv[1:4]
    sizes = argparse.Namespace(**json.loads(sizes))
    update = contestants[name](stage, sizes, feed_of(sizes))
    say(l_g_pix=update())
    for _ in sys.stdin:
        start = time.perf_counter()
        update()
        say(seconds=time.perf_counter() - start)


def say(**figures):
    print(json.dumps({**figures, 'peak_mb': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}), flush=True)


def feed_of(sizes):
    """Random pixels in [-1, 1], {name: float32 [N, H, W, 3]}, for all feeds of a program."""
    rng = np.random.RandomState(0)
    sides = {'t_image': sizes.crop // 4, 't_target_image': sizes.crop, 'vgg19_input': 224}
    return {name: rng.uniform(-1, 1, (sizes.batch, side, side, 3)).astype(np.float32) for name, side in sides.items()}

"""The process of a contestant: it does its work once for each line on its input, and writes what contest.py expects.

Both functions run the contestant that the command line names. They are given {name: function}. Each of these functions
prepares as much as possible and returns the function to time, which has no arguments.
"""
import argparse
import json
import resource
import sys
import time

import numpy as np

# Details of photographs in the folder of the network, to calibrate a contestant on: uint8 [N, h, w, 3].
CALIBRATION = 'calibration.npy'


def enlarge(contestants):
    """A contestant of benchmarks/upscale.py, made by a function of (path, image).

    The command line has its name and three paths: the network (.npz, or .onnx for engines of ONNX), the picture (uint8
    [H, W, 3], .npy) and the file to write the result to (uint8 [4H, 4W, 3], .npy). The function is given the path of
    the network and the picture. The function to time returns the picture, as floating-point values in [-1, 1] or uint8.
    """
    name, network, image, result = sys.argv[1:5]
    run = contestants[name](network, np.load(image))
    picture = np.asarray(run())
    if picture.dtype != np.uint8:
        picture = np.clip(np.round((picture.astype(np.float32) + 1) * 127.5), 0, 255).astype(np.uint8)
    np.save(result, picture)
    take_turns(run, dict)


def update(contestants):
    """A contestant of benchmarks/train.py, made by a function of (stage, sizes, feed).

    The command line has its name, the stage ('init' or 'gan') and the sizes, a JSON object: blocks, filters, d_filters,
    vgg_filters, crop, batch. The feed has random pixels in [-1, 1], {name: float32 [N, H, W, 3]}. The function to time
    makes an update and returns the pixel loss. The first update is not timed because it prepares memory and kernels.
    """
    name, stage, sizes = sys.argv[1:4]
    sizes = argparse.Namespace(**json.loads(sizes))
    rng = np.random.RandomState(0)
    sides = {'t_image': sizes.crop // 4, 't_target_image': sizes.crop, 'vgg19_input': 224}
    run = contestants[name](stage, sizes, {
        feed: rng.uniform(-1, 1, (sizes.batch, side, side, 3)).astype(np.float32) for feed, side in sides.items()})
    l_g_pix = run()
    take_turns(run, lambda: {'l_g_pix': l_g_pix, 'peak_mb': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024})


def take_turns(run, figures):
    """Say that the contestant is ready, and then time `run` for each line; `figures` returns what each answer has."""
    print(json.dumps(figures()), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
        print(json.dumps({'seconds': seconds, **figures()}), flush=True)

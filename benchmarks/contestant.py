"""How a contestant of benchmarks/upscale.py runs: one process that computes the picture whenever it is told to.

Its first argument is its name, then the files of the network (.npz), the picture (uint8 [H, W, 3], .npy) and where
to put what it made of it (uint8 [4H, 4W, 3], .npy). It says what contest.py asks for.
"""
import json
import sys
import time

import numpy as np


def serve(contestants):
    """Run the contestant that the command line names; contestants {name: function of (network, image)}.

    Each function prepares all that can be prepared and returns the run: no arguments -> float or uint8 picture.
    """
    name, network, image, result = sys.argv[1:5]
    with np.load(network) as archive:
        run = contestants[name]({key: archive[key] for key in archive.files}, np.load(image))
    picture = np.asarray(run())
    if picture.dtype != np.uint8:
        picture = np.clip(np.round((picture.astype(np.float32) + 1) * 127.5), 0, 255).astype(np.uint8)
    np.save(result, picture)
    print('{}', flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        print(json.dumps({'seconds': time.perf_counter() - start}), flush=True)

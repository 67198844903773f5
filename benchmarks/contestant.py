"""The process of a contestant of benchmarks/upscale.py: it enlarges a picture once for each line on its input.

Its arguments are its name and three paths: the network (.npz, or .onnx for engines of ONNX), the picture (uint8
[H, W, 3], .npy) and the file to write the result to (uint8 [4H, 4W, 3], .npy). It writes the lines that contest.py
expects.
"""
import json
import sys
import time

import numpy as np

# Details of photographs in the folder of the network, to calibrate a contestant on: uint8 [N, h, w, 3].
CALIBRATION = 'calibration.npy'


def serve(contestants):
    """Run the contestant that the command line names. contestants: {name: function of (path, image)},
    the path of the network and the picture.

    Each function prepares as much as possible and returns the function to time, which has no arguments and returns the
    picture, as floating-point values in [-1, 1] or uint8.
    """
    name, network, image, result = sys.argv[1:5]
    run = contestants[name](network, np.load(image))
    picture = np.asarray(run())
    if picture.dtype != np.uint8:
        picture = np.clip(np.round((picture.astype(np.float32) + 1) * 127.5), 0, 255).astype(np.uint8)
    np.save(result, picture)
    print('{}', flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        print(json.dumps({'seconds': time.perf_counter() - start}), flush=True)

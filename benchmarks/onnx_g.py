"""G's ONNX model in other engines, for benchmarks/upscale.py. Runs under the Python of requirements-bench.txt."""
import contextlib
import os
import sys

import numpy as np
import onnxruntime
import openvino
from contestant import CALIBRATION, enlarge

THREADS = int(os.environ['OMP_NUM_THREADS'])


def planes(pixels):
    """uint8 [H, W, 3] -> t_image float32 [1, 3, H, W] in [-1, 1]."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32) / np.float32(127.5) - 1


def onnx_runtime(path, image):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    t_image = planes(image)
    return lambda: session.run(None, {'t_image': t_image})[0][0].transpose(1, 2, 0)


def open_vino(precision, quantized=False):
    def prepare(path, image):
        core = openvino.Core()
        model = core.read_model(path)
        if quantized:
            model = quantize(model, os.path.join(os.path.dirname(path), CALIBRATION))
        t_image = planes(image)
        # It computes faster if it knows the size.
        model.reshape(t_image.shape)
        compiled = core.compile_model(model, 'CPU', {
            'INFERENCE_PRECISION_HINT': precision, 'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_NUM_THREADS': THREADS})
        return lambda: compiled(t_image)[0][0].transpose(1, 2, 0)
    return prepare


def quantize(model, calibration):
    # Elsewhere than in CI nncf reports its use to a server.
    os.environ['CI'] = 'true'
    pictures = np.load(calibration)
    # It prints its progress, and contest.py reads what is printed.
    with contextlib.redirect_stdout(sys.stderr):
        import nncf
        return nncf.quantize(model, nncf.Dataset(pictures, planes), preset=nncf.QuantizationPreset.MIXED,
                             subset_size=len(pictures))


if __name__ == '__main__':
    enlarge({
        'onnxruntime': onnx_runtime,
        'openvino': open_vino('f32'),
        'openvino-bf16': open_vino('bf16'),
        'openvino-int8': open_vino('f32', quantized=True),
    })

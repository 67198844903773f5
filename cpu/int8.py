"""G in 8-bit integers: the same network in about a third of the time, where the processor has AVX-512 VNNI.

Written operation by operation with scales of its own. Paddle's quantiser (`enable_quantizer`) knows one way of
calibrating, leaves out no operation, and ruins this network: 14.5 dB on Set5 in place of 30.9.
"""
import ctypes
import functools
import os
import re
import struct

import numpy as np

from cli.paddle_setup import fluid
from cpu.inference_graph import Graph, before_shuffle, body, body_reach, tail
from data_utils import EMBEDDED, SCALE, bicubic_resize, embedded, read_image, standardized

CPUINFO = '/proc/cpuinfo'


# The processor

@functools.lru_cache(maxsize=None)
def unsupported():
    """Why this processor does not compute in int8 at speed, or None where it does."""
    try:
        with open(CPUINFO) as file:
            info = dict(re.findall(r'^([\w ]+?)\s*: (.*)$', file.read().split('\n\n')[0], re.MULTILINE))
    except OSError:
        info = {}
    if 'avx512_vnni' not in info.get('flags', '').split():
        return 'this processor has no AVX-512 VNNI'
    if info['vendor_id'] != 'GenuineIntel' and not tell_number_of_cores(info):
        return "Paddle's oneDNN knows AVX-512 VNNI on Intel's processors alone"


def tell_number_of_cores(info):
    """Tell oneDNN how many cores there are -> whether it could be told.

    Before it chooses the blocks of an int8 convolution, oneDNN 1.3, which Paddle carries, asks for the number of
    cores, which its CPU detection (Xbyak's) finds out on Intel's processors alone: on AMD's, whose AVX-512 VNNI is
    as good, every int8 convolution ends in "x2APIC is not supported". The detection's results are objects in
    the library's memory, in which model, family and stepping follow 96 bytes that are zero where nothing was
    found out. Two of these are set: "known" and the number.
    """
    family, model, stepping = [int(info[key]) for key in ('cpu family', 'model', 'stepping')]
    pattern = bytes(96) + struct.pack('<7i', model & 15, min(family, 15), stepping, model >> 4, max(family - 15, 0),
                                      family, model)
    told, end_of_library = 0, None
    with open('/proc/self/maps') as file:
        for line in file:
            start, end = [int(address, 16) for address in line.split(' ', 1)[0].split('-')]
            if ' rw' in line and ('dnnl' in line or start == end_of_library):
                end_of_library = end
                for found in re.finditer(re.escape(pattern), ctypes.string_at(start, end - start)):
                    known = struct.pack('<i2i', 1, 1, os.cpu_count())
                    ctypes.memmove(start + found.start(), known, len(known))
                    told += 1
    return told > 0


# The scales

# Middles of the embedded photographs, reduced by four, to calibrate on.
CALIBRATION_SIZE = 64


class Watched(Graph):
    """A graph that notes in `read` the features that its convolutions read, in order."""

    def __init__(self):
        super().__init__(fused=False)
        self.read = []

    def conv(self, x, *args, **kwargs):
        self.read.append(x)
        return super().conv(x, *args, **kwargs)

    def conv_transpose(self, x, *args, **kwargs):
        self.read.append(x)
        return super().conv_transpose(x, *args, **kwargs)


def calibrate(layers):
    """The largest magnitude that each convolution of G reads, over the embedded photographs: a list, in G's order.

    Raises UsageError where scikit-image, which carries them, is not installed.
    """
    graph = Watched()
    t_image = graph.variable([-1, 3, -1, -1], name='t_image')
    tail(graph, body(graph, t_image, layers), layers, like=t_image)
    # The map of ones for the biases of the sub-pixels is no feature.
    read = [x.name for x in graph.read if x.shape[1] != 1]
    exe = fluid.Executor(fluid.CPUPlace())
    return np.max([
        [np.abs(features).max() for features in exe.run(
            graph.program, feed={'t_image': standardized(middle(path)).transpose(2, 0, 1)[None]}, fetch_list=read,
            scope=graph.scope)]
        for path in embedded(*EMBEDDED)], axis=0).tolist()


def middle(path):
    """The middle of a photograph reduced by four, uint8 [CALIBRATION_SIZE, CALIBRATION_SIZE, 3]."""
    image, side = read_image(path), SCALE * CALIBRATION_SIZE
    top, left = [(size - side) // 2 for size in image.shape[:2]]
    return bicubic_resize(image[top:top + side, left:left + side], CALIBRATION_SIZE, CALIBRATION_SIZE)


# The graph

class Int8Graph(Graph):
    """A graph of int8 convolutions. Their features lie in memory as [N, H, W, C], fp32 ones too."""

    def quantize(self, x, scale):
        """float32 -> int8: x * scale, rounded."""
        out = self.variable(x.shape, 'int8')
        self.append('quantize', {'Input': x}, {'Output': out}, Scale=scale, is_negative_input=True,
                    output_format='NHWC')
        return out

    def conv(self, x, weight, bias, scale, relu=False, out_scale=None):
        """Convolution of int8 or uint8 features x -> uint8 where there is an `out_scale`, else float32.

        `scale`, `out_scale`: what a value of 1.0 is as an integer. Each filter's weights get their own.
        """
        out = self.variable([-1, len(weight), -1, -1], 'uint8' if out_scale else 'float32')
        weight_scales = 127 / np.abs(weight).reshape(len(weight), -1).max(axis=1).clip(1e-9)
        self.append('conv2d', {'Input': x, 'Filter': self.weight(weight), 'Bias': self.weight(bias)}, {'Output': out},
                    strides=[1, 1], paddings=[weight.shape[2] // 2] * 2, dilations=[1, 1], groups=1, use_mkldnn=True,
                    is_test=True, data_format='NHWC', fuse_activation='relu' if relu else '', use_quantizer=True,
                    Scale_in=scale, Scale_weights=weight_scales.tolist(), Scale_out=out_scale or 1.0,
                    force_fp32_output=not out_scale)
        return out

    def add(self, x, y, into=None):
        """x + y, in the memory of x where `into` is x.

        Paddle's `sum` on oneDNN is fast and right here, because both are the work of int8 convolutions, G's first
        one included: where the two lie in different layouts it adds wrongly without a word (2.3 dB for one
        such sum in a residual block).
        """
        out = into or self.variable(x.shape)
        self.append('sum', {'X': [x, y]}, {'Out': out}, use_mkldnn=True)
        return out

    def array(self, x):
        """What the last run left in the persistable variable x, as it lies in memory: [H, W, C], for N = 1.

        Fetching it would turn it into [C, H, W], and the next graph would turn it back.
        """
        tensor = self.scope.find_var(x.name).get_tensor()
        _, channels, height, width = tensor.shape()
        return np.array(tensor).reshape(height, width, channels)


def by_subpixel(weight, bias):
    """A convolution's filters 4c + s, s the sub-pixel, in the order sC + c: each sub-pixel's channels together."""
    order = np.arange(len(weight)).reshape(-1, 4).T.ravel()
    return weight[order], bias[order]


def shuffle(features):
    """pixel_shuffle of features [H, W, 4C] in the order of `by_subpixel` -> [2H, 2W, C]. Moves whole runs of bytes."""
    height, width, channels = features.shape
    rows = features.reshape(height, width, 2, channels // 2).swapaxes(1, 2)
    return rows.reshape(2 * height, 2 * width, channels // 4)


class Int8Network:
    """G in int8, in the two parts of engine.Fp32Network. The first shuffle, of bytes, lies between them."""

    precision = 'int8'
    features_scale = 2

    def __init__(self, layers, largest):
        """largest: what `calibrate` found."""
        self.body_reach, self.tail_reach = body_reach(layers) + 1, 1
        largest = iter(largest)

        def signed():
            return 127 / next(largest)

        def unsigned():
            return 255 / next(largest)

        # t_image is fed as the bytes of its pixels, p = 127.5 * x + 127.5, less 128: half a step below 127.5 * x.
        next(largest)
        weight, bias = layers.first
        graph = self.body = Int8Graph()
        self.t_image = graph.variable([-1, -1, -1, 3], 'int8')
        skip = n = graph.conv(self.t_image, weight, bias + 0.5 / 127.5 * weight.sum(axis=(1, 2, 3)), 127.5, relu=True)
        for first, second in layers.blocks:
            scale, inner_scale = signed(), unsigned()
            nn = graph.conv(graph.quantize(n, scale), *first, scale, relu=True, out_scale=inner_scale)
            n = graph.add(n, graph.conv(nn, *second, inner_scale), into=None if n is skip else n)
        scale = signed()
        n = graph.add(skip, graph.conv(graph.quantize(n, scale), *layers.middle, scale), into=skip)
        scale, up_scale = signed(), unsigned()
        self.features = graph.conv(graph.quantize(n, scale), *by_subpixel(*layers.up1), scale, relu=True,
                                   out_scale=up_scale)

        graph = self.tail = Int8Graph()
        self.tail_input = graph.variable([-1, -1, -1, len(layers.up2[0]) // 4], 'uint8')
        scale = unsigned()
        n = graph.conv(self.tail_input, *layers.up2, up_scale, relu=True, out_scale=scale)
        self.subpixels = graph.map('tanh', graph.conv(n, *by_subpixel(*before_shuffle(*layers.out)), scale))
        self.features.persistable = self.subpixels.persistable = True

    def run_body(self, executor, pixels):
        """pixels float32 [H, W, 3] in [-1, 1] -> features uint8 [2H, 2W, F]."""
        integers = np.rint(pixels * 127.5 - 0.5).astype(np.int8)
        executor.run(self.body, {self.t_image.name: integers[None]})
        return shuffle(self.body.array(self.features))

    def run_tail(self, executor, features):
        """features [2H, 2W, F] -> picture float32 [4H, 4W, 3] in [-1, 1]."""
        executor.run(self.tail, {self.tail_input.name: np.ascontiguousarray(features)[None]})
        return shuffle(self.tail.array(self.subpixels))

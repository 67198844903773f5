"""G in 8-bit integers: the same network in about half the time, on a CPU with AVX-512 VNNI.

The graph is built operation by operation, with scales measured here. Paddle's own quantiser (`enable_quantizer`) has
one way of calibrating, cannot leave an operation in fp32, and ruins this network: 14.5 dB on Set5 in place of 30.9.
"""
import ctypes
import functools
import os
import re
import struct

import numpy as np

from cli.paddle_setup import fluid, processor
from cpu.inference_graph import Graph, before_shuffle, body, body_reach, tail
from cpu.tiles import windows
from data_utils import EMBEDDED, SCALE, bicubic_resize, embedded, middle, read_image, standardized

# The processor

@functools.lru_cache(maxsize=None)
def unsupported():
    """Why this processor does not compute int8 fast, or None if it does."""
    info = processor()
    if 'avx512_vnni' not in info.get('flags', '').split():
        return 'this processor has no AVX-512 VNNI'
    if info['vendor_id'] != 'GenuineIntel' and not tell_number_of_cores(info):
        return "Paddle's oneDNN knows AVX-512 VNNI on Intel's processors alone"


def tell_number_of_cores(info):
    """Write the number of cores into oneDNN's memory -> whether its place was found.

    oneDNN 1.3, which Paddle carries, needs the number of cores to choose the blocks of an int8 convolution. Its CPU
    detection (Xbyak's) finds the number only on Intel's processors. AMD's have AVX-512 VNNI that is as good, but every
    int8 convolution on them ends in "x2APIC is not supported". The detection keeps its results in objects in the
    library's memory: 96 bytes, all zero if nothing was detected, then stepping, model and family. Two fields of the 96
    bytes are set: "known" and the number.
    """
    family, model, stepping = [int(info[key]) for key in ('cpu family', 'model', 'stepping')]
    pattern = bytes(96) + struct.pack('<7i', model & 15, min(family, 15), stepping, model >> 4, max(family - 15, 0),
                                      family, model)
    told = 0
    # The library's variables that start at zero follow its other memory without a name.
    end_of_library = None
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

# What to calibrate on: the middles of the embedded photographs as they are, with the finest details that pictures have,
# and reduced by four, with more of the scene. {reduction: side in pixels}
CALIBRATION_SIDES = {1: 128, SCALE: 64}


class Watched(Graph):
    """A graph that lists in `read` the inputs of its convolutions, in order."""

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
    """The largest magnitude of each channel in the input of each convolution of G, over the embedded photographs.

    A list of arrays [C], in G's order. Raises UsageError if scikit-image, which carries the photographs, is not
    installed.
    """
    graph = Watched()
    t_image = graph.variable([-1, 3, -1, -1], name='t_image')
    tail(graph, body(graph, t_image, layers), layers, like=t_image)
    # Leaves out the map of ones for the biases of the sub-pixels, the only input of one channel.
    read = [x.name for x in graph.read if x.shape[1] != 1]
    exe = fluid.Executor(fluid.CPUPlace())
    found = [[np.abs(features).max(axis=(0, 2, 3)) for features in exe.run(
        graph.program, feed={'t_image': standardized(reduced_middle(image, reduction)).transpose(2, 0, 1)[None]},
        fetch_list=read, scope=graph.scope)]
             for image in map(read_image, embedded(*EMBEDDED)) for reduction in CALIBRATION_SIDES]
    # Above 0, so that a channel that is empty can be scaled as well.
    return [np.max(maps, axis=0).clip(1e-9) for maps in zip(*found)]


def reduced_middle(image, reduction=SCALE):
    """The middle of a photograph, reduced: uint8 [H, W, 3], H and W as in CALIBRATION_SIDES."""
    reduced = CALIBRATION_SIDES[reduction]
    return bicubic_resize(image[middle(*image.shape[:2], reduction * reduced)], reduced, reduced)


# Of how much smaller channels `balanced` takes account.
LARGEST_RATIO = 16


def balanced(layers, largest):
    """The same function with maps whose channels are about equally large -> (layers, largest).

    All channels of a map have one scale, so a channel of small values would have few of its integers. A convolution,
    an addition and ReLU pass a positive factor on. So each channel is multiplied by one in the convolutions that write
    it, and divided by it in those that read it ("cross-layer equalization", Nagel et al., ICCV 2019).

    largest: the list that `calibrate` returns.
    """
    *reads, before_middle, before_up1, before_up2, before_out = largest
    # Each residual block adds to the same channels, from the first convolution up to up1.
    shares = [each / each.max() for each in (*reads[1::2], before_middle, before_up1)]
    stream = gains(np.max(shares, axis=0), 0.5)
    # A channel of up1 and of up2 is four before its shuffle; `largest` counts those of up2 before it.
    after_up1, after_up2 = gains(before_up2, 0.5), gains(before_out.reshape(-1, 4).max(axis=1), 1.0)
    result = layers._replace(
        first=outputs_scaled(layers.first, stream),
        blocks=[(inputs_scaled(first, stream), outputs_scaled(second, stream)) for first, second in layers.blocks],
        middle=outputs_scaled(inputs_scaled(layers.middle, stream), stream),
        up1=outputs_scaled(inputs_scaled(layers.up1, stream), after_up1.repeat(4)),
        up2=outputs_scaled(inputs_scaled(layers.up2, after_up1), after_up2.repeat(4)),
        out=inputs_scaled(layers.out, after_up2))
    factors = [1.0, *[stream, 1.0] * len(layers.blocks), stream, stream, after_up1, after_up2.repeat(4)]
    return result, [each * factor for each, factor in zip(largest, factors)]


def gains(largest, share):
    """The factor of each channel, [C] -> [C]: this share of the way, in decibels, to the size of the largest one.

    The rest is left for values beyond the calibration's: with the whole factor many more photographs would need fp32.
    """
    return (largest.max() / largest.clip(largest.max() / LARGEST_RATIO)) ** share


def outputs_scaled(layer, gain):
    """A convolution (weight, bias) whose outputs are multiplied by gain [F]."""
    weight, bias = layer
    return weight * gain[:, None, None, None], bias * gain


def inputs_scaled(layer, gain):
    """A convolution (weight, bias) for inputs that are multiplied by gain [C]."""
    weight, bias = layer
    return weight / gain[:, None, None], bias


# Values beyond the largest of the calibration are cut off: of most photographs so few that nobody sees it, of a pixel
# pattern so many that the picture is ruined. If more than this share is cut off in some area, the picture needs fp32.
# Measured with photo and srgan of pretrained/: in 147 of 148 cases a photograph, in full detail or reduced by three,
# stays below 2e-4. The worst area of 160 x 160 pixels, a spot of light in coffee.png, has 38 dB, and the worst one of
# another photograph 42 dB. tests/test_no_photographs.py has other pictures.
CUT_OFF = 2e-4
# Every SAMPLE-th pixel in each direction is looked at, a number that has nothing to do with the periods of most
# patterns. AREA: the side of an area in such pixels.
SAMPLE = 5
AREA = 8


# The graph

class Int8Graph(Graph):
    """A graph of int8 convolutions. All feature maps, int8 and fp32, lie in memory as [N, H, W, C].

    watched: a sample of each watched map, with the integer at the end of its scale.
    """

    def __init__(self):
        super().__init__()
        self.watched = []

    def watch(self, x, end):
        """Have each run keep a sample of the integers x, whose scale ends at `end`, for `cut_off`.

        A convolution by the unit matrix copies the sample; in Paddle nothing else for integers is fast.
        """
        channels = x.shape[3]
        out = self.conv(x, np.eye(channels)[:, :, None, None], np.zeros(channels), 1.0, relu=True, out_scale=1.0,
                        stride=SAMPLE)
        out.persistable = True
        self.watched.append((out, end))

    def cut_off(self):
        """The share of the watched values that the last run has cut off, 0 to 1, in the area with the most of them."""
        counts, total = 0, 0
        for out, end in self.watched:
            sample = self.array(out)
            height, width, channels = sample.shape
            counts += np.bincount(np.flatnonzero(sample == end) // channels, minlength=height * width)
            total += channels
        counts = counts.reshape(height, width)
        return max(counts[top:bottom, left:right].mean() for top, bottom, _ in windows(height, AREA, 0)
                   for left, right, _ in windows(width, AREA, 0)) / total

    def quantize(self, x, scale):
        """float32 x -> int8: x * scale, rounded."""
        out = self.variable(x.shape, 'int8')
        self.append('quantize', {'Input': x}, {'Output': out}, Scale=scale, is_negative_input=True,
                    output_format='NHWC')
        return out

    def conv(self, x, weight, bias, scale, relu=False, out_scale=None, stride=1, residual=None):
        """Convolution of int8 or uint8 features x -> uint8 if there is an `out_scale`, else float32.

        scale, out_scale: the integer for a value of 1.0, in the input and in the output. Each filter's weights get a
        scale of their own, by which the largest becomes 127. residual: float32 features to add, which the sum
        overwrites, as in Graph.conv.
        """
        out = self.variable([-1, len(weight), -1, -1], 'uint8' if out_scale else 'float32')
        weight_scales = 127 / np.abs(weight).reshape(len(weight), -1).max(axis=1).clip(1e-9)
        inputs = {'Input': x, 'Filter': self.weight(weight), 'Bias': self.weight(bias)}
        if residual is not None:
            inputs['ResidualData'] = residual
        # With a residual the output has its type. Paddle refuses the order for float32 there.
        self.append('conv2d', inputs, {'Output': out},
                    strides=[stride] * 2, paddings=[weight.shape[2] // 2] * 2, dilations=[1, 1], groups=1,
                    use_mkldnn=True, is_test=True, data_format='NHWC', use_quantizer=True,
                    fuse_activation='relu' if relu else '', fuse_residual_connection=residual is not None,
                    Scale_in=scale, Scale_weights=weight_scales.tolist(), Scale_out=out_scale or 1.0,
                    force_fp32_output=not out_scale and residual is None)
        return out

    def array(self, x):
        """The value of the persistable variable x after the last run, as it lies in memory: [H, W, C], for N = 1.

        Fetching would transpose it to [C, H, W], and the next graph would transpose it back.
        """
        tensor = self.scope.find_var(x.name).get_tensor()
        _, channels, height, width = tensor.shape()
        return np.asarray(tensor).reshape(height, width, channels)


def by_subpixel(weight, bias):
    """Reorder the filters in front of a pixel_shuffle from 4c + s to sC + c (channel c of C, sub-pixel s of 4).

    The channels of each sub-pixel then lie together, so that `shuffle` moves whole runs of bytes.
    """
    order = np.arange(len(weight)).reshape(-1, 4).T.ravel()
    return weight[order], bias[order]


def shuffle(features):
    """pixel_shuffle of features [H, W, 4C] in the order of `by_subpixel` -> [2H, 2W, C]."""
    height, width, channels = features.shape
    rows = features.reshape(height, width, 2, channels // 2).swapaxes(1, 2)
    return rows.reshape(2 * height, 2 * width, channels // 4)


class Int8Network:
    """G in int8, in two parts as fp32.Fp32Network. The first pixel shuffle lies between them and moves bytes."""

    precision = 'int8'
    tail_pixels = 2 ** 16
    # The features leave run_body after that shuffle.
    features_scale = 2

    def __init__(self, layers, largest):
        """layers: Convolutions; largest: the list that `calibrate` returns."""
        layers, largest = balanced(layers, largest)
        # The convolution in front of the first shuffle belongs to the first part here.
        self.body_reach = body_reach(layers) + 1
        self.tail_reach = 1
        largest = iter(largest)

        def signed():
            return 127 / next(largest).max()

        def unsigned():
            return 255 / next(largest).max()

        # t_image is fed as its 8-bit pixels p = 127.5 * x + 127.5, minus 128, which is 127.5 * x - 0.5. The first bias
        # makes up for this half step, and the first of `largest` is not needed.
        next(largest)
        weight, bias = layers.first
        graph = self.body = Int8Graph()
        self.t_image = graph.variable([-1, -1, -1, 3], 'int8')
        bias = bias + 0.5 / 127.5 * weight.sum(axis=(1, 2, 3))
        # Computed twice: the first block adds to its input in place, and the skip connection needs the input too.
        skip, n = [graph.conv(self.t_image, weight, bias, 127.5, relu=True) for _ in range(2)]
        for number, (first, second) in enumerate(layers.blocks):
            scale, inner_scale = signed(), unsigned()
            integers = graph.quantize(n, scale)
            nn = graph.conv(integers, *first, scale, relu=True, out_scale=inner_scale)
            # Half of the blocks tell as much as all.
            if number % 2:
                graph.watch(integers, 127)
                graph.watch(nn, 255)
            n = graph.conv(nn, *second, inner_scale, residual=n)
        scale = signed()
        integers = graph.quantize(n, scale)
        graph.watch(integers, 127)
        n = graph.conv(integers, *layers.middle, scale, residual=skip)
        scale, up_scale = signed(), unsigned()
        integers = graph.quantize(n, scale)
        graph.watch(integers, 127)
        self.features = graph.conv(integers, *by_subpixel(*layers.up1), scale, relu=True, out_scale=up_scale)

        graph = self.tail = Int8Graph()
        self.tail_input = graph.variable([-1, -1, -1, len(layers.up2[0]) // 4], 'uint8')
        scale = unsigned()
        n = graph.conv(self.tail_input, *layers.up2, up_scale, relu=True, out_scale=scale)
        self.subpixels = graph.map('tanh', graph.conv(n, *by_subpixel(*before_shuffle(*layers.out)), scale))
        self.features.persistable = self.subpixels.persistable = True

    def run_body(self, executor, pixels):
        """pixels float32 [H, W, 3] in [-1, 1] -> features uint8 [2H, 2W, F], or None if they need fp32."""
        integers = np.rint(pixels * 127.5 - 0.5).astype(np.int8)
        executor.run(self.body, {self.t_image.name: integers[None]})
        if self.body.cut_off() > CUT_OFF:
            return None
        return shuffle(self.body.array(self.features))

    def run_tail(self, executor, features):
        """features [2H, 2W, F] -> picture float32 [4H, 4W, 3] in [-1, 1]."""
        executor.run(self.tail, {self.tail_input.name: np.ascontiguousarray(features)[None]})
        return shuffle(self.tail.array(self.subpixels))

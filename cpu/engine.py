"""G in use: a network's weights become graphs that enlarge a picture piece by piece, as fast as the processor can."""
import contextlib
import ctypes
import hashlib
import json
import os
import stat

import numpy as np

from cli.command import UsageError
from cli.paddle_setup import fluid
from cpu import int8
from cpu.inference_graph import Graph, body, body_reach, convolutions, tail, variable_shapes, whole
from cpu.tiles import windows
from data_utils import EMBEDDED_SAMPLE, embedded, standardized
from srgan_g import SCALE
from storage import checkpoint, networks
from storage.files import replace_text

# What `auto` asks of int8: the least PSNR, in dB, of its picture against the one in fp32. At 50 dB a network whose
# pictures have 31 dB loses 0.05 dB.
FIDELITY = 50

# Pixels of t_image from which the second part of G, with its 256 channels at twice the size, computes at once: about
# 7 kB each, so that it needs no more memory than the first part for a tile. And the rows that this is at least.
TAIL_PIXELS, TAIL_ROWS = 2 ** 16, 32

# glibc's names for what mallopt sets: blocks to take from the system one by one, free memory to give back.
M_MMAP_MAX, M_TRIM_THRESHOLD = -4, -1

CALIBRATION = 'int8.json'
CACHE = os.path.join(os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'srgan-paddle')


def load(path, precision='auto', strength=None):
    """The Engine of the network `path`, a directory with G's persistables or a .npz.

    precision: 'fp32', 'int8', or 'auto' for int8 where it is as good (FIDELITY) and this processor fast at it.
    strength: see read. Where int8 is not to be had, `note` of the Engine says why it is fp32. Raises UsageError where
    `path` is not a whole G.
    """
    keep_freed_memory()
    network = read(path, strength)
    layers = convolutions(network)
    fp32 = Fp32Network(layers)
    if precision == 'fp32':
        return Engine(fp32, fp32)
    note = int8.unsupported()
    if not note:
        try:
            largest, fidelity = calibration(path if strength is None else None, network, layers, fp32)
        except UsageError as error:
            note = 'int8 cannot be calibrated: %s' % error
        else:
            if precision == 'int8' or fidelity >= FIDELITY:
                return Engine(int8.Int8Network(layers, largest), fp32)
            note = 'in int8 this network reaches %.1f dB of its fp32 picture, less than %d' % (fidelity, FIDELITY)
    return Engine(fp32, fp32, note)


def read(path, strength=None):
    """G's variables {name: array}. Raises UsageError where `path` is not a whole G.

    With a `strength` they are mixed with those of pretrained/srresnet, which began as the network that pretrained/srgan
    was trained from: 0 is SRResNet, 1 the network. Between such networks a line of weights is a line of pictures (Wang
    et al., Deep Network Interpolation, CVPR 2019).
    """
    names = variable_shapes()
    network = checkpoint.load_network(path, names)
    if strength is None:
        return network
    faithful = checkpoint.load_network(networks.find('srresnet'), names)
    return {name: faithful[name] + np.float32(strength) * (array - faithful[name]) for name, array in network.items()}


def keep_freed_memory():
    """Have the C library, where it is glibc, keep the memory that is freed for its next use.

    Else it gives large blocks back to the system, and for each 4 kB of the next one there is a page fault: a quarter
    of the processor's time in int8, and 3 % in fp32, measured.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, -1)


def calibration(path, network, layers, fp32):
    """(what int8.calibrate finds, dB of the int8 picture against the one in fp32) for a network.

    Kept in the network's directory, or in CACHE where `path` is a file, may not be written, or is None.
    """
    digest = hashlib.sha256()
    for name in sorted(network):
        digest.update(np.ascontiguousarray(network[name]))
    places = [os.path.join(path, CALIBRATION)] if path and os.path.isdir(path) else []
    places.append(os.path.join(CACHE, '%s.%s' % (digest.hexdigest(), CALIBRATION)))
    for place in places:
        try:
            with open(place) as file:
                kept = json.load(file)
            if kept['weights'] == digest.hexdigest():
                return kept['largest'], kept['fidelity']
        except (OSError, ValueError, KeyError, TypeError):
            pass
    largest = int8.calibrate(layers)
    pixels = standardized(int8.middle(embedded(EMBEDDED_SAMPLE)[0]))
    error = Engine(fp32, fp32).enlarge(pixels) - Engine(int8.Int8Network(layers, largest), fp32).enlarge(pixels)
    fidelity = 10 * float(np.log10(4 / max(np.mean(np.square(error, dtype=np.float64)), 1e-12)))
    keep(places, json.dumps({'weights': digest.hexdigest(), 'largest': largest, 'fidelity': fidelity}) + '\n')
    return largest, fidelity


def keep(places, text):
    """Write the text to the first of the places that can be written; to none where none can."""
    for place in places:
        folder = os.path.dirname(place)
        try:
            if folder == CACHE:
                os.makedirs(folder, exist_ok=True)
            # What is marked as read-only stays so for root too, whom no system stops.
            if os.stat(folder).st_mode & stat.S_IWUSR:
                return replace_text(place, text)
        except OSError:
            pass


def export(path, directory, strength=None):
    """Write the network `path`, mixed as read does, as a Paddle inference model for pictures of any size, any device.

    directory/__model__ and directory/params: t_image [N, 3, H, W] -> [N, 3, 4H, 4W], both in [-1, 1].
    Raises UsageError where `path` is not a whole G, OSError.
    """
    graph, t_image, test_im = whole(convolutions(read(path, strength)), fused=False)
    with fluid.scope_guard(graph.scope):
        fluid.io.save_inference_model(directory, [t_image.name], [test_im], fluid.Executor(fluid.CPUPlace()),
                                      main_program=graph.program, params_filename='params')


class Executor:
    """Runs graphs on the processor, and forgets the shapes that it has not seen for long.

    oneDNN keeps what it prepared for each shape of input, about 10 MB of it, as long as the fluid Executor lives.
    """

    SHAPES = 16

    def __init__(self):
        self.seen = set()
        self.executor = fluid.Executor(fluid.CPUPlace())

    def run(self, graph, feed, fetch=()):
        shape = (id(graph),) + tuple(array.shape for array in feed.values())
        if shape not in self.seen:
            if len(self.seen) == self.SHAPES:
                self.__init__()
            self.seen.add(shape)
        return self.executor.run(graph.program, feed=feed, fetch_list=[x.name for x in fetch], scope=graph.scope)


class Fp32Network:
    """G in float32, in two parts: each is computed for pieces of the size that suits it."""

    precision = 'fp32'
    # The features' size in pixels of t_image.
    features_scale = 1

    def __init__(self, layers):
        self.body_reach, self.tail_reach = body_reach(layers), 2
        self.body = Graph()
        self.t_image = self.body.variable([-1, 3, -1, -1])
        self.features = body(self.body, self.t_image, layers)
        self.tail = Graph()
        self.tail_input = self.tail.variable(self.features.shape)
        self.subpixels = tail(self.tail, self.tail_input, layers, like=self.tail_input)

    def run_body(self, executor, pixels):
        """pixels float32 [H, W, 3] in [-1, 1] -> features [H, W, F]."""
        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        return executor.run(self.body, {self.t_image.name: planes[None]}, [self.features])[0][0].transpose(1, 2, 0)

    def run_tail(self, executor, features):
        """features [H, W, F] -> picture float32 [4H, 4W, 3] in [-1, 1]."""
        planes = np.ascontiguousarray(features.transpose(2, 0, 1))
        subpixels, = executor.run(self.tail, {self.tail_input.name: planes[None]}, [self.subpixels])
        _, _, height, width = subpixels.shape
        return subpixels.reshape(3, 2, 2, height, width).transpose(3, 1, 4, 2, 0).reshape(2 * height, 2 * width, 3)


class Engine:
    """Enlarges pieces of pictures. `precision` is what it computes in; `note`, where there is one, says why."""

    def __init__(self, network, fp32, note=None):
        self.network, self.fp32, self.note = network, fp32, note
        self.precision = network.precision
        self.margin = network.body_reach + network.tail_reach
        self.executor = Executor()

    def enlarge(self, pixels, rows=None, columns=None, deep=False):
        """pixels float32 [H, W, 3] in [-1, 1] -> the picture of its `rows` and `columns`, [4h, 4w, 3] in [-1, 1].

        rows, columns: (start, stop) in pixels, all by default. What lies within `margin` pixels of a side that is
        not the picture's own does not come out as in the whole picture. `deep` computes in fp32 in any case: int8
        sees 256 levels of a pixel.
        """
        network = self.fp32 if deep else self.network
        rows, columns = rows or (0, pixels.shape[0]), columns or (0, pixels.shape[1])
        features = network.run_body(self.executor, pixels)
        out = np.empty((SCALE * (rows[1] - rows[0]), SCALE * (columns[1] - columns[0]), 3), np.float32)
        left, right = max(columns[0] - network.tail_reach, 0), min(columns[1] + network.tail_reach, pixels.shape[1])
        top, bottom = max(rows[0] - network.tail_reach, 0), min(rows[1] + network.tail_reach, pixels.shape[0])
        scale = network.features_scale
        size = max(TAIL_PIXELS // (right - left), TAIL_ROWS)
        for start, stop, keep in windows(bottom - top, size, network.tail_reach):
            piece = network.run_tail(self.executor, features[scale * (top + start):scale * (top + stop),
                                                             scale * left:scale * right])
            first, last = max(top + keep[0], rows[0]), min(top + keep[1], rows[1])
            out[SCALE * (first - rows[0]):SCALE * (last - rows[0])] = piece[
                SCALE * (first - top - start):SCALE * (last - top - start),
                SCALE * (columns[0] - left):SCALE * (columns[1] - left)]
        return out

"""G in float32 on a CPU, and the Engine that enlarges pieces of pictures by this network or by the int8 one."""
import numpy as np

from cli.paddle_setup import fluid
from cpu.inference_graph import TAIL_REACH, Graph, body, body_reach, summed, tail
from cpu.tiles import windows
from data_utils import SCALE

# How many rows the second part of G takes at once at least, however wide they are.
TAIL_ROWS = 32
# How many colours `enlarge_colours` takes at once: always as many, so that oneDNN prepares for one shape alone.
COLOURS = 32


class Executor:
    """Runs graphs on the CPU, by a new fluid Executor after every SHAPES different shapes of input.

    oneDNN prepares about 10 MB for each shape and keeps them as long as the fluid Executor lives. A graph is run by one
    Executor at a time.
    """

    SHAPES = 16

    def __init__(self):
        # The graph of each shape.
        self.seen = {}
        self.start()

    def start(self):
        self.executor = fluid.Executor(fluid.CPUPlace())
        # In a scope below each graph's, the Executor before it has left its last input.
        for graph in self.seen.values():
            graph.scope.drop_kids()
        self.seen = {}

    def run(self, graph, feed, fetch=()):
        shape = (id(graph),) + tuple(array.shape for array in feed.values())
        if shape not in self.seen:
            if len(self.seen) == self.SHAPES:
                self.start()
            self.seen[shape] = graph
        # Without its cache, fluid copies the program for each run, which takes 6 ms of int8's time. With the cache it
        # would keep what is fetched, 130 MB for a tile in fp32.
        return self.executor.run(graph.program, feed=feed, fetch_list=[x.name for x in fetch], scope=graph.scope,
                                 use_program_cache=not fetch)


class Fp32Network:
    """G in float32, in two parts, so that each part computes pieces of a size that suits it.

    body_reach, tail_reach: how many pixels of t_image beyond an output pixel each part reads, to each side.
    tail_pixels: how many of them the second part takes at once. It then needs no more memory than the first for a tile.
    """

    precision = 'fp32'
    # With 256 channels at twice the size, each pixel needs about 20 kB, of which Winograd's algorithm takes 12.
    tail_pixels = 2 ** 15
    # How many times larger the features are than t_image.
    features_scale = 1

    def __init__(self, layers):
        self.body_reach = body_reach(layers)
        self.tail_reach = TAIL_REACH
        self.body = Graph()
        self.t_image = self.body.variable([-1, 3, -1, -1])
        self.features = body(self.body, self.t_image, layers)
        self.colour_body = Graph()
        self.colour = self.colour_body.variable([-1, 3, -1, -1])
        self.colour_features = body(self.colour_body, self.colour, summed(layers))
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
        # The last pixel shuffle, to [H, W, C] in one step: channel 4c + 2dy + dx goes to the pixel (2y + dy, 2x + dx).
        return subpixels.reshape(3, 2, 2, height, width).transpose(3, 1, 4, 2, 0).reshape(2 * height, 2 * width, 3)

    def enlarge_colours(self, executor, colours):
        """Pixels float32 [COLOURS, 3] in [-1, 1], each of an endless area of its colour -> [COLOURS, 4, 4, 3]."""
        features, = executor.run(self.colour_body, {self.colour.name: np.ascontiguousarray(colours.T)[None, :, None]},
                                 [self.colour_features])
        side = 2 * self.tail_reach + 1
        areas = features[0].transpose(1, 2, 0).repeat(side, axis=0).repeat(side, axis=1)
        middle = SCALE * self.tail_reach
        rows = self.run_tail(executor, areas)[middle:middle + SCALE]
        return rows.reshape(SCALE, COLOURS, SCALE * side, 3)[:, :, middle:middle + SCALE].swapaxes(0, 1)


class Engine:
    """Enlarges pieces of pictures by `network`, an Fp32Network or Int8Network, or by `fp32` if a piece needs it.

    note: why the network is not the one that was asked for, or None. margin: how far, in pixels, an output pixel
    depends on the input to each side.
    """

    def __init__(self, network, fp32, note=None):
        self.network = network
        self.fp32 = fp32
        self.note = note
        self.precision = network.precision
        self.margin = network.body_reach + network.tail_reach
        self.executor = Executor()

    def enlarge_colours(self, colours):
        """The mean colours of what endless areas of colours float32 [N, 3] in [-1, 1] become in fp32, [N, 3]."""
        means = [self.fp32.enlarge_colours(self.executor, np.resize(colours[start:start + COLOURS], (COLOURS, 3)))
                 .mean(axis=(1, 2)) for start in range(0, len(colours), COLOURS)]
        return np.concatenate(means)[:len(colours)]

    def enlarge(self, pixels, rows=None, columns=None, deep=False):
        """pixels float32 [H, W, 3] in [-1, 1] -> its `rows` and `columns` enlarged, float32 [4h, 4w, 3] in [-1, 1].

        rows, columns: (start, stop) in pixels, all by default. Pixels closer than `margin` to a cut edge differ from
        the whole picture's. deep: the picture has 16 bits, so compute in fp32; int8 sees 256 levels of a pixel. A
        piece is computed in fp32, too, if int8 would cut off too many of its values.
        """
        network = self.fp32 if deep else self.network
        rows = rows or (0, pixels.shape[0])
        columns = columns or (0, pixels.shape[1])
        features = network.run_body(self.executor, pixels)
        if features is None:
            network = self.fp32
            features = network.run_body(self.executor, pixels)
        out = np.empty((SCALE * (rows[1] - rows[0]), SCALE * (columns[1] - columns[0]), 3), np.float32)
        # The features that the second part reads for these rows and columns; it computes them in horizontal pieces.
        left, right = max(columns[0] - network.tail_reach, 0), min(columns[1] + network.tail_reach, pixels.shape[1])
        top, bottom = max(rows[0] - network.tail_reach, 0), min(rows[1] + network.tail_reach, pixels.shape[0])
        scale = network.features_scale
        size = max(network.tail_pixels // (right - left), TAIL_ROWS)
        for start, stop, keep in windows(bottom - top, size, network.tail_reach):
            piece = network.run_tail(self.executor, features[scale * (top + start):scale * (top + stop),
                                                             scale * left:scale * right])
            first, last = max(top + keep[0], rows[0]), min(top + keep[1], rows[1])
            out[SCALE * (first - rows[0]):SCALE * (last - rows[0])] = piece[
                SCALE * (first - top - start):SCALE * (last - top - start),
                SCALE * (columns[0] - left):SCALE * (columns[1] - left)]
        return out

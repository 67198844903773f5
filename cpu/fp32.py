"""G in float32 on a processor, and the engine that enlarges pieces of pictures by it or by its int8 twin."""
import numpy as np

from cli.paddle_setup import fluid
from cpu.inference_graph import Graph, body, body_reach, tail
from cpu.tiles import windows
from data_utils import SCALE

# Pixels of t_image from which the second part of G, with its 256 channels at twice the size, computes at once: about
# 7 kB each, so that it needs no more memory than the first part for a tile. And the rows that this is at least.
TAIL_PIXELS, TAIL_ROWS = 2 ** 16, 32


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

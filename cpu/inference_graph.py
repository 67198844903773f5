"""G as an inference graph: the function of srgan_g.SRGAN_g, rewritten exactly so that a CPU computes it fast.

The rewrites are functions of the trained weights. `Graph` builds a fluid program from their results, operation by
operation, with oneDNN's fused convolutions. Paddle's inference engine would fuse them by passes, but one of these,
conv_elementwise_add_mkldnn_fuse_pass, computes this network wrongly and reports nothing (see `Graph.conv`).
"""
import collections
import functools
import itertools

import numpy as np

import srgan_g
from cli.command import UsageError
from cli.paddle_setup import fluid
from layers import BN_EPSILON, persistable_shapes, program_of
from storage import persistables

# G's convolutions as pairs (weight [F, C, k, k], bias [F]); `blocks` has two of them for each residual block.
Convolutions = collections.namedtuple('Convolutions', 'first blocks middle up1 up2 out')


def variable_shapes():
    """{name: shape} of G's variables. Raises UsageError if srgan_g.py has other operations than are rewritten here."""
    return shapes_if_known(srgan_g.SRGAN_g, srgan_g.RESIDUAL_BLOCKS, srgan_g.FILTERS)


@functools.lru_cache(maxsize=2)
def shapes_if_known(network, blocks, filters):
    """variable_shapes of `network`, G with this number of blocks and filters. Cached: it takes a tenth of a second."""
    program = program_of(network, [None, 3, None, None])
    for place, (found, known) in enumerate(itertools.zip_longest(
            operations_of(program), known_operations(blocks), fillvalue='nothing')):
        if found != known:
            raise UsageError('srgan_g.py: operation %d of G is %s; inference_graph.py, which rewrites G for use, '
                             'expects %s: change convolutions(), body() and tail() there, Int8Network and '
                             'onnx_model.py, to match' % (place, found, known))
    return persistable_shapes(program)


def operation(op_type, parameter, window, reads):
    """An operation of G in words.

    parameter: the name of its first weight, or None. window: (height, width, vertical stride, horizontal stride) of a
    convolution's filter, or None. reads: the indices of the operations whose outputs it reads, -1 for the input.
    """
    words = [op_type, parameter, window and '%dx%d with stride %dx%d' % window]
    return '%s on %s' % (' '.join(filter(None, words)), ' and '.join(map(str, reads)))


def operations_of(program):
    """The operations of a program, in order."""
    block = program.global_block()
    operations = []
    maker = {}
    for op in block.ops:
        parameters = [name for name in op.input_arg_names if block.var(name).persistable]
        first = {'conv2d': 'Filter', 'batch_norm': 'Scale'}.get(op.type)
        window = (*block.var(op.input('Filter')[0]).shape[2:], *op.attr('strides')) if op.type == 'conv2d' else None
        reads = tuple(maker.get(name, -1) for name in op.input_arg_names if name not in parameters)
        maker.update(dict.fromkeys(op.output_arg_names, len(operations)))
        parameter = op.input(first)[0] if first else next(iter(parameters), None)
        operations.append(operation(op.type, parameter, window, reads))
    return operations


def known_operations(blocks):
    """The operations of the G that `convolutions`, `body`, `tail`, int8.Int8Network and onnx_model.py compute."""
    operations = []

    def add(op_type, *reads, parameter=None, window=None):
        operations.append(operation(op_type, parameter, window, reads))
        return len(operations) - 1

    def conv(x, name, side=3):
        x = add('conv2d', x, parameter=name + '.w_0', window=(side, side, 1, 1))
        return add('elementwise_add', x, parameter=name + '.b_0')

    def normalized(x, name, bn, scale='w_0'):
        return add('batch_norm', conv(x, name), parameter='%s.%s' % (bn, scale))

    n = skip = add('relu', normalized(-1, 'n64s1/c', 'batch_norm_0'))
    for i in range(blocks):
        nn = add('relu', normalized(n, 'n64s1/c1/%d' % i, 'n64s1/b1/%d' % i))
        n = add('elementwise_add', n, normalized(nn, 'n64s1/c2/%d' % i, 'n64s1/b2/%d' % i))
    n = add('elementwise_add', normalized(n, 'n64s1/c/m', 'n64s1/b2/%d' % (blocks - 1), 'w_3'), skip)
    n = add('relu', add('pixel_shuffle', conv(n, 'n256s1/1')))
    n = add('reshape2', add('relu', conv(n, 'n256s1/2')))
    add('tanh', add('pixel_shuffle', add('reshape2', conv(n, 'out', 1))))
    return operations


def convolutions(network):
    """G's Convolutions from its variables {name: array}, with folded batch normalisations. Raises UsageError."""
    variable_shapes()

    def conv(name):
        return network[name + '.w_0'], network[name + '.b_0']

    def normalized(name, bn, suffixes=('w_0', 'b_0', 'w_1', 'w_2')):
        return folded(*conv(name), *[network['%s.%s' % (bn, suffix)] for suffix in suffixes])

    last = srgan_g.RESIDUAL_BLOCKS - 1
    return Convolutions(
        first=normalized('n64s1/c', 'batch_norm_0'),
        blocks=[(normalized('n64s1/c1/%d' % i, 'n64s1/b1/%d' % i), normalized('n64s1/c2/%d' % i, 'n64s1/b2/%d' % i))
                for i in range(last + 1)],
        middle=normalized('n64s1/c/m', 'n64s1/b2/%d' % last, ('w_3', 'b_1', 'w_4', 'w_5')),
        up1=conv('n256s1/1'), up2=conv('n256s1/2'), out=conv('out'))


# The rewrites

def folded(weight, bias, scale, shift, mean, variance):
    """The convolution that also does the batch normalisation behind it -> (weight, bias).

    In use, batch normalisation is y = g * (x - mean) + shift for each channel, with g = scale / sqrt(variance +
    epsilon). A convolution is linear, so g * (w * x + b - mean) + shift = (g w) * x + g (b - mean) + shift.
    """
    gain = scale / np.sqrt(variance.astype(np.float64) + BN_EPSILON)
    return ((weight * gain[:, None, None, None]).astype(np.float32),
            ((bias - mean) * gain + shift).astype(np.float32))


def shuffled(weight, bias):
    """A 3x3 convolution and the pixel_shuffle behind it as one transposed convolution -> (W, B).

    weight [4F, C, 3, 3], bias [4F] -> W [C, F, 6, 6] for stride 2 and padding 2, and B [1, F, 2, 2].

    pixel_shuffle puts channel 4c + 2dy + dx of place (y, x) on the pixel (2y + dy, 2x + dx) of channel c. So this
    pixel is the sum over u, v in {-1, 0, 1} of w[4c+2dy+dx, :, u+1, v+1] times the input at (y+u, x+v). A
    transposed convolution adds W[:, c, i, j] times the input at (y', x') to the pixel (2y' + i - 2, 2x' + j - 2).
    With y' = y+u this is row 2y+dy if i = dy + 2 - 2u, which takes each value of 0..5 once. Likewise for columns.

    A transposed convolution has one bias for each channel, but here each sub-pixel has its own: b[4c+2dy+dx]. B is the
    filter of a second transposed convolution, of stride 2, that spreads these biases from a map of ones.
    """
    filters, channels = len(weight) // 4, weight.shape[1]
    transposed = np.empty((channels, filters, 6, 6), np.float32)
    for dy, dx, u, v in itertools.product((0, 1), (0, 1), (-1, 0, 1), (-1, 0, 1)):
        transposed[:, :, dy + 2 - 2 * u, dx + 2 - 2 * v] = weight[2 * dy + dx::4, :, u + 1, v + 1].T
    return transposed, bias.reshape(1, filters, 2, 2)


def before_shuffle(weight, bias):
    """The 1x1 convolution to put in front of a pixel_shuffle in place of the one behind it -> (weight, bias).

    weight [3, F, 1, 1], bias [3] -> weight [12, 4F, 1, 1], bias [12].

    A 1x1 convolution works on each pixel alone, and the pixel (2y + dy, 2x + dx) of the shuffled channel f is the
    channel 4f + s, s = 2dy + dx, of place (y, x). So channel 4c + s of the new convolution reads only the channels
    4f + s, with the weights w[c, f], and the shuffle, now of 12 channels, moves it to the pixel.
    """
    outputs, channels = weight.shape[:2]
    spread = np.zeros((outputs, 4, channels, 4), np.float32)
    for subpixel in range(4):
        spread[:, subpixel, :, subpixel] = weight[:, :, 0, 0]
    return spread.reshape(4 * outputs, 4 * channels, 1, 1), bias.repeat(4)


def summed(layers):
    """The Convolutions of `body` for an endless area of one colour: there each pixel sees the sum of the filter."""
    def conv(weight, bias):
        return weight.sum(axis=(2, 3), keepdims=True), bias

    return layers._replace(first=conv(*layers.first), middle=conv(*layers.middle),
                           blocks=[(conv(*first), conv(*second)) for first, second in layers.blocks])


# The graph

class Graph:
    """A fluid program built operation by operation, with the weights in a scope of its own.

    fused: convolutions add bias and residual and apply ReLU themselves, as oneDNN can. A GPU ignores these attributes
    and computes something else, so an exported graph is built without them, of operations that all devices have.
    """

    # oneDNN keeps reordered weights by the names of variables, for all scopes of the process. If a name came twice, the
    # second network would get the weights of the first.
    numbers = itertools.count()

    def __init__(self, fused=True):
        self.program = fluid.Program()
        self.scope = fluid.Scope()
        self.fused = fused
        self.block = self.program.global_block()

    def variable(self, shape, dtype='float32', name=None, persistable=False):
        return self.block.create_var(name=name or 'v%d' % next(self.numbers), shape=shape, dtype=dtype,
                                     persistable=persistable)

    def weight(self, array):
        variable = self.variable(array.shape, persistable=True)
        persistables.set_variable(self.scope, variable.name, np.ascontiguousarray(array, np.float32))
        return variable

    def append(self, op_type, inputs, outputs, **attrs):
        self.block.append_op(type=op_type, inputs=inputs, outputs=outputs, attrs=attrs)

    def map(self, op_type, x, channels=None, **attrs):
        """An operation whose only input is x -> its output, with the channels of x unless `channels` says otherwise."""
        out = self.variable([-1, channels or x.shape[1], -1, -1])
        self.append(op_type, {'X': x}, {'Out': out}, use_mkldnn=True, **attrs)
        return out

    def conv(self, x, weight, bias, relu=False, residual=None):
        """Convolution with 'SAME' padding, then ReLU or the addition of `residual`; [N, C, H, W] -> [N, F, H, W].

        A fused addition writes the sum into the memory of `residual`, so no later operation may read `residual`.
        Paddle's own fuse pass does not check this, and so destroys the input of the skip connection.
        """
        out = self.variable([-1, len(weight), -1, -1])
        inputs, attrs = {'Input': x, 'Filter': self.weight(weight)}, {}
        if self.fused:
            inputs['Bias'] = self.weight(bias)
            attrs['fuse_activation'] = 'relu' if relu else ''
            if residual is not None:
                inputs['ResidualData'] = residual
                attrs['fuse_residual_connection'] = True
        self.append('conv2d', inputs, {'Output': out}, strides=[1, 1], paddings=[weight.shape[2] // 2] * 2,
                    dilations=[1, 1], groups=1, use_mkldnn=True, is_test=True, **attrs)
        if self.fused:
            return out
        out = self.add(out, self.weight(bias), axis=1)
        out = self.map('relu', out) if relu else out
        return out if residual is None else self.add(out, residual)

    def conv_transpose(self, x, weight, padding):
        """Transposed convolution of stride 2 without a bias. oneDNN computes it only if `is_test` is set."""
        out = self.variable([-1, weight.shape[1], -1, -1])
        self.append('conv2d_transpose', {'Input': x, 'Filter': self.weight(weight)}, {'Output': out}, strides=[2, 2],
                    paddings=[padding] * 2, dilations=[1, 1], groups=1, use_mkldnn=True, is_test=True)
        return out

    def add(self, x, y, axis=-1):
        """x + y, right in any memory layouts; Paddle's `sum` on oneDNN is wrong if x and y have different ones."""
        out = self.variable(x.shape)
        self.append('elementwise_add', {'X': x, 'Y': y}, {'Out': out}, axis=axis, use_mkldnn=True)
        return out

    def ones_like(self, x):
        """A map of ones [N, 1, H, W] for x [N, C, H, W]."""
        channel = self.variable([-1, 1, -1, -1])
        ones = self.variable([-1, 1, -1, -1])
        self.append('slice', {'Input': x}, {'Out': channel}, axes=[1], starts=[0], ends=[1])
        self.append('fill_any_like', {'X': channel}, {'Out': ones}, value=1.0, dtype=int(ones.dtype))
        return ones


def body(graph, t_image, layers):
    """G up to its skip connection: t_image [N, 3, H, W] -> features [N, F, H, W]."""
    skip = n = graph.conv(t_image, *layers.first, relu=True)
    for first, second in layers.blocks:
        nn = graph.conv(n, *first, relu=True)
        n = graph.add(n, graph.conv(nn, *second)) if n is skip else graph.conv(nn, *second, residual=n)
    return graph.conv(n, *layers.middle, residual=skip)


def body_reach(layers):
    """How many pixels of t_image to each side a pixel of `body`'s features depends on: one for each 3x3 convolution."""
    return 2 + 2 * len(layers.blocks)


# How many features to each side a pixel of `tail`'s output depends on: one for the convolution in front of the first
# shuffle, half of one for the convolution behind it, rounded up.
TAIL_REACH = 2


def tail(graph, features, layers, like):
    """G behind `body`, without the last shuffle: features [N, F, H, W] -> [N, 12, 2H, 2W] in [-1, 1].

    like: a variable [N, C, H, W] in the plain NCHW memory layout, from which the map of ones for the biases gets its
    size.
    """
    weight, subpixel_biases = shuffled(*layers.up1)
    n = graph.conv_transpose(features, weight, padding=2)
    n = graph.add(n, graph.conv_transpose(graph.ones_like(like), subpixel_biases, padding=0))
    n = graph.conv(graph.map('relu', n), *layers.up2, relu=True)
    return graph.map('tanh', graph.conv(n, *before_shuffle(*layers.out)))


def whole(layers, fused=True):
    """G as one graph -> (graph, t_image [N, 3, H, W] in [-1, 1], test_im [N, 3, 4H, 4W] in [-1, 1])."""
    graph = Graph(fused)
    t_image = graph.variable([-1, 3, -1, -1], name='t_image')
    subpixels = tail(graph, body(graph, t_image, layers), layers, like=t_image)
    return graph, t_image, graph.map('pixel_shuffle', subpixels, channels=3, upscale_factor=2)

"""G and D drawn layer by layer from their programs, in the notation of the paper's figure 4."""
import collections

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from layers import program_of
from srgan_d import SRGAN_d
from srgan_g import SRGAN_g

# {type of an operation that is drawn: (its words, its colour)}.
DRAWN = {
    'conv2d': ('conv', '#9dc3e6'), 'mul': ('fc', '#9dc3e6'), 'batch_norm': ('BN', '#f4d58d'),
    'relu': ('ReLU', '#a9d8b8'), 'leaky_relu': ('LeakyReLU', '#a9d8b8'), 'tanh': ('tanh', '#a9d8b8'),
    'elementwise_add': ('sum', '#ffffff'), 'pixel_shuffle': ('shuffle x2', '#d9b8e8')}
NETWORKS = (('Generator G', SRGAN_g, (3, 24, 24)), ('Discriminator D', SRGAN_d, (3, 96, 96)))

# A drawn layer. kind: a key of DRAWN. note: a convolution's kernel, filters and stride as the paper writes them, for
# example k3n64s1. shape: of the output, without N. sources: the indices of the layers that it reads, -1 for the input.
Layer = collections.namedtuple('Layer', 'kind note shape sources')


def layers_of(network, shape):
    """The Layers of SRGAN_g or SRGAN_d for an input [1, *shape], in order."""
    block = program_of(network, [1, *shape]).global_block()
    layers = []
    # {variable: the index of the layer that makes it}; an operation that is not drawn belongs to the layer before it.
    maker = {'input': -1}
    for op in block.ops:
        read = [name for name in op.input_arg_names if name in maker]
        is_bias = op.type == 'elementwise_add' and len(read) == 1
        place = maker[read[0]]
        if op.type in DRAWN and not is_bias:
            place = len(layers)
            sources = [maker[name] for name in read]
            layers.append(Layer(op.type, note(op, block), None, sources))
        maker.update(dict.fromkeys(op.output_arg_names, place))
        # A reshape only lays the same maps out differently for the next operation.
        if op.type != 'reshape2':
            out = next(op.output(slot)[0] for slot in ('Y', 'Output', 'Out') if slot in op.output_names)
            layers[place] = layers[place]._replace(shape=block.var(out).shape[1:])
    return layers


def note(op, block):
    if op.type != 'conv2d':
        return ''
    filters, _, _, kernel = block.var(op.input('Filter')[0]).shape
    return 'k%dn%ds%d' % (kernel, filters, op.attr('strides')[0])


def repetition(layers):
    """The repeated group that covers most layers: (index of its first layer, its length, repetitions), or (0, 0, 1)."""
    signs = [layer[:2] for layer in layers]
    best = (0, 0, 1)
    for start in range(len(signs)):
        for length in range(2, (len(signs) - start) // 2 + 1):
            times = 1
            while signs[start + times * length:][:length] == signs[start:start + length]:
                times += 1
            if times > 1 and times * length > best[1] * best[2]:
                best = start, length, times
    return best


def draw():
    """A matplotlib Figure of both networks."""
    figure = Figure(figsize=(10, 5.2), dpi=150, facecolor='white')
    FigureCanvasAgg(figure)
    for (title, network, shape), bottom in zip(NETWORKS, (0.5, 0)):
        axes = figure.add_axes([0, bottom, 1, 0.5])
        axes.axis('off')
        draw_network(axes, title, shape, layers_of(network, shape))
    return figure


def draw_network(axes, title, shape, layers):
    """Draw Layers from left to right, a repeated group once. shape: of the network's input, without N."""
    start, length, times = repetition(layers)
    shown = [place for place in range(len(layers)) if not start + length <= place < start + length * times]
    # There is a gap in front of each layer that is a convolution or fully connected.
    begins = [place for place in shown if layers[place].kind in ('conv2d', 'mul')]
    x = 1.2
    xs = {}
    for place in shown:
        x += 1.5 if place in begins else 1.0
        xs[place] = x
    axes.set(xlim=(-0.9, x + 0.9), ylim=(-1.25, 3.1))
    axes.text(-0.75, 2.95, title, size=13, weight='bold', va='top')
    axes.annotate('', (x + 0.85, 0.5), (-0.45, 0.5), zorder=0, arrowprops=dict(arrowstyle='->', color='#555555'))
    axes.text(-0.5, 0.6, ' x '.join(map(str, shape)), size=7, color='#555555')
    for place, end in zip(begins, [*begins[1:], len(layers)]):
        if layers[end - 1].shape != shape:
            shape = layers[end - 1].shape
            axes.text(xs[place] - 0.36, -0.3, ' x '.join(map(str, shape)), size=7, color='#555555', va='top')
    for place in shown:
        layer, x = layers[place], xs[place]
        words, colour = DRAWN[layer.kind]
        axes.add_patch(Rectangle((x - 0.36, -0.2), 0.72, 1.4, facecolor=colour, edgecolor='#444444', linewidth=0.8))
        axes.text(x, 0.5, words, rotation=90, ha='center', va='center', size=9)
        axes.text(x - 0.36, 1.3, layer.note, size=8.5)
        for source in layer.sources:
            if source in xs and source != place - 1:
                left, top = xs[source] + 0.5, 1.75 if place - source < 10 else 2.4
                axes.plot([left, left, x, x], [0.5, top, top, 1.3], color='#555555', linewidth=1, zorder=0)
                axes.plot(x, 1.3, marker='v', markersize=4, color='#555555')
    if times > 1:
        left, right = xs[start] - 0.55, xs[start + length - 1] + 0.5
        axes.add_patch(Rectangle((left, -0.65), right - left, 2.6, fill=False, linestyle='--', edgecolor='#444444'))
        axes.text((left + right) / 2, 2.0, 'x %d' % times, size=11, weight='bold', ha='center')


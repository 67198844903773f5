"""G as an ONNX model: one file that enlarges pictures without Paddle."""

import numpy as np

from cli.command import UsageError
from cpu import engine
from cpu.inference_graph import TAIL_REACH, before_shuffle, body, body_reach, convolutions
from data_utils import SCALE
from storage import checkpoint
from storage.files import replace_file

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError as error:
    raise UsageError('ONNX cannot be imported (%s); `pip install -r requirements-onnx.txt` installs it' % error)

OPSET = 13
# The first version of the file format that has this opset; later ones are unknown to engines of its time.
IR_VERSION = 7


def export(path, file_path, strength=None, as_uint8=False):
    """Write the network `path` as an ONNX model of `build` -> its margin. strength: see engine.read.

    The file's metadata are `scale`, `margin` and the network's about.json. Its figures are not those of a mix, so with
    a `strength` that takes their place. Raises UsageError if `path` does not hold all variables of G, OSError if the
    file cannot be written.
    """
    layers = convolutions(engine.read(path, strength))
    model = build(layers, as_uint8)
    margin = body_reach(layers) + TAIL_REACH
    known = {name: value for name, value in checkpoint.about(path).items() if value is not None}
    if strength is not None:
        known = {'strength': strength, **{name: known[name] for name in known if name == 'licence'}}
    metadata = {'scale': SCALE, 'margin': margin, **known}
    helper.set_model_props(model, {name: str(value) for name, value in metadata.items()})
    replace_file(file_path, lambda file: file.write(model.SerializeToString()))
    return margin


class Graph:
    """An ONNX graph built node by node, with the methods of inference_graph.Graph that `body` calls."""

    def __init__(self):
        self.nodes = []
        self.weights = []

    def node(self, op_type, *inputs, name=None, **attributes):
        """Append a node -> the name of its output."""
        name = name or 'v%d' % len(self.nodes)
        self.nodes.append(helper.make_node(op_type, inputs, [name], **attributes))
        return name

    def weight(self, values):
        name = 'w%d' % len(self.weights)
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))
        return name

    def conv(self, x, weight, bias, relu=False, residual=None):
        """Convolution with 'SAME' padding, then ReLU or the addition of `residual`; [N, C, H, W] -> [N, F, H, W]."""
        out = self.node('Conv', x, self.weight(weight), self.weight(bias), pads=[weight.shape[2] // 2] * 4)
        if relu:
            out = self.node('Relu', out)
        return out if residual is None else self.add(out, residual)

    def add(self, x, y):
        return self.node('Add', x, y)

    def shuffle(self, x, **name):
        """pixel_shuffle: [N, 4C, H, W] -> [N, C, 2H, 2W]."""
        return self.node('DepthToSpace', x, blocksize=2, mode='CRD', **name)


def build(layers, as_uint8=False):
    """G as an ONNX model for pictures of any height and width, any number at once. layers: its Convolutions.

    t_image float32 [N, 3, H, W] -> test_im float32 [N, 3, 4H, 4W], RGB in [-1, 1]; or as_uint8, as pictures lie in
    memory: pixels uint8 [N, H, W, 3] -> enlarged uint8 [N, 4H, 4W, 3], RGB, rounded.
    """
    graph = Graph()
    if as_uint8:
        source, result = 'pixels', 'enlarged'
        values = graph.node('Cast', source, to=TensorProto.FLOAT)
        values = graph.add(graph.node('Mul', values, graph.weight(2 / 255)), graph.weight(-1))
        test_im = generate(graph, graph.node('Transpose', values, perm=[0, 3, 1, 2]), layers)
        levels = graph.node('Mul', graph.node('Transpose', test_im, perm=[0, 2, 3, 1]), graph.weight(127.5))
        # The half makes the floor round to the nearest. What a cast alone would do differs between engines.
        levels = graph.node('Floor', graph.add(levels, graph.weight(127.5 + 0.5)))
        graph.node('Cast', levels, to=TensorProto.UINT8, name=result)
    else:
        source, result = 't_image', 'test_im'
        generate(graph, source, layers, name=result)
    model = helper.make_model(
        helper.make_graph(graph.nodes, 'G', [picture(source, as_uint8, 'height', 'width')],
                          [picture(result, as_uint8, '%d * height' % SCALE, '%d * width' % SCALE)], graph.weights),
        opset_imports=[helper.make_opsetid('', OPSET)], ir_version=IR_VERSION, producer_name='upscale.py',
        doc_string='The generator of SRGAN (Ledig et al., CVPR 2017), which enlarges photographs %d times.' % SCALE)
    onnx.checker.check_model(model, full_check=True)
    return model


def generate(graph, t_image, layers, **name):
    """G: t_image [N, 3, H, W] in [-1, 1] -> [N, 3, 4H, 4W] in [-1, 1]. name: of the output, if it has one."""
    n = graph.shuffle(graph.conv(body(graph, t_image, layers), *layers.up1, relu=True))
    n = graph.conv(graph.conv(n, *layers.up2, relu=True), *before_shuffle(*layers.out))
    return graph.shuffle(graph.node('Tanh', n), **name)


def picture(name, as_uint8, height, width):
    """The declaration of an input or output. height, width: the names of its sides."""
    if as_uint8:
        return helper.make_tensor_value_info(name, TensorProto.UINT8, ['batch', height, width, 3])
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ['batch', 3, height, width])

"""G in PyTorch and ONNX Runtime, for benchmarks/upscale.py. Runs under the Python of requirements-bench.txt."""
import os

import numpy as np
import onnxruntime
import torch
import torch._inductor.config as inductor
import torch.nn.functional as F
from contestant import enlarge
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch_train import BN, G

THREADS = int(os.environ['OMP_NUM_THREADS'])


class Stock(G):
    """G with `out` behind the last shuffle, as in the article."""

    def forward(self, x):
        skip = n = F.relu(self.first(x))
        for block in self.blocks:
            n = n + block(n)
        n = F.relu(F.pixel_shuffle(self.up1(skip + self.middle(n)), 2))
        return torch.tanh(self.out(F.pixel_shuffle(F.relu(self.up2(n)), 2)))


class Rewritten(G):
    """G with the weights before the last shuffle computed once; the compiler folds and fuses the rest."""

    def subpixels(self, n):
        return self.out(n)


def loaded(kind, network):
    """A Stock or Rewritten with the weights of G's variables {name: array}."""
    blocks = sum(name.startswith('n64s1/c1/') and name.endswith('.w_0') for name in network)
    model = kind(blocks, len(network['n64s1/c.w_0'])).eval()

    def conv(layer, name):
        layer.weight.data, layer.bias.data = [torch.from_numpy(network[name + end]) for end in ('.w_0', '.b_0')]

    def normalized(layers, name, bn, suffixes=('w_0', 'b_0', 'w_1', 'w_2')):
        conv(layers[0], name)
        layers[1].weight.data, layers[1].bias.data, layers[1].running_mean, layers[1].running_var = [
            torch.from_numpy(network['%s.%s' % (bn, suffix)]) for suffix in suffixes]

    normalized(model.first, 'n64s1/c', 'batch_norm_0')
    for i, block in enumerate(model.blocks):
        normalized(block[0], 'n64s1/c1/%d' % i, 'n64s1/b1/%d' % i)
        normalized(block[2], 'n64s1/c2/%d' % i, 'n64s1/b2/%d' % i)
    normalized(model.middle, 'n64s1/c/m', 'n64s1/b2/%d' % (blocks - 1), ('w_3', 'b_1', 'w_4', 'w_5'))
    for layer, name in ((model.up1, 'n256s1/1'), (model.up2, 'n256s1/2'), (model.out, 'out')):
        conv(layer, name)
    if kind is Rewritten:
        weights = model.before_shuffle()
        model.out = nn.Conv2d(weights[0].shape[1], 12, 1)
        model.out.weight.data, model.out.bias.data = [values.detach() for values in weights]
    return model


def contestant(kind, dtype=torch.float32, compiled=False):
    def prepare(network, image):
        torch.set_num_threads(THREADS)
        model = loaded(kind, network).to(dtype).to(memory_format=torch.channels_last)
        x = torch.from_numpy(image).permute(2, 0, 1)[None].to(dtype) / 127.5 - 1
        x = x.contiguous(memory_format=torch.channels_last)
        if compiled:
            inductor.freezing = True
            model = torch.compile(model)

        def run():
            with torch.no_grad():
                return model(x)[0].permute(1, 2, 0).float().numpy()
        return run
    return prepare


def onnx_model(network):
    """G as an ONNX graph with `out` before the last shuffle; ONNX Runtime folds the batch normalisations itself."""
    model = loaded(Rewritten, network)
    nodes, weights = [], []

    def add(op, *inputs, name=None, arrays=(), **attributes):
        name = name or 'n%d' % len(nodes)
        names = ['%s_%d' % (name, i) for i in range(len(arrays))]
        weights.extend(numpy_helper.from_array(np.ascontiguousarray(array.detach().numpy()), each)
                       for array, each in zip(arrays, names))
        nodes.append(helper.make_node(op, [*inputs, *names], [name], **attributes))
        return name

    def conv(x, weight, bias):
        return add('Conv', x, arrays=(weight, bias), pads=[weight.shape[2] // 2] * 4)

    def normalized(x, layers):
        layer, bn = layers
        return add('BatchNormalization', conv(x, layer.weight, layer.bias), epsilon=BN['eps'],
                   arrays=(bn.weight, bn.bias, bn.running_mean, bn.running_var))

    def shuffle(x):
        return add('DepthToSpace', x, blocksize=2, mode='CRD')

    skip = n = add('Relu', normalized('x', model.first))
    for block in model.blocks:
        n = add('Add', n, normalized(add('Relu', normalized(n, block[0])), block[2]))
    n = add('Add', skip, normalized(n, model.middle))
    n = shuffle(add('Relu', conv(n, model.up1.weight, model.up1.bias)))
    n = add('Relu', conv(n, model.up2.weight, model.up2.bias))
    add('Tanh', shuffle(conv(n, model.out.weight, model.out.bias)), name='y')
    shape = [1, 3, None, None]
    graph = helper.make_graph(nodes, 'G', [helper.make_tensor_value_info('x', TensorProto.FLOAT, shape)],
                              [helper.make_tensor_value_info('y', TensorProto.FLOAT, shape)], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)


def onnx_runtime(network, image):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(onnx_model(network).SerializeToString(), options,
                                           providers=['CPUExecutionProvider'])
    x = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32) / np.float32(127.5) - 1
    return lambda: session.run(['y'], {'x': x})[0][0].transpose(1, 2, 0)


if __name__ == '__main__':
    enlarge({
        'torch-eager': contestant(Stock),
        'torch-compiled': contestant(Rewritten, compiled=True),
        'torch-bf16': contestant(Rewritten, torch.bfloat16, compiled=True),
        'onnxruntime': onnx_runtime,
    })

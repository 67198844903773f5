"""G in PyTorch, for benchmarks/upscale.py. Runs under the Python of requirements-bench.txt."""
import os

import numpy as np
import torch
import torch._inductor.config as inductor
import torch.nn.functional as F
from contestant import enlarge
from torch import nn
from torch_train import G

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
    def prepare(path, image):
        torch.set_num_threads(THREADS)
        with np.load(path) as archive:
            model = loaded(kind, {name: archive[name] for name in archive.files})
        model = model.to(dtype).to(memory_format=torch.channels_last)
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


if __name__ == '__main__':
    enlarge({
        'torch-eager': contestant(Stock),
        'torch-compiled': contestant(Rewritten, compiled=True),
        'torch-bf16': contestant(Rewritten, torch.bfloat16, compiled=True),
    })

"""G in PyTorch, for benchmarks/upscale.py. Runs under the Python of requirements-bench.txt."""
import os

import numpy as np
import torch
import torch._inductor.config as inductor
import torch.nn.functional as F
from contestant import serve
from torch import nn

BN_EPSILON = 0.001
THREADS = int(os.environ['OMP_NUM_THREADS'])


class Stock(nn.Module):
    """The article's G in plain PyTorch: x [N, 3, H, W] -> [N, 3, 4H, 4W]."""

    def __init__(self, network):
        super().__init__()
        blocks = sum(name.startswith('n64s1/c1/') and name.endswith('.w_0') for name in network)
        middle = 'n64s1/b2/%d' % (blocks - 1)
        self.first = self.normalized(network, 'n64s1/c', 'batch_norm_0')
        self.blocks = nn.ModuleList(nn.Sequential(
            self.normalized(network, 'n64s1/c1/%d' % i, 'n64s1/b1/%d' % i), nn.ReLU(),
            self.normalized(network, 'n64s1/c2/%d' % i, 'n64s1/b2/%d' % i)) for i in range(blocks))
        self.middle = self.normalized(network, 'n64s1/c/m', middle, ('w_3', 'b_1', 'w_4', 'w_5'))
        self.up1, self.up2, self.out = [self.conv(network, name) for name in ('n256s1/1', 'n256s1/2', 'out')]

    def conv(self, network, name):
        weight = torch.from_numpy(network[name + '.w_0'])
        layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], padding=weight.shape[2] // 2)
        layer.weight.data, layer.bias.data = weight, torch.from_numpy(network[name + '.b_0'])
        return layer

    def normalized(self, network, name, bn, suffixes=('w_0', 'b_0', 'w_1', 'w_2')):
        values = [torch.from_numpy(network['%s.%s' % (bn, suffix)]) for suffix in suffixes]
        layer = nn.BatchNorm2d(len(values[0]), eps=BN_EPSILON)
        layer.weight.data, layer.bias.data, layer.running_mean, layer.running_var = values
        return nn.Sequential(self.conv(network, name), layer)

    def forward(self, x):
        skip = n = F.relu(self.first(x))
        for block in self.blocks:
            n = n + block(n)
        n = skip + self.middle(n)
        n = F.relu(F.pixel_shuffle(self.up1(n), 2))
        return torch.tanh(self.out(F.pixel_shuffle(F.relu(self.up2(n)), 2)))


class Rewritten(Stock):
    """Stock with `out` before the last shuffle; the compiler folds the batch normalisations and fuses operations."""

    def __init__(self, network):
        super().__init__(network)
        weight = self.out.weight.data[:, :, 0, 0]
        spread = torch.einsum('of,st->osft', weight, torch.eye(4)).reshape(12, -1, 1, 1)
        self.early = nn.Conv2d(spread.shape[1], 12, 1)
        self.early.weight.data, self.early.bias.data = spread, self.out.bias.data.repeat_interleave(4)

    def forward(self, x):
        skip = n = F.relu(self.first(x))
        for block in self.blocks:
            n = n + block(n)
        n = F.pixel_shuffle(F.relu(self.up1(skip + self.middle(n))), 2)
        return torch.tanh(F.pixel_shuffle(self.early(F.relu(self.up2(n))), 2))


def contestant(kind, dtype=torch.float32, compiled=False):
    def prepare(path, image):
        torch.set_num_threads(THREADS)
        with np.load(path) as archive:
            model = kind({name: archive[name] for name in archive.files})
        model = model.eval().to(dtype).to(memory_format=torch.channels_last)
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
    serve({
        'torch-eager': contestant(Stock),
        'torch-compiled': contestant(Rewritten, compiled=True),
        'torch-bf16': contestant(Rewritten, torch.bfloat16, compiled=True),
    })

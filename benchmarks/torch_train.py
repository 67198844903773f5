"""The PyTorch contestants of benchmarks/train.py. Runs under the Python of requirements-bench.txt."""
import os

import torch
import torch.nn.functional as F
from contestant import update
from torch import nn

BN = dict(eps=0.001, momentum=0.01)


def normalized(inputs, filters):
    return nn.Sequential(nn.Conv2d(inputs, filters, 3, padding=1), nn.BatchNorm2d(filters, **BN))


class G(nn.Module):
    """x [N, 3, H, W] -> [N, 3, 4H, 4W]; `out` before the last shuffle, as in srgan_g.py."""

    def __init__(self, blocks, filters):
        super().__init__()
        f = filters
        self.first, self.middle = normalized(3, f), normalized(f, f)
        self.blocks = nn.ModuleList(nn.Sequential(normalized(f, f), nn.ReLU(), normalized(f, f)) for _ in range(blocks))
        self.up1, self.up2 = nn.Conv2d(f, 4 * f, 3, padding=1), nn.Conv2d(f, 4 * f, 3, padding=1)
        self.out = nn.Conv2d(f, 3, 1)

    def forward(self, x):
        skip = n = F.relu(self.first(x))
        for block in self.blocks:
            n = n + block(n)
        n = F.relu(F.pixel_shuffle(self.up1(skip + self.middle(n)), 2))
        return torch.tanh(F.pixel_shuffle(self.subpixels(F.relu(self.up2(n))), 2).float())

    def subpixels(self, n):
        return F.conv2d(n, *self.before_shuffle())

    def before_shuffle(self):
        """The weights of the convolution `out` for the place before the last shuffle."""
        weight = self.out.weight[:, :, 0, 0]
        spread = torch.einsum('of,st->osft', weight, torch.eye(4, dtype=weight.dtype))
        return spread.reshape(12, -1, 1, 1), self.out.bias.repeat_interleave(4)


class Same(nn.Conv2d):
    """A convolution of stride 2 with TensorFlow's padding 'SAME'."""

    def forward(self, x):
        rest = [max((-(-side // 2) - 1) * 2 + 4 - side, 0) for side in x.shape[2:]]
        return super().forward(F.pad(x, [rest[1] // 2, rest[1] - rest[1] // 2, rest[0] // 2, rest[0] - rest[0] // 2]))


class D(nn.Module):
    """images [N, 3, crop, crop] -> logits [N, 1], as in srgan_d.py."""

    def __init__(self, sizes):
        super().__init__()
        f = sizes.d_filters
        layers, inputs = [Same(3, f, 4, 2), nn.LeakyReLU(0.2)], f
        for filters in (2 * f, 4 * f, 8 * f, 16 * f, 32 * f, 16 * f, 8 * f):
            layers += [Same(inputs, filters, 4, 2), nn.BatchNorm2d(filters, **BN), nn.LeakyReLU(0.2)]
            inputs = filters
        self.down, self.res = nn.Sequential(*layers), normalized(inputs, inputs)
        self.fc = nn.Linear(inputs * (-(-sizes.crop // 256)) ** 2, 1)

    def forward(self, x):
        n = self.down(x)
        return self.fc(F.leaky_relu(n + F.leaky_relu(self.res(n), 0.2), 0.2).flatten(1))


def vgg19(sizes):
    """VGG19 up to pool5, with random weights."""
    layers, inputs = [], 3
    for filters, groups in zip(sizes.vgg_filters, (2, 2, 4, 4, 4)):
        for _ in range(groups):
            layers += [nn.Conv2d(inputs, filters, 3, padding=1), nn.ReLU()]
            inputs = filters
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers).requires_grad_(False)


def contestant(dtype=None):
    def prepare(stage, sizes, feed):
        torch.set_num_threads(int(os.environ['OMP_NUM_THREADS']))
        torch.manual_seed(0)
        t_image, t_target_image, vgg19_input = [
            torch.from_numpy(feed[name]).permute(0, 3, 1, 2) for name in ('t_image', 't_target_image', 'vgg19_input')]
        g, d, vgg = [network.to(memory_format=torch.channels_last) for network in (
            G(sizes.blocks, sizes.filters), D(sizes), vgg19(sizes))]
        g_adam, d_adam = [torch.optim.Adam(network.parameters(), 1e-4, (0.9, 0.999)) for network in (g, d)]

        def in_precision():
            return torch.autocast('cpu', dtype or torch.bfloat16, enabled=dtype is not None)

        def step(loss, adam):
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()

        def opinion(images, label):
            logits = d(images).float()
            return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))

        def make_update():
            if stage == 'init':
                with in_precision():
                    loss = l_g_pix = F.mse_loss(g(t_image), t_target_image)
            else:
                with in_precision():
                    with torch.no_grad():
                        fake = g(t_image)
                    loss = opinion(t_target_image, 1.0) + opinion(fake, 0.0)
                step(loss, d_adam)
                d.requires_grad_(False)
                with in_precision():
                    fake = g(t_image)
                    l_g_pix = F.mse_loss(fake, t_target_image)
                    with torch.no_grad():
                        wanted = vgg(vgg19_input).float()
                    seen = vgg(F.interpolate(fake, (224, 224), mode='bilinear')).float()
                    loss = l_g_pix + 2e-6 * F.mse_loss(seen, wanted) + 1e-3 * opinion(fake, 1.0)
            step(loss, g_adam)
            d.requires_grad_(True)
            return l_g_pix.item()
        return make_update
    return prepare


if __name__ == '__main__':
    update({'torch': contestant(), 'torch-bf16': contestant(torch.bfloat16)})

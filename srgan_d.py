"""The discriminator D: tells G's pictures from real ones."""

from cli.command import UsageError
from cli.paddle_setup import fluid
from layers import batch_norm, conv2d, normal, parameter

FILTERS = 64
MIN_CROP = 32
STD = 0.02


def SRGAN_d(input_images, frozen=False):
    """input_images [N, 3, H, W] in [-1, 1] -> logits [N, 1]; a positive logit means "a real picture".

    H and W must be the crop size that D was built for: its last layer has a weight for every place of the last feature
    map [N, 512, ceil(H/256), ceil(W/256)]. This is the article's function without the layers whose output nothing reads
    (res/c, res/c2, ho/fc), and without its sigmoid, because the loss takes logits. frozen: the program uses D without
    updating it.

    Initial weights: normal with deviation 0.02, the usual choice for discriminators since DCGAN (Radford et al., 2016).
    A D that starts confident would saturate before G can follow.

    Raises UsageError, a ValueError, if H or W is unknown or below 32: four of the eight convolutions would see a single
    pixel.
    """
    if min(input_images.shape[2:]) < MIN_CROP:
        raise UsageError('D needs crops of at least %d x %d pixels, not %s; see --crop-size' % (
            MIN_CROP, MIN_CROP, ' x '.join(map(str, input_images.shape[2:]))))

    def lrelu(n):
        return fluid.layers.leaky_relu(n, alpha=0.2)

    net = lrelu(conv2d(input_images, FILTERS, 4, 'h0/c', STD, stride=2, frozen=frozen))
    for i, multiple in enumerate((2, 4, 8, 16, 32, 16, 8), start=1):
        net = conv2d(net, multiple * FILTERS, 4, 'h%d/c' % i, STD, stride=2, frozen=frozen, normalised=True)
        net = lrelu(batch_norm(net, 'h%d/bn' % i, frozen))
    net_h7 = net

    net = conv2d(net_h7, 8 * FILTERS, 3, 'res/c3', STD, frozen=frozen, normalised=True)
    net = lrelu(batch_norm(net, 'res/bn3', frozen))
    net_h8 = lrelu(fluid.layers.elementwise_add(net_h7, net))

    return fluid.layers.fc(net_h8, 1, param_attr=parameter('ho/fc2.w_0', normal('ho/fc2.w_0', STD), frozen),
                           bias_attr=parameter('ho/fc2.b_0', fluid.initializer.Constant(0.0), frozen))

"""The generator G (SRResNet): enlarges a low-resolution picture four times."""
import math

from cli.paddle_setup import fluid
from layers import batch_norm, conv2d

RESIDUAL_BLOCKS = 16
FILTERS = 64


def SRGAN_g(t_image, frozen=False, moving_statistics=False):
    """t_image [N, 3, H, W] in [-1, 1] -> [N, 3, 4H, 4W] in [-1, 1], for any H, W of at least 1.

    The article's network, layer by layer and name by name (paper: section 2.1, figure 4). frozen: the program uses G
    without updating it. moving_statistics: batch normalisation uses the moving statistics in training too, as in use.

    Initial weights: He's normal distribution, which keeps the variance through convolution and ReLU. The last batch
    normalisation of each residual block, and that of the skip connection, start at a scale of 0.1, so that at first G
    is nearly its first convolution, and the blocks grow in. `out` starts at a tenth of He's deviation, because tanh of
    large values has no gradient.

    upscale.py and evaluate.py compute G by cpu/inference_graph.py and cpu/int8.py, which rewrite it operation by
    operation. If the operations here change, these two refuse to run until they are changed too.
    """
    n = conv2d(t_image, FILTERS, 3, 'n64s1/c', he_std(t_image, 3), frozen=frozen, normalised=True)
    # The article gives this layer no name, so its saved models have Paddle's automatic name.
    n = fluid.layers.relu(batch_norm(n, 'batch_norm_0', frozen, moving_statistics))
    temp = n

    for i in range(RESIDUAL_BLOCKS):
        nn = conv2d(n, FILTERS, 3, 'n64s1/c1/%d' % i, he_std(n, 3), frozen=frozen, normalised=True)
        nn = fluid.layers.relu(batch_norm(nn, 'n64s1/b1/%d' % i, frozen, moving_statistics))
        nn = conv2d(nn, FILTERS, 3, 'n64s1/c2/%d' % i, he_std(nn, 3), frozen=frozen, normalised=True)
        nn = batch_norm(nn, 'n64s1/b2/%d' % i, frozen, moving_statistics, scale=0.1)
        n = fluid.layers.elementwise_add(n, nn)

    n = conv2d(n, FILTERS, 3, 'n64s1/c/m', he_std(n, 3), frozen=frozen, normalised=True)
    # The article gives it the name of the last block's again; Paddle then counts the suffixes on.
    n = batch_norm(n, 'n64s1/b2/%d' % (RESIDUAL_BLOCKS - 1), frozen, moving_statistics, scale=0.1,
                   suffixes=('w_3', 'b_1', 'w_4', 'w_5'))
    n = fluid.layers.elementwise_add(n, temp)

    n = conv2d(n, 4 * FILTERS, 3, 'n256s1/1', he_std(n, 3), frozen=frozen)
    n = fluid.layers.relu(fluid.layers.pixel_shuffle(n, 2))
    n = conv2d(n, 4 * FILTERS, 3, 'n256s1/2', he_std(n, 3), frozen=frozen)
    n = shuffled_out(fluid.layers.relu(n), frozen)
    return fluid.layers.tanh(n)


def he_std(input, filter_size):
    """Standard deviation of He's initial weights for a filter that reads `input` [N, C, H, W]."""
    return math.sqrt(2.0 / (input.shape[1] * filter_size ** 2))


def shuffled_out(n, frozen):
    """The article's pixel_shuffle and 1x1 convolution `out`, in the cheaper order: [N, 4F, H, W] -> [N, 3, 2H, 2W].

    A 1x1 convolution works on each pixel alone, so it may run before the shuffle moves the pixels. The four sub-pixels
    of channel c are the input channels 4c..4c+3, which a reshape to [N, F, 4H, W] lays out as rows. The shuffle then
    moves 12 channels in place of 4F. The result is that of the article's order, bit by bit.
    """
    height = n.shape[2]
    n = fluid.layers.reshape(n, [0, FILTERS, 4 * height if height > 0 else -1, 0])
    n = conv2d(n, 3, 1, 'out', 0.1 * he_std(n, 1), frozen=frozen)
    n = fluid.layers.reshape(n, [0, 3 * 4, height, 0])
    return fluid.layers.pixel_shuffle(n, 2)

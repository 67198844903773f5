"""The discriminators D: they tell G's pictures from real ones."""
import collections
import math

import vgg19
from cli.command import UsageError
from cli.paddle_setup import fluid
from layers import batch_norm, conv2d, normal, parameter, persistable_shapes, variables_of

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

    net = lrelu(conv2d(input_images, FILTERS, 4, 'h0/c', STD, stride=2, frozen=frozen))
    for i, multiple in enumerate((2, 4, 8, 16, 32, 16, 8), start=1):
        net = conv2d(net, multiple * FILTERS, 4, 'h%d/c' % i, STD, stride=2, frozen=frozen, normalised=True)
        net = lrelu(batch_norm(net, 'h%d/bn' % i, frozen))
    net_h7 = net

    net = conv2d(net_h7, 8 * FILTERS, 3, 'res/c3', STD, frozen=frozen, normalised=True)
    net = lrelu(batch_norm(net, 'res/bn3', frozen))
    net_h8 = lrelu(fluid.layers.elementwise_add(net_h7, net))

    return dense(net_h8, 1, 'ho/fc2', frozen)


def SRGAN_d_paper(input_images, frozen=False):
    """The discriminator of the paper's figure 4: input_images [N, 3, H, W] in [-1, 1] -> logits [N, 1].

    Eight 3 x 3 convolutions, of which every second one halves the map, then two dense layers, without the sigmoid. H
    and W must be the crop size that it was built for. The names of its variables begin with paper/.
    """
    net = lrelu(conv2d(input_images, FILTERS, 3, 'paper/conv0', STD, frozen=frozen))
    for i, (multiple, stride) in enumerate(((1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1), (8, 2)), start=1):
        net = conv2d(net, multiple * FILTERS, 3, 'paper/conv%d' % i, STD, stride, frozen, normalised=True)
        net = lrelu(batch_norm(net, 'paper/bn%d' % i, frozen))
    return dense(lrelu(dense(net, 1024, 'paper/fc0', frozen)), 1, 'paper/fc1', frozen)


def SRGAN_d_features(maps, frozen=False):
    """Small discriminators of VGG19's features: maps {name: [N, C, H, W]} -> [logits [N, 1, H, W], ...], one a place.

    VGG19's features tell generated textures from real ones at once, so a few layers suffice, without batch
    normalisation. SRFeat (Park et al., ECCV 2018) has such a discriminator beside that of pictures. The features are
    divided by their root mean square over the channels, because their size differs from map to map and place to place.
    """
    logits = []
    for name, features in maps.items():
        mean_square = fluid.layers.reduce_mean(fluid.layers.square(features), 1, keep_dim=True)
        # Expanded, because Paddle's own broadcast over channels is slow.
        factor = fluid.layers.expand(fluid.layers.rsqrt(mean_square + 1e-2), [1, features.shape[1], 1, 1])
        net = fluid.layers.elementwise_mul(features, factor)
        for i, size in enumerate((3, 1, 3)):
            std = math.sqrt(2.0 / (net.shape[1] * size ** 2))
            net = lrelu(conv2d(net, FILTERS, size, '%s/conv%d' % (name, i), std, frozen=frozen))
        logits.append(conv2d(net, 1, 1, name + '/out', STD, frozen=frozen))
    return logits


def lrelu(n):
    return fluid.layers.leaky_relu(n, alpha=0.2)


def dense(n, size, name, frozen):
    """A dense layer with the variables `name`.w_0 and `name`.b_0: [N, ...] -> [N, size]."""
    return fluid.layers.fc(n, size, param_attr=parameter(name + '.w_0', normal(name + '.w_0', STD), frozen),
                           bias_attr=parameter(name + '.b_0', fluid.initializer.Constant(0.0), frozen))


# A discriminator. network: its function; maps: {map: weight of its logits in G's loss} if it sees VGG19's feature maps
# instead of pictures; loss: a key of losses.ADVERSARIAL_LOSSES.
Discriminator = collections.namedtuple('Discriminator', 'network maps loss')

DISCRIMINATORS = {
    'article': Discriminator(SRGAN_d, {}, 'standard'),
    'paper': Discriminator(SRGAN_d_paper, {}, 'standard'),
    'features': Discriminator(SRGAN_d_features, {'vgg12': 0.3, 'vgg22': 0.6, 'vgg34': 1.0, 'vgg44': 4.0},
                              'relativistic'),
}


def judge(discriminator, pictures, maps, frozen=False):
    """D's logits of real and generated pictures -> [(logits of real, logits of generated, weight), ...].

    pictures: the real and the generated ones, both [N, 3, H, W] in [-1, 1]; maps: their features by VGG19, two dicts
    {name: [N, C, H, W]} with those that D sees.

    Both go through D in one batch, so that batch normalisation treats them alike. In two batches it would give both the
    same mean in every channel, and D would learn nothing: in its last maps, of few places, it is the means that differ.
    """
    if discriminator.maps:
        both = {name: fluid.layers.concat([one[name] for one in maps]) for name in discriminator.maps}
        logits = zip(discriminator.network(both, frozen), discriminator.maps.values())
    else:
        logits = [(discriminator.network(fluid.layers.concat(list(pictures)), frozen), 1.0)]
    return [(*fluid.layers.split(both, 2, 0), weight) for both, weight in logits]


def variables_of_d(name, crop_size):
    """{name: shape} of the variables of the discriminator DISCRIMINATORS[name] for crops of crop_size pixels a side."""
    discriminator = DISCRIMINATORS[name]
    if not discriminator.maps:
        return variables_of(discriminator.network, [None, 3, crop_size, crop_size])
    program = fluid.Program()
    with fluid.program_guard(program, fluid.Program()):
        discriminator.network({one: fluid.data(one, [None, vgg19.FILTERS[vgg19.OUTPUTS.index(one)], None, None])
                               for one in discriminator.maps})
    return persistable_shapes(program)

"""The article's networks as its text prints them, written apart from the project's: the reference of the tests.

Names are as the article gives them, so Paddle completes them by its counters; layers that feed nothing are there;
operations stand in the article's order. The sizes are those of the module constants that tests/tiny.py changes.
"""
import srgan_d
import srgan_g
from cli.paddle_setup import fluid

L = fluid.layers
BN = dict(momentum=0.99, epsilon=0.001)


def conv(input, filters, size, stride, name):
    return L.conv2d(input=input, num_filters=filters, filter_size=size, stride=stride, padding='SAME', name=name)


def generator(t_image):
    f = srgan_g.FILTERS
    n = L.relu(L.batch_norm(conv(t_image, f, 3, 1, 'n64s1/c'), **BN))
    skip = n
    for i in range(srgan_g.RESIDUAL_BLOCKS):
        nn = L.relu(L.batch_norm(conv(n, f, 3, 1, 'n64s1/c1/%d' % i), name='n64s1/b1/%d' % i, **BN))
        nn = L.batch_norm(conv(nn, f, 3, 1, 'n64s1/c2/%d' % i), name='n64s1/b2/%d' % i, **BN)
        n = L.elementwise_add(n, nn)
    n = L.batch_norm(conv(n, f, 3, 1, 'n64s1/c/m'), name='n64s1/b2/%d' % i, **BN)
    n = L.elementwise_add(n, skip)
    n = L.relu(L.pixel_shuffle(conv(n, 4 * f, 3, 1, 'n256s1/1'), 2))
    n = L.relu(L.pixel_shuffle(conv(n, 4 * f, 3, 1, 'n256s1/2'), 2))
    return L.tanh(conv(n, 3, 1, 1, 'out'))


def discriminator(images):
    """-> logits; the article's sigmoid is left to the caller."""
    f = srgan_d.FILTERS
    n = L.leaky_relu(conv(images, f, 4, 2, 'h0/c'), alpha=0.2)
    for i, filters in enumerate((2 * f, 4 * f, 8 * f, 16 * f, 32 * f, 16 * f, 8 * f), start=1):
        n = L.leaky_relu(L.batch_norm(conv(n, filters, 4, 2, 'h%d/c' % i), name='h%d/bn' % i, **BN), alpha=0.2)
    for name, filters, size in (('', 2 * f, 1), ('2', 2 * f, 3), ('3', 8 * f, 3)):
        net = conv(n, filters, size, 1, 'res/c' + name)
        net = L.leaky_relu(L.batch_norm(net, name='res/bn' + name, **BN), alpha=0.2)
    n = L.leaky_relu(L.elementwise_add(n, net), alpha=0.2)
    L.leaky_relu(L.fc(n, size=16 * f, name='ho/fc'), alpha=0.2)
    return L.fc(n, size=1, name='ho/fc2')


# The paper's discriminator (its figure 4), and those of features, which the article does not have

def papers_discriminator(images):
    f = srgan_d.FILTERS
    n = L.leaky_relu(conv(images, f, 3, 1, 'paper/conv0'), alpha=0.2)
    for i, (filters, stride) in enumerate([(f, 2), (2 * f, 1), (2 * f, 2), (4 * f, 1), (4 * f, 2), (8 * f, 1),
                                           (8 * f, 2)], start=1):
        n = L.batch_norm(conv(n, filters, 3, stride, 'paper/conv%d' % i), **named('paper/bn%d' % i), **BN)
        n = L.leaky_relu(n, alpha=0.2)
    n = L.leaky_relu(L.fc(n, size=1024, name='paper/fc0'), alpha=0.2)
    return L.fc(n, size=1, name='paper/fc1')


def named(name):
    """The names of a batch normalisation's variables, which Paddle would complete by a counter."""
    return dict(param_attr=name + '.w_0', bias_attr=name + '.b_0', moving_mean_name=name + '.w_1',
                moving_variance_name=name + '.w_2')


def features_discriminator(features, name):
    n = features / L.sqrt(L.reduce_mean(features * features, dim=1, keep_dim=True) + 0.01)
    for i, size in enumerate((3, 1, 3)):
        n = L.leaky_relu(conv(n, srgan_d.FILTERS, size, 1, '%s/conv%d' % (name, i)), alpha=0.2)
    return conv(n, 1, 1, 1, name + '/out')

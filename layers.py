"""Convolution and batch normalisation whose variables have names of their own.

Fluid names parameters by a counter that runs over the whole process, so a network that is built twice gets two sets of
weights. Here every variable has a fixed name, so two builds of a network, in one program or in several, share weights.
"""
import zlib

from cli.paddle_setup import fluid

BN_MOMENTUM = 0.99
BN_EPSILON = 0.001


def parameter(name, initializer=None, frozen=False):
    """A ParamAttr for the variable `name`. If it is frozen, the program reads the variable but never updates it."""
    return fluid.ParamAttr(name=name, initializer=initializer, trainable=not frozen)


def normal(name, std):
    """Gaussian initial weights whose seed is the variable's name.

    Without a seed of its own each initial-weight operation takes the program's, and all layers of one shape start with
    the same weights.
    """
    seed = zlib.crc32(('%d/%s' % (fluid.default_startup_program().random_seed, name)).encode()) & 0x7fffffff
    return fluid.initializer.NormalInitializer(0.0, std, seed=seed or 1)


def conv2d(input, num_filters, filter_size, name, std, stride=1, frozen=False, normalised=False):
    """Convolution with 'SAME' padding and a bias, variables `name`.w_0 and `name`.b_0.

    input [N, C, H, W] -> [N, num_filters, ceil(H / stride), ceil(W / stride)].

    normalised: a batch normalisation follows, so the bias is frozen. The normalisation subtracts any bias, whose
    gradient is therefore only rounding errors, and Adam would turn these into steps of full size.
    """
    return fluid.layers.conv2d(
        input, num_filters, filter_size, stride=stride, padding='SAME',
        param_attr=parameter(name + '.w_0', normal(name + '.w_0', std), frozen),
        bias_attr=parameter(name + '.b_0', fluid.initializer.Constant(0.0), frozen or normalised))


def batch_norm(input, name, frozen=False, moving_statistics=False, scale=1.0, suffixes=('w_0', 'b_0', 'w_1', 'w_2')):
    """Batch normalisation of input [N, C, H, W]. scale: the scale's initial value.

    suffixes: of the variables of scale, shift, mean and variance.

    A training program updates the moving statistics of every network that it runs, even if the weights are frozen, so
    the program of D would update those of G too. A frozen layer therefore has momentum 1: it normalises by the batch,
    as in training, and does not change the moving statistics. With `moving_statistics` the layer normalises by the
    moving statistics in training too, and does not change them.
    """
    scale_name, shift_name, mean_name, variance_name = ['%s.%s' % (name, suffix) for suffix in suffixes]
    return fluid.layers.batch_norm(
        input, momentum=1.0 if frozen else BN_MOMENTUM, epsilon=BN_EPSILON,
        param_attr=parameter(scale_name, fluid.initializer.Constant(scale), frozen),
        bias_attr=parameter(shift_name, fluid.initializer.Constant(0.0), frozen),
        moving_mean_name=mean_name, moving_variance_name=variance_name, use_global_stats=moving_statistics)


def program_of(network, shape):
    """A program with only `network`, a function of one Variable, built on a feed `input` of the given shape."""
    program = fluid.Program()
    with fluid.program_guard(program, fluid.Program()), fluid.unique_name.guard():
        network(fluid.data('input', shape))
    return program


def variables_of(network, shape):
    """{name: shape} of all variables of `network`, a function of one Variable of the given shape, in order."""
    return persistable_shapes(program_of(network, shape))


def persistable_shapes(program):
    """{name: shape} of a program's persistable variables, in order."""
    return {variable.name: tuple(variable.shape) for variable in program.list_vars() if variable.persistable}

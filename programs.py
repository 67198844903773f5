"""The three programs of the training, init-G, D and G, and the one that draws a sample.

All variables have names of their own, so the programs share G, D and VGG19 through the scope that they run in.
One startup program gives each variable its first value once.
"""
import collections

from cli.paddle_setup import fluid
from cpu.training_graph import for_cpu
from data_utils import SCALE
from losses import CONTENT_LOSSES, PICTURE_LOSSES, cross_entropy, objective_of, perceptual_loss, probability
from srgan_d import SRGAN_d
from srgan_g import SRGAN_g

fl = fluid.layers
mixed_precision = fluid.contrib.mixed_precision

LEARNING_RATE = 'learning_rate'
BETA1 = 0.9

# How each program's Adam works. on_cpu: with the rewrites of cpu/training_graph.py; amp: with 16-bit floats;
# clip_gradients: the largest norm of a program's gradient, or None; distribution: a function that wraps the optimizer
# so that it takes the mean gradient of several trainers, or None.
AdamOptions = collections.namedtuple('AdamOptions', 'on_cpu amp clip_gradients distribution',
                                     defaults=(False, None, None))

Programs = collections.namedtuple('Programs', 'startup init_g d g sample')


class Step:
    """A program with what an Executor needs of it: the names that it is fed, and what it returns, by name.

    `persistables` are the names of the variables that it keeps from run to run, in order, wherever these are kept.
    """

    def __init__(self, program, feeds, fetches):
        self.program, self.feeds, self.fetches = program, feeds, fetches
        self.persistables = sorted(variable.name for variable in program.list_vars() if variable.persistable)

    def run(self, exe, scope, feed):
        """One run on those of `feed` that it wants -> {name: float for a loss or mean, else array}."""
        values = exe.run(self.program, feed={name: feed[name] for name in self.feeds},
                         fetch_list=list(self.fetches.values()), scope=scope)
        return {name: value.item() if value.size == 1 else value for name, value in zip(self.fetches, values)}


def build_for(settings, on_cpu, distribution=None):
    """The programs of a run with these settings, for a processor or a GPU. See AdamOptions for `distribution`."""
    return build(settings.crop_size, objective_of(settings), settings.seed,
                 AdamOptions(on_cpu, settings.amp, settings.clip_gradients, distribution), settings.moving_statistics)


def build(crop_size, objective, seed, adam, moving_statistics=False):
    """Programs(startup, init_g, d, g, sample), the last four of them Steps, for crops of one size.

    objective: a losses.Objective; seed: determines all initial values; adam: AdamOptions. With `moving_statistics` G's
    maps are normalised as G in use does it, and the statistics stay as they are.
    """
    startup = fluid.Program()
    startup.random_seed = seed
    # Adam's moments get their names from a counter: a build of its own counts from zero.
    with fluid.unique_name.guard():
        return Programs(
            startup,
            init_g_step(startup, crop_size, moving_statistics, adam),
            d_step(startup, crop_size, objective, moving_statistics, adam),
            g_step(startup, crop_size, objective, moving_statistics, adam),
            sample_step(startup))


def init_g_step(startup, crop_size, moving_statistics, adam):
    """Pre-training: G and the pixel loss."""
    program = fluid.Program()
    with fluid.program_guard(program, startup):
        t_image, t_target_image = picture_pair(crop_size)
        l_g_pix = fl.mse_loss(SRGAN_g(t_image, moving_statistics=moving_statistics), t_target_image)
        minimize(l_g_pix, 'init_g', adam)
    return Step(program, ['t_image', 't_target_image'], {'l_g_pix': l_g_pix})


def d_step(startup, crop_size, objective, moving_statistics, adam):
    """D learns to tell real pictures from G's: BCE(D(real), 1) + BCE(D(G(lr)), 0). G is read, not changed."""
    program = fluid.Program()
    with fluid.program_guard(program, startup):
        t_image, t_target_image = picture_pair(crop_size)
        fake = SRGAN_g(t_image, frozen=True, moving_statistics=moving_statistics)
        fake.stop_gradient = True
        real_logits, fake_logits = SRGAN_d(t_target_image), SRGAN_d(fake)
        fetches = {'l_d_real': cross_entropy(real_logits, 1.0 - objective.label_smoothing),
                   'l_d_fake': cross_entropy(fake_logits, 0.0),
                   'd_real': probability(real_logits), 'd_fake': probability(fake_logits)}
        minimize(fetches['l_d_real'] + fetches['l_d_fake'], 'd', adam)
    return Step(program, ['t_image', 't_target_image'], fetches)


def g_step(startup, crop_size, objective, moving_statistics, adam):
    """G learns to keep the content and to pass for real: -log D(G(lr)). D and VGG19 are read, not changed."""
    program, content = fluid.Program(), CONTENT_LOSSES[objective.content_loss]
    feeds = ['t_image', 't_target_image']
    with fluid.program_guard(program, startup):
        t_image, t_target_image = picture_pair(crop_size)
        fake = SRGAN_g(t_image, moving_statistics=moving_statistics)
        losses = {'l_g_pix': fl.mse_loss(fake, t_target_image)}
        loss = content.pixel_weight * losses['l_g_pix']
        if content.features:
            seen, wanted = fake, t_target_image
            if content.size:
                seen = bilinear_resize(fake, content.size)
                wanted = picture('vgg19_input', content.size)
                feeds.append('vgg19_input')
            losses['l_g_percep'] = perceptual_loss(content, seen, wanted)
            loss += content.percep_weight * losses['l_g_percep']
        losses['l_g_gan'] = cross_entropy(SRGAN_d(fake, frozen=True), 1.0)
        for extra in PICTURE_LOSSES:
            weight = objective.picture_weights.get(extra.weight)
            if weight:
                losses[extra.column] = extra.loss(fake, t_target_image)
                loss += weight * losses[extra.column]
        losses['g_loss'] = loss + objective.adversarial_weight * losses['l_g_gan']
        minimize(losses['g_loss'], 'g', adam)
    return Step(program, feeds, losses)


def sample_step(startup):
    """G as in use: test_im [N, 4H, 4W, 3] from t_image [N, H, W, 3] of any size. Changes nothing.

    Without the rewrites for the CPU: a convolution for oneDNN in a program for tests keeps the weights of its
    first run, and goes on with those when training has changed them.
    """
    program = fluid.Program()
    with fluid.program_guard(program, startup):
        test_im = fl.transpose(SRGAN_g(picture('t_image', None), frozen=True), [0, 2, 3, 1])
    return Step(program.clone(for_test=True), ['t_image'], {'test_im': test_im})


def minimize(loss, name, adam):
    """Adam on what is not frozen in the loss's program; `name` keeps the stages' moments apart.

    The learning rate is one variable of all programs, set from outside: two of Paddle's own schedules would
    share a step counter and run at double speed.
    """
    if adam.on_cpu:
        for_cpu(fluid.default_main_program())
    learning_rate = fl.create_global_var([1], 0.0, 'float32', persistable=True, name=LEARNING_RATE)
    clip = fluid.clip.GradientClipByGlobalNorm(adam.clip_gradients) if adam.clip_gradients else None
    optimizer = fluid.optimizer.Adam(learning_rate, beta1=BETA1, name=name, grad_clip=clip)
    if adam.amp:
        optimizer = in_16_bits(optimizer)
    if adam.distribution:
        optimizer = adam.distribution(optimizer)
    optimizer.minimize(loss)


def in_16_bits(optimizer):
    """Convolutions and what follows them in 16-bit floats, with a scaled loss. In 32 bits stay the variables, batch
    normalisation, G's last tanh, whose steps in 16 bits are 1/16 of a grey level and more, and the losses."""
    lists = mixed_precision.AutoMixedPrecisionLists(custom_black_list={'batch_norm', 'elementwise_sub'})
    return mixed_precision.decorate(optimizer, lists)


def picture_pair(crop_size):
    """The feeds of every training program, as NCHW: low resolution, and the crop that it comes from."""
    return picture('t_image', crop_size // SCALE), picture('t_target_image', crop_size)


def picture(name, size):
    """A feed [N, size, size, 3], the article's layout, as [N, 3, size, size]. Size None takes any."""
    return fl.transpose(fluid.data(name, [None, size, size, 3], 'float32'), [0, 3, 1, 2])


def bilinear_resize(image, size):
    """Equal to OpenCV's INTER_LINEAR, by which the real picture is resized: [N, 3, H, W] -> [N, 3, size, size]."""
    return fl.image_resize(image, [size, size], resample='BILINEAR', align_corners=False, align_mode=0)

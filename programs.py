"""The three training programs, for init-G, D and G, and the program that makes a sample.

All variables have fixed names, so the programs share G, D and VGG19 through the scope in which they run. A single
startup program initialises each variable once.
"""
import collections

from cli.paddle_setup import fluid
from cpu.shared_forward import share_forward
from cpu.training_graph import for_cpu
from data_utils import SCALE
from losses import CONTENT_LOSSES, PICTURE_LOSSES, d_losses, g_loss, objective_of, opinions, perceptual_loss
from srgan_d import DISCRIMINATORS, judge
from srgan_g import SRGAN_g
from vgg19 import feature_maps

fl = fluid.layers
mixed_precision = fluid.contrib.mixed_precision

# The variables of the learning rates of G and D, and that of each training program.
LEARNING_RATE = 'learning_rate'
LEARNING_RATE_D = 'learning_rate_d'
RATES = {'init_g': LEARNING_RATE, 'd': LEARNING_RATE_D, 'g': LEARNING_RATE}
BETA1 = 0.9

# How the programs are optimised. on_cpu: whether to apply the rewrites of cpu/training_graph.py; amp: whether to
# compute in 16-bit floats; clip_gradients: the largest norm of a program's gradient, or None; distribution: a function
# that wraps the optimizer so that it uses the mean gradient of several trainers, or None.
AdamOptions = collections.namedtuple('AdamOptions', 'on_cpu amp clip_gradients distribution',
                                     defaults=(False, None, None))

Programs = collections.namedtuple('Programs', 'startup init_g d g sample')


class Step:
    """A program with the names of its feeds and its fetches, {name: Variable}.

    `persistables` lists, sorted by name, the variables that keep their values from one run to the next. after: the Step
    that must have run on the same feed just before, because this one goes on with what it has computed; or None.
    """

    def __init__(self, program, feeds, fetches):
        self.program = program
        self.feeds = feeds
        self.fetches = fetches
        self.scope = None
        self.after = None
        self.fed = None
        self.persistables = sorted(variable.name for variable in program.list_vars() if variable.persistable)

    def run(self, exe, scope, feed):
        """Run the program once with its feeds from `feed` -> {name: a float for a scalar, else an array}.

        Without its cache, the Executor copies the program for each run, which takes a tenth of an update. With the
        cache, it would run the program in the scope of the first run, whatever scope it is given.
        """
        assert not self.after or self.after.fed is feed, 'not the feed of the step before'
        self.fed = feed
        self.scope = self.scope or scope
        values = exe.run(self.program, feed={name: feed[name] for name in self.feeds},
                         fetch_list=list(self.fetches.values()), scope=scope,
                         use_program_cache=scope is self.scope)
        return {name: value.item() if value.size == 1 else value for name, value in zip(self.fetches, values)}


def build_for(settings, on_cpu, distribution=None):
    """Build the programs for a run's settings, for a CPU or a GPU. See AdamOptions for `distribution`.

    With `moving_statistics` on a CPU, g goes on with what d has computed and must run after d, on the same feed.
    """
    built = build(settings.crop_size, objective_of(settings), settings.seed,
                  AdamOptions(on_cpu, settings.amp, settings.clip_gradients, distribution), settings.moving_statistics)
    # Otherwise G's statistics follow the batch, in g alone.
    if on_cpu and settings.moving_statistics:
        continue_from_d(built.d, built.g)
    return built


def build(crop_size, objective, seed, adam, moving_statistics=False):
    """Build Programs(startup, init_g, d, g, sample); startup is a Program, the others are Steps.

    crop_size: side of the high-resolution crops in pixels, a multiple of 4; objective: a losses.Objective; seed:
    determines all initial values; adam: AdamOptions. With `moving_statistics`, G's maps are normalised by the moving
    statistics, as when G is used, and the statistics do not change. Raises UsageError for crops too small for D.
    """
    startup = fluid.Program()
    startup.random_seed = seed
    # Paddle names Adam's moments by a counter. It must start from zero, so that every build gives the same names.
    with fluid.unique_name.guard():
        return Programs(
            startup,
            init_g_step(startup, crop_size, moving_statistics, adam),
            d_step(startup, crop_size, objective, moving_statistics, adam),
            g_step(startup, crop_size, objective, moving_statistics, adam),
            sample_step(startup))


def continue_from_d(d, g):
    """Have the Step g, which runs after d on the same feed, take G's picture and VGG19's maps from d."""
    share_forward(d.program, g.program)
    g.after = d
    read = {name for op in g.program.global_block().ops for name in op.input_arg_names}
    g.feeds = [name for name in g.feeds if name in read]


def init_g_step(startup, crop_size, moving_statistics, adam):
    """Pre-training: G minimises the pixel loss."""
    program = fluid.Program()
    with fluid.program_guard(program, startup):
        t_image, t_target_image = picture_pair(crop_size)
        l_g_pix = fl.mse_loss(SRGAN_g(t_image, moving_statistics=moving_statistics), t_target_image)
        minimize(l_g_pix, 'init_g', adam)
    return Step(program, ['t_image', 't_target_image'], {'l_g_pix': l_g_pix})


def d_step(startup, crop_size, objective, moving_statistics, adam):
    """D learns to tell real pictures from G's. G and VGG19 do not change."""
    program = fluid.Program()
    discriminator = DISCRIMINATORS[objective.discriminator]
    with fluid.program_guard(program, startup):
        t_image, t_target_image = picture_pair(crop_size)
        with already_initialised():
            # With moving statistics nothing changes G here. It is then built as in g, which can go on with its maps.
            fake = SRGAN_g(t_image, frozen=not moving_statistics, moving_statistics=moving_statistics)
            fake.stop_gradient = True
        maps = [feature_maps(image, discriminator.maps) for image in (t_target_image, fake)]
        verdicts = judge(discriminator, (t_target_image, fake), maps)
        losses = d_losses(discriminator.loss, verdicts, objective.label_smoothing)
        fetches = {**losses, **opinions(verdicts)}
        minimize(fl.sums(list(losses.values())), 'd', adam)
    return Step(program, ['t_image', 't_target_image'], fetches)


def g_step(startup, crop_size, objective, moving_statistics, adam):
    """G minimises the content loss and the adversarial loss. D and VGG19 do not change."""
    program = fluid.Program()
    content = CONTENT_LOSSES[objective.content_loss]
    discriminator = DISCRIMINATORS[objective.discriminator]
    feeds = ['t_image', 't_target_image']
    with fluid.program_guard(program, startup):
        t_image, t_target_image = picture_pair(crop_size)
        with already_initialised():
            fake = SRGAN_g(t_image, moving_statistics=moving_statistics)
        losses = {'l_g_pix': fl.mse_loss(fake, t_target_image)}
        loss = content.pixel_weight * losses['l_g_pix']
        # VGG19 looks at a picture once, for D and for the content loss, unless the content loss resizes the pictures.
        names = {**discriminator.maps, **({} if content.size else content.features)}
        fake_maps, target_maps = feature_maps(fake, names), feature_maps(t_target_image, names)
        if content.features:
            pair = fake_maps, target_maps
            if content.size:
                feeds.append('vgg19_input')
                resized = bilinear_resize(fake, content.size), picture('vgg19_input', content.size)
                pair = [feature_maps(image, content.features) for image in resized]
            losses['l_g_percep'] = perceptual_loss(content, *pair)
        elif content.distance:
            losses['l_g_percep'] = content.distance(fake, t_target_image)
        if 'l_g_percep' in losses:
            loss += content.percep_weight * losses['l_g_percep']
        with already_initialised():
            verdicts = judge(discriminator, (t_target_image, fake), (target_maps, fake_maps), frozen=True)
        losses['l_g_gan'] = g_loss(discriminator.loss, verdicts)
        for extra in PICTURE_LOSSES:
            weight = objective.picture_weights.get(extra.weight)
            if weight:
                losses[extra.column] = extra.loss(fake, t_target_image)
                loss += weight * losses[extra.column]
        losses['g_loss'] = loss + objective.adversarial_weight * losses['l_g_gan']
        minimize(losses['g_loss'], 'g', adam)
    return Step(program, feeds, losses)


def sample_step(startup):
    """G as it is used: t_image [N, H, W, 3] of any size -> test_im [N, 4H, 4W, 3], both in [-1, 1]. Trains nothing.

    The rewrites for the CPU are not applied here: in a test program, a convolution by oneDNN keeps the weights of its
    first run and would ignore what the training changes later.
    """
    program = fluid.Program()
    with fluid.program_guard(program, startup), already_initialised():
        test_im = fl.transpose(SRGAN_g(picture('t_image', None), frozen=True), [0, 2, 3, 1])
    return Step(program.clone(for_test=True), ['t_image'], {'test_im': test_im})


def already_initialised():
    """A context for a network whose variables the startup program has from an earlier training program.

    For each parameter Paddle searches the whole startup program. With one that is thrown away, this takes no time.
    """
    return fluid.program_guard(fluid.default_main_program(), fluid.Program())


def minimize(loss, name, adam):
    """Add Adam's update of all variables that are not frozen; `name` keeps the moments of the programs apart.

    The caller sets the learning rates' variables. Paddle's own schedules in two programs would share a step counter and
    so run at double speed.
    """
    stop_gradients(fluid.default_main_program())
    if adam.on_cpu:
        for_cpu(fluid.default_main_program())
    learning_rate = fl.create_global_var([1], 0.0, 'float32', persistable=True, name=RATES[name])
    clip = fluid.clip.GradientClipByGlobalNorm(adam.clip_gradients) if adam.clip_gradients else None
    optimizer = fluid.optimizer.Adam(learning_rate, beta1=BETA1, name=name, grad_clip=clip)
    if adam.amp:
        optimizer = in_16_bits(optimizer)
    if adam.distribution:
        optimizer = adam.distribution(optimizer)
    optimizer.minimize(loss)


def stop_gradients(program):
    """Have `minimize` compute only the gradients that lead to trained variables.

    Paddle computes gradients of frozen weights, constants and feeds too, and then does not use them: it would go back
    through all of VGG19 to the real picture, and in D's program to both pictures and through G.
    """
    block = program.global_block()
    for parameter in block.all_parameters():
        parameter.stop_gradient = not parameter.trainable
    for op in block.ops:
        if all(block.var(name).stop_gradient for name in op.input_arg_names):
            for name in op.output_arg_names:
                block.var(name).stop_gradient = True


def in_16_bits(optimizer):
    """Compute convolutions and the operations after them in 16-bit floats, with a scaled loss.

    The variables, batch normalisation, the losses and G's last tanh stay in 32 bits. A tanh in 16 bits would have steps
    of 1/16 of a grey level and more.
    """
    lists = mixed_precision.AutoMixedPrecisionLists(custom_black_list={'batch_norm', 'elementwise_sub'})
    return mixed_precision.decorate(optimizer, lists)


def picture_pair(crop_size):
    """The feeds of every training program as NCHW: the low-resolution picture and the high-resolution crop."""
    return picture('t_image', crop_size // SCALE), picture('t_target_image', crop_size)


def picture(name, size):
    """A feed in the article's layout [N, size, size, 3], transposed to [N, 3, size, size]. None admits any size."""
    return fl.transpose(fluid.data(name, [None, size, size, 3], 'float32'), [0, 3, 1, 2])


def bilinear_resize(image, size):
    """[N, 3, H, W] -> [N, 3, size, size], equal to OpenCV's INTER_LINEAR, which resizes the real picture."""
    return fl.image_resize(image, [size, size], resample='BILINEAR', align_corners=False, align_mode=0)

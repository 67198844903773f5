"""The networks and the three programs: names, sharing, what each moves, and numbers against a reference."""
import re

import article
import cv2
import numpy as np
import pytest
import tiny_lpips
import tiny_vgg
from conftest import photograph

import layers
import losses
import programs
import srgan_d
import srgan_g
import vgg19
from cli.paddle_setup import fluid
from cpu import training_graph
from data_utils import bicubic_resize, standardized
from losses import Objective
from measuring import lpips_alex
from storage import checkpoint, persistables

CROP, BATCH = 40, 3
LEARNING_RATE = 1e-3


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(srgan_g, 'RESIDUAL_BLOCKS', 2)
    monkeypatch.setattr(srgan_g, 'FILTERS', 8)
    monkeypatch.setattr(srgan_d, 'FILTERS', 4)
    monkeypatch.setattr(vgg19, 'FILTERS', tiny_vgg.FILTERS)
    monkeypatch.setattr(lpips_alex, 'CONVOLUTIONS', tiny_lpips.CONVOLUTIONS)


def feed_of(seed=0):
    hr = np.stack([photograph(CROP, CROP, seed + number) for number in range(BATCH)])
    lr = np.stack([bicubic_resize(image, CROP // 4, CROP // 4) for image in hr])
    return {'t_image': standardized(lr), 't_target_image': standardized(hr), 'vgg19_input': standardized(
        np.stack([bicubic_resize(image, 224, 224) for image in hr]))}


def learning(names):
    """Without the biases that a batch normalisation takes out again."""
    return [name for name in names if not re.match(r'(n64s1/c|h[1-7]/c|res/c3|paper/conv[1-7]).*\.b_0$', name)]


class World:
    """The programs in a scope of their own, started."""

    def __init__(self, content_loss='mse', on_cpu=True, seed=7, tmp_path=None, label_smoothing=0.0,
                 picture_weights=None, moving_statistics=False, discriminator='article', **method):
        self.programs = programs.build(
            CROP, Objective(content_loss, 1e-3, picture_weights or {}, label_smoothing, discriminator), seed,
            programs.AdamOptions(on_cpu, **method), moving_statistics)
        self.exe, self.scope = fluid.Executor(fluid.CPUPlace()), fluid.Scope()
        self.exe.run(self.programs.startup, scope=self.scope)
        if tmp_path:
            tiny_vgg.write(str(tmp_path))
            vgg19.load(self.scope, str(tmp_path), 'vgg54')
        if content_loss == 'lpips':
            self.set(tiny_lpips.random_weights(np.random.RandomState(0)))
        self.set(dict.fromkeys((programs.LEARNING_RATE, programs.LEARNING_RATE_D),
                               np.array([LEARNING_RATE], np.float32)))
        self.g = learning(layers.variables_of(srgan_g.SRGAN_g, [None, 3, None, None]))
        self.d = learning(srgan_d.variables_of_d(discriminator, CROP))

    def set(self, values):
        for name, value in values.items():
            persistables.set_variable(self.scope, name, value)

    def all(self):
        """{name: value} of every variable that any program keeps."""
        names = set().union(*(step.persistables for step in self.programs[1:]))
        return {name: persistables.get_variable(self.scope, name) for name in names}

    def moved(self, step, feed=None):
        """The names of what one run of a step changes."""
        before = self.all()
        step.run(self.exe, self.scope, feed or feed_of())
        after = self.all()
        return {name for name in before if not np.array_equal(before[name], after[name])}


# Names

def test_g_and_d_have_the_articles_names_and_shapes():
    """Of the networks in full size, built by the article's code in a process that has built nothing else."""
    for network, reference, shape in ((srgan_g.SRGAN_g, article.generator, [None, 3, 24, 24]),
                                      (srgan_d.SRGAN_d, article.discriminator, [None, 3, 384, 384])):
        ours = layers.variables_of(network, shape)
        theirs = layers.variables_of(reference, shape)
        dead = ('res/c.', 'res/c2.', 'res/bn.', 'res/bn2.', 'ho/fc.')
        assert ours == {name: shape for name, shape in theirs.items() if not name.startswith(dead)}
    g = layers.variables_of(srgan_g.SRGAN_g, [None, 3, 24, 24])
    assert {'batch_norm_0.w_0', 'n64s1/b2/15.w_3', 'n64s1/b2/15.b_1', 'n64s1/b2/15.w_4', 'n64s1/b2/15.w_5'} <= set(g)
    parameters = sum(np.prod(shape) for name, shape in g.items())
    assert parameters == 1524739


@pytest.mark.parametrize('ours, theirs, size', [(srgan_g.SRGAN_g, article.generator, 12),
                                                (srgan_d.SRGAN_d, article.discriminator, CROP)])
def test_models_of_the_articles_code_load_and_ours_load_there(ours, theirs, size, tiny, tmp_path):
    """Both ways through the disk, the networks compute the same."""
    exe = fluid.Executor(fluid.CPUPlace())
    image = standardized(photograph(size, size, 3)).transpose(2, 0, 1)[np.newaxis].repeat(2, 0) * [[[[1]]], [[[-1]]]]

    def forward(network, load):
        program, startup = fluid.Program(), fluid.Program()
        startup.random_seed = 11
        with fluid.program_guard(program, startup), fluid.unique_name.guard(), fluid.scope_guard(fluid.Scope()):
            out = network(fluid.data('input', [None, 3, size, size]))
            program = program.clone(for_test=True)
            exe.run(startup)
            load(program)
            return exe.run(program, feed={'input': image.astype(np.float32)}, fetch_list=[out])[0]

    def save_theirs(program):
        rng = np.random.RandomState(0)
        for variable in program.list_vars():
            if variable.persistable:
                value = np.abs(rng.normal(0.3, 0.1, variable.shape)).astype(np.float32)
                persistables.set_variable(fluid.global_scope(), variable.name, value * 0.3)
        fluid.io.save_persistables(exe, str(tmp_path / 'theirs'), program)

    def load_ours(program):
        shapes = layers.variables_of(ours, [None, 3, size, size])
        loaded = checkpoint.load_network(str(tmp_path / 'theirs'), shapes)
        for name, value in loaded.items():
            persistables.set_variable(fluid.global_scope(), name, value)
        checkpoint.save_network(str(tmp_path / 'ours'), loaded.items())

    def load_theirs(program):
        names = layers.variables_of(ours, [None, 3, size, size])
        fluid.io.load_vars(exe, str(tmp_path / 'ours'), program, predicate=lambda variable: variable.name in names)

    wanted = forward(theirs, save_theirs)
    assert np.ptp(wanted) > 0
    for name, network, load in (('ours', ours, load_ours), ('theirs', theirs, load_theirs)):
        assert np.abs(forward(network, load) - wanted).max() <= 1e-5 * np.abs(wanted).max(), name


# First values

def test_layers_of_one_shape_start_apart_and_the_seed_decides(tiny):
    first, second, other = World(seed=1).all(), World(seed=1).all(), World(seed=2).all()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not np.array_equal(first['n64s1/c1/0.w_0'], first['n64s1/c1/1.w_0'])
    assert not np.array_equal(first['n64s1/c1/0.w_0'], other['n64s1/c1/0.w_0'])


def test_every_variable_is_initialised_by_one_operation(tiny):
    operations = [name for op in World().programs.startup.global_block().ops for name in op.output_arg_names]
    random = [name for name in operations if name.endswith('.w_0') and '/b' not in name]
    assert len(random) == len(set(random))


# What each program moves

def test_pre_training_moves_all_of_g_and_nothing_else(tiny):
    world = World()
    moved = world.moved(world.programs.init_g)
    assert set(world.g) <= moved
    assert all('init_g' in name for name in moved - set(world.g))


@pytest.mark.parametrize('step', ['init_g', 'd', 'g'])
def test_a_bias_that_normalisation_takes_out_stays(step, tiny):
    world = World()
    biases = {name for name in world.all() if re.match(r'(n64s1/c|h[1-7]/c|res/c3|paper/conv[1-7]).*\.b_0$', name)}
    assert len(biases) == 6 + 8
    assert not biases & world.moved(getattr(world.programs, step))


def test_the_d_step_moves_all_of_d_and_no_weight_or_statistic_of_g(tiny):
    world = World()
    moved = world.moved(world.programs.d)
    assert set(world.d) <= moved
    assert not moved & set(world.g)
    assert all('_d_' in name for name in moved - set(world.d))


@pytest.mark.parametrize('content_loss', sorted(losses.CONTENT_LOSSES))
def test_the_g_step_moves_all_of_g_and_nothing_of_d_or_vgg(content_loss, tiny, tmp_path):
    world = World(content_loss, tmp_path=None if content_loss == 'mse' else tmp_path)
    moved = world.moved(world.programs.g)
    assert set(world.g) <= moved
    assert not moved & set(world.d)
    assert not [name for name in moved if re.match(r'vgg19_|conv\d|lin\d', name)]
    assert all('_g_' in name and 'init_g' not in name for name in moved - set(world.g))


def test_a_sample_moves_nothing(tiny):
    world = World()
    assert world.moved(world.programs.sample) == set()


def test_a_sample_follows_the_weights(tiny):
    """It is what the article's generator makes of the weights as they are now, not as they were once."""
    world, feed = World(), {'t_image': feed_of()['t_image']}
    for _ in range(2):
        sample = world.programs.sample.run(world.exe, world.scope, feed)['test_im']
        program = fluid.Program()
        with fluid.program_guard(program, fluid.Program()), fluid.unique_name.guard():
            out = article.generator(nchw('t_image', CROP // 4))
        wanted, = world.exe.run(program.clone(for_test=True), feed=feed, fetch_list=[out], scope=world.scope)
        assert np.abs(sample - wanted.transpose(0, 2, 3, 1)).max() <= 1e-5
        world.programs.init_g.run(world.exe, world.scope, feed_of())


def test_a_program_is_copied_for_its_first_run_alone(tiny, monkeypatch):
    world = World()
    feed = feed_of()
    world.programs.g.run(world.exe, world.scope, feed)
    monkeypatch.setattr(fluid.Program, 'clone', None)
    world.programs.g.run(world.exe, world.scope, feed)


def test_a_program_runs_in_the_scope_that_it_is_given(tiny):
    world, other = World(), fluid.Scope()
    first = world.programs.sample.run(world.exe, world.scope, feed_of())['test_im']
    world.exe.run(world.programs.startup, scope=other)
    persistables.set_variable(other, 'out.w_0', np.zeros((3, 8, 1, 1), np.float32))
    assert not world.programs.sample.run(world.exe, other, feed_of())['test_im'].any()
    assert np.array_equal(world.programs.sample.run(world.exe, world.scope, feed_of())['test_im'], first)


def test_the_stages_have_moments_of_their_own(tiny):
    world = World()
    moments = [{name for name in step.persistables if 'moment' in name}
               for step in (world.programs.init_g, world.programs.d, world.programs.g)]
    assert all(moments) and not moments[0] & moments[1] and not moments[0] & moments[2] and not moments[1] & moments[2]


def test_d_of_real_and_d_of_fake_are_one_network(tiny):
    """Shown G's own pictures as real ones, D has the same opinion of both, by the same parameters."""
    world, feed = World(), feed_of()
    d = world.programs.d
    fake, = [op.output('Out')[0] for op in d.program.global_block().ops if op.type == 'tanh']
    picture, = world.exe.run(d.program, feed={name: feed[name] for name in d.feeds}, fetch_list=[fake],
                             scope=world.scope)
    world = World()
    losses = world.programs.d.run(world.exe, world.scope, dict(feed, t_target_image=picture.transpose(0, 2, 3, 1)))
    assert losses['d_real'] == pytest.approx(losses['d_fake'], rel=1e-6)
    parameters = {parameter.name for parameter in d.program.all_parameters()}
    assert parameters <= {*layers.variables_of(srgan_g.SRGAN_g, [None, 3, None, None]),
                          *layers.variables_of(srgan_d.SRGAN_d, [None, 3, CROP, CROP])}


def test_a_g_step_on_the_adversarial_loss_alone_raises_ds_opinion(tiny, monkeypatch):
    monkeypatch.setitem(losses.CONTENT_LOSSES, 'mse', losses.ContentLoss(0.0, 0.0, {}, None, None))
    world = World()
    for _ in range(3):
        world.programs.d.run(world.exe, world.scope, feed_of())
    step, feed = world.programs.g, feed_of()
    logits = [op.input('X')[0] for op in step.program.global_block().ops
              if op.type == 'sigmoid_cross_entropy_with_logits']
    opinions = [world.exe.run(step.program, feed={name: feed[name] for name in step.feeds}, fetch_list=logits,
                              scope=world.scope)[0].mean() for _ in range(4)]
    assert opinions == sorted(opinions) and opinions[-1] > opinions[0] + 1e-3


def test_d_learns_to_tell_pictures_apart(monkeypatch):
    """Real pictures from soft ones, by what it is right about for others: needs both in one batch."""
    monkeypatch.setattr(srgan_d, 'FILTERS', 8)
    size, batch = 32, 8

    def pictures(seed):
        real = [photograph(size, size, 100 * seed + number) for number in range(batch)]
        soft = [bicubic_resize(bicubic_resize(image, size // 4, size // 4), size, size) for image in real]
        return {name: standardized(np.stack(images)) for name, images in (('real', real), ('soft', soft))}

    program, startup, scope = fluid.Program(), fluid.Program(), fluid.Scope()
    startup.random_seed = 1
    with fluid.program_guard(program, startup), fluid.unique_name.guard():
        verdicts = srgan_d.judge(srgan_d.DISCRIMINATORS['article'], (nchw('real', size), nchw('soft', size)), ({}, {}))
        opinions = losses.opinions(verdicts)
        loss = fluid.layers.sums(list(losses.d_losses('standard', verdicts, 0.0).values()))
        test = program.clone()
        training_graph.for_cpu(program)
        fluid.optimizer.Adam(1e-3).minimize(loss)
    exe = fluid.Executor(fluid.CPUPlace())
    exe.run(startup, scope=scope)
    for seed in range(100):
        exe.run(program, feed=pictures(seed), scope=scope)
    real, soft, told = exe.run(test, feed=pictures(1000), fetch_list=list(opinions.values()), scope=scope)
    assert real - soft > 0.1 and told >= 0.9


# Numbers

class Reference:
    """A program of the article's plain networks, each built once, with the values of a World."""

    def __init__(self, world, build, feed, moved):
        program, startup, scope = fluid.Program(), fluid.Program(), fluid.Scope()
        with fluid.program_guard(program, startup), fluid.unique_name.guard(), fluid.scope_guard(scope):
            losses, fetches = build()
            parameters = [variable for variable in program.all_parameters() if variable.name in moved
                          and variable.trainable]
            gradients = fluid.gradients([losses], parameters)
            world.exe.run(startup)
            values = world.all()
            for variable in program.list_vars():
                if variable.persistable and variable.name in values:
                    persistables.set_variable(scope, variable.name, values[variable.name])
            fetched = world.exe.run(program, feed=feed, fetch_list=fetches + gradients)
        self.values, self.scope = fetched[:len(fetches)], scope
        self.gradients = dict(zip([variable.name for variable in parameters], fetched[len(fetches):]))


def cross_entropy(logits, label):
    """log(1 + exp(-x)) for real, log(1 + exp(x)) for generated, in the open."""
    sign = -1.0 if label else 1.0
    return fluid.layers.reduce_mean(fluid.layers.log(1.0 + fluid.layers.exp(sign * logits)))


def nchw(name, size):
    return fluid.layers.transpose(fluid.data(name, [None, size, size, 3]), [0, 3, 1, 2])


def mean_square(a, b):
    return fluid.layers.reduce_mean(fluid.layers.square(a - b))


def assert_step(world, before, optimiser, gradients, rounding=1e-4):
    """The variables of `world` are one step of Adam by `gradients` from `before`."""
    largest = max(np.abs(gradient).max() for gradient in gradients.values())
    after = world.all()
    for name, gradient in gradients.items():
        moment, = [after[other] for other in after if other.startswith('%s_%s_moment1' % (name, optimiser))]
        assert np.abs(moment / 0.1 - gradient).max() <= rounding * np.abs(gradient).max() + 1e-6 * largest, name
        own = moment.astype(float) / 0.1
        rate = LEARNING_RATE * np.sqrt(1 - 0.999) / (1 - 0.9)
        wanted = before[name] - rate * 0.1 * own / (np.sqrt(0.001 * own ** 2) + 1e-8)
        assert np.abs(after[name] - wanted).max() <= 1e-6, name


def assert_same_statistics(world, reference, names):
    for name in names:
        if name.endswith(('.w_1', '.w_2', '.w_4', '.w_5')):
            wanted = persistables.get_variable(reference.scope, name)
            assert np.allclose(persistables.get_variable(world.scope, name), wanted, rtol=1e-4, atol=1e-6), name


def init_g_reference():
    loss = mean_square(article.generator(nchw('t_image', CROP // 4)), nchw('t_target_image', CROP))
    return loss, [loss]


def test_a_step_of_pre_training_equals_the_reference(tiny):
    world, feed = World(), feed_of()
    before = world.all()
    reference = Reference(world, init_g_reference, {k: feed[k] for k in ('t_image', 't_target_image')}, world.g)
    losses = world.programs.init_g.run(world.exe, world.scope, feed)
    assert losses == {'l_g_pix': pytest.approx(reference.values[0].item(), rel=1e-5)}
    assert_step(world, before, 'init_g', reference.gradients)
    assert_same_statistics(world, reference, world.g)


def judged(discriminator, real, fake):
    """D's logits of real and generated pictures, which are one batch, in pairs with G's weight of each."""
    images = fluid.layers.concat([real, fake], axis=0)
    if discriminator == 'features':
        weights = {'vgg12': 0.3, 'vgg22': 0.6, 'vgg34': 1.0, 'vgg44': 4.0}
        logits = [(article.features_discriminator(vgg19.vgg19(images, name), name), weights[name]) for name in weights]
    else:
        network = article.discriminator if discriminator == 'article' else article.papers_discriminator
        logits = [(network(images), 1.0)]
    return [(*[fluid.layers.slice(both, [0], [start], [start + BATCH]) for start in (0, BATCH)], weight)
            for both, weight in logits]


def mean_over(maps):
    return sum(fluid.layers.reduce_mean(one) for one in maps) / float(len(maps))


@pytest.mark.parametrize('discriminator', sorted(srgan_d.DISCRIMINATORS))
def test_a_step_of_d_equals_the_reference(discriminator, tiny, tmp_path):
    world, feed = World(tmp_path=tmp_path, discriminator=discriminator), feed_of()

    def fake_of_g():
        fake = article.generator(nchw('t_image', CROP // 4))
        return fluid.layers.reduce_mean(fake), [fluid.layers.transpose(fake, [0, 2, 3, 1])]

    def build():
        pairs = judged(discriminator, nchw('real', CROP), nchw('fake', CROP))
        fetches = [mean_over([fluid.layers.sigmoid(pair[place]) for pair in pairs]) for place in (0, 1)]
        if discriminator == 'features':
            losses = [sum(cross_entropy(real - fake, 1) for real, fake, _ in pairs)]
        else:
            losses = [cross_entropy(pairs[0][0], 1), cross_entropy(pairs[0][1], 0)]
        return sum(losses), fetches + losses + [pair[place] for pair in pairs for place in (0, 1)]

    before = world.all()
    fake = Reference(world, fake_of_g, {'t_image': feed['t_image']}, world.g).values[0]
    reference = Reference(world, build, {'real': feed['t_target_image'], 'fake': fake}, world.d)
    losses = world.programs.d.run(world.exe, world.scope, feed)
    names = ['d_real', 'd_fake'] + (['l_d_pair'] if discriminator == 'features' else ['l_d_real', 'l_d_fake'])
    logits = reference.values[len(names):]
    told = np.mean([np.mean(real > fake) for real, fake in zip(logits[::2], logits[1::2])])
    assert losses == {'d_told': pytest.approx(told, abs=1e-3), **{
        name: pytest.approx(value.item(), rel=1e-5) for name, value in zip(names, reference.values)}}
    assert set(reference.gradients) == {name for name in world.d if not re.match(r'.*bn\d?\.w_[12]$', name)}
    assert_step(world, before, 'd', reference.gradients)


def angle(a, b):
    """The mean square distance of the directions of two feature maps at each place."""
    a, b = [one / fluid.layers.sqrt(fluid.layers.reduce_sum(one * one, dim=1, keep_dim=True) + 1e-6) for one in (a, b)]
    return fluid.layers.reduce_mean(fluid.layers.reduce_sum((a - b) * (a - b), dim=1))


def lpips(fake, target):
    """As losses.lpips, with the weights of the channels multiplied and the directions by Paddle's l2_normalize."""
    fl, total = fluid.layers, 0
    shift, scale = [fl.assign(np.float32(values).reshape(1, 3, 1, 1)) for values in (
        [-.030, -.088, -.188], [.458, .448, .450])]
    seen, wanted = [(image - shift) / scale for image in (fake, target)]
    for i, (filters, size, stride, padding, _) in enumerate(tiny_lpips.CONVOLUTIONS):
        names = {'param_attr': 'conv%d.w_0' % i, 'bias_attr': 'conv%d.b_0' % i}
        if i in (1, 2):
            seen, wanted = [fl.pool2d(one, 3, 'max', 2) for one in (seen, wanted)]
        seen, wanted = [fl.relu(fl.conv2d(one, filters, size, stride, padding, **names)) for one in (seen, wanted)]
        a, b = [fl.l2_normalize(one, 1, 1e-20) for one in (seen, wanted)]
        weights = fl.create_parameter([1, filters, 1, 1], 'float32', 'lin%d.w_0' % i)
        total += fl.reduce_mean(fl.reduce_sum((a - b) * (a - b) * fl.expand_as(weights, a), 1))
    return total


@pytest.mark.parametrize('content_loss, discriminator', [
    *[(name, 'article') for name in sorted(losses.CONTENT_LOSSES)],
    ('mse', 'paper'), ('mse', 'features'), ('directions', 'features'), ('pool5', 'features')])
def test_a_step_of_g_equals_the_reference(content_loss, discriminator, tiny, tmp_path):
    world, feed = World(content_loss, tmp_path=tmp_path, discriminator=discriminator), feed_of()
    feeds = ['t_image', 't_target_image'] + (['vgg19_input'] if content_loss == 'pool5' else [])
    assert world.programs.g.feeds == feeds

    def build():
        fake, target = article.generator(nchw('t_image', CROP // 4)), nchw('t_target_image', CROP)
        fetches = [mean_square(fake, target)]
        loss = fetches[0]
        if content_loss == 'pool5':
            resized = fluid.layers.resize_bilinear(fake, [224, 224], align_corners=False, align_mode=0)
            fetches.append(mean_square(vgg19.vgg19(resized, 'pool5'), vgg19.vgg19(nchw('vgg19_input', 224), 'pool5')))
            loss = loss + 2e-6 * fetches[1]
        elif content_loss == 'layers':
            # Each map from a network of its own.
            weights = {'vgg12': 0.1, 'vgg22': 0.1, 'vgg34': 1, 'vgg44': 1, 'vgg54': 1}
            seen, wanted = [{name: vgg19.vgg19(image, name) for name in weights} for image in (fake, target)]
            fetches.append(sum(weights[name] * fluid.layers.reduce_mean(fluid.layers.abs(seen[name] - wanted[name]))
                               / fluid.layers.reduce_mean(wanted[name]) for name in weights))
            loss = 20 * loss + fetches[1]
        elif content_loss == 'directions':
            weights = {'vgg12': 2.0, 'vgg22': 0.2, 'vgg34': 3.0, 'vgg44': 1.0, 'vgg54': 1.0}
            fetches.append(sum(weights[name] * angle(*[vgg19.vgg19(image, name) for image in (fake, target)])
                               for name in weights))
            loss = 20 * loss + fetches[1]
        elif content_loss == 'lpips':
            fetches.append(lpips(fake, target))
            loss = 3 * loss + fetches[1]
        elif content_loss != 'mse':
            fetches.append(mean_square(*[vgg19.vgg19(image, content_loss) / 12.75 for image in (fake, target)]))
            loss = fetches[1]
        pairs = judged(discriminator, target, fake)
        fetches.append(sum(weight * cross_entropy(fake - real if discriminator == 'features' else fake, 1)
                           for real, fake, weight in pairs))
        loss = loss + 1e-3 * fetches[-1]
        return loss, fetches + [loss]

    before = world.all()
    reference = Reference(world, build, {name: feed[name] for name in feeds}, world.g)
    losses = world.programs.g.run(world.exe, world.scope, feed)
    names = ['l_g_pix'] + (['l_g_percep'] if content_loss != 'mse' else []) + ['l_g_gan', 'g_loss']
    assert losses == {name: pytest.approx(value.item(), rel=1e-5) for name, value in zip(names, reference.values)}
    # The direction of a feature near zero changes with its last bits.
    assert_step(world, before, 'g', reference.gradients, 1e-3 if content_loss == 'directions' else 1e-4)
    assert_same_statistics(world, reference, world.g)


@pytest.mark.parametrize('name', ['init_g', 'd', 'g'])
def test_the_rewrites_for_the_cpu_change_no_number(name, tiny):
    """Losses and gradients; D's small maps become matrix products, the rest goes to oneDNN."""
    plain, fast = World(on_cpu=False), World(on_cpu=True)
    kinds = [op.type for op in getattr(fast.programs, name).program.global_block().ops]
    assert name == 'init_g' or 'unfold' in kinds
    marked = [op for op in getattr(fast.programs, name).program.global_block().ops if op.type == 'conv2d']
    assert all(op.attr('use_mkldnn') for op in marked)
    results = [getattr(world.programs, name).run(world.exe, world.scope, feed_of()) for world in (plain, fast)]
    assert results[1] == {loss: pytest.approx(value, rel=1e-5) for loss, value in results[0].items()}
    before, after = plain.all(), fast.all()
    moments = [variable for variable in before if '_%s_moment1' % name in variable]
    largest = max(np.abs(before[variable]).max() for variable in moments)
    for variable in moments:
        assert np.allclose(after[variable], before[variable], rtol=1e-3, atol=1e-5 * largest), variable


@pytest.mark.parametrize('discriminator, content_loss', [
    ('features', 'directions'), ('article', 'pool5'), ('paper', 'mse')])
def test_g_goes_on_with_what_d_has_computed(discriminator, content_loss, tiny, tmp_path):
    """And no number changes: losses and variables, in several updates."""
    worlds = [World(content_loss, moving_statistics=True, discriminator=discriminator, tmp_path=tmp_path)
              for _ in range(2)]
    apart, together = [world.programs for world in worlds]
    programs.continue_from_d(together.d, together.g)
    assert together.g.feeds == (['vgg19_input'] if content_loss == 'pool5' else [])
    counts = [[op.type for op in built.g.program.global_block().ops].count('conv2d') for built in (apart, together)]
    # All of G's, and those of VGG19 up to the last map that D sees, once for each picture.
    assert counts[0] - counts[1] == len([name for name in worlds[0].g if re.match(r'(n|out).*\.w_0$', name)
                                         and '/b' not in name]) + (24 if discriminator == 'features' else 0)
    for number in range(3):
        feed = feed_of(number)
        seen = [[getattr(world.programs, name).run(world.exe, world.scope, feed) for name in ('d', 'g')]
                for world in worlds]
        assert seen[0] == seen[1]
    wanted, variables = [world.all() for world in worlds]
    assert all(np.array_equal(variables[name], wanted[name]) for name in wanted)
    together.d.run(worlds[1].exe, worlds[1].scope, feed_of())
    with pytest.raises(AssertionError, match='not the feed'):
        together.g.run(worlds[1].exe, worlds[1].scope, feed_of())


@pytest.mark.parametrize('discriminator', sorted(srgan_d.DISCRIMINATORS))
def test_the_programs_compute_no_gradient_that_nothing_reads(discriminator, tiny):
    objective = Objective('directions', 0.2, {loss.weight: 1.0 for loss in losses.PICTURE_LOSSES}, 0.1, discriminator)
    for step in programs.build(CROP, objective, 0, programs.AdamOptions(on_cpu=False))[1:4]:
        operations = step.program.global_block().ops
        gradients = {name for op in operations for name in op.output_arg_names if '@GRAD' in name}
        assert gradients and gradients <= {name for op in operations for name in op.input_arg_names}


@pytest.mark.parametrize('size', [1, 2, 3, 4])
@pytest.mark.parametrize('kernel', [3, 4])
def test_a_convolution_as_matrix_product_is_the_convolution(size, kernel):
    outputs = []
    for rewrite in (False, True):
        program, startup, scope = fluid.Program(), fluid.Program(), fluid.Scope()
        startup.random_seed = 3
        with fluid.program_guard(program, startup), fluid.unique_name.guard(), fluid.scope_guard(scope):
            image = fluid.data('image', [None, 5, size, size])
            image.stop_gradient = False
            out = layers.conv2d(image, 7, kernel, 'c', 0.3, stride=2)
            if rewrite:
                training_graph.for_cpu(program)
                assert 'conv2d' not in [op.type for op in program.global_block().ops]
            gradients = fluid.gradients([fluid.layers.reduce_sum(out * out)],
                                        [image, program.global_block().var('c.w_0')])
            exe = fluid.Executor(fluid.CPUPlace())
            exe.run(startup)
            feed = {'image': np.random.RandomState(1).normal(size=(3, 5, size, size)).astype(np.float32)}
            outputs.append(exe.run(program, feed=feed, fetch_list=[out] + gradients))
    for plain, product in zip(*outputs):
        assert product.shape == plain.shape and np.abs(product - plain).max() <= 1e-5 * np.abs(plain).max()


# Sizes

@pytest.mark.parametrize('height, width', [(1, 1), (1, 7), (5, 2), (24, 24)])
def test_g_enlarges_any_size(height, width, tiny):
    world = World()
    image = standardized(photograph(height, width, 0))[np.newaxis]
    assert world.programs.sample.run(world.exe, world.scope, {'t_image': image})['test_im'].shape == (
        1, 4 * height, 4 * width, 3)


@pytest.mark.parametrize('shape', [[None, 3, 28, 32], [None, 3, None, None]])
def test_d_says_which_crops_it_takes(shape):
    with pytest.raises(ValueError, match='at least 32 x 32'):
        layers.variables_of(srgan_d.SRGAN_d, shape)


def test_a_gpu_gets_none_of_the_rewrites(tiny):
    for step in programs.build(CROP, Objective('mse', 1e-3), 0, programs.AdamOptions(on_cpu=False))[1:]:
        operations = step.program.global_block().ops
        assert 'unfold' not in [op.type for op in operations]
        assert not any(op.has_attr('use_mkldnn') and op.attr('use_mkldnn') for op in operations)


# Steering

def test_smoothed_labels_are_those_of_real_pictures_alone(tiny):
    sharp, soft, feed = World(), World(label_smoothing=0.2), feed_of()
    logits = [op.input('X')[0] for op in soft.programs.d.program.global_block().ops
              if op.type == 'sigmoid_cross_entropy_with_logits'][0]
    logits, = soft.exe.run(soft.programs.d.program, feed={name: feed[name] for name in soft.programs.d.feeds},
                           fetch_list=[logits], scope=soft.scope)
    sharp, soft = [world.programs.d.run(world.exe, world.scope, feed) for world in (sharp, World(label_smoothing=0.2))]
    x = logits.astype(np.float64)
    assert soft['l_d_real'] == pytest.approx(np.mean(np.log1p(np.exp(-x)) + 0.2 * x), rel=1e-5)
    assert abs(soft['l_d_real'] - sharp['l_d_real']) > 1e-3
    assert soft['l_d_fake'] == sharp['l_d_fake']


@pytest.mark.parametrize('step', ['init_g', 'd', 'g'])
def test_clipping_limits_the_norm_of_a_programs_whole_gradient(step, tiny):
    def moments(**method):
        world = World(**method)
        getattr(world.programs, step).run(world.exe, world.scope, feed_of())
        return {name: value for name, value in world.all().items() if '_%s_moment1' % step in name}

    free = moments()
    norm = np.sqrt(sum(np.sum(np.square(value / 0.1, dtype=np.float64)) for value in free.values()))
    for limit, factor in ((norm / 3, 1 / 3), (norm * 3, 1)):
        for name, value in moments(clip_gradients=limit).items():
            assert np.allclose(value, factor * free[name], rtol=1e-3, atol=1e-3 * np.abs(free[name]).max()), name


@pytest.mark.parametrize('content_loss, discriminator', [('pool5', 'article'), ('directions', 'features')])
def test_16_bits_leave_normalisation_output_and_losses_in_32(content_loss, discriminator, tiny):
    """Built and looked at: this Paddle computes in 16 bits on a GPU alone."""
    built = programs.build(CROP, Objective(content_loss, 1e-3, discriminator=discriminator), 0,
                           programs.AdamOptions(on_cpu=False, amp=True))
    scalings = set()
    for step in built[1:4]:
        block = step.program.global_block()

        def types(op, block=block):
            return {block.var(name).dtype for name in op.input_arg_names if block.has_var(name)}

        float16, float32 = fluid.core.VarDesc.VarType.FP16, fluid.core.VarDesc.VarType.FP32
        forward = [op for op in block.ops if not op.type.endswith('_grad')]
        assert all(types(op) == {float16} for op in forward if op.type == 'conv2d')
        kept = [op for op in forward if op.type in ('batch_norm', 'tanh', 'sigmoid_cross_entropy_with_logits',
                                                    'elementwise_sub', 'square', 'reduce_mean', 'adam')]
        assert len({op.type for op in kept}) >= 4
        assert all(float16 not in types(op) for op in kept)
        assert all(variable.dtype == float32 for variable in step.fetches.values())
        assert all(variable.dtype != float16 for variable in step.program.list_vars() if variable.persistable)
        scalings |= {name for name in step.persistables if name.startswith('loss_scaling')}
    assert len(scalings) == 3


# What the penalty on phases and the moving statistics do

def sub_pixel_errors(fake, target):
    """The penalty on phases in numpy: images [N, H, W, 3], the whole of which is one window."""
    n, height, width, _ = fake.shape
    means = (fake - target).reshape(n, height // 4, 4, width // 4, 4, 3).mean((1, 3))
    return np.mean((means - means.mean((1, 2), keepdims=True)) ** 2)


def computed(loss, fake, target):
    """A loss of pictures [N, H, W, 3]."""
    program, feed = fluid.Program(), {'fake': fake, 'target': target}
    with fluid.program_guard(program, fluid.Program()):
        value = loss(*[nchw(name, fake.shape[1]) for name in feed])
    return fluid.Executor(fluid.CPUPlace()).run(program, feed=feed, fetch_list=[value])[0].item()


def noisy_pictures():
    """-> (fake, target), [N, H, W, 3]."""
    rng = np.random.RandomState(0)
    target = rng.uniform(-1, 1, (2, 48, 48, 3)).astype(np.float32)
    return (target + rng.normal(0, 0.1, target.shape)).astype(np.float32), target


def test_the_penalty_on_phases_sees_dots_alone():
    fake, target = noisy_pictures()
    assert computed(losses.phase_loss, fake, target) == pytest.approx(sub_pixel_errors(fake, target), rel=1e-4)
    brighter, dots = target + np.float32(0.1), target.copy()
    dots[:, ::4, ::4] += np.float32(0.1)
    assert computed(losses.phase_loss, brighter, target) < 1e-9 < 1e-5 < computed(losses.phase_loss, dots, target)


def test_the_penalty_on_colours_sees_areas_alone():
    fake, target = noisy_pictures()
    means = (fake - target).reshape(2, 3, 16, 3, 16, 3).mean((2, 4))
    assert computed(losses.colour_loss, fake, target) == pytest.approx(np.mean(means ** 2), rel=1e-4)
    tinted, textured = target + np.float32([0.1, 0, 0]), target.copy()
    textured[:, ::2] += np.float32(0.1)
    textured[:, 1::2] -= np.float32(0.1)
    assert computed(losses.colour_loss, textured, target) < 1e-9
    assert computed(losses.colour_loss, tinted, target) == pytest.approx(0.01 / 3, rel=1e-3)


def test_the_penalty_on_spectra_sees_textures_that_are_not_there_alone():
    fake, target = noisy_pictures()
    excess = np.maximum(log_power(fake) - log_power(target), 0)
    assert computed(losses.spectrum_loss, fake, target) == pytest.approx(np.mean(excess ** 2), rel=1e-3)
    rng = np.random.RandomState(1)
    smooth = np.zeros((1, 96, 96, 3), np.float32)
    textured, faint = [smooth + np.float32(rng.normal(0, size, (1, 96, 96, 1))) for size in (0.1, 0.02)]
    assert computed(losses.spectrum_loss, smooth, textured) == 0
    assert computed(losses.spectrum_loss, faint, textured) < 1e-3 < 1 < computed(losses.spectrum_loss, faint, smooth)


def log_power(pictures):
    """As losses.log_power, by OpenCV: [N, 48, 48, 3] -> [N, 3, 3, 63]."""
    grey = pictures @ np.float32([0.299, 0.587, 0.114])
    starts = range(0, 41, 4)
    power = np.array([[[cv2.dct(image[y:y + 8, x:x + 8]) ** 2 for x in starts] for y in starts] for image in grey])
    means = power[:, :9, :9].reshape(2, 3, 3, 3, 3, 8, 8).mean((2, 4))
    return np.log(means.reshape(2, 3, 3, 64)[..., 1:] + (2 / 255) ** 2)


def test_the_pixel_loss_of_drawings_is_for_areas_of_one_colour_alone():
    fake, target = noisy_pictures()
    assert computed(losses.drawing_loss, fake, target) == 0
    target[1, 8:40, 5:30] = 0.25
    target[1, 20:24, 10:20] += np.float32(2 / 255)
    assert computed(losses.drawing_loss, fake, target) == pytest.approx(drawing_error(fake, target), rel=1e-3)


def drawing_error(fake, target):
    """As losses.drawing_loss, by OpenCV."""
    here = target[:, :-1, :-1]
    steps = np.maximum(np.abs(target[:, 1:, :-1] - here), np.abs(target[:, :-1, 1:] - here)).max(3)
    flat = (steps < 1 / 255).astype(np.float32)
    window = dict(ddepth=-1, ksize=(31, 31), normalize=False, borderType=cv2.BORDER_CONSTANT)
    inside = np.ones(flat.shape[1:], np.float32)
    share = np.array([cv2.boxFilter(one, **window) / cv2.boxFilter(inside, **window) for one in flat])
    return np.mean(share ** 2 * np.mean((fake[:, :-1, :-1] - here) ** 2, 3))


@pytest.mark.parametrize('loss', losses.PICTURE_LOSSES)
def test_a_penalty_is_a_part_of_gs_loss(tiny, loss):
    """With its weight, and after eight steps at most the share `left` of it is left."""
    left = {'l_g_phase': 0.5, 'l_g_colour': 0.9, 'l_g_spectrum': 0.9, 'l_g_drawing': 0.9}[loss.column]
    plain, held, feed = World(), World(picture_weights={loss.weight: 3000.0}), feed_of()
    # An area of one colour.
    feed['t_target_image'][:, :16] = 0.5
    columns = [world.programs.g.run(world.exe, world.scope, feed) for world in (plain, held)]
    assert loss.column not in columns[0] and columns[1][loss.column] > 0
    assert columns[1]['g_loss'] == pytest.approx(columns[0]['g_loss'] + 3000 * columns[1][loss.column], rel=1e-4)
    course = [held.programs.g.run(held.exe, held.scope, feed)[loss.column] for _ in range(8)]
    assert course[-1] < left * columns[1][loss.column]


def test_with_moving_statistics_both_stages_see_g_as_in_use(tiny):
    """G's picture is the sample program's, and its statistics stay in its own steps too."""
    world, feed = World(moving_statistics=True), feed_of()
    for _ in range(3):
        world.programs.init_g.run(world.exe, world.scope, feed)
    sample = world.programs.sample.run(world.exe, world.scope, {'t_image': feed['t_image']})['test_im']
    statistics = {name for name in world.g if name.endswith(('.w_1', '.w_2', '.w_4', '.w_5'))}
    moved = world.moved(world.programs.d)
    assert moved and not moved & set(world.g)
    losses = world.programs.g.run(world.exe, world.scope, feed)
    assert losses['l_g_pix'] == pytest.approx(np.mean((sample - feed['t_target_image']) ** 2), rel=1e-4)
    moved = world.moved(world.programs.g)
    assert moved & set(world.g) and not moved & statistics
    moved = world.moved(world.programs.init_g)
    assert moved & set(world.g) and not moved & statistics

"""The Paddle contestants of benchmarks/train.py: the article's graph, and this project's with and without rewrites."""
import functools
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, 'tests')]

import article
import contestant
import numpy as np

import programs
import srgan_d
import srgan_g
import vgg19
from cli.paddle_setup import fluid
from cpu.memory import give_back_zeros
from losses import Objective
from storage import persistables

L = fluid.layers
LEARNING_RATE = 1e-4


def resize_networks(sizes):
    srgan_g.RESIDUAL_BLOCKS, srgan_g.FILTERS, srgan_d.FILTERS = sizes.blocks, sizes.filters, sizes.d_filters
    vgg19.FILTERS = tuple(sizes.vgg_filters)


def ours(on_cpu):
    def prepare(stage, sizes, feed):
        resize_networks(sizes)
        exe = fluid.Executor(fluid.CPUPlace())
        scope = fluid.Scope()
        built = programs.build(sizes.crop, Objective('pool5', 1e-3), 0, programs.AdamOptions(on_cpu))
        exe.run(built.startup, scope=scope)
        if on_cpu:
            give_back_zeros(scope, built.startup)
        set_vgg(scope, vgg19.parameter_shapes('pool5'))
        persistables.set_variable(scope, programs.LEARNING_RATE, np.array([LEARNING_RATE], np.float32))
        steps = [built.init_g] if stage == 'init' else [built.d, built.g]
        return lambda: [step.run(exe, scope, feed) for step in steps][-1]['l_g_pix']
    return prepare


def set_vgg(scope, shapes):
    """Set random weights of He's deviation: with VGG19's initial zeros an update would be faster than with numbers."""
    rng = np.random.RandomState(0)
    for name, shape in shapes.items():
        std = np.sqrt(2 / np.prod(shape[1:])) if len(shape) == 4 else 0
        persistables.set_variable(scope, name, rng.normal(0, std, shape).astype(np.float32))


# The article's graph, as it was published: parameters have automatic names, each program builds G and D anew, some
# layers have an output that nothing reads, and each program of G has the whole VGG19. `article_d` and `article_g` build
# a program and return the loss to fetch and the names of the feeds.

def as_published(stage, sizes, feed):
    resize_networks(sizes)
    exe = fluid.Executor(fluid.CPUPlace())
    scope = fluid.Scope()
    steps = []
    for build in [functools.partial(article_g, adversarial=False)] if stage == 'init' else [article_d, article_g]:
        program, startup = fluid.Program(), fluid.Program()
        with fluid.program_guard(program, startup):
            steps.append((program, *build(sizes)))
        exe.run(startup, scope=scope)

    def update():
        for program, loss, inputs in steps:
            value, = exe.run(program, feed={name: feed[name] for name in inputs}, fetch_list=[loss], scope=scope)
        return value.item()
    return update


def data(name, side):
    return L.transpose(L.data(name=name, shape=[side, side, 3], dtype='float32'), perm=[0, 3, 1, 2])


def adam(loss, parameters):
    fluid.optimizer.Adam(learning_rate=LEARNING_RATE, beta1=0.9).minimize(loss, parameter_list=parameters)


def parameters():
    return [variable.name for variable in fluid.default_main_program().all_parameters() if variable.trainable]


def article_d(sizes):
    fake = article.generator(data('t_image', sizes.crop // 4))
    of_g = parameters()
    real = L.sigmoid(article.discriminator(data('t_target_image', sizes.crop)))
    fake = L.sigmoid(article.discriminator(fake))
    loss = cross_entropy(real, 1.0) + cross_entropy(fake, 0.0)
    adam(loss, [name for name in parameters() if name not in of_g])
    return loss, ['t_image', 't_target_image']


def article_g(sizes, adversarial=True):
    fake = article.generator(data('t_image', sizes.crop // 4))
    of_g = parameters()
    mse = L.reduce_mean(L.square_error_cost(fake, data('t_target_image', sizes.crop)))
    maps = [article_vgg(images)[1] for images in (
        L.image_resize(fake, [224, 224], resample='NEAREST'), data('vgg19_input', 224))]
    content = 2e-6 * L.reduce_mean(L.square_error_cost(*maps))
    loss = mse
    if adversarial:
        loss = mse + content + 1e-3 * cross_entropy(L.sigmoid(article.discriminator(fake)), 0.0)
    adam(loss, of_g)
    return mse, ['t_image', 't_target_image', 'vgg19_input']


def article_vgg(images):
    """-> (classes [N, 1000], pool5)."""
    n = images
    for block, (filters, groups) in enumerate(zip(vgg19.FILTERS, vgg19.GROUPS), start=1):
        for i in range(groups):
            n = L.conv2d(n, filters, 3, padding=1, act='relu', bias_attr=False,
                         param_attr=fluid.ParamAttr(name='vgg19_conv%d_%d_weights' % (block, i + 1)))
        n = L.pool2d(n, pool_size=2, pool_type='max', pool_stride=2)
    out = n
    for name, size, act in (('fc6', 4096, 'relu'), ('fc7', 4096, 'relu'), ('fc8', 1000, None)):
        out = L.fc(out, size, act=act, param_attr=fluid.ParamAttr(name=name + '_weights'),
                   bias_attr=fluid.ParamAttr(name=name + '_offset'))
        if act:
            out = L.dropout(out, dropout_prob=0.5)
    return out, n


def cross_entropy(x, label):
    labels = L.fill_constant_batch_size_like(x, shape=[-1, 1], dtype='float32', value=label)
    return L.reduce_mean(L.sigmoid_cross_entropy_with_logits(x, labels))


if __name__ == '__main__':
    contestant.update({'article-stock': as_published, 'article': as_published, 'plain': ours(False),
                       'ours': ours(True)})

"""Does D learn? Each discriminator against the pictures of a frozen G, judged on photographs that it does not train on.

    python benchmarks/game.py --data PHOTOS                              crops of 96 x 96, 8 in a batch
    python benchmarks/game.py --data PHOTOS --crop-size 384 --batch-size 4
    python benchmarks/game.py --data PHOTOS --contestants article article-separate --learning-rate 1e-3

Prints for each discriminator, as it learns, which share of held-out pairs it tells apart and its mean opinions of real
and generated pictures, from 0 (generated) to 1 (real). `-separate`: real and generated pictures are two batches, each
normalised by its own statistics, as in the article's code; else they are one.
"""
import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import numpy as np

import losses
import vgg19
from cli import command
from cli.paddle_setup import fluid, set_threads
from cpu.training_graph import for_cpu
from data_utils import SCALE, list_images
from layers import variables_of
from programs import BETA1, Step, picture_pair
from srgan_d import DISCRIMINATORS, judge
from srgan_g import SRGAN_g
from storage import checkpoint, networks, persistables, vgg19_sources
from training.feeds import feeds
from training.readers import Readers

SEPARATE = '-separate'
# Of so many pictures at the end of the list, so many crops each are held out.
HELD_OUT, CROPS_EACH = 16, 4


def main(argv):
    parser = command.Parser(prog='benchmarks/game.py', description=__doc__)
    parser.add_argument('--data', metavar='DIR', required=True, help='folder of photographs')
    parser.add_argument('--contestants', nargs='+', choices=[name + end for end in ('', SEPARATE) for name in
                                                             DISCRIMINATORS if not end or name != 'features'],
                        default=['article' + SEPARATE, 'article', 'paper', 'features'], metavar='D')
    parser.add_argument('--crop-size', type=command.positive, default=96)
    parser.add_argument('--batch-size', type=command.positive, default=8)
    parser.add_argument('--updates', type=command.positive, default=150)
    parser.add_argument('--every', type=command.positive, default=15, help='updates between two lines')
    parser.add_argument('--learning-rate', type=command.amount, default=1e-4)
    parser.add_argument('--threads', type=command.threads)
    options = parser.parse_args(argv)
    if options.crop_size % SCALE:
        raise command.UsageError('--crop-size %d: it must be a multiple of %d' % (options.crop_size, SCALE))
    if 'features' in options.contestants and not vgg19_sources.find(None):
        raise command.UsageError('--contestants features: %s' % vgg19_sources.MISSING)
    set_threads(options.threads)
    paths = list_images(os.path.abspath(options.data))
    if len(paths) <= HELD_OUT:
        raise command.UsageError('--data %s: %d pictures; more than %d are needed' % (
            options.data, len(paths), HELD_OUT))
    how = dict(crop_size=options.crop_size, seed=0, augment=True, lr_resize='bicubic', degrade='none', cache_mb=512,
               trainers=1, trainer_id=0)
    learning, asking = [argparse.Namespace(batch_size=size, **how) for size in (options.batch_size, CROPS_EACH)]
    with Readers(paths[-HELD_OUT:], None, print) as pictures:
        asked = list(feeds(pictures, asking, 0, HELD_OUT))
    with Readers(paths[:-HELD_OUT], None, print) as pictures:
        for contestant in options.contestants:
            duel(contestant, feeds(pictures, learning, 0, options.updates), asked, options)


def duel(contestant, learnt, asked, options):
    """Let a contestant learn on feeds, and every few updates print a line on those on which it is asked."""
    startup = fluid.Program()
    with fluid.unique_name.guard():
        steps = learning_and_asking(contestant, options.crop_size, options.learning_rate, startup)
    exe, scope = fluid.Executor(fluid.CPUPlace()), fluid.Scope()
    exe.run(startup, scope=scope)
    for name, array in checkpoint.load_network(networks.find('srresnet'),
                                               variables_of(SRGAN_g, [None, 3, None, None])).items():
        persistables.set_variable(scope, name, array)
    if contestant == 'features':
        vgg19.load(scope, vgg19_sources.find(None), 'vgg44')

    print('%s: %s' % (contestant, 'updates, held-out pairs told apart, opinion of real and of generated pictures'))
    for update, feed in enumerate(learnt, start=1):
        steps['learn'].run(exe, scope, feed)
        if update % options.every == 0:
            seen = [steps['ask'].run(exe, scope, question) for question in asked]
            told, real, generated = [np.mean([one[name] for one in seen]) for name in ('told', 'd_real', 'd_fake')]
            print('%5d  %6.1f %%   %.3f  %.3f' % (update, 100 * told, real, generated), flush=True)


def learning_and_asking(contestant, size, rate, startup):
    """{'learn': a Step that updates D, 'ask': one that does not}; both show the low resolution to G first."""
    steps = {}
    for name in ('learn', 'ask'):
        program = fluid.Program()
        with fluid.program_guard(program, startup):
            t_image, real = picture_pair(size)
            fake = SRGAN_g(t_image, frozen=True, moving_statistics=True)
            fake.stop_gradient = True
            discriminator = DISCRIMINATORS[contestant.replace(SEPARATE, '')]
            verdicts = verdicts_of(contestant, discriminator, real, fake, frozen=name == 'ask')
            fetches = losses.opinions(verdicts)
            # A pair is told apart if the real picture has the larger logit, on the mean over places and maps.
            margins = [fluid.layers.reduce_mean(fluid.layers.flatten(one - other), 1, keep_dim=True)
                       for one, other, _ in verdicts]
            fetches['told'] = fluid.layers.reduce_mean(fluid.layers.cast(fluid.layers.sums(margins) > 0.0, 'float32'))
            loss = fluid.layers.sums(list(losses.d_losses(discriminator.loss, verdicts, 0.0).values()))
            for_cpu(program)
            if name == 'learn':
                fluid.optimizer.Adam(rate, beta1=BETA1).minimize(loss)
        steps[name] = Step(program, ['t_image', 't_target_image'], fetches)
    return steps


def verdicts_of(contestant, discriminator, real, fake, frozen):
    if contestant.endswith(SEPARATE):
        return [(discriminator.network(real, frozen), discriminator.network(fake, frozen), 1.0)]
    return judge(discriminator, (real, fake),
                 [vgg19.feature_maps(image, discriminator.maps) for image in (real, fake)], frozen)


if __name__ == '__main__':
    sys.exit(command.run(main))

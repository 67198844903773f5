"""The recipes, each a set of settings with the reason for each, and all options of train.py with their defaults.

`python train.py --recipe NAME` takes the settings of a recipe; an option with the name of a setting overrides it.
"""
import collections

from cli.command import amount, natural, nonnegative, number, positive, switch, threads
from data_utils import LR_RESIZES
from losses import CONTENT_LOSSES, PICTURE_LOSSES
from srgan_d import DISCRIMINATORS
from training import schedule
from training.degradation import DEGRADATIONS

RECIPES = {
    # Runs both stages in minutes on two cores.
    'demo': dict(
        init_g='srresnet',               # a trained G, so that the time goes into the adversarial stage
        crop_size=96,                    # the paper's
        batch_size=2,                    # few, so that an update takes less than a second
        epoch_updates=20,                # so that a line appears every few seconds
        augment=True,                    # eight photographs are few
        lr_resize='bicubic',             # as pretrained/srresnet was trained
        n_epoch_init=3,                  # few, because that G is already trained
        learning_rate_init=1e-4,         # the paper's
        schedule_init='cosine',          # lets the rate fall to zero, however short the stage is
        n_epoch=14,                      # as many as take minutes
        learning_rate=2e-4,              # as high as training stays steady: few updates must do
        schedule='cosine',               # as above
        warm_up=20,                      # D must have learnt something before G follows it
        content_loss='directions',       # lets textures return within few updates
        discriminator='features',        # learns within few updates
        adversarial_weight=0.15,         # about as much as the content loss
        label_smoothing=0.1,             # keeps D from becoming sure, and its force within bounds
        phase_weight=1000.0,             # keeps dots down; more would hold textures back
        spectrum_weight=0.5,             # keeps smooth walls and skin smooth
        ema=0.95,                        # evens out what single updates do to a picture
        moving_statistics=True),         # srresnet's statistics are right already
    # The demo, but with a new G.
    'scratch': dict(
        init_g=None,                     # start from initial weights
        crop_size=48,
        batch_size=16,
        epoch_updates=20,
        augment=True,
        lr_resize='bicubic',
        n_epoch_init=30,                 # most of the time: G must first learn to enlarge at all
        learning_rate_init=1e-3,         # ten times the paper's, because there are few updates
        schedule_init='cosine',
        n_epoch=2,
        learning_rate=1e-4,
        schedule='constant',
        content_loss='directions',
        discriminator='features',
        adversarial_weight=0.1,
        label_smoothing=0.1,
        phase_weight=9000.0,
        moving_statistics=False),        # a new G has no statistics yet
    # The article's training on DIV2K, with a GPU.
    'article': dict(
        init_g=None,
        crop_size=384,
        batch_size=32,
        epoch_updates=None,              # one crop of each picture
        augment=False,
        lr_resize='article',             # OpenCV's bilinear, without anti-aliasing
        n_epoch_init=50,
        learning_rate_init=1e-3,
        schedule_init='constant',
        n_epoch=2000,
        learning_rate=1e-3,
        learning_rate_d=1e-4,            # at the article's 1e-3 D learns nothing
        schedule='constant',
        content_loss='pool5',
        discriminator='article',
        adversarial_weight=1e-3,
        moving_statistics=False),
    # Ledig et al. 2017, section 3.2: 1e6 updates, then 1e5 at 1e-4 and 1e5 at 1e-5.
    'paper': dict(
        init_g=None,
        crop_size=96,
        batch_size=16,
        epoch_updates=1000,              # the paper counts updates; an epoch is a thousand of them
        augment=True,
        lr_resize='bicubic',
        n_epoch_init=1000,
        learning_rate_init=1e-4,
        schedule_init='constant',
        n_epoch=200,
        learning_rate=1e-4,
        schedule='step',
        content_loss='vgg54',
        discriminator='paper',           # figure 4
        adversarial_weight=1e-3,
        moving_statistics=False),
    # An SRGAN on your own pictures in about an hour on two cores, from the SRResNet that ships.
    'shipped': dict(
        init_g='srresnet',
        crop_size=96,                    # the paper's
        batch_size=2,                    # each crop gives D thousands of places to judge
        epoch_updates=100,               # an epoch in minutes on two cores
        augment=True,
        lr_resize='bicubic',
        n_epoch_init=0,                  # srresnet is already trained
        learning_rate_init=2e-4,         # with --n-epoch-init, a high rate, so that G adapts fast to new pictures
        schedule_init='cosine',
        n_epoch=30,
        learning_rate=2e-4,              # as high as training stays steady: few updates must do
        schedule='cosine',
        warm_up=20,                      # D must have learnt something before G follows it
        content_loss='directions',       # fine maps hold textures in place, coarse maps what they depict
        discriminator='features',        # tells textures apart from the start
        adversarial_weight=0.15,         # about as much as the content loss
        label_smoothing=0.1,             # keeps D from becoming sure, and its force within bounds
        phase_weight=6000.0,             # keeps dots down; more would hold textures back
        spectrum_weight=0.3,             # keeps smooth walls and skin smooth
        ema=0.98,                        # the mean of about 50 updates has less of what single updates do
        moving_statistics=True),         # G is trained with the statistics that it has when used
}
# For pictures that are compressed, noisy or out of focus. As shipped, but:
RECIPES['photo'] = dict(
    RECIPES['shipped'],
    degrade='photo',
    n_epoch_init=20,                     # G first learns to clean, which it has never done
    n_epoch=10,
    content_loss='lpips',                # what wear has erased cannot be right by the pixel, but can look right
    adversarial_weight=0.003,            # little: with more, guesses look sharp and are wrong
    phase_weight=80.0,                   # LPIPS hardly sees dots
    colour_weight=7.0,                   # keeps skin and sky from being tinted
    spectrum_weight=0.02,                # keeps them smooth
    drawing_weight=40.0)                 # keeps letters closer to what the picture tells
# What a recipe that does not name them has: nothing of them.
OFF = {'degrade': 'none', 'learning_rate_d': None, 'warm_up': 0, 'label_smoothing': 0.0, 'ema': 0.0,
       **{loss.weight: 0.0 for loss in PICTURE_LOSSES}}
for recipe in RECIPES.values():
    for name, value in OFF.items():
        recipe.setdefault(name, value)

# An option of train.py. name: its name with underscores; default: NO_DEFAULT if a recipe sets the value; arguments:
# further keyword arguments of ArgumentParser.add_argument.
Option = collections.namedtuple('Option', 'name default help arguments')
NO_DEFAULT = object()


def recipe_option(name, words, **arguments):
    return Option(name, NO_DEFAULT, words, arguments)


def option(name, default, words, **arguments):
    return Option(name, default, words, arguments)


SCHEDULE_HELP = 'learning rate schedule%%s: %s, or UPDATE:FACTOR,..., each FACTOR from its UPDATE on' % (
    ', '.join(schedule.SCHEDULES))

# {group: its options}, in the order in which --help lists them. The help texts do not show a default of None.
OPTIONS = {
    'the run': (
        option('data', None, 'folder of training pictures, including its sub-folders; can be given several times. '
               'DIR N takes its pictures N times as often as those of a DIR without a number',
               action='append', nargs='+', metavar=('DIR', 'N')),
        option('data_lr', None, 'folder with the low-resolution pictures of --data, each a quarter of its original, '
               'to train on in place of reduced crops', metavar='DIR'),
        option('seed', 0, 'determines initial weights, crops and their order', metavar='N',
               type=number(int, 0, 'a whole number from 0 to 4294967295', below=2 ** 32)),
        option('models', 'models', 'folder for networks and training state', metavar='DIR'),
        option('output', 'output', 'folder for samples, log and curves', metavar='DIR'),
        option('save_every', 10, 'sample and save every N epochs', type=positive, metavar='N'),
        option('save_minutes', 15.0, 'also save every M minutes', type=amount, metavar='M'),
    ),
    'what a recipe sets': (
        recipe_option('init_g', 'start from this G: srresnet, srgan or photo of pretrained/, or a directory, such as '
                      'an earlier models/g_models', metavar='DIR'),
        recipe_option('n_epoch_init', 'epochs of pre-training', type=natural, metavar='N'),
        recipe_option('n_epoch', 'epochs of adversarial training', type=natural, metavar='N'),
        recipe_option('epoch_updates', 'updates in an epoch', type=positive, metavar='N'),
        recipe_option('batch_size', 'crops in an update', type=positive, metavar='N'),
        recipe_option('crop_size', 'side of a high-resolution crop in pixels', type=positive, metavar='N'),
        recipe_option('augment', 'flip the crops and turn them by quarters, at random', type=switch, metavar='on|off'),
        recipe_option('lr_resize', "how crops are reduced: with PIL's bicubic, or with the article's OpenCV bilinear",
                      choices=tuple(LR_RESIZES)),
        recipe_option('degrade', 'how the low resolution is worn. photo: blur, noise and JPEG by chance, as '
                      'pictures on phones and web pages', choices=tuple(DEGRADATIONS)),
        recipe_option('learning_rate_init', "Adam's learning rate in the pre-training", type=amount, metavar='X'),
        recipe_option('learning_rate', "Adam's learning rate in the adversarial training", type=amount, metavar='X'),
        recipe_option('learning_rate_d', "D's learning rate, if not --learning-rate; it has the same schedule",
                      type=amount, metavar='X'),
        recipe_option('schedule_init', SCHEDULE_HELP % ' in the pre-training', type=schedule.parse, metavar='S'),
        recipe_option('schedule', 'the same in the adversarial training', type=schedule.parse, metavar='S'),
        recipe_option('warm_up', 'the learning rate rises from zero over the first N updates of each stage',
                      type=natural, metavar='N'),
        recipe_option('content_loss', "the loss that keeps G close to the real picture; auto: the recipe's if its "
                      'weights are found, else mse', choices=('auto', *CONTENT_LOSSES)),
        recipe_option('discriminator', "D: the article's, the paper's, or small ones that see VGG19's features; auto: "
                      "the recipe's if VGG19's weights are found or not needed, else the article's",
                      choices=('auto', *DISCRIMINATORS)),
        recipe_option('adversarial_weight', "weight of the adversarial loss in G's loss (0: none)",
                      type=nonnegative, metavar='X'),
        recipe_option('label_smoothing', 'D learns to call real pictures 1 - X (0: 1)',
                      type=number(float, 0, 'a number from 0 to below 0.5', below=0.5), metavar='X'),
        *[recipe_option(loss.weight, loss.help + ' (0: none)', type=nonnegative, metavar='X')
          for loss in PICTURE_LOSSES],
        recipe_option('ema', "use the moving average of G's weights with this decay, such as 0.999, for samples, "
                      'figures and g_models; G itself is then saved as g_models_raw (0: no average)',
                      type=number(float, 0, 'a number from 0 to below 1', below=1), metavar='X'),
        recipe_option('moving_statistics', "normalise G's maps by the moving statistics, as when G is used, instead of "
                      'by the batch; the statistics do not change', type=switch, metavar='on|off'),
    ),
    'steering': (
        option('init_d', None, 'start from this D, such as an earlier models/d_models. A new D must first catch up '
               'with the D that trained the G to start from', metavar='DIR'),
        option('d_updates', 1, "updates of D for each of G's", type=positive, metavar='N'),
        option('clip_gradients', None, "largest norm of each program's gradient as a whole", type=amount, metavar='X'),
        option('val', None, 'measure G on these pictures as evaluate.py does; the G of the highest PSNR is kept as '
               'models/best_g',
               metavar='DIR'),
        option('val_every', 1, 'measure on --val every N epochs', type=positive, metavar='N'),
        option('patience', None, 'end the pre-training if its PSNR on --val has not risen for N measurements',
               type=positive, metavar='N'),
        option('visualdl', False, 'write a log for VisualDL to visualdl/ in --output', nargs='?', type=switch,
               const=True, metavar='on|off'),
    ),
    'the machine': (
        option('device', 'auto', 'auto takes a GPU if there is one', choices=('auto', 'cpu', 'gpu')),
        option('threads', None, 'number of computing threads (all cores)', type=threads, metavar='N'),
        option('amp', False, 'compute in 16-bit floats wherever these are precise enough; needs a GPU', type=switch,
               metavar='on|off'),
        option('readers', None, 'number of processes that read pictures (as many as cores, at most 4)',
               type=positive, metavar='N'),
        option('cache_mb', 512, 'megabytes for crops; with more, each reading of a picture yields more crops',
               type=natural, metavar='N'),
        option('vgg', None, "file or directory of VGG19's weights (found in pretrained/)", metavar='PATH'),
    ),
}
DEFAULTS = {one.name: one.default for group in OPTIONS.values() for one in group if one.default is not NO_DEFAULT}

RECIPE_SETTINGS = tuple(one.name for one in OPTIONS['what a recipe sets'])

# The settings that a resumed run must keep; all others may change.
FIXED = ('recipe', 'init_g', 'init_d', 'seed', 'crop_size', 'batch_size', 'epoch_updates', 'content_loss',
         'discriminator', 'd_updates', 'amp')

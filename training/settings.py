"""The recipes, and the settings of a run that the command line makes of them."""
import argparse
import json
import math
import os
import shlex

from cli.command import Parser, UsageError, amount, natural, number, positive
from storage.files import replace_text

# demo: both stages in minutes on two cores, from pretrained/srresnet on; scratch: the same from nothing. article: what
# the article's project ran. paper: Ledig et al. 2017, section 3.2. shipped: what made pretrained/. Without
# `epoch_updates` an epoch takes one crop of each picture. `init_g` names the G to start from, None for none.
RECIPES = {
    'demo': dict(
        init_g='srresnet', crop_size=48, batch_size=16, epoch_updates=20, augment=True, lr_resize='bicubic',
        n_epoch_init=3, learning_rate_init=1e-4, schedule_init='cosine',
        n_epoch=4, learning_rate=1e-4, schedule='cosine',
        content_loss='layers', adversarial_weight=0.03, phase_weight=30000.0, moving_statistics=True),
    'scratch': dict(
        init_g=None, crop_size=48, batch_size=16, epoch_updates=20, augment=True, lr_resize='bicubic',
        n_epoch_init=30, learning_rate_init=1e-3, schedule_init='cosine',
        n_epoch=2, learning_rate=1e-4, schedule='constant',
        content_loss='vgg22', adversarial_weight=1e-3, phase_weight=0.0, moving_statistics=False),
    'article': dict(
        init_g=None, crop_size=384, batch_size=32, epoch_updates=None, augment=False, lr_resize='article',
        n_epoch_init=50, learning_rate_init=1e-3, schedule_init='constant',
        n_epoch=2000, learning_rate=1e-3, schedule='constant',
        content_loss='pool5', adversarial_weight=1e-3, phase_weight=0.0, moving_statistics=False),
    'paper': dict(
        init_g=None, crop_size=96, batch_size=16, epoch_updates=1000, augment=True, lr_resize='bicubic',
        n_epoch_init=1000, learning_rate_init=1e-4, schedule_init='constant',
        n_epoch=200, learning_rate=1e-4, schedule='step',
        content_loss='vgg54', adversarial_weight=1e-3, phase_weight=0.0, moving_statistics=False),
    'shipped': dict(
        init_g='srresnet', crop_size=96, batch_size=16, epoch_updates=100, augment=True, lr_resize='bicubic',
        n_epoch_init=10, learning_rate_init=2e-4, schedule_init='cosine',
        n_epoch=40, learning_rate=1e-4, schedule='cosine',
        content_loss='layers', adversarial_weight=0.03, phase_weight=3000.0, moving_statistics=True),
}
DEFAULTS = dict(
    data=None, seed=0, models='models', output='output', save_every=10, save_minutes=15.0,
    init_d=None, warm_up=0, ema=0.0, d_updates=1, label_smoothing=0.0, clip_gradients=None, amp=False,
    val=None, val_every=1, patience=None, visualdl=False,
    device='auto', threads=None, readers=None, cache_mb=512, vgg=None)
# What a resumed run keeps; the rest may change on the way.
FIXED = ('recipe', 'init_g', 'init_d', 'seed', 'crop_size', 'batch_size', 'epoch_updates', 'content_loss', 'd_updates',
         'amp')

# Which process of several this is: its own affair, and not the run's.
CLUSTER = dict(role=None, servers=None, server_id=0, trainers=1, trainer_id=0)

# Learning rate in parts of the given one, at a fraction 0..1 of the stage.
SCHEDULES = {
    'constant': lambda fraction: 1.0,
    'step': lambda fraction: 1.0 if fraction < 0.5 else 0.1,
    'cosine': lambda fraction: 0.5 + 0.5 * math.cos(math.pi * fraction),
}


def parse_settings(argv):
    """The command line -> (settings, changed).

    settings: a Namespace with an entry for each recipe setting and option. changed: {name: (old, new)} of what
    differs from the run that --resume goes on with. Raises UsageError.
    """
    given = vars(parser().parse_args(argv))
    if given.get('content_loss') == 'auto':
        del given['content_loss']
    if 'data' in given:
        given['data'] = [folder_and_weight(*words) for words in given['data']]
    models = given.get('models', DEFAULTS['models'])
    changed = {}
    if given.get('resume'):
        if given.get('overwrite'):
            raise UsageError('--resume goes on with a run and --overwrite replaces it: give one of them')
        base = {**DEFAULTS, **load(models)}
        changed = {name: (base[name], value) for name, value in given.items() if base.get(name, value) != value}
        for name in FIXED:
            if name in changed:
                raise UsageError('--resume: the run in %s has %s %s and cannot go on with %s; leave the option out, or '
                                 'start another run with --models DIR' % ((models, option(name)) + changed[name]))
    else:
        recipe = given.get('recipe', 'article' if 'data' in given else 'demo')
        base = {**DEFAULTS, **RECIPES[recipe], 'recipe': recipe, 'content_loss': 'auto'}
    settings = argparse.Namespace(**{**base, 'resume': False, 'overwrite': False, 'dry_run': False,
                                     **CLUSTER, **cluster_environment(), **given})
    check(settings)
    return settings, changed


def parser():
    parse = Parser(
        prog='train.py', argument_default=argparse.SUPPRESS, allow_abbrev=False,
        description='Train SRGAN: pre-train G on the pixel loss, then D and G in turns.',
        epilog='Without --data the recipe is demo, on the photographs that scikit-image carries; with it, article.')

    run = parse.add_argument_group('the run')
    recipes = run.add_mutually_exclusive_group()
    recipes.add_argument('--recipe', choices=sorted(RECIPES), help='the settings of the next group, as a set')
    recipes.add_argument('--from-scratch', dest='recipe', action='store_const', const='scratch',
                         help='--recipe scratch: the demo, with a G that begins with nothing')
    run.add_argument('--data', action='append', nargs='+', metavar=('DIR', 'N'),
                     help='folder of training pictures, with its sub-folders; given several times, all of them '
                     'together. DIR N: its pictures are taken N times as often as those of a DIR without a number')
    run.add_argument('--resume', action='store_true', help='go on where the run in --models stopped')
    run.add_argument('--overwrite', action='store_true', help='replace the run in --models')
    run.add_argument('--seed', type=natural, metavar='N', help='determines first weights, crops and their order (0)')
    run.add_argument('--models', metavar='DIR', help='for networks and training state (models)')
    run.add_argument('--output', metavar='DIR', help='for samples, log and curves (output)')
    run.add_argument('--save-every', type=positive, metavar='N', help='sample and save every N epochs (10)')
    run.add_argument('--save-minutes', type=amount, metavar='M', help='and save every M minutes (15)')

    recipe = parse.add_argument_group('what a recipe sets')
    recipe.add_argument('--init-g', metavar='DIR', help='start from this G: srresnet or srgan of pretrained/, or a '
                        'directory, such as an earlier models/g_models')
    recipe.add_argument('--n-epoch-init', type=natural, metavar='N', help='epochs of pre-training')
    recipe.add_argument('--n-epoch', type=natural, metavar='N', help='epochs of adversarial training')
    recipe.add_argument('--epoch-updates', type=positive, metavar='N', help='updates an epoch')
    recipe.add_argument('--batch-size', type=positive, metavar='N', help='crops an update')
    recipe.add_argument('--crop-size', type=positive, metavar='N', help='side of a high-resolution crop in pixels')
    recipe.add_argument('--augment', type=switch, metavar='on|off', help='flips and quarter turns of the crops')
    recipe.add_argument('--lr-resize', choices=('bicubic', 'article'),
                        help="how a crop is reduced: PIL's bicubic, or the article's OpenCV bilinear")
    recipe.add_argument('--learning-rate-init', type=amount, metavar='X', help='Adam, pre-training')
    recipe.add_argument('--learning-rate', type=amount, metavar='X', help='Adam, adversarial training')
    recipe.add_argument('--schedule-init', type=schedule, metavar='S',
                        help='of the learning rate, pre-training: %s, or UPDATE:FACTOR,... for factors of it from '
                        'those updates on' % ', '.join(SCHEDULES))
    recipe.add_argument('--schedule', type=schedule, metavar='S', help='the same, adversarial training')
    recipe.add_argument('--content-loss', choices=('auto', 'mse', 'pool5', 'vgg54', 'vgg22', 'layers'),
                        help="auto: the recipe's where VGG19's weights are, else mse")
    recipe.add_argument('--adversarial-weight', type=amount, metavar='X', help="of the adversarial loss in G's")
    recipe.add_argument('--phase-weight', metavar='X', type=number(float, 0, 'a number of at least 0'),
                        help="of a penalty on patterns that repeat every 4 pixels, in G's loss (0: none)")
    recipe.add_argument('--moving-statistics', type=switch, metavar='on|off', help="normalise G's "
                        'maps as in use, not by the batch, and leave the statistics as they are')

    steering = parse.add_argument_group('steering')
    steering.add_argument('--init-d', metavar='DIR', help='start from this D, such as an earlier models/d_models: a '
                          'new one has yet to learn what the G to start from has learnt from another')
    steering.add_argument('--warm-up', type=natural, metavar='N',
                          help='the learning rate rises from zero over the first N updates of each stage (0)')
    steering.add_argument('--ema', metavar='X', type=number(float, 0, 'a number from 0 to below 1', below=1),
                          help="for samples, figures and g_models, take the moving average of G's weights with this "
                          'decay, such as 0.999; G itself is then in g_models_raw (0: no average)')
    steering.add_argument('--d-updates', type=positive, metavar='N', help="updates of D for one of G's (1)")
    steering.add_argument('--label-smoothing', metavar='X',
                          type=number(float, 0, 'a number from 0 to below 0.5', below=0.5),
                          help='D learns to call real pictures 1 - X (0)')
    steering.add_argument('--clip-gradients', type=amount, metavar='X',
                          help="largest norm of each program's gradient as a whole (no limit)")
    steering.add_argument('--val', metavar='DIR',
                          help='measure G on these pictures as evaluate.py does; the best one is kept as models/best_g')
    steering.add_argument('--val-every', type=positive, metavar='N', help='every N epochs (1)')
    steering.add_argument('--patience', type=positive, metavar='N', help='end the pre-training when its PSNR on --val '
                          'has not risen for N measurements')
    steering.add_argument('--visualdl', nargs='?', type=switch, const=True, metavar='on|off',
                          help='write a log for VisualDL, in visualdl/ of --output (off)')
    steering.add_argument('--dry-run', action='store_true',
                          help='say what the run would do and take, measured on a few updates; train nothing')

    cluster = parse.add_argument_group(
        'several machines', 'on CPUs, with the same other options for every process; '
        '`python -m paddle.distributed.launch train.py` starts a process a GPU and needs none of these')
    cluster.add_argument('--role', choices=('trainer', 'pserver'), help='of this process: it computes gradients, or '
                         'keeps the networks and updates them')
    cluster.add_argument('--servers', type=addresses, metavar='H:P,...', help='where the parameter servers listen: at '
                         'port P, P + 100 and P + 200 of host H')
    cluster.add_argument('--server-id', type=natural, metavar='I', help='which of them this pserver is, from 0 on (0)')
    cluster.add_argument('--trainers', type=positive, metavar='N',
                         help='how many there are; each computes an N-th of every batch')
    cluster.add_argument('--trainer-id', type=natural, metavar='I',
                         help='which of them this trainer is, from 0 on; 0 alone writes files (0)')

    machine = parse.add_argument_group('the machine')
    machine.add_argument('--device', choices=('auto', 'cpu', 'gpu'), help='auto: a GPU where there is one')
    machine.add_argument('--threads', type=positive, metavar='N', help='for computing (all cores)')
    machine.add_argument('--amp', type=switch, metavar='on|off',
                         help='compute in 16-bit floats where they do no harm; needs a GPU (off)')
    machine.add_argument('--readers', type=positive, metavar='N',
                         help='processes that read pictures beside the computing (as many as cores, 4 at most)')
    machine.add_argument('--cache-mb', type=natural, metavar='N',
                         help='memory for crops; the more, the more of them are cut each time a picture is read (512)')
    machine.add_argument('--vgg', metavar='PATH', help="VGG19's weights (found in pretrained/)")
    return parse


def switch(text):
    if text not in ('on', 'off'):
        raise argparse.ArgumentTypeError('%s is not on or off' % text)
    return text == 'on'


def schedule(text):
    """A key of SCHEDULES, or UPDATE:FACTOR,... in rising order; it stays a text, as settings.json keeps it."""
    if text not in SCHEDULES:
        try:
            starts = [start for start, _ in factors(text)]
        except ValueError:
            starts = None
        if not starts or starts != sorted(set(starts)):
            raise argparse.ArgumentTypeError('%s is not %s, nor UPDATE:FACTOR,... such as 100000:0.1' % (
                text, ', '.join(SCHEDULES)))
    return text


def factors(text):
    """'UPDATE:FACTOR,...' -> [(update, factor), ...]."""
    return [(int(start), float(factor)) for start, factor in (part.split(':') for part in text.split(','))]


def folder_and_weight(folder, weight='1', *more):
    """The words after --data -> [folder, weight]. Raises UsageError."""
    if more or not (weight.isdigit() and int(weight)):
        raise UsageError('--data %s: after the folder comes at most a whole number of at least 1; give --data once '
                         'for each folder' % ' '.join((folder, weight) + more))
    return [folder, int(weight)]


def addresses(text):
    """'HOST:PORT,...' -> ['HOST:PORT', ...]."""
    for address in text.split(','):
        host, _, port = address.rpartition(':')
        if not host or not port.isdigit() or not 0 < int(port) <= 65335:
            raise argparse.ArgumentTypeError('%s is not HOST:PORT, with a port of at most 65335' % address)
    return text.split(',')


def cluster_environment():
    """The part of this process as PaddleCloud and Paddle's own launchers assign it, by environment variables."""
    get, given = os.environ.get, {}
    if get('TRAINING_ROLE') and get('PADDLE_PSERVERS_IP_PORT_LIST'):
        given = dict(role=get('TRAINING_ROLE').lower(), servers=get('PADDLE_PSERVERS_IP_PORT_LIST').split(','),
                     trainers=int(get('PADDLE_TRAINERS_NUM', 1)), trainer_id=int(get('PADDLE_TRAINER_ID', 0)))
        own = '%s:%s' % (get('POD_IP'), get('PADDLE_PORT'))
        if own in given['servers']:
            given['server_id'] = given['servers'].index(own)
    elif get('PADDLE_TRAINER_ENDPOINTS'):
        given = dict(trainers=len(get('PADDLE_TRAINER_ENDPOINTS').split(',')), trainer_id=int(get('PADDLE_TRAINER_ID')))
    return given


def option(name):
    return '--' + name.replace('_', '-')


def check(settings):
    """What no single option can tell. Raises UsageError."""
    if settings.crop_size % 4:
        raise UsageError('--crop-size %d: must be a multiple of 4, the factor of the enlargement' % settings.crop_size)
    check_cluster(settings)
    # D halves a crop eight times; its last batch normalisation needs more than one value to normalise.
    if settings.n_epoch and settings.batch_size // settings.trainers * math.ceil(settings.crop_size / 256) ** 2 < 2:
        raise UsageError('--batch-size %d with crops of up to 256 pixels leaves D one value to normalise; '
                         'use --batch-size %d or more' % (settings.batch_size, 2 * settings.trainers))
    if settings.patience and not settings.val:
        raise UsageError('--patience %d waits for PSNR on the pictures of --val DIR to rise: give that too'
                         % settings.patience)
    if not settings.n_epoch_init and not settings.n_epoch:
        raise UsageError('--n-epoch-init 0 --n-epoch 0: nothing to do')


def check_cluster(settings):
    """What is asked of several processes. Raises UsageError."""
    if settings.trainer_id >= settings.trainers:
        raise UsageError('--trainer-id %d: of %d trainers they go from 0 to %d; see --trainers' % (
            settings.trainer_id, settings.trainers, settings.trainers - 1))
    if settings.role:
        if not settings.servers or settings.trainers < 2:
            raise UsageError('--role %s: say where the servers listen by --servers H:P,... and how many trainers there '
                             'are by --trainers N, 2 or more' % settings.role)
        if settings.server_id >= len(settings.servers):
            raise UsageError('--server-id %d: of %d servers they go from 0 to %d; see --servers' % (
                settings.server_id, len(settings.servers), len(settings.servers) - 1))
        for server in settings.servers:
            host, port = server.rsplit(':', 1)
            for other in ('%s:%d' % (host, int(port) + more) for more in (100, 200)):
                if other in settings.servers:
                    raise UsageError('--servers: %s also takes the port of %s; let them be less than 100 ports apart, '
                                     'or more than 200' % (server, other))
        if settings.clip_gradients:
            raise UsageError('--clip-gradients: servers see no gradient as a whole; leave it out, or use GPUs')
    elif settings.servers:
        raise UsageError('--servers %s: say by --role what this process is' % ','.join(settings.servers))
    if settings.trainers > 1:
        for name in ('patience', 'dry_run', 'amp'):
            if getattr(settings, name):
                raise UsageError('%s is for a run of one trainer; leave it out' % option(name))
        if settings.batch_size % settings.trainers:
            raise UsageError('--batch-size %d: %d trainers need a multiple of %d, since each computes the same part of '
                             'it' % (settings.batch_size, settings.trainers, settings.trainers))


def learning_rate(settings, stage, update, updates):
    """The learning rate of an update, counted from 0, of the `updates` of a stage, 'init' or 'gan'."""
    rate, schedule = ((settings.learning_rate_init, settings.schedule_init) if stage == 'init' else
                      (settings.learning_rate, settings.schedule))
    if update < settings.warm_up:
        rate *= (update + 1) / settings.warm_up
    if schedule in SCHEDULES:
        return rate * SCHEDULES[schedule](update / updates)
    return rate * ([1.0] + [factor for start, factor in factors(schedule) if start <= update])[-1]


def describe(settings):
    """The settings as lines for people."""
    recipe = RECIPES[settings.recipe]
    lines = ['recipe %s' % settings.recipe]
    lines += ['  %-20s%s%s' % (name, getattr(settings, name), '' if getattr(settings, name) == recipe[name] else
                               '  (recipe: %s)' % recipe[name]) for name in recipe]
    lines += ['  %-20s%s' % (name, shown(getattr(settings, name)))
              for name in DEFAULTS if getattr(settings, name) is not None]
    return '\n'.join(lines)


def shown(value):
    """A setting's value for people."""
    if isinstance(value, list):
        return ', '.join(folder if weight == 1 else '%s (%d times)' % (folder, weight) for folder, weight in value)
    return value


def resume_command(settings):
    """What the user types to go on with this run."""
    where = '' if settings.models == DEFAULTS['models'] else ' --models %s' % shlex.quote(settings.models)
    return 'python train.py --resume' + where


def save(settings):
    """Keep the settings in the models folder, for --resume."""
    kept = {name: value for name, value in vars(settings).items()
            if name not in ('resume', 'overwrite', 'dry_run', *CLUSTER)}
    replace_text(os.path.join(settings.models, 'settings.json'), json.dumps(kept, indent=1, sort_keys=True))


def load(models):
    """The settings of the run in a models folder, as a dict. Raises UsageError."""
    path = os.path.join(models, 'settings.json')
    try:
        with open(path) as file:
            return json.load(file)
    except FileNotFoundError:
        raise UsageError('--resume: %s holds no run; start one without --resume, or name its folder by --models'
                         % models)
    except ValueError:
        raise UsageError('--resume: %s is damaged' % path)

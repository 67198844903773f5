"""The settings of a run: made from a recipe and the command line, checked, described, saved and loaded."""
import argparse
import collections
import json
import math
import os
import shlex

from cli.command import Parser, UsageError, natural, positive
from losses import CONTENT_LOSSES, SQUARE
from measuring import lpips_alex
from recipes import DEFAULTS, FIXED, NO_DEFAULT, OFF, OPTIONS, RECIPES
from srgan_d import DISCRIMINATORS
from storage import networks, vgg19_sources
from storage.files import holds, replace_text

# Which of several processes this is. These settings belong to the process and are not saved with the run.
CLUSTER = dict(role=None, servers=None, server_id=0, trainers=1, trainer_id=0)

# The settings that can be auto, and what replaces the recipe's if the weights that it needs are missing.
AUTO = dict(content_loss='mse', discriminator='article')


def parse_settings(argv):
    """Read the command line -> (settings, changed).

    settings: a Namespace with an entry for each recipe setting and option. changed: {name: (old, new)} of the settings
    that differ from the run to resume. Raises UsageError.
    """
    given = vars(parser().parse_args(argv))
    for name in AUTO:
        if given.get(name) == 'auto':
            del given[name]
    if 'data' in given:
        given['data'] = [folder_and_weight(*words) for words in given['data']]
    models = given.get('models', DEFAULTS['models'])
    changed = {}
    if given.get('resume'):
        if given.get('overwrite'):
            raise UsageError('--resume continues a run and --overwrite replaces it: give only one of them')
        # A run that was saved before there was a choice had the article's D, and no loss that came later.
        base = {**DEFAULTS, **OFF, 'discriminator': 'article', **load(models)}
        changed = {name: (base[name], value) for name, value in given.items() if base.get(name, value) != value}
        for name in FIXED:
            if name in changed:
                raise UsageError('--resume: the run in %s has %s %s and cannot continue with %s; leave the option out, '
                                 'or start another run with --models DIR' % ((models, option(name)) + changed[name]))
    else:
        recipe = given.get('recipe', 'article' if 'data' in given else 'demo')
        base = {**DEFAULTS, **RECIPES[recipe], 'recipe': recipe, **dict.fromkeys(AUTO, 'auto')}
    settings = argparse.Namespace(**{**base, 'resume': False, 'overwrite': False, 'dry_run': False,
                                     **CLUSTER, **cluster_environment(), **given})
    check(settings)
    if settings.resume:
        check_folders(settings)
    return settings, changed


def parser():
    parse = Parser(
        prog='train.py', argument_default=argparse.SUPPRESS, formatter_class=argparse.HelpFormatter,
        description='Train SRGAN: pre-train G on the pixel loss, then train D and G in turn.',
        epilog='Without --data the recipe is demo, on the photographs of scikit-image; with --data it is article, for '
               'a GPU. --recipe shipped takes about an hour on two cores.')

    groups = {title: parse.add_argument_group(title) for title in OPTIONS}
    run = groups['the run']
    run.add_argument('--recipe', choices=sorted(RECIPES),
                     help='a set of values for the options under "what a recipe sets"')
    run.add_argument('--resume', action='store_true', help='continue the run in --models')
    run.add_argument('--overwrite', action='store_true', help='replace the run in --models')
    run.add_argument('--dry-run', action='store_true',
                     help='forecast the time, memory and disk space of the run from a few updates; write nothing')
    for title, options in OPTIONS.items():
        for one in options:
            groups[title].add_argument(option(one.name), help=one.help + told(one.default), **one.arguments)

    cluster = parse.add_argument_group(
        'several machines', 'For CPUs; give every process the same other options. On GPUs '
        '`python -m paddle.distributed.launch train.py` starts a process for each GPU and needs none of these.')
    cluster.add_argument('--role', choices=('trainer', 'pserver'), help='the role of this process: a trainer '
                         'computes gradients, a pserver (parameter server) keeps the networks and updates them')
    cluster.add_argument('--servers', type=addresses, metavar='H:P,...', help='addresses of the parameter '
                         'servers; each listens at the ports P, P + 100 and P + 200 of its host H')
    cluster.add_argument('--server-id', type=natural, metavar='I', help='number of this pserver, from 0 on (0)')
    cluster.add_argument('--trainers', type=positive, metavar='N',
                         help='number of trainers; each computes an N-th of every batch')
    cluster.add_argument('--trainer-id', type=natural, metavar='I',
                         help='number of this trainer, from 0 on; only trainer 0 writes files (0)')
    return parse


def told(default):
    """The default of an option as text for --help: ' (DEFAULT)', or '' if there is none to show."""
    if default is NO_DEFAULT or default is None:
        return ''
    return ' (%s)' % ('off' if default is False else '{:g}'.format(default) if isinstance(default, float) else default)


def folder_and_weight(folder, weight='1', *more):
    """The words after one --data -> [folder, weight]. Raises UsageError."""
    if more or not (weight.isdigit() and int(weight)):
        raise UsageError('--data %s: after the folder comes at most a whole number of at least 1; give --data once '
                         'for each folder' % ' '.join((folder, weight) + more))
    return [folder, int(weight)]


def addresses(text):
    """A type for argparse: 'HOST:PORT,...' -> ['HOST:PORT', ...]. Raises ArgumentTypeError."""
    for address in text.split(','):
        host, _, port = address.rpartition(':')
        if not host or not port.isdigit() or not 0 < int(port) <= 65335:
            raise argparse.ArgumentTypeError('%s is not HOST:PORT, with a port of at most 65335' % address)
    return text.split(',')


def cluster_environment():
    """Settings of this process from the environment variables of PaddleCloud or Paddle's launchers, {name: value}."""
    get = os.environ.get
    given = {}
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
    """Check settings that the parser cannot check alone. Raises UsageError."""
    if settings.crop_size % 4:
        raise UsageError('--crop-size %d: must be a multiple of 4, the factor of enlargement' % settings.crop_size)
    if settings.spectrum_weight and settings.crop_size < SQUARE:
        raise UsageError('--spectrum-weight compares squares of %d pixels; use a --crop-size of that or more' % SQUARE)
    if settings.data_lr and not settings.data:
        raise UsageError('--data-lr %s needs the originals: give --data DIR too' % settings.data_lr)
    if settings.data_lr and settings.degrade != 'none':
        raise UsageError('--degrade %s wears the pictures that are reduced here; leave out either that or --data-lr'
                         % settings.degrade)
    for folder in [*(folder for folder, _ in settings.data or ()), settings.data_lr, settings.val]:
        for name in ('models', 'output'):
            if folder and holds(folder, getattr(settings, name)):
                raise UsageError('%s %s lies in the folder of pictures %s: the samples would become pictures of it; '
                                 'choose another folder' % (option(name), getattr(settings, name), folder))
    check_start(settings)
    check_cluster(settings)
    if settings.patience and not settings.val:
        raise UsageError('--patience %d needs the PSNR on validation pictures: give --val DIR too'
                         % settings.patience)
    if not settings.n_epoch_init and not settings.n_epoch:
        raise UsageError('--n-epoch-init 0 --n-epoch 0: nothing to do')


def check_start(settings):
    """Check that --overwrite does not remove a network to start from, before any is saved. Raises UsageError."""
    for name in ('init_g', 'init_d'):
        path = getattr(settings, name)
        if path and settings.overwrite and holds(settings.models, networks.find(path)):
            raise UsageError('%s %s lies in --models %s, whose networks --overwrite removes; choose another --models, '
                             'or copy it first' % (option(name), path, settings.models))


def check_folders(settings):
    """Check that the pictures of the run to resume are still there. Raises UsageError."""
    for name, folders in (('data', [folder for folder, _ in settings.data or ()]), ('data_lr', [settings.data_lr]),
                          ('val', [settings.val])):
        for folder in folders:
            if folder and not os.path.isdir(folder):
                raise UsageError('%s, a folder of pictures of this run, is not there; if they have moved, `%s %s NEW` '
                                 'goes on with them' % (folder, resume_command(settings), option(name)))


def check_cluster(settings):
    """Check the settings for several processes. Raises UsageError."""
    if settings.trainer_id >= settings.trainers:
        raise UsageError('--trainer-id %d: the numbers of %d trainers go from 0 to %d; see --trainers' % (
            settings.trainer_id, settings.trainers, settings.trainers - 1))
    if settings.role:
        if not settings.servers or settings.trainers < 2:
            raise UsageError('--role %s: give the addresses of the servers with --servers H:P,... and the number of '
                             'trainers, 2 or more, with --trainers N' % settings.role)
        if settings.server_id >= len(settings.servers):
            raise UsageError('--server-id %d: the numbers of %d servers go from 0 to %d; see --servers' % (
                settings.server_id, len(settings.servers), len(settings.servers) - 1))
        for server in settings.servers:
            host, port = server.rsplit(':', 1)
            for other in ('%s:%d' % (host, int(port) + more) for more in (100, 200)):
                if other in settings.servers:
                    raise UsageError('--servers: %s also uses the port of %s; choose ports that differ by less than '
                                     '100 or by more than 200' % (server, other))
        if settings.clip_gradients:
            raise UsageError('--clip-gradients: each server has only a part of a gradient; leave it out, or use GPUs')
    elif settings.servers:
        raise UsageError('--servers %s: give the role of this process with --role' % ','.join(settings.servers))
    if settings.trainers > 1:
        for name in ('patience', 'dry_run', 'amp'):
            if getattr(settings, name):
                raise UsageError('%s works only with one trainer; leave it out' % option(name))
        if settings.batch_size % settings.trainers:
            raise UsageError('--batch-size %d: %d trainers need a multiple of %d, because all compute parts of the '
                             'same size' % (settings.batch_size, settings.trainers, settings.trainers))


def choose_auto(settings):
    """Choose the settings that are auto: the recipe's, if the weights that they need are there.

    -> lines for the user on what is not the recipe's.
    """
    recipe = RECIPES[settings.recipe]
    replaced = collections.defaultdict(list)
    for name in AUTO:
        if getattr(settings, name) == 'auto':
            missing = missing_for(name, recipe[name], settings.vgg)
            setattr(settings, name, AUTO[name] if missing else recipe[name])
            if missing:
                replaced[missing].append("%s is %s and not the recipe's %s" % (name, AUTO[name], recipe[name]))
    return ['%s: %s' % (', '.join(names), missing) for missing, names in replaced.items()]


def missing_for(name, value, vgg):
    """A line on the weights that a value of a setting of AUTO needs, if they are missing, else None; vgg: --vgg."""
    if (name, value) == ('content_loss', 'lpips'):
        return lpips_alex.missing()
    needed = CONTENT_LOSSES[value].features if name == 'content_loss' else DISCRIMINATORS[value].maps
    return vgg19_sources.MISSING if needed and not vgg19_sources.find(vgg) else None


def check_sizes(settings):
    """Check that the crops are large enough for the content loss, and the batch for D. Raises UsageError.

    The article's D reduces a crop 256 times, by eight halvings. If its last batch normalisation has one value of a real
    picture and one of a generated one, both become 1 and -1, whatever D does.
    """
    if settings.content_loss == 'lpips' and settings.crop_size < lpips_alex.MINIMUM_SIZE:
        raise UsageError('--content-loss lpips needs crops of at least %d pixels; use a larger --crop-size'
                         % lpips_alex.MINIMUM_SIZE)
    values = settings.batch_size // settings.trainers * math.ceil(settings.crop_size / 256) ** 2
    if settings.n_epoch and settings.discriminator == 'article' and values < 2:
        raise UsageError('--batch-size %d with crops of up to 256 pixels leaves D only one value of each kind to '
                         'normalise; use --batch-size %d or more' % (settings.batch_size, 2 * settings.trainers))


def describe(settings):
    """The settings that have a value as lines of text for the user."""
    recipe = RECIPES[settings.recipe]
    lines = ['recipe %s' % settings.recipe]
    lines += ['  %-20s%s%s' % (name, getattr(settings, name), '' if getattr(settings, name) == recipe[name] else
                               '  (recipe: %s)' % recipe[name])
              for name in recipe if getattr(settings, name) is not None]
    lines += ['  %-20s%s' % (name, shown(getattr(settings, name)))
              for name in DEFAULTS if getattr(settings, name) is not None]
    return '\n'.join(lines)


def shown(value):
    """The value of a setting as the user should see it."""
    if isinstance(value, list):
        return ', '.join(folder if weight == 1 else '%s (%d times)' % (folder, weight) for folder, weight in value)
    return value


def resume_command(settings):
    """The command that resumes this run."""
    where = '' if settings.models == DEFAULTS['models'] else ' --models %s' % shlex.quote(settings.models)
    return 'python train.py --resume' + where


def save(settings):
    """Write the settings to settings.json in the models folder, for --resume."""
    kept = {name: value for name, value in vars(settings).items()
            if name not in ('resume', 'overwrite', 'dry_run', *CLUSTER)}
    replace_text(os.path.join(settings.models, 'settings.json'), json.dumps(kept, indent=1, sort_keys=True))


def load(models):
    """Read the settings of the run in a models folder -> a dict. Raises UsageError if they are missing or damaged."""
    path = os.path.join(models, 'settings.json')
    try:
        with open(path) as file:
            kept = json.load(file)
    except FileNotFoundError:
        raise UsageError('--resume: %s holds no run; start one without --resume, or give its folder with --models'
                         % models)
    except ValueError:
        kept = None
    if not isinstance(kept, dict) or not {'recipe', *RECIPES['article']} - {'discriminator', *OFF} <= set(kept) \
            or kept['recipe'] not in RECIPES:
        raise UsageError('--resume: %s is damaged; start another run' % path)
    return kept

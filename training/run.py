"""One training run: its networks on their device, their updates, samples, saving and resuming; and its folders."""
import contextlib
import glob
import itertools
import os
import shutil

import numpy as np

import programs
import vgg19
from cli.command import UsageError
from cli.paddle_setup import choose_place, fluid, silent_stderr
from cpu.memory import give_back_zeros, limit_to_available, memory_for
from data_utils import standardized, to_uint8
from layers import variables_of
from losses import CONTENT_LOSSES
from measuring import lpips_alex
from srgan_d import DISCRIMINATORS, variables_of_d
from srgan_g import SRGAN_g
from storage import checkpoint, networks, persistables, vgg19_sources
from storage.files import lock, remove
from training import cluster
from training.stages import STEPS, Position

BEST = 'best_g'
NETWORKS = ('g_models', 'g_models_raw', 'd_models', BEST)
MODEL_FILES = ('settings.json', 'state.npz', *NETWORKS, *(name + '.old' for name in NETWORKS))
OUTPUT_FILES = ('epoch_*.jpg', 'log.csv', 'curves.png', 'visualdl')
# What show_results.py has made of a run, or of none.
VIEWS = ('results.png', 'results.html')


class Run:
    """The three programs with their variables on the device of `settings`, for a new run or a resumed one.

    `position` is the Position of the run. Raises UsageError if the device, VGG19's weights, the networks to start from
    or the other processes of the run are not usable, RunError if the saved state is damaged.
    """

    def __init__(self, settings):
        self.settings = settings
        place = choose_place(settings.device)
        on_cpu = isinstance(place, fluid.CPUPlace)
        if settings.amp and on_cpu:
            raise UsageError('--amp on: this Paddle computes in 16 bits only on a GPU; use --amp off')
        self.exe = fluid.Executor(place)
        self.scope = fluid.Scope()
        self.sample_scope = fluid.Scope()
        self.programs = programs.build_for(settings, on_cpu, cluster.distribution(settings, on_cpu))
        self.networks = {'g_models': variables_of(SRGAN_g, [None, 3, None, None]),
                         'd_models': variables_of_d(settings.discriminator, settings.crop_size)}
        # The variables of D if the user gave a D to start from; every saved state then includes them.
        self.given_d = set(self.networks['d_models']) if settings.init_d else set()
        with memory_for_updates(self.settings):
            self.exe.run(self.programs.startup, scope=self.scope)
        if on_cpu:
            give_back_zeros(self.scope, self.programs.startup)
            limit_to_available()
        self.frozen = self.load_vgg19()
        if settings.content_loss == 'lpips':
            if lpips_alex.missing():
                raise UsageError('--content-loss lpips: ' + lpips_alex.missing())
            self.frozen |= lpips_alex.load(self.scope)

        variables, position = load_state(settings)
        if not position:
            if settings.init_d:
                require_same_d(settings, networks.find(settings.init_d))
            for start, name in ((settings.init_g, 'g_models'), (settings.init_d, 'd_models')):
                if start:
                    self.set(checkpoint.load_network(networks.find(start), self.networks[name]))
        self.average = Average(settings.ema, dict(self.get(self.networks['g_models']))) if settings.ema else None
        if position and self.average:
            self.average.restore(variables)
        self.set({name: array for name, array in variables.items() if not name.startswith(Average.PREFIX)})
        self.position = Position(**(position or {}))
        self.cluster = cluster.join(settings, self.programs, self.exe, self.scope, position)

    def load_vgg19(self):
        """Load VGG19's weights up to the coarsest map that the content loss or D needs -> their names."""
        settings = self.settings
        content = CONTENT_LOSSES[settings.content_loss]
        self.vgg_size = content.size
        maps = {**content.features, **DISCRIMINATORS[settings.discriminator].maps}
        if not maps:
            return set()
        weights = vgg19_sources.find(settings.vgg)
        if weights is None:
            needs = ('--content-loss ' + settings.content_loss if content.features else
                     '--discriminator ' + settings.discriminator)
            raise UsageError('%s: %s; or give their path with --vgg PATH' % (needs, vgg19_sources.MISSING))
        coarsest = max(maps, key=vgg19.OUTPUTS.index)
        vgg19.load(self.scope, weights, coarsest)
        return set(vgg19.parameter_shapes(coarsest))

    def set(self, variables):
        for name, array in variables.items():
            persistables.set_variable(self.scope, name, array)

    def get(self, names):
        """(name, array) pairs, generated so that only one array is in memory at a time."""
        return ((name, persistables.get_variable(self.scope, name)) for name in names)

    @contextlib.contextmanager
    def updating(self, learning_rate):
        """A context for the steps of one update: set the learning rates before, and update the average after them."""
        settings = self.settings
        of_d = learning_rate * (settings.learning_rate_d or settings.learning_rate) / settings.learning_rate
        self.set({programs.LEARNING_RATE: np.array([learning_rate], np.float32),
                  programs.LEARNING_RATE_D: np.array([of_d], np.float32), **self.cluster.messages()})
        yield
        if self.average:
            self.average.follow(self.get(self.networks['g_models']))

    def step(self, name, feed):
        """Run the training program 'init_g', 'd' or 'g' on a feed -> {loss: value}. Raises RunError without memory."""
        with memory_for_updates(self.settings), self.cluster.connected():
            return getattr(self.programs, name).run(self.exe, self.scope, feed)

    def generator(self):
        """The variables of G as it is used, {name: array}: their moving average if there is one, else G itself."""
        return self.average.variables if self.average else dict(self.get(self.networks['g_models']))

    def enlarge(self, lr):
        """Enlarge a picture with G as it is used: uint8 [H, W, 3] -> uint8 [4H, 4W, 3]."""
        for name, array in self.generator().items():
            persistables.set_variable(self.sample_scope, name, array)
        with memory_for('the sample'):
            found = self.programs.sample.run(self.exe, self.sample_scope, {'t_image': standardized(lr)[np.newaxis]})
        return to_uint8(found['test_im'][0])

    def state(self, stage):
        """(name, array) pairs of all variables that a resumed run needs.

        D and its moments are included from the adversarial stage on: the pre-training does not change them, so the seed
        makes them again. A D that the user gave is always included.
        """
        self.cluster.gather(stage)
        steps = [getattr(self.programs, name) for name in STEPS[stage]]
        names = self.given_d.union(*(step.persistables for step in steps)) - self.frozen
        return itertools.chain(self.get(sorted(names)), self.average.state() if self.average else ())

    def save(self, stage):
        """Save the networks, for use, and the state, for --resume, which does not need them. Only trainer 0 saves."""
        if self.settings.trainer_id:
            return
        checkpoint.save_state(state_file(self.settings), self.state(stage), vars(self.position))
        self.save_network('g_models', self.generator().items())
        if self.average:
            self.save_network('g_models_raw', self.get(self.networks['g_models']))
        else:
            # One from before --ema 0 would be older than g_models.
            remove(os.path.join(self.settings.models, 'g_models_raw'))
        if stage == 'gan':
            self.save_network('d_models', self.get(self.networks['d_models']),
                              {'discriminator': self.settings.discriminator})

    def save_network(self, name, variables, about=None):
        checkpoint.save_network(os.path.join(self.settings.models, name), variables, about)

    def write_graph(self, folder):
        """Write the graph of G, without its variables, as Paddle's __model__, which VisualDL and Netron draw."""
        sample = self.programs.sample
        with silent_stderr(), fluid.scope_guard(self.scope):
            fluid.io.save_inference_model(folder, sample.feeds, list(sample.fetches.values()), self.exe,
                                          main_program=sample.program, program_only=True)


def memory_for_updates(settings):
    """A context that raises RunError if there is too little memory for the updates of a run."""
    return memory_for('updates with %d crops of %d x %d: give a smaller --batch-size or --crop-size, or --recipe '
                      'shipped' % (settings.batch_size, settings.crop_size, settings.crop_size))


def state_file(settings):
    return os.path.join(settings.models, 'state.npz')


def load_state(settings):
    """The saved state of the run to resume -> (variables, position); ({}, None) if it is new or nothing is saved."""
    path = state_file(settings)
    return checkpoint.load_state(path) if settings.resume and os.path.exists(path) else ({}, None)


def require_same_d(settings, path):
    """Raise UsageError if the network to start from is another discriminator than that of the settings."""
    held = checkpoint.about(path).get('discriminator', settings.discriminator)
    if held != settings.discriminator:
        raise UsageError('--init-d %s holds the discriminator %s and not %s; give --discriminator %s' % (
            path, held, settings.discriminator, held))


class Average:
    """The exponential moving average of a network's variables, over about the last 1 / (1 - decay) updates.

    The decay starts lower and rises with the updates; otherwise the first weights would stay in the average for long.
    """

    PREFIX = 'average/'

    def __init__(self, decay, variables):
        self.decay = decay
        self.variables = variables
        self.updates = 0

    def follow(self, variables):
        """Include the network's variables after an update, (name, array) pairs."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, array in variables:
            self.variables[name] += np.float32(1 - decay) * (array - self.variables[name])

    def state(self):
        yield self.PREFIX + 'updates', np.array([self.updates])
        for name, array in self.variables.items():
            yield self.PREFIX + name, array

    def restore(self, variables):
        """Continue from the variables of a saved state; if they have no average, start from the network in them."""
        kept = {name[len(self.PREFIX):]: array for name, array in variables.items() if name.startswith(self.PREFIX)}
        self.updates = kept.pop('updates').item() if kept else 0
        self.variables = kept or {name: variables[name] for name in self.variables}


@contextlib.contextmanager
def own_folders(settings):
    """A context that locks the run's two folders for this process.

    Raises UsageError if another process has locked a folder, or if a new run without --overwrite finds another run's
    files in them.
    """
    folders = {os.path.realpath(folder): folder for folder in (settings.models, settings.output)}
    with contextlib.ExitStack() as locks:
        for folder in folders.values():
            locks.enter_context(lock(folder))
        earlier = earlier_files(settings)
        if earlier and not settings.overwrite:
            raise UsageError('%s is from an earlier run: continue that run with --resume, keep it and choose other '
                             'folders with --models and --output, or replace it with --overwrite' % earlier[0])
        yield


def earlier_files(settings, output_files=OUTPUT_FILES):
    """The paths of another run's files in the folders of a new run; [] if it is resumed."""
    if settings.resume:
        return []
    return [path for folder, patterns in ((settings.models, MODEL_FILES), (settings.output, output_files))
            for pattern in patterns for path in glob.glob(os.path.join(glob.escape(folder), pattern))]


def remove_earlier_files(settings):
    """Remove what --overwrite replaces; called once nothing is left that can refuse the new run. Raises OSError."""
    for path in earlier_files(settings, OUTPUT_FILES + VIEWS):
        shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)

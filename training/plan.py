"""What the stages of a run consist of, and what the whole of it would take."""
import contextlib
import itertools
import os
import resource
import shutil
import statistics
import time

from tqdm import tqdm

from training import readers
from training import settings as run_settings

STAGES = ('init', 'gan')
TITLES = {'init': 'pre-training', 'gan': 'training'}
# How the names of an epoch's samples begin, as the article has them.
SAMPLES = {'init': 'epoch_init_%d_', 'gan': 'epoch_%d_'}


class Stage:
    """The epochs and updates of a stage, 'init' or 'gan', of a run on so many pictures."""

    def __init__(self, settings, name, pictures):
        self.settings, self.name = settings, name
        self.n_epoch = settings.n_epoch_init if name == 'init' else settings.n_epoch
        self.epoch_updates = settings.epoch_updates or max(1, pictures // settings.batch_size)
        self.updates = self.n_epoch * self.epoch_updates
        # Every update of D takes crops of its own.
        self.feeds_an_update = settings.d_updates if name == 'gan' else 1

    def feeds(self, pictures, vgg_size, first=0):
        """For each update from number `first` on, a list of its feeds (see readers.feeds)."""
        size = self.feeds_an_update
        feeds = readers.feeds(pictures, self.settings, STAGES.index(self.name), self.updates * size, first * size,
                              vgg_size if self.name == 'gan' else None)
        with contextlib.closing(feeds):
            yield from iter(lambda: list(itertools.islice(feeds, size)), [])

    def learning_rate(self, update):
        """Of an update, counted from 0."""
        return run_settings.learning_rate(self.settings, self.name, update, self.updates)


def forecast(settings, run, pictures, validation, position):
    """What the run would do from `position` on, and take, as lines for people: measured on three updates a stage.

    It changes the networks of `run`, and writes nothing.
    """
    lines, total = ['', '%d pictures' % len(set(pictures.paths))], 0.0
    for name in STAGES[STAGES.index(position.stage):]:
        stage = Stage(settings, name, len(pictures))
        done = (position.epoch - 1) * stage.epoch_updates + position.update if name == position.stage else 0
        updates = stage.updates - done
        if updates > 0:
            seconds = seconds_an_update(stage, run, pictures)
            total += updates * seconds
            lines.append('%-13s %d updates of %d crops, %.3f s each: %s' % (
                TITLES[name], updates, settings.batch_size * stage.feeds_an_update, seconds,
                tqdm.format_interval(updates * seconds)))
        if validation:
            started = time.monotonic()
            validation.measure(run.generator())
            times = (stage.n_epoch - done // stage.epoch_updates) // settings.val_every
            total += times * (time.monotonic() - started)
    lines.append('in all        %s on this machine%s' % (
        tqdm.format_interval(total), ', validation included' if validation else ''))
    lines.append('memory        %.1f GB' % (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** 20))
    # While one is written, the state before it is there too.
    size = 2 * sum(array.nbytes for _, array in run.state('gan' if settings.n_epoch else 'init'))
    lines.append('disk          %.1f GB in %s; %.1f GB are free' % (
        size / 2 ** 30, settings.models, shutil.disk_usage(existing(settings.models)).free / 2 ** 30))
    return '\n'.join(lines)


def seconds_an_update(stage, run, pictures):
    """The median of three, after one that prepares what the others find."""
    seconds = []
    with contextlib.closing(stage.feeds(pictures, run.vgg_size)) as feeds:
        for feed in itertools.islice(feeds, 4):
            started = time.monotonic()
            run.update(stage.name, feed, stage.learning_rate(0))
            seconds.append(time.monotonic() - started)
    return statistics.median(seconds[1:] or seconds)


def existing(folder):
    """The folder, or the nearest one above it that is there."""
    folder = os.path.abspath(folder)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder

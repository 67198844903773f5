"""What a run would do and take here, measured on a few updates."""
import contextlib
import itertools
import os
import resource
import shutil
import statistics
import time

from tqdm import tqdm

from training import feeds
from training.stages import STAGES, TITLES, Stage


def forecast(run, pictures, validation, update):
    """What the run would do from where it stands, and take, as lines for people: measured on three updates a stage.

    update: a function that makes one update, as train.update. It changes the networks of `run`, and writes nothing.
    """
    settings, position = run.settings, run.position
    lines, total = ['', '%d pictures' % len(set(pictures.paths))], 0.0
    for name in STAGES[STAGES.index(position.stage):]:
        stage = Stage(settings, name, len(pictures))
        done = stage.updates_before(position)
        updates = stage.updates - done
        if updates > 0:
            seconds = seconds_an_update(stage, run, pictures, update)
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


def seconds_an_update(stage, run, pictures, update):
    """The median of three, after one that prepares what the others find."""
    seconds = []
    with contextlib.closing(feeds.updates(pictures, run.settings, stage, run.vgg_size)) as coming:
        for feed in itertools.islice(coming, 4):
            started = time.monotonic()
            update(run, stage.name, feed, stage.learning_rate(0))
            seconds.append(time.monotonic() - started)
    return statistics.median(seconds[1:] or seconds)


def existing(folder):
    """The folder, or the nearest one above it that is there."""
    folder = os.path.abspath(folder)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder

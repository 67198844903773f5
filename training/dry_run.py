"""A forecast of a run: its updates, and the time, memory and disk space that it needs on this machine."""
import contextlib
import itertools
import resource
import shutil
import statistics
import time
from pathlib import Path

from tqdm import tqdm

from training import feeds
from training.stages import STAGES, TITLES, Stage


def forecast(run, pictures, validation, update):
    """Forecast the rest of a run, measured on three updates of each stage -> lines of text for the user.

    update: a function that makes one update, such as train.update. This changes the networks in `run`, but no file.
    """
    settings, position = run.settings, run.position
    lines = ['', '%d pictures' % len(set(pictures.paths))]
    total = 0.0
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
            times = max(0, stage.n_epoch - done // stage.epoch_updates) // settings.val_every
            total += times * (time.monotonic() - started)
    lines.append('in all        %s on this machine%s' % (
        tqdm.format_interval(total), ', validation included' if validation else ''))
    lines.append('memory        %.1f GB' % (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** 20))
    # While the state or a network is being written, the earlier one is still on the disk.
    networks = ('g_models', 'd_models') if settings.n_epoch else ('g_models',)
    size = 2 * sum(array.nbytes for _, array in itertools.chain(
        run.state('gan' if settings.n_epoch else 'init'), *[run.get(run.networks[name]) for name in networks]))
    models = Path(settings.models).absolute()
    existing = next(folder for folder in (models, *models.parents) if folder.is_dir())
    lines.append('disk          %.1f GB in %s; %.1f GB are free' % (
        size / 2 ** 30, settings.models, shutil.disk_usage(str(existing)).free / 2 ** 30))
    return '\n'.join(lines)


def seconds_an_update(stage, run, pictures, update):
    """The median of three updates, after a first update, which takes longer."""
    seconds = []
    with contextlib.closing(feeds.updates(pictures, run.settings, stage, run.vgg_size)) as coming:
        for feed in itertools.islice(coming, 4):
            started = time.monotonic()
            update(run, stage.name, feed, stage.learning_rate(0))
            seconds.append(time.monotonic() - started)
    return statistics.median(seconds[1:] or seconds)

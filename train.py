"""Train SRGAN: pre-train G on the pixel loss, then update D and G in turns.

    python train.py                               a short training on the photographs that scikit-image carries
    python train.py --data DIR                    the article's training on your pictures
    python train.py --data DIR --recipe paper     the paper's
    python train.py --resume                      go on where the last run stopped, whatever stopped it
    python train.py --help                        all options

Samples, log and curves go to output/, networks and the state to go on from to models/.
"""
import contextlib
import math
import os
import sys
import time

import data_utils
from cli import command
from cli.paddle_setup import set_threads
from cli.progress import Bar
from measuring.metrics import psnr_y
from training import cluster, health, visual_log
from training import settings as run_settings
from training.log import RunLog
from training.plan import SAMPLES, STAGES, TITLES, Stage, forecast
from training.readers import Readers
from training.run import Run, choose_content_loss, prepare_folders, saved_position
from training.validation import Validation


def main(argv):
    settings, changed = run_settings.parse_settings(argv)
    set_threads(settings.threads)
    first = settings.role != 'pserver' and settings.trainer_id == 0
    if first and not settings.dry_run:
        locks = prepare_folders(settings)  # noqa: F841 held until the process ends
    missing = choose_content_loss(settings)
    if settings.role == 'pserver':
        return cluster.serve(settings, saved_position(settings))
    paths, held_out = data_utils.find_pictures(
        settings.data, settings.crop_size, print,
        os.path.join(settings.models, 'pictures.json') if first and not settings.dry_run else None)
    # What all trainers have in common is said once.
    tell = print if first else lambda line: None
    tell(run_settings.describe(settings))
    tell('%d pictures; samples from %s' % (len(set(paths)), held_out))
    if missing:
        tell(missing)

    validation = Validation(settings.val, print) if settings.val else None
    run = Run(settings)
    saved = run.restore() if settings.resume else None
    position = Position(**(saved or {}))
    run.join(settings, saved)
    if settings.resume:
        tell('going on after %d updates of epoch %d, stage %s' % (position.update, position.epoch, position.stage))
    for name, (old, new) in sorted(changed.items()):
        tell('%s is %s from here on; it was %s' % (
            run_settings.option(name), run_settings.shown(new), run_settings.shown(old)))

    sample = data_utils.sample_pair(held_out, settings.lr_resize)
    if settings.dry_run:
        with Readers(paths, settings.readers, print) as pictures:
            print(forecast(settings, run, pictures, validation, position))
        return 0
    log = None
    if first:
        log = RunLog(settings.output, position.rows, settings.visualdl)
        if settings.visualdl:
            run.write_graph(os.path.join(settings.output, visual_log.FOLDER))
        run_settings.save(settings)
    with command.StopSignals() as signals, Readers(paths, settings.readers, print) as pictures:
        stop = run.cluster.agreed(signals)
        train(settings, run, pictures, sample, validation, position, log, stop)
    run.cluster.leave()
    if stop.received:
        print('stopped and saved; `%s` goes on' % run_settings.resume_command(settings))
        return 128 + stop.received
    tell('networks in %s, pictures in %s; `python show_results.py` shows them side by side' % (
        os.path.join(settings.models, 'g_models'), os.path.join(settings.output, 'epoch_*.jpg')))
    return 0


def train(settings, run, pictures, sample, validation, position, log, stop):
    """The article's loop: epochs of init-G, then epochs of D and G in turns, from `position` on.

    `sample` is a pair of uint8 pictures, lr and hr; G enlarges lr after every epoch. Returns when both stages are
    done or `stop` has received a signal. Raises RunError where a loss is not finite. Without a `log`, which one of
    several trainers has, it trains and leaves the rest to that one.
    """
    saved = time.monotonic()

    for name in STAGES[STAGES.index(position.stage):]:
        position.enter(name)
        run.cluster.enter(name)
        stage = Stage(settings, name, len(pictures))
        done = (position.epoch - 1) * stage.epoch_updates + position.update
        feeds = stage.feeds(pictures, run.vgg_size, done)
        with contextlib.closing(feeds), progress_bar(stage, done) as bar:
            while not is_over(stage, position):
                while position.update < stage.epoch_updates:
                    started = time.monotonic()
                    feed = next(feeds)
                    waited = time.monotonic() - started
                    losses = run.update(name, feed, stage.learning_rate(done))
                    require_finite(losses, position, settings)
                    position.count(losses, time.monotonic() - started, waited)
                    done += 1
                    bar.set_postfix_str(', '.join('%s %.3g' % (loss, value) for loss, value in losses.items()
                                                  if loss.startswith('l_')), refresh=False)
                    bar.update()
                    if stop.received or time.monotonic() - saved > 60 * settings.save_minutes:
                        run.save(name, vars(position))
                        saved = time.monotonic()
                    if stop.received:
                        return

                if not log:
                    position.next_epoch({'stage': name})
                    continue
                sr = run.enlarge(sample[0])
                row = {'stage': name, 'epoch': position.epoch, 'update': done, **position.means(),
                       'psnr_y': psnr_y(sr, sample[1]), 'seconds': position.seconds,
                       'waited': position.waited / position.seconds,
                       'learning_rate': stage.learning_rate(done - 1),
                       'pictures_per_second': stage.epoch_updates * settings.batch_size / position.seconds}
                if validation and position.epoch % settings.val_every == 0:
                    row.update(validation.measure(run.generator()) or {})
                    if health.is_best(row, position.rows):
                        run.save_best(row)
                position.next_epoch(row)
                bar.clear()
                print(console_line(row, stage.n_epoch), *health.warnings(position.rows), sep='\n', flush=True)
                rest = row['epoch'] % settings.save_every == 0 or is_over(stage, position)
                if rest:
                    write_sample(settings.output, name, row['epoch'], sample, sr)
                log.add(row)
                if rest:
                    run.save(name, vars(position))
                    saved = time.monotonic()
    if log:
        log.draw()


def is_over(stage, position):
    """Whether a stage is done at a position between two epochs."""
    return position.epoch > stage.n_epoch or (
        stage.name == 'init' and health.has_stalled(position.rows, stage.settings.patience))


class Position:
    """Where a run stands: what it needs, beside the variables, to go on as if nothing had happened."""

    def __init__(self, stage=STAGES[0], epoch=1, update=0, totals=None, seconds=0.0, waited=0.0, rows=None):
        self.stage, self.rows = stage, rows or []
        # Of the epoch under way: updates done, sums of the losses {name: sum}, time, time in it without a feed.
        self.epoch, self.update, self.totals, self.seconds, self.waited = epoch, update, totals or {}, seconds, waited

    def enter(self, stage):
        """Begin a stage, unless the run is in it already."""
        if stage != self.stage:
            self.__init__(stage, rows=self.rows)

    def count(self, losses, seconds, waited):
        """One update more in this epoch, with its losses {name: value}, which waited so long for its feed."""
        self.update += 1
        self.totals = {name: self.totals.get(name, 0.0) + value for name, value in losses.items()}
        self.seconds += seconds
        self.waited += waited

    def means(self):
        """{loss: its mean over the epoch so far}."""
        return {name: total / self.update for name, total in self.totals.items()}

    def next_epoch(self, row):
        """The epoch is over; `row` is its line in the log."""
        self.__init__(self.stage, self.epoch + 1, rows=self.rows + [row])


def require_finite(losses, position, settings):
    for name, value in losses.items():
        if not math.isfinite(value):
            raise command.RunError(
                '%s became %s in update %d of epoch %d, stage %s; the last state saved in %s is from before it: `%s '
                '--learning-rate X` goes on from there, with a smaller X' % (
                    name, value, position.update + 1, position.epoch, position.stage, settings.models,
                    run_settings.resume_command(settings)))


def console_line(row, n_epoch):
    """The article's line for an epoch."""
    if row['stage'] == 'init':
        start, losses = '[*] Epoch_init', 'mse: %.8f' % row['l_g_pix']
    else:
        start, losses = '[*] Epoch', 'd_loss: %.8f g_loss: %.8f' % (row['l_d_real'] + row['l_d_fake'], row['g_loss'])
    validation = ', validation: %.2f dB' % row['val_psnr_y'] if 'val_psnr_y' in row else ''
    return '%s: [%2d/%2d] time: %4.4fs, %s, psnr: %.2f dB%s' % (
        start, row['epoch'], n_epoch, row['seconds'], losses, row['psnr_y'], validation)


def write_sample(folder, stage, epoch, sample, sr):
    """The article's three pictures of an epoch: low resolution, high resolution, generated."""
    for kind, image in (('96', sample[0]), ('384', sample[1]), ('G', sr)):
        data_utils.write_jpeg(os.path.join(folder, '%s%s.jpg' % (SAMPLES[stage] % epoch, kind)), image)


def progress_bar(stage, done):
    """A bar over a stage's updates."""
    return Bar(total=stage.updates, initial=done, desc=TITLES[stage.name], unit='update')


if __name__ == '__main__':
    sys.exit(command.run(main))

"""Train SRGAN: pre-train G on the pixel loss, then update D and G in turn.

    python train.py                               a short training on the photographs that scikit-image carries
    python train.py --data DIR --recipe shipped   an SRGAN of your pictures, in about an hour on two cores
    python train.py --data DIR                    the article's training on your pictures, for a GPU
    python train.py --data DIR --recipe paper     the paper's
    python train.py --resume                      continue the last run where it stopped, whatever stopped it
    python train.py --help                        all options

The run writes samples, log and curves to output/, and networks and its training state to models/.
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
from measuring import lpips_alex, report
from measuring.metrics import psnr_y
from training import data_set, feeds, health, servers, visual_log
from training import settings as run_settings
from training.dry_run import forecast
from training.log import RunLog
from training.readers import Readers
from training.run import BEST, Run, load_state, own_folders, remove_earlier_files, state_file
from training.stages import SAMPLES, STAGES, TITLES, Stage
from training.validation import Validation


def main(argv):
    settings, changed = run_settings.parse_settings(argv)
    set_threads(settings.threads)
    missing = run_settings.choose_auto(settings)
    run_settings.check_sizes(settings)
    if settings.role == 'pserver':
        return servers.serve(settings, load_state(settings)[1])
    # If there are several trainers, only the first writes files and prints what concerns all of them.
    first = settings.trainer_id == 0
    writes = first and not settings.dry_run
    with own_folders(settings) if writes else contextlib.nullcontext():
        tell = print if first else lambda line: None
        # Every trainer reads which picture is held out, so that all train on the same ones.
        paths, held_out, partners = data_set.find_pictures(
            settings.data, settings.crop_size, print, os.path.join(settings.models, 'pictures.json'), settings.resume,
            settings.data_lr, keep=writes)
        tell(run_settings.describe(settings))
        tell('%d pictures; samples from %s' % (len(set(paths)), held_out))
        for line in missing:
            tell(line)
        validation = Validation(settings.val, print) if settings.val else None
        run = Run(settings)
        if settings.resume:
            tell('going on after %d updates of epoch %d, stage %s' % (
                run.position.update, run.position.epoch, run.position.stage))
        for name, (old, new) in sorted(changed.items()):
            tell('%s is %s from here on; it was %s' % (
                run_settings.option(name), run_settings.shown(new), run_settings.shown(old)))
        if run.position.validate_on(validation and validation.pictures):
            tell('--val has other pictures from here on, so that best_g%s anew' % (
                ' and --patience begin' if settings.patience else ' begins'))
        sample = data_set.sample_pair(held_out, settings.lr_resize, settings.degrade, partners.get(held_out))
        measures = {'psnr_y': psnr_y}
        obstacle = lpips_alex.obstacle(sample[1])
        if obstacle:
            tell('the log does not show LPIPS: %s' % obstacle)
        elif first:
            measures['lpips'] = lpips_alex.Lpips(lpips_alex.read_weights())

        if settings.dry_run:
            with Readers(paths, settings.readers, print, partners) as pictures:
                print(forecast(run, pictures, validation, update))
            return 0
        log = None
        if first:
            log = RunLog(settings.output, run.position.rows, settings.visualdl, 'output' in changed)
            remove_earlier_files(settings)
            if settings.visualdl:
                run.write_graph(os.path.join(settings.output, visual_log.FOLDER))
            run_settings.save(settings)
        with command.StopSignals() as signals, Readers(paths, settings.readers, print, partners) as pictures:
            stop = run.cluster.agreed(signals)
            epochs = len(run.position.rows)
            try:
                finished = train(run, pictures, sample, measures, validation, log, stop)
            finally:
                if log:
                    log.draw()
        run.cluster.leave()
        if not finished:
            print('stopped and saved; `%s` goes on' % run_settings.resume_command(settings))
            return 128 + stop.received
        if len(run.position.rows) == epochs:
            tell('nothing was left to do; `%s --n-epoch N` goes on, with N above %d' % (
                run_settings.resume_command(settings), settings.n_epoch))
            return 0
        tell('networks in %s, pictures in %s; `python show_results.py` shows them side by side' % (
            os.path.join(settings.models, 'g_models'), os.path.join(settings.output, 'epoch_*.jpg')))
        return 0


def update(run, stage, feeds, learning_rate):
    """The heart of the article: make one update of the networks that a stage trains -> {loss: value}."""
    with run.updating(learning_rate):
        if stage == 'init':
            return run.step('init_g', feeds[-1])    # l_g_pix
        for feed in feeds:
            errD = run.step('d', feed)              # l_d_..., and D's opinions d_real, d_fake, d_told
        # G learns on the last pictures that D has seen.
        errG = run.step('g', feeds[-1])             # l_g_pix, l_g_percep, l_g_gan, ..., and their sum g_loss
        return {**errD, **errG}


def train(run, pictures, sample, measures, validation, log, stop):
    """The article's loop from the position of `run` on: epochs of init-G, then epochs in which D and G take turns.

    pictures: Readers. sample: a pair of uint8 pictures, lr [h, w, 3] and hr [4h, 4w, 3]; G enlarges lr after every
    epoch, and `measures` {column: function of two pictures} compares the result with hr. validation: a Validation, or
    None. log: a RunLog; None for every trainer but the first, so that these only train and save no samples. Returns
    True when both stages are done, or False, with the run saved, as soon as `stop` has received a signal. Raises
    RunError if a loss is not finite, memory does not suffice, or the run cannot be saved.
    """
    settings, position = run.settings, run.position
    saved = time.monotonic()
    resumed = settings.resume

    for name in STAGES[STAGES.index(position.stage):]:
        position.enter(name)
        run.cluster.enter(name)
        stage = Stage(settings, name, len(pictures))
        done = stage.updates_before(position)
        coming = feeds.updates(pictures, settings, stage, run.vgg_size, done)
        with contextlib.closing(coming), Bar(
                total=stage.updates, initial=done, desc=TITLES[name], unit='update') as bar:
            while not is_over(stage, position):
                while position.update < stage.epoch_updates:
                    started = time.monotonic()
                    feed = next(coming)
                    waited = time.monotonic() - started
                    losses = update(run, name, feed, stage.learning_rate(done))
                    require_finite(losses, position, settings, resumed)
                    resumed = False
                    position.count(losses, time.monotonic() - started, waited)
                    done += 1
                    bar.set_postfix_str(', '.join('%s %.3g' % (loss, value) for loss, value in losses.items()
                                                  if loss.startswith('l_')), refresh=False)
                    bar.update()
                    if stop.received or time.monotonic() - saved > 60 * settings.save_minutes:
                        run.save(name)
                        saved = time.monotonic()
                    if stop.received:
                        return False

                if not log:
                    position.next_epoch({'stage': name})
                    continue
                sr = run.enlarge(sample[0])
                row = {'stage': name, 'epoch': position.epoch, 'update': done, **position.means(),
                       **{column: measure(sr, sample[1]) for column, measure in measures.items()},
                       'seconds': position.seconds,
                       'waited': position.waited / position.seconds,
                       'learning_rate': stage.learning_rate(done - 1),
                       'pictures_per_second': stage.epoch_updates * settings.batch_size / position.seconds}
                validate(run, validation, row)
                position.next_epoch(row)
                bar.clear()
                print(console_line(row, stage.n_epoch), *health.warnings(position.rows), sep='\n', flush=True)
                due = row['epoch'] % settings.save_every == 0 or is_over(stage, position)
                if due:
                    write_sample(settings.output, name, row['epoch'], sample, sr)
                log.add(row)
                if due:
                    run.save(name)
                    saved = time.monotonic()
    return True


def validate(run, validation, row):
    """If the epoch of a row of the log is one to validate, measure G for the row, and keep it if it is the best."""
    if validation and row['epoch'] % run.settings.val_every == 0:
        row.update(validation.measure(run.generator()) or {})
        if health.is_best(row, run.position.validated()):
            run.save_network(BEST, run.generator().items(), report.finite(row))


def is_over(stage, position):
    """Whether a stage is over at a position between two epochs."""
    return position.epoch > stage.n_epoch or (
        stage.name == 'init' and health.has_stalled(position.validated(), stage.settings.patience))


def require_finite(losses, position, settings, resumed):
    """Raises RunError if a loss is not finite; it says how to go on. resumed: this is the first update of --resume."""
    for name, value in losses.items():
        if not math.isfinite(value):
            option = 'learning_rate_init' if position.stage == 'init' else 'learning_rate'
            if resumed or not os.path.exists(state_file(settings)):
                where = '%s: start again with --overwrite and %s X' % (
                    'the state that was saved is of no use' if resumed else 'nothing has been saved yet',
                    run_settings.option(option))
            else:
                where = 'the last state saved in %s is from before that: `%s %s X` continues from it' % (
                    settings.models, run_settings.resume_command(settings), run_settings.option(option))
            raise command.RunError('%s became %s in update %d of epoch %d, stage %s; %s, with X below %g' % (
                name, value, position.update + 1, position.epoch, position.stage, where, getattr(settings, option)))


def console_line(row, n_epoch):
    """The article's line for an epoch."""
    if row['stage'] == 'init':
        start, losses = '[*] Epoch_init', 'mse: %.8f' % row['l_g_pix']
    else:
        d_loss = sum(value for column, value in row.items() if column.startswith('l_d_'))
        start = '[*] Epoch'
        losses = 'd_loss: %.8f g_loss: %.8f, told apart: %.0f %%' % (d_loss, row['g_loss'], 100 * row['d_told'])
    lpips = ', lpips: %.3f' % row['lpips'] if 'lpips' in row else ''
    validation = ', validation: %.2f dB' % row['val_psnr_y'] if 'val_psnr_y' in row else ''
    return '%s: [%2d/%2d] time: %4.4fs, %s, psnr: %.2f dB%s%s' % (
        start, row['epoch'], n_epoch, row['seconds'], losses, row['psnr_y'], lpips, validation)


def write_sample(folder, stage, epoch, sample, sr):
    """Write the article's three pictures of an epoch: low resolution, high resolution, generated."""
    for kind, image in (('96', sample[0]), ('384', sample[1]), ('G', sr)):
        data_utils.write_jpeg(os.path.join(folder, '%s%s.jpg' % (SAMPLES[stage] % epoch, kind)), image)


if __name__ == '__main__':
    sys.exit(command.run(main))

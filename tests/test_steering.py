"""Steering a run: schedules, average, validation, balance, and what a run would take."""
import argparse
import json
import math
import os
import signal
import time
from unittest import mock

import numpy as np
import pytest
from conftest import QUICK, assert_same_logs, log_of, photograph, wait_for
from PIL import Image

import layers
import programs
import srgan_d
import srgan_g
import train
from cli.command import RunError, UsageError
from cli.paddle_setup import fluid
from training import cluster, dry_run, health, settings, validation
from training import run as runs
from training.schedule import learning_rate
from training.stages import Position

ALL = ('--ema', '0.9', '--warm-up', '4', '--schedule-init', '10:0.1', '--schedule', 'cosine', '--d-updates', '2',
       '--label-smoothing', '0.1', '--learning-rate-d', '3e-4', '--degrade', 'photo', '--clip-gradients', '1',
       '--moving-statistics', 'on', '--val', 'val', '--val-every', '2')


@pytest.fixture
def val(tmp_path):
    """A folder of two pictures to validate on."""
    (tmp_path / 'val').mkdir()
    for number in range(2):
        Image.fromarray(photograph(60, 72, 20 + number)).save(str(tmp_path / 'val' / ('%d.png' % number)))
    return tmp_path / 'val'


# Learning rates

def rates(schedule, updates=1000, warm_up=0, stage='gan'):
    chosen = argparse.Namespace(learning_rate=1e-4, schedule=schedule, learning_rate_init=1e-3, schedule_init=schedule,
                                warm_up=warm_up)
    return np.array([learning_rate(chosen, stage, update, updates) for update in range(updates)])


def test_the_papers_schedule_is_a_tenth_in_the_second_half():
    assert (rates('step')[:500] == 1e-4).all() and np.allclose(rates('step')[500:], 1e-5)
    assert (rates('step', stage='init')[:500] == 1e-3).all()


def test_the_cosine_falls_to_zero_and_the_constant_stays():
    cosine = rates('cosine')
    assert cosine[0] == 1e-4 and cosine[500] == pytest.approx(5e-5) and 0 < cosine[-1] < 1e-9
    assert (np.diff(cosine) < 0).all()
    assert (rates('constant') == 1e-4).all()


def test_factors_hold_from_their_updates_on():
    wanted = np.repeat([1e-4, 5e-5, 1e-6], [10, 190, 800])
    assert np.allclose(rates('10:0.5,200:0.01'), wanted)


def test_the_warm_up_rises_from_zero():
    warm = rates('constant', warm_up=100)
    assert np.allclose(warm[:100], 1e-4 * np.arange(1, 101) / 100) and (warm[100:] == 1e-4).all()


@pytest.mark.parametrize('schedule', ['linear', '10', '10:', 'x:0.1', '20:0.1,10:0.5', '10:0.1,10:0.2', ''])
def test_a_schedule_that_is_none_is_refused(schedule):
    with pytest.raises(UsageError, match='--schedule: .* is not constant, .*UPDATE:FACTOR'):
        settings.parse_settings(['--schedule', schedule])


# The average

def test_the_average_follows_the_weights():
    rng = np.random.RandomState(0)
    weights = rng.normal(size=(51, 7)).astype(np.float32)
    average = runs.Average(0.9, {'w': weights[0].copy()})
    wanted = weights[0].astype(np.float64)
    for number, weight in enumerate(weights[1:]):
        decay = min(0.9, (1 + number) / (10 + number))
        wanted = decay * wanted + (1 - decay) * weight
        average.follow([('w', weight)])
    assert np.allclose(average.variables['w'], wanted, atol=1e-6)


def g_of(folder):
    from storage import checkpoint
    return checkpoint.load_network(str(folder), layers.variables_of(srgan_g.SRGAN_g, [None, 3, None, None]))


@pytest.fixture
def tiny_g(monkeypatch):
    monkeypatch.setattr(srgan_g, 'RESIDUAL_BLOCKS', 2)
    monkeypatch.setattr(srgan_g, 'FILTERS', 8)


def test_samples_figures_and_g_models_are_the_averages(run, data, tmp_path, tiny_g):
    """A decay of almost 1, which the first updates do not reach, and a single update: (1 * old + 9 * new) / 10."""
    arguments = [*QUICK[:-6], '--epoch-updates', '1', '--n-epoch-init', '1', '--n-epoch', '0', '--save-every', '1']
    assert run('train.py', *arguments, '--ema', '0.999').code == 0
    average, raw = [g_of(tmp_path / 'models' / name) for name in ('g_models', 'g_models_raw')]
    assert run('train.py', *arguments, '--models', 'm', '--output', 'o').code == 0
    plain = g_of(tmp_path / 'm' / 'g_models')
    assert not (tmp_path / 'm' / 'g_models_raw').exists()
    for name in plain:
        assert np.array_equal(raw[name], plain[name]), name
    name = 'out.w_0'
    first = (average[name] - 0.9 * raw[name]) / 0.1
    assert 1e-5 < np.abs(first - raw[name]).max() <= 1.01e-3
    assert log_of(tmp_path / 'o')[0]['l_g_pix'] == log_of(tmp_path / 'output')[0]['l_g_pix']
    assert log_of(tmp_path / 'o')[0]['psnr_y'] != log_of(tmp_path / 'output')[0]['psnr_y']
    assert (tmp_path / 'o' / 'epoch_init_1_G.jpg').read_bytes() != (
        tmp_path / 'output' / 'epoch_init_1_G.jpg').read_bytes()
    # Without the average there is one G, and none from before is left beside it.
    assert run('train.py', '--resume', '--ema', '0', '--n-epoch-init', '2').code == 0
    assert not (tmp_path / 'models' / 'g_models_raw').exists()


# No adversarial loss

def test_without_an_adversarial_weight_g_minimises_the_content_loss_alone(run, data, tmp_path, tiny_g):
    arguments = [*QUICK[:-6], '--epoch-updates', '2', '--n-epoch-init', '0', '--n-epoch', '1',
                 '--phase-weight', '0']
    for weight in '0', '0.5':
        result = run('train.py', *arguments, '--adversarial-weight', weight, '--models', 'm' + weight,
                     '--output', 'o' + weight)
        assert result.code == 0, result.err
        row, = log_of(tmp_path / ('o' + weight))
        pixels, adversarial, whole = [float(row[name]) for name in ('l_g_pix', 'l_g_gan', 'g_loss')]
        assert adversarial > 0 and whole == pytest.approx(pixels + float(weight) * adversarial, rel=1e-5)


# Several updates of D

def test_d_learns_from_each_feed_and_g_from_the_last(tiny_g, monkeypatch):
    monkeypatch.setattr(srgan_d, 'FILTERS', 2)
    chosen, _ = settings.parse_settings(
        ['--recipe', 'scratch', '--crop-size', '32', '--batch-size', '2', '--content-loss', 'mse',
         '--discriminator', 'article'])
    together, apart = runs.Run(chosen), runs.Run(chosen)
    rng = np.random.RandomState(0)
    feeds = [{'t_image': rng.uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32),
              't_target_image': rng.uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)} for _ in range(3)]
    train.update(together, 'gan', feeds, 1e-3)
    apart.set(dict.fromkeys((programs.LEARNING_RATE, programs.LEARNING_RATE_D), np.array([1e-3], np.float32)))
    for step, feed in [(apart.programs.d, feed) for feed in feeds] + [(apart.programs.g, feeds[-1])]:
        step.run(apart.exe, apart.scope, feed)
    wanted = dict(apart.state('gan'))
    assert all(np.array_equal(array, wanted[name]) for name, array in together.state('gan'))


# Validation

def test_validation_is_what_evaluate_measures_and_the_best_is_kept(run, data, val, tmp_path, monkeypatch):
    monkeypatch.setenv('CURVES', 'drawn')
    result = run('train.py', *QUICK, '--n-epoch-init', '4', '--val', 'val', '--ema', '0.5')
    assert result.code == 0, result.err
    rows = log_of(tmp_path / 'output')
    scores = [float(row['val_psnr_y']) for row in rows]
    assert len(scores) == 6 and 'validation: %.2f dB' % scores[-1] in result.out
    about = json.loads((tmp_path / 'models' / 'best_g' / 'about.json').read_text())
    assert about['val_psnr_y'] == max(scores) and rows[scores.index(max(scores))]['epoch'] == str(about['epoch'])
    for model, row in (('best_g', about), ('g_models', rows[-1])):
        assert run('evaluate.py', '--data', 'val', '--model', 'models/' + model, '--json', 'scores.json').code == 0
        mean = json.loads((tmp_path / 'scores.json').read_text())['models'][model]['mean']
        assert mean['psnr_y'] == pytest.approx(float(row['val_psnr_y']), abs=1e-6)
        assert mean['ssim_y'] == pytest.approx(float(row['val_ssim_y']), abs=1e-6)


@pytest.mark.parametrize('how', ['named', 'named, but killed', 'in the same folder'])
def test_the_best_on_other_pictures_is_not_compared(run, data, val, tmp_path, how):
    """The same pictures in another place are not others."""
    grey = tmp_path / 'hard'
    grey.mkdir()
    noise = np.random.RandomState(0).randint(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(str(grey / 'noise.png'))
    assert run('train.py', *QUICK, '--n-epoch', '0', '--val', 'val').code == 0

    def best(*arguments):
        result = run('train.py', '--resume', *arguments)
        assert result.code == 0 and ('other pictures' in result.out) == ('4' in arguments)
        return json.loads((tmp_path / 'models' / 'best_g' / 'about.json').read_text())['epoch']

    val.rename(tmp_path / 'moved')
    assert best('--val', 'moved', '--n-epoch-init', '3', '--learning-rate-init', '1') < 3
    if how == 'in the same folder':
        (tmp_path / 'moved' / '0.png').write_bytes((grey / 'noise.png').read_bytes())
    elif how != 'named':
        # What a run with --val hard leaves that is killed before its first save.
        settings_file = tmp_path / 'models' / 'settings.json'
        settings_file.write_text(json.dumps({**json.loads(settings_file.read_text()), 'val': str(grey)}))
    assert best(*['--val', 'hard'] if how == 'named' else [], '--n-epoch-init', '4') == 4


def test_a_validation_leaves_out_infinite_psnrs_and_does_without_memory(val, tmp_path, tiny_g, monkeypatch):
    monkeypatch.setattr(validation.metrics, 'psnr_y', mock.Mock(side_effect=[math.inf, 30.0]))
    rng = np.random.RandomState(0)
    network = {name: rng.uniform(0.1, 1, shape).astype(np.float32)
               for name, shape in layers.variables_of(srgan_g.SRGAN_g, [None, 3, None, None]).items()}
    assert validation.Validation(str(val), print).measure(network)['val_psnr_y'] == 30
    said = []
    monkeypatch.setattr(validation, 'upscale', mock.Mock(side_effect=MemoryError))
    assert validation.Validation(str(val), said.append).measure(network) is None
    assert said == ['not validated: this machine has too little memory for 0']


def test_validation_every_few_epochs(run, data, val, tmp_path):
    assert run('train.py', *QUICK, '--n-epoch-init', '5', '--val', 'val', '--val-every', '2').code == 0
    assert [bool(row['val_psnr_y']) for row in log_of(tmp_path / 'output')] == [
        False, True, False, True, False, False, True]


def test_the_pre_training_ends_when_the_validation_no_longer_rises(run, data, val, tmp_path):
    """Under a learning rate that is too high it soon falls; the adversarial stage follows, and --resume knows it."""
    result = run('train.py', *QUICK, '--n-epoch-init', '60', '--val', 'val', '--patience', '3',
                 '--learning-rate-init', '0.05')
    assert result.code == 0, result.err
    rows = log_of(tmp_path / 'output')
    scores = [float(row['val_psnr_y']) for row in rows if row['stage'] == 'init']
    assert 3 < len(scores) < 60 and scores.index(max(scores)) == len(scores) - 4
    assert (tmp_path / 'output' / ('epoch_init_%d_G.jpg' % len(scores))).exists()
    assert [row['epoch'] for row in rows[len(scores):]] == ['1', '2']
    assert run('train.py', '--resume', '--n-epoch', '3').code == 0
    assert [row['stage'] for row in log_of(tmp_path / 'output')] == ['init'] * len(scores) + ['gan'] * 3


@pytest.mark.parametrize('folder', ['nowhere', 'empty', 'broken'])
def test_a_validation_without_pictures_is_one_line(folder, run, data, tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'broken').mkdir()
    (tmp_path / 'broken' / 'a.png').write_bytes(b'not a picture')
    result = run('train.py', *QUICK, '--val', folder)
    assert result.code == 2 and result.err.count('\n') == 1 and folder in result.err


@pytest.mark.parametrize('arguments, words', [
    (['--patience', '3'], '--patience 3 .*--val'), (['--ema', '1'], '--ema'), (['--ema', '-0.1'], '--ema'),
    (['--label-smoothing', '0.5'], '--label-smoothing'), (['--d-updates', '0'], '--d-updates'),
    (['--clip-gradients', '0'], '--clip-gradients')])
def test_a_mistake_is_refused(arguments, words):
    with pytest.raises(UsageError, match=words):
        settings.parse_settings(arguments)


def test_16_bits_without_a_gpu_are_one_line(run, data):
    assert run('train.py', *QUICK, '--amp', 'on').is_one_line(2, '--amp', 'GPU')


def test_a_validation_picture_that_goes_is_a_line_and_not_a_stop(run, start, data, val, tmp_path):
    process = start('train.py', *QUICK, '--n-epoch-init', '40', '--n-epoch', '0', '--val', 'val')
    wait_for(lambda: (tmp_path / 'output' / 'log.csv').exists(), process)
    (val / '1.png').unlink()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and 'not validated: val/1.png' in out, err
    rows = log_of(tmp_path / 'output')
    assert rows[0]['val_psnr_y'] and not rows[-1]['val_psnr_y']


# The balance of D and G

def rows_of(*opinions):
    return [{'stage': 'init'}] + [{'stage': 'gan', 'd_real': real, 'd_fake': fake, 'd_told': told}
                                  for real, fake, told in opinions]


@pytest.mark.parametrize('opinion, word', [((0.99, 0.01, 1.0), 'D is sure of all pictures'),
                                           ((0.7, 0.6, 0.5), 'D does not tell real pictures from generated ones')])
def test_a_lost_balance_is_said_once(opinion, word):
    fine = (0.52, 0.51, 0.8)
    course = rows_of(fine, *[opinion] * 8, fine, *[opinion] * 5)
    said = [number for number in range(1, len(course) + 1) if health.warnings(course[:number])]
    assert said == [7, 16]
    line, = health.warnings(course[:7])
    assert line.startswith(word) and '; try --' in line


def test_a_balance_is_not_warned_of():
    assert not any(health.warnings(rows_of(*[(0.8, 0.3, 1.0)] * number)) for number in range(12))


# All of it at once

def test_a_resumed_run_keeps_to_its_course(run, start, data, val, tmp_path, monkeypatch):
    """With all options, killed in both stages, the log ends as if nothing had happened; the average too."""
    arguments = [*QUICK[:-4], '--n-epoch-init', '6', '--n-epoch', '6', '--save-every', '2', *ALL]
    monkeypatch.setenv('CURVES', 'drawn')
    assert run('train.py', *arguments, '--models', 'm', '--output', 'o').code == 0
    monkeypatch.delenv('CURVES')
    process = start('train.py', *arguments)
    for stage in ('init', 'gan'):
        wait_for(lambda stage=stage: (tmp_path / 'output' / 'log.csv').exists() and any(
            row['stage'] == stage and row['epoch'] == '3' for row in log_of(tmp_path / 'output')), process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        process = start('train.py', '--resume')
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert_same_logs(tmp_path / 'output', tmp_path / 'o')
    for name in ('g_models', 'g_models_raw', 'best_g', 'd_models'):
        for root, _, files in os.walk(str(tmp_path / 'm' / name)):
            for file in set(files) - {'about.json'}:
                path = os.path.join(root, file)
                assert open(path, 'rb').read() == open(path.replace('/m/', '/models/'), 'rb').read(), path


# What a run would take

def test_a_dry_run_says_what_there_is_to_do_and_writes_nothing(run, data, val, tmp_path):
    before = sorted(os.listdir(str(tmp_path)))
    result = run('train.py', *QUICK, '--d-updates', '2', '--val', 'val', '--dry-run')
    assert result.code == 0, result.err
    assert sorted(os.listdir(str(tmp_path))) == before
    lines = result.out.splitlines()
    assert '3 pictures' in lines
    assert any(line.startswith('pre-training  6 updates of 2 crops, 0.') for line in lines)
    assert any(line.startswith('training      6 updates of 4 crops, 0.') for line in lines)
    for word in ('in all ', 'memory ', 'disk '):
        assert any(line.startswith(word) for line in lines), word


def test_a_dry_run_of_a_resumed_run_counts_the_rest(run, data, tmp_path):
    assert run('train.py', *QUICK).code == 0
    log = (tmp_path / 'output' / 'log.csv').read_bytes()
    result = run('train.py', '--resume', '--n-epoch', '4', '--dry-run')
    assert result.code == 0, result.err
    assert 'training      6 updates of 2 crops' in result.out and 'pre-training' not in result.out
    assert (tmp_path / 'output' / 'log.csv').read_bytes() == log
    assert json.loads((tmp_path / 'models' / 'settings.json').read_text())['n_epoch'] == 2


@pytest.mark.parametrize('error, told', [
    (MemoryError(), RunError), (fluid.core.EnforceNotMet('Alloc 8 GB error'), RunError),
    (fluid.core.EnforceNotMet('ShapeError'), fluid.core.EnforceNotMet)])
def test_missing_memory_alone_is_called_so(error, told):
    run = mock.Mock(settings=argparse.Namespace(batch_size=2, crop_size=32), cluster=cluster.Alone())
    run.programs.g.run.side_effect = error
    with pytest.raises(told):
        runs.Run.step(run, 'g', {})


def test_the_forecast_of_a_run_that_has_done_more_than_it_is_to_do_is_no_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chosen, _ = settings.parse_settings([*QUICK, '--n-epoch', '1', '--val', 'val'])
    run = mock.Mock(settings=chosen, position=Position(stage='gan', epoch=4), networks={'g_models': (), 'd_models': ()},
                    state=lambda _: (), get=lambda _: ())
    slow = mock.Mock(measure=lambda _: time.sleep(0.6))
    lines = dry_run.forecast(run, mock.MagicMock(paths=['a.png']), slow, None).splitlines()
    assert 'in all        00:00 on this machine, validation included' in lines


def test_the_forecast_is_near_the_truth(run, data, tmp_path):
    arguments = [*QUICK[:-6], '--epoch-updates', '20', '--n-epoch-init', '1', '--n-epoch', '1', '--batch-size', '8']
    forecast = run('train.py', *arguments, '--dry-run').out
    seconds = float([line for line in forecast.splitlines() if line.startswith('training')][0].split()[6])
    assert run('train.py', *arguments).code == 0
    measured = float(log_of(tmp_path / 'output')[1]['seconds']) / 20
    assert math.log(seconds / measured) == pytest.approx(0, abs=math.log(3))


# VisualDL

def records(folder):
    """Of a VisualDL run: ({tag: {step: value}}, the steps that have a picture)."""
    from visualdl import LogReader
    file, = os.listdir(folder)
    reader = LogReader(file_path=os.path.join(folder, file))
    scalars = {tag: {item.id: item.value for item in reader.get_data('scalar', tag)}
               for tag in reader.get_tags()['scalar']}
    return scalars, {item.id for item in reader.get_data('image', 'generated')}


def test_visualdl_shows_the_log_the_samples_and_the_graph(run, data, tmp_path):
    pytest.importorskip('visualdl')
    assert run('train.py', *QUICK, '--save-every', '2', '--visualdl').code == 0
    assert run('train.py', '--resume', '--n-epoch', '4').code == 0
    rows = log_of(tmp_path / 'output')
    for stage, steps in (('init', {6}), ('gan', {6, 12})):
        scalars, pictures = records(str(tmp_path / 'output' / 'visualdl' / stage))
        assert pictures == steps
        for name in ('psnr_y', 'l_g_pix'):
            wanted = {int(row['update']): pytest.approx(float(row[name]), rel=1e-6)
                      for row in rows if row['stage'] == stage}
            assert scalars[name] == wanted
    program = fluid.Program.parse_from_string((tmp_path / 'output' / 'visualdl' / '__model__').read_bytes())
    assert [op.type for op in program.global_block().ops].count('pixel_shuffle') == 2

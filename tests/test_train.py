"""train.py as a user runs it: what it says, what it leaves, and what stops it."""
import contextlib
import itertools
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import QUICK, ROOT, Result, assert_same_logs, log_of, photograph, wait_for
from PIL import Image

import recipes
from cli.command import UsageError
from srgan_d import DISCRIMINATORS
from storage import checkpoint, persistables
from training import data_set
from training import run as runs
from training import settings as run_settings
from training.stages import Position, Stage


def test_a_run_leaves_samples_log_curves_and_networks(run, data, tmp_path, monkeypatch):
    monkeypatch.setenv('CURVES', 'drawn')
    result = run('train.py', *QUICK, '--save-every', '1')
    assert result.code == 0, result.err
    assert result.err == ''
    output, models = tmp_path / 'output', tmp_path / 'models'

    lines = [line for line in result.out.splitlines() if line.startswith('[*]')]
    assert re.match(r'\[\*\] Epoch_init: \[ 1/ 2\] time: \d+\.\d{4}s, mse: \d+\.\d{8}, psnr: \d+\.\d\d dB$', lines[0])
    assert re.match(r'\[\*\] Epoch: \[ 2/ 2\] time: \d+\.\d{4}s, d_loss: \d+\.\d{8} g_loss: \d+\.\d{8}, '
                    r'told apart: \d+ %, psnr', lines[3])
    assert 'recipe scratch' in result.out and 'epoch_updates       3  (recipe: ' in result.out
    assert 'models/g_models' in result.out.splitlines()[-1] and 'output/epoch_*.jpg' in result.out.splitlines()[-1]

    samples = {'epoch_%s%d_%s.jpg' % (stage, epoch, kind)
               for stage in ('init_', '') for epoch in (1, 2) for kind in ('G', '96', '384')}
    assert set(os.listdir(str(output))) == samples | {'log.csv', 'curves.png', '.lock'}
    for name in samples:
        assert Image.open(str(output / name)).size == ((30, 28) if '_96' in name else (120, 112)), name
    assert Image.open(str(output / 'curves.png')).size == (1200, 1440)

    rows = log_of(output)
    assert [(row['stage'], row['epoch'], row['update']) for row in rows] == [
        ('init', '1', '3'), ('init', '2', '6'), ('gan', '1', '3'), ('gan', '2', '6')]
    for row in rows:
        filled = {name for name, value in row.items() if value}
        common = {'stage', 'epoch', 'update', 'l_g_pix', 'psnr_y', 'learning_rate', 'seconds', 'waited',
                  'pictures_per_second'}
        assert filled == (common if row['stage'] == 'init' else common | {
            'l_g_phase', 'l_g_gan', 'g_loss', 'l_d_real', 'l_d_fake', 'd_real', 'd_fake', 'd_told'})

    assert (models / 'g_models' / 'n64s1' / 'c1' / '0.w_0').exists()
    assert (models / 'd_models' / 'h0' / 'c.w_0').exists()
    assert json.load(open(str(models / 'settings.json')))['batch_size'] == 2


def test_the_picture_of_the_samples_is_not_trained_on_and_stays_the_same(run, data, tmp_path):
    assert run('train.py', *QUICK, '--save-every', '1').code == 0
    first, second = [np.asarray(Image.open(str(tmp_path / 'output' / name)))
                     for name in ('epoch_init_1_384.jpg', 'epoch_2_384.jpg')]
    assert (first == second).all()
    held_out = np.asarray(Image.open(str(data / '3.png')))
    assert np.abs(first.astype(int) - held_out).mean() < 3
    (data / '3.png').unlink()
    assert run('train.py', *QUICK, '--overwrite').code == 0
    assert np.asarray(Image.open(str(tmp_path / 'output' / 'epoch_2_384.jpg'))).shape == (108, 120, 3)


def test_each_stage_alone(run, data, tmp_path):
    assert run('train.py', *QUICK, '--n-epoch', '0').code == 0
    assert {row['stage'] for row in log_of(tmp_path / 'output')} == {'init'}
    assert not (tmp_path / 'models' / 'd_models').exists()
    arguments = ('--n-epoch-init', '0', '--init-g', 'models/g_models', '--models', 'm2', '--output', 'o2')
    assert run('train.py', *QUICK, *arguments).code == 0
    assert {row['stage'] for row in log_of(tmp_path / 'o2')} == {'gan'}
    shutil.rmtree(str(tmp_path / 'models'))
    result = run('train.py', '--resume', '--models', 'm2', '--n-epoch', '3')
    assert result.code == 0 and len(log_of(tmp_path / 'o2')) == 3, result.err


def test_a_d_to_start_from_is_the_one_that_the_adversarial_training_begins_with(run, data, tmp_path):
    """Kept by the pre-training, and by its state when the folder that it came from is gone."""
    assert run('train.py', *QUICK).code == 0
    first = checkpoint.load_directory(str(tmp_path / 'models' / 'd_models'), ['h0/c.w_0', 'h1/bn.w_1'])
    (tmp_path / 'models').rename(tmp_path / 'first')
    again = [*QUICK, '--n-epoch', '0', '--init-d', 'first/d_models', '--output', 'o2', '--models']
    assert run('train.py', *again, 'm2').code == 0
    shutil.rmtree(str(tmp_path / 'first'))
    variables, _ = checkpoint.load_state(str(tmp_path / 'm2' / 'state.npz'))
    for name, array in first.items():
        np.testing.assert_array_equal(variables[name], array)
    result = run('train.py', '--resume', '--models', 'm2', '--n-epoch', '1', '--learning-rate', '1e-12')
    assert result.code == 0, result.err
    last = checkpoint.load_directory(str(tmp_path / 'm2' / 'd_models'), ['h0/c.w_0'])
    np.testing.assert_allclose(last['h0/c.w_0'], first['h0/c.w_0'], atol=1e-9)


def test_a_run_keeps_its_discriminator(run, data, tmp_path):
    """The paper's D is saved under its own names, and neither --resume nor --init-d takes it for another one."""
    assert run('train.py', *QUICK, '--discriminator', 'paper').code == 0
    assert (tmp_path / 'models' / 'd_models' / 'paper' / 'conv7.w_0').exists()
    result = run('train.py', '--resume', '--discriminator', 'article')
    assert result.code == 2 and 'has --discriminator paper and cannot continue with article' in result.err
    result = run('train.py', *QUICK, '--init-d', 'models/d_models', '--models', 'm2', '--output', 'o2')
    assert result.code == 2 and result.err.endswith(
        '--init-d models/d_models holds the discriminator paper and not article; give --discriminator paper\n')
    assert run('train.py', '--resume', '--n-epoch', '3').code == 0


def test_the_learning_rate_of_d_is_its_own(run, data, tmp_path):
    for name, rate in (('moved', 1e-3), ('frozen', 1e-12)):
        assert run('train.py', *QUICK, '--learning-rate-d', rate, '--models', name, '--output', 'o_' + name).code == 0
    moved, frozen = [checkpoint.load_directory(str(tmp_path / name / 'd_models'), ['h0/c.w_0'])['h0/c.w_0']
                     for name in ('moved', 'frozen')]
    assert np.abs(moved - frozen).max() > 1e-3
    rows = [log_of(tmp_path / ('o_' + name)) for name in ('moved', 'frozen')]
    assert [row['learning_rate'] for row in rows[0]] == [row['learning_rate'] for row in rows[1]]


def test_the_same_seed_gives_the_same_run_and_another_one_another(run, data, tmp_path):
    for name, seed in (('a', 5), ('b', 5), ('c', 6)):
        assert run('train.py', *QUICK, '--seed', seed, '--models', 'm' + name, '--output', 'o' + name).code == 0
    assert_same_logs(tmp_path / 'oa', tmp_path / 'ob')
    assert log_of(tmp_path / 'oa')[0]['l_g_pix'] != log_of(tmp_path / 'oc')[0]['l_g_pix']


# Stopped and resumed

LONG = QUICK[:-4] + ['--n-epoch-init', '12', '--n-epoch', '12', '--save-every', '2']


@pytest.fixture(scope='session')
def uninterrupted(tmp_path_factory):
    """The output folder of a run of LONG that nothing stopped, made once."""
    return tmp_path_factory.mktemp('reference')


def reference(run, uninterrupted, tmp_path):
    if not (uninterrupted / 'output').exists():
        assert run('train.py', *LONG, '--models', 'm', '--output', 'o').code == 0
        shutil.copytree(str(tmp_path / 'o'), str(uninterrupted / 'output'))
    return uninterrupted / 'output'


def test_no_kill_loses_anything(run, start, data, tmp_path, uninterrupted):
    """Twenty times killed at random moments of both stages and resumed, the run ends as if never stopped."""
    wanted = reference(run, uninterrupted, tmp_path)
    rng = random.Random(1)
    arguments = LONG + ['--save-minutes', '0.0001']
    state = tmp_path / 'models' / 'state.npz'
    start_up = None
    for kill in range(20):
        resume = ['--resume'] if (tmp_path / 'models' / 'settings.json').exists() else []
        started, before = time.time(), state.stat().st_mtime_ns if state.exists() else 0
        process = start('train.py', *arguments, *resume)
        # Half of them at any moment from the start to the first updates, half within some updates and their saving.
        if start_up and kill % 2:
            time.sleep(rng.uniform(0, start_up))
        else:
            wait_for(lambda saved=before: state.exists() and state.stat().st_mtime_ns > saved, process)
            start_up = start_up or time.time() - started
            time.sleep(rng.uniform(0, 0.04))
        assert process.poll() is None, 'over after %d kills: %s' % (kill, process.communicate())
        process.kill()
        process.communicate()
    result = run('train.py', *arguments, '--resume')
    assert result.code == 0, result.err
    assert_same_logs(tmp_path / 'output', wanted)


@pytest.mark.parametrize('number, code', [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize('stage', ['init', 'gan'])
def test_a_signal_saves_and_says_how_to_go_on(number, code, stage, start, run, data, tmp_path, uninterrupted):
    wanted = reference(run, uninterrupted, tmp_path)
    process = start('train.py', *LONG)
    wait_for(lambda: (tmp_path / 'output' / 'log.csv').exists() and any(
        row['stage'] == stage for row in log_of(tmp_path / 'output')), process)
    process.send_signal(number)
    result = Result(process)
    assert result.code == code, result.err
    assert 'python train.py --resume' in result.out.splitlines()[-1]
    assert len(log_of(tmp_path / 'output')) < 24
    assert (tmp_path / 'output' / 'curves.png').stat().st_mtime >= (tmp_path / 'output' / 'log.csv').stat().st_mtime
    result = run('train.py', '--resume')
    assert result.code == 0 and 'going on after' in result.out
    assert_same_logs(tmp_path / 'output', wanted)


def test_a_second_ctrl_c_stops_at_once(start, data, tmp_path):
    """Even within one long update."""
    arguments = list(LONG)
    arguments[arguments.index('--crop-size') + 1], arguments[arguments.index('--batch-size') + 1] = '100', '256'
    process = start('train.py', *arguments)
    wait_for(lambda: (tmp_path / 'models' / 'settings.json').exists(), process)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    assert any('a second signal stops at once' in line for line in iter(process.stderr.readline, ''))
    process.send_signal(signal.SIGINT)
    started = time.time()
    result = Result(process)
    assert time.time() - started < 0.5
    assert result.code == 130


LATE = '''
import os, signal, sys
sys.path[:0] = [%r, %r]
import tiny
tiny.shrink()
import train
from cli import command
write = train.write_sample

def write_and_signal(folder, stage, epoch, *pictures):
    write(folder, stage, epoch, *pictures)
    if (stage, epoch) == ('gan', 2):
        os.kill(os.getpid(), signal.SIGINT)

train.write_sample = write_and_signal
sys.exit(command.run(train.main, sys.argv[1:]))
''' % (ROOT, os.path.join(ROOT, 'tests'))


def test_a_signal_after_the_last_update_stops_nothing(data, tmp_path):
    done = subprocess.run([sys.executable, '-c', LATE, *QUICK], cwd=str(tmp_path), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 0 and 'networks in models/g_models' in done.stdout.splitlines()[-1], done.stderr
    assert (tmp_path / 'models' / 'state.npz').exists() and len(log_of(tmp_path / 'output')) == 4


def test_a_finished_run_goes_on_with_more_epochs(run, data, tmp_path, uninterrupted):
    wanted = reference(run, uninterrupted, tmp_path)
    assert run('train.py', *LONG[:-4], '--n-epoch', '3', '--save-every', '2', '--n-epoch-init', '12').code == 0
    result = run('train.py', '--resume')
    assert result.code == 0 and len(log_of(tmp_path / 'output')) == 15
    result = run('train.py', '--resume', '--n-epoch', '12')
    assert result.code == 0 and '--n-epoch is 12 from here on; it was 3' in result.out
    assert_same_logs(tmp_path / 'output', wanted)


def test_with_fewer_pictures_an_epoch_that_is_over_counts_no_more_updates_than_it_has():
    settings, _ = run_settings.parse_settings(['--recipe', 'article', '--batch-size', '2'])
    position = Position(epoch=2, update=8)
    assert Stage(settings, 'init', 21).updates_before(position) == 18
    assert Stage(settings, 'init', 11).updates_before(position) == 10


def test_a_resumed_run_refuses_what_would_make_it_another(run, data, tmp_path):
    assert run('train.py', *QUICK, '--n-epoch', '0').code == 0
    before = (tmp_path / 'models' / 'state.npz').read_bytes()
    assert run('train.py', '--resume', '--crop-size', '64').is_one_line(2, '--crop-size 32', '64', '--models')
    assert run('train.py', '--resume', '--recipe', 'paper').is_one_line(2, '--recipe scratch', 'paper')
    result = run('train.py', '--resume', '--learning-rate-init', '0.002', '--n-epoch-init', '3')
    assert result.code == 0 and '--learning-rate-init is 0.002 from here on; it was 0.001' in result.out
    assert (tmp_path / 'models' / 'state.npz').read_bytes() != before


def test_a_resumed_run_replaces_no_other_runs_log(run, data, tmp_path):
    for folder in ('1', '2'):
        assert run('train.py', *QUICK, '--n-epoch', '0', '--models', 'm' + folder, '--output', 'o' + folder).code == 0
    before = (tmp_path / 'o1' / 'log.csv').read_bytes()
    result = run('train.py', '--resume', '--models', 'm2', '--output', 'o1', '--n-epoch-init', '3')
    assert result.is_one_line(2, 'o1/log.csv', '--output')
    assert (tmp_path / 'o1' / 'log.csv').read_bytes() == before
    (tmp_path / 'o2').rename(tmp_path / 'moved')
    result = run('train.py', '--resume', '--models', 'm2', '--output', 'moved', '--n-epoch-init', '3')
    assert result.code == 0 and len(log_of(tmp_path / 'moved')) == 3


def test_several_folders_with_weights(run, data, tmp_path):
    shutil.copytree(str(data), str(tmp_path / 'more = 2'))
    result = run('train.py', *QUICK, '--n-epoch', '0', '--data', 'more = 2', '3')
    assert result.code == 0 and 'data, more = 2 (3 times)' in result.out and '\n7 pictures' in result.out
    assert json.load(open(str(tmp_path / 'models' / 'settings.json')))['data'] == [['data', 1], ['more = 2', 3]]
    result = run('train.py', '--resume', '--n-epoch-init', '3', '--data', 'data', '--data', 'more = 2', '3')
    assert result.code == 0 and '--data is' not in result.out and len(log_of(tmp_path / 'output')) == 3
    result = run('train.py', '--resume', '--n-epoch-init', '4', '--data', 'data')
    assert '--data is data from here on; it was data, more = 2 (3 times)' in result.out and '\n3 pictures' in result.out


# Failures

def test_a_new_run_does_not_destroy_an_earlier_one(run, data, tmp_path):
    assert run('train.py', *QUICK).code == 0
    before = (tmp_path / 'models' / 'state.npz').read_bytes()
    assert run('train.py', *QUICK).is_one_line(2, 'models/', '--resume', '--overwrite', '--models')
    assert run('train.py', *QUICK, '--models', 'other').is_one_line(2, 'output/', '--output')
    assert run('train.py', *QUICK, '--overwrite', '--init-g', 'nowhere').is_one_line(2, 'nowhere')
    assert (tmp_path / 'models' / 'state.npz').read_bytes() == before
    # Killed before it has saved, a run from a network that it has removed would leave none.
    replacing = [*QUICK, '--overwrite', '--n-epoch', '0', '--init-g']
    assert run('train.py', *replacing, 'models/g_models').is_one_line(2, '--init-g models/g_models', 'copy it')
    assert (tmp_path / 'models' / 'state.npz').read_bytes() == before
    shutil.copytree(str(tmp_path / 'models' / 'g_models'), str(tmp_path / 'kept'))
    shutil.copytree(str(tmp_path / 'models' / 'g_models'), str(tmp_path / 'models' / 'g_models_kept'))
    assert run('train.py', *replacing, 'kept').code == 0
    assert not (tmp_path / 'models' / 'd_models').exists() and (tmp_path / 'models' / 'g_models_kept').exists()


def test_a_figure_of_no_run_does_not_hinder_the_first(run, data, tmp_path):
    (tmp_path / 'output').mkdir()
    (tmp_path / 'output' / 'results.png').write_bytes(b'')
    # Both folders can be one, under two names.
    os.symlink('output', str(tmp_path / 'link'))
    assert run('train.py', *QUICK, '--n-epoch', '0', '--models', 'link').code == 0
    assert not (tmp_path / 'output' / 'results.png').exists()


@pytest.mark.parametrize('arguments', [['--data', '.'], ['--data-lr', '.'], ['--val', '.'], ['--data', 'link']])
def test_no_run_writes_into_its_pictures(arguments, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.symlink('.', 'link')
    with pytest.raises(UsageError, match='--models models lies in the folder of pictures'):
        run_settings.parse_settings(QUICK + arguments)


def test_no_run_writes_its_samples_into_its_pictures(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.symlink('data', 'link')
    for output in ('data/samples', 'link'):
        with pytest.raises(UsageError, match='--output %s lies in the folder of pictures data' % output):
            run_settings.parse_settings([*QUICK, '--output', output])


@pytest.mark.parametrize('option', ['--init-g', '--init-d'])
def test_no_run_removes_the_network_that_it_starts_from(option, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_settings.parse_settings([option, 'models/kept'])
    with pytest.raises(UsageError, match='%s models/kept lies in --models models, .*copy it' % option):
        run_settings.parse_settings([option, 'models/kept', '--overwrite'])


def test_only_files_that_a_run_has_made_are_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, names in (('models', ('g_models', 'g_models_raw.old', 'd_models.old', 'best_g', 'best_g_of_may')),
                          ('output', ('epoch_init_1_G.jpg', 'visualdl', 'results.html', 'my_epoch_1_G.jpg'))):
        for name in names:
            os.makedirs(os.path.join(folder, name))
    settings, _ = run_settings.parse_settings(['--overwrite'])
    runs.remove_earlier_files(settings)
    assert (os.listdir('models'), os.listdir('output')) == (['best_g_of_may'], ['my_epoch_1_G.jpg'])


def test_a_run_takes_no_more_memory_than_there_is(start, data, tmp_path):
    process = start('train.py', *LONG)
    wait_for(lambda: (tmp_path / 'models' / 'settings.json').exists(), process)
    assert 0 < resource.prlimit(process.pid, resource.RLIMIT_DATA)[0] < 2 ** 40


def test_an_update_for_which_there_is_too_little_memory_is_one_line(run, data):
    few = [*QUICK[2:], '--data', 'data', '--crop-size', '96', '--batch-size', '512']
    for more in ([], ['--dry-run']):
        result = run('train.py', *few, *more, preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_DATA, (5 * 2 ** 28, 5 * 2 ** 28)))
        assert result.is_one_line(1, 'too little memory', '512 crops of 96 x 96', '--batch-size')


def test_a_run_without_an_epoch_does_not_replace_the_log_of_another(run, start, data, tmp_path):
    assert run('train.py', *QUICK, '--models', 'm', '--output', 'o').code == 0
    before = (tmp_path / 'o' / 'log.csv').read_bytes()
    process = start('train.py', *LONG, '--epoch-updates', '100000', '--save-minutes', '0.0001')
    wait_for(lambda: (tmp_path / 'models' / 'state.npz').exists(), process)
    process.kill()
    process.communicate()
    assert run('train.py', '--resume', '--output', 'o').is_one_line(2, 'o/log.csv is from another run', '--output')
    assert (tmp_path / 'o' / 'log.csv').read_bytes() == before


def test_two_runs_do_not_share_a_folder(run, start, data, tmp_path):
    first = start('train.py', *LONG, '--n-epoch', '1000')
    wait_for(lambda: (tmp_path / 'models' / 'settings.json').exists(), first)
    for arguments in (QUICK, ['--resume'], QUICK + ['--overwrite', '--models', 'other']):
        assert run('train.py', *arguments).is_one_line(2, 'another run')
    assert first.poll() is None


def test_a_loss_that_is_not_finite_stops_the_run_before_it_is_saved(run, data, tmp_path):
    assert run('train.py', *QUICK, '--n-epoch', '0').code == 0
    before = (tmp_path / 'models' / 'state.npz').read_bytes()
    result = run('train.py', '--resume', '--n-epoch-init', '50', '--learning-rate-init', '1e37', '--save-every', '100')
    assert result.is_one_line(1, 'l_g_pix became', 'update', '--resume --learning-rate-init X', 'X below 1e+37')
    assert (tmp_path / 'models' / 'state.npz').read_bytes() == before
    result = run('train.py', '--resume', '--n-epoch-init', '3', '--learning-rate-init', '1e-4')
    assert result.code == 0, result.err


def test_a_state_that_has_diverged_is_not_gone_on_from(run, data):
    once = [*QUICK, '--epoch-updates', '1', '--n-epoch-init', '1', '--n-epoch', '0', '--learning-rate-init', '1e37']
    assert run('train.py', *once).code == 0
    result = run('train.py', '--resume', '--n-epoch-init', '2', '--learning-rate-init', '1e-4')
    assert result.is_one_line(1, 'became', 'that was saved is of no use: start again with --overwrite')


def test_a_loss_that_is_not_finite_before_anything_is_saved_says_so(run, data, tmp_path):
    result = run('train.py', *QUICK, '--learning-rate-init', '1e37', '--epoch-updates', '30')
    assert result.is_one_line(1, 'became', 'nothing has been saved yet', '--overwrite', '--learning-rate-init X')
    assert not (tmp_path / 'models' / 'state.npz').exists()


def test_a_resumed_run_says_what_has_become_of_its_pictures(run, data, tmp_path):
    assert run('train.py', *QUICK, '--n-epoch-init', '1', '--n-epoch', '0').code == 0
    result = run('train.py', '--resume')
    assert result.code == 0 and 'nothing was left to do' in result.out and '--n-epoch N' in result.out
    assert 'networks in' not in result.out

    # The largest one, 3.png, is held out; a larger one that comes later does not take its place.
    Image.fromarray(photograph(200, 200, 9)).save(str(data / 'later.png'))
    data.rename(tmp_path / 'moved')
    assert run('train.py', '--resume').is_one_line(2, 'data', 'not there', '--resume --data NEW')
    result = run('train.py', '--resume', '--data', 'moved', '--n-epoch-init', '2')
    assert result.code == 0 and 'moved/3.png' in result.out and 'another picture' not in result.out
    (tmp_path / 'moved' / '3.png').unlink()
    result = run('train.py', '--resume', '--n-epoch-init', '3')
    assert result.code == 0 and 'another picture from here on' in result.out and 'moved/later.png' in result.out


def test_pictures_that_upscale_has_made_are_not_trained_on(data):
    image = Image.open(str(data / '1.png'))
    image.resize((image.width * 4, image.height * 4)).save(str(data / '1_x4.png'))
    said = []
    paths, held_out, _ = data_set.find_pictures([[str(data), 1]], 32, said.append)
    assert sorted(map(os.path.basename, paths + [held_out])) == ['0.png', '1.png', '2.png', '3.png']
    assert len(said) == 1 and said[0].startswith('1 enlarged picture')


def test_low_resolution_pictures_are_not_trained_on(data):
    (data / 'X4').mkdir()
    for name in ('1', '2'):
        image = Image.open(str(data / (name + '.png')))
        image.resize((image.width // 4, image.height // 4)).resize((40, 40)).save(str(data / 'X4' / 'small.png'))
        image.resize((image.width // 2, image.height // 2)).save(str(data / 'X4' / (name + '.png')))
    (data / 'a.gif').write_bytes(b'')
    said = []
    paths, held_out, _ = data_set.find_pictures([[str(data), 1]], 32, said.append)
    assert sorted(map(os.path.basename, paths + [held_out])) == ['0.png', '1.png', '2.png', '3.png', 'small.png']
    assert len(said) == 2 and said[0].startswith('2 low-resolution pictures') and 'a.gif' in said[1]


def test_a_full_disk_is_one_line_and_leaves_the_checkpoint(run, data, tmp_path):
    assert run('train.py', *QUICK, '--n-epoch', '0').code == 0
    before = (tmp_path / 'models' / 'state.npz').read_bytes()
    # As on a disk without room, no file may become as large as the state.
    result = run('train.py', '--resume', '--n-epoch-init', '3', preexec_fn=lambda: resource.setrlimit(
        resource.RLIMIT_FSIZE, (len(before) // 2, len(before) // 2)))
    assert result.is_one_line(1, 'models/state.npz', 'File too large', '--resume')
    assert (tmp_path / 'models' / 'state.npz').read_bytes() == before
    assert run('train.py', '--resume').code == 0


def test_a_folder_that_cannot_be_written_is_one_line(run, data, tmp_path):
    (tmp_path / 'file').write_text('')
    assert run('train.py', *QUICK, '--output', 'file/output').is_one_line(1, 'file')
    if subprocess.call(['mount', '-t', 'tmpfs', '-o', 'ro', 'none', str(data)], stderr=subprocess.DEVNULL):
        pytest.skip('this user cannot mount a read-only folder')
    try:
        assert run('train.py', '--models', 'data/models').is_one_line(1, 'Read-only file system', 'data/models')
    finally:
        subprocess.check_call(['umount', str(data)])


def test_damaged_settings_are_refused_and_old_ones_are_not(run, data, tmp_path):
    assert run('train.py', *QUICK).code == 0
    path = tmp_path / 'models' / 'settings.json'
    kept = json.loads(path.read_text())
    del kept['spectrum_weight']
    path.write_text(json.dumps(kept))
    assert run('train.py', '--resume').code == 0
    for damaged in ('[]', '{}', '{"recipe"', json.dumps({**kept, 'recipe': 'cake'})):
        path.write_text(damaged)
        with pytest.raises(UsageError, match='settings.json is damaged'):
            run_settings.load(str(tmp_path / 'models'))


def test_a_damaged_state_is_refused(run, data, tmp_path):
    assert run('train.py', *QUICK, '--n-epoch', '0').code == 0
    state = tmp_path / 'models' / 'state.npz'
    whole = state.read_bytes()
    state.write_bytes(whole[:len(whole) // 2])
    assert run('train.py', '--resume').is_one_line(1, 'models/state.npz is damaged', '--init-g')
    changed = bytearray(whole)
    changed[len(whole) // 3] ^= 0xff
    state.write_bytes(bytes(changed))
    assert run('train.py', '--resume').is_one_line(1, 'models/state.npz is damaged')


@pytest.mark.parametrize('discriminator', sorted(DISCRIMINATORS))
def test_the_articles_d_alone_needs_two_pictures_in_a_batch(discriminator):
    settings, _ = run_settings.parse_settings(['--batch-size', '1', '--discriminator', discriminator])
    with pytest.raises(UsageError) if discriminator == 'article' else contextlib.nullcontext():
        run_settings.check_sizes(settings)


@pytest.mark.parametrize('arguments, words', [
    (['--crop-size', '4', '--spectrum-weight', '1'], '--spectrum-weight .* 8 .* --crop-size'),
    (['--seed', '4294967296'], '--seed: .* 4294967295'),
    (['--schedule', '0:-1,5:nan'], '--schedule: 0:-1,5:nan'),
])
def test_a_setting_that_cannot_be_is_refused(arguments, words):
    with pytest.raises(UsageError, match=words):
        run_settings.parse_settings(arguments)


@pytest.mark.parametrize('arguments, words', [
    (['--data', 'nowhere'], ['nowhere', 'not a folder']),
    (['--data', 'data', '0'], ['--data data 0', 'whole number']),
    (['--data', 'data', '2', 'more'], ['--data data 2 more', 'once for each folder']),
    (['--data', 'data', '--crop-size', '112'], ['--data data', '112 x 112']),
    (['--crop-size', '30'], ['--crop-size 30', 'multiple of 4']),
    (['--crop-size', '16'], ['32', '16']),
    (['--crop-size', '2000'], ['--crop-size 2000', '--data DIR']),
    (['--batch-size', '1'], ['--batch-size']),
    (['--batch-size', '0'], ['--batch-size', '0 is not']),
    (['--learning-rate', 'fast'], ['--learning-rate', 'fast']),
    (['--learning-rate', 'nan'], ['--learning-rate', 'nan']),
    (['--recipe', 'cake'], ['--recipe', 'cake']),
    (['--augment', 'maybe'], ['--augment', 'maybe']),
    (['--nonsense'], ['--nonsense', '--help']),
    (['--resume'], ['models holds no run']),
    (['--resume', '--overwrite'], ['--resume', '--overwrite']),
    (['--n-epoch-init', '0', '--n-epoch', '0'], ['nothing to do']),
    (['--init-g', 'nowhere'], ['nowhere']),
    (['--init-g', 'data'], ['data', 'n64s1/c.w_0']),
    (['--recipe', 'scratch', '--init-d', 'data'], ['data', 'h0/c.w_0']),
    (['--device', 'gpu'], ['--device gpu']),
    (['--content-loss', 'vgg54', '--vgg', 'nowhere'], ['nowhere']),
    (['--content-loss', 'vgg54'], ['--content-loss vgg54', 'vgg19.py --fetch']),
])
def test_a_mistake_is_one_line_and_exit_code_2(arguments, words, run, data, tmp_path):
    assert run('train.py', *arguments).is_one_line(2, *words)


def test_help_names_every_option(run):
    result = run('train.py', '--help')
    assert result.code == 0
    for option in itertools.chain(*recipes.OPTIONS.values()):
        assert '  --' + option.name.replace('_', '-') + ' ' in result.out


def test_without_vgg_the_recipe_falls_back_and_says_so(run, data, tmp_path):
    arguments = [word for word in QUICK]
    arguments[arguments.index('--content-loss') + 1] = 'auto'
    result = run('train.py', *arguments)
    assert result.code == 0
    assert "content_loss is mse and not the recipe's directions" in result.out
    assert 'python vgg19.py --fetch' in result.out


@pytest.mark.parametrize('content_loss', ['pool5', 'vgg54', 'vgg22'])
def test_with_vgg_the_content_loss_is_logged(content_loss, run, data, tmp_path):
    import tiny_vgg
    tiny_vgg.write(str(tmp_path / 'pretrained' / 'vgg19'))
    arguments = [word for word in QUICK]
    arguments[arguments.index('--content-loss') + 1] = content_loss
    assert run('train.py', *arguments).code == 0
    gan = [row for row in log_of(tmp_path / 'output') if row['stage'] == 'gan']
    assert all(float(row['l_g_percep']) > 0 for row in gan)


def test_lpips_as_the_content_loss(run, data, tmp_path):
    """Its weights do not change and are no part of what is saved."""
    import tiny_lpips
    arguments = [word for word in QUICK]
    arguments[arguments.index('--content-loss') + 1] = 'lpips'
    needed = '--content-loss lpips', 'python evaluate.py --fetch'
    assert run('train.py', *arguments).is_one_line(2, *needed)
    assert run('train.py', *arguments, '--crop-size', '28').is_one_line(2, '--crop-size')
    weights = tmp_path / 'pretrained' / 'lpips' / 'alexnet.npz'
    weights.parent.mkdir(parents=True)
    np.savez(str(weights), **tiny_lpips.random_weights(np.random.RandomState(0)))
    assert run('train.py', *arguments).code == 0
    assert run('train.py', '--resume', '--n-epoch', '3').code == 0
    gan = [row for row in log_of(tmp_path / 'output') if row['stage'] == 'gan']
    assert len(gan) == 3 and all(float(row['l_g_percep']) > 0 for row in gan)
    with np.load(str(tmp_path / 'models' / 'state.npz')) as state:
        assert not [name for name in state.files if re.match(r'conv\d|lin\d', name)]
    weights.unlink()
    assert run('train.py', '--resume', '--n-epoch', '4').is_one_line(2, *needed)


def test_unreadable_and_small_pictures_are_named_once_and_left_out(run, data, tmp_path):
    (data / 'empty.png').write_bytes(b'')
    (data / 'text.jpg').write_text('not a picture')
    whole = (data / '0.png').read_bytes()
    (data / 'half.png').write_bytes(whole[:len(whole) // 2])
    Image.new('RGB', (31, 200)).save(str(data / 'small.png'))
    result = run('train.py', *QUICK)
    assert result.code == 0
    assert '3 of 8 pictures left out' in result.out  # half.png looks whole until it is decoded
    for name in ('empty.png', 'text.jpg', 'small.png', 'half.png'):
        assert result.out.count(name) == 1, result.out


def test_networks_are_saved_as_paddle_saves_them(run, data, tmp_path):
    """fluid.io.load_persistables takes them; a variable file is Paddle's to the byte (test_checkpoint)."""
    assert run('train.py', *QUICK).code == 0
    array = persistables.read_variable(str(tmp_path / 'models' / 'g_models'), 'batch_norm_0.w_2')
    assert array.shape == (8,) and array.dtype == np.float32 and (array > 0).all()

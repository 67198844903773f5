"""What is read lies beside the code, whatever the current folder is; what is written goes where the user stands."""
import os
import shutil
import subprocess
import sys

import pytest
import tiny_vgg
from conftest import QUICK, ROOT, log_of, photograph
from PIL import Image

from measuring import lpips_alex
from storage import networks, vgg19_sources

# The command with networks of a few filters, and nothing else changed.
TINY = '''
import sys
sys.path.insert(0, sys.argv[1])
import srgan_d, srgan_g, train, vgg19
from cli import command
srgan_g.RESIDUAL_BLOCKS, srgan_g.FILTERS, srgan_d.FILTERS, vgg19.FILTERS = 2, 8, 2, (4, 4, 8, 8, 8)
sys.exit(command.run(train.main, sys.argv[2:]))
'''


def test_networks_and_weights_are_sought_beside_the_code(monkeypatch, tmp_path):
    monkeypatch.chdir(str(tmp_path))
    for name in ('vgg19', 'srgan', 'lpips'):
        (tmp_path / 'pretrained' / name).mkdir(parents=True)
    pretrained = os.path.join(ROOT, 'pretrained')
    assert networks.find('srgan') == networks.default() == os.path.join(pretrained, 'srgan')
    assert lpips_alex.WEIGHTS == os.path.join(pretrained, 'lpips', 'alexnet.npz')
    assert (vgg19_sources.find() or pretrained).startswith(pretrained)


def test_a_training_started_elsewhere_finds_vgg19_and_writes_where_the_user_stands(data, tmp_path):
    clone, here = tmp_path / 'a clone', tmp_path / '别处'
    shutil.copytree(ROOT, str(clone), ignore=shutil.ignore_patterns('.*', 'tests', 'pretrained', 'work', 'benchmarks'))
    before = {path for path in clone.rglob('*') if '__pycache__' not in path.parts}
    tiny_vgg.write(str(clone / 'pretrained' / 'vgg19'))
    here.mkdir()
    options = [word if word != 'mse' else 'vgg22' for word in QUICK[2:]] + ['--data', str(data), '--n-epoch-init', '1']
    done = subprocess.run([sys.executable, '-c', TINY, str(clone), *options], cwd=str(here), stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    assert float(log_of(here / 'output')[-1]['l_g_percep']) > 0
    assert sorted(os.listdir(str(here))) == ['models', 'output']
    assert {path for path in clone.rglob('*') if '__pycache__' not in path.parts} - before == {
        path for path in (clone / 'pretrained').rglob('*')} | {clone / 'pretrained'}


@pytest.mark.parametrize('command', [
    ['upscale.py', 'photo.png', '--model', 'srresnet'], ['show_results.py'], ['evaluate.py', '--data', '.'],
    ['vgg19.py']])
def test_commands_work_from_any_folder(command, tmp_path):
    Image.fromarray(photograph(40, 48, 0)).save(str(tmp_path / 'photo.png'))
    done = subprocess.run([sys.executable, os.path.join(ROOT, command[0])] + command[1:], cwd=str(tmp_path),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
                          env=dict(os.environ, DISPLAY=''))
    assert (done.returncode, done.stderr) == (0, ''), done.stderr
    written = {'upscale.py': {'photo.png', 'photo_x4.png'}, 'show_results.py': {'photo.png', 'output'}}
    assert set(os.listdir(str(tmp_path))) == written.get(command[0], {'photo.png'})

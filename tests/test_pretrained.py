"""The networks of pretrained/ are what their card says, and load in every way that README names.

`make weights-check` runs those that measure: SET5=DIR names Set5, else ../shared/data/Set5 is taken where it is there.
"""
import functools
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, Result, photograph
from PIL import Image

from cli.paddle_setup import fluid
from cpu import engine
from data_utils import embedded, standardized
from layers import variables_of
from measuring import lpips_alex, metrics, pairs
from pictures.enlarge import upscale
from srgan_g import SRGAN_g
from storage import checkpoint, networks

SET5 = os.environ.get('SET5') or os.path.join(ROOT, '..', 'shared', 'data', 'Set5')
VARIABLES = variables_of(SRGAN_g, [None, 3, None, None])

with open(os.path.join(ROOT, 'pretrained', 'README.md'), encoding='utf-8') as file:
    CARD = file.read()
# {(pictures, network): [PSNR-Y, SSIM-Y, LPIPS]} as the card has them.
ROWS = {found[:2]: [float(figure) for figure in found[2:]] for found in re.findall(
    r'^\| ([\w.]+) \| (bicubic|SRResNet|SRGAN|photo) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$', CARD, re.M)}
PHOTOGRAPHS = ['astronaut.png', 'chelsea.png', 'coffee.png']


def test_the_card_has_a_row_for_each_network_and_picture():
    assert set(ROWS) == {(name, network) for name in ['Set5'] + PHOTOGRAPHS
                         for network in ('bicubic', 'SRResNet', 'SRGAN', 'photo')}


@pytest.mark.parametrize('network', ['bicubic', 'SRResNet', 'SRGAN', 'photo'])
@pytest.mark.parametrize('pictures', ['Set5'] + PHOTOGRAPHS)
def test_figures(pictures, network):
    if pictures == 'Set5' and not os.path.isdir(SET5):
        pytest.skip('Set5 is not here; SET5=DIR names it')
    found = pairs.find_pairs(SET5)[0] if pictures == 'Set5' else [
        pairs.Pair(pictures, *embedded(pictures), None)]
    enlarge = pairs.enlarge_bicubic if network == 'bicubic' else functools.partial(
        upscale, model=engine.load(networks.find(network.lower()), 'fp32'))
    measures = [metrics.psnr_y, metrics.ssim_y] + ([lpips_alex.Lpips(lpips_alex.read_weights())] if os.path.exists(
        lpips_alex.WEIGHTS) else [])
    scores = []
    for pair in found:
        lr, hr = pairs.read_pair(pair)
        image = enlarge(lr)
        scores.append([measure(image, hr) for measure in measures])
    means = np.mean(scores, axis=0)
    print('%-14s %-9s %s; the card has %s' % (pictures, network, ' '.join('%.4f' % mean for mean in means),
                                             ROWS[pictures, network]))
    for mean, wanted, tolerance in zip(means, ROWS[pictures, network], (0.01, 0.001, 0.001)):
        assert mean == pytest.approx(wanted, abs=tolerance)


@pytest.mark.parametrize('name', networks.NAMES)
class TestLoading:
    def test_the_files_are_those_of_the_manifest(self, name):
        directory = networks.find(name)
        with open(os.path.join(directory, checkpoint.MANIFEST)) as file:
            manifest = json.load(file)
        assert set(manifest) == set(VARIABLES)
        assert set(checkpoint.load_network(directory, VARIABLES)) == set(VARIABLES)

    def test_by_fluid_alone(self, name):
        """The lines of README."""
        program, startup, scope = fluid.Program(), fluid.Program(), fluid.Scope()
        with fluid.program_guard(program, startup), fluid.scope_guard(scope), fluid.unique_name.guard():
            test_im = SRGAN_g(fluid.data('t_image', [None, 3, None, None]))
            exe = fluid.Executor(fluid.CPUPlace())
            fluid.io.load_persistables(exe, networks.find(name), program)
            lr = standardized(photograph(24, 32, 0))
            by_hand, = exe.run(program.clone(for_test=True), {'t_image': lr.transpose(2, 0, 1)[np.newaxis]}, [test_im])
        model = engine.load(networks.find(name), 'fp32')
        assert np.abs(by_hand[0].transpose(1, 2, 0) - model.enlarge(lr)).max() < 1e-4

    def test_int8_is_calibrated_for_these_weights_and_good_enough(self, name, monkeypatch):
        with open(os.path.join(networks.find(name), engine.CALIBRATION)) as file:
            kept = json.load(file)
        monkeypatch.setattr(engine, 'keep_calibration', lambda *_: pytest.fail('it was calibrated anew'))
        if engine.int8.unsupported():
            pytest.skip('no fast int8 here')
        assert engine.load(networks.find(name)).precision == 'int8' and kept['fidelity'] >= engine.FIDELITY


def command(*arguments, cwd):
    process = subprocess.Popen([sys.executable, os.path.join(ROOT, arguments[0])] + list(arguments[1:]), cwd=str(cwd),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    return Result(process)


def test_a_newcomers_first_picture(tmp_path):
    # Reduced, as pictures of web pages are: the grain of the photograph goes.
    Image.fromarray(photograph(160, 200, 0)).resize((50, 40), Image.BOX).save(str(tmp_path / 'photo.png'))
    result = command('upscale.py', 'photo.png', cwd=tmp_path)
    assert result.code == 0 and os.path.join('pretrained', 'srgan') in result.out, result.err
    assert Image.open(str(tmp_path / 'photo_x4.png')).size == (200, 160)


class TestStrength:
    def test_is_a_mixture_of_the_weights(self):
        faithful, sharp, half = [engine.read(networks.find('srgan'), strength) for strength in (0, 1, 0.5)]
        for name in VARIABLES:
            np.testing.assert_allclose(half[name], (faithful[name] + sharp[name]) / 2, rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(faithful['out.w_0'], engine.read(networks.find('srresnet'))['out.w_0'])

    def test_of_the_command(self, tmp_path):
        Image.fromarray(photograph(20, 20, 0)).save(str(tmp_path / 'a.png'))
        for strength, folder in (('0', 'none'), ('0.5', 'half')):
            result = command('upscale.py', 'a.png', '-o', folder, '--strength', strength, '--precision', 'fp32',
                             cwd=tmp_path)
            assert result.code == 0 and 'at strength ' + strength in result.out, result.err
        result = command('upscale.py', 'a.png', '-o', 'srresnet', '--model', 'srresnet', '--precision', 'fp32',
                         cwd=tmp_path)
        none, half, srresnet = [np.asarray(Image.open(str(tmp_path / folder / 'a_x4.png')))
                                for folder in ('none', 'half', 'srresnet')]
        assert np.array_equal(none, srresnet) and not np.array_equal(none, half)

    @pytest.mark.parametrize('arguments, words', [
        (['--strength', '1.5'], ['--strength 1.5']),
        (['--strength', 'nan'], ['--strength nan']),
        (['--strength', '0.5', '--model', 'srresnet'], ['--strength 0.5', 'srresnet']),
    ])
    def test_wrong_use(self, tmp_path, arguments, words):
        Image.fromarray(photograph(20, 20, 0)).save(str(tmp_path / 'a.png'))
        assert command('upscale.py', 'a.png', *arguments, cwd=tmp_path).is_one_line(2, *words)


def test_show_results_shows_them_before_any_training(tmp_path):
    result = command('show_results.py', cwd=tmp_path)
    assert result.code == 0 and 'pretrained/' in result.out, result.err
    assert Image.open(str(tmp_path / 'output' / 'results.png')).width > 1000
    assert command('show_results.py', '--epoch', '3', cwd=tmp_path).is_one_line(2, 'output', 'epoch 3')


def test_the_demo_starts_from_srresnet(tmp_path):
    """After one update its G still enlarges far better than one that begins with nothing; bicubic has 26.0 dB."""
    once = ['--crop-size', '32', '--batch-size', '2', '--epoch-updates', '1', '--n-epoch-init', '1', '--n-epoch', '0']
    result = command('train.py', *once, cwd=tmp_path)
    assert result.code == 0 and re.search('init_g +srresnet', result.out), result.err
    scratch = command('train.py', '--recipe', 'scratch', *once, '--models', 'm', '--output', 'o', cwd=tmp_path)
    assert scratch.code == 0 and 'recipe scratch' in scratch.out, scratch.err
    psnr = [float(re.search(r'psnr: ([\d.]+) dB', out).group(1)) for out in (result.out, scratch.out)]
    assert psnr[0] > 27.5 and psnr[1] < 24

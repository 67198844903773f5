"""Networks as ONNX models: computed by ONNX Runtime and OpenVINO as upscale.py computes them."""
import json
import os
import re
import subprocess
import sys
from unittest import mock

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
from conftest import ROOT, photograph
from test_engine import random_network
from test_upscale import BLOCKS, FILTERS

import srgan_g
import upscale
from cpu import engine
from data_utils import standardized, to_uint8
from storage import checkpoint

SIZES = [(1, 1), (1, 8), (9, 14), (37, 53)]
# Sums in another order differ by this much, in [-1, 1].
ROUNDING = 5e-6


def export(home, name, *options):
    """Export a network to a file in `home` as a user does, with networks of a few filters -> the file's path."""
    subprocess.run([sys.executable, os.path.join(ROOT, 'tests', 'tiny.py'), 'upscale.py', '--export', name, *options],
                   cwd=str(home), check=True, stdout=subprocess.DEVNULL)
    return str(home / name)


@pytest.fixture(scope='module')
def home(tmp_path_factory):
    """A folder with two networks as a training could leave them, as pretrained/srgan and pretrained/srresnet."""
    home = tmp_path_factory.mktemp('home')
    about = {'licence': 'CC0-1.0', 'psnr_y': 30.5, 'val_psnr_y': None}
    with mock.patch.multiple(srgan_g, RESIDUAL_BLOCKS=BLOCKS, FILTERS=FILTERS):
        for seed, name in enumerate(('srgan', 'srresnet')):
            checkpoint.save_network(str(home / 'pretrained' / name), random_network(seed).items(), about)
    return home


@pytest.fixture(scope='module')
def exported(home):
    """The ONNX model of `srgan`, in a folder that the command makes."""
    return export(home, 'new/network.onnx')


@pytest.fixture(scope='module')
def exported_uint8(home):
    return export(home, 'pixels.onnx', '--export-uint8')


@pytest.fixture
def load(home, monkeypatch):
    """engine.load in fp32 for networks of `home`, by their paths in it."""
    monkeypatch.setattr(srgan_g, 'RESIDUAL_BLOCKS', BLOCKS)
    monkeypatch.setattr(srgan_g, 'FILTERS', FILTERS)
    monkeypatch.setattr('storage.files.PRETRAINED', str(home / 'pretrained'))
    return lambda path, strength=None: engine.load(str(home / path), 'fp32', strength)


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])


def planes(pixels):
    """uint8 [H, W, 3] -> t_image float32 [1, 3, H, W]."""
    return np.ascontiguousarray(standardized(pixels).transpose(2, 0, 1)[None])


def difference(test_im, enlarged):
    """The largest between test_im [3, 4H, 4W] and what an Engine makes, [4H, 4W, 3]."""
    assert test_im.dtype == np.float32 and test_im.transpose(1, 2, 0).shape == enlarged.shape
    return np.abs(test_im.transpose(1, 2, 0) - enlarged).max()


def test_onnx_runtime_enlarges_any_size_as_upscale_py_does(exported, load):
    model = load('pretrained/srgan')
    computed = session(exported)
    for height, width in SIZES:
        pixels = photograph(height, width, 0)
        test_im, = computed.run(['test_im'], {'t_image': planes(pixels)})
        assert difference(test_im[0], model.enlarge(standardized(pixels))) < ROUNDING


def test_as_uint8_it_returns_the_pixels_that_upscale_py_writes(exported_uint8, load):
    """But one level where rounding decides."""
    model = load('pretrained/srgan')
    computed = session(exported_uint8)
    for height, width in SIZES:
        pixels = photograph(height, width, 0)
        enlarged, = computed.run(['enlarged'], {'pixels': pixels[None]})
        # Without the rule for flat colours, of which a picture of one pixel is.
        expected = to_uint8(model.enlarge(standardized(pixels)))
        assert enlarged.dtype == np.uint8 and enlarged[0].shape == expected.shape
        assert np.abs(enlarged[0].astype(int) - expected).max() <= 1
        assert np.mean(enlarged[0] != expected) < 1e-3


def test_black_and_white_stay_in_range(home, load):
    """What the network makes of them is not smaller than 0 or larger than 255, and wraps around nowhere."""
    network = {name: array * (30 if name == 'out.w_0' else 1) for name, array in random_network().items()}
    checkpoint.save_network(str(home / 'strong'), network.items())
    computed = session(export(home, 'strong.onnx', '--export-uint8', '--model', 'strong'))
    pixels = photograph(20, 20, 0)
    enlarged, = computed.run(None, {'pixels': pixels[None]})
    expected = upscale.upscale(pixels, load('strong'))
    assert {0, 255} <= set(expected.ravel()) and np.abs(enlarged[0].astype(int) - expected).max() <= 1


def test_it_enlarges_several_pictures_at_once(exported):
    computed = session(exported)
    batch = np.concatenate([planes(photograph(12, 17, seed)) for seed in range(3)])
    together, = computed.run(None, {'t_image': batch})
    for t_image, test_im in zip(batch, together):
        assert np.abs(computed.run(None, {'t_image': t_image[None]})[0] - test_im).max() < ROUNDING


def test_a_tile_with_its_margin_is_as_the_whole_picture(exported):
    """And the margin that the file names is the least."""
    computed = session(exported)
    margin = int(computed.get_modelmeta().custom_metadata_map['margin'])
    t_image = planes(np.random.RandomState(0).randint(0, 256, (60, 50, 3)))
    whole, = computed.run(None, {'t_image': t_image})
    rows, columns = (25, 31), (20, 27)

    def tile(margin):
        cut = [slice(start - margin, stop + margin) for start, stop in (rows, columns)]
        test_im, = computed.run(None, {'t_image': np.ascontiguousarray(t_image[:, :, cut[0], cut[1]])})
        inner = test_im[:, :, 4 * margin:-4 * margin, 4 * margin:-4 * margin]
        return np.abs(inner - whole[:, :, 4 * rows[0]:4 * rows[1], 4 * columns[0]:4 * columns[1]]).max()

    assert tile(margin) < ROUNDING < tile(margin - 1)


def test_strength_is_that_of_upscale_py_and_the_figures_of_a_mix_are_unknown(home, load):
    computed = session(export(home, 'mix.onnx', '--strength', '0.25'))
    pixels = photograph(9, 14, 0)
    assert difference(computed.run(None, {'t_image': planes(pixels)})[0][0],
                      load('pretrained/srgan', 0.25).enlarge(standardized(pixels))) < ROUNDING
    assert computed.get_modelmeta().custom_metadata_map == {
        'scale': '4', 'margin': '8', 'licence': 'CC0-1.0', 'strength': '0.25'}


def test_openvino_computes_the_same(exported, load):
    model = load('pretrained/srgan')
    computed = openvino.Core().compile_model(exported, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
    for height, width in SIZES:
        pixels = photograph(height, width, 0)
        test_im = computed(planes(pixels))['test_im']
        assert difference(test_im[0], model.enlarge(standardized(pixels))) < ROUNDING


def test_the_networks_of_the_project_come_out_the_same_with_licence_and_figures(tmp_path):
    """Whole ones, on a photograph; the figures are those of their card."""
    with open(os.path.join(ROOT, 'pretrained', 'README.md'), encoding='utf-8') as file:
        card = dict(re.findall(r'^\| Set5 \| (SRResNet|SRGAN|photo) \| (.*) \|$', file.read(), re.MULTILINE))
    pixels = photograph(24, 33, 0)
    for name, title in (('srgan', 'SRGAN'), ('srresnet', 'SRResNet'), ('photo', 'photo')):
        file_path, network = str(tmp_path / (name + '.onnx')), os.path.join(ROOT, 'pretrained', name)
        upscale.main(['--model', name, '--export', file_path])
        computed = session(file_path)
        assert difference(computed.run(None, {'t_image': planes(pixels)})[0][0],
                          engine.load(network, 'fp32').enlarge(standardized(pixels))) < ROUNDING
        about = computed.get_modelmeta().custom_metadata_map
        assert about['licence'] == 'Apache-2.0' and about['scale'] == '4' and about['margin'] == '36'
        figures = [float(about['set5_' + figure]) for figure in ('psnr_y', 'ssim_y', 'lpips')]
        assert figures == [float(figure) for figure in card[title].split(' | ')]


def test_its_metadata_are_those_of_the_network(exported):
    assert session(exported).get_modelmeta().custom_metadata_map == {
        'scale': '4', 'margin': '8', 'licence': 'CC0-1.0', 'psnr_y': '30.5'}


def test_it_has_the_opset_that_the_documents_name_and_no_normalisation(exported):
    model = onnx.load(exported)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [('', 13)]
    operations = [node.op_type for node in model.graph.node]
    assert set(operations) == {'Conv', 'Relu', 'Add', 'DepthToSpace', 'Tanh'}
    assert operations.count('Conv') == 2 * BLOCKS + 5


# What goes wrong

def test_without_onnx_one_line_says_how_to_install_it(run, home, tmp_path, monkeypatch):
    (tmp_path / 'onnx.py').write_text('raise ImportError("No module named onnx")')
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    result = run('upscale.py', '--export', 'network.onnx', '--model', home / 'pretrained' / 'srgan')
    assert result.is_one_line(2, 'pip install -r requirements-onnx.txt') and not (tmp_path / 'network.onnx').exists()


def test_upscale_py_starts_without_onnx():
    """Its import would delay every start."""
    loaded = subprocess.run([sys.executable, '-c', 'import sys, json, upscale; print(json.dumps(list(sys.modules)))'],
                            cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    names = {name.split('.')[0] for name in json.loads(loaded.decode())}
    assert 'paddle' in names and not names & {'onnx', 'export'}


def test_uint8_needs_a_file_for_onnx(run):
    assert run('upscale.py', '--export', 'folder', '--export-uint8').is_one_line(2, '--export FILE.onnx')


def test_a_file_that_cannot_be_written_is_one_line_and_leaves_nothing(run, home, tmp_path):
    (tmp_path / 'network.onnx').mkdir()
    result = run('upscale.py', '--export', 'network.onnx', '--model', home / 'pretrained' / 'srgan')
    assert result.is_one_line(1, 'network.onnx')
    assert os.listdir(str(tmp_path)) == ['network.onnx']

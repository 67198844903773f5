"""main.ipynb, executed as on AI Studio with few updates, and what its cells rely on: ai_studio.py, draw_networks.py."""
import os
import re
import subprocess
import sys
import zipfile

import pytest
from conftest import ROOT, log_of, photograph
from PIL import Image

import ai_studio
import srgan_d
import srgan_g
from figures import draw_networks
from storage import checkpoint

jupyter = pytest.importorskip('jupyter_client.manager', reason='requirements-notebook.txt is not installed')
nbformat = pytest.importorskip('nbformat', reason='requirements-notebook.txt is not installed')
NOTEBOOK = os.path.join(ROOT, 'main.ipynb')
QUICK = '--recipe scratch --content-loss mse --crop-size 32 --batch-size 2 --epoch-updates 2 --n-epoch 0'


def pictures_of(cell):
    return [data for data in (output.get('data', {}) for output in cell.get('outputs', []))
            if 'image/png' in data or 'image/jpeg' in data]


def text_of(cell):
    return ''.join(output.get('text', '') for output in cell.outputs)


# The notebook

def test_every_cell_runs_in_a_home_like_ai_studios_and_shows_its_pictures(tmp_path):
    """In a folder that holds the project, a mounted archive, and no work/; its own G is then enlarged with."""
    import execute_notebook
    paths = [str(tmp_path / ('%d.png' % number)) for number in range(3)]
    for number, path in enumerate(paths):
        Image.fromarray(photograph(400, 400, number)).save(path)
    home = tmp_path / 'aistudio'
    execute_notebook.make_home(str(home), paths)
    # Weights that are there are not fetched, so the test needs no network.
    if os.path.isdir(os.path.join(ROOT, 'pretrained', 'vgg19')):
        (home / 'pretrained' / 'vgg19').symlink_to(os.path.join(ROOT, 'pretrained', 'vgg19'))
    code = [cell for cell in execute_notebook.execute(str(home), QUICK + ' --n-epoch-init 2').cells
            if cell.cell_type == 'code']
    # The networks; sample and curves; the results; the enlarged picture.
    assert [len(pictures_of(cell)) for cell in code] == [0, 1, 0, 2, 1, 1]
    assert 'nothing was missing' in text_of(code[0])
    assert "['work/pictures/data12345_some']" in text_of(code[2])
    assert sorted(path.name for path in (home / 'work' / 'pictures').rglob('*.png')) == ['0.png', '1.png', '2.png']
    assert (home / 'work' / 'output' / 'results.html').exists() and (home / 'work' / 'enlarged.png').exists()


def test_what_is_committed_has_its_outputs_and_is_small():
    notebook = nbformat.read(NOTEBOOK, 4)
    code = [cell for cell in notebook.cells if cell.cell_type == 'code']
    assert [len(pictures_of(cell)) for cell in code] == [0, 1, 0, 2, 1, 1], '`make notebook` makes them'
    assert os.path.getsize(NOTEBOOK) < 10 ** 6
    assert not [output for cell in code for output in cell.outputs
                if output.output_type == 'error' or output.get('name') == 'stderr']


def test_what_is_committed_tells_nothing_of_the_machine_that_made_it():
    for cell in nbformat.read(NOTEBOOK, 4).cells:
        for output in cell.get('outputs', []):
            words = output.get('text', '') + output.get('data', {}).get('text/plain', '')
            assert os.uname().nodename not in words and not re.search(r'(^|[\s\'"=(])/\w', words), words


def test_headings_are_chinese_with_english_beneath():
    headings = [cell.source.splitlines()[:2] for cell in nbformat.read(NOTEBOOK, 4).cells
                if cell.cell_type == 'markdown']
    assert len(headings) == 8
    for chinese, english in headings:
        assert re.match(r'##? .*[\u4e00-\u9fff]', chinese) and re.match(r'\*[A-Z][\x20-\x7e]+\*$', english)


# Training in it

TINY = '--recipe scratch --content-loss mse --crop-size 32 --batch-size 2 --epoch-updates 50 --n-epoch 0 '


class Kernel:
    """A notebook's kernel in a folder where ai_studio.train trains networks of a few filters."""

    def __init__(self, folder):
        # It takes the folder of train.py for the project's.
        (folder / 'train.py').write_text(
            'import runpy, sys\nsys.argv[:1] = [%r, "train.py"]\nrunpy.run_path(sys.argv[0], run_name="__main__")\n'
            % os.path.join(ROOT, 'tests', 'tiny.py'))
        self.manager = jupyter.KernelManager()
        self.manager.start_kernel(cwd=str(folder), env=dict(os.environ, PYTHONPATH=ROOT))
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        self.client.execute('import ai_studio; ai_studio.ROOT = %r' % str(folder), reply=True)
        self.shown = ''

    def train(self, options):
        self.cell = self.client.execute('ai_studio.train([], %r)' % (TINY + options))

    def wait(self, words=None):
        """Until the training cell shows `words`, or is done -> how it ended: 'ok' or 'error'."""
        while True:
            message = self.client.get_iopub_msg(timeout=120)
            kind, content = message['msg_type'], message['content']
            if message['parent_header'].get('msg_id') == self.cell:
                self.shown = content.get('text', '') if kind == 'clear_output' else self.shown + content.get('text', '')
                if words and words in self.shown:
                    return None
                if kind == 'status' and content['execution_state'] == 'idle':
                    return self.client.get_shell_msg(timeout=60)['content']['status']

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel(tmp_path):
    kernels = []

    def kernel():
        kernels.append(Kernel(tmp_path))
        return kernels[-1]

    yield kernel
    for started in kernels:
        started.close()


def test_an_interrupt_saves_and_leaves_the_cell_whole_and_another_kernel_goes_on(kernel, tmp_path):
    first = kernel()
    first.train('--n-epoch-init 1000000')
    first.wait('[*] Epoch_init: [ 1/')
    first.manager.interrupt_kernel()
    assert first.wait() == 'ok' and 'stopped and saved' in first.shown
    # The epoch under way.
    stopped = checkpoint.load_state(str(tmp_path / 'work' / 'models' / 'state.npz'))[1]['epoch']
    assert stopped >= 2

    second = kernel()
    second.train('--n-epoch-init %d' % stopped)
    assert second.wait() == 'ok' and 'python train.py --resume' in second.shown
    epochs = [int(row['epoch']) for row in log_of(tmp_path / 'work' / 'output')]
    assert epochs == list(range(1, stopped + 1))


def test_a_training_that_fails_ends_the_cell_and_shows_why(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match='exit code 2'):
        ai_studio.train([], '--crop-size 33')
    assert 'multiple of 4' in capsys.readouterr().out.splitlines()[-1]


def test_the_recipe_is_that_of_the_machine_and_a_run_that_is_there_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = ['--models', 'work/models', '--output', 'work/output']
    assert ai_studio.arguments([], '', False) == ['--recipe', 'demo'] + folders
    assert ai_studio.arguments(['a b'], '--seed 1', False) == [
        '--recipe', 'demo', '--data', 'a b'] + folders + ['--seed', '1']
    # The choice of train.py: article with pictures, else demo.
    assert ai_studio.arguments(['a'], '', True) == ['--data', 'a'] + folders
    (tmp_path / 'work' / 'models').mkdir(parents=True)
    (tmp_path / 'work' / 'models' / 'settings.json').write_text('{}')
    assert ai_studio.arguments(['a'], '', False) == ['--resume', '--data', 'a'] + folders


# Packages

@pytest.fixture
def install(tmp_path):
    """install(installed) runs install_missing in a Python where distributions {name: version} are -> the process.

    The Python is no virtual environment, the home is empty, and pip finds the distribution `absent` alone.
    """
    python = os.path.join(sys.base_prefix, 'bin', 'python%d.%d' % sys.version_info[:2])
    if subprocess.call([python, '-c', 'import pip, pkg_resources'], stderr=subprocess.DEVNULL):
        pytest.skip('the Python that .venv was made from has no pip')
    (tmp_path / 'requirements.txt').write_text('# pins\nAbsent==1.0\npaddlepaddle==1.8.5\nnumpy==1.21.6\n')
    with zipfile.ZipFile(str(tmp_path / 'absent-1.0-py3-none-any.whl'), 'w') as wheel:
        wheel.writestr('absent.py', '')
        for name, text in (('METADATA', 'Metadata-Version: 2.1\nName: Absent\nVersion: 1.0\nRequires-Dist: numpy>=9\n'),
                           ('WHEEL', 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n'),
                           ('RECORD', '')):
            wheel.writestr('absent-1.0.dist-info/' + name, text)

    def install(installed):
        for name, version in installed.items():
            folder = tmp_path / 'packages' / ('%s-%s.dist-info' % (name, version))
            folder.mkdir(parents=True)
            (folder / 'METADATA').write_text('Metadata-Version: 2.1\nName: %s\nVersion: %s\n' % (name, version))
        environment = {name: value for name, value in os.environ.items() if not name.startswith(('PYTHON', 'PIP_'))}
        environment.update(HOME=str(tmp_path / 'home'), PIP_NO_INDEX='1', PIP_FIND_LINKS=str(tmp_path),
                           PYTHONPATH=os.pathsep.join([str(tmp_path / 'packages'), ROOT]))
        code = 'import ai_studio; print(ai_studio.install_missing("requirements.txt")); import absent; print(absent)'
        return subprocess.run([python, '-c', code], cwd=str(tmp_path), env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, universal_newlines=True)
    return install


@pytest.mark.parametrize('paddle', ['paddlepaddle', 'paddlepaddle_gpu'])
def test_what_is_missing_is_installed_for_this_user_alone_and_what_is_there_stays(paddle, install, tmp_path):
    """In whatever version, Paddle for a GPU too; and what has been installed can be imported at once."""
    result = install({paddle: '1.8.4.post107', 'numpy': '1.16.4'})
    assert result.returncode == 0, result.stderr
    assert "['Absent==1.0']" in result.stdout and str(tmp_path / 'home' / '.local') in result.stdout
    again = install({})
    assert again.returncode == 0 and again.stdout.startswith('[]')


@pytest.mark.parametrize('installed, words', [({'paddlepaddle': '2.6.2', 'numpy': '1.16.4'}, 'Paddle 2.6.2'),
                                              ({'numpy': '1.16.4'}, 'paddlepaddle==1.8.5')])
def test_another_paddle_and_a_package_that_is_not_to_be_had_are_named(installed, words, install, tmp_path):
    result = install(installed)
    assert result.returncode == 1 and words in result.stderr.strip().splitlines()[-1], result.stderr
    assert not (tmp_path / 'home' / '.local').exists()


# The networks

def test_what_is_drawn_are_the_networks():
    """G's residual blocks once, with how many there are; the shapes by arithmetic; each sum with what it adds."""
    g = draw_networks.layers_of(srgan_g.SRGAN_g, (3, 24, 24))
    start, length, times = draw_networks.repetition(g)
    assert times == srgan_g.RESIDUAL_BLOCKS
    assert [layer.kind for layer in g[start:start + length]] == [
        'conv2d', 'batch_norm', 'relu', 'conv2d', 'batch_norm', 'elementwise_add']
    assert [layer.shape for layer in g if layer.kind == 'pixel_shuffle'] == [(64, 48, 48), (3, 96, 96)]
    assert {layer.note for layer in g if layer.kind == 'conv2d'} == {'k3n64s1', 'k3n256s1', 'k1n3s1'}
    sums = [place for place, layer in enumerate(g) if layer.kind == 'elementwise_add']
    # Each block adds its own input, the output of the one before; the last sum that of the first ReLU.
    assert [min(g[place].sources) for place in sums] == [2] + sums[:-2] + [2]

    d = draw_networks.layers_of(srgan_d.SRGAN_d, (3, 96, 96))
    assert [layer.note for layer in d if layer.kind == 'conv2d'] == [
        'k4n%ds2' % filters for filters in (64, 128, 256, 512, 1024, 2048, 1024, 512)] + ['k3n512s1']
    assert draw_networks.repetition(d)[2] == 1 and d[-1][::2] == ('mul', (1,))


def test_no_text_of_the_drawing_lies_on_another():
    figure = draw_networks.draw()
    figure.canvas.draw()
    boxes = [(text.get_text(), text.get_window_extent()) for axes in figure.axes for text in axes.texts
             if text.get_text()]
    assert len(boxes) > 70
    width, height = figure.canvas.get_width_height()
    for index, (words, box) in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, words
        for other, other_box in boxes[:index]:
            assert not box.overlaps(other_box), (words, other)

"""Functions behind the cells of main.ipynb: install packages, and train with pictures of the progress."""
import importlib
import os
import shlex
import signal
import site
import subprocess
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
# {distribution: another one that contains the same modules}.
ALSO = {'paddlepaddle': 'paddlepaddle-gpu', 'opencv-python': 'opencv-contrib-python'}
MODELS, OUTPUT = os.path.join('work', 'models'), os.path.join('work', 'output')
LAST_LINES = 8


# Packages

def set_up():
    """Install missing packages, then import Paddle with all cores. Raises RuntimeError as install_missing does."""
    new = install_missing(os.path.join(ROOT, 'requirements.txt'))
    # Imported late: these modules need some of the packages. paddle_setup first, because it sets Paddle's flags.
    from cli import paddle_setup  # noqa: F401, I001
    import paddle
    print('Paddle %s, %s' % (paddle.__version__, 'GPU' if has_gpu() else 'CPU'))
    print('新安装 (newly installed): %s' % (', '.join(new) or '无 (nothing was missing)'))


def install_missing(requirements):
    """Install the packages that the file `requirements` pins and that are missing, for this user only -> their pins.

    Installed packages are kept in any version. The file also names all dependencies, so pip need not resolve them.
    Raises RuntimeError if pip fails, or if a Paddle other than 1.8 is installed.
    """
    here = installed()
    paddle = here.get('paddlepaddle') or here.get('paddlepaddle-gpu', '1.8')
    if not paddle.startswith('1.8'):
        raise RuntimeError('请换用 Paddle 1.8 的环境 (Paddle %s is installed; choose one with 1.8)' % paddle)
    with open(requirements, encoding='utf-8') as file:
        pins = {line.partition('==')[0].lower(): line.strip() for line in file if '==' in line and line[0] != '#'}
    missing = [pin for name, pin in pins.items() if name not in here and ALSO.get(name) not in here]
    if missing:
        # A virtual environment belongs to the user already, and pip refuses --user in it.
        user = ['--user'] if site.ENABLE_USER_SITE else []
        pip = subprocess.run([sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', *user, *missing],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
        if pip.returncode:
            raise RuntimeError('pip 安装失败 (pip cannot install) %s:\n%s' % (' '.join(missing), pip.stdout.strip()))
        # If these are this user's first packages, the folder did not exist when Python started.
        site.addsitedir(site.getusersitepackages())
        importlib.invalidate_caches()
    return missing


def installed():
    """{distribution: version} of the packages that are installed now."""
    import pkg_resources
    return {distribution.key: distribution.version for distribution in pkg_resources.WorkingSet()}


def has_gpu():
    """Whether Paddle can compute on a GPU here."""
    from cli.paddle_setup import choose_place, fluid
    return isinstance(choose_place('auto'), fluid.CUDAPlace)


# Training

def arguments(folders, options, has_gpu):
    """The arguments of train.py as a list. A run in work/ is resumed; a new one without a GPU has the recipe demo."""
    is_resumed = os.path.exists(os.path.join(MODELS, 'settings.json'))
    words = ['--resume'] if is_resumed else [] if has_gpu else ['--recipe', 'demo']
    for folder in folders:
        words += ['--data', folder]
    return [*words, '--models', MODELS, '--output', OUTPUT, *shlex.split(options)]


def train(folders, options=''):
    """Train on the pictures in `folders`, or on the embedded ones if there are none, and show the progress.

    options: further options of train.py, as typed on the command line. A run in work/ is resumed. Interrupting the cell
    makes the training finish its update, save and end. Raises RuntimeError if the training fails.
    """
    from IPython.display import clear_output, display
    words = arguments(folders, options, has_gpu())
    lines = ['python train.py %s\n' % ' '.join(map(shlex.quote, words))]

    def show():
        clear_output(wait=True)
        print(''.join(lines[:1] + lines[1:][-LAST_LINES:]), end='')
        for picture in pictures(OUTPUT):
            display(picture)

    # In a session of its own the training gets the notebook's interrupt only from here: a second one would kill it.
    process = subprocess.Popen([sys.executable, '-u', os.path.join(ROOT, 'train.py')] + words, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, universal_newlines=True, start_new_session=True)
    show()
    try:
        for line in process.stdout:
            lines.append(line)
            # Each epoch's line also brings new pictures.
            show() if line.startswith('[*]') else print(line, end='')
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        lines += process.stdout
    code = process.wait()
    show()
    if code not in (0, 128 + signal.SIGINT):
        raise RuntimeError('train.py: exit code %d；原因见上面最后几行 (its last lines above say why)' % code)


def pictures(output):
    """The IPython Images of a run: its newest sample between low and high resolution, and its curves, if they exist."""
    import numpy as np
    from IPython.display import Image

    import data_utils
    import show_results
    from measuring import html_page
    found = []
    samples = show_results.find_samples(output)
    if samples:
        newest = max(samples, key=lambda sample: sample.time)
        low, generated, high = [show_results.read(newest, kind) for kind in ('96', 'G', '384')]
        row = np.hstack([low.repeat(data_utils.SCALE, 0).repeat(data_utils.SCALE, 1), generated, high])
        found.append(Image(data=html_page.encoded(row, 'JPEG', quality=90), format='jpeg'))
    curves = os.path.join(output, 'curves.png')
    if os.path.exists(curves):
        found.append(Image(filename=curves, width=800))
    return found

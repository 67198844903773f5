"""What main.ipynb does beside what its cells show: packages, and a training that one can watch."""
import importlib
import os
import shlex
import signal
import site
import subprocess
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
# The same modules in another distribution.
ALSO = {'paddlepaddle': 'paddlepaddle-gpu', 'opencv-python': 'opencv-contrib-python'}
MODELS, OUTPUT = os.path.join('work', 'models'), os.path.join('work', 'output')
LAST_LINES = 8


# Packages

def set_up():
    """Install what is missing, then import Paddle with all cores. Raises RuntimeError as install_missing does."""
    new = install_missing(os.path.join(ROOT, 'requirements.txt'))
    # They need some of the packages.
    import paddle  # noqa: I001

    from cli import paddle_setup  # noqa: F401
    print('Paddle %s, %s' % (paddle.__version__, 'GPU' if has_gpu() else 'CPU'))
    print('新安装 (newly installed): %s' % (', '.join(new) or '无 (nothing was missing)'))


def install_missing(requirements):
    """Install, for this user alone, what the file `requirements` pins and is not here -> those pins.

    What is here stays, in whatever version; the file names all that its packages need, so pip need not look for it.
    Raises RuntimeError where pip cannot, or where another Paddle than a 1.8 is here.
    """
    here = installed()
    paddle = here.get('paddlepaddle') or here.get('paddlepaddle-gpu', '1.8')
    if not paddle.startswith('1.8'):
        raise RuntimeError('请换用 Paddle 1.8 的环境 (Paddle %s is installed; choose one with 1.8)' % paddle)
    with open(requirements, encoding='utf-8') as file:
        pins = [line.strip() for line in file if '==' in line and not line.startswith('#')]
    names = [pin.partition('==')[0].lower() for pin in pins]
    missing = [pin for pin, name in zip(pins, names) if name not in here and ALSO.get(name) not in here]
    if missing:
        # A virtual environment is the user's own, and has no place for a user's packages.
        user = ['--user'] if site.ENABLE_USER_SITE else []
        pip = subprocess.run([sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps'] + user + missing,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
        if pip.returncode:
            raise RuntimeError('pip 安装失败 (pip cannot install) %s:\n%s' % (' '.join(missing), pip.stdout.strip()))
        # Where it is the first package of this user, Python has not looked there when it started.
        site.addsitedir(site.getusersitepackages())
        importlib.invalidate_caches()
    return missing


def installed():
    """{distribution: version} of what is installed now."""
    import pkg_resources
    return {distribution.key: distribution.version for distribution in pkg_resources.WorkingSet()}


def has_gpu():
    """Whether Paddle can compute on a GPU here."""
    from cli.paddle_setup import choose_place, fluid
    return isinstance(choose_place('auto'), fluid.CUDAPlace)


# Training

def arguments(folders, options, has_gpu):
    """The words after `python train.py`: a run that is in work/ goes on.

    Without a GPU the recipe is demo; with one, train.py's own choice, article where there are pictures.
    """
    if os.path.exists(os.path.join(MODELS, 'settings.json')):
        words = ['--resume']
    else:
        words = [] if has_gpu else ['--recipe', 'demo']
    words += [word for folder in folders for word in ('--data', folder)]
    return words + ['--models', MODELS, '--output', OUTPUT] + shlex.split(options)


def train(folders, options=''):
    """Train on the pictures in `folders`, or on the embedded ones without any, and show how far it is.

    options: more of train.py's, as one types them. A run that is in work/ goes on. Interrupting it makes the
    training finish its update, save and end. Raises RuntimeError where it fails.
    """
    from IPython.display import clear_output, display
    words = arguments(folders, options, has_gpu())
    lines = ['python train.py %s\n' % ' '.join(map(shlex.quote, words))]

    def show():
        clear_output(wait=True)
        print(''.join(lines[:1] + lines[1:][-LAST_LINES:]), end='')
        for picture in pictures(OUTPUT):
            display(picture)

    # In a session of its own it gets the notebook's interrupt once, from here: a second one would end it at once.
    process = subprocess.Popen([sys.executable, '-u', os.path.join(ROOT, 'train.py')] + words, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, universal_newlines=True, start_new_session=True)
    show()
    try:
        for line in process.stdout:
            lines.append(line)
            # All that is there is shown again with each epoch.
            show() if line.startswith('[*]') else print(line, end='')
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        lines += process.stdout
    code = process.wait()
    show()
    if code not in (0, 128 + signal.SIGINT):
        raise RuntimeError('train.py: exit code %d；原因见上面最后几行 (its last lines above say why)' % code)


def pictures(output):
    """What there is to see of a run, as far as it is there: its newest sample between its originals, and its curves."""
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
        low = low.repeat(data_utils.SCALE, axis=0).repeat(data_utils.SCALE, axis=1)
        row = np.hstack([low, generated, high])
        found.append(Image(data=html_page.encoded(row, 'JPEG', quality=90), format='jpeg'))
    curves = os.path.join(output, 'curves.png')
    if os.path.exists(curves):
        found.append(Image(filename=curves, width=800))
    return found

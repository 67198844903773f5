"""What several test modules share: pictures, and the project's commands run as a user runs them."""
import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
from PIL import Image

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


# Two workers at a time: `make test` runs pytest with -n 2 --dist loadgroup

CORES = os.sched_getaffinity(0)
# Modules whose tests share a run that takes long; each is for one worker, from the beginning.
TOGETHER = ('test_cluster', 'test_readme', 'test_results_page', 'test_web_page')
# What takes longest begins first, so that no worker is left alone with it.
LONGEST = (*TOGETHER, 'test_notebook', 'test_benchmark_train', 'test_train', 'test_steering', 'test_pretrained')

worker = os.environ.get('PYTEST_XDIST_WORKER')
if worker:
    # A worker has a core of its own. So has what it runs: one that measures time is not disturbed by the other one, and
    # Paddle computes with one thread, because it takes as many as there are cores for it.
    os.sched_setaffinity(0, [sorted(CORES)[int(worker[len('gw'):]) % len(CORES)]])
elif os.path.isdir('/dev/shm') and shutil.disk_usage('/dev/shm').free > 4 * 2 ** 30:
    # A run waits for the disk whenever it saves: the folders of the tests lie in memory where there is room.
    os.environ.setdefault('PYTEST_DEBUG_TEMPROOT', '/dev/shm')


def take_all_cores():
    """For a process of several that work at once, as preexec_fn: a fork of a worker has that worker's core alone."""
    os.sched_setaffinity(0, CORES)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Under --dist loadgroup the tests of a module of TOGETHER stay together; those of LONGEST stand in front."""
    def place(item):
        name = item.module.__name__
        return LONGEST.index(name) if name in LONGEST else len(LONGEST)

    if worker:
        for item in items:
            if item.module.__name__ in TOGETHER:
                item.add_marker(pytest.mark.xdist_group(item.module.__name__))
        items.sort(key=place)


# Pictures

def megabytes():
    """The memory of this process."""
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 2 ** 20


def photograph(height, width, seed):
    """Something like a photograph, uint8 [height, width, 3]: soft colours with edges and a little grain."""
    rng = np.random.RandomState(seed)
    coarse = Image.fromarray(rng.randint(0, 256, (4, 4, 3)).astype(np.uint8)).resize((width, height), Image.BICUBIC)
    image = np.asarray(coarse).astype(float)
    for _ in range(6):
        top, left = rng.randint(height), rng.randint(width)
        image[top:top + height // 4, left:left + width // 4] += rng.uniform(-80, 80, 3)
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def data(tmp_path):
    """A folder of four small pictures."""
    folder = tmp_path / 'data'
    folder.mkdir()
    for number in range(4):
        Image.fromarray(photograph(100 + 4 * number, 120, number)).save(str(folder / ('%d.png' % number)))
    return folder


# A run of seconds: crops of 32 pixels, two at a time.
QUICK = ['--data', 'data', '--recipe', 'scratch', '--content-loss', 'mse', '--crop-size', '32', '--batch-size', '2',
         '--epoch-updates', '3', '--n-epoch-init', '2', '--n-epoch', '2']


@pytest.fixture
def start(tmp_path):
    """start(script, *arguments) begins a command with tiny networks in tmp_path; -> the process."""
    processes = []

    def start(script, *arguments, **options):
        command_line = [sys.executable, os.path.join(ROOT, 'tests', 'tiny.py'), script]
        process = subprocess.Popen(
            command_line + [str(argument) for argument in arguments],
            cwd=str(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, **options)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


class Result:
    """How a command ended: exit code `code`, what it wrote in `out` and `err`."""

    def __init__(self, process, timeout=300):
        self.out, self.err = process.communicate(timeout=timeout)
        self.code = process.returncode

    def is_one_line(self, code, *words):
        """Whether it ended with `code` and one line to the user that holds all `words`."""
        lines = self.err.strip().splitlines()
        assert self.code == code, (self.code, self.err)
        assert len(lines) == 1 and lines[0].startswith('error: '), self.err
        for word in words:
            assert word in lines[0], (word, lines[0])
        return True


@pytest.fixture
def run(start):
    """run(script, *arguments) runs a command with tiny networks in tmp_path to its end; -> Result."""
    return lambda script, *arguments, **options: Result(start(script, *arguments, **options))


# Logs of runs, and waiting for what a run does

TIMES = ('seconds', 'waited', 'pictures_per_second')


def log_of(folder):
    with open(str(folder / 'log.csv')) as file:
        return list(csv.DictReader(file))


def assert_same_logs(folder, reference):
    """Every figure but the times, to 1e-5."""
    rows, wanted = log_of(folder), log_of(reference)
    assert len(rows) == len(wanted)
    for row, other in zip(rows, wanted):
        for name in set(other) - set(TIMES):
            if name == 'stage' or not other[name]:
                assert row[name] == other[name]
            else:
                assert float(row[name]) == pytest.approx(float(other[name]), rel=1e-5), (name, row, other)


def wait_for(condition, process, seconds=120):
    deadline = time.time() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.time() < deadline, 'nothing happened in %d s' % seconds
        time.sleep(0.02)


# A browser

CHROMIUM = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
            '--disable-background-networking', '--disable-component-update', '--disable-sync']


class Browser:
    """Chromium by the WebDriver protocol."""

    def __init__(self, folder):
        with socket.socket() as found:
            found.bind(('127.0.0.1', 0))
            port = found.getsockname()[1]
        self.driver = subprocess.Popen(['chromedriver', '--port=%d' % port], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
        self.url = 'http://127.0.0.1:%d' % port
        while True:
            try:
                urllib.request.urlopen(self.url + '/status', timeout=5)
                break
            except OSError:
                assert self.driver.poll() is None, 'chromedriver ended'
                time.sleep(0.05)
        options = {'args': CHROMIUM + ['--user-data-dir=%s' % folder]}
        wanted = {'capabilities': {'alwaysMatch': {'goog:chromeOptions': options}}}
        self.url += '/session/' + self.ask('POST', '/session', wanted)['sessionId']

    def ask(self, method, path, body=None):
        request = urllib.request.Request(self.url + path, body and json.dumps(body).encode(), method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read().decode())['value']

    def open(self, path):
        self.visit('file://%s' % path)

    def visit(self, url):
        self.ask('POST', '/url', {'url': url})

    def js(self, script):
        return self.ask('POST', '/execute/sync', {'script': 'return ' + script, 'args': []})

    def keys(self, selector, text):
        element, = self.ask('POST', '/element', {'using': 'css selector', 'value': selector}).values()
        self.ask('POST', '/element/%s/value' % element, {'text': text})

    def drag(self, start, end, pointer):
        steps = [{'type': 'pointerMove', 'x': int(start[0]), 'y': int(start[1])}, {'type': 'pointerDown', 'button': 0},
                 {'type': 'pointerMove', 'x': int(end[0]), 'y': int(end[1]), 'duration': 100},
                 {'type': 'pointerUp', 'button': 0}]
        self.ask('POST', '/actions', {'actions': [{'type': 'pointer', 'id': pointer, 'actions': steps,
                                                   'parameters': {'pointerType': pointer}}]})

    def cdp(self, command, **parameters):
        """A command of Chromium's own protocol."""
        return self.ask('POST', '/goog/cdp/execute', {'cmd': command, 'params': parameters})

    def width(self, width):
        """Of the window, as a phone or a laptop has it; 0 for its own."""
        self.cdp('Emulation.setDeviceMetricsOverride', width=width, height=844 if width else 0, deviceScaleFactor=0,
                 mobile=0 < width < 500)

    def scheme(self, name):
        """What the user prefers: light or dark."""
        self.cdp('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': name}])

    def close(self):
        self.ask('DELETE', '')
        self.driver.terminate()
        self.driver.wait()


@pytest.fixture(scope='module')
def chromium(tmp_path_factory):
    if not (shutil.which('chromedriver') and shutil.which('chromium')):
        pytest.skip('no Chromium with its driver is here')
    browser = Browser(str(tmp_path_factory.mktemp('profile')))
    yield browser
    browser.close()

"""results.html in a real browser: dragged, keyed, zoomed, and whole without a network."""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from conftest import ROOT, photograph

import data_utils

FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
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
        options = {'args': FLAGS + ['--user-data-dir=%s' % folder]}
        wanted = {'capabilities': {'alwaysMatch': {'goog:chromeOptions': options}}}
        self.url += '/session/' + self.ask('POST', '/session', wanted)['sessionId']

    def ask(self, method, path, body=None):
        request = urllib.request.Request(self.url + path, body and json.dumps(body).encode(), method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read().decode())['value']

    def open(self, path):
        self.ask('POST', '/url', {'url': 'file://%s' % path})

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

    def close(self):
        self.ask('DELETE', '')
        self.driver.terminate()
        self.driver.wait()


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp('run')
    (folder / 'output').mkdir()
    for name, seed in (('init_1', 1), ('1', 2)):
        for kind, image in (('96', photograph(96, 96, 0)), ('384', photograph(384, 384, 0)),
                            ('G', photograph(384, 384, seed))):
            data_utils.write_jpeg(str(folder / 'output' / ('epoch_%s_%s.jpg' % (name, kind))), image)
    subprocess.run([sys.executable, os.path.join(ROOT, 'show_results.py'), '--html'], cwd=str(folder), check=True)
    return str(folder / 'output' / 'results.html')


@pytest.fixture(scope='module')
def chromium(tmp_path_factory):
    if not (shutil.which('chromedriver') and shutil.which('chromium')):
        pytest.skip('no Chromium with its driver is here')
    browser = Browser(str(tmp_path_factory.mktemp('profile')))
    yield browser
    browser.close()


@pytest.fixture
def browser(chromium, page):
    chromium.open(page)
    return chromium


VALUE = "Number(document.querySelector('.slider').value)"


def test_it_is_one_file_under_5_mb(page):
    with open(page, encoding='utf-8') as file:
        text = file.read()
    assert len(text.encode()) < 5e6
    assert not re.search(r'(src|href)="(?!data:)', text) and 'http' not in re.sub('base64,[^"]*', '', text)


def test_arrow_keys_move_the_divider_and_a_screen_reader_is_told(browser):
    browser.keys('.slider', '\ue014' * 3)
    assert browser.js(VALUE) == 53
    spoken = browser.js("document.querySelector('.slider').getAttribute('aria-valuetext')")
    assert spoken == '53 % Low resolution, 47 % Generated, GAN epoch 1'


@pytest.mark.parametrize('pointer', ['mouse', 'touch'])
def test_dragging_moves_the_divider_and_cuts_the_picture_there(browser, pointer):
    box = browser.js("(b => [b.left, b.top, b.width, b.height])"
                     "(document.querySelector('.stage').getBoundingClientRect())")
    y = box[1] + box[3] / 2
    browser.drag((box[0] + box[2] / 2, y), (box[0] + box[2] / 4, y), pointer)
    assert abs(browser.js(VALUE) - 25) <= 1
    cut = browser.js("[...document.querySelectorAll('.canvas img')].map(i => i.style.clipPath).find(c => c != 'none')")
    assert abs(float(re.search(r'([\d.]+)px\)', cut).group(1)) - box[2] / 4) <= 0.02 * box[2]


def test_the_divider_lies_above_both_pictures(browser):
    found = browser.js("[-10, 10].map(x => (b => document.elementFromPoint(b.left + b.width / 2 + x, b.top + 30)."
                       "closest('.divider') !== null)(document.querySelector('.divider').getBoundingClientRect()))")
    assert found == [True, True]


def test_a_step_of_the_timeline_is_shown(browser):
    browser.js("document.querySelector('.timeline button').click()")
    assert browser.js("document.querySelector('.tag-right').textContent") == 'Generated, pre-training epoch 1'


def test_zoomed_the_view_can_be_moved_by_keys(browser):
    browser.keys('.zoom', '4')
    widths = browser.js("['.canvas', '.view'].map(part => document.querySelector(part).clientWidth)")
    assert widths[0] > 3.9 * widths[1]
    before = browser.js("document.querySelector('.view').scrollLeft")
    browser.keys('.view', '\ue014')
    browser.ask('POST', '/execute/async', {'script': 'setTimeout(arguments[0], 500)', 'args': []})
    assert browser.js("document.querySelector('.view').scrollLeft") > before

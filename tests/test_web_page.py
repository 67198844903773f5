"""The page that upscale.py --export-page writes: from a web server, in a real browser, and what goes wrong."""
import base64
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from unittest import mock

import numpy as np
import pytest
from conftest import ROOT, photograph
from PIL import Image
from test_engine import random_network
from test_results_page import TEXTS, contrast
from test_upscale import BLOCKS, FILTERS

import srgan_g
from cli.command import RunError, UsageError
from cpu import engine
from data_utils import standardized, to_uint8
from export import web_page
from storage import checkpoint, download

FILES = {'index.html', 'enlarge.js', 'worker.js', 'ort.js', 'ort-wasm-simd-threaded.wasm', 'network.onnx'}


class Server:
    """`python -m http.server`, as the documents have it."""

    def __init__(self, folder, log):
        with socket.socket() as found:
            found.bind(('127.0.0.1', 0))
            port = found.getsockname()[1]
        self.log = log
        self.url = 'http://127.0.0.1:%d/' % port
        with open(log, 'w') as file:
            self.process = subprocess.Popen(
                [sys.executable, '-m', 'http.server', str(port), '--bind', '127.0.0.1', '--directory', folder],
                stdout=subprocess.DEVNULL, stderr=file)
        while True:
            try:
                urllib.request.urlopen(self.url, timeout=5).close()
                break
            except OSError:
                assert self.process.poll() is None, 'the server ended'
                time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.terminate()
        self.process.wait()

    def asked(self):
        """The paths of all that was asked for."""
        with open(self.log) as file:
            return set(re.findall(r'"GET (\S+)', file.read()))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """The page of a network of a few filters, whose own directory is beside it."""
    if not shutil.which('npm'):
        pytest.skip('no npm is here')
    home = tmp_path_factory.mktemp('export')
    with mock.patch.multiple(srgan_g, RESIDUAL_BLOCKS=BLOCKS, FILTERS=FILTERS):
        checkpoint.save_network(str(home / 'network'), random_network().items())
    done = subprocess.run(
        [sys.executable, os.path.join(ROOT, 'tests', 'tiny.py'), 'upscale.py', '--export-page', 'page', '--model',
         'network'], cwd=str(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    if 'is there a network?' in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0 and 'to page; `python -m http.server` there' in done.stdout, done.stderr
    return home / 'page'


@pytest.fixture(scope='module')
def server(folder):
    with Server(str(folder), str(folder.parent / 'server.log')) as server:
        yield server


@pytest.fixture
def browser(chromium, server):
    chromium.width(0)
    chromium.scheme('light')
    chromium.visit(server.url)
    return chromium


@pytest.fixture
def model(folder, monkeypatch):
    monkeypatch.setattr(srgan_g, 'RESIDUAL_BLOCKS', BLOCKS)
    monkeypatch.setattr(srgan_g, 'FILTERS', FILTERS)
    return engine.load(str(folder.parent / 'network'), 'fp32')


STATUS = "document.querySelector('.status').textContent"
# All that the status said, in order.
WATCH = """(said => new MutationObserver(() => said.push(document.querySelector('.status').textContent)).observe(
    document.querySelector('.status'), {childList: true}) || (window.said = said))([])"""
# The last of the slider's pictures, as a PNG.
SHOWN = """(image => {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    canvas.getContext('2d').drawImage(image, 0, 0);
    return canvas.toDataURL();
})(document.querySelector('.canvas img:last-child'))"""


def ended(browser):
    """What the status says once the page waits for a picture again."""
    deadline = time.time() + 60
    while not browser.js("!document.querySelector('.drop input').disabled && %s !== ''" % STATUS):
        assert time.time() < deadline, browser.js(STATUS)
        time.sleep(0.1)
    return browser.js(STATUS)


def give(browser, path):
    """Choose a file -> what the status says in the end."""
    browser.keys('.drop input', str(path))
    return ended(browser)


def shown(browser):
    """The pixels of the enlarged picture, uint8 [4H, 4W, 3]."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(browser.js(SHOWN).split(',')[1]))).convert('RGB'))


def by_network(pixels, model):
    """A picture, uint8 [H, W, 3], as the network makes it, without upscale.py's rule for flat colours."""
    return to_uint8(model.enlarge(standardized(pixels)))


def is_like(pixels, expected):
    assert pixels.shape == expected.shape
    return np.abs(pixels.astype(int) - expected).max() <= 1


# What it does

def test_it_has_the_files_that_it_needs(folder):
    assert set(os.listdir(str(folder))) == FILES


def test_it_makes_the_pixels_that_upscale_py_makes_and_shows_its_tiles(browser, server, model, tmp_path):
    """Of a picture of two tiles; and nobody is asked for anything but the web server for the files of the page."""
    pixels = photograph(18, 300, 0)
    Image.fromarray(pixels).save(str(tmp_path / 'a photo.of.me.png'))
    browser.js(WATCH)
    assert re.fullmatch(r'a photo\.of\.me\.png: enlarged in [\d.]+ s', give(browser, tmp_path / 'a photo.of.me.png'))
    assert is_like(shown(browser), by_network(pixels, model))
    assert browser.js('said')[1:3] == ['a photo.of.me.png: tile %d of 2' % number for number in (1, 2)]
    assert browser.js("document.querySelector('.save').download") == 'a photo.of.me_x4.png'
    assert server.asked() == {'/' + name for name in FILES - {'index.html'} | {''}}


def test_the_saved_file_is_the_picture_that_is_shown(browser, tmp_path):
    Image.fromarray(photograph(20, 30, 0)).save(str(tmp_path / 'photo.png'))
    (tmp_path / 'saved').mkdir()
    give(browser, tmp_path / 'photo.png')
    browser.cdp('Browser.setDownloadBehavior', behavior='allow', downloadPath=str(tmp_path / 'saved'))
    browser.js("document.querySelector('.save').click()")
    saved = tmp_path / 'saved' / 'photo_x4.png'
    deadline = time.time() + 20
    while not saved.exists():
        assert time.time() < deadline, os.listdir(str(tmp_path / 'saved'))
        time.sleep(0.1)
    with Image.open(str(saved)) as image:
        assert image.format == 'PNG' and np.array_equal(np.asarray(image.convert('RGB')), shown(browser))


def test_a_picture_can_be_dropped_and_another_after_it(browser, model):
    for seed, (height, width) in enumerate(((1, 1), (40, 24))):
        pixels = photograph(height, width, seed)
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, 'PNG')
        browser.js("""(bytes => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([bytes], 'dropped.png', {type: 'image/png'}));
            document.body.dispatchEvent(new DragEvent('drop', {dataTransfer, bubbles: true, cancelable: true}));
        })(Uint8Array.from(atob('%s'), letter => letter.charCodeAt()))""" % base64.b64encode(data.getvalue()).decode())
        assert 'dropped.png: enlarged' in ended(browser)
        assert is_like(shown(browser), by_network(pixels, model))


def test_a_transparent_picture_lies_on_white_and_a_turned_one_is_upright(browser, model, tmp_path):
    pixels = photograph(20, 30, 0)
    alpha = np.zeros((20, 30, 1), np.uint8)
    alpha[:, 10:] = 255
    Image.fromarray(np.dstack([pixels, alpha])).save(str(tmp_path / 'photo.png'))
    give(browser, tmp_path / 'photo.png')
    assert is_like(shown(browser), by_network(np.where(alpha == 0, 255, pixels).astype(np.uint8), model))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(str(tmp_path / 'turned.jpg'), exif=exif.tobytes())
    give(browser, tmp_path / 'turned.jpg')
    assert shown(browser).shape == (120, 80, 3)


def test_what_it_cannot_enlarge_it_names_and_it_takes_the_next(browser, tmp_path):
    (tmp_path / 'text.png').write_text('no picture')
    Image.new('RGB', (4097, 2)).save(str(tmp_path / 'long.png'))
    Image.fromarray(photograph(9, 9, 0)).save(str(tmp_path / 'good.png'))
    assert 'text.png is no picture' in give(browser, tmp_path / 'text.png')
    assert '4097 × 2 pixels' in give(browser, tmp_path / 'long.png')
    assert browser.js("document.querySelector('.result').hidden && document.querySelector('progress').hidden")
    assert 'good.png: enlarged' in give(browser, tmp_path / 'good.png')


def test_a_network_that_is_missing_or_damaged_is_said_on_the_page(chromium, folder, tmp_path):
    Image.fromarray(photograph(9, 9, 0)).save(str(tmp_path / 'photo.png'))
    shutil.copytree(str(folder), str(tmp_path / 'page'))
    (tmp_path / 'page' / 'network.onnx').write_bytes(b'no network')
    with Server(str(tmp_path / 'page'), str(tmp_path / 'log')) as server:
        chromium.visit(server.url)
        assert 'The network cannot be computed: ' in give(chromium, tmp_path / 'photo.png')


def test_opened_as_a_file_it_says_what_to_do(chromium, folder):
    chromium.open(str(folder / 'index.html'))
    assert 'python -m http.server' in chromium.js(STATUS)
    assert chromium.js("document.querySelector('.drop input').disabled")


def test_the_browser_lets_it_send_nothing_elsewhere(browser, server, tmp_path):
    """A script of the page that asked another host would get no answer, nor would that host hear of it."""
    with Server(str(tmp_path), str(tmp_path / 'log')) as other:
        ask = ("const [url, done] = arguments; fetch(url, {mode: 'no-cors'}).then(() => done('answered'), "
               "() => done('refused'))")
        answers = [browser.ask('POST', '/execute/async', {'script': ask, 'args': [url]})
                   for url in (server.url + 'worker.js', other.url + 'picture')]
        assert answers == ['answered', 'refused'] and '/picture' not in other.asked()


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_it_fits_a_phone_and_can_be_read_in_light_and_dark(browser, scheme, tmp_path):
    Image.fromarray(photograph(20, 30, 0)).save(str(tmp_path / 'photo.png'))
    browser.width(390)
    browser.scheme(scheme)
    give(browser, tmp_path / 'photo.png')
    assert browser.js('document.documentElement.scrollWidth') <= 390
    texts = browser.js(TEXTS)
    assert {'Save as PNG', 'Generated', 'photo.png'} <= {text for text, _, _, _ in texts}
    for text, colour, grounds, on_picture in texts:
        assert contrast(colour, grounds[:1] if on_picture else grounds) >= 4.5, (text, colour, grounds)
    browser.keys('.slider', '\ue014' * 3)
    assert browser.js("document.querySelector('.divider').style.left") == '53%'


def test_the_lines_for_a_browser_in_the_documents_compute(chromium, folder, server):
    with open(os.path.join(ROOT, 'docs', 'upscaling.md'), encoding='utf-8') as file:
        lines, = re.findall(r'```html\n(.*?)```', file.read(), re.DOTALL)
    (folder / 'lines.html').write_text('<body>' + lines)
    chromium.visit(server.url + 'lines.html')
    deadline = time.time() + 30
    while not chromium.js('document.body.innerText'):
        assert time.time() < deadline
        time.sleep(0.1)
    assert chromium.js('document.body.innerText') == '1,36,56,3'


# What goes wrong

def test_without_a_network_it_is_one_line_and_nothing_is_written(run, folder, tmp_path, monkeypatch):
    monkeypatch.setenv('npm_config_offline', 'true')
    monkeypatch.setenv('npm_config_cache', str(tmp_path / 'cache'))
    result = run('upscale.py', '--model', folder.parent / 'network', '--export-page', 'page')
    assert result.is_one_line(1, 'npm cannot download onnxruntime-web@', 'is there a network?')
    assert not (tmp_path / 'page').exists()


def test_without_npm_it_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(UsageError, match='apt-get install npm'):
        download.fetch_npm_package(web_page.PACKAGE, web_page.INTEGRITY, str(tmp_path), '')


def test_another_archive_than_the_known_one_is_refused(tmp_path, monkeypatch):
    for name in ('bin', 'archive'):
        (tmp_path / name).mkdir()
    npm = tmp_path / 'bin' / 'npm'
    npm.write_text('#!/bin/sh\necho changed >package.tgz\n')
    npm.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path / 'bin'))
    with pytest.raises(RunError, match='another onnxruntime-web@'):
        download.fetch_npm_package(web_page.PACKAGE, web_page.INTEGRITY, str(tmp_path / 'archive'), '')

"""The pages of show_results.py and upscale.py: what is on them, and how they behave in a real browser."""
import base64
import html
import io
import json
import os
import re
import shutil
import subprocess
import sys
import weakref
from unittest import mock

import numpy as np
import pytest
from conftest import QUICK, ROOT, photograph
from PIL import Image
from test_upscale import BLOCKS, FILTERS, repeating_network

import data_utils
import srgan_g
from measuring import html_page
from storage import checkpoint


def command(folder, *arguments):
    """Run a command of the project with tiny networks in a folder."""
    subprocess.run([sys.executable, os.path.join(ROOT, 'tests', 'tiny.py')] + list(arguments), cwd=str(folder),
                   check=True, stdout=subprocess.DEVNULL, env=dict(os.environ, CURVES='drawn'))


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    """The page of a training, beside what it was made from: one epoch of each stage after another."""
    folder = tmp_path_factory.mktemp('run')
    (folder / 'data').mkdir()
    for number in range(3):
        Image.fromarray(photograph(384, 384, number)).save(str(folder / 'data' / ('%d.png' % number)))
    command(folder, 'train.py', *QUICK, '--epoch-updates', '1', '--save-every', '1')
    command(folder, 'show_results.py', '--html')
    return str(folder / 'output' / 'results.html')


LONG_NAME = 'a_photograph_of_the_harbour_' * 7 + '.png'


@pytest.fixture(scope='module')
def compare_page(tmp_path_factory):
    """The page of upscale.py --compare: of two pictures, the first with a long name."""
    folder = tmp_path_factory.mktemp('pictures')
    with mock.patch.multiple(srgan_g, RESIDUAL_BLOCKS=BLOCKS, FILTERS=FILTERS):
        checkpoint.save_network(str(folder / 'network'), repeating_network().items())
    for name in (LONG_NAME, 'b.png'):
        Image.fromarray(photograph(90, 130, len(name))).save(str(folder / name))
    command(folder, 'upscale.py', '.', '--compare', '--model', 'network', '--precision', 'fp32')
    return str(folder / 'compare.html')


@pytest.fixture(scope='module')
def odd_page(tmp_path_factory):
    """A page of the smallest and thinnest pictures, and of the longest words."""
    sizes = [(1, 1), (1, 90), (90, 1), (3, 1), (33, 7), (25, 41)]
    comparisons = [('%d x %d' % (height, width), html_page.views(
        photograph(height, width, 0), [('Generated, pre-training epoch 1000000', photograph(4 * height, 4 * width, 1))],
        photograph(4 * height, 4 * width, 2))) for height, width in sizes]
    path = tmp_path_factory.mktemp('odd') / 'page.html'
    path.write_text(html_page.page('Odd sizes', comparisons, settings={'data': 'a' * 200}), encoding='utf-8')
    return str(path)


@pytest.fixture
def browser(chromium, page):
    chromium.width(0)
    chromium.scheme('light')
    chromium.open(page)
    return chromium


VALUE = "Number(document.querySelector('.slider').value)"


def read(path):
    with open(str(path), encoding='utf-8') as file:
        return file.read()


# What is on it

@pytest.mark.parametrize('name', ['page', 'compare_page', 'odd_page'])
def test_it_is_one_file_that_asks_for_nothing(name, request):
    text = read(request.getfixturevalue(name))
    assert not re.search(r'(src|href)="(?!data:)', text) and 'http' not in re.sub('base64,[^"]*', '', text)


def test_it_shows_the_settings_of_the_run(page):
    with open(os.path.join(os.path.dirname(page), '..', 'models', 'settings.json')) as file:
        settings = json.load(file)
    table = read(page).split('Settings of the run')[1]
    rows = dict(re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td>', table))
    assert rows == {name: 'none' if value is None else html.escape(str(value)) for name, value in settings.items()}
    assert rows['crop_size'] == '32'


def test_it_shows_no_settings_of_another_run(page, tmp_path):
    shutil.copytree(os.path.dirname(page), str(tmp_path / 'output'))
    command(os.path.dirname(os.path.dirname(page)), 'show_results.py', '--html', '--output', str(tmp_path / 'output'))
    text = read(tmp_path / 'output' / 'results.html')
    assert 'class="curves"' in text and 'Settings' not in text


def test_it_shows_the_curves_of_the_run(page):
    with open(os.path.join(os.path.dirname(page), 'curves.png'), 'rb') as file:
        curves = file.read()
    shown, = re.findall(r'<img class="curves" alt="[^"]+" src="data:image/png;base64,([^"]+)"', read(page))
    assert base64.b64decode(shown) == curves


def test_its_timeline_is_the_epochs_in_order(page):
    """A button for each saved epoch, with its picture reduced."""
    steps = re.findall(r'<button data-view="(\d+)"><img alt="" src="data:image/jpeg;base64,([^"]+)">'
                       r'<span>Generated, ([^<]+)</span>', read(page))
    assert [label for _, _, label in steps] == [
        'pre-training epoch 1', 'pre-training epoch 2', 'GAN epoch 1', 'GAN epoch 2']
    for (_, data, _), name in zip(steps, ('init_1', 'init_2', '1', '2')):
        with Image.open(os.path.join(os.path.dirname(page), 'epoch_%s_G.jpg' % name)) as image:
            small = np.asarray(image.resize((144, 144), Image.LANCZOS)).astype(int)
        assert np.abs(small - np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))).mean() < 4


def test_figures_are_those_of_the_log(page):
    """PSNR-Y of the last epoch, as log.csv has it: of the picture before it became a JPEG."""
    rows = dict(re.findall(r'<th scope="row">([^<]*epoch[^<]*|Bicubic)</th><td>([\d.]+) dB</td>', read(page)))
    log = read(os.path.join(os.path.dirname(page), 'log.csv')).splitlines()
    psnr = dict(zip(log[0].split(','), log[-1].split(',')))['psnr_y']
    assert len(rows) == 5 and abs(float(rows['Generated, GAN epoch 2']) - float(psnr)) < 0.3


# Its size

def noise(side):
    return np.random.RandomState(side).randint(0, 256, (side, side, 3)).astype(np.uint8)


@pytest.mark.parametrize('side', [384, 1600])
def test_a_page_of_many_large_samples_stays_under_5_mb(side, tmp_path):
    """Of noise, which takes the most; each of them is there, and their middle."""
    output = tmp_path / 'output'
    output.mkdir()
    small, large = noise(side // 4), noise(side)
    for kind, image in (('96', small), ('384', large), ('G', large)):
        sample = io.BytesIO()
        Image.fromarray(image).save(sample, 'JPEG', quality=95, subsampling=0)
        for epoch in range(12):
            (output / ('epoch_%d_%s.jpg' % (epoch, kind))).write_bytes(sample.getvalue())
    data_utils.write_jpeg(str(output / 'curves.png'), noise(200))
    subprocess.run([sys.executable, os.path.join(ROOT, 'show_results.py'), '--html'], cwd=str(tmp_path), check=True,
                   stdout=subprocess.DEVNULL)
    text = read(output / 'results.html')
    assert len(text.encode()) < 5e6
    images = [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
              for data in re.findall(r'<img data-label="[^"]+" alt="[^"]+" src="data:[^,]*,([^"]*)"', text)]
    shown = min(side, 1024)
    assert [image.shape[:2] for image in images] == [(shown // 4,) * 2] + 12 * [(shown,) * 2]
    middle = slice((side - shown) // 2, (side + shown) // 2)
    low = np.asarray(Image.open(str(output / 'epoch_0_96.jpg')))
    middle_of_low = slice(middle.start // 4, middle.stop // 4)
    assert np.array_equal(images[0], low[middle_of_low, middle_of_low])
    # The same place of all: noise is like itself only there.
    assert np.corrcoef(images[-1].ravel(), large[middle, middle].ravel())[0, 1] > 0.3


def test_more_pictures_than_a_page_holds_are_counted_and_not_kept():
    """They are asked for one by one; what does not fit is not encoded."""
    asked, encoded = [], []

    def comparisons():
        for number in range(20):
            views = html_page.views(noise(100), [('Generated', noise(400))])
            asked.append(weakref.ref(views[-1].image))
            # The last one may still be somebody's.
            assert not [image for image in asked[:-2] if image() is not None]
            yield 'number %d' % number, views

    real = html_page.encoded
    with mock.patch.object(html_page, 'encoded', lambda *data, **form: encoded.append(1) or real(*data, **form)):
        text = html_page.page('Many', comparisons())
    shown = len(re.findall('<section class="comparison"', text))
    assert len(asked) == 20 and 2 <= shown < 19 and 3.5e6 < len(text) < html_page.MAX_BYTES + 20e3
    assert '<p>%d more pictures would make this page too large.</p>' % (20 - shown) in text
    assert len(encoded) <= 8 * (shown + 1)


def test_the_first_picture_is_never_left_out():
    views = html_page.views(noise(300), [('Generated', noise(1200))])
    with mock.patch.object(html_page, 'MAX_BYTES', 1e5):
        text = html_page.page('One', [('first', views), ('second', views)])
    assert re.findall('<h2>(.*?)</h2>', text) == ['first'] and '<p>1 more pictures would' in text


# In a browser

def test_arrow_keys_move_the_divider_and_a_screen_reader_is_told(browser):
    browser.keys('.slider', '\ue014' * 3)
    assert browser.js(VALUE) == 53
    spoken = browser.js("document.querySelector('.slider').getAttribute('aria-valuetext')")
    assert spoken == '53 % Low resolution, 47 % Generated, GAN epoch 2'


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


@pytest.mark.parametrize('name', ['page', 'compare_page', 'odd_page'])
def test_nothing_is_wider_than_a_phone(name, chromium, request):
    chromium.width(390)
    chromium.open(request.getfixturevalue(name))
    assert chromium.js('innerWidth') == 390
    assert chromium.js('document.documentElement.scrollWidth') <= 390
    # Fingers need room: each control is on the screen, and tall enough.
    boxes = chromium.js("""[...document.querySelectorAll('.slider, select')].map(part => {
        const box = part.getBoundingClientRect(); return [box.left, box.right, box.width, box.height]; })""")
    assert all(left >= 0 and right <= 390 and height >= 30 for left, right, _, height in boxes)
    assert all(box[2] >= 200 for box in boxes[::4])


TEXTS = """[...document.querySelectorAll('body *')].filter(part => !['SCRIPT', 'OPTION'].includes(part.tagName) &&
    (part.tagName === 'SELECT' || [...part.childNodes].some(node => node.nodeType === 3 && node.data.trim()))
).map(part => {
    const grounds = [];
    for (let at = part; at; at = at.parentElement) grounds.push(getComputedStyle(at).backgroundColor);
    return [part.textContent.trim(), getComputedStyle(part).color, grounds, part.closest('.stage') !== null];
})"""


def rgba(colour):
    """'rgb(1, 2, 3)' or 'rgba(1, 2, 3, 0.5)' -> (array of three from 0 to 1, alpha)."""
    numbers = [float(number) for number in re.findall(r'[\d.]+', colour)]
    return np.array(numbers[:3]) / 255, numbers[3] if len(numbers) > 3 else 1.0


def luminance(colour):
    """Relative luminance: WCAG 2.1."""
    return np.where(colour <= 0.03928, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


def contrast(colour, grounds):
    """WCAG's contrast of a text with what lies beneath it, the nearest first, the last opaque."""
    below = np.ones(3)
    for ground in reversed(grounds):
        ground, alpha = rgba(ground)
        below = alpha * ground + (1 - alpha) * below
    darker, lighter = sorted([luminance(below), luminance(rgba(colour)[0])])
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('name', ['page', 'compare_page'])
def test_text_can_be_read_in_light_and_dark(name, scheme, chromium, request):
    chromium.scheme(scheme)
    chromium.open(request.getfixturevalue(name))
    texts = chromium.js(TEXTS)
    assert {'Generated', 'Low resolution'} & {text for text, _, _, _ in texts} and len(texts) > 10
    for text, colour, grounds, on_picture in texts:
        # A picture may be white wherever a text lies on it.
        grounds = grounds[:1] if on_picture else grounds
        assert contrast(colour, grounds) >= 4.5, (text, colour, grounds)
    ground, _ = rgba(chromium.js('getComputedStyle(document.body).backgroundColor'))
    assert luminance(ground) > 0.9 if scheme == 'light' else luminance(ground) < 0.02


def described(chromium):
    """What a screen reader is told of the first slider: (name, value, text of the value)."""
    nodes = chromium.cdp('Accessibility.getFullAXTree')['nodes']
    node = next(node for node in nodes if node['role']['value'] == 'slider')
    properties = {entry['name']: entry['value']['value'] for entry in node['properties']}
    assert properties['valuemin'] == 0 and properties['valuemax'] == 100
    text = chromium.js("document.querySelector('.slider').getAttribute('aria-valuetext')")
    return node['name']['value'], node['value']['value'], text


@pytest.mark.parametrize('name, right', [('page', 'Generated, GAN epoch 2'), ('compare_page', 'Generated')])
def test_the_slider_is_reached_by_tab_and_told_as_it_moves(name, right, chromium, request):
    chromium.open(request.getfixturevalue(name))
    for _ in range(2):
        chromium.ask('POST', '/actions', {'actions': [{'type': 'key', 'id': 'keys', 'actions': [
            {'type': 'keyDown', 'value': '\ue004'}, {'type': 'keyUp', 'value': '\ue004'}]}]})
    assert chromium.js("document.activeElement === document.querySelector('.slider')")
    for keys, value in (('\ue012' * 5, 45), ('\ue010', 100), ('\ue011', 0), ('\ue014' * 2, 2)):
        chromium.keys('.slider', keys)
        assert described(chromium) == ('Divider between Low resolution on the left and %s on the right' % right,
                                       value, '%d %% Low resolution, %d %% %s' % (value, 100 - value, right))
        assert chromium.js("document.querySelector('.divider').style.left") == '%d%%' % value


@pytest.mark.parametrize('name', ['page', 'compare_page', 'odd_page'])
def test_every_picture_is_there_in_its_size(name, chromium, request):
    chromium.open(request.getfixturevalue(name))
    chromium.ask('POST', '/execute/async', {
        'script': "Promise.all([...document.images].map(i => i.decode())).then(() => arguments[0]())", 'args': []})
    stages = chromium.js("""[...document.querySelectorAll('.comparison')].map(part => [
        [...part.querySelectorAll('.canvas img')].map(image => [image.naturalWidth, image.naturalHeight]),
        part.querySelector('.stage').clientWidth / part.querySelector('.stage').clientHeight])""")
    assert stages
    for ((width, height), *large), ratio in stages:
        assert width >= 1 and height >= 1 and all(size == [4 * width, 4 * height] for size in large)
        # A stage is whole pixels.
        assert abs(ratio / (width / height) - 1) < 0.2


def test_the_sliders_of_a_page_move_apart(chromium, compare_page):
    chromium.open(compare_page)
    chromium.keys('.comparison:nth-of-type(2) .slider', '\ue014')
    assert chromium.js("[...document.querySelectorAll('.slider')].map(slider => Number(slider.value))") == [50, 51]

"""Show the samples of a training: low resolution, bicubic, generated and high resolution, side by side.

    python show_results.py                          the newest sample in output/
    python show_results.py --stage init --epoch 10  the sample of this stage and epoch
    python show_results.py --timeline               the generated picture at up to ten saved epochs, in a row
    python show_results.py --html                   a page with a slider between the pictures, curves and settings

Writes output/results.png, with PSNR-Y under the pictures and, enlarged, the detail that bicubic gets most wrong. Opens
a window if there is a display; in a notebook, `%run show_results.py` shows the figure there. --html writes
output/results.html, one file that needs no network. If nothing has been trained yet, a photograph is shown, enlarged by
the networks of pretrained/.
"""
import collections
import glob
import json
import os
import re
import sys

import matplotlib
import numpy as np
from PIL import Image

from cli import command
from cpu import engine
from data_utils import EMBEDDED_SAMPLE, SCALE, embedded
from measuring import html_page, strips
from pictures.enlarge import upscale
from storage import networks
from storage.files import replace_file, replace_text
from training.data_set import sample_pair

# In pixels: the side of a panel, as long as a sample's, the room above it for a title of two lines, and between panels.
PANEL, TITLE, GAP = 384, 48, 12
LONGEST_TIMELINE = 10

# A saved sample of a training. stage: 'init' or 'gan'. prefix: its paths up to 96.jpg, 384.jpg and G.jpg. time: when it
# was written, in ns.
Sample = collections.namedtuple('Sample', 'stage epoch prefix time')


def main(argv):
    parse = command.Parser(prog='show_results.py', description=__doc__)
    parse.add_argument('--output', metavar='DIR', default='output', help='the folder of the samples (output)')
    parse.add_argument('--epoch', type=int, metavar='N', help='the sample of this epoch')
    parse.add_argument('--stage', choices=('init', 'gan'), help='samples of pre-training or of adversarial training')
    parse.add_argument('--timeline', action='store_true', help='the generated picture at up to ten saved epochs')
    parse.add_argument('--html', action='store_true', help='write a page for a browser, with up to ten epochs')
    parse.add_argument('--models', metavar='DIR', default='models',
                       help='the folder with the settings of the run, for the page (models)')
    options = parse.parse_args(argv)

    samples = [sample for sample in find_samples(options.output)
               if options.stage in (None, sample.stage) and options.epoch in (None, sample.epoch)]
    if not samples and options.stage is options.epoch is None and options.output == parse.get_default('output'):
        print('%s has no sample yet; showing a photograph enlarged by the networks of pretrained/' % options.output)
    elif not samples:
        wanted = ''.join([' of stage %s' % options.stage if options.stage else '',
                          ' of epoch %d' % options.epoch if options.epoch is not None else ''])
        raise command.UsageError('%s has no sample%s; `python train.py` makes them' % (options.output, wanted))

    # The samples before the training pictures have moved may be of another picture.
    originals = [read_bytes(sample.prefix + '384.jpg') for sample in samples]
    samples = [sample for sample, original in zip(samples, originals) if original == originals[-1]]
    if options.html:
        print(write_page(samples, options))
        return 0
    if samples and not options.timeline:
        samples = [max(samples, key=lambda sample: sample.time)]
    shown = views(thinned(samples)) if samples else shipped_views()
    with_window = use_display()
    figure = draw(shown)
    path = os.path.join(options.output, 'results.png')
    replace_file(path, lambda file: figure.savefig(file, format='png', dpi=strips.FIGURE_DPI))
    print(path)
    if with_window:
        import matplotlib.pyplot as plt
        plt.show()
    return 0


def find_samples(folder):
    """The Samples in a folder, in the order of the training. One that lacks any of its three pictures is left out."""
    samples = []
    for path in glob.glob(os.path.join(glob.escape(folder), 'epoch_*_G.jpg')):
        found = re.match(r'epoch_(init_)?(\d+)_G\.jpg$', os.path.basename(path))
        prefix = path[:-len('G.jpg')]
        if found and os.path.exists(prefix + '96.jpg') and os.path.exists(prefix + '384.jpg'):
            init, epoch = found.groups()
            samples.append(Sample('init' if init else 'gan', int(epoch), prefix, os.stat(path).st_mtime_ns))
    return sorted(samples, key=lambda sample: (sample.stage == 'gan', sample.epoch))


def views(samples):
    """Samples of one picture, in the order of the training -> html_page.Views. Raises UsageError."""
    lr, hr = read(samples[-1], '96'), read(samples[-1], '384')
    if hr.shape[:2] != tuple(SCALE * side for side in lr.shape[:2]):
        raise command.UsageError('%s384.jpg is not four times %s96.jpg; choose another sample by --epoch' % (
            samples[-1].prefix, samples[-1].prefix))
    names = {'init': 'pre-training', 'gan': 'GAN'}
    return html_page.views(lr, [('Generated, %s epoch %d' % (names[sample.stage], sample.epoch), read(sample, 'G'))
                                for sample in samples], hr)


def shipped_views():
    """The html_page.Views of the embedded sample, enlarged by the networks of pretrained/."""
    lr, hr = sample_pair(embedded(EMBEDDED_SAMPLE)[0], 'bicubic')
    generated = [(name, upscale(lr, engine.load(networks.find(name.lower())))) for name in ('SRResNet', 'SRGAN')]
    return [view._replace(step=False) for view in html_page.views(lr, generated, hr)]


def thinned(samples):
    """At most LONGEST_TIMELINE of the samples, evenly chosen, the first and the last among them."""
    chosen = sorted({int(round(index)) for index in np.linspace(0, len(samples) - 1, LONGEST_TIMELINE)})
    return [samples[index] for index in chosen]


def write_page(samples, options):
    """Write results.html -> its path. It shows the samples, or if there are none, the networks of pretrained/."""
    if samples:
        text = html_page.page('SRGAN: what the training made', [('The held-out picture', views(thinned(samples)))],
                              read_bytes(os.path.join(options.output, 'curves.png')), settings_of(options))
    else:
        text = html_page.page('SRGAN: what its networks make', [('A photograph', shipped_views())])
    path = os.path.join(options.output, 'results.html')
    replace_text(path, text)
    return path


def settings_of(options):
    """The settings of the run in --models, or None if that run does not write to --output."""
    try:
        settings = json.loads(read_bytes(os.path.join(options.models, 'settings.json')).decode())
        return settings if os.path.realpath(settings['output']) == os.path.realpath(options.output) else None
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def read_bytes(path):
    """The content of a file, or None if it does not exist."""
    try:
        with open(path, 'rb') as file:
            return file.read()
    except FileNotFoundError:
        return None


def read(sample, kind):
    path = '%s%s.jpg' % (sample.prefix, kind)
    try:
        return np.asarray(Image.open(path).convert('RGB'))
    except OSError:
        raise command.UsageError('%s is not a whole picture; choose another sample by --epoch' % path)


def use_display():
    """Choose matplotlib's back end -> whether it can show a figure, in a window or in the notebook that runs this."""
    if 'ipykernel' in sys.modules:
        return True
    if sys.platform.startswith('linux') and not (os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')):
        matplotlib.use('Agg')
        return False
    try:
        import matplotlib.pyplot as plt
        plt.figure()
        plt.close()
    except Exception:  # Whatever the display's toolkit raises: the figure is still written to its file.
        matplotlib.use('Agg', force=True)
        return False
    return matplotlib.get_backend().lower() != 'agg'


def draw(shown):
    """A figure of Views, low resolution first and high last: each in a square of PANEL pixels, its detail below."""
    import matplotlib.pyplot as plt
    left, top, right, bottom = strips.find_detail(shown[-1].image, shown[1].image)
    wholes, details = [], []
    for view in shown:
        scale = view.image.shape[0] / shown[-1].image.shape[0]
        rows, columns = [slice(int(scale * first), int(scale * last)) for first, last in ((top, bottom), (left, right))]
        wholes.append((view.image, '' if view.psnr is None else 'PSNR-Y %.2f dB' % view.psnr))
        details.append((view.image[rows, columns], ''))
    figure = plt.figure('SRGAN')
    strips.draw(figure, [view.label.replace(', ', '\n') for view in shown], [wholes, details], PANEL, TITLE, GAP)
    return figure


if __name__ == '__main__':
    sys.exit(command.run(main))

"""Show the samples of a training: low resolution, high resolution and generated, side by side.

    python show_results.py                          the newest sample in output/
    python show_results.py --stage init --epoch 10  a certain one
    python show_results.py --timeline               the generated picture at each saved epoch, in one row

Writes output/results.png, and opens a window where there is a display.
"""
import argparse
import collections
import glob
import os
import re
import sys

import matplotlib
import numpy as np
from PIL import Image

import command

# Pixels a panel, title included: a sample of 384 x 384 is shown pixel by pixel.
PANEL, TITLE, GAP, DPI = 384, 40, 12, 100
LONGEST_TIMELINE = 10

Sample = collections.namedtuple('Sample', 'stage epoch prefix time')


def main(argv):
    parse = command.Parser(prog='show_results.py', description=__doc__,
                           formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument('--output', metavar='DIR', default='output', help='the folder of the samples (output)')
    parse.add_argument('--epoch', type=int, metavar='N', help='the sample of this epoch')
    parse.add_argument('--stage', choices=('init', 'gan'), help='of the pre-training, or of the adversarial training')
    parse.add_argument('--timeline', action='store_true', help='the generated picture at each saved epoch')
    options = parse.parse_args(argv)

    samples = [sample for sample in find_samples(options.output)
               if options.stage in (None, sample.stage) and options.epoch in (None, sample.epoch)]
    if not samples:
        wanted = ''.join([' of stage %s' % options.stage if options.stage else '',
                          ' of epoch %d' % options.epoch if options.epoch is not None else ''])
        raise command.UsageError('%s has no sample%s; `python train.py` makes them' % (options.output, wanted))

    with_window = use_display()
    figure = draw(timeline(samples) if options.timeline else panels(max(samples, key=lambda sample: sample.time)))
    path = os.path.join(options.output, 'results.png')
    figure.savefig(path + '.new', format='png', dpi=DPI)
    os.replace(path + '.new', path)
    print(path)
    if with_window:
        import matplotlib.pyplot as plt
        plt.show()
    return 0


def find_samples(folder):
    """The samples in a folder whose three pictures are all there, in the order of the training."""
    samples = []
    for path in glob.glob(os.path.join(glob.escape(folder), 'epoch_*_G.jpg')):
        found = re.match(r'epoch_(init_)?(\d+)_G\.jpg$', os.path.basename(path))
        prefix = path[:-len('G.jpg')]
        if found and os.path.exists(prefix + '96.jpg') and os.path.exists(prefix + '384.jpg'):
            stage = 'init' if found.group(1) else 'gan'
            samples.append(Sample(stage, int(found.group(2)), prefix, os.stat(path).st_mtime_ns))
    return sorted(samples, key=lambda sample: (sample.stage == 'gan', sample.epoch))


def panels(sample):
    """The article's figure: (title, uint8 [H, W, 3]) of each panel."""
    return [('Low resolution', read(sample, '96')), ('High resolution', read(sample, '384')),
            ('Generated, %s' % name_of(sample), read(sample, 'G'))]


def timeline(samples):
    """The generated picture of the samples, evenly thinned where they are many, between its two originals."""
    chosen = sorted({int(round(index)) for index in np.linspace(0, len(samples) - 1, LONGEST_TIMELINE)})
    rows = [(name_of(samples[index]), read(samples[index], 'G')) for index in chosen]
    return ([('Low resolution', read(samples[-1], '96'))] + rows + [('High resolution', read(samples[-1], '384'))])


def name_of(sample):
    return '%s epoch %d' % ('pre-training' if sample.stage == 'init' else 'GAN', sample.epoch)


def read(sample, kind):
    path = '%s%s.jpg' % (sample.prefix, kind)
    try:
        return np.asarray(Image.open(path).convert('RGB'))
    except OSError:
        raise command.UsageError('%s is not a whole picture; choose another sample by --epoch' % path)


def use_display():
    """Choose matplotlib's back end; -> whether it can open a window."""
    if sys.platform.startswith('linux') and not (os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')):
        matplotlib.use('Agg')
        return False
    try:
        import matplotlib.pyplot as plt
        plt.figure()
        plt.close()
    except Exception:  # whatever the display's toolkit raises: the file is what counts
        matplotlib.use('Agg', force=True)
        return False
    return matplotlib.get_backend().lower() != 'agg'


def draw(pictures):
    """A figure with one row of titled pictures, each in a square of PANEL pixels."""
    import matplotlib.pyplot as plt
    width = len(pictures) * (PANEL + GAP) + GAP
    height = PANEL + TITLE + GAP
    figure = plt.figure('SRGAN', figsize=(width / DPI, height / DPI), dpi=DPI)
    for index, (title, picture) in enumerate(pictures):
        axes = figure.add_axes([(GAP + index * (PANEL + GAP)) / width, GAP / height, PANEL / width, PANEL / height])
        axes.imshow(picture, interpolation='nearest')
        axes.set_title(title, fontsize=14, fontweight='bold')
        axes.axis('off')
    return figure


if __name__ == '__main__':
    sys.exit(command.run(main))

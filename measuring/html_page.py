"""An HTML page to compare pictures: a slider between any two, zoom, a timeline, figures.

The page is one file that needs no network and no framework. It opens from file:// in any current browser.
"""
import base64
import collections
import html
import io
import os
import re

import numpy as np
from PIL import Image

from data_utils import middle
from measuring.pairs import enlarge_bicubic

FOLDER = os.path.dirname(os.path.abspath(__file__))
# The most that all pictures of a page take in it, in bytes, so that it can be sent by mail.
MAX_BYTES = 4.5e6
# A picture whose PNG has more bytes becomes a JPEG, of the first of these qualities that is small enough.
MAX_PNG = 400e3
QUALITIES = 95, 85, 70, 50, 30, 10
# Of a larger picture only the middle is shown, with this many low-resolution pixels on each side.
SIDE = 256

# A picture of the page. image: uint8 [H, W, 3]. psnr: PSNR-Y in dB, or None. step: whether the timeline shows it.
View = collections.namedtuple('View', 'label image psnr step')


def views(lr, generated, hr=None):
    """The Views of one picture: low resolution as nearest and bicubic, generated, high resolution.

    lr: uint8 [H, W, 3]; generated: [(label, uint8 [4H, 4W, 3]), ...], more than one make a timeline; hr: uint8
    [4H, 4W, 3], or None if there is no original.
    """
    def view(label, image, step=False):
        return View(label, image, psnr(image, hr), step)

    found = [View('Low resolution', lr, None, False), view('Bicubic', enlarge_bicubic(lr))]
    found += [view(label, image, len(generated) > 1) for label, image in generated]
    return found if hr is None else found + [View('High resolution', hr, None, False)]


def psnr(image, hr):
    """PSNR-Y in dB, or None if there is no original, or one of another size or too small to be measured."""
    if hr is None or image.shape != hr.shape or min(hr.shape[:2]) < 9:
        return None
    # Imported late: it imports scikit-image, which would delay the start of upscale.py.
    from measuring import metrics
    return metrics.psnr_y(image, hr)


def page(title, comparisons, curves=None, settings=None):
    """The page as text.

    comparisons: (name, Views) of each picture, read one by one; the first is shown, and others up to MAX_BYTES, the
    rest are only counted. curves: a PNG's bytes, or None; settings: {name: value}, or None.
    """
    parts = []
    left_out = 0
    # In base64 four bytes hold three.
    size = len(curves or b'') * 4 / 3
    for name, shown in comparisons:
        part = None if left_out else comparison(name, shown)
        if part and (not parts or size + len(part) <= MAX_BYTES):
            parts.append(part)
            size += len(part)
        else:
            left_out += 1
    if left_out:
        parts.append('<p>%d more pictures would make this page too large.</p>' % left_out)
    if curves:
        parts.append('<section><h2>Curves</h2><img class="curves" alt="Quality, losses and D\'s opinion over the '
                     'updates" src="%s"></section>' % data_uri(curves, 'png'))
    if settings:
        rows = [(name, 'none' if value is None else value) for name, value in settings.items()]
        parts.append('<section><h2>Settings of the run</h2>%s</section>' % table(('setting', 'value'), rows))
    return document(title, '\n'.join(parts))


def document(title, body, head=''):
    """A page of this title, with the style of all pages, and the script of each `section` in it."""
    return filled(os.path.join(FOLDER, 'page.html'), title=html.escape(title), head=head, body=body)


def comparison(name, shown):
    """The HTML of one picture's slider, timeline and figures, in less than MAX_BYTES. shown: its Views."""
    height, width = shown[0].image.shape[:2]
    rows, columns = middle(height, width, SIDE)
    shown = [view._replace(image=cut(view.image, rows, columns, view.image.shape[0] // height)) for view in shown]
    height, width = shown[1].image.shape[:2]
    # Each View gets a share of the bytes, and the timeline one.
    most = MAX_BYTES * 3 / 4 / (len(shown) + 1)
    newest = max(i for i, view in enumerate(shown) if view.label != 'High resolution')
    steps = ''.join('<button data-view="%d"><img alt="" src="%s"><span>%s</span></button>' % (
        i, thumbnail(view.image), html.escape(view.label)) for i, view in enumerate(shown) if view.step)
    figures = [(view.label, '%.2f dB' % view.psnr) for view in shown if view.psnr is not None]
    images = [(view.label, picture_uri(view.image, most)) for view in shown]
    return section(name, images, newest, width, height, ''.join([
        '<h3>Timeline</h3><div class="timeline">%s</div>' % steps if steps else '',
        '<h3>Figures</h3>' + table(('picture', 'PSNR-Y'), figures) if figures else '']))


def section(name, images, chosen, width, height, more=''):
    """The HTML of a slider between any two of the images (label, address), at first the first and the `chosen` one.

    width, height: the images' size in pixels, or that of the largest. more: HTML below the slider.
    """
    name, images = html.escape(name), [(html.escape(label), address) for label, address in images]

    def choice(side, index):
        return '<label>%s <select class="%s">%s</select></label>' % (side.title(), side, ''.join(
            '<option value="%d"%s>%s</option>' % (i, ' selected' if i == index else '', label)
            for i, (label, _) in enumerate(images)))

    return filled(
        os.path.join(FOLDER, 'comparison.html'), name=name, width=width, height=height, left=choice('left', 0),
        right=choice('right', chosen), more=more,
        images=''.join('<img data-label="%s" alt="%s: %s" src="%s" draggable="false">' % (label, name, label, address)
                       for label, address in images))


def filled(template, **values):
    """The text of the file `template`, each {{name}} in it replaced by the value of that name."""
    with open(template, encoding='utf-8') as file:
        return re.sub(r'{{(\w+)}}', lambda place: str(values[place.group(1)]), file.read())


def table(heading, rows):
    return '<div class="scroll"><table><thead><tr>%s</tr></thead><tbody>%s</tbody></table></div>' % (
        ''.join('<th scope="col">%s</th>' % cell for cell in heading),
        ''.join('<tr><th scope="row">%s</th><td>%s</td></tr>' % tuple(html.escape(str(cell)) for cell in row)
                for row in rows))


def cut(image, rows, columns, scale):
    """The part of a picture `scale` times as large that shows the given rows and columns of the low-resolution one."""
    return image[scale * rows.start:scale * rows.stop, scale * columns.start:scale * columns.stop]


def picture_uri(image, most):
    """uint8 [H, W, 3] as a data URI of at most `most` bytes before base64: a PNG, or a JPEG if the PNG is too large."""
    data = encoded(image, 'PNG')
    if len(data) <= min(most, MAX_PNG):
        return data_uri(data, 'png')
    for quality in QUALITIES:
        data = encoded(image, 'JPEG', quality=quality, subsampling=0)
        if len(data) <= most:
            break
    return data_uri(data, 'jpeg')


def thumbnail(image):
    small = Image.fromarray(image)
    small.thumbnail((144, 144), Image.LANCZOS)
    return data_uri(encoded(np.asarray(small), 'JPEG', quality=85), 'jpeg')


def data_uri(data, kind):
    return 'data:image/%s;base64,%s' % (kind, base64.b64encode(data).decode())


def encoded(image, image_format, **options):
    data = io.BytesIO()
    Image.fromarray(image).save(data, image_format, **options)
    return data.getvalue()

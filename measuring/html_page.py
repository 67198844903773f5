"""An HTML page to compare pictures: a slider between any two, zoom, a timeline, figures.

The page is one file that needs no network and no framework. It opens from file:// in any current browser.
"""
import base64
import collections
import html
import io
import os

import numpy as np
from PIL import Image

from data_utils import SCALE, bicubic_resize

# The page's style and script, with places for the title and the body.
TEMPLATE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'page.html')
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

    height, width = lr.shape[:2]
    found = [View('Low resolution', lr, None, False),
             view('Bicubic', bicubic_resize(lr, SCALE * width, SCALE * height))]
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

    comparisons: (name, Views) of each picture, read one by one, so that a generator can make them. Pictures beyond
    MAX_BYTES are only counted; the first is always shown. curves: a PNG's bytes, or None; settings: {name: value}, or
    None.
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
                     'updates" src="data:image/png;base64,%s"></section>' % base64.b64encode(curves).decode())
    if settings:
        rows = [(name, 'none' if value is None else value) for name, value in settings.items()]
        parts.append('<section><h2>Settings of the run</h2>%s</section>' % table(('setting', 'value'), rows))
    return document(title, '\n'.join(parts))


def document(title, body, head=''):
    """A page of this title, with the style of all pages, and the script of each `section` in it."""
    with open(TEMPLATE, encoding='utf-8') as file:
        text = file.read()
    for place, part in (('title', html.escape(title)), ('head', head), ('body', body)):
        text = text.replace('{{%s}}' % place, part)
    return text


def comparison(name, shown):
    """The HTML of one picture's slider, timeline and figures, in less than MAX_BYTES. shown: its Views."""
    height, width = shown[0].image.shape[:2]
    rows, columns = middle(height, width)
    shown = [view._replace(image=cut(view.image, rows, columns, view.image.shape[0] // height)) for view in shown]
    height, width = shown[1].image.shape[:2]
    # Each View gets a share of the bytes, and the timeline one; in base64 four bytes hold three.
    most = MAX_BYTES * 3 / 4 / (len(shown) + 1)
    images = [(view.label, data_uri(view.image, most)) for view in shown]
    newest = max(i for i, view in enumerate(shown) if view.label != 'High resolution')

    steps = ''.join('<button data-view="%d"><img alt="" src="%s"><span>%s</span></button>' % (
        i, thumbnail(view.image), html.escape(view.label)) for i, view in enumerate(shown) if view.step)
    figures = [(view.label, '%.2f dB' % view.psnr) for view in shown if view.psnr is not None]
    return section(name, images, newest, width, height, ''.join([
        '<h3>Timeline</h3><div class="timeline">%s</div>' % steps if steps else '',
        '<h3>Figures</h3>' + table(('picture', 'PSNR-Y'), figures) if figures else '']))


def section(name, images, chosen, width, height, more=''):
    """The HTML of a slider between any two of the images (label, address), at first the first and the `chosen` one.

    width, height: the images' size in pixels, or that of the largest. more: HTML below the slider.
    """
    def choice(side, index):
        return '<label>%s <select class="%s">%s</select></label>' % (side.title(), side, ''.join(
            '<option value="%d"%s>%s</option>' % (i, ' selected' if i == index else '', html.escape(label))
            for i, (label, _) in enumerate(images)))

    return SECTION % {
        'name': html.escape(name), 'width': width, 'height': height, 'left': choice('left', 0),
        'right': choice('right', chosen), 'more': more,
        'images': ''.join('<img data-label="%s" alt="%s: %s" src="%s" draggable="false">' % (
            html.escape(label), html.escape(name), html.escape(label), address) for label, address in images)}


def table(heading, rows):
    return '<div class="scroll"><table><thead><tr>%s</tr></thead><tbody>%s</tbody></table></div>' % (
        ''.join('<th scope="col">%s</th>' % cell for cell in heading),
        ''.join('<tr><th scope="row">%s</th><td>%s</td></tr>' % tuple(html.escape(str(cell)) for cell in row)
                for row in rows))


def middle(height, width, side=SIDE):
    """The rows and the columns, as slices, of the middle of a low-resolution picture, at most side x side."""
    (top, height), (left, width) = [(max(0, (length - side) // 2), min(length, side)) for length in (height, width)]
    return slice(top, top + height), slice(left, left + width)


def cut(image, rows, columns, scale):
    """The part of a picture `scale` times as large that shows the given rows and columns of the low-resolution one."""
    return image[scale * rows.start:scale * rows.stop, scale * columns.start:scale * columns.stop]


def data_uri(image, most):
    """uint8 [H, W, 3] as a data URI of at most `most` bytes before base64: a PNG, or a JPEG if the PNG is too large."""
    data, kind = encoded(image, 'PNG'), 'png'
    if len(data) > min(most, MAX_PNG):
        for quality in QUALITIES:
            data, kind = encoded(image, 'JPEG', quality=quality, subsampling=0), 'jpeg'
            if len(data) <= most:
                break
    return 'data:image/%s;base64,%s' % (kind, base64.b64encode(data).decode())


def thumbnail(image):
    small = Image.fromarray(image)
    small.thumbnail((144, 144), Image.LANCZOS)
    return 'data:image/jpeg;base64,%s' % base64.b64encode(encoded(np.asarray(small), 'JPEG', quality=85)).decode()


def encoded(image, image_format, **options):
    data = io.BytesIO()
    Image.fromarray(image).save(data, image_format, **options)
    return data.getvalue()


SECTION = '''<section class="comparison" style="--width:%(width)d; --height:%(height)d">
<h2>%(name)s</h2>
<div class="stage">
<div class="view" tabindex="0" role="group" aria-label="%(name)s; zoomed, the arrow keys move it">
<div class="canvas">%(images)s</div></div>
<div class="divider" aria-hidden="true"><span></span></div>
<span class="tag tag-left" aria-hidden="true"></span><span class="tag tag-right" aria-hidden="true"></span>
</div>
<input class="slider" type="range" min="0" max="100" value="50" step="1">
<div class="controls">%(left)s%(right)s<label>Zoom <select class="zoom">
<option value="1">1×</option><option value="2">2×</option><option value="4">4×</option><option value="8">8×</option>
</select></label></div>
%(more)s
</section>'''

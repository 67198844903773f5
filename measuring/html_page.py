"""One self-contained HTML page on which people compare pictures: a slider between any two, zoom, timeline, figures.

Everything is in the file: no network, no framework. It opens from file:// in any current browser.
"""
import base64
import collections
import html
import io

import numpy as np
from PIL import Image

from data_utils import SCALE, bicubic_resize

# A page is sent by mail: all its pictures together, in bytes, as they stand in it.
MAX_BYTES = 4.5e6
# From here on a picture is a JPEG, of the first of these qualities that is small enough.
MAX_PNG = 400e3
QUALITIES = 95, 85, 70, 50, 30, 10
# Of a larger picture the middle is shown: low-resolution pixels to each side.
SIDE = 256

# A picture to choose: uint8 [H, W, 3], and its PSNR-Y in dB or None. `step` marks one of the timeline.
View = collections.namedtuple('View', 'label image psnr step')


def views(lr, generated, hr=None):
    """The Views of one picture: low resolution as nearest and bicubic, generated, high resolution.

    lr: uint8 [H, W, 3]; generated: [(label, uint8 [4H, 4W, 3]), ...], of which several make a timeline; hr: uint8
    [4H, 4W, 3], or None where nobody has it.
    """
    def view(label, image, step=False):
        return View(label, image, psnr(image, hr), step)

    height, width = lr.shape[:2]
    found = [View('Low resolution', lr, None, False),
             view('Bicubic', bicubic_resize(lr, SCALE * width, SCALE * height))]
    found += [view(label, image, len(generated) > 1) for label, image in generated]
    return found if hr is None else found + [View('High resolution', hr, None, False)]


def psnr(image, hr):
    """PSNR-Y in dB, or None where there is no original or it is too small to be measured."""
    if hr is None or image.shape != hr.shape or min(hr.shape[:2]) < 9:
        return None
    # It imports scikit-image, for which upscale.py would wait.
    from measuring import metrics
    return metrics.psnr_y(image, hr)


def page(title, comparisons, curves=None, settings=None):
    """The page as text.

    comparisons: (name, Views) of each picture, taken one by one, so that they can be made as they are taken. From the
    one on that would make it larger than MAX_BYTES they are counted and left out, the first never; curves: a PNG's
    bytes; settings: {name: value}.
    """
    parts, size, left_out = [], len(curves or b'') * 4 / 3, 0
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
    return PAGE % {'title': html.escape(title), 'body': '\n'.join(parts), 'style': STYLE, 'script': SCRIPT}


def comparison(name, shown):
    """One picture's slider, timeline and figures, in less than MAX_BYTES."""
    height, width = shown[0].image.shape[:2]
    rows, columns = middle(height, width)
    shown = [view._replace(image=cut(view.image, rows, columns, view.image.shape[0] // height)) for view in shown]
    height, width = shown[1].image.shape[:2]
    # In base64 four bytes hold three; one share is the timeline's.
    most = MAX_BYTES * 3 / 4 / (len(shown) + 1)
    data = [(view, data_uri(view.image, most)) for view in shown]
    newest = max(i for i, view in enumerate(shown) if view.label != 'High resolution')

    def choice(side, chosen):
        return '<label>%s <select class="%s">%s</select></label>' % (side.title(), side, ''.join(
            '<option value="%d"%s>%s</option>' % (i, ' selected' if i == chosen else '', html.escape(view.label))
            for i, view in enumerate(shown)))

    images = ''.join('<img data-label="%s" alt="%s: %s" src="%s" draggable="false">' % (
        html.escape(view.label), html.escape(name), html.escape(view.label), uri) for view, uri in data)
    steps = ''.join('<button data-view="%d"><img alt="" src="%s"><span>%s</span></button>' % (
        i, thumbnail(view.image), html.escape(view.label)) for i, view in enumerate(shown) if view.step)
    figures = [(view.label, '%.2f dB' % view.psnr) for view in shown if view.psnr is not None]
    return COMPARISON % {
        'name': html.escape(name), 'images': images, 'ratio': '%d / %d' % (width, height),
        'width': max(min(width, 1024), min(2 * width, 768), 256), 'height': height / width,
        'left': choice('left', 0), 'right': choice('right', newest),
        'timeline': '<h3>Timeline</h3><div class="timeline">%s</div>' % steps if steps else '',
        'figures': '<h3>Figures</h3>' + table(('picture', 'PSNR-Y'), figures) if figures else ''}


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
    """What of a picture `scale` times as large lies in rows and columns of the low-resolution one."""
    return image[scale * rows.start:scale * rows.stop, scale * columns.start:scale * columns.stop]


def data_uri(image, most):
    """uint8 [H, W, 3] as a data URI of at most `most` bytes before base64: PNG, or JPEG where that is large."""
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


PAGE = '''<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>%(title)s</title>
<style>%(style)s</style>
</head>
<body>
<main>
<h1>%(title)s</h1>
%(body)s
</main>
<script>%(script)s</script>
</body>
</html>
'''

COMPARISON = '''<section class="comparison">
<h2>%(name)s</h2>
<div class="stage" style="max-width:min(%(width)dpx, calc(78vh / %(height).4f)); aspect-ratio:%(ratio)s">
<div class="view" tabindex="0" role="group" aria-label="%(name)s; zoomed, the arrow keys move it">
<div class="canvas">%(images)s</div></div>
<div class="divider" aria-hidden="true"><span></span></div>
<span class="tag tag-left" aria-hidden="true"></span><span class="tag tag-right" aria-hidden="true"></span>
</div>
<input class="slider" style="max-width:min(%(width)dpx, calc(78vh / %(height).4f))"
 type="range" min="0" max="100" value="50" step="1">
<div class="controls">%(left)s%(right)s<label>Zoom <select class="zoom">
<option value="1">1×</option><option value="2">2×</option><option value="4">4×</option><option value="8">8×</option>
</select></label></div>
%(timeline)s
%(figures)s
</section>'''

STYLE = '''
:root { --ground: #fff; --ink: #1d1d1f; --quiet: #6a6a70; --line: #dcdce0; --accent: #0a5bd0; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #161618; --ink: #ececee; --quiet: #a0a0a8; --line: #38383d; --accent: #6ea8ff; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 64rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.4rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 1.5rem 0 .75rem; overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.stage { position: relative; margin: 0 auto; overflow: hidden; background: var(--line); }
.view { position: absolute; inset: 0; isolation: isolate; overflow: hidden; cursor: ew-resize; touch-action: pan-y; }
.view.zoomed { overflow: auto; cursor: grab; touch-action: pan-x pan-y; }
.view:focus-visible { outline-offset: -3px; }
.canvas { position: relative; width: calc(100% * var(--zoom, 1)); height: calc(100% * var(--zoom, 1)); }
.canvas img { position: absolute; inset: 0; width: 100%; height: 100%; visibility: hidden; user-select: none; }
.zoomed img, .canvas img[data-label="Low resolution"] { image-rendering: pixelated; }
.divider { position: absolute; top: 0; bottom: 0; left: 50%; width: 44px; margin-left: -22px; cursor: ew-resize;
  touch-action: none; }
.divider::before { content: ""; position: absolute; inset: 0 21px; background: #fff; box-shadow: 0 0 3px #0009; }
.divider span { position: absolute; top: 50%; left: 6px; width: 32px; height: 32px; margin-top: -16px;
  border-radius: 50%; background: #fff; box-shadow: 0 1px 4px #0008; }
.divider span::after { content: "‹ ›"; display: block; color: #333; font: 18px/29px system-ui, sans-serif;
  text-align: center; }
.tag { position: absolute; top: .5rem; max-width: 46%; padding: .1rem .55rem; border-radius: 1rem; color: #fff;
  background: #000a; font-size: .8rem; pointer-events: none; }
.tag-left { left: .5rem; }
.tag-right { right: .5rem; }
.slider { display: block; width: 100%; min-width: min(100%, 16rem); height: 2.5rem; margin: .25rem auto;
  accent-color: var(--accent); }
.controls { display: flex; flex-wrap: wrap; gap: .5rem 1.25rem; justify-content: center; color: var(--quiet); }
select { font: inherit; padding: .3rem .4rem; color: var(--ink); background: var(--ground);
  border: 1px solid var(--line); border-radius: .4rem; max-width: 100%; }
.timeline { display: flex; gap: .5rem; overflow-x: auto; padding: 4px; }
.timeline button { flex: none; width: 8.5rem; padding: 4px; font: inherit; font-size: .75rem; color: var(--quiet);
  background: none; border: 1px solid transparent; border-radius: .4rem; cursor: pointer; }
.timeline button[aria-pressed=true] { color: var(--ink); border-color: var(--accent); }
.timeline img { display: block; width: 100%; }
.curves { display: block; width: 100%; background: #fff; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .25rem 1.5rem .25rem 0; border-bottom: 1px solid var(--line); text-align: left; font-weight: normal;
  font-variant-numeric: tabular-nums; }
thead th { color: var(--quiet); }
'''

SCRIPT = '''
for (const section of document.querySelectorAll('.comparison')) {
  const find = selector => section.querySelector(selector);
  const view = find('.view'), canvas = find('.canvas'), divider = find('.divider'), slider = find('.slider');
  const left = find('.left'), right = find('.right'), zoom = find('.zoom');
  const images = [...canvas.children], steps = [...section.querySelectorAll('.timeline button')];

  function draw() {
    const share = slider.value / 100, at = view.scrollLeft + share * view.clientWidth;
    const names = [left, right].map(side => images[side.value].dataset.label);
    for (const {style} of images) [style.visibility, style.clipPath, style.zIndex] = ['hidden', 'none', 0];
    images[left.value].style.visibility = 'visible';
    const top = images[right.value];
    top.style.visibility = 'visible';
    top.style.zIndex = 1;
    top.style.clipPath = left.value === right.value ? 'none' : `inset(0 0 0 ${at}px)`;
    divider.style.left = slider.value + '%';
    find('.tag-left').textContent = names[0];
    find('.tag-right').textContent = names[1];
    slider.setAttribute('aria-label', `Divider between ${names[0]} on the left and ${names[1]} on the right`);
    slider.setAttribute('aria-valuetext', `${slider.value} % ${names[0]}, ${100 - slider.value} % ${names[1]}`);
    for (const step of steps) step.setAttribute('aria-pressed', step.dataset.view === right.value);
  }

  function moveTo(event) {
    const box = view.getBoundingClientRect();
    slider.value = 100 * (event.clientX - box.left) / box.width;
    draw();
  }

  function drag(element, move, allowed) {
    element.addEventListener('pointerdown', event => {
      if (event.button || !allowed(event)) return;
      element.setPointerCapture(event.pointerId);
      move(event);
      element.addEventListener('pointermove', move);
    });
    for (const end of ['pointerup', 'pointercancel'])
      element.addEventListener(end, () => element.removeEventListener('pointermove', move));
  }

  drag(divider, moveTo, () => true);
  drag(view, event => {
    if (zoom.value === '1') moveTo(event);
    else if (event.type === 'pointermove') view.scrollBy(-event.movementX, -event.movementY);
  }, event => zoom.value === '1' || event.pointerType === 'mouse');

  zoom.addEventListener('input', () => {
    const [x, y] = [(view.scrollLeft + view.clientWidth / 2) / canvas.clientWidth,
                    (view.scrollTop + view.clientHeight / 2) / canvas.clientHeight];
    canvas.style.setProperty('--zoom', zoom.value);
    view.classList.toggle('zoomed', zoom.value !== '1');
    view.scrollTo(x * canvas.clientWidth - view.clientWidth / 2, y * canvas.clientHeight - view.clientHeight / 2);
    draw();
  });
  for (const control of [slider, left, right]) control.addEventListener('input', draw);
  view.addEventListener('scroll', draw);
  addEventListener('resize', draw);
  for (const step of steps) step.addEventListener('click', () => { right.value = step.dataset.view; draw(); });
  draw();
}
'''

"""Enlarge pictures four times.

    python upscale.py photo.jpg                      writes photo_x4.png beside it
    python upscale.py FOLDER... -o enlarged          every picture in the folders and sub-folders
    python upscale.py photo.jpg --model photo        the network that cleans worn pictures, whatever the picture
    python upscale.py photo.jpg --strength 0.5       less of SRGAN's texture, closer to the original
    python upscale.py photo.jpg -o large.jpg         names the result, .png or .jpg, .tif for CMYK
    python upscale.py FOLDER -o enlarged --compare   writes enlarged/compare.html too, a page with sliders
    python upscale.py --export DIR                   writes the network as a Paddle inference model
    python upscale.py --export FILE.onnx             writes the network as an ONNX model
    python upscale.py --export-page DIR              writes a web page that enlarges pictures in the browser

Pictures keep their kind: grey, RGB, with alpha, with a palette, 1-bit, CMYK (as TIFF), 8 or 16 bits, with their
profile, EXIF and DPI; they are turned upright. They are computed in tiles that overlap so far that the result is as if
the whole picture were computed at once. docs/upscaling.md shows the use in Python and of an ONNX model; that of a
Paddle model is:

    exe = fluid.Executor(fluid.CPUPlace())
    program, feeds, fetches = fluid.io.load_inference_model(DIR, exe, params_filename='params')
    test_im, = exe.run(program, {feeds[0]: t_image}, fetches)  # [N, 3, H, W] -> [N, 3, 4H, 4W], RGB in [-1, 1]
"""
import collections
import functools
import os
import resource
import sys
import time

import numpy as np

from cli import command
from cli.command import Parser, RunError, UsageError, positive, threads
from cli.paddle_setup import set_threads
from cli.progress import Bar
from cpu import engine
from data_utils import SCALE, middle
from measuring import html_page
from pictures import wear
from pictures.enlarge import TILE, strips, upscale  # noqa: F401 upscale.upscale is what users call
from pictures.jobs import RESULTS, plan
from pictures.picture import JPEG_SIDE, extension, write_picture
from reading.picture_file import MAX_PIXELS, Bomb, UnreadableImage, read_picture, reason, to_rgb
from storage import networks
from storage.files import beside, replace_file, replace_text

PAGE = 'compare.html'


def main(argv):
    options = parse(argv)
    jobs = plan(options.pictures, options.output)
    if options.format and jobs and jobs[0].ending:
        raise UsageError('--format %s: the ending of -o %s names the format already' % (options.format, options.output))
    model_path = networks.find(options.model) if options.model else networks.default()
    if not model_path:
        raise UsageError('no network: neither %s nor pretrained/srgan exists; `python train.py` trains one, '
                         '--model DIR names one' % networks.TRAINED)
    worn_path = None if options.model else networks.for_worn()
    page_path = find_page(options) if options.compare else None
    set_threads(options.threads)
    if options.export or options.export_page:
        export_network(model_path, options)
        if not jobs:
            return 0
    models = {} if worn_path else {model_path: load_model(options, model_path)}
    count = collections.Counter()
    start = time.time()

    def model_for(job, picture):
        """The network for a picture. If there is a choice, says which; a network is loaded when it is first needed."""
        if not worn_path:
            return models[model_path]
        path = worn_path if is_worn(picture) else model_path
        if path not in models:
            loading = time.time()
            models[path] = load_model(options, path)
            count['loading'] += time.time() - loading
        Bar.write('%s: by %s' % (job.source, os.path.basename(path)))
        return models[path]

    comparisons = enlarge_files(jobs, model_for, options, count)
    # A generator: the pictures are enlarged as it goes on.
    if options.compare:
        page = html_page.page('SRGAN: your pictures, four times larger', comparisons)
    else:
        for _ in comparisons:
            pass
    print(summary(count, time.time() - start - count['loading']))
    if options.compare and count['enlarged']:
        replace_text(page_path, page)
        print('compare them in %s' % page_path)
    if count['failed']:
        raise RunError('%d of %d pictures failed' % (count['failed'], len(jobs)))


def parse(argv):
    """The command line as a Namespace. Raises UsageError."""
    parser = Parser(prog='upscale.py', description=__doc__)
    parser.add_argument('pictures', metavar='PICTURE|FOLDER', nargs='*', help='pictures, or folders of pictures')
    parser.add_argument('-o', '--output', metavar='DIR|FILE', help='folder to write to (beside each picture), '
                        'or the file, .png or .jpg, if there is one picture')
    parser.add_argument('--model', metavar='DIR', help='network: a directory, a .npz, or srgan, srresnet, photo of '
                        'pretrained/ (%s; else photo for pictures that were compressed, are noisy or out of focus, '
                        'srgan for others)' % networks.TRAINED)
    parser.add_argument('--precision', choices=('auto', 'fp32', 'int8'), default='auto',
                        help='int8 is about twice as fast; auto takes it if it is as good')
    parser.add_argument('--strength', type=float, metavar='X',
                        help="--model srgan with less of its texture: from 0, which is srresnet, to 1, which is srgan")
    parser.add_argument('--tile', type=positive, default=TILE, metavar='N',
                        help='side of a tile in pixels (%d); a smaller one needs less memory' % TILE)
    parser.add_argument('--ensemble', action='store_true',
                        help='mean over the eight flips and turns; eight times as slow')
    parser.add_argument('--format', choices=('png', 'jpg'), help='png (as without it), or jpg of quality 95')
    parser.add_argument('--compare', action='store_true', help='write %s too, in -o or beside the first picture: a '
                        'page that compares the pictures with nearest and bicubic' % PAGE)
    parser.add_argument('--overwrite', action='store_true', help='replace files that exist')
    parser.add_argument('--huge', action='store_true',
                        help='accept pictures of more than %d megapixels' % (MAX_PIXELS / 1e6))
    parser.add_argument('--export', metavar='DIR|FILE.onnx',
                        help='write the network as a Paddle inference model, or as an ONNX model')
    parser.add_argument('--export-uint8', action='store_true',
                        help='the ONNX model takes and returns uint8 [N, H, W, 3], not float32 [N, 3, H, W] in [-1, 1]')
    parser.add_argument('--export-page', metavar='DIR',
                        help='write a web page that enlarges pictures in the browser, with the network; needs npm')
    parser.add_argument('--threads', type=threads, metavar='N', help='threads for computing (all cores)')
    options = parser.parse_args(argv)
    if options.strength is not None:
        if not 0 <= options.strength <= 1:
            parser.error('--strength %g: it must be from 0 to 1' % options.strength)
        if options.model not in (None, 'srgan'):
            parser.error('--strength %g mixes srgan with srresnet, not %s' % (options.strength, options.model))
        options.model = 'srgan'
    if options.export_uint8 and not (options.export or '').endswith('.onnx'):
        parser.error('--export-uint8 needs --export FILE.onnx')
    if not options.pictures and (options.compare or not (options.export or options.export_page)):
        parser.error('no PICTURE and no FOLDER')
    return options


def load_model(options, path):
    """Load a network and say so -> its Engine. Raises UsageError."""
    try:
        model = engine.load(path, options.precision, options.strength)
    except OSError as error:
        raise UsageError('%s cannot be read: %s' % (path, error.strerror or error))
    check_tile(options.tile, 2 * model.margin)
    Bar.write('%s%s in %s%s' % (path, '' if options.strength is None else ' at strength %g' % options.strength,
                                model.precision, ': ' + model.note if model.note else ''))
    return model


def is_worn(picture):
    """Whether a Picture was compressed, is noisy or out of focus; see pictures/wear.py."""
    rows, columns = middle(*picture.pixels.shape[:2], wear.LOOKED_AT)
    return wear.is_worn(to_rgb(picture.pixels[rows, columns], picture, 'grey'), picture.steps)


def export_network(path, options):
    """Write the network `path` in the forms that the options ask for. Raises UsageError, RunError, OSError."""
    # The modules of export/ are imported late: ONNX is optional.
    if options.export and options.export.endswith('.onnx'):
        from export import onnx_model
        margin = onnx_model.export(path, options.export, options.strength, options.export_uint8)
        print('%s exported as an ONNX model to %s; if you cut tiles, give them %d pixels more on each side' % (
            path, options.export, margin))
    elif options.export:
        engine.export(path, options.export, options.strength)
        print('%s exported as an inference model to %s' % (path, options.export))
    if options.export_page:
        from export import web_page
        web_page.export(path, options.export_page, options.strength)
        print('%s exported as a page to %s; `python -m http.server` there serves it at http://localhost:8000' % (
            path, options.export_page))


def check_tile(tile, overlap):
    """Check --tile, in pixels, and print how much slower a small one is. Raises UsageError."""
    if tile <= overlap:
        raise UsageError('--tile %d: tiles overlap by %d pixels, so it must be at least %d' % (
            tile, overlap, overlap + 1))
    # Each tile gives a square whose side is shorter by the overlap.
    slower = (tile / (tile - overlap)) ** 2
    if slower > 4:
        print('--tile %d: tiles overlap by %d pixels, so a picture of many tiles takes up to %.0f times as long as one '
              'tile; %d takes 4 times as long' % (tile, overlap, slower, 2 * overlap))


def enlarge_files(jobs, model_for, options, count):
    """Enlarge the pictures one by one, count them in `count`, and print why any fails.

    A generator: with --compare it yields (name, html_page.Views) of each, else nothing.
    """
    # A page has room for two or three pictures of side SIDE, or for about ten of half of it.
    side = html_page.SIDE // (1 if len(jobs) < 3 else 2) if options.compare else None
    sources = {identity(job.source) for job in jobs}
    for job in jobs:
        try:
            shown = enlarge_file(job, model_for, options, count, sources, side)
        except UsageError:
            raise
        except Exception as error:
            # Whatever a reader or a writer of pictures raises, the others go on.
            shown = None
            count['failed'] += 1
            Bar.write('failed: %s' % failure(error, job), file=sys.stderr)
        if shown:
            yield shown


def failure(error, job):
    """One line on why a picture failed."""
    if isinstance(error, Bomb):
        return '%s; --huge allows them' % error
    if isinstance(error, (UnreadableImage, RunError)):
        return str(error)
    return '%s: %s' % (job.source, reason(error))


def identity(path):
    """Which file a path means, the same for links to it; None if that cannot be told."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def enlarge_file(job, model_for, options, count, sources, side=None):
    """Enlarge one picture and count it in `count`. Raises UnreadableImage, RunError, and what its writer raises.

    sources: the identities of all pictures to enlarge, none of which is overwritten.
    With a `side`, returns (name, html_page.Views) of the picture's middle, at most side x side of its own pixels; None
    without, and if the result exists already.
    """
    picture = read_picture(job.source, float('inf') if options.huge else MAX_PIXELS)
    height, width = picture.pixels.shape[:2]
    ending = job.ending or extension(picture, options.format or 'png')
    path = job.result if job.ending else job.result + ending
    if os.path.exists(path) and not options.overwrite:
        count['skipped'] += 1
        return None
    if os.path.exists(path) and identity(path) in sources:
        raise UnreadableImage('%s: its result %s is itself a picture to enlarge; name another result by -o' % (
            job.source, path))
    if ending == '.jpg' and SCALE * max(height, width) > JPEG_SIDE:
        raise UnreadableImage('%s: JPEG has at most %d pixels a side; use --format png' % (job.source, JPEG_SIDE))
    if (ending == '.tif') != (picture.mode == 'CMYK') and ending != '.jpg':
        raise UnreadableImage('%s: CMYK is written as TIFF or JPEG, all others as PNG or JPEG; give %s such an ending'
                              % (job.source, path))
    bar = functools.partial(Bar, desc=os.path.basename(job.source), unit='tile')
    enlarged = strips(picture, model_for(job, picture), options.tile, options.ensemble, bar)
    if side:
        rows, columns = middle(height, width, side)
        kept = []
        enlarged = keep_window(enlarged, rows, columns, kept)
    folder = os.path.dirname(os.path.abspath(path))
    try:
        # Writing the picture makes its strips, one by one.
        replace_file(path, lambda file: write_picture(
            file, enlarged, (SCALE * width, SCALE * height), picture, ending), options.overwrite)
    except OSError as error:
        if isinstance(error, FileExistsError) and os.path.exists(path):
            Bar.write('%s: another process has written %s meanwhile; --overwrite replaces it' % (job.source, path))
            count['skipped'] += 1
            return None
        raise RunError('%s cannot be written: %s' % (
            path, 'its folder is a file' if os.path.isfile(folder) else error.strerror or error))
    for note in picture.notes:
        Bar.write('%s: %s' % (job.source, note))
    count.update(enlarged=1, pixels=height * width)
    if not side:
        return None
    lr = picture.pixels[rows, columns]
    name = job.source if lr.shape == picture.pixels.shape else '%s, its middle' % job.source
    return name, html_page.views(to_rgb(lr, picture, 'grey'), [
        ('Generated', to_rgb(np.concatenate(kept), picture, 'grey'))])


def keep_window(strips, rows, columns, kept):
    """Yield the strips, and append to `kept` their part within the rows and columns (slices, before enlarging)."""
    top = 0
    for strip in strips:
        start, stop = [max(0, SCALE * row - top) for row in (rows.start, rows.stop)]
        kept.append(strip[start:stop, SCALE * columns.start:SCALE * columns.stop].copy())
        top += len(strip)
        yield strip
        # Free it before the next strip is made.
        del strip


def find_page(options):
    """The path of the page that --compare writes. Raises UsageError if it exists, RunError if it cannot be written."""
    first, output = options.pictures[0], options.output
    if output and os.path.splitext(output)[1].lower() in RESULTS and not os.path.isdir(output):
        output = os.path.dirname(output) or '.'
    folder = output or (first if os.path.isdir(first) else os.path.dirname(first)) or '.'
    path = os.path.normpath(os.path.join(folder, PAGE))
    if os.path.exists(path) and not options.overwrite:
        raise UsageError('%s exists; --overwrite replaces it, -o DIR writes elsewhere' % path)
    try:
        with beside(path, os.mkdir):
            pass
    except OSError as error:
        raise RunError('%s cannot be written: %s' % (path, error.strerror))
    return path


def summary(count, seconds):
    """One line with the number of pictures, the speed and the peak memory."""
    megapixels = count['pixels'] / 1e6
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    line = '%d pictures enlarged, %.3g megapixels in %.3g s, %.3g a second; peak memory %d MB' % (
        count['enlarged'], megapixels, seconds, megapixels / max(seconds, 1e-9), memory)
    return line + ('; %d skipped, whose results exist (--overwrite)' % count['skipped'] if count['skipped'] else '')


if __name__ == '__main__':
    sys.exit(command.run(main))

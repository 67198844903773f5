"""Measure networks by the protocol of the super-resolution papers.

    python evaluate.py --data Set5 --model models/g_models
    python evaluate.py --data DIV2K_valid_HR --model models/g_models other.npz --lpips --json scores.json --save strips
    python evaluate.py --fetch      gets the weights of LPIPS, as --lpips does once

Each picture is cropped to a multiple of 4. If its low-resolution partner exists, it is read: NAME_LR beside NAME_HR,
NAMEx4 in ..._LR_bicubic/X4 as in DIV2K, or NAME of a quarter of its size in another folder. Else it is made by bicubic
reduction. PSNR and SSIM are measured on luma with 4 pixels cut from each side, LPIPS on the whole RGB picture.

--json: {"data": DIR, "lr": "folder" or "bicubic", "left_out": [LINE, ...], "models": {MODEL: {"mean": SCORES,
"pictures": {PICTURE: SCORES}}}} with SCORES {"psnr_y": dB, null if infinite, "ssim_y": number, "lpips": number}.
--csv: the columns picture, model, psnr_y, ssim_y, lpips; a row for each picture and model, and a row `mean` for each
model. Both have lpips only with --lpips.
"""
import functools
import math
import os
import sys

from cli import command
from cli.command import Parser, RunError, UsageError, threads
from cli.paddle_setup import set_threads
from cpu import engine
from data_utils import SCALE
from measuring import lpips_alex, metrics, pairs, report, strips
from pictures.enlarge import upscale
from reading.picture_file import UnreadableImage
from storage import networks
from storage.files import holds


def main(argv):
    options = parse(argv)
    if options.fetch:
        lpips_alex.read_weights()
        print('the weights of LPIPS are in %s' % lpips_alex.WEIGHTS)
        return
    found, left_out = pairs.find_pairs(options.data)
    set_threads(options.threads)
    methods = {'bicubic': pairs.enlarge_bicubic}
    for name, path in model_names(options.model).items():
        model = engine.load(path, options.precision)
        if model.precision != options.precision:
            raise UsageError('--precision %s: %s' % (options.precision, model.note))
        methods[name] = functools.partial(upscale, model=model)
    measures = {'psnr_y': metrics.psnr_y, 'ssim_y': metrics.ssim_y}
    if options.lpips:
        measures['lpips'] = lpips_alex.Lpips(lpips_alex.read_weights())

    for line in left_out:
        warn(line)
    print('low-resolution pictures %s' % ('from the folder' if found[0].lr else 'made by bicubic reduction'))
    table = report.Table([pair.name for pair in found], methods, measures)
    scores = {method: {} for method in methods}
    for pair in found:
        try:
            lr, hr = pairs.read_pair(pair)
        except UnreadableImage as error:
            left_out.append(str(error))
            warn(error)
            continue
        images = {method: enlarge(lr) for method, enlarge in methods.items()}
        for method, image in images.items():
            scores[method][pair.name] = {name: measure(image, hr) for name, measure in measures.items()}
        row = [scores[method][pair.name] for method in methods]
        table.row(pair.name, row)
        if options.save:
            strips.save_strip(os.path.join(options.save, pair.name + '_strip.png'), lr, hr, images, row)

    done = len(scores['bicubic'])
    if not done:
        raise RunError('%s: none of the %d pictures could be measured' % (options.data, len(left_out)))
    means = {method: report.mean(rows.values()) for method, rows in scores.items()}
    table.row('mean of %d' % done, means.values())
    if any(math.isinf(row['psnr_y']) for rows in scores.values() for row in rows.values()):
        print('a picture that is met exactly has an infinite PSNR, which the mean leaves out')
    print('PSNR (dB) and SSIM on luma, %d pixels cut from each side%s' % (
        SCALE, '; LPIPS: AlexNet v0.1, lower is better' if options.lpips else ''))
    if options.json:
        report.write_json(options.json, options.data, 'folder' if found[0].lr else 'bicubic', left_out, scores, means)
    if options.csv:
        report.write_csv(options.csv, scores, means)
    if left_out:
        raise RunError('%d of %d left out of the mean' % (len(left_out), len(left_out) + done))


def warn(line):
    sys.stdout.flush()
    print('left out: %s' % line, file=sys.stderr, flush=True)


def parse(argv):
    """The command line as a Namespace, its files and folders checked. Raises UsageError."""
    parser = Parser(prog='evaluate.py', description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('--data', metavar='DIR', help='folder of pictures, with its sub-folders')
    what.add_argument('--fetch', action='store_true', help='get the weights of LPIPS, and measure nothing')
    parser.add_argument('--model', metavar='DIR', nargs='+', action='append',
                        help='networks, each a directory, a .npz, or srgan, srresnet, photo of pretrained/ (%s, else '
                        'srgan); bicubic measures no network' % networks.TRAINED)
    parser.add_argument('--lpips', action='store_true', help='measure LPIPS too; fetches its weights once')
    parser.add_argument('--json', metavar='FILE', help='write the scores for programs')
    parser.add_argument('--csv', metavar='FILE', help='write the scores for spreadsheets')
    parser.add_argument('--save', metavar='DIR', help='write a comparison strip of each picture, NAME_strip.png')
    parser.add_argument('--precision', choices=('fp32', 'int8'), default='fp32', help="the networks' precision (fp32)")
    parser.add_argument('--threads', type=threads, metavar='N', help='threads for computing (all cores)')
    options = parser.parse_args(argv)
    if options.model is None:
        options.model = [[networks.default() or 'bicubic']]
    options.model = [networks.find(name) for names in options.model for name in names if name != 'bicubic']
    for path in (options.json, options.csv):
        if path and (os.path.isdir(path) or not os.path.isdir(os.path.dirname(os.path.abspath(path)))):
            raise UsageError('%s cannot be written: it is a folder, or its folder does not exist' % path)
    if options.data and options.save and holds(options.data, options.save):
        raise UsageError('--save %s lies in --data, and its pictures would be measured next time' % options.save)
    return options


def model_names(paths):
    """-> {name: path} of the networks. A name is the end of the path, just long enough that all names differ."""
    paths = {os.path.abspath(path): path for path in paths}
    parts = [path.split(os.sep) for path in paths]
    for length in range(1, max(map(len, parts), default=0) + 1):
        names = ['/'.join(part[-length:]) for part in parts]
        if len({*names, 'bicubic'}) == len(names) + 1:
            return dict(zip(names, paths.values()))
    return {}


if __name__ == '__main__':
    sys.exit(command.run(main))

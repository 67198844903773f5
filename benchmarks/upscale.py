"""How fast a picture is enlarged, by this project and by others, compared in one run.

    python benchmarks/upscale.py             640 x 360 -> 2560 x 1440, then the whole command; six minutes
    python benchmarks/upscale.py --quick     a small picture and few turns

PyTorch, ONNX Runtime and OpenVINO need a Python of their own, 3.11:

    python3.11 -m venv .venv-bench && .venv-bench/bin/pip install -r requirements-bench.txt

Each contestant is a process with the same network and picture. They take turns, so that other work of the machine slows
all of them alike. A row has the median of the turns, of which slow contestants get fewer, and the PSNR of the picture
against that of upscale.py in fp32. Ours is timed from uint8 pixels to uint8 pixels, the others from tensor to tensor.
ONNX Runtime and OpenVINO compute the model that `upscale.py --export` writes; nncf makes OpenVINO's int8 of it, from
24 details of the embedded photographs.

--json: {"processor": NAME, "threads": N, "picture": [WIDTH, HEIGHT], "contestants": {NAME: {"title": TEXT, "seconds":
[of each turn], "median": S, "left_out": null or the reason, "psnr": DB or null}}, "command": {PRECISION: [{"picture":
[WIDTH, HEIGHT], "seconds": S, "engine": S}, ...]}}.
"""
import json
import os
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import contest
import contestant
import numpy as np
from PIL import Image

import upscale
from cli import command
from cli.command import RunError
from cli.paddle_setup import fluid, processor, set_threads
from cpu import engine
from data_utils import EMBEDDED, bicubic_resize, embedded, read_image, standardized
from layers import variables_of
from pictures import enlarge, picture
from reading.picture_file import read_picture
from srgan_g import SRGAN_g
from storage import checkpoint, persistables

# What the Python of --python has.
OTHERS = 'PyTorch, ONNX Runtime and OpenVINO'
# {name: (script, title)}.
CONTESTANTS = {
    'paddle-stock': ('upscale.py', 'Paddle 1.8.5, the graph as trained'),
    'paddle': ('upscale.py', 'the same, MKL as in upscale.py'),
    'fp32': ('upscale.py', 'upscale.py, fp32'),
    'int8': ('upscale.py', 'upscale.py, int8'),
    'torch-eager': ('torch_g.py', 'PyTorch fp32, eager, channels_last'),
    'torch-compiled': ('torch_g.py', 'PyTorch fp32, rewritten, compiled, frozen'),
    'torch-bf16': ('torch_g.py', 'PyTorch bf16, rewritten, compiled, frozen'),
    'onnxruntime': ('onnx_g.py', 'ONNX Runtime fp32'),
    'openvino': ('onnx_g.py', 'OpenVINO fp32'),
    'openvino-bf16': ('onnx_g.py', 'OpenVINO bf16'),
    'openvino-int8': ('onnx_g.py', 'OpenVINO int8, by nncf'),
}

# Every contestant gets at least this many turns, however long they take.
LEAST_TURNS = 3
# The contestant with whose picture all others are compared.
REFERENCE = 'fp32'
# The least PSNR, in dB, of a picture against that. Those in fp32 differ by rounding alone.
ALIKE = {'int8': 30, 'torch-bf16': 30, 'openvino-bf16': 30, 'openvino-int8': 30}
ALIKE_FP32 = 55
# The pictures that the whole command enlarges, (width, height): to 0.1, 1, 4 and 16 megapixels.
SIZES = (96, 64), (306, 204), (612, 408), (1224, 816)


def main(argv):
    parser = contest.parser('upscale.py', __doc__, 'a small picture and few turns', '7; 3', OTHERS)
    parser.add_argument('--model', metavar='DIR', help='network (untrained weights, which are as fast)')
    options = parser.parse_args(argv)
    width, height = (160, 90) if options.quick else (640, 360)
    report = {'processor': processor().get('model name', 'processor'), 'threads': options.threads,
              'picture': [width, height]}
    print('%s, %d threads; %d x %d -> %d x %d pixels' % (
        report['processor'], options.threads, width, height, 4 * width, 4 * height))
    has_others = os.path.exists(options.python)
    if not has_others:
        print('without %s: %s does not exist; --help says how to make it' % (OTHERS, options.python))
    set_threads(options.threads)

    with tempfile.TemporaryDirectory() as folder:
        network, image = os.path.join(folder, 'network.npz'), os.path.join(folder, 'image.npy')
        np.savez(network, **network_of(options.model))
        np.save(image, photograph(height, width))
        networks = {'upscale.py': network, 'torch_g.py': network, 'onnx_g.py': os.path.join(folder, 'network.onnx')}
        if has_others:
            # Imported late: it needs the package onnx, which ours do without.
            from export import onnx_model
            onnx_model.export(network, networks['onnx_g.py'])
            np.save(os.path.join(folder, contestant.CALIBRATION), details())
        results = {name: os.path.join(folder, name + '.npy') for name in CONTESTANTS}
        rows = report['contestants'] = contest.compete(
            CONTESTANTS, {name: [networks[script], image, results[name]] for name, (script, _) in CONTESTANTS.items()},
            options, options.turns or (3 if options.quick else 7), LEAST_TURNS)
        for name, row in rows.items():
            row['psnr'] = fidelity(name, results)
        report['command'] = cost_of_command(network, SIZES[:1] if options.quick else SIZES)
    # The medians are also printed as multiples of ours.
    own = [name for name in ('fp32', 'int8') if not rows[name]['left_out']]
    contest.print_table(
        'one picture', rows, ' '.join(['PSNR, dB', *('x of %s' % name for name in own)]), lambda row, _: '%8s %s' % (
            '-' if row['psnr'] is None else '%.1f' % row['psnr'],
            ' '.join('%9.2f' % (row['median'] / rows[name]['median']) for name in own)))
    print_command(report['command'])
    if options.json:
        with open(options.json, 'w') as file:
            json.dump(report, file, indent=1)
    different = [row['title'] for name, row in rows.items()
                 if row['psnr'] is not None and row['psnr'] < ALIKE.get(name, ALIKE_FP32)]
    if different:
        raise RunError('not the same picture: %s' % ', '.join(different))


def fidelity(name, results):
    """The PSNR in dB of a contestant's picture against REFERENCE's; None for REFERENCE, and if either made none."""
    pair = results[name], results[REFERENCE]
    return None if name == REFERENCE or not all(map(os.path.exists, pair)) else psnr(*map(np.load, pair))


def psnr(a, b):
    return 10 * np.log10(255 ** 2 / max(np.mean((a.astype(float) - b) ** 2), 1e-9))


def details():
    """Three details of each embedded photograph, reduced by four: uint8 [24, 64, 64, 3]."""
    found = []
    for path in embedded(*EMBEDDED):
        photo = read_image(path)
        top = (photo.shape[0] - 256) // 2
        for left in np.linspace(0, photo.shape[1] - 256, 3).astype(int):
            found.append(bicubic_resize(photo[top:top + 256, left:left + 256], 64, 64))
    return np.stack(found)


def cost_of_command(network, sizes):
    """Time upscale.py's whole work and the engine's part of it for each size -> 'command' of the report."""
    folder = os.path.dirname(network)
    source, destination = [os.path.join(folder, name) for name in ('source.png', 'destination.png')]
    rows = {}
    for precision in ('fp32', 'int8'):
        model = engine.load(network, precision)
        own = []
        if model.precision == precision:
            model.enlarge(np.zeros((64, 64, 3), np.float32))
            model.enlarge = timed(model.enlarge, own)
            rows[precision] = []
            for width, height in sizes:
                Image.fromarray(photograph(height, width)).save(source)
                del own[:]
                start = time.perf_counter()
                read = read_picture(source)
                with open(destination, 'wb') as file:
                    picture.write_picture(file, enlarge.strips(read, model), (4 * width, 4 * height), read, '.png')
                rows[precision].append({'picture': [width, height], 'seconds': time.perf_counter() - start,
                                        'engine': sum(own)})
    return rows


def timed(function, seconds):
    """`function`, but each call also appends to `seconds` how long it took."""
    def call(*args, **kwargs):
        start = time.perf_counter()
        value = function(*args, **kwargs)
        seconds.append(time.perf_counter() - start)
        return value
    return call


def print_command(rows):
    """Print the table of the whole command's times."""
    for precision in rows:
        print('%-44s %8s  %7s  %s' % (
            'upscale.py, %s, from PNG to PNG' % precision, 'seconds', 'engine', 'microseconds a pixel'))
        for row in rows[precision]:
            (width, height), seconds = row['picture'], row['seconds']
            title = '%d x %d to %.1f megapixels' % (width, height, 16 * width * height / 1e6)
            print('%-44s %8.3f  %7.3f  %.2f' % (title, seconds, row['engine'], 1e6 * seconds / (width * height)))


def network_of(path):
    """G's variables {name: array}, read from `path`, or untrained if there is no `path`."""
    shapes = variables_of(SRGAN_g, [None, 3, None, None])
    if path:
        return checkpoint.load_network(path, shapes)
    startup, scope = fluid.Program(), fluid.Scope()
    with fluid.program_guard(fluid.Program(), startup):
        SRGAN_g(fluid.data('t_image', [None, 3, None, None]))
    fluid.Executor(fluid.CPUPlace()).run(startup, scope=scope)
    return {name: persistables.get_variable(scope, name) for name in shapes}


def photograph(height, width):
    """A photograph from scikit-image's wheel, resized: uint8 [height, width, 3]."""
    return bicubic_resize(read_image(embedded('coffee.png')[0]), width, height)


# Our contestants

def plain(path, image):
    """The graph as it was trained, run by a fluid Executor."""
    program, scope = fluid.Program(), fluid.Scope()
    with fluid.program_guard(program, fluid.Program()):
        out = SRGAN_g(fluid.data('t_image', [None, 3, None, None]))
    program = program.clone(for_test=True)
    for name, array in network_of(path).items():
        persistables.set_variable(scope, name, array)
    exe = fluid.Executor(fluid.CPUPlace())
    feed = {'t_image': standardized(image).transpose(2, 0, 1)[None]}
    return lambda: exe.run(program, feed=feed, fetch_list=[out.name], scope=scope)[0][0].transpose(1, 2, 0)


def ours(precision):
    def prepare(path, image):
        model = engine.load(path, precision)
        if model.precision != precision:
            sys.exit(model.note)
        return lambda: upscale.upscale(image, model)
    return prepare


if __name__ == '__main__':
    if sys.argv[1:2] and sys.argv[1] in CONTESTANTS:
        set_threads(int(os.environ['OMP_NUM_THREADS']))
        contestant.enlarge({'paddle-stock': plain, 'paddle': plain, 'fp32': ours('fp32'), 'int8': ours('int8')})
    else:
        sys.exit(command.run(main))

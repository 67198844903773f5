"""How fast a picture is enlarged, by this project and by others, compared in one run.

    python benchmarks/upscale.py             640 x 360 -> 2560 x 1440, then the whole command; six minutes
    python benchmarks/upscale.py --quick     a small picture and few turns

PyTorch and ONNX Runtime need a Python of their own, 3.11:

    python3.11 -m venv .venv-bench && .venv-bench/bin/pip install -r requirements-bench.txt

Each contestant is a process with the same network and picture. They take turns, so that other work of the machine slows
all of them alike. A row has the median of the turns, of which slow contestants get fewer. Ours is timed from uint8
pixels to uint8 pixels, the others from tensor to tensor.

--json: {"processor": NAME, "threads": N, "picture": [WIDTH, HEIGHT], "contestants": {NAME: {"title": TEXT, "seconds":
[of each turn], "median": S, "left_out": null or the reason}}, "command": {PRECISION: [{"picture": [WIDTH, HEIGHT],
"seconds": S, "engine": S}, ...]}}.
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
from cli.paddle_setup import fluid, set_threads
from cpu import engine
from data_utils import bicubic_resize, embedded, read_image, standardized
from layers import variables_of
from pictures import enlarge, picture
from srgan_g import SRGAN_g
from storage import checkpoint, persistables

# {name: (script, title)}.
CONTESTANTS = {
    'paddle-stock': ('upscale.py', 'Paddle 1.8.5, the graph as trained'),
    'fp32': ('upscale.py', 'upscale.py, fp32'),
    'int8': ('upscale.py', 'upscale.py, int8'),
    'torch-eager': ('torch_g.py', 'PyTorch fp32, eager, channels_last'),
    'torch-compiled': ('torch_g.py', 'PyTorch fp32, rewritten, compiled, frozen'),
    'torch-bf16': ('torch_g.py', 'PyTorch bf16, rewritten, compiled, frozen'),
    'onnxruntime': ('torch_g.py', 'ONNX Runtime fp32, rewritten'),
}

# Every contestant gets at least this many turns, however long they take.
LEAST_TURNS = 3
# The least PSNR, in dB, of a picture against the first contestant's. Those in fp32 differ by rounding alone.
ALIKE = {'int8': 30, 'torch-bf16': 30}
ALIKE_FP32 = 55
# The pictures that the whole command enlarges, (width, height): to 0.1, 1, 4 and 16 megapixels.
SIZES = (96, 64), (306, 204), (612, 408), (1224, 816)


def main(argv):
    parser = contest.parser('upscale.py', __doc__, 'a small picture and few turns', '7; 3', 'PyTorch and ONNX Runtime')
    parser.add_argument('--model', metavar='DIR', help='network (untrained weights, which are as fast)')
    options = parser.parse_args(argv)
    width, height = (160, 90) if options.quick else (640, 360)
    report = {'processor': contest.processor(), 'threads': options.threads, 'picture': [width, height]}
    print('%s, %d threads; %d x %d -> %d x %d pixels' % (
        report['processor'], options.threads, width, height, 4 * width, 4 * height))
    if not os.path.exists(options.python):
        print('without PyTorch and ONNX Runtime: %s does not exist; --help says how to make it' % options.python)
    set_threads(options.threads)

    with tempfile.TemporaryDirectory() as folder:
        network, image = os.path.join(folder, 'network.npz'), os.path.join(folder, 'image.npy')
        np.savez(network, **network_of(options.model))
        np.save(image, photograph(height, width))
        results = {name: os.path.join(folder, name + '.npy') for name in CONTESTANTS}
        rows = report['contestants'] = contest.compete(
            CONTESTANTS, {name: [network, image, result] for name, result in results.items()}, options,
            options.turns or (3 if options.quick else 7), LEAST_TURNS)
        report['command'] = cost_of_command(network, SIZES[:1] if options.quick else SIZES)
        different = [row['title'] for name, row in rows.items() if not is_like(name, results)]
    # The medians are also printed as multiples of ours.
    own = [name for name in ('fp32', 'int8') if not rows[name]['left_out']]
    contest.print_table('one picture', rows, ' '.join('x of %s' % name for name in own), lambda row, _: ' '.join(
        '%9.2f' % (row['median'] / rows[name]['median']) for name in own))
    print_command(report['command'])
    if options.json:
        with open(options.json, 'w') as file:
            json.dump(report, file, indent=1)
    if different:
        raise RunError('not the same picture: %s' % ', '.join(different))


def is_like(name, results):
    """Whether a contestant's picture is like the first contestant's; true if either made none."""
    pair = results[next(iter(CONTESTANTS))], results[name]
    return not all(map(os.path.exists, pair)) or psnr(*map(np.load, pair)) >= ALIKE.get(name, ALIKE_FP32)


def psnr(a, b):
    return 10 * np.log10(255 ** 2 / max(np.mean((a.astype(float) - b) ** 2), 1e-9))


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
                read = picture.read_picture(source)
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

def stock(network, image):
    """The graph as it was trained, run by a fluid Executor."""
    program, scope = fluid.Program(), fluid.Scope()
    with fluid.program_guard(program, fluid.Program()):
        out = SRGAN_g(fluid.data('t_image', [None, 3, None, None]))
    program = program.clone(for_test=True)
    for name, array in network.items():
        persistables.set_variable(scope, name, array)
    exe = fluid.Executor(fluid.CPUPlace())
    feed = {'t_image': standardized(image).transpose(2, 0, 1)[None]}
    return lambda: exe.run(program, feed=feed, fetch_list=[out.name], scope=scope)[0][0].transpose(1, 2, 0)


def ours(precision):
    def prepare(network, image):
        model = engine.load(sys.argv[2], precision)
        if model.precision != precision:
            sys.exit(model.note)
        return lambda: upscale.upscale(image, model)
    return prepare


if __name__ == '__main__':
    if sys.argv[1:2] and sys.argv[1] in CONTESTANTS:
        set_threads(int(os.environ['OMP_NUM_THREADS']))
        contestant.enlarge({'paddle-stock': stock, 'fp32': ours('fp32'), 'int8': ours('int8')})
    else:
        sys.exit(command.run(main))

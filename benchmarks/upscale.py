"""How fast a picture is enlarged, here and elsewhere, side by side in one run.

    python benchmarks/upscale.py             640 x 360 -> 2560 x 1440, and what the whole command costs: six minutes
    python benchmarks/upscale.py --quick     a small picture and few turns

PyTorch and ONNX Runtime need a Python of their own, 3.11:

    python3.11 -m venv .venv-bench && .venv-bench/bin/pip install -r requirements-bench.txt

Every contestant is a process that holds the same network and picture. They take turns, so that what else the machine
does falls on all of them alike; a row is the median of its turns, which are fewer where each takes long. Ours is timed
from uint8 pixels to uint8 pixels, the others from tensor to tensor.

--json: {"processor": NAME, "threads": N, "picture": [WIDTH, HEIGHT], "contestants": {NAME: {"title": TEXT, "seconds":
[of each turn], "median": S, "left_out": null or why}}, "command": {PRECISION: [{"picture": [WIDTH, HEIGHT], "seconds":
S, "engine": S}, ...]}}.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT]

import numpy as np  # noqa: E402
from contestant import serve  # noqa: E402
from PIL import Image  # noqa: E402

import command  # noqa: E402
from command import Parser, RunError, positive  # noqa: E402

# Of which Python and script; `ours` is this file.
CONTESTANTS = {
    'paddle-stock': ('ours', 'Paddle 1.8.5, the graph as trained'),
    'fp32': ('ours', 'upscale.py, fp32'),
    'int8': ('ours', 'upscale.py, int8'),
    'torch-eager': ('torch_g.py', 'PyTorch fp32, eager, channels_last'),
    'torch-compiled': ('torch_g.py', 'PyTorch fp32, rewritten, compiled, frozen'),
    'torch-bf16': ('torch_g.py', 'PyTorch bf16, rewritten, compiled, frozen'),
    'onnxruntime': ('torch_g.py', 'ONNX Runtime fp32, rewritten'),
}

# OpenMP's threads spin for a while after their work.
PAUSE = 0.5
# Seconds: what a contestant may need to get ready, compiling included, or for one turn; and after which sum of its
# turns it takes no more, once they are LEAST_TURNS.
LIMIT = 120
SHARE = 20
LEAST_TURNS = 3
# The least PSNR, in dB, of a picture against the first contestant's: the others in fp32 differ by rounding alone.
ALIKE = {'int8': 30, 'torch-bf16': 30}
ALIKE_FP32 = 55
# Pictures for the time a pixel: 0.1, 1, 4 and 16 megapixels when they are enlarged.
SIZES = (96, 64), (306, 204), (612, 408), (1224, 816)


def main(argv):
    parser = Parser(prog='benchmarks/upscale.py', formatter_class=argparse.RawDescriptionHelpFormatter,
                    description=__doc__)
    parser.add_argument('--quick', action='store_true', help='a small picture and few turns')
    parser.add_argument('--turns', type=positive, metavar='N', help='of each contestant, at most (7; 3 with --quick)')
    parser.add_argument('--model', metavar='DIR', help='network; untrained weights by default, which are as fast')
    parser.add_argument('--python', metavar='FILE', default=os.path.join(ROOT, '.venv-bench', 'bin', 'python'),
                        help='the Python with PyTorch and ONNX Runtime (.venv-bench/bin/python)')
    parser.add_argument('--threads', type=positive, metavar='N', help='of each contestant (all cores)')
    parser.add_argument('--json', metavar='FILE', help='write all figures for programs')
    options = parser.parse_args(argv)
    threads = options.threads or len(os.sched_getaffinity(0))
    width, height = (160, 90) if options.quick else (640, 360)
    print('%s, %d threads; %d x %d -> %d x %d pixels' % (processor(), threads, width, height, 4 * width, 4 * height))
    has_torch = os.path.exists(options.python)
    if not has_torch:
        print('without PyTorch and ONNX Runtime: %s is not there; --help says how to make it' % options.python)
    command.import_paddle(threads)

    with tempfile.TemporaryDirectory() as folder:
        network = os.path.join(folder, 'network.npz')
        np.savez(network, **network_of(options.model))
        image = os.path.join(folder, 'image.npy')
        np.save(image, photograph(height, width))
        folder_of_scripts = os.path.dirname(os.path.abspath(__file__))
        contestants = []
        for name, (script, title) in CONTESTANTS.items():
            if script == 'ours' or has_torch:
                start = ([sys.executable, __file__] if script == 'ours' else
                         [options.python, os.path.join(folder_of_scripts, script)])
                contestants.append(Contestant(name, title, start + [name, network, image], threads))
        try:
            for contestant in contestants:
                contestant.prepare()
            compete(contestants, options.turns or (3 if options.quick else 7))
        finally:
            for contestant in contestants:
                contestant.end()
        report = {'processor': processor(), 'threads': threads, 'picture': [width, height],
                  'contestants': {contestant.name: contestant.report() for contestant in contestants},
                  'command': cost_of_command(network, SIZES[:1] if options.quick else SIZES)}
    print_contestants(report['contestants'])
    print_command(report['command'])
    if options.json:
        with open(options.json, 'w') as file:
            json.dump(report, file, indent=1)
    different = [contestant.title for contestant in contestants if not contestant.is_like(contestants[0])]
    if different:
        raise RunError('not the same picture: %s' % ', '.join(different))


class Contestant:
    """A process of contestant.py: `seconds` of its turns, and the picture that it made of the image.

    `left_out` is None, or why it takes no part.
    """

    def __init__(self, name, title, command_line, threads):
        self.name, self.title, self.seconds, self.left_out, self.process = name, title, [], None, None
        self.result = '%s.%s.npy' % (command_line[-1], name)
        self.errors = self.result + '.txt'
        self.command_line = command_line + [self.result]
        self.environment = dict(os.environ, OMP_NUM_THREADS=str(threads))

    def prepare(self):
        """Start it and wait until it is ready."""
        # Not a pipe, which blocks a process that writes much while nobody reads.
        with open(self.errors, 'w') as errors:
            self.process = subprocess.Popen(self.command_line, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=errors, universal_newlines=True, env=self.environment)
        if self.answer() == 'ready\n':
            self.picture = np.load(self.result)

    def answer(self):
        """Its next line, within LIMIT; it is left out where none comes."""
        late = threading.Timer(LIMIT, self.process.kill)
        late.start()
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            with open(self.errors) as errors:
                self.left_out = (errors.read().strip().splitlines() or ['it ended'])[-1]
            if not late.is_alive():
                self.left_out = 'more than %d seconds' % LIMIT
        late.cancel()
        return line

    def wants_a_turn(self):
        return not self.left_out and (len(self.seconds) < LEAST_TURNS or sum(self.seconds) < SHARE)

    def turn(self):
        self.process.stdin.write('\n')
        self.process.stdin.flush()
        seconds = self.answer()
        if seconds:
            self.seconds.append(float(seconds))

    def is_like(self, reference):
        """Whether it makes the same picture, as far as one can ask, where both take part."""
        return bool(self.left_out or reference.left_out) or psnr(
            self.picture, reference.picture) >= ALIKE.get(self.name, ALIKE_FP32)

    def report(self):
        return {'title': self.title, 'seconds': self.seconds, 'left_out': self.left_out,
                'median': float(np.median(self.seconds)) if self.seconds else None}

    def end(self):
        if self.process:
            self.process.kill()
            self.process.communicate()


def compete(contestants, turns):
    """Let them take turns."""
    for _ in range(turns):
        for contestant in contestants:
            if contestant.wants_a_turn():
                time.sleep(PAUSE)
                contestant.turn()


def print_contestants(reports):
    """The table of contestants, their medians as multiples of ours too."""
    columns = [name for name in ('fp32', 'int8') if not reports[name]['left_out']]
    print('%-44s %8s  %-17s %5s %s' % ('one picture', 'seconds', 'fastest - slowest', 'turns', ' '.join(
        'x of %s' % name for name in columns)))
    for report in reports.values():
        if report['left_out']:
            print('%-44s left out: %s' % (report['title'], report['left_out']))
        else:
            print('%-44s %8.3f  %7.3f - %-7.3f %5d %s' % (
                report['title'], report['median'], min(report['seconds']), max(report['seconds']),
                len(report['seconds']), ' '.join(
                    '%9.2f' % (report['median'] / reports[name]['median']) for name in columns)))


def cost_of_command(network, sizes):
    """What tiles, reading and writing add to the engine's own time, by size -> 'command' of the report."""
    import engine
    import picture
    import upscale
    folder = os.path.dirname(network)
    source, destination = [os.path.join(folder, name) for name in ('source.png', 'destination.png')]
    rows = {}
    for precision in ('fp32', 'int8'):
        model, own = engine.load(network, precision), []
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
                    picture.write_picture(file, upscale.strips(read, model), (4 * width, 4 * height), read, '.png')
                rows[precision].append({'picture': [width, height], 'seconds': time.perf_counter() - start,
                                        'engine': sum(own)})
    return rows


def timed(function, seconds):
    """The function, which appends to `seconds` how long each call takes."""
    def call(*args, **kwargs):
        start = time.perf_counter()
        value = function(*args, **kwargs)
        seconds.append(time.perf_counter() - start)
        return value
    return call


def print_command(rows):
    """The table of what the whole command costs."""
    for precision in rows:
        print('%-44s %8s  %7s  %s' % ('upscale.py, %s, from PNG to PNG' % precision, 'seconds', 'engine',
                                      'microseconds a pixel'))
        for row in rows[precision]:
            (width, height), seconds = row['picture'], row['seconds']
            print('%-44s %8.3f  %7.3f  %.2f' % (
                '%d x %d to %.1f megapixels' % (width, height, 16 * width * height / 1e6), seconds, row['engine'],
                1e6 * seconds / (width * height)))


def network_of(path):
    """G's variables {name: array}, those of `path` or untrained ones."""
    import paddle.fluid as fluid

    import checkpoint
    import persistables
    from layers import variables_of
    from srgan_g import SRGAN_g
    shapes = variables_of(SRGAN_g, [None, 3, None, None])
    if path:
        return checkpoint.load_network(path, shapes)
    startup, scope = fluid.Program(), fluid.Scope()
    with fluid.program_guard(fluid.Program(), startup):
        SRGAN_g(fluid.data('t_image', [None, 3, None, None]))
    fluid.Executor(fluid.CPUPlace()).run(startup, scope=scope)
    return {name: persistables.get_variable(scope, name) for name in shapes}


def photograph(height, width):
    """A photograph of scikit-image's wheel, brought to a size: uint8 [height, width, 3]."""
    from data_utils import bicubic_resize, embedded, read_image
    return bicubic_resize(read_image(embedded('coffee.png')[0]), width, height)


def psnr(a, b):
    return 10 * np.log10(255 ** 2 / max(np.mean((a.astype(float) - b) ** 2), 1e-9))


def processor():
    with open('/proc/cpuinfo') as file:
        return next((line.split(':', 1)[1].strip() for line in file if line.startswith('model name')), 'processor')


# Our contestants

def stock(network, image):
    """The graph as it was trained, by an Executor."""
    import paddle.fluid as fluid

    import persistables
    from data_utils import standardized
    from srgan_g import SRGAN_g
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
        import engine
        import upscale
        model = engine.load(sys.argv[2], precision)
        if model.precision != precision:
            sys.exit(model.note)
        return lambda: upscale.upscale(image, model)
    return prepare


if __name__ == '__main__':
    if sys.argv[1:2] and sys.argv[1] in CONTESTANTS:
        command.import_paddle(int(os.environ['OMP_NUM_THREADS']))
        serve({'paddle-stock': stock, 'fp32': ours('fp32'), 'int8': ours('int8')})
    else:
        sys.exit(command.run(main))

"""How fast a picture is enlarged, here and elsewhere, side by side in one run.

    python benchmarks/upscale.py             640 x 360 -> 2560 x 1440, and what the whole command costs
    python benchmarks/upscale.py --quick     a small picture and few turns

PyTorch and ONNX Runtime need a Python of their own, 3.11:

    python3.11 -m venv .venv-bench && .venv-bench/bin/pip install -r requirements-bench.txt

Every contestant is a process that holds the same network and picture. They take turns, so that what else the machine
does falls on all of them alike; a row is the median of its turns. Ours is timed from uint8 pixels to uint8 pixels,
the others from tensor to tensor.
"""
import argparse
import os
import subprocess
import sys
import tempfile
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
# The least PSNR, in dB, of a picture against the first contestant's: the others in fp32 differ by rounding alone.
ALIKE = {'int8': 30, 'torch-bf16': 30}
ALIKE_FP32 = 55
# Pictures for the time a pixel, in pixels.
SIZES = ((384, 256), (960, 640), (2400, 1600), (4800, 3200))


def main(argv):
    parser = Parser(prog='benchmarks/upscale.py', formatter_class=argparse.RawDescriptionHelpFormatter,
                    description=__doc__)
    parser.add_argument('--quick', action='store_true', help='a small picture and few turns')
    parser.add_argument('--turns', type=positive, metavar='N', help='of each contestant (7; 3 with --quick)')
    parser.add_argument('--model', metavar='DIR', help='network; untrained weights by default, which are as fast')
    parser.add_argument('--python', metavar='FILE', default=os.path.join(ROOT, '.venv-bench', 'bin', 'python'),
                        help='the Python with PyTorch and ONNX Runtime (.venv-bench/bin/python)')
    parser.add_argument('--threads', type=positive, metavar='N', help='of each contestant (all cores)')
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
        contestants = []
        for name, (script, title) in CONTESTANTS.items():
            if script == 'ours' or has_torch:
                python, script = ((sys.executable, __file__) if script == 'ours' else
                                  (options.python, os.path.join(os.path.dirname(os.path.abspath(__file__)), script)))
                contestants.append(Contestant(name, title, [python, script, name, network, image], threads))
        try:
            compete([contestant for contestant in contestants if contestant.is_ready()],
                    options.turns or (3 if options.quick else 7))
        finally:
            for contestant in contestants:
                contestant.end()
        cost_of_command(network, SIZES[:1] if options.quick else SIZES)


class Contestant:
    """A process of contestant.py: `seconds` of its turns, and the picture that it made of the image."""

    def __init__(self, name, title, command, threads):
        self.name, self.title, self.seconds = name, title, []
        self.result = '%s.%s.npy' % (command[-1], name)
        self.process = subprocess.Popen(
            command + [self.result], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            universal_newlines=True, env=dict(os.environ, OMP_NUM_THREADS=str(threads)))

    def is_ready(self):
        """Wait until it is; say so where it ended instead."""
        if self.process.stdout.readline() == 'ready\n':
            self.picture = np.load(self.result)
            return True
        lines = self.process.communicate()[1].strip().splitlines()
        print('%s is left out: %s' % (self.title, lines[-1] if lines else 'it ended'))
        return False

    def turn(self):
        self.process.stdin.write('\n')
        self.process.stdin.flush()
        self.seconds.append(float(self.process.stdout.readline()))

    def end(self):
        self.process.kill()
        self.process.communicate()


def compete(contestants, turns):
    """Let them take turns, and print the table. Raises RunError where one made another picture than the first."""
    for _ in range(turns):
        for contestant in contestants:
            time.sleep(PAUSE)
            contestant.turn()
    medians = {contestant.name: float(np.median(contestant.seconds)) for contestant in contestants}
    columns = [name for name in ('fp32', 'int8') if name in medians]
    print('%-44s %8s  %-17s %s' % ('median of %d turns' % turns, 'seconds', 'fastest - slowest', ' '.join(
        'x of %s' % name for name in columns)))
    different = []
    for contestant in contestants:
        print('%-44s %8.3f  %7.3f - %-7.3f %s' % (
            contestant.title, medians[contestant.name], min(contestant.seconds), max(contestant.seconds), ' '.join(
                '%9.2f' % (medians[contestant.name] / medians[name]) for name in columns)))
        if psnr(contestant.picture, contestants[0].picture) < ALIKE.get(contestant.name, ALIKE_FP32):
            different.append(contestant.title)
    if different:
        raise RunError('not the same picture: %s' % ', '.join(different))


def cost_of_command(network, sizes):
    """Print what tiles, reading and writing add to the engine's own time, and the time a pixel by size."""
    import engine
    import picture
    import upscale
    model = engine.load(network)
    own = []
    enlarge = model.enlarge

    def timed(*args, **kwargs):
        start = time.perf_counter()
        values = enlarge(*args, **kwargs)
        own.append(time.perf_counter() - start)
        return values

    model.enlarge = timed
    print('%-44s %8s  %7s  %s' % ('upscale.py, %s, from PNG to PNG' % model.precision, 'seconds', 'engine',
                                  'microseconds a pixel'))
    folder = os.path.dirname(network)
    source, destination = [os.path.join(folder, name) for name in ('source.png', 'destination.png')]
    model.enlarge(np.zeros((64, 64, 3), np.float32))
    for width, height in sizes:
        Image.fromarray(photograph(height, width)).save(source)
        del own[:]
        start = time.perf_counter()
        read = picture.read_picture(source)
        with open(destination, 'wb') as file:
            picture.write_picture(file, upscale.strips(read, model), (4 * width, 4 * height), read, '.png')
        seconds = time.perf_counter() - start
        print('%-44s %8.3f  %7.3f  %.2f' % ('%d x %d, %.1f megapixels' % (width, height, width * height / 1e6), seconds,
                                            sum(own), 1e6 * seconds / (width * height)), flush=True)


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

"""What every command of this project shares: its errors and exit codes, its threads and its device."""
import argparse
import contextlib
import io
import math
import os
import signal
import sys
import threading
import types


class UsageError(ValueError):
    """The user's mistake: one line that says what, which file or option, and what to do. Exit code 2."""


class RunError(Exception):
    """The run failed through no mistake in what was asked: one line. Exit code 1."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are UsageErrors."""

    def error(self, message):
        raise UsageError('%s; `python %s --help` lists the options' % (message, self.prog))


def number(convert, least, words, below=math.inf):
    """A type for argparse: convert(text), at least `least` and below `below`, named `words` in its error."""
    def parse(text):
        try:
            value = convert(text)
        except ValueError:
            value = None
        if value is None or not least <= value < below:
            raise argparse.ArgumentTypeError('%s is not %s' % (text, words))
        return value
    return parse


natural = number(int, 0, 'a whole number of at least 0')
positive = number(int, 1, 'a whole number of at least 1')
amount = number(float, 1e-12, 'a number above 0')


def run(main, argv=None):
    """Call main(argv) as a command and return its exit code; people get one line in place of a traceback."""
    try:
        return main(sys.argv[1:] if argv is None else argv) or 0
    except UsageError as error:
        return complain(error, 2)
    except RunError as error:
        return complain(error, 1)
    except OSError as error:
        where = ' %s' % error.filename if error.filename else ''
        return complain('%s:%s' % (error.strerror or error, where), 1)
    except KeyboardInterrupt:
        return complain('stopped', 130)


def complain(message, exit_code):
    """Say what is wrong; -> exit_code."""
    sys.stdout.flush()
    print('error: %s' % message, file=sys.stderr)
    return exit_code


class StopSignals:
    """While it is entered, Ctrl-C and SIGTERM ask for an orderly stop: `received` is then the signal's number.

    A second one ends the process at once. Python's own handlers wait until the Executor returns, so a thread
    listens at the pipe into which the interpreter writes each signal as it comes.
    """

    def __enter__(self):
        self.received = None
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        self.pipe = reader, writer
        self.earlier = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
        signal.set_wakeup_fd(writer)
        threading.Thread(target=self.listen, daemon=True).start()
        return self

    def listen(self):
        for number in iter(lambda: os.read(self.pipe[0], 1), b''):
            if self.received:
                os._exit(128 + self.received)
            self.received = number[0]
            print('\nstopping after this update; once more stops at once', file=sys.stderr)

    def __exit__(self, *_):
        signal.set_wakeup_fd(-1)
        for number, handler in self.earlier.items():
            signal.signal(number, handler)
        os.close(self.pipe[1])


def import_paddle(threads=None):
    """Import Paddle so that it computes with `threads` threads (default: all cores that this process may use).

    OpenMP reads its number once, when Paddle's library is loaded, so this comes before any other import of
    paddle. Paddle's own default is one thread, and it prints a warning about any other number. On a GPU it takes
    memory as it needs it and not 92 % of the card at once, and tries out cuDNN's algorithms for each convolution.
    At its first Executor it would lock 500 MB of memory, which a run then holds for nothing and waits for.
    A third of its import would be nltk's and SciPy's statistics', for a data set of film reviews.
    """
    if 'paddle' in sys.modules:
        return
    threads = threads or len(os.sched_getaffinity(0))
    os.environ['OMP_NUM_THREADS'] = os.environ['FLAGS_paddle_num_threads'] = str(threads)
    for name, value in (('GLOG_minloglevel', '2'), ('FLAGS_allocator_strategy', 'auto_growth'),
                        ('FLAGS_cudnn_exhaustive_search', '1'), ('FLAGS_conv_workspace_size_limit', '1024'),
                        ('FLAGS_use_pinned_memory', '0'), ('FLAGS_rpc_deadline', '600000'),
                        ('FLAGS_rpc_disable_reuse_port', '1')):
        os.environ.setdefault(name, value)
    try:
        with silent_stderr(), without('paddle.dataset.sentiment'):
            import paddle.fluid  # noqa: F401
    except ImportError as error:
        if '.so' in str(error):
            raise UsageError('OpenCV, which Paddle imports, lacks a system library (%s); on Debian and Ubuntu: '
                             'apt-get install libsm6 libxext6 libxrender1 libglib2.0-0 libgomp1' % error)
        raise UsageError('paddlepaddle 1.8.5 does not import here (%s); `make setup` installs it' % error)


@contextlib.contextmanager
def without(module):
    """Have an import that others make find nothing in a module; who imports it later has it as it is."""
    sys.modules[module] = types.ModuleType(module)
    try:
        yield
    finally:
        del sys.modules[module]


@contextlib.contextmanager
def silent_stderr():
    """Swallow what is written to the standard error output, by libraries in C too."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def choose_place(device):
    """The fluid place for --device auto, cpu or gpu.

    An Executor on a CUDAPlace that is not there ends the whole process without an exception, so the wheel and
    the driver are asked first.
    """
    import paddle.fluid as fluid
    has_gpu = fluid.core.is_compiled_with_cuda() and fluid.core.get_cuda_device_count() > 0
    if device == 'gpu' and not has_gpu:
        reason = ('this Paddle sees no GPU' if fluid.core.is_compiled_with_cuda()
                  else 'this Paddle is the CPU wheel; `make setup GPU=1` installs the other')
        raise UsageError('--device gpu: %s; use --device cpu or auto' % reason)
    # Paddle's launcher gives each process a GPU of its own.
    own = int(os.environ.get('FLAGS_selected_gpus', 0))
    return fluid.CUDAPlace(own) if has_gpu and device != 'cpu' else fluid.CPUPlace()

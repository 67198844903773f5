"""Paddle as this project uses it: `from paddle_setup import fluid` takes the place of Paddle's own import.

It imports Paddle quietly, with the flags that must be set before that, and lets it compute with all cores.
"""
import contextlib
import io
import os
import sys
import types

from cli.command import UsageError, complain

# Read once, when Paddle's library is loaded. On a GPU it takes memory as it needs it and not 92 % of the card at once,
# and tries out cuDNN's algorithms for each convolution. Without pinned memory: its first Executor would lock 500 MB,
# which a run then holds for nothing and waits for. A server is given up after ten minutes without a word.
FLAGS = {'GLOG_minloglevel': '2', 'FLAGS_allocator_strategy': 'auto_growth', 'FLAGS_cudnn_exhaustive_search': '1',
         'FLAGS_conv_workspace_size_limit': '1024', 'FLAGS_use_pinned_memory': '0', 'FLAGS_rpc_deadline': '600000',
         'FLAGS_rpc_disable_reuse_port': '1'}


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


@contextlib.contextmanager
def without(module):
    """Have an import that others make find nothing in a module. Whoever imports it later has it as it is."""
    sys.modules[module] = types.ModuleType(module)
    try:
        yield
    finally:
        del sys.modules[module]


def import_paddle():
    """paddle.fluid. If it cannot be imported, the process ends with one line that says what to install.

    A third of the time that the import takes would be nltk's and SciPy's statistics', for a data set of film reviews.
    """
    for name, value in FLAGS.items():
        os.environ.setdefault(name, value)
    try:
        with silent_stderr(), without('paddle.dataset.sentiment'):
            import paddle.fluid
    except ImportError as error:
        if '.so' in str(error):
            line = ('OpenCV, which Paddle imports, lacks a system library (%s); on Debian and Ubuntu: '
                    'apt-get install libsm6 libxext6 libxrender1 libglib2.0-0 libgomp1' % error)
        else:
            line = 'paddlepaddle 1.8.5 does not import here (%s); `make setup` installs it' % error
        sys.exit(complain(line, 2))
    return paddle.fluid


def set_threads(threads=None):
    """Compute with so many threads from here on, whatever OMP_NUM_THREADS says; all cores by default.

    A convolution that has run already keeps the number that it had then, for inputs of that shape.
    """
    fluid.core.set_num_threads(threads or len(os.sched_getaffinity(0)))


def choose_place(device):
    """The fluid place for --device auto, cpu or gpu. Raises UsageError if there is no GPU for gpu.

    An Executor on a CUDAPlace that is not there ends the whole process without an exception, so the wheel and
    the driver are asked first.
    """
    has_gpu = fluid.core.is_compiled_with_cuda() and fluid.core.get_cuda_device_count() > 0
    if device == 'gpu' and not has_gpu:
        reason = ('this Paddle sees no GPU' if fluid.core.is_compiled_with_cuda()
                  else 'this Paddle is the CPU wheel; `make setup GPU=1` installs the other')
        raise UsageError('--device gpu: %s; use --device cpu or auto' % reason)
    # Paddle's launcher gives each process a GPU of its own.
    own = int(os.environ.get('FLAGS_selected_gpus', 0))
    return fluid.CUDAPlace(own) if has_gpu and device != 'cpu' else fluid.CPUPlace()


fluid = import_paddle()
set_threads()

"""The import of Paddle: write `from cli.paddle_setup import fluid` instead of `from paddle import fluid`.

It sets the flags that Paddle reads when it is loaded, imports it without its messages, and gives it all cores.
"""
import contextlib
import gc
import importlib
import os
import re
import sys
import types
import warnings

from cli.command import UsageError, complain, end_without_opencv, silent_stderr

# Paddle reads these flags once, when its library is loaded. On a GPU it then allocates memory as needed instead of 92 %
# of the card at once, and tries cuDNN's algorithms for each convolution. Pinned memory is off, because the first
# Executor would lock 500 MB, which takes time and serves no purpose here. A trainer gives a parameter server up after
# ten minutes without an answer.
FLAGS = {'GLOG_minloglevel': '2', 'FLAGS_allocator_strategy': 'auto_growth', 'FLAGS_cudnn_exhaustive_search': '1',
         'FLAGS_conv_workspace_size_limit': '1024', 'FLAGS_use_pinned_memory': '0', 'FLAGS_rpc_deadline': '600000',
         'FLAGS_rpc_disable_reuse_port': '1'}
# Paddle's MKL, of 2019, takes its code for SSE on a processor that is not Intel's; 5 is its code for AVX2. Matrix
# products, and with them Paddle's own convolutions, then take a third of the time.
MKL_AVX2 = {'MKL_DEBUG_CPU_TYPE': '5'}
CPUINFO = '/proc/cpuinfo'

# What Paddle imports and this project does not need, more than half of the time of its import: the data sets import
# requests, nltk and SciPy's statistics, and start a second Python to try OpenCV; slim imports SciPy's optimisation.
UNUSED = ('paddle.dataset', 'paddle.dataset.common', 'paddle.fluid.contrib.slim')


class Later(types.ModuleType):
    """Stands for a module, which is imported when something of it is first used."""

    __all__ = ()

    def __getattr__(self, name):
        if sys.modules.get(self.__name__) is self:
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


@contextlib.contextmanager
def imported_later(names):
    """A context for an import that imports these modules too: they are imported when they are first used instead.

    Those that are imported already stay as they are.
    """
    modules = {name: Later(name) for name in names if name not in sys.modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in modules.items():
            del sys.modules[name]
            parent, _, own_name = name.rpartition('.')
            if parent in sys.modules:
                setattr(sys.modules[parent], own_name, module)


def import_paddle():
    """Return paddle.fluid. If the import fails, end the process with one line that says what to install."""
    for name, value in {**FLAGS, **(MKL_AVX2 if mkl_takes_sse() else {})}.items():
        os.environ.setdefault(name, value)
    # Otherwise an eighth of the import's time goes into looking for garbage, of which there is none.
    collects = gc.isenabled()
    gc.disable()
    try:
        with silent_stderr(), imported_later(UNUSED):
            import paddle.fluid
    except ImportError as error:
        # Paddle imports OpenCV.
        if '.so' in str(error):
            end_without_opencv(error)
        sys.exit(complain('paddlepaddle 1.8.5 does not import here (%s); `make setup` installs it' % error, 2))
    finally:
        if collects:
            gc.enable()
    # The Executor says so before it raises an exception, which then says more.
    warnings.filterwarnings('ignore', 'The following exception is not an EOF exception')
    return paddle.fluid


def processor():
    """What Linux says of the first processor, {field: value}; {} if there is no such file."""
    try:
        with open(CPUINFO, encoding='utf-8', errors='replace') as file:
            return dict(re.findall(r'^([\w ]+?)\s*: (.*)$', file.read().split('\n\n')[0], re.MULTILINE))
    except OSError:
        return {}


def mkl_takes_sse():
    """Whether MKL takes its code for SSE here, though the processor has AVX2."""
    found = processor()
    return found.get('vendor_id') != 'GenuineIntel' and 'avx2' in found.get('flags', '').split()


def set_threads(threads=None):
    """Compute with `threads` threads from now on, whatever OMP_NUM_THREADS says; with all cores by default.

    A convolution that has already run keeps its number of threads for inputs of the same shape.
    """
    fluid.core.set_num_threads(threads or len(os.sched_getaffinity(0)))


def choose_place(device):
    """Return the fluid place for --device auto, cpu or gpu. Raises UsageError if gpu is asked for and there is none.

    An Executor on a CUDAPlace without a GPU ends the whole process without an exception, so the wheel and the driver
    are asked first.
    """
    has_gpu = fluid.core.is_compiled_with_cuda() and fluid.core.get_cuda_device_count() > 0
    if device == 'gpu' and not has_gpu:
        reason = ('this Paddle sees no GPU' if fluid.core.is_compiled_with_cuda()
                  else 'this Paddle is the CPU wheel; `make setup GPU=1` installs the GPU wheel')
        raise UsageError('--device gpu: %s; use --device cpu or auto' % reason)
    # Paddle's launcher gives each process a GPU of its own.
    own = int(os.environ.get('FLAGS_selected_gpus', 0))
    return fluid.CUDAPlace(own) if has_gpu and device != 'cpu' else fluid.CPUPlace()


fluid = import_paddle()
set_threads()

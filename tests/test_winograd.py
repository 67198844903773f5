"""Winograd's algorithm in place of direct convolutions: where it is used, and how exact it is.

    python tests/test_winograd.py SHAPE|interrupted

runs a convolution of a shape forwards and backwards, so that oneDNN can tell by which algorithm it computes.
"""
import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

if __name__ == '__main__':
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from cli.paddle_setup import fluid, processor
from cpu import winograd

# (pictures, channels, filters, height, width, stride)
SHAPES = {'whole blocks': (2, 32, 48, 13, 18, 1), 'one pixel': (1, 16, 16, 1, 1, 1),
          'few channels': (2, 3, 16, 12, 12, 1), 'few filters': (2, 16, 12, 12, 12, 1),
          'strides': (2, 16, 16, 12, 12, 2)}
PASSES = ['forward_training', 'backward_weights', 'backward_data']


def convolution(shape, by_onednn):
    """A 3 x 3 convolution's output, and the gradients of a weighted sum of it by its input and by its filters."""
    pictures, channels, filters, height, width, stride = shape
    rng = np.random.RandomState(0)
    program, startup, scope = fluid.Program(), fluid.Program(), fluid.Scope()
    with fluid.program_guard(program, startup), fluid.unique_name.guard():
        x = fluid.data('x', [pictures, channels, height, width])
        x.stop_gradient = False
        weight = rng.normal(0, 1 / np.sqrt(9 * channels), (filters, channels, 3, 3)).astype(np.float32)
        out = fluid.layers.conv2d(x, filters, 3, stride, 1, bias_attr=False, param_attr=fluid.ParamAttr(
            'weight', fluid.initializer.NumpyArrayInitializer(weight)))
        if by_onednn:
            op = program.global_block().ops[-1]
            op._set_attr('use_mkldnn', True)
            op._set_attr('data_format', 'AnyLayout')
        factors = fluid.data('factors', out.shape)
        loss = fluid.layers.reduce_sum(out * factors)
        gradients = fluid.gradients([loss], [x, program.global_block().var('weight')])
    exe = fluid.Executor(fluid.CPUPlace())
    exe.run(startup, scope=scope)
    feed = {one.name: rng.normal(size=one.shape).astype(np.float32) for one in (x, factors)}
    return exe.run(program, feed, [out, *gradients], scope=scope)


needs_avx512 = pytest.mark.skipif('avx512bw' not in processor().get('flags', '').split(),
                                  reason="oneDNN's Winograd needs AVX-512")


@needs_avx512
@pytest.mark.parametrize('name, passes', [(name, PASSES if name in ('whole blocks', 'one pixel') else [])
                                          for name in SHAPES])
def test_is_used_for_whole_blocks_of_channels_and_stride_1(name, passes):
    told = subprocess.run([sys.executable, __file__, name], check=True, stdout=subprocess.PIPE, universal_newlines=True,
                          env=dict(os.environ, DNNL_VERBOSE='1')).stdout
    assert len(re.findall(r'exec,cpu,convolution,', told)) == len(PASSES)
    assert re.findall(r'exec,cpu,convolution,jit_wino_4x3:avx512_core,(\w+),', told) == passes


@pytest.mark.parametrize('name', SHAPES)
def test_is_the_direct_convolution(name):
    winograd.enable()
    for direct, found in zip(*[convolution(SHAPES[name], by_onednn) for by_onednn in (False, True)]):
        assert np.abs(direct).max() > 0
        assert np.abs(found - direct).max() <= 5e-6 * np.abs(direct).max()


def interrupted():
    """Ctrl-C while a convolution is described, and what follows."""
    def look(address):
        winograd.MemoryDescriptor = descriptor
        os.kill(os.getpid(), signal.SIGINT)
        return descriptor.from_address(address)

    descriptor = winograd.MemoryDescriptor
    winograd.MemoryDescriptor = SimpleNamespace(from_address=look)
    shape = SHAPES['one pixel']
    found = convolution(shape, True)
    assert np.allclose(found[0], convolution(shape, False)[0], atol=1e-5)
    print('computed', flush=True)
    time.sleep(5)


def test_ctrl_c_while_a_convolution_is_described_comes_when_paddle_has_returned():
    result = subprocess.run([sys.executable, __file__, 'interrupted'], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            universal_newlines=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    assert result.stdout == 'computed\n' and result.stderr.endswith('KeyboardInterrupt\n')


def test_another_paddle_stays_as_it_is(monkeypatch):
    """Without the library that has the table, such as Paddle's for processors without AVX."""
    monkeypatch.delitem(sys.modules, 'paddle.fluid.core_avx')
    assert winograd.enable.__wrapped__() == []


if __name__ == '__main__':
    winograd.enable()
    if sys.argv[1] in SHAPES:
        convolution(SHAPES[sys.argv[1]], True)
    else:
        interrupted()

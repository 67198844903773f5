"""The rewrites for the CPU: which operations get them, and that they change no number."""
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, megabytes

import layers
import programs
import srgan_d
import srgan_g
import vgg19
from cli.command import RunError
from cli.paddle_setup import fluid
from cpu import memory, training_graph
from losses import Objective
from storage import persistables

# Enough pictures and places for the rounding errors of normalised gradients to be small.
CROP, BATCH = 64, 8


@pytest.fixture
def full_blocks(monkeypatch):
    """Small networks whose channels fill oneDNN's blocks, as those of the whole ones do."""
    monkeypatch.setattr(srgan_g, 'RESIDUAL_BLOCKS', 2)
    monkeypatch.setattr(srgan_g, 'FILTERS', 16)
    monkeypatch.setattr(srgan_d, 'FILTERS', 16)
    monkeypatch.setattr(vgg19, 'FILTERS', (16, 16, 16, 16, 16))


def is_marked(op):
    return op.has_attr('use_mkldnn') and op.attr('use_mkldnn')


def one_step(name, on_cpu, feed):
    """(losses, {variable: value}, program) of a step from values that the seed decides, no bias of them zero."""
    built = programs.build(CROP, Objective('pool5', 1e-3), 3, programs.AdamOptions(on_cpu))
    exe, scope, step = fluid.Executor(fluid.CPUPlace()), fluid.Scope(), getattr(built, name)
    exe.run(built.startup, scope=scope)
    rng = np.random.RandomState(1)
    for kept in [step.persistables for step in (built.d, built.g)]:
        for variable in kept:
            value = persistables.get_variable(scope, variable)
            if variable.startswith('vgg19_') and value.ndim == 4:
                value = rng.normal(0, np.sqrt(2 / np.prod(value.shape[1:])), value.shape)
            elif variable.endswith(('.b_0', '.b_1', '_offset')):
                value = rng.normal(0, 0.2, value.shape)
            persistables.set_variable(scope, variable, value.astype(np.float32))
    persistables.set_variable(scope, programs.LEARNING_RATE, np.array([1e-3], np.float32))
    losses = step.run(exe, scope, feed)
    return losses, {name: persistables.get_variable(scope, name) for name in step.persistables}, step.program


def test_a_convolution_of_a_small_map_with_another_padding_stays_one():
    """LPIPS's first one, of the generated and the real picture: a matrix product would pad as D's do."""
    step = programs.build(32, Objective('lpips', 1e-3), 3, programs.AdamOptions(True)).g
    assert sum(op.type == 'conv2d' and op.input('Filter') == ['conv0.w_0'] and op.attr('paddings') == [2, 2]
               for op in step.program.global_block().ops) == 2


@pytest.mark.parametrize('name', ['init_g', 'd', 'g'])
def test_a_step_is_that_of_the_plain_graph(name, full_blocks):
    """Losses, gradients, and what the step leaves: weights, and statistics that have seen the frozen biases.

    If rounding changes the sign of one activation, the gradients of all layers before it differ by far more than
    rounding. How often that happens depends on the processor, so one of several feeds must do.
    """
    for seed in range(4, 10):  # From the first one with which Zen 3 agrees.
        rng = np.random.RandomState(seed)
        feed = {name: rng.uniform(-1, 1, (BATCH, side, side, 3)).astype(np.float32) for name, side in (
            ('t_image', CROP // 4), ('t_target_image', CROP), ('vgg19_input', 224))}
        (losses, plain, _), (fast_losses, fast, program) = [one_step(name, on_cpu, feed) for on_cpu in (False, True)]
        assert fast_losses == {loss: pytest.approx(value, rel=1e-5) for loss, value in losses.items()}
        gradients = {variable: value / 0.1 for variable, value in plain.items() if '_%s_moment1' % name in variable}
        largest = max(np.abs(gradient).max() for gradient in gradients.values())
        off = {moment: np.abs(fast[moment] / 0.1 - gradient).max() for moment, gradient in gradients.items()}
        if max(off.values()) <= 5e-5 * largest:
            break
    assert max(off.values()) <= 5e-5 * largest, off
    moved = 0
    for moment, gradient in gradients.items():
        weight = moment[:moment.index('_%s_moment1' % name)]
        # Adam's first step has the gradient's sign alone, and one of a rounding error has any.
        sure = np.abs(gradient) > 1e-3 * largest
        moved += sure.sum()
        assert np.allclose(fast[weight][sure], plain[weight][sure], rtol=1e-5, atol=1e-6), weight
    assert moved > 100
    for variable in set(plain) - set(gradients):
        if variable.endswith(('.w_1', '.w_2', '.w_4', '.w_5')) and 'moment' not in variable:
            assert np.allclose(fast[variable], plain[variable], rtol=1e-5, atol=1e-6), variable
    # G's two shuffles, which each program has.
    assert sum(op.type == 'transpose2' and is_marked(op) for op in program.global_block().ops) == 2
    convolutions = [op for op in program.global_block().ops if op.type == 'conv2d']
    assert all(is_marked(op) for op in convolutions)
    # D's from 8 x 8 to 4 x 4, of real and of generated pictures, does not pay for it.
    in_nchw = [op for op in convolutions if op.attr('data_format') == 'NCHW']
    assert {op.input('Filter')[0] for op in in_nchw} <= {'h3/c.w_0', 'res/c3.w_0'}
    if name == 'g':
        # VGG19's last pooling is read by the content loss.
        pools = [is_marked(op) for op in program.global_block().ops if op.type == 'pool2d']
        assert pools == 2 * [True, True, True, True, False]


def following(filters, op_type, bias_is_frozen=True, read_by=None):
    """The operations that for_cpu leaves of a convolution with `filters`, its bias, and what follows them."""
    program = fluid.Program()
    with fluid.program_guard(program, fluid.Program()), fluid.unique_name.guard():
        n = layers.conv2d(fluid.data('image', [None, 16, 8, 8]), filters, 3, 'c', 0.1, normalised=bias_is_frozen)
        if op_type == 'batch_norm':
            layers.batch_norm(n, 'bn')
        else:
            n = getattr(fluid.layers, op_type)(n, **({'pool_size': 2} if op_type == 'pool2d' else {}))
        if read_by:
            layers.conv2d(n, 16, 3, 'd', 0.1, normalised=True)
            getattr(fluid.layers, read_by)(n)
    training_graph.for_cpu(program)
    return program.global_block().ops


@pytest.mark.parametrize('op_type', ['relu', 'leaky_relu', 'pool2d'])
def test_what_follows_a_convolution_stays_in_its_layout_where_the_blocks_are_full(op_type):
    """oneDNN writes whole blocks, and Paddle gives a map the memory of its own channels."""
    assert [(op.type, is_marked(op)) for op in following(32, op_type)] == [('conv2d', True), (op_type, True)]
    assert [(op.type, is_marked(op)) for op in following(24, op_type)] == [('conv2d', True), (op_type, False)]


def test_what_other_operations_read_too_is_left_to_paddle():
    """Its gradient comes in their layout, and oneDNN is slow if that of the map is another one."""
    for read_by, marked in (('leaky_relu', True), ('reduce_mean', False)):
        ops = following(32, 'relu', read_by=read_by)
        assert [op.type for op in ops] == ['conv2d', 'relu', 'conv2d', read_by] and is_marked(ops[1]) is marked


def test_memory_that_is_not_there_is_refused():
    told = subprocess.run(
        [sys.executable, '-c', 'import numpy; from cpu import memory; left = memory.limit_to_available(); '
         'numpy.empty(left // 2, numpy.uint8); print(left); numpy.empty(left + 2 ** 30, numpy.uint8)'],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert 0 < int(told.stdout) < 2 ** 40
    assert told.returncode and 'MemoryError' in told.stderr.splitlines()[-1]


@pytest.mark.parametrize('error', [MemoryError(), fluid.core.EnforceNotMet('Error: Alloc 524288000 error!')])
def test_too_little_memory_is_said_of_what(error):
    with pytest.raises(RunError, match='too little memory for a cat'), memory.memory_for('a cat'):
        raise error
    with pytest.raises(fluid.core.EnforceNotMet), memory.memory_for('a cat'):
        raise fluid.core.EnforceNotMet('Error: shapes differ')


def test_a_container_has_no_more_memory_than_its_limit(tmp_path, monkeypatch):
    """What it has taken counts, but for copies of files, which Linux gives up."""
    limit, taken, limits = tmp_path / 'memory.max', tmp_path / 'memory.current', []
    nowhere = str(tmp_path / 'nowhere')
    monkeypatch.setattr(memory, 'CONTAINERS', ((str(limit), str(taken)), (nowhere, nowhere)))
    monkeypatch.setattr(memory.resource, 'setrlimit', lambda _, pair: limits.append(pair[0]))
    (tmp_path / 'memory.stat').write_text('anon 650000\ninactive_file 200000\nactive_file 50000\n')
    taken.write_text('900000\n')
    for most, left in (('1000000', 350000), ('500000', 0)):
        limit.write_text(most + '\n')
        assert memory.limit_to_available() == left
    limit.write_text('max\n')
    assert memory.limit_to_available() > 1000000 and limits[0] < limits[2]
    limit.write_text('1000000\n')
    (tmp_path / 'memory.stat').unlink()
    assert memory.limit_to_available() > 1000000


def test_memory_of_zeros_is_given_back_and_they_stay_zero():
    startup, scope = fluid.Program(), fluid.Scope()
    with fluid.program_guard(fluid.Program(), startup):
        for name, value in (('zeros', 0.0), ('ones', 1.0)):
            fluid.layers.create_global_var([10000001], value, 'float32', persistable=True, name=name)
    fluid.Executor(fluid.CPUPlace()).run(startup, scope=scope)
    before = megabytes()
    memory.give_back_zeros(scope, startup)
    assert 35 < before - megabytes() < 45
    assert not persistables.get_variable(scope, 'zeros').any() and (persistables.get_variable(scope, 'ones') == 1).all()
    persistables.set_variable(scope, 'zeros', np.full(10000001, 2, np.float32))
    assert (persistables.get_variable(scope, 'zeros') == 2).all()


def test_normalisation_is_not_onednns():
    """Its gradients of scale and shift would be zero."""
    assert [(op.type, is_marked(op)) for op in following(32, 'batch_norm')] == [('conv2d', True), ('batch_norm', False)]


def test_a_bias_that_is_trained_stays_an_operation_and_a_frozen_one_does_not():
    trained, frozen = following(32, 'relu', bias_is_frozen=False), following(32, 'relu')
    assert [op.type for op in trained] == ['conv2d', 'fill_constant', 'affine_channel', 'relu']
    assert not is_marked(trained[3])
    assert frozen[0].input('Bias') == ['c.b_0']

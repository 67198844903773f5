"""What several trainers on GPUs run, built and inspected with Paddle's GPU wheel, which has NCCL's operators.

Where that wheel is not installed these tests are skipped; `make test-gpu-wheel` installs it and runs them. Nothing here
runs on a GPU.
"""
import pytest

import programs
import srgan_d
import srgan_g
import vgg19
from cli.paddle_setup import fluid
from losses import Objective
from storage import persistables
from training import cluster

if not fluid.core.is_compiled_with_cuda():
    pytest.skip("NCCL's operators are in Paddle's GPU wheel alone: make test-gpu-wheel", allow_module_level=True)

ENDPOINTS = '127.0.0.1:6170,127.0.0.1:6171'
NETWORKS = {'init_g': 'G', 'd': 'D', 'g': 'G'}


@pytest.fixture(scope='module')
def built():
    """The programs of trainer 1 of two: trainer 0 would wait for the other one's port."""
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(srgan_g, 'RESIDUAL_BLOCKS', 2)
    monkeypatch.setattr(srgan_d, 'FILTERS', 2)
    monkeypatch.setattr(vgg19, 'FILTERS', (4, 4, 8, 8, 8))
    monkeypatch.setenv('PADDLE_TRAINER_ENDPOINTS', ENDPOINTS)
    monkeypatch.setenv('PADDLE_CURRENT_ENDPOINT', ENDPOINTS.split(',')[1])
    monkeypatch.setenv('PADDLE_TRAINER_ID', '1')
    yield programs.build(32, Objective('vgg22', 1e-3), 0, programs.AdamOptions(False, False, 1.0, cluster.MeanGradient))
    monkeypatch.undo()


def trained(step):
    """{parameter: gradient before it is clipped or scaled} of a program."""
    return {op.input('Param')[0]: op.input('Param')[0] + '@GRAD' for op in step.program.global_block().ops
            if op.type == 'adam'}


@pytest.mark.parametrize('name', NETWORKS)
def test_the_gradients_that_a_program_trains_by_are_reduced_and_no_others(name, built):
    step = getattr(built, name)
    operations = step.program.global_block().ops
    reduced = [op.input('X')[0] for op in operations if op.type == 'c_allreduce_sum']
    assert sorted(reduced) == sorted(trained(step).values())
    assert all(op.output('Out') == op.input('X') for op in operations if op.type == 'c_allreduce_sum')


@pytest.mark.parametrize('name', NETWORKS)
def test_a_gradient_is_whole_when_it_is_reduced_and_reduced_when_it_is_used(name, built):
    operations = getattr(built, name).program.global_block().ops
    for gradient in trained(getattr(built, name)).values():
        at = next(index for index, op in enumerate(operations)
                  if op.type == 'c_allreduce_sum' and op.input('X') == [gradient])
        role = fluid.core.op_proto_and_checker_maker.OpRole
        writers = [index for index, op in enumerate(operations) if gradient in op.output_arg_names
                   and op.attr('op_role') == int(role.Backward) and not op.type.startswith('c_')]
        readers = [index for index, op in enumerate(operations) if gradient in op.input_arg_names
                   and op.attr('op_role') == int(role.Optimize)]
        assert max(writers) < at < min(readers)


@pytest.mark.parametrize('name', NETWORKS)
def test_the_sum_is_a_mean(name, built):
    """The loss's gradient is divided by the number of trainers."""
    operations = getattr(built, name).program.global_block().ops
    scales = [op.attr('scale') for before, op in zip(operations, operations[1:])
              if op.type == 'scale' and before.type == 'fill_constant' and op.input('X') == before.output('Out')]
    assert scales == [0.5]


def test_one_communicator_is_made_and_all_start_from_trainer_0(built):
    operations = built.startup.global_block().ops
    types = [op.type for op in operations]
    assert types.count('c_gen_nccl_id') == types.count('c_comm_init') == 1
    sent = [op.input('X')[0] for op in operations if op.type == 'c_broadcast']
    assert all(op.attr('root') == 0 for op in operations if op.type == 'c_broadcast')
    parameters = [parameter.name for step in (built.init_g, built.d, built.g)
                  for parameter in step.program.all_parameters()]
    assert sorted(sent) == sorted(set(parameters))
    assert {'batch_norm_0.w_1', 'batch_norm_0.w_2', 'h1/bn.w_1', 'ho/fc2.w_0'} <= set(sent)
    first = {name: types.index('c_comm_init') for name in sent}
    assert all(operations[index].type.startswith('c_') or not set(operations[index].output_arg_names) & set(first)
               for index in range(types.index('c_comm_init'), len(types)))


def test_all_trainers_stop_with_the_same_update(built):
    """A trainer's wish is in the largest of all, which the last program of an update takes."""
    scope = fluid.Scope()
    trainer = cluster.Collective(built, fluid.Executor(fluid.CPUPlace()), scope)
    for step in (built.init_g, built.g):
        last = step.program.global_block().ops[-1]
        assert (last.type, last.input('X'), last.output('Out')) == ('c_allreduce_max', ['messages'], ['messages'])
    stop = trainer.agreed(type('Stop', (), {'received': None})())
    for name, array in stop.messages().items():
        persistables.set_variable(scope, name, array)
    assert stop.received is None
    persistables.set_variable(scope, 'messages', 1 + array)
    assert stop.received == 15

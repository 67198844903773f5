"""One run on several processes and machines, with Paddle's own engines: docs/distributed.md.

On CPUs `fluid.DistributeTranspiler` rewrites the three training programs for parameter servers. Every server keeps a
slice of each network, with Adam's moments for it. A trainer still has all of G and D in its scope, so trainer 0 alone
writes files. On GPUs NCCL averages the gradients, and every trainer updates its own copy of the networks.
"""
import contextlib
import ctypes
import os
import signal
import sys
import threading
import zlib

import numpy as np

import programs
from cli import command
from cli.command import UsageError
from cli.paddle_setup import fluid, silent_stderr
from recipes import RECIPE_SETTINGS
from storage import persistables
from training import settings as run_settings
from training.stages import STEPS

# Each program has its own servers. They listen at the port of --servers plus this number.
PORTS = {'init_g': 0, 'd': 100, 'g': 200}
# With each update a trainer sends two numbers: how many updates it has made, or DONE, which only servers look at, and
# whether it was asked to stop. ALL_MESSAGES is the sum, on GPUs the largest, of all trainers' messages of that update.
MESSAGE = 'message_%d'
DONE = -1
ALL_MESSAGES = 'messages'
# The variable with a server's checksums of the settings that all processes must share.
CHECKSUMS = 'checksums'


def checksums(settings, position):
    """{name: checksum} of the settings that all processes must share; `position`: the run's as a dict, or None."""
    names = [*RECIPE_SETTINGS, 'init_d', 'seed', 'd_updates', 'servers', 'trainers']
    values = {name: getattr(settings, name) for name in names}
    values['resume'] = [position[name] for name in ('stage', 'epoch', 'update')] if position else None
    return {name: zlib.crc32(repr(value).encode()) for name, value in values.items()}


def addresses(settings, name):
    """The addresses, 'HOST:PORT', of the servers of program `name`."""
    return ['%s:%d' % (host, int(port) + PORTS[name])
            for host, port in (server.rsplit(':', 1) for server in settings.servers)]


def transpiled(settings, built, name):
    """Rewrite program `name` of `built`, a Programs, for a trainer -> the DistributeTranspiler that did it."""
    in_plain_layout(getattr(built, name).program.global_block())
    transpiler = fluid.DistributeTranspiler()
    with silent_stderr():
        transpiler.transpile(settings.trainer_id, getattr(built, name).program, ','.join(addresses(settings, name)),
                             settings.trainers, startup_program=built.startup.clone())
    return transpiler


def rpc_deadline():
    """Seconds after which a process stops waiting for another process."""
    return int(os.environ['FLAGS_rpc_deadline']) / 1000


# Trainers on GPUs

def distribution(settings, on_cpu):
    """The wrapper that averages gradients over all GPU trainers; None if there is one trainer, or with servers.

    Raises UsageError if there are several trainers without servers and no GPU.
    """
    if settings.role or settings.trainers == 1:
        return None
    if on_cpu:
        raise UsageError('%d trainers without --role need GPUs, and there is none here; on CPUs use parameter '
                         'servers, with --role and --servers' % settings.trainers)
    return MeanGradient


class MeanGradient:
    """An optimizer that uses the mean of all trainers' gradients, computed by NCCL. All start from trainer 0's values.

    CompiledProgram.with_data_parallel would not do: it keeps its own copies of the variables, so one program would not
    see the updates of another.
    """

    def __init__(self, optimizer):
        from paddle.fluid.incubate.fleet.base.role_maker import PaddleCloudRoleMaker
        from paddle.fluid.incubate.fleet.collective import DistributedStrategy, fleet
        fleet.init(PaddleCloudRoleMaker(is_collective=True))
        strategy = DistributedStrategy()
        strategy.mode = 'collective'
        strategy.collective_mode = 'grad_allreduce'
        self.optimizer = fleet.distributed_optimizer(optimizer, strategy)

    def minimize(self, loss):
        # The startup program needs one communicator and one broadcast, not one for each program. Keep only those of the
        # last program, whose broadcast covers all variables.
        startup = fluid.default_startup_program().global_block()
        for index in reversed(range(len(startup.ops))):
            if startup.ops[index].type.startswith('c_'):
                startup._remove_op(index)
        with silent_stderr():
            self.optimizer.minimize(loss)


# Trainers

def join(settings, built, exe, scope, position):
    """Connect this process to the others of its run -> Alone, a Collective or a Trainer; `position`: see checksums."""
    if settings.role:
        return Trainer(settings, built, exe, scope, position)
    return Collective(built, exe, scope) if settings.trainers > 1 else Alone()


class Alone:
    """The only process of a run."""

    def agreed(self, stop):
        """Like the StopSignals `stop` of this process, but for all trainers together: an object with `received`."""
        return stop

    def messages(self):
        """{name: array} of the variables that tell the other processes about this one with the next update."""
        return {}

    def connected(self):
        """A context for what exchanges messages with the other processes."""
        return contextlib.nullcontext()

    def enter(self, stage):
        """Begin a stage."""

    def gather(self, stage):
        """Copy the stage's variables that only the servers have into the scope."""

    def leave(self):
        """Tell the other processes that this one is done."""


class StoppingTogether(Alone):
    """Trainers that stop together: each update tells every trainer whether any of them was asked to stop."""

    def __init__(self, scope):
        self.scope = scope
        self.stop = None

    def agreed(self, stop):
        self.stop = stop
        return self

    @property
    def received(self):
        """The signal that asks to stop, from the same update on for all trainers; None if no trainer has one."""
        asked = persistables.get_variable(self.scope, ALL_MESSAGES)[1]
        return (self.stop.received or signal.SIGTERM) if asked else None


class Collective(StoppingTogether):
    """A trainer on GPUs, with programs that MeanGradient has made."""

    def __init__(self, built, exe, scope):
        super().__init__(scope)
        startup = fluid.Program()
        for step in (built.init_g, built.g):
            with fluid.program_guard(step.program, startup):
                stop = fluid.layers.create_global_var([2], 0.0, 'float32', persistable=True, name=ALL_MESSAGES)
                fluid.layers.collective._c_allreduce(stop, stop, 'max', use_calc_stream=True)
        exe.run(startup, scope=scope)

    def messages(self):
        return {ALL_MESSAGES: np.array([0, self.stop.received is not None], np.float32)}


class Trainer(StoppingTogether):
    """A trainer in a run with parameter servers. It rewrites the programs `built` for them.

    Raises UsageError if the servers were started with other settings. From here on, if the connection to a server or
    another trainer is lost, the process ends with one line.
    """

    def __init__(self, settings, built, exe, scope, position):
        super().__init__(scope)
        self.settings = settings
        self.exe = exe
        self.updates = 0
        self.everywhere = [address for name in PORTS for address in addresses(settings, name)]
        self.parts = {}
        for name in PORTS:
            transpiler = transpiled(settings, built, name)
            self.add_message(transpiler.get_trainer_program(wait_port=False).global_block(), name)
            # One entry for each slice: the whole variable (origin), the slice, and the endpoint of its server.
            self.parts[name] = transpiler.vars_overview.distributed_vars
        persistables.set_variable(scope, ALL_MESSAGES, np.zeros(2, np.float32))
        self.lost = (
            'no answer from the servers %s for %d seconds, or a connection broke: a server or another trainer has '
            'ended, or an address is wrong; when all of them run again, `%s` goes on from the last save' % (
                ','.join(settings.servers), rpc_deadline(), run_settings.resume_command(settings)))
        line_for_abort(self.lost)
        self.compare(checksums(settings, position))
        # The servers answer this barrier when all trainers have reached it.
        self.run(scope, dict(type='fetch_barrier', inputs={'X': []}, outputs={'Out': []}, attrs={
            'endpoints': self.everywhere, 'trainer_id': settings.trainer_id}))

    def add_message(self, block, name):
        """Let each update send this trainer's message, and trainer 0's learning rate, and receive all messages."""
        where = addresses(self.settings, name)
        types = [op.type for op in block.ops]
        own = variable(block, MESSAGE % self.settings.trainer_id, [2])
        block._insert_op(types.index('fetch_barrier'), **receive([variable(block, ALL_MESSAGES, [2])], where[:1]))
        block._insert_op(types.index('send_barrier'), **send(own, self.everywhere))
        if self.settings.trainer_id == 0:
            block._insert_op(types.index('send_barrier'),
                             **send(variable(block, programs.RATES[name], [1]), where))

    def compare(self, mine):
        """Raise UsageError if a server has other settings; `mine`: this process's checksums."""
        for address in addresses(self.settings, 'init_g'):
            scope, program = fluid.Scope(), fluid.Program()
            kept = variable(program.global_block(), CHECKSUMS, [len(mine)], 'int64')
            self.run(scope, receive([kept], [address], barrier=False), program=program)
            theirs = persistables.get_variable(scope, CHECKSUMS)
            different = [run_settings.option(name) for name, ours, other in zip(mine, mine.values(), theirs)
                         if ours != other]
            if different or len(theirs) != len(mine):
                raise UsageError('the server at %s has other settings than this trainer: %s; start all processes with '
                                 'the same settings' % (address, ', '.join(different)))

    def messages(self):
        self.updates += 1
        asked = self.stop.received is not None
        return {MESSAGE % self.settings.trainer_id: np.array([self.updates, asked], np.float32)}

    def connected(self):
        return ending_when_lost(self.lost)

    def enter(self, stage):
        """Trainer 0 sends its networks and moments to the servers."""
        if self.settings.trainer_id == 0:
            for name in STEPS[stage]:
                self.exchange(name, ('Param', 'Optimizer'), give=True)

    def gather(self, stage):
        """Fetch Adam's moments, which only the servers update."""
        for name in STEPS[stage]:
            self.exchange(name, ('Optimizer',), give=False)

    def exchange(self, name, kinds, give):
        """Send this scope's variables to the servers of program `name` if `give`, else fetch them from there.

        kinds: 'Param', 'Optimizer' or both. A server has slices. The slices of one of Adam's moments have the same name
        on all servers, so each server gets its own scope here.
        """
        for address in addresses(self.settings, name):
            scope, program = fluid.Scope(), fluid.Program()
            block = program.global_block()
            parts = [part for part in self.parts[name] if part.endpoint == address and part.vtype in kinds]
            variables = [variable(block, part.slice.name, part.slice.shape) for part in parts]
            if give:
                for part in parts:
                    whole = persistables.get_variable(self.scope, part.origin.name)
                    persistables.set_variable(scope, part.slice.name, np.ascontiguousarray(whole[rows(part)]))
            self.run(scope, *[send(one, [address]) if give else receive([one], [address], barrier=False)
                              for one in variables], program=program)
            if not give:
                for part in parts:
                    whole = persistables.get_variable(self.scope, part.origin.name)
                    whole[rows(part)] = persistables.get_variable(scope, part.slice.name)
                    persistables.set_variable(self.scope, part.origin.name, whole)

    def leave(self):
        """Tell the servers that this trainer is done; they end when all trainers are."""
        scope, program = fluid.Scope(), fluid.Program()
        own = variable(program.global_block(), MESSAGE % self.settings.trainer_id, [2])
        persistables.set_variable(scope, own.name, np.array([DONE, 0], np.float32))
        self.run(scope, send(own, self.everywhere), program=program)

    def run(self, scope, *operations, program=None):
        """Run operations, each given as the keyword arguments of append_op, in `program`, which has their variables."""
        program = program or fluid.Program()
        for operation in operations:
            program.global_block().append_op(**operation)
        with self.connected():
            self.exe.run(program, scope=scope)


def rows(part):
    """The slice of rows of the whole variable that a server's part holds."""
    if not part.is_slice:
        return slice(None)
    first = part.offset // int(np.prod(part.origin.shape[1:]))
    return slice(first, first + part.slice.shape[0])


def variable(block, name, shape, dtype='float32'):
    return block.create_var(name=name, shape=shape, dtype=dtype, persistable=True)


def send(variable, endpoints):
    """The operation that sends a variable to the variables of the same name on servers."""
    return dict(type='send', inputs={'X': [variable] * len(endpoints)}, outputs={'Out': []},
                attrs={'epmap': endpoints})


def receive(variables, endpoints, barrier=True):
    """The operation that receives variables from those of the same name on servers; `barrier`: wait for the update."""
    return dict(type='recv', inputs={'X': []}, outputs={'Out': variables},
                attrs={'epmap': endpoints, 'with_barrier': barrier})


# Workarounds for Paddle

def in_plain_layout(block):
    """Convert the gradients of a block's weights to Paddle's own memory layout before they are sent.

    A convolution by oneDNN leaves the gradient of its weights in blocks of channels. Operations with a kernel, such as
    Adam, convert their inputs; `send` has no kernel and sends the bytes as they are. A `scale` by 1 converts them.
    """
    for gradient in [op.input('Grad')[0] for op in block.ops if op.type == 'adam']:
        producer = max(index for index, op in enumerate(block.ops) if gradient in op.output_arg_names)
        if block.ops[producer].type == 'conv2d_grad':
            variable = block.var(gradient)
            block._insert_op(producer + 1, type='scale', inputs={'X': variable}, outputs={'Out': variable},
                             attrs={'scale': 1.0})


# A broken connection ends a trainer in one of two ways, whichever is first: a thread of Paddle's prints a C++ stack
# trace and calls abort(), or the Executor, which waits for that thread, raises an exception. This lock is never
# released, so that the error is printed once.
ending = threading.Lock()


def end(line):
    """Print the error `line` and end the process with code 1."""
    ending.acquire()
    command.complain(line, 1)
    os._exit(1)


@contextlib.contextmanager
def ending_when_lost(line):
    """A context in which the process ends with the error `line` if the Executor says that a connection is lost."""
    try:
        yield
    except fluid.core.EnforceNotMet as error:
        if 'RPCClient' not in str(error):
            raise
        end(line)


def line_for_abort(line):
    """If Paddle aborts the process, hide its stack trace and end with the error `line`."""
    global kept_handler
    if sys.stderr.fileno() == 2:
        sys.stderr = os.fdopen(os.dup(2), 'w', buffering=1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    kept_handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda _: end(line))
    ctypes.CDLL(None).signal(signal.SIGABRT, kept_handler)

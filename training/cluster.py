"""One run on several processes and machines, by Paddle's own engines.

Each trainer computes the gradients of its part of every batch; their mean makes the update. With parameter servers
`fluid.DistributeTranspiler`, in its synchronous mode, has rewritten the three programs: every server keeps a slice of
each network with Adam's moments of it, takes the gradients, updates, and gives the weights back. A trainer has G, D
and their statistics in its scope all the same, so that files, samples and figures are made as on one machine, by
trainer 0 alone. On GPUs NCCL takes the mean of the gradients, and every trainer updates its own copy by it.
"""
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
import zlib

import numpy as np

import programs
from cli import command
from cli.command import RunError, UsageError
from cli.paddle_setup import fluid, silent_stderr
from recipes import RECIPE_SETTINGS
from storage import persistables
from training import settings as run_settings
from training.stages import STEPS

# A program has servers of its own: they listen at the port that --servers names, and at so many after it.
PORTS = {'init_g': 0, 'd': 100, 'g': 200}
# What a trainer tells the servers with each update: how many it has made, or DONE, and whether it is asked to stop.
MESSAGE, DONE = 'message_%d', -1
# The sum of all messages when the update was made: a trainer that is ahead has changed its own since.
ALL_MESSAGES = 'messages'
# The servers' checksums of what all processes must have in common.
CHECKSUMS = 'checksums'
STOP = {signal.SIGINT, signal.SIGTERM}
PR_SET_PDEATHSIG = 1


def checksums(settings, position):
    """{name: checksum} of what all processes of a run have in common; `position` is where it stands, or None."""
    names = [*RECIPE_SETTINGS, 'init_d', 'seed', 'warm_up', 'd_updates', 'label_smoothing', 'servers',
             'trainers']
    values = {name: getattr(settings, name) for name in names}
    values['resume'] = [position[name] for name in ('stage', 'epoch', 'update')] if position else None
    return {name: zlib.crc32(repr(value).encode()) for name, value in values.items()}


def addresses(settings, name):
    """Where the servers of the program `name` listen."""
    parts = [server.rsplit(':', 1) for server in settings.servers]
    return ['%s:%d' % (host, int(port) + PORTS[name]) for host, port in parts]


def transpiled(settings, built, name):
    """The DistributeTranspiler that has made a trainer's program of the program `name` of `built`, a Programs."""
    in_plain_layout(getattr(built, name).program.global_block())
    transpiler = fluid.DistributeTranspiler()
    with silent_stderr():
        transpiler.transpile(settings.trainer_id, getattr(built, name).program, ','.join(addresses(settings, name)),
                             settings.trainers, startup_program=built.startup.clone())
    return transpiler


def rpc_deadline():
    """Seconds after which a process gives up those that it waits for."""
    return int(os.environ['FLAGS_rpc_deadline']) / 1000


# Trainers on GPUs

def distribution(settings, on_cpu):
    """What makes an optimizer one over all trainers on GPUs; None where that is not what makes them a run.

    Raises UsageError without GPUs.
    """
    if settings.role or settings.trainers == 1:
        return None
    if on_cpu:
        raise UsageError('%d trainers without --role are for GPUs, and there is none here; on CPUs take parameter '
                         'servers, by --role and --servers' % settings.trainers)
    return MeanGradient


class MeanGradient:
    """An optimizer that goes by the mean of all trainers' gradients, taken by NCCL, and starts from trainer 0's values.

    Not by CompiledProgram.with_data_parallel, which keeps copies of the variables to itself: what one program has
    updated the next one would not see.
    """

    def __init__(self, optimizer):
        from paddle.fluid.incubate.fleet.base.role_maker import PaddleCloudRoleMaker
        from paddle.fluid.incubate.fleet.collective import DistributedStrategy, fleet
        fleet.init(PaddleCloudRoleMaker(is_collective=True))
        strategy = DistributedStrategy()
        strategy.mode, strategy.collective_mode = 'collective', 'grad_allreduce'
        self.optimizer = fleet.distributed_optimizer(optimizer, strategy)

    def minimize(self, loss):
        # One communicator and one broadcast do for all programs: the last, which knows all variables.
        startup = fluid.default_startup_program().global_block()
        for index in reversed(range(len(startup.ops))):
            if startup.ops[index].type.startswith('c_'):
                startup._remove_op(index)
        with silent_stderr():
            self.optimizer.minimize(loss)


# Trainers

def join(settings, built, exe, scope, position):
    """This process among those of its run, which stands at `position`: Alone, a Collective or a Trainer."""
    if settings.role:
        return Trainer(settings, built, exe, scope, position)
    return Collective(built, exe, scope) if settings.trainers > 1 else Alone()


class Alone:
    """A run's only process."""

    def agreed(self, stop):
        """What says, as a StopSignals, whether all trainers are to stop, where `stop` says it of this one."""
        return stop

    def messages(self):
        """{name: array} of what goes to the others with the next update."""
        return {}

    def enter(self, stage):
        """Begin a stage."""

    def gather(self, stage):
        """Bring the stage's variables that are elsewhere into the scope."""

    def leave(self):
        """The run is over."""


class StoppingTogether(Alone):
    """Trainers that stop together: with an update each says whether it is asked to, and hears whether one is."""

    def __init__(self, scope):
        self.scope, self.stop = scope, None

    def agreed(self, stop):
        self.stop = stop
        return self

    @property
    def received(self):
        """The signal that asks to stop, once all trainers know since the same update that one is asked to; or None."""
        return (self.stop.received or signal.SIGTERM) if self.asked() else None


class Collective(StoppingTogether):
    """This trainer among those on GPUs, whose programs MeanGradient has made."""

    def __init__(self, built, exe, scope):
        super().__init__(scope)
        startup = fluid.Program()
        for step in (built.init_g, built.g):
            with fluid.program_guard(step.program, startup):
                stop = fluid.layers.create_global_var([1], 0.0, 'float32', persistable=True, name=ALL_MESSAGES)
                fluid.layers.collective._c_allreduce(stop, stop, 'max', use_calc_stream=True)
        exe.run(startup, scope=scope)

    def messages(self):
        return {ALL_MESSAGES: np.array([self.stop.received is not None], np.float32)}

    def asked(self):
        return persistables.get_variable(self.scope, ALL_MESSAGES)[0]


class Trainer(StoppingTogether):
    """This trainer among those of a run with parameter servers: its programs, rewritten, on its Executor and scope.

    Raises UsageError where the servers were started with other settings. From here on the process ends with one
    line where they, or another trainer, are lost.
    """

    def __init__(self, settings, built, exe, scope, position):
        super().__init__(scope)
        self.settings, self.exe, self.updates = settings, exe, 0
        self.everywhere = [address for name in PORTS for address in addresses(settings, name)]
        self.parts = {}
        for name in PORTS:
            transpiler = transpiled(settings, built, name)
            self.add_message(transpiler.get_trainer_program(wait_port=False).global_block(), name)
            # Each with its origin, the slice of it that a server has, and that server's endpoint.
            self.parts[name] = transpiler.vars_overview.distributed_vars
        persistables.set_variable(scope, ALL_MESSAGES, np.zeros(2, np.float32))
        line_for_abort(
            'no word from the servers %s for %d seconds, or a connection broke: a server or another trainer has '
            'ended, or an address is wrong; when all of them run again, `%s` goes on from the last save' % (
                ','.join(settings.servers), rpc_deadline(), run_settings.resume_command(settings)))
        self.compare(checksums(settings, position))
        # All trainers are there once the servers have this from each of them.
        self.run(scope, dict(type='fetch_barrier', inputs={'X': []}, outputs={'Out': []}, attrs={
            'endpoints': self.everywhere, 'trainer_id': settings.trainer_id}))

    def add_message(self, block, name):
        """Have an update take this trainer's message to the servers, trainer 0's learning rate too, and all messages back."""
        where, types = addresses(self.settings, name), [op.type for op in block.ops]
        own = variable(block, MESSAGE % self.settings.trainer_id, [2])
        block._insert_op(types.index('fetch_barrier'), **receive([variable(block, ALL_MESSAGES, [2])], where[:1]))
        block._insert_op(types.index('send_barrier'), **send(own, self.everywhere))
        if self.settings.trainer_id == 0:
            block._insert_op(types.index('send_barrier'),
                             **send(variable(block, programs.LEARNING_RATE, [1]), where))

    def compare(self, mine):
        """Raise UsageError where a server has other settings."""
        for address in addresses(self.settings, 'init_g'):
            scope, program = fluid.Scope(), fluid.Program()
            kept = variable(program.global_block(), CHECKSUMS, [len(mine)], 'int64')
            self.run(scope, receive([kept], [address], barrier=False), program=program)
            theirs = persistables.get_variable(scope, CHECKSUMS)
            different = [run_settings.option(name) for name, ours, other in zip(mine, mine.values(), theirs)
                         if ours != other]
            if different or len(theirs) != len(mine):
                raise UsageError('the server at %s has other settings than this trainer: %s; start all processes with '
                                 'the same ones' % (address, ', '.join(different)))

    def messages(self):
        self.updates += 1
        asked = self.stop.received is not None
        return {MESSAGE % self.settings.trainer_id: np.array([self.updates, asked], np.float32)}

    def asked(self):
        return persistables.get_variable(self.scope, ALL_MESSAGES)[1]

    def enter(self, stage):
        """Give the servers what trainer 0 has."""
        if self.settings.trainer_id == 0:
            for name in STEPS[stage]:
                self.exchange(name, ('Param', 'Optimizer'), give=True)

    def gather(self, stage):
        for name in STEPS[stage]:
            self.exchange(name, ('Optimizer',), give=False)

    def exchange(self, name, kinds, give):
        """Give the servers of the program `name` their slices of this scope's variables, or take them from there.

        Slices of Adam's moments have the name of the whole on every server, so each server gets a scope of its own.
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
        """Tell the servers that this trainer is done; they end with the last one."""
        scope, program = fluid.Scope(), fluid.Program()
        own = variable(program.global_block(), MESSAGE % self.settings.trainer_id, [2])
        persistables.set_variable(scope, own.name, np.array([DONE, 0], np.float32))
        self.run(scope, send(own, self.everywhere), program=program)

    def run(self, scope, *operations, program=None):
        """Run operations, keyword arguments of append_op, of a program that has their variables."""
        program = program or fluid.Program()
        for operation in operations:
            program.global_block().append_op(**operation)
        self.exe.run(program, scope=scope)


def rows(part):
    """The rows of a whole variable that a server's part is."""
    if not part.is_slice:
        return slice(None)
    first = part.offset // int(np.prod(part.origin.shape[1:]))
    return slice(first, first + part.slice.shape[0])


def variable(block, name, shape, dtype='float32'):
    return block.create_var(name=name, shape=shape, dtype=dtype, persistable=True)


def send(variable, endpoints):
    """The operation that gives a variable to the servers' variables of that name."""
    return dict(type='send', inputs={'X': [variable] * len(endpoints)}, outputs={'Out': []},
                attrs={'epmap': endpoints})


def receive(variables, endpoints, barrier=True):
    """The operation that takes each variable from a server's of that name; without `barrier` at any time."""
    return dict(type='recv', inputs={'X': []}, outputs={'Out': variables},
                attrs={'epmap': endpoints, 'with_barrier': barrier})


# Servers

def serve(settings, position):
    """Be server number settings.server_id of the run until all its trainers are done; -> the exit code.

    Ctrl-C reaches all of a terminal's processes, and a server is for the trainers, which have to save, until a second
    one; SIGTERM ends it at once.

    A process for each program: several of Paddle's servers in one are not safe from each other. Raises RunError where
    one cannot listen, or gives a trainer up.
    """
    # Before Paddle sets handlers of its own.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
    errors = multiprocessing.SimpleQueue()
    servers = [multiprocessing.Process(target=serve_program, args=(settings, name, position, errors), daemon=True)
               for name in PORTS]
    for server in servers:
        server.start()
    print('serving at %s' % settings.servers[settings.server_id], flush=True)
    asked = False
    try:
        while any(server.is_alive() for server in servers):
            received = signal.sigtimedwait(STOP, 0.2)
            if received and (asked or received.si_signo == signal.SIGTERM):
                return 128 + received.si_signo
            if received:
                asked = True
                print('\nserving until the trainers have stopped; once more stops at once', file=sys.stderr)
            for name, server in zip(PORTS, servers):
                if server.exitcode:
                    raise RunError(errors.get() if server.exitcode > 0 else
                                   'cannot serve at %s: is another process at this port, or the address another '
                                   "machine's?" % addresses(settings, name)[settings.server_id])
        return 0
    finally:
        for server in servers:
            server.kill()


def serve_program(settings, name, position, errors):
    """Serve one program in a process of its own; `errors` takes a line where the run cannot go on."""
    # End with the process that waits for this one, and keep Paddle's C++ stacks from people.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    address, exe, scope = addresses(settings, name)[settings.server_id], fluid.Executor(fluid.CPUPlace()), fluid.Scope()
    transpiler = transpiled(settings, programs.build_for(settings, on_cpu=True), name)
    program, startup = transpiler.get_pserver_programs(address)
    exe.run(startup, scope=scope)
    persistables.set_variable(scope, CHECKSUMS, np.array(list(checksums(settings, position).values()), np.int64))
    names = [MESSAGE % number for number in range(settings.trainers)]
    block = program.global_block()
    for one in (*names, ALL_MESSAGES):
        variable(block, one, [2])
        persistables.set_variable(scope, one, np.zeros(2, np.float32))
    program.block(1).append_op(type='sum', inputs={'X': [block.var(one) for one in names]},
                               outputs={'Out': block.var(ALL_MESSAGES)})
    threading.Thread(target=exe.run, args=(program,), kwargs={'scope': scope}, daemon=True).start()

    heard, last = time.monotonic(), None
    while last is None or (last != DONE).any():
        time.sleep(0.2)
        updates = np.array([persistables.get_variable(scope, one)[0] for one in names])
        if not np.array_equal(updates, last):
            heard, last = time.monotonic(), updates
        elif time.monotonic() - heard > rpc_deadline():
            late = np.flatnonzero((updates == updates[updates != DONE].min()))
            errors.put('no word for %d seconds from trainer %s' % (rpc_deadline(), ', '.join(map(str, late))))
            os._exit(1)
    # The last trainer waits for the answer to its last word.
    time.sleep(1)
    os._exit(0)


# Paddle's ways

def in_plain_layout(block):
    """Have the gradients of a block's weights in Paddle's own memory layout before they are sent.

    A convolution by oneDNN leaves its weights' gradient in blocks of channels. Adam would put it in order, as every
    operation with a kernel does; `send` takes the bytes as they lie.
    """
    for gradient in [op.input('Grad')[0] for op in block.ops if op.type == 'adam']:
        producer = max(index for index, op in enumerate(block.ops) if gradient in op.output_arg_names)
        if block.ops[producer].type == 'conv2d_grad':
            variable = block.var(gradient)
            block._insert_op(producer + 1, type='scale', inputs={'X': variable}, outputs={'Out': variable},
                             attrs={'scale': 1.0})


def line_for_abort(line):
    """Have `line` as an error, and exit code 1, where Paddle ends the process.

    Its connections answer a failure by abort(), in a thread of their own, after a C++ stack on the error output. That
    is kept from people; Python's own errors go on to them.
    """
    global kept_handler
    if sys.stderr.fileno() == 2:
        sys.stderr = os.fdopen(os.dup(2), 'w', buffering=1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def handler(_):
        command.complain(line, 1)
        os._exit(1)

    kept_handler = handler
    ctypes.CDLL(None).signal(signal.SIGABRT, handler)

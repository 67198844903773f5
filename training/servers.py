"""A parameter server of a run on several processes: docs/distributed.md; training/cluster.py has the trainers."""
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time

import numpy as np

import programs
from cli.command import RunError
from cli.paddle_setup import fluid
from storage import persistables
from training import cluster

STOP = {signal.SIGINT, signal.SIGTERM}
PR_SET_PDEATHSIG = 1


def serve(settings, position):
    """Run server number settings.server_id until all trainers are done -> the exit code.

    Ctrl-C in a terminal reaches all processes, and the trainers need the server for their last save, so only a second
    one ends it; SIGTERM does at once. Each program has its own process, because several of Paddle's servers in one
    process disturb each other. Raises RunError if one of them cannot listen, or waits too long for a trainer.
    """
    # Block the signals before Paddle installs its own handlers.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
    errors = multiprocessing.SimpleQueue()
    built = programs.build_for(settings, on_cpu=True)
    servers = [multiprocessing.Process(target=serve_program, args=(settings, built, name, position, errors),
                                       daemon=True)
               for name in cluster.PORTS]
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
                print('\nserving until the trainers have stopped; a second Ctrl-C stops at once', file=sys.stderr)
            for name, server in zip(cluster.PORTS, servers):
                if server.exitcode:
                    raise RunError(errors.get() if server.exitcode > 0 else
                                   'cannot serve at %s: does another process use this port, or is it the address '
                                   'of another machine?' % cluster.addresses(settings, name)[settings.server_id])
        return 0
    finally:
        for server in servers:
            server.kill()


def serve_program(settings, built, name, position, errors):
    """Serve one program in this process; if the run cannot continue, put one line into the queue `errors`."""
    # End when the parent ends, and hide Paddle's C++ stack traces.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    address = cluster.addresses(settings, name)[settings.server_id]
    exe = fluid.Executor(fluid.CPUPlace())
    scope = fluid.Scope()
    transpiler = cluster.transpiled(settings, built, name)
    program, startup = transpiler.get_pserver_programs(address)
    exe.run(startup, scope=scope)
    checksums = cluster.checksums(settings, position)
    persistables.set_variable(scope, cluster.CHECKSUMS, np.array(list(checksums.values()), np.int64))
    names = [cluster.MESSAGE % number for number in range(settings.trainers)]
    block = program.global_block()
    for one in (*names, cluster.ALL_MESSAGES):
        cluster.variable(block, one, [2])
        persistables.set_variable(scope, one, np.zeros(2, np.float32))
    program.block(1).append_op(type='sum', inputs={'X': [block.var(one) for one in names]},
                               outputs={'Out': block.var(cluster.ALL_MESSAGES)})
    threading.Thread(target=exe.run, args=(program,), kwargs={'scope': scope}, daemon=True).start()

    patience = cluster.rpc_deadline()
    heard = time.monotonic()
    last = None
    while last is None or (last != cluster.DONE).any():
        time.sleep(0.2)
        updates = np.array([persistables.get_variable(scope, one)[0] for one in names])
        if not np.array_equal(updates, last):
            heard = time.monotonic()
            last = updates
        elif time.monotonic() - heard > patience:
            late = np.flatnonzero((updates == updates[updates != cluster.DONE].min()))
            errors.put('no message for %d seconds from trainer %s' % (patience, ', '.join(map(str, late))))
            os._exit(1)
    # The last trainer still waits for the answer to its last message.
    time.sleep(1)
    os._exit(0)

"""Runs contestants, for the benchmarks: each is a process, and they take turns in one run.

So other work of the machine slows all of them alike. A contestant writes a line of JSON when it is ready, and one for
each line on its input: {"seconds": of that turn} and any other figures that its benchmark reports.
"""
import json
import os
import subprocess
import tempfile
import threading
import time

import numpy as np

# In seconds: how long a contestant may take to get ready, compiling included, or for one turn.
LIMIT = 120
# In seconds: when its turns have taken this long together, it gets no more.
SHARE = 20
# In seconds, before a turn: OpenMP's threads spin for a while after their work.
PAUSE = 0.5


class Contestant:
    """A process and its `report`: title, seconds of each turn, their median, and why it is left out, or None."""

    def __init__(self, title, command_line, threads):
        self.command_line = command_line
        self.process = None
        self.environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
        # Not a pipe, which blocks a process that writes much while nobody reads.
        self.errors = tempfile.TemporaryFile('w+')
        self.report = {'title': title, 'seconds': [], 'median': None, 'left_out': None}

    def prepare(self):
        """Start the process and wait until it is ready."""
        self.process = subprocess.Popen(self.command_line, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.errors, universal_newlines=True, env=self.environment)
        self.report.update(self.answer())

    def turn(self):
        self.process.stdin.write('\n')
        self.process.stdin.flush()
        answer = self.answer()
        if answer:
            self.report['seconds'].append(answer.pop('seconds'))
            self.report.update(answer, median=float(np.median(self.report['seconds'])))

    def answer(self):
        """The next line of the process as a dict. If none comes within LIMIT, {}, and the contestant is left out."""
        late = threading.Timer(LIMIT, self.process.kill)
        late.start()
        line = self.process.stdout.readline()
        if line:
            late.cancel()
            return json.loads(line)
        self.process.wait()
        self.errors.seek(0)
        self.report['left_out'] = ((self.errors.read().strip().splitlines() or ['it ended'])[-1] if late.is_alive()
                                   else 'more than %d seconds' % LIMIT)
        late.cancel()
        return {}

    def end(self):
        if self.process:
            self.process.kill()
            self.process.communicate()
        self.errors.close()


def compete(contestants, turns, least=1):
    """Let the contestants take at most `turns` turns each; after its SHARE of time one only gets up to `least`."""
    try:
        for contestant in contestants:
            contestant.prepare()
        for _ in range(turns):
            for contestant in contestants:
                report = contestant.report
                if not report['left_out'] and (len(report['seconds']) < least or sum(report['seconds']) < SHARE):
                    time.sleep(PAUSE)
                    contestant.turn()
    finally:
        for contestant in contestants:
            contestant.end()


def processor():
    with open('/proc/cpuinfo') as file:
        return next((line.split(':', 1)[1].strip() for line in file if line.startswith('model name')), 'processor')

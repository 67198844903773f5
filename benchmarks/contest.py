"""What the benchmarks share: contestants, which are processes of their own, take turns in one run.

So what else the machine does falls on all of them alike. A contestant writes a line of JSON when it is ready, and one
for every line on its input: {"seconds": of that turn}, and what else its benchmark reports of it.
"""
import json
import os
import subprocess
import tempfile
import threading
import time

import numpy as np

# Seconds: what a contestant may need to get ready, compiling included, or for one turn; and after which sum of its
# turns it takes no more.
LIMIT = 120
SHARE = 20
# OpenMP's threads spin for a while after their work.
PAUSE = 0.5


class Contestant:
    """A process, and what there is to `report` of it: its title, seconds and median, or why it is left out."""

    def __init__(self, title, command_line, threads):
        self.command_line, self.process = command_line, None
        self.environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
        # Not a pipe, which blocks a process that writes much while nobody reads.
        self.errors = tempfile.TemporaryFile('w+')
        self.report = {'title': title, 'seconds': [], 'median': None, 'left_out': None}

    def prepare(self):
        """Start it and wait until it is ready."""
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
        """What it says next, a dict, within LIMIT; it is left out where nothing comes."""
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
    """Let them take turns, at most so many each, and no more than `least` once they have had their SHARE."""
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

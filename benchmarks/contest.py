"""Contests of the benchmarks: contestants are processes that take turns, so other work of the machine slows all alike.

A contestant writes a line of JSON when it is ready, and one for each line on its input: {"seconds": of that turn} and
any other figures that its benchmark reports.
"""
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

from cli.command import Parser, positive, threads
from cli.paddle_setup import MKL_AVX2

BENCHMARKS = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(BENCHMARKS)
# In seconds: how long a contestant may take to get ready, compiling included, or for one turn.
LIMIT = 120
# In seconds: when its turns have taken this long together, it gets no more.
SHARE = 20
# The contestants that run Paddle as it is without cli/paddle_setup.py: on a processor that is not Intel's, its MKL then
# takes its code for SSE.
STOCK = ('paddle-stock', 'article-stock')
# In seconds, before a turn: OpenMP's threads spin for a while after their work.
PAUSE = 0.5


def parser(name, description, quick, turns, packages):
    """The Parser of a benchmark, with the options that all have. `packages`: what the Python of --python has."""
    parser = Parser(prog='benchmarks/' + name, description=description)
    parser.add_argument('--quick', action='store_true', help=quick)
    parser.add_argument('--turns', type=positive, metavar='N',
                        help='most turns of a contestant (%s with --quick)' % turns)
    parser.add_argument('--python', metavar='FILE', default=os.path.join(ROOT, '.venv-bench', 'bin', 'python'),
                        help='the Python with %s (.venv-bench/bin/python)' % packages)
    parser.add_argument('--threads', type=threads, metavar='N', default=len(os.sched_getaffinity(0)),
                        help='threads of each contestant (all cores)')
    parser.add_argument('--json', metavar='FILE', help='write all figures for programs')
    return parser


class Contestant:
    """A process and its `report`: title, seconds of each turn, their median, and why it is left out, or None."""

    def __init__(self, title, command_line, environment):
        self.command_line = command_line
        self.process = None
        self.environment = dict(os.environ, **environment)
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
        last_lines = ['it ended', *self.errors.read().strip().splitlines()]
        self.report['left_out'] = last_lines[-1] if late.is_alive() else 'more than %d seconds' % LIMIT
        late.cancel()
        return {}

    def end(self):
        if self.process:
            self.process.kill()
            self.process.communicate()
        self.errors.close()


def compete(contestants, arguments, options, turns, least=1):
    """Let contestants take turns -> {name: report}.

    contestants: {name: (script, title, ...)}, without those of --python if that does not exist; arguments:
    {name: words of its command line}. A contestant takes at most `turns` turns, and after its SHARE of time
    only up to `least`.
    """
    running = {}
    for name, (script, title, *_) in contestants.items():
        python = options.python if script.startswith(('torch', 'onnx')) else sys.executable
        if os.path.exists(python):
            environment = {'OMP_NUM_THREADS': str(options.threads)}
            if name in STOCK:
                environment.update(dict.fromkeys(MKL_AVX2, '0'))
            running[name] = Contestant(title, [python, os.path.join(BENCHMARKS, script), name, *arguments[name]],
                                       environment)
    try:
        for contestant in running.values():
            contestant.prepare()
        for _ in range(turns):
            for contestant in running.values():
                report = contestant.report
                if not report['left_out'] and (len(report['seconds']) < least or sum(report['seconds']) < SHARE):
                    time.sleep(PAUSE)
                    contestant.turn()
    finally:
        for contestant in running.values():
            contestant.end()
    return {name: contestant.report for name, contestant in running.items()}


def print_table(title, reports, heading, columns):
    """Print the reports, with more columns under `heading`; columns: a function of (report, reports)."""
    print('%-44s %8s  %-17s %5s %s' % (title, 'seconds', 'fastest - slowest', 'turns', heading))
    for report in reports.values():
        if report['left_out']:
            print('%-44s left out: %s' % (report['title'], report['left_out']))
        else:
            seconds = report['seconds']
            print('%-44s %8.3f  %7.3f - %-7.3f %5d %s' % (
                report['title'], report['median'], min(seconds), max(seconds), len(seconds), columns(report, reports)))

"""What parameter servers cost on one machine: updates per second with one and two trainers, and bytes sent.

    python benchmarks/distributed.py             whole networks, in about four minutes
    python benchmarks/distributed.py --quick     networks of a few filters

Each trainer computes with one thread. An update takes 16 crops of 48 in all. One trainer is train.py alone. Two
trainers have two servers, so four processes share the machine; with fewer than four cores the figures show the cost,
not the gain. The bytes are those on the machine's loopback, both directions together, so nothing else should use it.
"""
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from cli import command
from cli.command import Parser, RunError

# Updates in an epoch of each stage.
UPDATES = {'init': 6, 'gan': 3}
SERVERS = ['127.0.0.1:6170', '127.0.0.1:6171']
# In seconds, for an epoch.
LIMIT = 240


def main(argv):
    parser = Parser(prog='benchmarks/distributed.py', description=__doc__)
    parser.add_argument('--quick', action='store_true', help='networks of a few filters')
    parser.add_argument('--json', metavar='FILE', help='write the figures for programs')
    options = parser.parse_args(argv)
    rows = []
    print('%-8s %-9s %14s %18s' % ('stage', 'trainers', 'updates a second', 'MB an update'))
    for stage in UPDATES:
        for trainers in (1, 2):
            rows.append(measure(stage, trainers, options.quick))
            print('%-8s %-9d %14.3f %18.1f' % tuple(rows[-1].values()), flush=True)
    if options.json:
        with open(options.json, 'w') as file:
            json.dump(rows, file, indent=1)


def measure(stage, trainers, quick):
    """Time the second epoch of a stage with the given number of trainers -> a row of the table."""
    script = [os.path.join(ROOT, 'tests', 'tiny.py'), 'train.py'] if quick else [os.path.join(ROOT, 'train.py')]
    arguments = ['--recipe', 'scratch', '--content-loss', 'mse', '--discriminator', 'article', '--threads', '1',
                 '--readers', '1', '--epoch-updates', str(UPDATES[stage]), '--save-every', '1000',
                 '--n-epoch-init', '3' if stage == 'init' else '0', '--n-epoch', '3' if stage == 'gan' else '0']
    roles = [[]]
    if trainers > 1:
        several = ['--servers', ','.join(SERVERS), '--trainers', str(trainers)]
        roles = [[*several, '--role', role, option, str(number)]
                 for role, option, count in (('trainer', '--trainer-id', trainers),
                                             ('pserver', '--server-id', len(SERVERS))) for number in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        processes = [subprocess.Popen([sys.executable, *script, *arguments, *role], cwd=folder,
                                      stdout=subprocess.DEVNULL) for role in roles]
        try:
            before = wire_after(1, folder, processes)
            after = wire_after(2, folder, processes)
            with open(os.path.join(folder, 'output', 'log.csv')) as file:
                seconds = float(list(csv.DictReader(file))[1]['seconds'])
        finally:
            for process in processes:
                process.kill()
            for process in processes:
                process.wait()
    return {'stage': stage, 'trainers': trainers, 'updates_per_second': UPDATES[stage] / seconds,
            'mb_per_update': (after - before) / 1e6 / UPDATES[stage]}


def wire_after(epochs, folder, processes):
    """Wait until the log has the given number of epochs -> the bytes that the loopback has received until then."""
    log = Path(folder, 'output', 'log.csv')
    started = time.monotonic()
    while not log.exists() or len(log.read_text().splitlines()) <= epochs:
        if time.monotonic() - started > LIMIT or any(process.poll() for process in processes):
            raise RunError('the training did not finish epoch %d within %d seconds' % (epochs, LIMIT))
        time.sleep(0.02)
    with open('/proc/net/dev') as file:
        return next(int(line.split()[9]) for line in file if line.split()[0] == 'lo:')


if __name__ == '__main__':
    sys.exit(command.run(main))

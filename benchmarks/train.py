"""How long an update of the training takes, in this project and in others, compared in one run.

    python benchmarks/train.py             pre-training and the adversarial step, in under eight minutes
    python benchmarks/train.py --quick     networks of a few filters, few turns

PyTorch needs a Python of its own, 3.11:

    python3.11 -m venv .venv-bench && .venv-bench/bin/pip install -r requirements-bench.txt

An update of pre-training updates G by the pixel loss on 16 crops of 96. An adversarial update updates D and then G on a
crop of 384, by the article's losses, among them VGG19's pool5 at 224. Pixels and weights are random, which does not
change the time. A row has the median of the turns, of which slow contestants get fewer, and the process's peak memory.

--json: {"processor": NAME, "threads": N, "stages": {"init" and "gan": {CONTESTANT: {"title": TEXT, "seconds": [of
each turn], "median": S, "peak_mb": N, "l_g_pix": of the first update, "left_out": null or the reason}}}}.
"""
import argparse
import json
import os
import sys

BENCHMARKS = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(BENCHMARKS)
sys.path[:0] = [ROOT, BENCHMARKS]

from contest import Contestant, compete, processor

from cli import command
from cli.command import Parser, RunError, positive

# {name: (script, title, largest relative difference of the first pixel loss from ours)}; None if the initial weights
# differ from ours.
CONTESTANTS = {
    'article': ('paddle_train.py', "the article's graph", None),
    'plain': ('paddle_train.py', 'train.py without the rewrites for the CPU', 1e-4),
    'ours': ('paddle_train.py', 'train.py', 0),
    'torch': ('torch_train.py', 'PyTorch fp32, channels_last', None),
    'torch-bf16': ('torch_train.py', 'PyTorch bf16, channels_last', None),
}
STAGES = {'init': 'pre-training', 'gan': 'D and G'}
WHOLE = dict(blocks=16, filters=64, d_filters=64, vgg_filters=[64, 128, 256, 512, 512])
SIZES = {'init': dict(WHOLE, crop=96, batch=16), 'gan': dict(WHOLE, crop=384, batch=1)}
QUICK = dict(blocks=2, filters=16, d_filters=4, vgg_filters=[4, 4, 8, 8, 8], crop=32, batch=2)


def main(argv):
    parser = Parser(prog='benchmarks/train.py', formatter_class=argparse.RawDescriptionHelpFormatter,
                    description=__doc__)
    parser.add_argument('--quick', action='store_true', help='networks of a few filters, few turns')
    parser.add_argument('--turns', type=positive, metavar='N', help='most turns of a contestant (7; 2 with --quick)')
    parser.add_argument('--python', metavar='FILE', default=os.path.join(ROOT, '.venv-bench', 'bin', 'python'),
                        help='the Python with PyTorch (.venv-bench/bin/python)')
    parser.add_argument('--threads', type=positive, metavar='N', help='threads of each contestant (all cores)')
    parser.add_argument('--json', metavar='FILE', help='write all figures for programs')
    options = parser.parse_args(argv)
    threads = options.threads or len(os.sched_getaffinity(0))
    report = {'processor': processor(), 'threads': threads, 'stages': {}}
    print('%s, %d threads' % (report['processor'], threads))
    if not os.path.exists(options.python):
        print('without PyTorch: %s does not exist; --help says how to make it' % options.python)

    for stage, title in STAGES.items():
        sizes = QUICK if options.quick else SIZES[stage]
        turns = options.turns or (2 if options.quick else 7)
        report['stages'][stage] = contest(stage, sizes, turns, options.python, threads)
        print_stage('%s, %d x %d x %d pixels' % (title, sizes['batch'], sizes['crop'], sizes['crop']),
                    report['stages'][stage])
    if options.json:
        with open(options.json, 'w') as file:
            json.dump(report, file, indent=1)
    different = [row['title'] for rows in report['stages'].values() for name, row in rows.items()
                 if not row['left_out'] and not is_like(name, row, rows['ours'])]
    if different:
        raise RunError('not the same loss: %s' % ', '.join(different))


def is_like(name, row, ours):
    """Whether a contestant's first pixel loss is ours within its tolerance; true if the two cannot be compared."""
    tolerance = CONTESTANTS[name][2]
    return ours['left_out'] or tolerance is None or (
        abs(row['l_g_pix'] - ours['l_g_pix']) <= tolerance * ours['l_g_pix'])


def contest(stage, sizes, turns, python, threads):
    """Let all contestants of a stage take turns -> {name: its report}."""
    contestants = {}
    for name, (script, title, _) in CONTESTANTS.items():
        interpreter = sys.executable if script == 'paddle_train.py' else python
        if os.path.exists(interpreter):
            contestants[name] = Contestant(
                title, [interpreter, os.path.join(BENCHMARKS, script), name, stage, json.dumps(sizes)], threads)
    compete(contestants.values(), turns)
    return {name: contestant.report for name, contestant in contestants.items()}


def print_stage(title, rows):
    """Print the table of a stage. The last column is a contestant's time divided by ours."""
    print('%-44s %8s  %-17s %5s  %8s  %s' % (title, 'seconds', 'fastest - slowest', 'turns', 'peak MB', 'x of ours'))
    for row in rows.values():
        if row['left_out']:
            print('%-44s left out: %s' % (row['title'], row['left_out']))
        else:
            ratio = '' if rows['ours']['left_out'] else '%9.2f' % (row['median'] / rows['ours']['median'])
            print('%-44s %8.3f  %7.3f - %-7.3f %5d  %8d  %s' % (
                row['title'], row['median'], min(row['seconds']), max(row['seconds']), len(row['seconds']),
                row['peak_mb'], ratio))


if __name__ == '__main__':
    sys.exit(command.run(main))

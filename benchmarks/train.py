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
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import contest

from cli import command
from cli.command import RunError
from cli.paddle_setup import processor

# {name: (script, title, largest relative difference of the first pixel loss from ours)}; None if the initial weights
# differ from ours.
CONTESTANTS = {
    'article-stock': ('paddle_train.py', "the article's graph", None),
    'article': ('paddle_train.py', "the article's graph, MKL as in train.py", None),
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
    parser = contest.parser('train.py', __doc__, 'networks of a few filters, few turns', '7; 2', 'PyTorch')
    options = parser.parse_args(argv)
    report = {'processor': processor().get('model name', 'processor'), 'threads': options.threads, 'stages': {}}
    print('%s, %d threads' % (report['processor'], options.threads))
    if not os.path.exists(options.python):
        print('without PyTorch: %s does not exist; --help says how to make it' % options.python)

    different = []
    for stage, title in STAGES.items():
        sizes = QUICK if options.quick else SIZES[stage]
        rows = report['stages'][stage] = contest.compete(
            CONTESTANTS, {name: [stage, json.dumps(sizes)] for name in CONTESTANTS}, options,
            options.turns or (2 if options.quick else 7))
        contest.print_table('%s, %d x %d x %d pixels' % (title, sizes['batch'], sizes['crop'], sizes['crop']), rows,
                            ' %8s  %s' % ('peak MB', 'x of ours'), columns)
        different += [row['title'] for name, row in rows.items()
                      if not row['left_out'] and not is_like(name, row, rows['ours'])]
    if options.json:
        with open(options.json, 'w') as file:
            json.dump(report, file, indent=1)
    if different:
        raise RunError('not the same loss: %s' % ', '.join(different))


def columns(row, rows):
    """The last columns of the table: the peak memory, and the time divided by ours."""
    ratio = '' if rows['ours']['left_out'] else '%9.2f' % (row['median'] / rows['ours']['median'])
    return ' %8d  %s' % (row['peak_mb'], ratio)


def is_like(name, row, ours):
    """Whether a contestant's first pixel loss is ours within its tolerance; true if the two cannot be compared."""
    tolerance = CONTESTANTS[name][2]
    return ours['left_out'] or tolerance is None or (
        abs(row['l_g_pix'] - ours['l_g_pix']) <= tolerance * ours['l_g_pix'])


if __name__ == '__main__':
    sys.exit(command.run(main))

"""tests/tiny.py with networks that normalise by their statistics in training too: no picture changes another one's.

    python tests/tiny_fixed.py train.py --n-epoch 2 ...
"""
import sys

import tiny

if __name__ == '__main__':
    sys.path.insert(0, tiny.ROOT)
    tiny.shrink()
    import importlib

    import layers
    import srgan_d
    import srgan_g
    from cli import command
    for module in (srgan_d, srgan_g):
        def batch_norm(*arguments, moving_statistics=False, **options):
            return layers.batch_norm(*arguments[:3], moving_statistics=True, **options)
        module.batch_norm = batch_norm
    script = importlib.import_module(sys.argv[1][:-len('.py')])
    sys.exit(command.run(script.main, sys.argv[2:]))

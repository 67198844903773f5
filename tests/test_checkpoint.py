"""What is on the disk is whole or absent, is Paddle's, and is checked before it is used."""
import os
import shutil
import zipfile

import numpy as np
import pytest

from cli.command import RunError, UsageError
from cli.paddle_setup import fluid
from storage import checkpoint, persistables
from storage.files import mark_of

VARIABLES = {'n64s1/c.w_0': np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2), 'out.b_0': np.ones(3, np.float32)}
SHAPES = {name: array.shape for name, array in VARIABLES.items()}


def interrupted():
    """The variables, and an interruption before the last."""
    yield 'n64s1/c.w_0', VARIABLES['n64s1/c.w_0'] + 1
    raise KeyboardInterrupt


def assert_is(found, wanted):
    assert set(found) == set(wanted)
    assert all(np.array_equal(found[name], wanted[name]) and found[name].dtype == wanted[name].dtype for name in wanted)


# Paddle's files

def test_files_are_paddles_to_the_byte(tmp_path):
    program, startup = fluid.Program(), fluid.Program()
    with fluid.program_guard(program, startup), fluid.scope_guard(fluid.Scope()):
        for name, shape, dtype in (('a/b.w_0', [2, 3], 'float32'), ('c', [1], 'float32'), ('d', [300], 'int64'),
                                   ('e', [4], 'float64'), ('f', [2, 1], 'int32')):
            fluid.layers.create_global_var(shape, 2, dtype, persistable=True, name=name)
        exe = fluid.Executor(fluid.CPUPlace())
        exe.run(startup)
        fluid.io.save_persistables(exe, str(tmp_path), program)
        for name in ('a/b.w_0', 'c', 'd', 'e', 'f'):
            array = persistables.get_variable(fluid.global_scope(), name)
            assert np.array_equal(persistables.read_variable(str(tmp_path), name), array)
            assert persistables.encode(array) == (tmp_path / name).read_bytes()


@pytest.mark.parametrize('damage', [
    lambda data: data[:-1], lambda data: data[:10], lambda data: b'', lambda data: data + b'\0',
    lambda data: b'PNG' + data[3:], lambda data: data[:16] + b'\xff' * 4 + data[20:]])
def test_a_damaged_file_is_refused_by_name(damage, tmp_path):
    persistables.write_variable(str(tmp_path), 'n64s1/c.w_0', VARIABLES['n64s1/c.w_0'])
    path = tmp_path / 'n64s1' / 'c.w_0'
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(persistables.FormatError, match='c.w_0'):
        persistables.read_variable(str(tmp_path), 'n64s1/c.w_0')


# Networks

def test_a_network_comes_back(tmp_path):
    path = str(tmp_path / 'g')
    for factor in (1, 2):
        checkpoint.save_network(path, [(name, factor * array) for name, array in VARIABLES.items()])
        assert_is(checkpoint.load_network(path, SHAPES), {name: factor * array for name, array in VARIABLES.items()})
    assert os.listdir(str(tmp_path)) == ['g']


def test_a_network_comes_from_an_npz(tmp_path):
    np.savez(str(tmp_path / 'g.npz'), **VARIABLES)
    assert_is(checkpoint.load_network(str(tmp_path / 'g.npz'), SHAPES), VARIABLES)
    np.savez(str(tmp_path / 'g.npz'), **{name: array.astype(np.float64) for name, array in VARIABLES.items()})
    found = checkpoint.load_network(str(tmp_path / 'g.npz'), SHAPES)
    assert_is(found, VARIABLES)
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    np.savez(str(tmp_path / 'g.npz'), **{name: array.astype(int) for name, array in VARIABLES.items()})
    with pytest.raises(UsageError, match='numbers of type int64, not float32'):
        checkpoint.load_network(str(tmp_path / 'g.npz'), SHAPES)
    (tmp_path / 'g.npz').write_bytes((tmp_path / 'g.npz').read_bytes()[:100])
    with pytest.raises(UsageError, match='g.npz is damaged'):
        checkpoint.load_network(str(tmp_path / 'g.npz'), SHAPES)


@pytest.mark.parametrize('read', [0, 1])
def test_a_network_that_is_replaced_while_it_is_read_is_read_again(read, tmp_path, monkeypatch):
    """After its first variable, or after all."""
    path = str(tmp_path / 'g')
    checkpoint.save_network(path, VARIABLES.items())
    decode, calls = persistables.decode, []

    def replacing(data, name):
        array = decode(data, name)
        calls.append(name)
        if len(calls) == 1 + read * (len(VARIABLES) - 1):
            checkpoint.save_network(path, [(name, 2 * array) for name, array in VARIABLES.items()])
        return array

    monkeypatch.setattr(persistables, 'decode', replacing)
    assert_is(checkpoint.load_network(path, SHAPES), {name: 2 * array for name, array in VARIABLES.items()})


def test_an_interrupted_save_leaves_the_earlier_network(tmp_path):
    path = str(tmp_path / 'g')
    checkpoint.save_network(path, VARIABLES.items())
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save_network(path, interrupted())
    assert_is(checkpoint.load_network(path, SHAPES), VARIABLES)
    assert os.listdir(str(tmp_path)) == ['g']


def test_a_save_killed_between_its_renames_leaves_the_earlier_network(tmp_path):
    path = str(tmp_path / 'g')
    checkpoint.save_network(path, VARIABLES.items())
    os.rename(path, path + '.old')
    # Read where it is: the writer may still be at work.
    assert_is(checkpoint.load_network(path, SHAPES), VARIABLES)
    assert os.listdir(str(tmp_path)) == ['g.old']
    checkpoint.save_network(path, VARIABLES.items())
    assert os.listdir(str(tmp_path)) == ['g']


def test_a_save_killed_before_it_removed_the_earlier_network_does_not_hinder_the_next(tmp_path):
    path = str(tmp_path / 'g')
    checkpoint.save_network(path, VARIABLES.items())
    shutil.copytree(path, path + '.old')
    os.mkdir(str(tmp_path / (mark_of(path) + '1.new')))
    checkpoint.save_network(path, VARIABLES.items())
    assert os.listdir(str(tmp_path)) == ['g']
    assert_is(checkpoint.load_network(path, SHAPES), VARIABLES)


def damage(path):
    """Change one bit of the data: neither the length nor the header tells."""
    with open(path, 'r+b') as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))


def test_a_network_is_checked_before_it_is_used(tmp_path):
    path = str(tmp_path / 'g')

    def refused(words, shapes=SHAPES):
        with pytest.raises(UsageError, match=words):
            checkpoint.load_network(path, shapes)
        checkpoint.save_network(path, VARIABLES.items())

    refused('does not exist')
    with open(path + '.pdparams', 'wb') as file:
        file.write(b'parameters')
    with pytest.raises(UsageError, match='g.pdparams is a single file, as fluid.save writes it; a network'):
        checkpoint.load_network(path + '.pdparams', SHAPES)
    damage(os.path.join(path, 'n64s1', 'c.w_0'))
    refused('n64s1/c.w_0 is damaged')
    os.truncate(os.path.join(path, 'out.b_0'), 25)
    refused('out.b_0 is ')
    os.remove(os.path.join(path, 'out.b_0'))
    refused('no variable out.b_0')
    refused(r'out.b_0 has the shape \(3,\), not \(4,\)', {'out.b_0': (4,)})
    with open(os.path.join(path, 'manifest.json'), 'w') as file:
        file.write('{')
    refused('manifest.json is damaged')
    with open(os.path.join(path, 'manifest.json'), 'w') as file:
        file.write('[1]')
    refused('manifest.json is damaged')


def test_values_that_are_not_finite_are_not_saved(tmp_path):
    bad = {'out.b_0': np.array([1, np.nan, 2], np.float32)}
    checkpoint.save_network(str(tmp_path / 'g'), VARIABLES.items())
    checkpoint.save_state(str(tmp_path / 's'), VARIABLES.items(), {})
    for save in (lambda: checkpoint.save_network(str(tmp_path / 'g'), bad.items()),
                 lambda: checkpoint.save_state(str(tmp_path / 's'), bad.items(), {})):
        with pytest.raises(RunError, match='out.b_0'):
            save()
    assert_is(checkpoint.load_network(str(tmp_path / 'g'), SHAPES), VARIABLES)
    assert_is(checkpoint.load_state(str(tmp_path / 's'))[0], VARIABLES)


# Training states

def test_a_state_comes_back_with_its_position(tmp_path):
    path = str(tmp_path / 'state.npz')
    checkpoint.save_state(path, VARIABLES.items(), {'epoch': 3, 'totals': {'l_g_pix': 0.1 + 0.2}})
    variables, position = checkpoint.load_state(path)
    assert_is(variables, VARIABLES)
    assert position == {'epoch': 3, 'totals': {'l_g_pix': 0.1 + 0.2}}
    with np.load(path) as archive:
        assert np.array_equal(archive['n64s1/c.w_0'], VARIABLES['n64s1/c.w_0'])


def test_an_interrupted_save_leaves_the_earlier_state(tmp_path):
    path = str(tmp_path / 'state.npz')
    checkpoint.save_state(path, VARIABLES.items(), {'epoch': 1})
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save_state(path, interrupted(), {'epoch': 2})
    assert checkpoint.load_state(path)[1] == {'epoch': 1}
    assert os.listdir(str(tmp_path)) == ['state.npz']


def test_a_damaged_state_is_refused(tmp_path):
    path = tmp_path / 'state.npz'
    checkpoint.save_state(str(path), VARIABLES.items(), {})
    whole = path.read_bytes()
    for number in range(0, len(whole), 97):
        path.write_bytes(whole[:number])
        with pytest.raises(RunError, match='state.npz is damaged'):
            checkpoint.load_state(str(path))
    data = VARIABLES['n64s1/c.w_0'].tobytes()
    at = whole.index(data) + len(data) // 2
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
    with pytest.raises(RunError, match='state.npz is damaged'):
        checkpoint.load_state(str(path))


def test_no_damage_of_an_archive_is_a_traceback(tmp_path):
    state, network = tmp_path / 'state.npz', tmp_path / 'g.npz'
    checkpoint.save_state(str(state), VARIABLES.items(), {})
    np.savez_compressed(str(network), **VARIABLES)
    for path, load, error in ((state, checkpoint.load_state, RunError),
                              (network, lambda path: checkpoint.load_network(path, SHAPES), UsageError)):
        whole = path.read_bytes()
        refused = 0
        for at in range(0, len(whole), max(1, len(whole) // 500)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xff]) + whole[at + 1:])
            try:
                load(str(path))
            except error as told:
                refused += path.name in str(told)
        assert refused > 20
    np.save(str(tmp_path / 'array.npy'), np.zeros(3))
    os.rename(str(tmp_path / 'array.npy'), str(network))
    with pytest.raises(UsageError, match='g.npz is damaged'):
        checkpoint.load_network(str(network), SHAPES)


@pytest.mark.parametrize('error', [PermissionError, MemoryError])
def test_what_may_not_be_read_or_finds_no_memory_is_not_called_damaged(error, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise error
    state, network = str(tmp_path / 'state.npz'), str(tmp_path / 'g.npz')
    checkpoint.save_state(state, VARIABLES.items(), {})
    np.savez(network, **VARIABLES)
    monkeypatch.setattr(zipfile, 'ZipFile', refuse)
    for load in (lambda: checkpoint.load_state(state), lambda: checkpoint.load_network(network, SHAPES)):
        with pytest.raises(error):
            load()


def test_a_state_with_another_variable_than_it_says_is_refused(tmp_path):
    path, other = str(tmp_path / 'state.npz'), str(tmp_path / 'other.npz')
    checkpoint.save_state(path, VARIABLES.items(), {})
    checkpoint.save_state(other, [(name, array + 1) for name, array in VARIABLES.items()], {})
    with zipfile.ZipFile(path) as own, zipfile.ZipFile(other) as foreign:
        entries = {name: own.read(name) for name in own.namelist()}
        entries['out.b_0.npy'] = foreign.read('out.b_0.npy')
    with zipfile.ZipFile(path, 'w') as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    with pytest.raises(RunError, match='out.b_0 is not what was saved'):
        checkpoint.load_state(path)


@pytest.mark.parametrize('content', ['["licence"]', '7', '{"licence": ', ''])
def test_a_damaged_about_says_nothing(content, tmp_path):
    (tmp_path / checkpoint.ABOUT).write_text(content)
    assert checkpoint.about(str(tmp_path)) == {}

"""Several real processes train as one does: parameter servers and trainers, over loopback and between hosts."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, Result, photograph, take_all_cores, wait_for
from PIL import Image

RUN = ['--data', 'data', '--recipe', 'scratch', '--content-loss', 'mse', '--crop-size', '32', '--batch-size', '4',
       '--threads', '1', '--readers', '1', '--epoch-updates', '5', '--n-epoch-init', '4', '--n-epoch', '4']
# With these, g goes on with what d has computed.
FIXED = [*RUN, '--moving-statistics', 'on']
# Seconds after which the processes of these tests give each other up, and until they have ended then.
PATIENCE, END = 24, 30


def free_servers(count):
    """As many addresses on loopback with the three free ports that a server takes."""
    found, port = [], 20000 + os.getpid() % 20000
    while len(found) < count:
        port += 1
        if all(socket.socket().connect_ex(('127.0.0.1', port + more)) for more in (0, 100, 200)):
            found.append('127.0.0.1:%d' % port)
    return found


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder with a folder of pictures."""
    folder = tmp_path_factory.mktemp('cluster')
    (folder / 'data').mkdir()
    for number in range(4):
        Image.fromarray(photograph(100 + 4 * number, 120, number)).save(str(folder / 'data' / ('%d.png' % number)))
    return folder


@pytest.fixture
def begin(place):
    """begin(tiny, *arguments) begins train.py with the networks of a script beside this one; -> the process."""
    processes = []

    def begin(tiny, *arguments, prefix=(), patience=30):
        environment = dict(os.environ, FLAGS_rpc_deadline=str(1000 * patience))
        processes.append(subprocess.Popen(
            [*prefix, sys.executable, os.path.join(ROOT, 'tests', tiny), 'train.py', *map(str, arguments)],
            cwd=str(place), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
            preexec_fn=take_all_cores))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def cluster(begin):
    """cluster(tiny, *arguments) begins two servers and two trainers; -> the processes, trainer 0 first."""
    def cluster(tiny, *arguments, **options):
        several = ['--servers', ','.join(free_servers(2)), '--trainers', '2', *arguments]
        return [begin(tiny, *several, '--role', role, option, number, **options)
                for role, option in (('trainer', '--trainer-id'), ('pserver', '--server-id')) for number in (0, 1)]
    return cluster


def folders(name):
    return ['--models', name + '/models', '--output', name + '/output']


def state(folder):
    with np.load(str(folder / 'models' / 'state.npz')) as archive:
        return {name: archive[name] for name in archive.files if name != 'manifest.json'}


@pytest.fixture(scope='module')
def one(place):
    """The state of a run of one process, whose networks normalise by their statistics."""
    subprocess.run([sys.executable, os.path.join(ROOT, 'tests', 'tiny_fixed.py'), 'train.py', *FIXED, *folders('one')],
                   cwd=str(place), check=True, stdout=subprocess.DEVNULL)
    return state(place / 'one')


def assert_follows(variables, wanted):
    """All to 1e-4 of each variable's largest value. Adam makes steps of a learning rate out of gradients that are
    rounding errors too: so weights also to 1e-6, a hundredth of such a step, and moments to 1e-9."""
    assert set(variables) == set(wanted)
    for name, array in wanted.items():
        least = 1e-9 if 'moment' in name else 1e-6
        assert variables[name].shape == array.shape
        assert np.allclose(variables[name], array, rtol=0, atol=1e-4 * np.abs(array).max() + least), name


# A run

def test_two_trainers_with_half_the_batch_follow_one_with_the_whole(cluster, one, place):
    """20 updates of each program, with networks in which no picture changes how another one is normalised."""
    for process in cluster('tiny_fixed.py', *FIXED, *folders('two')):
        assert Result(process).code == 0
    assert_follows(state(place / 'two'), one)


def test_each_trainer_normalises_by_its_part_and_the_statistics_of_trainer_0_are_saved(cluster, begin, place):
    """Trainer 0 has the first half of the batch of four, which is the batch of a run of two."""
    first = [*RUN, '--epoch-updates', '1', '--n-epoch-init', '1', '--n-epoch', '0']
    for process in cluster('tiny.py', *first, *folders('parts')):
        assert Result(process).code == 0
    assert Result(begin('tiny.py', *first, '--batch-size', '2', *folders('half'))).code == 0
    parts, half = state(place / 'parts'), state(place / 'half')
    for name in ('batch_norm_0.w_1', 'batch_norm_0.w_2', 'n64s1/b1/0.w_1', 'n64s1/b2/1.w_5'):
        assert np.allclose(parts[name], half[name], rtol=1e-5, atol=1e-7), name
    assert not np.allclose(parts['out.w_0_init_g_moment1_0'], half['out.w_0_init_g_moment1_0'], rtol=1e-3)


def test_a_run_goes_from_one_machine_to_a_cluster_and_back(cluster, begin, one, place):
    """By one process up to an epoch of D and G; by a cluster until one of its trainers is asked to stop; by one."""
    assert Result(begin('tiny_fixed.py', *FIXED, '--n-epoch', '1', *folders('moved'))).code == 0
    processes = cluster('tiny_fixed.py', '--resume', '--n-epoch', '4', *folders('moved'))
    log = place / 'moved' / 'output' / 'log.csv'
    wait_for(lambda: '\ngan,2,' in log.read_text(), processes[0])
    processes[1].send_signal(signal.SIGTERM)
    results = [Result(process) for process in processes]
    assert [result.code for result in results] == [143, 143, 0, 0], [result.err for result in results]
    assert '\ngan,4,' not in log.read_text() and 'stopped and saved' in results[0].out
    assert Result(begin('tiny_fixed.py', '--resume', *folders('moved'))).code == 0
    assert_follows(state(place / 'moved'), one)


@pytest.fixture
def hosts():
    """Two hosts with an address each in network namespaces of their own, joined by a cable: {name: address}."""
    found = {'srgan%d-%d' % (os.getpid(), number): '10.77.0.%d' % number for number in (1, 2)}

    def ip(*words):
        done = subprocess.run(['ip', *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if done.returncode:
            pytest.skip('no network namespaces here: ip %s: %s' % (' '.join(words), done.stderr.decode().strip()))

    if not shutil.which('ip'):
        pytest.skip('no network namespaces here: iproute2 is not installed')
    try:
        for name in found:
            ip('netns', 'add', name)
        one, other = found
        ip('link', 'add', 'eth0', 'netns', one, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', other)
        for name, address in found.items():
            ip('-n', name, 'address', 'add', address + '/24', 'dev', 'eth0')
            for device in ('lo', 'eth0'):
                ip('-n', name, 'link', 'set', device, 'up')
        yield found
    finally:
        for name in found:
            subprocess.run(['ip', 'netns', 'delete', name], stderr=subprocess.DEVNULL)


def test_hosts_with_networks_of_their_own(hosts, begin, one, place):
    """A server and a trainer on each of two hosts end where one process does."""
    several = ['--servers', ','.join(address + ':6170' for address in hosts.values()), '--trainers', '2', *RUN]
    processes = [begin('tiny_fixed.py', *several, '--role', role, option, number, *folders('hosts'),
                       prefix=['ip', 'netns', 'exec', name])
                 for number, name in enumerate(hosts)
                 for role, option in (('trainer', '--trainer-id'), ('pserver', '--server-id'))]
    for process in processes:
        result = Result(process)
        assert result.code == 0, result.err
    assert_follows(state(place / 'hosts'), one)


def test_a_network_of_a_cluster_enlarges(place, one):
    picture = str(place / 'data' / '0.png')
    subprocess.run([sys.executable, os.path.join(ROOT, 'tests', 'tiny_fixed.py'), 'upscale.py', picture, '--model',
                    str(place / 'two' / 'models' / 'g_models'), '-o', str(place / 'large')], check=True)
    assert Image.open(str(place / 'large' / '0_x4.png')).size == (480, 400)


# What goes wrong

LONG = [*RUN, '--epoch-updates', '1', '--n-epoch-init', '100000', '--save-every', '1']


@pytest.mark.parametrize('killed', [1, 3], ids=['trainer', 'server'])
def test_a_process_that_is_killed_ends_the_others_and_the_run_can_go_on(killed, cluster, begin, place):
    """Each of the others ends with one line within END seconds after PATIENCE; the last checkpoint is whole."""
    shutil.rmtree(str(place / 'killed'), ignore_errors=True)
    processes = cluster('tiny.py', *LONG, *folders('killed'), patience=PATIENCE)
    wait_for((place / 'killed' / 'models' / 'state.npz').exists, processes[0])
    processes[killed].kill()
    killed_at = time.monotonic()
    for number, process in enumerate(processes):
        if number != killed:
            result = Result(process, timeout=PATIENCE + END)
            words = ('no message for %d seconds from trainer' % PATIENCE if number > 1 else
                     '--resume --models killed/models` goes on')
            assert result.is_one_line(1, words)
    assert time.monotonic() - killed_at < PATIENCE + END
    result = Result(begin('tiny.py', '--resume', '--n-epoch-init', '1', '--n-epoch', '0', *folders('killed')))
    assert result.code == 0 and 'going on after' in result.out, result.err


@pytest.mark.parametrize('error', ['internal error in RPCClient', 'Alloc'])
def test_only_a_lost_connection_ends_a_trainer_by_one_line(error):
    """When a server ends, Paddle aborts or raises such an error, whichever is first."""
    code = ('from training import cluster\n'
            'with cluster.ending_when_lost("gone"):\n'
            '    raise cluster.fluid.core.EnforceNotMet(%r)\n' % error)
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, stderr=subprocess.PIPE, universal_newlines=True)
    lost = 'RPCClient' in error
    assert done.returncode == 1 and (done.stderr == 'error: gone\n') == lost and ('Traceback' in done.stderr) != lost


def test_a_trainer_with_other_settings_is_one_line(begin, place):
    several = ['--servers', free_servers(1)[0], '--trainers', '2', *RUN]
    server = begin('tiny.py', *several, '--role', 'pserver')
    for changes, name in ((['--seed', '1'], '--seed'), (['--batch-size', '8'], '--batch-size')):
        trainer = begin('tiny.py', *several, '--role', 'trainer', *changes, *folders('other'), '--overwrite')
        assert Result(trainer).is_one_line(2, several[1], name)
    assert server.poll() is None


def test_a_port_in_use_is_one_line(begin, place):
    host, port = free_servers(1)[0].split(':')
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((host, int(port)))
        other.listen(1)
        server = begin('tiny.py', '--servers', '%s:%s' % (host, port), '--trainers', '2', *RUN, '--role', 'pserver')
        assert Result(server).is_one_line(1, 'cannot serve at %s:%s' % (host, port))


def test_a_wrong_address_is_one_line(begin, place):
    address = free_servers(1)[0]
    trainer = begin('tiny.py', '--servers', address, '--trainers', '2', *RUN, '--role', 'trainer', '--trainer-id', '1',
                    patience=2)
    assert Result(trainer).is_one_line(1, address, 'for 2 seconds')


@pytest.mark.parametrize('arguments, words', [
    (['--role', 'trainer'], ['--role trainer', '--servers', '--trainers']),
    (['--servers', 'here:7000'], ['--servers here:7000', '--role']),
    (['--servers', 'here'], ['here is not HOST:PORT']),
    (['--role', 'trainer', '--servers', 'a:1', '--trainers', '3'], ['--batch-size 4', 'multiple of 3']),
    (['--role', 'trainer', '--servers', 'a:1', '--trainers', '4', '--discriminator', 'article'],
     ['--batch-size 4', 'one value']),
    (['--role', 'trainer', '--servers', 'a:1', '--trainers', '2', '--trainer-id', '2'], ['--trainer-id 2', '0 to 1']),
    (['--role', 'pserver', '--servers', 'a:1', '--trainers', '2', '--server-id', '1'], ['--server-id 1']),
    (['--role', 'trainer', '--servers', 'a:1', '--trainers', '2', '--clip-gradients', '1'], ['--clip-gradients']),
    (['--role', 'trainer', '--servers', 'a:1', '--trainers', '2', '--dry-run'], ['--dry-run']),
    (['--role', 'trainer', '--servers', 'a:1', '--trainers', '2', '--val', 'data', '--patience', '1'], ['--patience']),
    (['--role', 'pserver', '--servers', 'a:7000,a:7100', '--trainers', '2'], ['a:7000', 'a:7100']),
])
def test_a_mistake_is_one_line(arguments, words):
    from training import settings
    with pytest.raises(settings.UsageError) as error:
        parsed, _ = settings.parse_settings(RUN + arguments)
        settings.check_sizes(parsed)
    assert all(word in str(error.value) for word in words), error.value

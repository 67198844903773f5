"""Set-up: which Python is found, when .venv is made anew, what is pinned, what people read where something is missing.

The machines here are folders: a PATH, a home and a checkout that hold what a case needs and nothing else. Their
Pythons are stand-ins that tell the version they were given and write down what pip is asked to install.
"""
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from cli import command, paddle_setup
from cli.paddle_setup import MKL_AVX2, choose_place, fluid, mkl_takes_sse, processor

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TOOLS = ('awk', 'cat', 'cksum', 'dirname', 'grep', 'make', 'rm', 'sed', 'sh')
SHIM = '#!/bin/sh\necho "pyenv: command not found" >&2\nexit 127\n'
STAND_IN = '''
import os, shutil, sys
me, version, missing, *arguments = sys.argv[1:]
sys.version_info = tuple(map(int, version.split('.')))
sys.modules.update({module: None for module in missing.split()})
sys.path[0] = ''
sys.base_prefix = os.path.dirname(os.path.dirname(os.path.abspath(me)))
if os.path.exists(sys.base_prefix + '/pyvenv.cfg'):
    with open(sys.base_prefix + '/pyvenv.cfg') as file:
        sys.base_prefix = file.read()
if arguments[0] == '-c':
    exec(arguments[1])
elif arguments == ['--version']:
    print('Python ' + version)
elif arguments == ['-m', 'venv', '--clear', '.venv']:
    shutil.rmtree('.venv', ignore_errors=True)
    os.makedirs('.venv/bin')
    for name in ('python', 'python3'):
        shutil.copy(me, '.venv/bin/' + name)
    with open('.venv/pyvenv.cfg', 'w') as file:
        file.write(sys.base_prefix)
elif arguments[:3] == ['-m', 'pip', 'install']:
    with open('pip.log', 'a') as log:
        print(*arguments[3:], file=log)
    sys.exit(os.path.exists('network is down'))
'''


class Machine:
    def __init__(self, folder):
        self.bin, self.home, self.checkout = [str(folder / name) for name in ('bin', 'home', 'a checkout 图')]
        self.stand_in = str(folder / 'stand_in.py')
        self.write(self.stand_in, STAND_IN)
        for name in ('setup.sh', 'Makefile', 'cli/__init__.py', 'cli/command.py', 'cli/paddle_setup.py',
                     'requirements.txt', 'requirements-gpu.txt', 'requirements-dev.txt', 'requirements-visualdl.txt',
                     'requirements-notebook.txt', 'requirements-onnx.txt'):
            self.write(os.path.join(self.checkout, name), read(name))
        self.paddle = self.write(os.path.join(self.checkout, 'paddle', '__init__.py'), '')
        self.write(os.path.join(self.checkout, 'paddle', 'fluid.py'), 'class core:\n    set_num_threads = print\n')
        os.makedirs(self.bin)
        for tool in TOOLS:
            os.symlink(shutil.which(tool), os.path.join(self.bin, tool))

    @staticmethod
    def write(path, text):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text)
        os.chmod(path, 0o755)
        return path

    def python(self, folder, version, missing='', name='python'):
        """A Python in `folder`/bin, named `name` beside its own full name; returns the path by the full name."""
        script = '#!/bin/sh\nexec "%s" "%s" "$0" %s "%s" "$@"\n' % (sys.executable, self.stand_in, version, missing)
        self.write(os.path.join(folder, 'bin', name), script)
        return self.write(os.path.join(folder, 'bin', 'python' + version.rpartition('.')[0]), script)

    def command(self, name, text):
        return self.write(os.path.join(self.bin, name), '#!/bin/sh\n' + text)

    def run(self, *command_line, path=None, **environment):
        return subprocess.run(
            command_line or ('sh', 'setup.sh'), cwd=self.checkout, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, universal_newlines=True,
            env=dict(environment, PATH=path or self.bin, HOME=self.home, LC_ALL='C.UTF-8'))

    def change(self, name):
        with open(os.path.join(self.checkout, name), 'a') as file:
            file.write('# changed\n')

    def installations(self):
        """What pip was asked to install, one list a set-up."""
        log = read(os.path.join(self.checkout, 'pip.log'))
        return [line.split() for line in log.splitlines() if line.startswith('-r ')]


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.fixture
def python38(machine, tmp_path):
    return machine.python(str(tmp_path), '3.8.18')


def read(name):
    with open(os.path.join(ROOT, name), encoding='utf-8') as file:
        return file.read()


def one_line(text):
    assert text.endswith('\n') and text.count('\n') == 1, text
    return text


def test_a_python_that_does_not_start_is_passed_over_for_one_in_a_later_folder_of_the_path(machine, tmp_path):
    machine.write(os.path.join(machine.bin, 'python3.7'), SHIM)
    machine.python(str(tmp_path), '3.11.7', name='python3')
    later = machine.python(str(tmp_path / 'local'), '3.8.18')
    machine.python(machine.home + '/.pyenv/versions/3.7.16', '3.7.16')
    done = machine.run(path=machine.bin + ':' + os.path.dirname(later))
    assert done.returncode == 0 and later in done.stdout and not done.stderr


@pytest.mark.parametrize('root', ['home/.pyenv', 'pyenv root'])
def test_pyenvs_versions_are_found_where_only_its_shims_are_on_the_path(machine, tmp_path, root):
    for name in ('python3.7', 'python3.8', 'python3'):
        machine.write(os.path.join(machine.bin, name), SHIM)
    machine.python(str(tmp_path / root / 'versions/3.12.1'), '3.12.1')
    wanted = machine.python(str(tmp_path / root / 'versions/3.8.18'), '3.8.18')
    done = machine.run(**({} if root.startswith('home') else {'PYENV_ROOT': str(tmp_path / root)}))
    assert done.returncode == 0 and wanted in done.stdout


@pytest.mark.parametrize('has_one', [True, False])
def test_uvs_own_python_is_used_and_got_where_there_is_none(machine, tmp_path, has_one):
    uvs = str(tmp_path / 'uv data')
    machine.python(uvs if has_one else uvs + ' of the network', '3.8.20')
    machine.command('uv', '''
        [ "$1 $2" = "python find" ] && [ "$5" = 3.8 ] && [ -e "{0}" ] && echo "{0}/bin/python" && exit
        [ "$1 $2 $3" = "python install 3.8" ] && {1} "{0} of the network" "{0}" && exit
        exit 2'''.format(uvs, shutil.which('mv')))
    done = machine.run()
    assert done.returncode == 0 and uvs + '/bin/python3.8' in done.stdout


@pytest.mark.parametrize('has_one', [True, False])
def test_a_conda_environments_python_is_used_and_one_made_where_there_is_none(machine, tmp_path, has_one):
    environment = str(tmp_path / 'conda envs' / 'python3.8')
    machine.python(environment if has_one else environment + ' of the network', '3.8.20')
    machine.command('conda', '''
        [ "$1" = create ] && {1} "{0} of the network" "{0}" && exit
        echo "# conda environments:"; echo "#"; echo "base         *  /opt/conda"
        [ ! -e "{0}" ] || echo "python3.8       {0}"'''.format(environment, shutil.which('mv')))
    done = machine.run()
    assert done.returncode == 0 and environment + '/bin/python3.8' in done.stdout


@pytest.mark.parametrize('version, missing', [
    ('3.11.7', ''), ('3.6.15', ''), ('3.8.10', 'ensurepip'), ('3.7.3', 'venv')])
def test_without_a_fitting_python_one_line_says_how_to_get_one(machine, tmp_path, version, missing):
    machine.python(str(tmp_path), version, missing, name='python3')
    done = machine.run()
    assert done.returncode == 2 and 'uv python install 3.8' in one_line(done.stderr) and not done.stdout
    assert not os.path.exists(os.path.join(machine.checkout, '.venv'))


def test_a_named_python_is_used_and_an_unfit_one_refused(machine, python38, tmp_path):
    named = machine.python(str(tmp_path / 'my python'), '3.7.16')
    done = machine.run('make', 'setup', 'PYTHON=' + named)
    assert done.returncode == 0 and named in done.stdout
    for same in ('', named, os.path.join(os.path.dirname(named), 'python')):
        assert machine.run('make', 'setup', 'PYTHON=' + same).stdout == '', 'a Python that was named once stays'
    done = machine.run(PYTHON=python38)
    assert done.returncode == 0 and python38 in done.stdout, 'another named Python makes .venv anew'
    unfit = machine.python(str(tmp_path / 'new python'), '3.12.1')
    done = machine.run(PYTHON=unfit)
    assert done.returncode == 2 and unfit in one_line(done.stderr)


def test_an_activated_venv_is_made_anew_from_the_python_beneath_it(machine, python38):
    assert machine.run().returncode == 0
    machine.change('requirements.txt')
    done = machine.run(path=os.path.join(machine.checkout, '.venv', 'bin') + ':' + machine.bin)
    assert done.returncode == 0 and python38 in done.stdout and len(machine.installations()) == 2


def test_nothing_is_done_twice_until_a_requirement_changes(machine, python38):
    assert machine.run().returncode == 0
    done = machine.run()
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')
    assert len(machine.installations()) == 1
    for number, name in enumerate(('requirements.txt', 'requirements-dev.txt', 'requirements-onnx.txt'), start=2):
        machine.change(name)
        machine.run()
        assert len(machine.installations()) == number


def test_a_venv_whose_python_has_gone_is_made_anew(machine, python38):
    machine.run()
    os.remove(os.path.join(machine.checkout, '.venv', 'bin', 'python'))
    assert machine.run().returncode == 0 and len(machine.installations()) == 2


def test_an_interrupted_setup_is_started_anew(machine, python38):
    broken_network = machine.write(os.path.join(machine.checkout, 'network is down'), '')
    assert machine.run().returncode == 1
    os.remove(broken_network)
    half = machine.write(os.path.join(machine.checkout, '.venv', 'lib', 'half of a package'), '')
    assert machine.run().returncode == 0
    assert not os.path.exists(half) and len(machine.installations()) == 1
    assert machine.run().stdout == ''


def test_the_gpu_wheel_stays_until_the_cpu_wheel_is_asked_for(machine, python38):
    for environment, wheel in (({}, 'requirements.txt'), ({'GPU': '1'}, 'requirements-gpu.txt'),
                               ({}, 'requirements-gpu.txt'), ({'GPU': '0'}, 'requirements.txt')):
        assert machine.run(**environment).returncode == 0
        assert machine.installations()[-1] == ['-r', wheel, '-r', 'requirements-dev.txt']
    assert len(machine.installations()) == 3
    done = machine.run(GPU='yes')
    assert done.returncode == 2 and 'GPU=yes' in one_line(done.stderr)


def test_a_library_missing_at_setup_is_told_each_time_and_costs_no_other_installation(machine, python38):
    machine.write(machine.paddle, 'raise ImportError("libSM.so.6: cannot open shared object file")')
    for _ in range(2):
        done = machine.run()
        assert done.returncode == 2 and 'apt-get install' in one_line(done.stderr)
    machine.write(machine.paddle, '')
    assert machine.run().returncode == 0 and len(machine.installations()) == 1


def pins(name):
    """{package: version} of a requirements file; a line that is no pin, such as one with a marker, has None."""
    lines = [line for line in read(name).splitlines() if line and not line.startswith(('#', '-'))]
    pinned = [re.fullmatch(r'([\w.-]+)==([\w.]+)', line) for line in lines]
    return {canonical(pin[1] if pin else line): pin and pin[2] for pin, line in zip(pinned, lines)}


def canonical(package):
    return re.sub('[-_.]+', '-', package).lower()


def test_every_requirement_is_pinned_and_one_list_serves_both_pythons():
    on_cpu, on_gpu = pins('requirements.txt'), pins('requirements-gpu.txt')
    for name in ('requirements-dev.txt', 'requirements-visualdl.txt', 'requirements-notebook.txt',
                 'requirements-onnx.txt'):
        assert None not in pins(name).values() and not set(on_cpu) & set(pins(name))
    assert None not in on_cpu.values()
    assert on_cpu.pop('paddlepaddle') == '1.8.5' and on_gpu.pop('paddlepaddle-gpu') == '1.8.5.post107'
    assert '\n-c requirements.txt\n' in read('requirements-gpu.txt')
    assert set(on_gpu) <= set(on_cpu) and set(on_gpu.values()) == {None}


@pytest.mark.skipif(os.path.realpath(sys.prefix) != os.path.join(os.path.realpath(ROOT), '.venv'),
                    reason='runs in another environment than the one that make setup makes')
def test_what_setup_installed_is_what_the_files_pin_and_fits_together():
    """A package that something needs and no file pins would be whatever is newest on the day."""
    def pip(*arguments):
        return subprocess.check_output((sys.executable, '-m', 'pip') + arguments, universal_newlines=True)

    names = ('requirements-gpu.txt', 'requirements.txt', 'requirements-visualdl.txt', 'requirements-notebook.txt',
             'requirements-onnx.txt', 'requirements-dev.txt')
    pinned = {package: version for name in names for package, version in pins(name).items()}
    installed = dict(line.split('==') for line in pip('freeze').splitlines())
    assert {package: pinned.get(canonical(package)) for package in installed} == installed
    assert 'No broken requirements' in pip('check')


def test_a_system_library_that_opencv_lacks_is_one_line_with_the_apt_command(tmp_path):
    lost = 'libSM.so.6: cannot open shared object file: No such file or directory'
    (tmp_path / 'cv2.py').write_text('raise ImportError(%r)' % lost)
    done = subprocess.run(
        (sys.executable, os.path.join(ROOT, 'train.py'), '--help'),
        cwd=ROOT, env=dict(os.environ, PYTHONPATH=str(tmp_path)), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        universal_newlines=True)
    assert done.returncode == 2
    assert lost in one_line(done.stderr) and 'apt-get install libsm6' in done.stderr


@pytest.mark.skipif('avx2' not in processor().get('flags', '').split(), reason='this processor has no AVX2')
def test_matrix_products_use_fused_multiplication():
    """MKL's code for AVX2 has it, so that x * x - round(x * x) is not zero, and its code for SSE does not."""
    x = np.float32(1 + 2 ** -12)
    program = fluid.Program()
    with fluid.program_guard(program, fluid.Program()):
        product = fluid.layers.matmul(fluid.data('rows', [64, 64]), fluid.data('columns', [64, 64]))
    rows, columns = np.zeros((2, 64, 64), np.float32)
    rows[:, 0], rows[:, 1] = -(x * x), x
    columns[0], columns[1] = 1, x
    found, = fluid.Executor(fluid.CPUPlace()).run(program, feed={'rows': rows, 'columns': columns},
                                                  fetch_list=[product])
    assert np.any(found)


def test_mkl_is_left_alone_on_a_processor_of_intel_or_without_avx2(tmp_path, monkeypatch):
    monkeypatch.setattr(paddle_setup, 'CPUINFO', str(tmp_path / 'cpuinfo'))
    assert not mkl_takes_sse()
    for vendor, flags, helped in (('AuthenticAMD', 'sse2 avx avx2 fma', True), ('GenuineIntel', 'avx2 fma', False),
                                  ('AuthenticAMD', 'sse2 avx', False)):
        (tmp_path / 'cpuinfo').write_text('vendor_id\t: %s\nflags\t\t: %s\n' % (vendor, flags))
        assert mkl_takes_sse() is helped


def test_a_choice_of_mkls_code_by_the_user_stays():
    own = dict(os.environ, **dict.fromkeys(MKL_AVX2, 'mine'))
    shown = subprocess.check_output(
        [sys.executable, '-c', 'import os, cli.paddle_setup; print(os.environ[%r])' % list(MKL_AVX2)[0]],
        env=own, cwd=ROOT, universal_newlines=True)
    assert shown == 'mine\n'


def test_device_gpu_without_a_gpu_is_a_usage_error():
    """An Executor on a GPU that is not there ends the process, so the refusal comes before."""
    if fluid.core.is_compiled_with_cuda() and fluid.core.get_cuda_device_count():
        pytest.skip('there is a GPU here')
    with pytest.raises(command.UsageError, match='--device gpu'):
        choose_place('gpu')
    assert isinstance(choose_place('auto'), fluid.CPUPlace)


def test_clean_removes_the_environment_and_caches_and_nothing_else(machine):
    made = ['.venv/bin/python', '.pytest_cache/x', '.ruff_cache/x', '__pycache__/x.pyc', 'tests/__pycache__/x.pyc',
            'storage/__pycache__/x.pyc']
    kept = ['models/g_models/out.w_0', 'models/README.md', 'output/epoch_1_G.jpg', 'output/log.csv',
            'pretrained/vgg19/x', 'data/a photo.png', 'data/__pycache__/a photo.png', 'tests/test_x.py', 'train.py']
    for name in made + kept:
        machine.write(os.path.join(machine.checkout, name), 'x')
    before = files_in(machine.checkout)
    assert machine.run('make', 'clean').returncode == 0
    assert before - files_in(machine.checkout) == set(made)


def files_in(folder):
    return {os.path.relpath(os.path.join(path, name), folder) for path, _, names in os.walk(folder) for name in names}


def test_make_alone_lists_every_target(machine):
    targets = re.search(r'^\.PHONY: (.*)$', read('Makefile'), re.MULTILINE)[1].split()
    listed = machine.run('make').stdout.splitlines()
    assert [line.split()[:2] for line in listed] == [['make', target] for target in targets]

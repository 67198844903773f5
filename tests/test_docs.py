"""docs/ says what the code does; and the traps of Paddle in it that no other module of tests holds."""
import ast
import collections
import json
import os
import re
import struct
import subprocess
import sys
import zipfile

import networkx
import numpy as np
import pytest
from conftest import QUICK, ROOT

import programs
import srgan_g
from storage import persistables
from training import log

sys.path.insert(0, os.path.join(ROOT, 'docs'))
import draw_layout

import recipes
from layers import variables_of
from losses import Objective
from srgan_d import SRGAN_d
from vgg19 import parameter_shapes

# {module: its path}: the pages leave out the room.
PATHS = {module.split('.')[-1]: path for module, path in draw_layout.modules().items()}
PAGES = sorted(name for name in os.listdir(os.path.join(ROOT, 'docs')) if name.endswith('.md'))


def read(*path):
    with open(os.path.join(ROOT, *path), encoding='utf-8') as file:
        return file.read()


def rows(page):
    """The cells of all rows of a page's tables."""
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in page.splitlines()
            if line.startswith('|') and not line.startswith('| ---')]


def defines(path, names):
    """Whether a module has a function or class of that name, or one inside the other."""
    nodes = ast.parse(read(path)).body
    for name in names:
        found = [node for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name]
        if not found:
            return False
        nodes = found[0].body
    return True


# All pages

@pytest.mark.parametrize('name', PAGES)
def test_what_a_page_names_exists(name):
    """What it links to, modules, and what it calls `module.name`."""
    page = read('docs', name)
    for link in re.findall(r'\]\(([^):]+)\)', page):
        assert os.path.exists(os.path.join(ROOT, 'docs', link)), link
    for path in re.findall(r'`((?:\w+/)?\w+\.py)`', page):
        assert os.path.exists(os.path.join(ROOT, path)), path
    for module, name in re.findall(r'`([a-z]\w+)\.(\w+)`', page):
        if module in PATHS and name not in ('py', 'json', 'csv', 'md', 'ipynb'):
            assert re.search(r'^((def|class) )?%s\b' % name, read(PATHS[module]), re.MULTILINE), (module, name)


def test_layout_names_every_module():
    assert len(PATHS) == len(draw_layout.modules()), 'two modules have one name'
    assert set(PATHS.values()) <= set(re.findall(r'`([\w/]+\.py)`', read('docs', 'layout.md')))


def test_readme_links_to_every_page():
    assert {'docs/' + name for name in PAGES} <= set(re.findall(r'\]\((docs/\w+\.md)\)', read('README.md')))


# traps.md

def test_each_trap_has_its_function_and_its_test():
    page = read('docs', 'traps.md')
    functions = {row[0]: row[-1].strip('`') for row in rows(page) if row[0]}
    tests = dict(re.findall(r'^(\d+)\. `(.*)`$', page, re.MULTILINE))
    assert len(functions) > 20 and list(functions) == list(tests)
    for number, function in functions.items():
        module, *names = function.split('.')
        assert defines(PATHS[module], names), function
        path, *names = tests[number].split('::')
        assert defines(path, names), tests[number]


# layout.md

def test_the_layout_is_that_of_the_imports():
    page = read('docs', 'layout.md')
    assert draw_layout.with_drawing(page, draw_layout.drawing()) == page, (
        'python docs/draw_layout.py brings it up to date')


def test_every_module_has_one_subject_and_arrows_go_one_way():
    graph = draw_layout.imports()
    assert all(draw_layout.subject_of(module) for module in graph)
    for one_way in (graph, draw_layout.subjects_graph(graph)):
        assert networkx.is_directed_acyclic_graph(networkx.DiGraph(one_way))


def test_nothing_imports_a_command_but_commands():
    for module, others in draw_layout.imports().items():
        assert module in draw_layout.COMMANDS or not others & set(draw_layout.COMMANDS), module


def test_paddle_is_imported_in_one_place():
    """Elsewhere the flags that must be set before would come too late. Fleet's modules are no attributes of it."""
    for module, path in draw_layout.modules().items():
        found = {name for name in draw_layout.named(ast.parse(read(path))) if name.split('.')[0] == 'paddle'
                 and not name.startswith('paddle.fluid.incubate.fleet')}
        assert not found or module == 'cli.paddle_setup' or module == 'ai_studio', (module, found)


# programs.md

# feeds {name: shape}, fetches [name], updates and leaves: networks.
Facts = collections.namedtuple('Facts', 'feeds fetches updates leaves')


@pytest.fixture(scope='module')
def facts():
    """{program: Facts} of the article's recipe, read out of the programs."""
    recipe = recipes.RECIPES['article']
    built = programs.build(recipe['crop_size'], Objective(recipe['content_loss'], recipe['adversarial_weight']), 0,
                           programs.AdamOptions(on_cpu=False))
    networks = {'G': variables_of(srgan_g.SRGAN_g, [None, 3, None, None]),
                'D': variables_of(SRGAN_d, [None, 3, recipe['crop_size'], recipe['crop_size']]),
                'VGG19': parameter_shapes(recipe['content_loss'])}
    found = {}
    for name in ('init_g', 'd', 'g', 'sample'):
        step = getattr(built, name)
        block = step.program.global_block()
        updated = {op.input('Param')[0] for op in block.ops if op.type == 'adam'}
        there = [network for network, variables in networks.items() if set(variables) <= set(step.persistables)]
        updates = [network for network in there if updated & set(networks[network])]
        found[name] = Facts({feed: list(block.var(feed).shape) for feed in step.feeds}, list(step.fetches), updates,
                            [network for network in there if network not in updates])
    return found


def test_the_table_of_programs_is_that_of_the_programs(facts):
    def cell(names, form='%s'):
        return ', '.join(form % name for name in names) or '-'

    table = {row[0]: row[1:] for row in rows(read('docs', 'programs.md'))}
    for name, fact in facts.items():
        assert table['`%s`' % name] == [cell(fact.feeds, '`%s`'), cell(fact.fetches, '`%s`'), cell(fact.updates),
                                        cell(fact.leaves)]
    assert facts['g'].updates == ['G'] and facts['g'].leaves == ['D', 'VGG19']


def test_the_drawing_of_the_programs_has_what_is_in_them(facts):
    """Feeds with their shapes, fetches round, networks by what is done with them, and each node on an arrow."""
    drawn = []
    for name, _, body in re.findall(r'subgraph (\w+) (.*?)\n(.*?)\n    end', read('docs', 'programs.md'), re.DOTALL):
        drawn.append(name)
        fact = facts[name]
        shapes = {feed: ' x '.join('N' if side == -1 else str(side) for side in shape)
                  for feed, shape in fact.feeds.items()}
        wanted = {'["G(t_image)"]', *('(["%s"])' % fetch for fetch in fact.fetches),
                  *('["%s<br>%s"]' % feed for feed in shapes.items()),
                  *('["%s"]:::updated' % network for network in fact.updates),
                  *('["%s"]:::frozen' % network for network in fact.leaves)}
        nodes = dict(re.findall(r'^ +(\w+)([(\[].*)$', body, re.MULTILINE))
        assert set(nodes.values()) == wanted
        assert set(re.findall(r'\w+', ' '.join(line for line in body.splitlines() if '-->' in line))) == set(nodes)
    assert drawn == ['init_g', 'd', 'g']


# formats.md

def test_every_column_of_the_log_is_described():
    columns = [re.findall(r'`(\w+)`', row[0]) for row in rows(read('docs', 'formats.md').split('**`log.csv`**')[1])]
    assert tuple(name for names in columns for name in names) == log.COLUMNS


def test_a_variables_file_is_as_described():
    """Read by the page alone."""
    table = [row for row in rows(read('docs', 'formats.md')) if re.match(r'\d', row[0])]
    letters = ''.join({'uint32': 'I', 'uint64': 'Q', 'int32': 'i'}[row[1]] for row in table[:-2])
    assert [row[0] for row in table] == [
        str(struct.calcsize('<' + letters[:count])) for count in range(len(letters) + 1)] + ['20 + n']
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    data = persistables.encode(array)
    *versions, length = struct.unpack_from('<' + letters, data)
    assert versions == [0, 0, 0]
    # Field 1 is a number, field 2 the sides: a byte each here, behind one for the field.
    assert data[20:20 + length] == bytes([1 << 3, 5, 2 << 3, 2, 2 << 3, 3])
    assert data[20 + length:] == array.tobytes()


def test_what_a_run_leaves_is_described(run, data, tmp_path):
    """Its files, the names of its settings, and what its state says of where it stands."""
    assert run('train.py', *QUICK, '--epoch-updates', '1', '--ema', '0.9', '--val', 'data').code == 0
    page = read('docs', 'formats.md')
    for path in [*(tmp_path / 'models').iterdir(), *(tmp_path / 'output').iterdir()]:
        name = re.sub(r'\d+', 'N', path.name, count=1) if path.name.startswith('epoch') else path.name
        assert re.sub(r'epoch_.*(_\d+\.jpg)', r'...\1', name) + ('/' if path.is_dir() else '') in page, path
    kept = json.loads((tmp_path / 'models' / 'settings.json').read_text())
    assert set(kept) == {'recipe', *recipes.DEFAULTS, *recipes.RECIPES['demo']}
    with zipfile.ZipFile(str(tmp_path / 'models' / 'state.npz')) as archive:
        manifest = json.loads(archive.read(archive.namelist()[-1]).decode())
        names = {name[:-len('.npy')] for name in archive.namelist()[:-1]}
    assert set(manifest) == {'variables', 'position'} and set(manifest['variables']) == names
    assert all('`%s`' % name in page for name in manifest['position'])
    assert {'learning_rate', 'out.w_0', 'ho/fc2.w_0', 'average/out.w_0', 'average/updates'} <= names


# Traps

def test_the_learning_rate_is_set_from_outside_and_counts_nothing(monkeypatch):
    monkeypatch.setattr(srgan_g, 'RESIDUAL_BLOCKS', 1)
    built = programs.build(32, Objective('mse', 1e-3), 0, programs.AdamOptions(on_cpu=False))
    for name, rate in (('init_g', 'learning_rate'), ('d', 'learning_rate_d'), ('g', 'learning_rate')):
        operations = getattr(built, name).program.global_block().ops
        assert {op.input('LearningRate')[0] for op in operations if op.type == 'adam'} == {rate}
        assert not [op for op in operations if rate in op.output_arg_names or op.type == 'increment']


def after_import(words, **variables):
    """What a process of its own, with all cores, prints as JSON that imports Paddle as the project does."""
    environment = {name: value for name, value in os.environ.items()
                   if name != 'OMP_NUM_THREADS' and not name.startswith('FLAGS_')}
    return json.loads(subprocess.run(
        [sys.executable, '-c', 'import os; os.sched_setaffinity(0, range(os.cpu_count()))\n'
         'from cli.paddle_setup import fluid, set_threads\n' + words], cwd=ROOT,
        stdout=subprocess.PIPE, check=True, env={**environment, **variables}).stdout)


# Convolves, by oneDNN, pictures of another size each time, and notes which threads of the process worked.
THREADS_AT_WORK = '''
import json, time
import numpy as np

def ticks():
    counts = {}
    for thread in os.listdir('/proc/self/task'):
        with open('/proc/self/task/%s/stat' % thread) as file:
            fields = file.read().rpartition(')')[2].split()
        counts[thread] = int(fields[11]) + int(fields[12])
    return counts

def at_work(size):
    program, startup = fluid.Program(), fluid.Program()
    with fluid.program_guard(program, startup):
        fluid.layers.conv2d(fluid.data('x', [None, 32, size, size]), 32, 3, padding=1)
    program.global_block().ops[0]._set_attr('use_mkldnn', True)
    exe, scope = fluid.Executor(fluid.CPUPlace()), fluid.Scope()
    exe.run(startup, scope=scope)
    feed = {'x': np.ones((4, 32, size, size), np.float32)}
    # A thread that has nothing to do any more waits busily for a while.
    time.sleep(0.6)
    before, end = ticks(), time.time() + 0.7
    while time.time() < end:
        exe.run(program, feed=feed, scope=scope)
    after = ticks()
    return sum(after[thread] - before.get(thread, 0) > 5 for thread in after)

'''


@pytest.mark.skipif(os.cpu_count() < 2, reason='needs two cores')
@pytest.mark.parametrize('variables', [{}, {'OMP_NUM_THREADS': '1'}])
def test_paddle_computes_with_all_cores_and_with_the_threads_that_it_is_given(variables):
    """From its import on, and at any time later, whatever the environment says."""
    alone, two, one = after_import(
        THREADS_AT_WORK + 'one = at_work(64); set_threads(2); two = at_work(72); set_threads(1)\n'
        'print(json.dumps([one, two, at_work(80)]))', **variables)
    assert alone >= 2 and (two, one) == (2, 1)


def test_paddle_locks_no_memory():
    locked = after_import(
        'fluid.layers.fill_constant([1], "float32", 0.0); '
        'fluid.Executor(fluid.CPUPlace()).run(fluid.default_main_program()); '
        'print(next(int(line.split()[1]) for line in open("/proc/self/status") if "VmLck" in line))')
    assert locked < 1000


def test_a_variable_that_finds_no_room_on_the_disk_is_an_error():
    with pytest.raises(OSError, match='No space left'):
        persistables.write_variable('/dev', 'full', np.zeros(3, np.float32))

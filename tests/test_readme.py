"""The documents say what the code does: recipes, options, files. And every command in every document runs."""
import concurrent.futures
import glob
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import tiny_vgg
from conftest import ROOT, photograph
from PIL import Image

import recipes


def read(name):
    with open(os.path.join(ROOT, name), encoding='utf-8') as file:
        return file.read()


DOCUMENTS = ['README.md', 'README.zh.md', 'CONTRIBUTING.md', 'main.ipynb', os.path.join('docs', '*.md')]
DOCUMENTS = sorted(path for name in DOCUMENTS for path in glob.glob(os.path.join(ROOT, name)))
PAGES = {os.path.relpath(path, ROOT): read(path) for path in DOCUMENTS if path.endswith('.md')}
PAGES[os.path.join('pretrained', 'README.md')] = read(os.path.join('pretrained', 'README.md'))


def test_the_table_of_recipes_is_the_recipes():
    page = PAGES[os.path.join('docs', 'training.md')]
    lines = [line for line in page.splitlines() if re.match(r'\| (`\w+`|setting) ', line)]
    header = next(line for line in lines if line.startswith('| setting'))
    names = re.findall(r'`(\w+)`', header)
    assert names == list(recipes.RECIPES)
    rows = {}
    for line in lines[lines.index(header) + 1:]:
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        rows[cells[0].strip('`')] = cells[1:]

    def words(value):
        if isinstance(value, bool):
            return 'on' if value else 'off'
        return '-' if value is None else '{:g}'.format(value) if isinstance(value, float) else str(value)

    for setting in recipes.RECIPES['demo']:
        assert rows[setting] == [words(recipe[setting]) for recipe in recipes.RECIPES.values()], setting


@pytest.fixture(scope='module')
def options():
    """All options of all commands."""
    found = set()
    for script in ('train.py', 'show_results.py', 'vgg19.py', 'evaluate.py', 'upscale.py', 'archives.py'):
        shown = subprocess.run([sys.executable, script, '--help'], cwd=ROOT, stdout=subprocess.PIPE, check=True)
        found |= set(re.findall(r'--[a-z][a-z0-9-]*', shown.stdout.decode()))
    return found


@pytest.mark.parametrize('page', sorted(PAGES))
def test_every_option_it_names_exists(page, options):
    ours = re.sub('`visualdl [^`]*`|python -m paddle.*|`--cluster_node_ips`|python --version', '', PAGES[page])
    named = set(re.findall(r'(?<![\w-])--[a-z][a-z0-9-]*', ours))
    assert named <= options, named - options


def test_the_options_are_explained_in_training_md(options):
    """So the collecting above has not gone blind."""
    named = set(re.findall(r'--[a-z][a-z0-9-]*', PAGES[os.path.join('docs', 'training.md')]))
    assert {'--ema', '--val', '--init-d', '--amp', '--resume', '--recipe', '--readers'} <= named & options


@pytest.mark.parametrize('page', sorted(PAGES))
def test_every_file_it_names_exists(page):
    """Modules, requirements and scripts, with their folders."""
    for path in re.findall(r'`((?:[\w-]+/)*[\w-]+\.(?:py|txt|sh|md|cff|ipynb))`', PAGES[page]):
        assert os.path.exists(os.path.join(ROOT, path)), path


def test_every_module_on_top_and_every_folder_is_named_in_it():
    spans = set(re.findall('`([^`]+)`', PAGES['README.md']))
    assert {name for name in os.listdir(ROOT) if name.endswith('.py')} <= spans
    rooms = {name + '/' for name in os.listdir(ROOT) if os.path.exists(os.path.join(ROOT, name, '__init__.py'))}
    assert len(rooms) > 5 and rooms <= spans
    for folder in spans:
        assert os.path.isdir(os.path.join(ROOT, folder)) or not re.match(r'\w+/$', folder), folder


@pytest.mark.parametrize('page', sorted(PAGES))
def test_its_pictures_and_links_exist(page):
    for path in re.findall(r'\]\(([^):]+)\)', PAGES[page]):
        assert os.path.exists(os.path.join(ROOT, os.path.dirname(page), path)), path


def test_the_chinese_readme_tells_the_same():
    """Section by section: commands, options, files, links and numbers; of a table the numbers of each cell."""
    pages = [PAGES[name].split('\n## ') for name in ('README.md', 'README.zh.md')]
    assert len(pages[0]) == len(pages[1])
    for sections in zip(*pages):
        for english, chinese in zip(*map(untranslated, sections)):
            assert english == chinese, sections[0].splitlines()[0]


def untranslated(section):
    """What a section of a page of Markdown has in every language: code in any order, commands, ..., numbers."""
    blocks, text = blocks_and_text(section)
    code = {' '.join(span.split()) for span in re.findall('`([^`]+)`', text)}
    commands, programs = commands_of(section)
    recipes = [line for line in text.splitlines() if re.match(r'\| `\w+` \|', line)]
    cells = [[numbers(cell) for cell in line.split('|')] for line in text.splitlines() if line.startswith('|')]
    # Each page begins with a link to the other.
    links = re.findall(r'\]\((?!README)([^)]+)\)', text)
    return code, set(commands), programs, recipes, cells, links, set(numbers(text))


def numbers(text):
    return sorted(re.findall(r'\d(?:[\d.,]*\d)?', text))


# Every command in the documents, run once, by networks of a few filters, on pictures of a few pixels

# Of these only the script and its options are looked up.
NOT_RUN = {
    'python benchmarks/upscale.py --model DIR': 'takes six minutes',
    'python benchmarks/game.py --data DIR': 'takes half an hour',
    'python benchmarks/game.py --data PHOTOS': 'takes half an hour',
    'python evaluate.py --fetch': 'fetches weights; test_evaluate.py has some of its own',
    'python benchmarks/train.py': 'takes eight minutes; test_benchmark_train.py runs it with --quick',
    'python evaluate.py --data DIR --model A B --lpips': 'fetches weights; test_evaluate.py has some of its own',
    'make test-gpu-wheel': 'fetches the GPU wheel, of 700 MB',
    'python benchmarks/distributed.py': 'takes four minutes',
    'python benchmarks/roofline.py': 'measures the whole network; test_roofline.py runs it with --turns 1',
    'python -m paddle.distributed.launch --selected_gpus 0,1 train.py --data DIR': 'needs two GPUs',
    'python train.py --data DIR --trainers 2 --servers A:6170,B:6170 --role pserver --server-id 0':
        'needs two hosts; test_cluster.py has two processes',
    'python train.py --data DIR --trainers 2 --servers A:6170,B:6170 --role trainer --trainer-id 0':
        'needs two hosts; test_cluster.py has two processes',
    'python figures/draw_comparison.py': 'measures whole networks, with LPIPS',
    'python upscale.py --export-page DIR': 'fetches onnxruntime-web; test_web_page.py has some of its own',
    'python -m http.server': 'serves pages until it is stopped',
    'visualdl --logdir output/visualdl --model output/visualdl/__model__': 'serves pages until it is stopped',
}
# A training of seconds; in front, so that what the document says counts.
SHORT = ['--n-epoch-init', '1', '--n-epoch', '1', '--epoch-updates', '1', '--crop-size', '32', '--batch-size', '2']


def blocks_and_text(page):
    """The code blocks of a page of Markdown, fenced or indented by four, as (language or '', lines); and the rest."""
    blocks, rest, fence = [], [], None
    for line in page.splitlines():
        if line.lstrip().startswith('```'):
            blocks += [] if fence is not None else [(line.strip('` '), [])]
            fence = None if fence is not None else len(line) - len(line.lstrip())
        elif fence is not None:
            blocks[-1][1].append(line[fence:])
        elif line.startswith('    '):
            if rest[-1:] != [None]:
                blocks.append(('', []))
                rest.append(None)
            blocks[-1][1].append(line[4:])
        elif line or rest[-1:] != [None]:
            rest.append(line)
    return blocks, '\n'.join(line or '' for line in rest)


def commands_of(page):
    """The commands in a page of Markdown, and its blocks of Python. Any other line in a block is a command too."""
    commands, programs = [], []
    blocks, text = blocks_and_text(page)
    for language, lines in blocks:
        if language == 'python' or lines[0].startswith(('import ', 'from ')):
            programs.append('\n'.join(lines))
        elif language in ('', 'sh', 'bash', 'shell', 'console'):
            # After two spaces or a # comes what it does; a line that begins with spaces goes on with that.
            commands += [re.split('  |#', line)[0] for line in lines if line and not line.startswith(' ')]
    for paragraph in re.split(r'\n\s*\n', text):
        for code in re.findall('`([^`]+)`', paragraph):
            if re.match(r'(python[\d.]*|make|pip|visualdl|%run|sh) ', code):
                commands.append(code)
    # In a notebook %run is what python is elsewhere.
    return [re.sub('^%run (-e )?', 'python ', ' '.join(command.split())) for command in commands], programs


def collect():
    """All commands, and all programs, of the documents: {text: the documents that have it}."""
    commands, programs = {}, {}
    for path in DOCUMENTS:
        with open(path, encoding='utf-8') as file:
            pages = [file.read()]
        if path.endswith('.ipynb'):
            cells = [(cell['cell_type'], ''.join(cell['source'])) for cell in json.loads(pages[0])['cells']]
            # Its cells of code are run by test_notebook.py; what they run in turn is a command like others.
            pages = [source for kind, source in cells if kind == 'markdown']
            pages += ['`%s`' % line.lstrip('!') for kind, source in cells if kind == 'code'
                      for line in source.splitlines() if line.startswith(('!', '%run'))]
        for page in pages:
            for found, texts in zip((commands, programs), commands_of(page)):
                for text in texts:
                    found.setdefault(text, []).append(os.path.relpath(path, ROOT))
    return commands, programs


COMMANDS, PROGRAMS = collect()


@pytest.fixture(scope='module')
def home(tmp_path_factory):
    """The project as it is after a training, with all that the documents name: photo.jpg, FOLDER, DIR, VAL, A and B."""
    home = tmp_path_factory.mktemp('home') / 'project'
    away = ('.*', 'models', 'output', 'pretrained', 'work', 'data', '*.png', 'test_*', '__pycache__')
    shutil.copytree(ROOT, str(home), ignore=shutil.ignore_patterns(*away))
    for folder in ('FOLDER', 'DIR', 'VAL', 'work/pictures'):
        os.makedirs(str(home / folder))
        for number in range(3):
            Image.fromarray(photograph(48, 64, number)).save(str(home / folder / ('%d.png' % number)))
    shutil.make_archive(str(home / 'FOLDER' / 'some'), 'zip', str(home / 'VAL'))
    for name in ('photo.jpg', 'work/photo.jpg'):
        Image.fromarray(photograph(20, 30, 0)).save(str(home / name))
    tiny_vgg.write(str(home / 'pretrained' / 'vgg19'))
    for options in (['train.py', '--data', 'DIR', '--recipe', 'scratch'] + SHORT, ['upscale.py', 'photo.jpg'],
                    ['upscale.py', '--export', 'pixels.onnx', '--export-uint8']):
        done = execute(['env', 'CURVES=drawn', sys.executable, 'tests/tiny.py'] + options, home)
        assert done.returncode == 0, done.stdout
    for network in ('pretrained/srgan', 'pretrained/srresnet', 'A', 'B', 'work/models/g_models'):
        shutil.copytree(str(home / 'models' / 'g_models'), str(home / network))
    (home / 'photo_x4.png').unlink()
    # What make finds in place of an environment writes down what it is asked to run.
    (home / 'setup.sh').write_text("mkdir -p .venv/bin; printf '#!/bin/sh\\necho \"$@\" >>asked\\n' >.venv/bin/python\n"
                                   'chmod +x .venv/bin/python\n')
    return home


def execute(words, folder):
    return subprocess.run(words, cwd=str(folder), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True,
                          env=dict(os.environ, PIP_NO_INDEX='1', DISPLAY='', PIP_DISABLE_PIP_VERSION_CHECK='1'))


def run_command(command, home, folder):
    """Run a command of the documents in a copy of home -> what is wrong with it, or None."""
    shutil.copytree(str(home), str(folder))
    program, *words = shlex.split(command)
    if program == 'python':
        if words[0] == 'train.py' and not {'--resume', '--help'} & set(words):
            shutil.rmtree(str(folder / 'models'))
            shutil.rmtree(str(folder / 'output'))
            words[1:1] = SHORT
        known = words[0] == '--version' or os.path.exists(os.path.join(ROOT, words[0]))
        ours = ['tests/tiny.py'] if '/' not in words[0] and words[0].endswith('.py') else []
        done = execute([sys.executable] + ours + words, folder)
        return None if known and done.returncode == 0 else done.stdout
    if program == 'make':
        done = execute(['make'] + words, folder)
        asked = (folder / 'asked').read_text().splitlines() if (folder / 'asked').exists() else []
        lost = [line for line in asked if not line.startswith('-m ') and not (folder / line.split()[0]).exists()]
        recipes = read('Makefile') + read('setup.sh')
        lost += [word for word in words if '=' in word and word.split('=')[0] not in recipes]
        return done.stdout if done.returncode else ', '.join(lost) or None
    if program == 'pip' and words == ['list']:
        done = execute([sys.executable, '-m', 'pip', 'list'], folder)
        return done.stdout if done.returncode else None
    if program == 'pip' and words[:2] == ['install', '-r']:
        # A network would be needed for more; test_setup.py looks at what the files pin.
        return ', '.join(name for name in words[2::2] if not (folder / name).exists()) or None
    return 'no command of this project'


@pytest.fixture(scope='module')
def outcomes(home, tmp_path_factory):
    """{command: what became of it}, two at a time."""
    folder = tmp_path_factory.mktemp('commands')
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        yield {command: pool.submit(run_command, command, home, folder / str(number))
               for number, command in enumerate(COMMANDS) if command not in NOT_RUN}


@pytest.mark.parametrize('command', sorted(set(COMMANDS) - set(NOT_RUN)))
def test_every_command_in_the_documents_runs(command, outcomes):
    wrong = outcomes[command].result()
    assert wrong is None, (COMMANDS[command], wrong)


@pytest.mark.parametrize('command', sorted(NOT_RUN))
def test_what_is_not_run_is_in_the_documents_and_has_its_options(command):
    assert command in COMMANDS, 'no document has it any more'
    program, script, *words = shlex.split(command)
    if script == '-m':
        # Python's own way to run what another package has.
        return
    assert program != 'python' or os.path.exists(os.path.join(ROOT, script))
    options = {word for word in words if word.startswith('--')}
    if program == 'python' and options:
        assert options <= set(re.findall('--[a-z0-9-]+', execute([sys.executable, script, '--help'], ROOT).stdout))


@pytest.mark.parametrize('program', sorted(PROGRAMS), ids=lambda program: program.splitlines()[0])
def test_every_program_in_the_documents_runs(program, home):
    done = execute([sys.executable, '-c', 'import sys; sys.path.insert(0, "tests"); import tiny; tiny.shrink()\n'
                    + program], home)
    assert done.returncode == 0, (PROGRAMS[program], done.stdout)


def test_all_that_a_user_calls_is_among_them():
    """So the collecting has not gone blind."""
    words = [shlex.split(command) for command in COMMANDS if 'README.md' in COMMANDS[command]]
    scripts = {'train.py', 'show_results.py', 'upscale.py', 'evaluate.py', 'archives.py', 'vgg19.py'}
    assert scripts <= {word[1] for word in words if word[0] == 'python'}
    assert {'train', 'test', 'setup', 'lint', 'clean'} <= {word[1] for word in words if word[0] == 'make'}
    assert len(PROGRAMS) > 1
    pages = {os.path.join('docs', name + '.md') for name in ('distributed', 'layout', 'speed', 'training', 'upscaling')}
    assert {'README.md', 'CONTRIBUTING.md', *pages} <= set(sum(COMMANDS.values(), []))

"""README.md says what the code does: recipes, options, files."""
import os
import re

import pytest
from conftest import ROOT

import settings

with open(os.path.join(ROOT, 'README.md'), encoding='utf-8') as file:
    README = file.read()


def test_the_table_of_recipes_is_the_recipes():
    lines = [line for line in README.splitlines() if re.match(r'\| (`\w+`|setting) ', line)]
    header = next(line for line in lines if line.startswith('| setting'))
    names = re.findall(r'`(\w+)`', header)
    assert names == list(settings.RECIPES)
    rows = {}
    for line in lines[lines.index(header) + 1:]:
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        rows[cells[0].strip('`')] = cells[1:]

    def words(value):
        if isinstance(value, bool):
            return 'on' if value else 'off'
        return '-' if value is None else '{:g}'.format(value) if isinstance(value, float) else str(value)

    for setting in settings.RECIPES['demo']:
        assert rows[setting] == [words(recipe[setting]) for recipe in settings.RECIPES.values()], setting


def test_every_option_it_names_exists():
    import subprocess
    import sys
    known = set()
    for script in ('train.py', 'show_results.py', 'vgg19.py', 'evaluate.py', 'upscale.py'):
        if os.path.exists(os.path.join(ROOT, script)):
            shown = subprocess.run([sys.executable, script, '--help'], cwd=ROOT, stdout=subprocess.PIPE, check=True)
            known |= set(re.findall(r'--[a-z][a-z0-9-]*', shown.stdout.decode()))
    ours = re.sub('`visualdl [^`]*`', '', README)
    named = set(re.findall(r'(?<![\w-])--[a-z][a-z0-9-]*', ours))
    assert named and named <= known, named - known


@pytest.mark.parametrize('name', sorted(set(re.findall(r'`(\w+\.(?:py|txt|sh))`', README))))
def test_every_file_it_names_exists(name):
    assert os.path.exists(os.path.join(ROOT, name))


def test_every_module_is_named_in_it():
    modules = {name for name in os.listdir(ROOT) if name.endswith('.py')}
    assert modules <= set(re.findall(r'`(\w+\.py)`', README)) | {'conftest.py'}


def test_its_pictures_exist():
    for path in re.findall(r'!\[[^]]*\]\(([^)]+)\)', README):
        assert os.path.exists(os.path.join(ROOT, path)), path

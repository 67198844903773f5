"""Draw which module imports which, for layout.md: a mermaid block, made from the imports alone.

    python docs/draw_layout.py      brings docs/layout.md up to date
"""
import ast
import glob
import os
import re

import networkx

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOMS = ('training', 'measuring', 'pictures', 'cpu', 'reading', 'storage', 'cli', 'figures', 'export')
# Every module may import these.
EVERYBODYS = ('cli.command', 'cli.paddle_setup')
# What users run. Nothing but another command imports them.
COMMANDS = ('ai_studio', 'archives', 'evaluate', 'show_results', 'train', 'upscale')
# The modules on top that stand with a room or alone in the drawing, in the order in which mermaid places them well.
SUBJECTS = {'Commands': COMMANDS, 'training/ and recipes.py': ('recipes',), 'export/': (), 'measuring/': (),
            'pictures/': (), 'Programs': ('programs', 'losses'), 'cpu/': (), 'figures/': (),
            'Networks': ('srgan_g', 'srgan_d', 'vgg19', 'layers'), 'reading/ and data_utils.py': ('data_utils',),
            'storage/': (), 'cli/': ()}


def modules():
    """{module: its path}, a module of a room as 'room.module'; without the script in figures/."""
    paths = [name for room in ('', *ROOMS) for name in sorted(glob.glob(os.path.join(ROOT, room, '*.py')))]
    return {os.path.relpath(path, ROOT)[:-len('.py')].replace(os.sep, '.'): os.path.relpath(path, ROOT)
            for path in paths if os.path.basename(path) not in ('__init__.py', 'draw_comparison.py')}


def imports():
    """{module: the modules of this project that it imports, inside functions too}, without EVERYBODYS."""
    paths, graph = modules(), {}
    for module, path in paths.items():
        with open(os.path.join(ROOT, path), encoding='utf-8') as file:
            graph[module] = named(ast.parse(file.read())) & set(paths) - set(EVERYBODYS)
    return {module: others for module, others in graph.items() if module not in EVERYBODYS}


def named(tree):
    """The modules that import statements name."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *('%s.%s' % (node.module, alias.name) for alias in node.names)}
    return names


def subject_of(module):
    """The subject under which a module is drawn."""
    room = module.rpartition('.')[0]
    return next(subject for subject, on_top in SUBJECTS.items()
                if module in on_top or room and subject.startswith(room + '/'))


def drawing():
    """The mermaid block: thin arrows inside each subject, thick ones from subject to subject."""
    graph, keys = imports(), {subject: 's%d' % number for number, subject in enumerate(SUBJECTS)}
    lines = ['```mermaid', 'flowchart TB']
    for subject, key in keys.items():
        inside = [module for module in graph if subject_of(module) == subject]
        lines += ['    subgraph %s ["%s"]' % (key, subject), '        direction TB']
        lines += ['        ' + module.rpartition('.')[2] for module in inside]
        lines += arrows({module.rpartition('.')[2]: {other.rpartition('.')[2] for other in graph[module] & set(inside)}
                         for module in inside}, '        %s --> %s')
        lines.append('    end')
    between = {keys[subject]: {keys[other] for other in others} for subject, others in subjects_graph(graph).items()}
    return '\n'.join(lines + arrows(between, '    %s ==> %s') + ['```'])


def subjects_graph(graph):
    """{subject: the subjects whose modules its modules import}."""
    between = {subject: set() for subject in SUBJECTS}
    for module, others in graph.items():
        between[subject_of(module)] |= {subject_of(other) for other in others} - {subject_of(module)}
    return between


def arrows(graph, form):
    """The lines of {module: other modules}, without the arrows that others imply."""
    graph = networkx.transitive_reduction(networkx.DiGraph(graph))
    return [form % (module, ' & '.join(sorted(graph[module]))) for module in graph if graph[module]]


def with_drawing(page, drawing):
    """The text of a page with another drawing."""
    return re.sub('```mermaid.*?```', drawing, page, flags=re.DOTALL)


def redraw(name, drawing):
    """Replace the drawing of a page of docs/."""
    path = os.path.join(ROOT, 'docs', name)
    with open(path, encoding='utf-8') as file:
        page = file.read()
    with open(path, 'w', encoding='utf-8') as file:
        file.write(with_drawing(page, drawing))


if __name__ == '__main__':
    redraw('layout.md', drawing())

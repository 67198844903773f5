"""Draw which module imports which, for layout.md: a mermaid block, made from the imports alone.

    python docs/draw_layout.py      brings docs/layout.md up to date
"""
import ast
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGE = os.path.join(ROOT, 'docs', 'layout.md')
ROOMS = ('training', 'measuring', 'pictures', 'cpu', 'reading', 'storage', 'cli', 'figures')
# Every module may import these.
EVERYBODYS = ('cli.command', 'cli.paddle_setup')
# What users run. Nothing but another command imports them.
COMMANDS = ('ai_studio', 'archives', 'evaluate', 'show_results', 'train', 'upscale')
# The modules on top that stand with a room or alone in the drawing, in the order in which mermaid places them well.
SUBJECTS = {'Commands': COMMANDS, 'training/ and recipes.py': ('recipes',), 'measuring/': (), 'pictures/': (),
            'Programs': ('programs', 'losses'), 'cpu/': (), 'figures/': (),
            'Networks': ('srgan_g', 'srgan_d', 'vgg19', 'layers'), 'reading/ and data_utils.py': ('data_utils',),
            'storage/': (), 'cli/': ()}


def modules():
    """{module: its path}, a module of a room as 'room.module'; without the script in figures/."""
    found = {name[:-len('.py')]: name for name in sorted(os.listdir(ROOT)) if name.endswith('.py')}
    for room in ROOMS:
        found.update(('%s.%s' % (room, name[:-len('.py')]), os.path.join(room, name))
                     for name in sorted(os.listdir(os.path.join(ROOT, room)))
                     if name.endswith('.py') and name not in ('__init__.py', 'draw_comparison.py'))
    return found


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
    room = module.partition('.')[0] if '.' in module else None
    return next(subject for subject, on_top in SUBJECTS.items()
                if module in on_top or room and subject.startswith(room + '/'))


def reached(graph, module):
    """A module with all that it imports, and that those import."""
    found, front = set(), {module}
    while front:
        found |= front
        front = set().union(*(graph[other] for other in front)) - found
    return found


def reduced(graph):
    """The graph without the arrows that others imply: from one to the next and on to the one after."""
    return {module: {other for other in others if not any(other in reached(graph, third) for third in others - {other})}
            for module, others in graph.items()}


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
    return [form % (module, ' & '.join(sorted(others))) for module, others in reduced(graph).items() if others]


def with_drawing(page):
    """The text of layout.md with the drawing as the imports have it now."""
    return re.sub('```mermaid.*?```', drawing(), page, flags=re.DOTALL)


if __name__ == '__main__':
    with open(PAGE, encoding='utf-8') as file:
        page = file.read()
    with open(PAGE, 'w', encoding='utf-8') as file:
        file.write(with_drawing(page))

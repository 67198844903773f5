"""Draw which module imports which, for layout.md: a mermaid block, made from the imports alone.

    python docs/draw_layout.py      brings docs/layout.md up to date
"""
import ast
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGE = os.path.join(ROOT, 'docs', 'layout.md')
# Every module may import it.
EVERYBODYS = 'command'
# The modules by subject, in the order in which mermaid places them well.
SUBJECTS = {
    'Notebook': ('ai_studio', 'draw_networks'),
    'Training': ('train', 'run', 'cluster', 'steering', 'run_log', 'visual_log', 'plan', 'settings', 'validation'),
    'Looking and measuring': ('show_results', 'evaluate', 'lpips'),
    'G in use': ('upscale', 'engine', 'int8', 'inference_graph', 'tiles'),
    'Comparing': ('results_page', 'metrics'),
    'Programs': ('programs', 'cpu_graph'),
    'Pictures': ('archives', 'readers', 'picture', 'data_utils', 'png'),
    'Files': ('networks', 'progress', 'vgg19_weights', 'checkpoint', 'persistables', 'packages'),
    'Networks': ('srgan_g', 'srgan_d', 'vgg19', 'layers'),
}


def imports():
    """{module: the modules of this project that it imports}, without EVERYBODYS.

    An import inside a function counts unless it leads back: vgg19.py as a command runs vgg19_weights.py, which
    imports vgg19.py.
    """
    trees = {}
    for name in sorted(os.listdir(ROOT)):
        if name.endswith('.py') and name != EVERYBODYS + '.py':
            with open(os.path.join(ROOT, name), encoding='utf-8') as file:
                trees[name[:-len('.py')]] = ast.parse(file.read())
    graph = {module: named(tree.body) & set(trees) for module, tree in trees.items()}
    for module, tree in trees.items():
        graph[module] |= {other for other in named(ast.walk(tree)) & set(trees) if module not in reached(graph, other)}
    return graph


def named(nodes):
    """The modules that import statements name."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    return names


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
    for subject, modules in SUBJECTS.items():
        inside = {module: graph[module] & set(modules) for module in modules}
        lines += ['    subgraph %s [%s]' % (keys[subject], subject), '        direction TB']
        lines += ['        ' + module for module in modules]
        lines += arrows(inside, '        %s --> %s')
        lines.append('    end')
    between = {keys[subject]: {keys[other] for other in others} for subject, others in subjects_graph(graph).items()}
    return '\n'.join(lines + arrows(between, '    %s ==> %s') + ['```'])


def subjects_graph(graph):
    """{subject: the subjects whose modules its modules import}."""
    subject_of = {module: subject for subject, modules in SUBJECTS.items() for module in modules}
    return {subject: {subject_of[other] for module in modules for other in graph[module]} - {subject}
            for subject, modules in SUBJECTS.items()}


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

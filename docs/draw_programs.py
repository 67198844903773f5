"""Draw the programs for programs.md, from the programs themselves: a mermaid block, and the table below it.

    python docs/draw_programs.py      draws docs/programs.md's block anew, and prints the table

What occurs in a program, what is fed and fetched, and what its Adam updates is read out of it; what leads to what is
written here.
"""
import collections
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import draw_layout

import programs
from layers import variables_of
from losses import Objective
from recipes import RECIPES
from srgan_d import SRGAN_d
from srgan_g import SRGAN_g
from vgg19 import parameter_shapes

RECIPE = RECIPES['article']
PROGRAMS = ('init_g', 'd', 'g', 'sample')
# Of each program that is drawn: its title, and what leads to what.
CHAINS = {
    'init_g': ('Pre-training', 't_image > G > G(t_image) > l_g_pix', 't_target_image > l_g_pix'),
    'd': ('Adversarial training: D', 't_image > G > G(t_image) > D > l_d_fake', 'D > d_fake', 'D > d_real',
          'D > d_told',
          't_target_image > D > l_d_real'),
    'g': ('Adversarial training: G', 't_target_image > l_g_pix', 't_target_image > D',
          't_image > G > G(t_image) > l_g_pix > g_loss', 'G(t_image) > D > l_g_gan > g_loss',
          'G(t_image) > VGG19 > l_g_percep > g_loss', 'vgg19_input > VGG19')}
STYLES = ['    classDef updated fill:#333333,stroke:#333333,color:#ffffff',
          '    classDef frozen stroke:#333333,stroke-width:2px,stroke-dasharray:5 4']

# feeds {name: shape}, fetches [name], updates and leaves: networks.
Facts = collections.namedtuple('Facts', 'feeds fetches updates leaves')


def facts():
    """{program: Facts} of the article's recipe."""
    built = programs.build(RECIPE['crop_size'], Objective(RECIPE['content_loss'], RECIPE['adversarial_weight']), 0,
                           programs.AdamOptions(on_cpu=False))
    networks = {'G': variables_of(SRGAN_g, [None, 3, None, None]),
                'D': variables_of(SRGAN_d, [None, 3, RECIPE['crop_size'], RECIPE['crop_size']]),
                'VGG19': parameter_shapes(RECIPE['content_loss'])}
    found = {}
    for name in PROGRAMS:
        step = getattr(built, name)
        block = step.program.global_block()
        updated = {op.input('Param')[0] for op in block.ops if op.type == 'adam'}
        there = [network for network, variables in networks.items() if set(variables) <= set(step.persistables)]
        updates = [network for network in there if updated & set(networks[network])]
        found[name] = Facts({feed: list(block.var(feed).shape) for feed in step.feeds}, list(step.fetches), updates,
                            [network for network in there if network not in updates])
    return found


def table(found):
    """The rows of programs.md."""
    def cell(names, form='%s'):
        return ', '.join(form % name for name in names) or '-'

    return ['| `%s` | %s | %s | %s | %s |' % (name, cell(fact.feeds, '`%s`'), cell(fact.fetches, '`%s`'),
                                              cell(fact.updates), cell(fact.leaves)) for name, fact in found.items()]


def drawing(found):
    """The mermaid block, its programs stacked by invisible links. Raises ValueError if CHAINS lacks a node."""
    lines = ['```mermaid', 'flowchart TB']
    for program, (title, *chains) in CHAINS.items():
        chains = [chain.split(' > ') for chain in chains]
        keys = {node: '%s%d' % (program, number) for number, node in enumerate(dict.fromkeys(sum(chains, [])))}
        fact = found[program]
        occurring = {*fact.feeds, *fact.fetches, *fact.updates, *fact.leaves, 'G(t_image)'}
        if occurring != set(keys):
            raise ValueError('%s: draw %s in CHAINS' % (program, ', '.join(sorted(occurring ^ set(keys)))))
        lines += ['    subgraph %s ["%s"]' % (program, title), '        direction LR']
        lines += ['        ' + key + shape_of(node, fact) for node, key in keys.items()]
        lines += ['        ' + ' --> '.join(keys[node] for node in chain) for chain in chains]
        lines.append('    end')
    return '\n'.join([*lines, '    ' + ' ~~~ '.join(CHAINS), *STYLES, '```'])


def shape_of(node, fact):
    """How mermaid draws a node: losses round, feeds with their shape, networks in their style."""
    if node in fact.fetches:
        return '(["%s"])' % node
    shape = ' x '.join('N' if side == -1 else str(side) for side in fact.feeds.get(node, ()))
    style = ':::updated' if node in fact.updates else ':::frozen' if node in fact.leaves else ''
    return '["%s"]%s' % ('<br>'.join(filter(None, [node, shape])), style)


if __name__ == '__main__':
    found = facts()
    print('\n'.join(table(found)))
    draw_layout.redraw('programs.md', drawing(found))

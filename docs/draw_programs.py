"""Draw the programs for programs.md, from the programs themselves: docs/programs.svg.

    python docs/draw_programs.py

What occurs in a program, what is fed and fetched, and what its Adam updates is read out of it; where things stand
in the picture is written here.
"""
import collections
import io
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

import programs
from layers import variables_of
from losses import Objective
from recipes import RECIPES
from srgan_d import SRGAN_d
from srgan_g import SRGAN_g
from vgg19 import parameter_shapes

PICTURE = os.path.join(ROOT, 'docs', 'programs.svg')
RECIPE = RECIPES['article']
PROGRAMS = ('init_g', 'd', 'g', 'sample')

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


# The picture, in pixels. Of each program: its title, its height, where things stand (centre x, y, height), and the
# arrows, as (from, to, y of the start, y of the end).
LANE, WIDTH = 34, 800
FEED, G, FAKE, NETWORK, LOSS, SUM = 84, 234, 352, 486, 630, 746
PLACES = {
    'init_g': ('Pre-training', 140, {
        't_image': (FEED, 82, LANE), 'G': (G, 82, LANE), 'G(t_image)': (FAKE, 82, LANE),
        't_target_image': (FEED, 32, LANE), 'l_g_pix': (LOSS, 57, 84)},
        [('t_image', 'G', 82, 82), ('G', 'G(t_image)', 82, 82), ('G(t_image)', 'l_g_pix', 82, 82),
         ('t_target_image', 'l_g_pix', 32, 32)]),
    'd': ('Adversarial training: D', 196, {
        't_image': (FEED, 122, LANE), 'G': (G, 122, LANE), 'G(t_image)': (FAKE, 122, LANE),
        't_target_image': (FEED, 48, LANE), 'D': (NETWORK, 85, 138),
        'l_d_fake': (LOSS, 139, 28), 'd_fake': (LOSS, 105, 28), 'd_real': (LOSS, 65, 28), 'l_d_real': (LOSS, 31, 28)},
        [('t_image', 'G', 122, 122), ('G', 'G(t_image)', 122, 122), ('G(t_image)', 'D', 122, 122),
         ('t_target_image', 'D', 48, 48), ('D', 'l_d_fake', 139, 139), ('D', 'd_fake', 105, 105),
         ('D', 'd_real', 65, 65), ('D', 'l_d_real', 31, 31)]),
    'g': ('Adversarial training: G', 276, {
        't_target_image': (FEED, 214, LANE), 't_image': (FEED, 122, LANE), 'vgg19_input': (FEED, 28, LANE),
        'G': (G, 122, LANE), 'G(t_image)': (FAKE, 122, LANE), 'D': (NETWORK, 122, LANE), 'VGG19': (NETWORK, 52, 82),
        'l_g_pix': (LOSS, 194, 74), 'l_g_gan': (LOSS, 122, LANE), 'l_g_percep': (LOSS, 52, LANE),
        'g_loss': (SUM, 122, LANE)},
        [('t_image', 'G', 122, 122), ('G', 'G(t_image)', 122, 122), ('G(t_image)', 'D', 122, 122),
         ('D', 'l_g_gan', 122, 122), ('G(t_image)', 'l_g_pix', 122, 174), ('t_target_image', 'l_g_pix', 214, 214),
         ('G(t_image)', 'VGG19', 122, 76), ('vgg19_input', 'VGG19', 28, 28), ('VGG19', 'l_g_percep', 52, 52),
         ('l_g_pix', 'g_loss', 194, 132), ('l_g_gan', 'g_loss', 122, 122), ('l_g_percep', 'g_loss', 52, 112)]),
}
COLOURS = {'G': '#2f6fb7', 'D': '#d9722b', 'VGG19': '#4a9a5c'}
INK, PALE = '#333333', '#f1f1f1'
HALF_WIDTHS = {FEED: 66, G: 34, FAKE: 44, NETWORK: 40, LOSS: 46, SUM: 36}


def draw(found):
    """-> the Figure. Raises ValueError where a program holds what has no place in it."""
    height = sum(place[1] for place in PLACES.values()) + 34
    figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=100, facecolor='white')
    FigureCanvasSVG(figure)
    axes = figure.add_axes([0, 0, 1, 1], xlim=(0, WIDTH), ylim=(0, height))
    axes.axis('off')
    bottom = height
    for name, (title, rows, nodes, arrows) in PLACES.items():
        bottom -= rows
        fact = found[name]
        occurring = {*fact.feeds, *fact.fetches, *fact.updates, *fact.leaves, 'G(t_image)'}
        if occurring != set(nodes):
            raise ValueError('%s: place %s in PLACES' % (name, ', '.join(sorted(occurring ^ set(nodes)))))
        axes.text(18, bottom + rows - 20, title, color=INK, weight='bold', size=10.5, va='center')
        for start, end, y, other_y in arrows:
            arrow(axes, nodes[start][0] + HALF_WIDTHS[nodes[start][0]], bottom + y,
                  nodes[end][0] - HALF_WIDTHS[nodes[end][0]], bottom + other_y)
        for node, (x, y, size) in nodes.items():
            box(axes, node, x, bottom + y, size, fact)
        axes.plot([18, WIDTH - 18], [bottom, bottom], color='#dddddd', linewidth=0.8)
    legend(axes)
    return figure


def arrow(axes, x, y, end_x, end_y):
    """A straight one, or one with two corners."""
    if y != end_y:
        corner = x + 14
        axes.plot([x, corner, corner, end_x - 4], [y, y, end_y, end_y], color=INK, linewidth=1.1,
                  solid_joinstyle='round', zorder=1)
        x, y = end_x - 6, end_y
    axes.annotate('', (end_x, end_y), (x, y), zorder=1, arrowprops=dict(
        arrowstyle='-|>,head_length=0.35,head_width=0.16', color=INK, linewidth=1.1, shrinkA=0, shrinkB=0))


def box(axes, node, x, y, height, fact):
    half = HALF_WIDTHS[x]
    colour, style, face, text = INK, 'solid', PALE, INK
    width = 0.0
    if node in COLOURS:
        colour, width = COLOURS[node], 1.8
        style, face, text = ('solid', colour, 'white') if node in fact.updates else ((0, (4, 2.5)), 'white', colour)
    elif node in fact.fetches:
        face, width = 'white', 0.9
    axes.add_patch(FancyBboxPatch((x - half, y - height / 2), 2 * half, height, zorder=2, linestyle=style,
                                  boxstyle='round,pad=0,rounding_size=%d' % (13 if node in fact.fetches else 5),
                                  facecolor=face, edgecolor=colour, linewidth=width))
    shape = fact.feeds.get(node)
    axes.text(x, y + (6 if shape else 0), node, color=text, ha='center', va='center_baseline', zorder=3,
              size=11 if node in COLOURS else 9, weight='bold' if node in COLOURS else 'normal')
    if shape:
        axes.text(x, y - 8, ' x '.join('N' if side == -1 else str(side) for side in shape), color='#777777',
                  ha='center', va='center_baseline', zorder=3, size=7.5)


def legend(axes):
    for x, style, face, words in ((WIDTH - 398, 'solid', INK, 'updated by this program'),
                                  (WIDTH - 208, (0, (4, 2.5)), 'white', 'frozen: read, not updated')):
        axes.add_patch(FancyBboxPatch((x, 10), 22, 12, boxstyle='round,pad=0,rounding_size=3', facecolor=face,
                                      edgecolor=INK, linewidth=1.4, linestyle=style))
        axes.text(x + 30, 16, words, color=INK, va='center', size=8.5)


def svg(found):
    """The picture as text, the same for the same programs."""
    file = io.StringIO()
    with matplotlib.rc_context({'svg.hashsalt': 'programs'}):
        draw(found).savefig(file, format='svg', metadata={'Date': None})
    return file.getvalue()


if __name__ == '__main__':
    found = facts()
    print('\n'.join(table(found)))
    with open(PICTURE, 'w', encoding='utf-8') as file:
        file.write(svg(found))

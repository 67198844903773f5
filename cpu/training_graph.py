"""Exact rewrites of a training program that make it fast on a CPU. A program for a GPU stays as it is.

The rewrites change the forward operations: call `for_cpu` before `minimize`, so that the gradients follow them.
"""
import collections
import functools

import numpy as np

from cli.paddle_setup import fluid
from cpu import winograd
from cpu.winograd import BLOCK

# If a convolution's output map has fewer places (height * width), its filters are larger than the map, and reordering
# the filters at every step costs more than oneDNN's own memory layout gains.
FEW_PLACES = 64
# Operations that oneDNN computes and differentiates in any memory layout. Batch normalisation is not among them: that
# of oneDNN, in this Paddle, gives zero gradients for scale and shift, and ends the process if they are frozen.
ANY_LAYOUT = {'relu', 'leaky_relu', 'pool2d'}
LAYOUT_KEEPERS = ANY_LAYOUT | {'conv2d'}


def for_cpu(program):
    """Give the operations of `program` their fastest form on a CPU. Names, values and gradients do not change."""
    winograd.enable()
    block = program.global_block()
    for op in [op for op in block.ops if op.type == 'conv2d']:
        few_places = np.prod(block.var(op.output('Output')[0]).shape[2:]) < FEW_PLACES
        if few_places and op.attr('strides') != [1, 1] and op.attr('padding_algorithm') == 'SAME':
            convolution_as_matmul(block, op)
        else:
            fast_bias(block, op)
            convolution_by_onednn(op, own_layout=not few_places)
    for op in [op for op in block.ops if op.type == 'pixel_shuffle']:
        shuffle_by_onednn(block, op)
    stay_in_layout(block)


def convolution_by_onednn(op, own_layout):
    """Run a convolution and its gradient by oneDNN, with `own_layout` in a memory layout that oneDNN chooses.

    The result is Paddle's, summed in another order. In training, `data_format` NCHW ties oneDNN to a layout that it can
    only compute as a matrix product over unrolled pictures. With AnyLayout it chooses, and takes blocks of 16 channels
    if the CPU has AVX-512. Paddle reorders a map for each operation that does not know blocks.

    `use_mkldnn` is set on the forward operation, and its gradient inherits it. Set on the gradient operation, it would
    be stored with the wrong type. The global FLAGS_use_mkldnn corrupts memory in elementwise_add.
    """
    op._set_attr('use_mkldnn', True)
    if own_layout:
        op._set_attr('data_format', 'AnyLayout')


def fast_bias(block, op):
    """Give the elementwise_add of a bias behind a convolution a faster form, in which its gradient is not slow.

    A frozen bias is added by oneDNN's convolution in the same pass. This has no gradient for a bias, so one that is
    trained becomes the shift of an affine_channel. Its gradient is that of elementwise_add, but takes a quarter of the
    time: 9 ms for a map of 38 MB. It is computed only together with the scale's, which must not be stopped.
    """
    readers = [reader for reader in block.ops if op.output('Output')[0] in reader.input_arg_names]
    if len(readers) != 1 or readers[0].type != 'elementwise_add':
        return
    bias, out = [block.var(*readers[0].input('Y')), block.var(*readers[0].output('Out'))]
    # With few channels there is little to gain.
    if not isinstance(bias, fluid.framework.Parameter) or bias.trainable and bias.shape[0] < BLOCK:
        return
    index = block.ops.index(readers[0])
    if bias.trainable:
        ones = block.create_var(name=fluid.unique_name.generate(out.name + '.ones'), dtype=bias.dtype, shape=bias.shape)
        insert_op(block, index, type='fill_constant', outputs={'Out': ones},
                  attrs={'shape': list(bias.shape), 'dtype': bias.dtype, 'value': 1.0})
        insert_op(block, index + 1, type='affine_channel', outputs={'Out': out}, attrs={'data_layout': 'NCHW'},
                  inputs={'X': block.var(*op.output('Output')), 'Scale': ones, 'Bias': bias})
    else:
        op.desc.set_input('Bias', [bias.name])
        op.desc.set_output('Output', [out.name])
    remove(block, readers[0])


def stay_in_layout(block):
    """Have oneDNN also compute the operations behind its convolutions, so that a map keeps its layout up to the next.

    Only maps whose channels fill whole blocks: oneDNN also writes the rest of a block, for which Paddle reserves no
    memory. And only if all that reads the result keeps it too: the gradient otherwise comes in Paddle's own layout, and
    oneDNN takes ten times as long for an activation's gradient in two layouts.
    """
    readers = collections.defaultdict(list)
    for op in block.ops:
        for name in op.input_arg_names:
            readers[name].append(op.type)
    maps = set()
    for op in block.ops:
        if op.type == 'conv2d' and op.attr('data_format') == 'AnyLayout':
            maps.update(name for name in op.output('Output') if block.var(name).shape[1] % BLOCK == 0)
        elif (op.type in ANY_LAYOUT and maps.issuperset(op.input('X'))
              and LAYOUT_KEEPERS.issuperset(readers[op.output('Out')[0]])):
            op._set_attr('use_mkldnn', True)
            maps.update(op.output('Out'))


def shuffle_by_onednn(block, op):
    """Replace a pixel_shuffle by a transposition that oneDNN computes, which takes a quarter of the time.

    Channel 4c + 2dy + dx of place (y, x) goes to the pixel (2y + dy, 2x + dx) of channel c. Pictures and channels c are
    one dimension here: Paddle knows no layout of oneDNN with more than five.
    """
    x = block.var(*op.input('X'))
    factor, (channels, height, width) = op.attr('upscale_factor'), x.shape[1:]
    split = insert(block, op, 'reshape2', {'X': x}, 'split', {'shape': [-1, factor, factor, height, width]})
    moved = insert(block, op, 'transpose2', {'X': split}, 'moved', {'axis': [0, 3, 1, 4, 2], 'use_mkldnn': True})
    insert(block, op, 'reshape2', {'X': moved}, block.var(*op.output('Out')),
           {'shape': [-1, channels // factor ** 2, factor * height, factor * width]})
    remove(block, op)


def insert(block, before, op_type, inputs, output, attrs):
    """Insert an operation before another -> its output: the variable `output`, or a new one with this suffix."""
    names = before.output_arg_names
    dtype = block.var(names[0]).dtype
    if not isinstance(output, fluid.framework.Variable):
        output = block.create_var(name=fluid.unique_name.generate('%s.%s' % (names[0], output)), dtype=dtype)
    outputs = {'Y' if op_type == 'unfold' else 'Out': output}
    if op_type in ('reshape2', 'transpose2'):
        outputs['XShape'] = block.create_var(name=fluid.unique_name.generate(output.name + '.xshape'), dtype=dtype,
                                             stop_gradient=True)
    insert_op(block, block.ops.index(before), type=op_type, inputs=inputs, outputs=outputs, attrs=attrs)
    return output


# Block's own _insert_op and _remove_op first compare the whole block with its description, which takes 6 ms. Both agree
# here: only append_backward, which comes later, changes the description alone.

def insert_op(block, index, **op):
    """Insert an operation; op: the keyword arguments of Operator."""
    block.ops.insert(index, fluid.framework.Operator(block, block.desc._insert_op(index), **op))


def remove(block, op):
    index = block.ops.index(op)
    block.desc._remove_op(index, index + 1)
    del block.ops[index]


def convolution_as_matmul(block, op):
    """Replace a 'SAME' convolution of a small map by one matrix product over all pictures and places.

    A convolution is the product of the filters [F, C*k*k] with the patches [C*k*k, places] that `unfold` lays out. Here
    the patches of the whole batch stand in one matrix. D's last convolutions have up to 33 million weights and a
    handful of places: Paddle's kernel reads all weights once for each picture, and oneDNN's weight gradient is slower
    still. Measured for 1024 -> 2048 channels at 3 x 3, batch 8: Paddle 1.4 s, oneDNN 2.9 s, this 0.17 s; for D's step
    on two crops of 384: oneDNN 13.1 s, this 2.7 s.
    """
    x, weight = block.var(op.input('Input')[0]), block.var(op.input('Filter')[0])
    out = block.var(op.output('Output')[0])
    filters, channels, kernel = weight.shape[:3]
    stride, (height, width) = op.attr('strides')[0], x.shape[2:]
    out_height, top, bottom = same_padding(height, kernel, stride)
    out_width, left, right = same_padding(width, kernel, stride)
    patch = channels * kernel * kernel
    places = out_height * out_width
    append = functools.partial(insert, block, op)
    patches = append('unfold', {'X': x}, 'unfold',
                     {'kernel_sizes': [kernel, kernel], 'strides': [stride, stride],
                      'paddings': [top, left, bottom, right], 'dilations': [1, 1]})
    patches = append('transpose2', {'X': patches}, 'patches', {'axis': [0, 2, 1]})
    rows = append('reshape2', {'X': patches}, 'rows', {'shape': [-1, patch]})
    matrix = append('reshape2', {'X': weight}, 'filters', {'shape': [filters, patch]})
    matrix.stop_gradient = weight.stop_gradient
    product = append('matmul', {'X': rows, 'Y': matrix}, 'product',
                     {'transpose_X': False, 'transpose_Y': True, 'alpha': 1.0})
    product = append('reshape2', {'X': product}, 'places', {'shape': [-1, places, filters]})
    product = append('transpose2', {'X': product}, 'maps', {'axis': [0, 2, 1]})
    append('reshape2', {'X': product}, out, {'shape': [-1, filters, out_height, out_width]})
    remove(block, op)


def same_padding(size, kernel, stride):
    """-> (output size, padding before, padding after) of a 'SAME' convolution along one side."""
    out = -(-size // stride)
    padding = max((out - 1) * stride + kernel - size, 0)
    return out, padding // 2, padding - padding // 2

"""Leave out of a training program what another one has just computed from the same feed."""
from cli.paddle_setup import fluid
from cpu.training_graph import remove

Role = fluid.core.op_proto_and_checker_maker.OpRole
FORWARD = int(Role.Forward), int(Role.Forward) | int(Role.Loss)
# What an operation computes does not depend on these attributes.
NOTES = {'op_callstack', 'op_namescope', 'op_role', 'op_role_var'}


def share_forward(first, second):
    """Have `second` take from the scope what `first` computes in the same way, and compute it no more.

    Both are training programs that are ready to run; `second` must then run after `first`, on the same feed, in the
    same scope. Values do not change. The variables that `second` takes become persistable, because Paddle drops all
    others after a run. What reads the weights that `first` updates is not shared.

    A concat, which joins real and generated pictures for D, is not shared either, nor what follows it: no convolution
    may have an input of the same name in both programs. oneDNN keeps what it has prepared for a convolution under the
    names of its input and its weights, and would take D's that are trained for those that are frozen.
    """
    updated = {name for op in first.global_block().ops if op.attr('op_role') not in FORWARD
               for name in op.output_arg_names}
    # What is computed so far, and its variables in `first`: {(type, inputs, attributes): names}. All else that has the
    # same value as one of these variables: {name: its name}.
    computed, same = {}, {}
    for op in forward(first):
        names = computed.setdefault(key(op, same), op.output_arg_names)
        same.update(zip(op.output_arg_names, names))
    spare = []
    for op in forward(second):
        names = computed.get(key(op, same))
        if names and not updated.intersection(op.input_arg_names):
            same.update(zip(op.output_arg_names, names))
            spare.append(op)

    block, other = second.global_block(), first.global_block()
    dropped = {name for op in spare for name in op.output_arg_names if not block.var(name).persistable}
    for op in spare:
        remove(block, op)
    for op in block.ops:
        for name in dropped.intersection(op.input_arg_names):
            taken = other.var(same[name])
            taken.persistable = True
            if taken.name not in block.vars:
                block.create_var(name=taken.name, shape=taken.shape, dtype=taken.dtype, persistable=True)
            op._rename_input(name, taken.name)


def forward(program):
    """The operations of a program up to its gradients, without concat."""
    return [op for op in program.global_block().ops if op.attr('op_role') in FORWARD and op.type != 'concat']


def key(op, same):
    """What an operation computes, as something to compare: its type, its inputs and its attributes."""
    return (op.type, tuple((slot, tuple(same.get(name, name) for name in op.input(slot))) for slot in op.input_names),
            repr(sorted((name, op.attr(name)) for name in op.attr_names if name not in NOTES)))

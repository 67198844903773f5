"""Cuts a picture's side into overlapping windows that are computed one by one."""


def windows(length, size, margin):
    """Windows of one size, at most `size`, that cover 0..length -> [(start, stop, (keep_start, keep_stop)), ...].

    The kept parts cover 0..length without overlap. Each lies at least `margin` inside its window, except at the ends 0
    and length. Needs size > 2 * margin.
    """
    if length <= size:
        return [(0, length, (0, length))]
    inner = length - 2 * margin
    count = -(-inner // (size - 2 * margin))
    step = -(-inner // count)
    starts = [min(i * step, inner - step) for i in range(count)]
    cuts = [0] + [i * step + margin for i in range(1, count)] + [length]
    return [(start, start + step + 2 * margin, keep) for start, keep in zip(starts, zip(cuts, cuts[1:]))]

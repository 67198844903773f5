"""How a picture is cut into pieces that are computed one by one."""


def windows(length, size, margin):
    """Windows of one size, at most `size`, over 0..length -> [(start, stop, (keep_start, keep_stop)), ...].

    What they keep follows upon one another from 0 to length, and lies `margin` inside its window except at the two
    ends. Needs size > 2 * margin.
    """
    if length <= size:
        return [(0, length, (0, length))]
    inner = length - 2 * margin
    count = -(-inner // (size - 2 * margin))
    step = -(-inner // count)
    starts = [min(i * step, inner - step) for i in range(count)]
    cuts = [0] + [i * step + margin for i in range(1, count)] + [length]
    return [(start, start + step + 2 * margin, keep) for start, keep in zip(starts, zip(cuts, cuts[1:]))]

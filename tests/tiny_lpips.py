"""An AlexNet of a few filters for LPIPS, with random weights."""
from measuring import lpips_alex

CONVOLUTIONS = [(filters // 16, *rest) for filters, *rest in lpips_alex.CONVOLUTIONS]


def random_weights(rng):
    weights, channels = {}, 3
    for i, (filters, size, *_) in enumerate(CONVOLUTIONS):
        weights['conv%d.w_0' % i] = rng.normal(0, (channels * size * size) ** -0.5, (filters, channels, size, size))
        weights['conv%d.b_0' % i] = rng.normal(0, 0.1, filters)
        weights['lin%d.w_0' % i] = rng.uniform(0, 1, (1, filters, 1, 1))
        channels = filters
    return {name: array.astype('float32') for name, array in weights.items()}

"""The learning rate schedules of a stage."""
import argparse
import math

# {name: a function from the finished fraction of the stage, 0..1, to the factor of the given learning rate}.
SCHEDULES = {
    'constant': lambda fraction: 1.0,
    'step': lambda fraction: 1.0 if fraction < 0.5 else 0.1,
    'cosine': lambda fraction: 0.5 + 0.5 * math.cos(math.pi * fraction),
}


def parse(text):
    """A type for argparse: a key of SCHEDULES, or UPDATE:FACTOR,... with rising updates -> the same text.

    settings.json stores the text. Raises ArgumentTypeError.
    """
    if text not in SCHEDULES:
        try:
            starts, values = zip(*factors(text))
        except ValueError:
            starts, values = (), ()
        if not starts or list(starts) != sorted(set(starts)) or not all(0 <= value < math.inf for value in values):
            raise argparse.ArgumentTypeError('%s is not %s, nor UPDATE:FACTOR,... such as 100000:0.1' % (
                text, ', '.join(SCHEDULES)))
    return text


def factors(text):
    """'UPDATE:FACTOR,...' -> [(update, factor), ...]."""
    return [(int(start), float(factor)) for start, factor in (part.split(':') for part in text.split(','))]


def learning_rate(settings, stage, update, updates):
    """The learning rate of update number `update`, from 0, out of `updates` in a stage, 'init' or 'gan'."""
    rate, schedule = ((settings.learning_rate_init, settings.schedule_init) if stage == 'init' else
                      (settings.learning_rate, settings.schedule))
    if update < settings.warm_up:
        rate *= (update + 1) / settings.warm_up
    if schedule in SCHEDULES:
        return rate * SCHEDULES[schedule](update / updates)
    return rate * ([1.0] + [factor for start, factor in factors(schedule) if start <= update])[-1]

"""The course of the learning rate over a stage."""
import argparse
import math

# The learning rate in parts of the given one, at a fraction 0..1 of the stage.
SCHEDULES = {
    'constant': lambda fraction: 1.0,
    'step': lambda fraction: 1.0 if fraction < 0.5 else 0.1,
    'cosine': lambda fraction: 0.5 + 0.5 * math.cos(math.pi * fraction),
}


def parse(text):
    """A key of SCHEDULES, or UPDATE:FACTOR,... in rising order; it stays a text, as settings.json keeps it.

    Raises ArgumentTypeError.
    """
    if text not in SCHEDULES:
        try:
            starts = [start for start, _ in factors(text)]
        except ValueError:
            starts = None
        if not starts or starts != sorted(set(starts)):
            raise argparse.ArgumentTypeError('%s is not %s, nor UPDATE:FACTOR,... such as 100000:0.1' % (
                text, ', '.join(SCHEDULES)))
    return text


def factors(text):
    """'UPDATE:FACTOR,...' -> [(update, factor), ...]."""
    return [(int(start), float(factor)) for start, factor in (part.split(':') for part in text.split(','))]


def learning_rate(settings, stage, update, updates):
    """The learning rate of an update, counted from 0, of the `updates` of a stage, 'init' or 'gan'."""
    rate, schedule = ((settings.learning_rate_init, settings.schedule_init) if stage == 'init' else
                      (settings.learning_rate, settings.schedule))
    if update < settings.warm_up:
        rate *= (update + 1) / settings.warm_up
    if schedule in SCHEDULES:
        return rate * SCHEDULES[schedule](update / updates)
    return rate * ([1.0] + [factor for start, factor in factors(schedule) if start <= update])[-1]

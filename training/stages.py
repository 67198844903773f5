"""The two stages of a run, and where a run stands in them."""
from training.schedule import learning_rate

STAGES = ('init', 'gan')
TITLES = {'init': 'pre-training', 'gan': 'training'}
# The programs that a stage runs, in order.
STEPS = {'init': ('init_g',), 'gan': ('d', 'g')}
# How the names of an epoch's samples begin, as the article has them.
SAMPLES = {'init': 'epoch_init_%d_', 'gan': 'epoch_%d_'}


class Stage:
    """The epochs and updates of a stage, 'init' or 'gan', of a run on so many pictures."""

    def __init__(self, settings, name, pictures):
        self.settings, self.name, self.number = settings, name, STAGES.index(name)
        self.n_epoch = settings.n_epoch_init if name == 'init' else settings.n_epoch
        self.epoch_updates = settings.epoch_updates or max(1, pictures // settings.batch_size)
        self.updates = self.n_epoch * self.epoch_updates
        # Every update of D takes crops of its own.
        self.feeds_an_update = settings.d_updates if name == 'gan' else 1

    def learning_rate(self, update):
        """The learning rate of an update, counted from 0."""
        return learning_rate(self.settings, self.name, update, self.updates)

    def updates_before(self, position):
        """How many updates of this stage are made at a Position."""
        return (position.epoch - 1) * self.epoch_updates + position.update if position.stage == self.name else 0


class Position:
    """Where a run stands: what it needs, beside the variables, to go on as if nothing had happened."""

    def __init__(self, stage=STAGES[0], epoch=1, update=0, totals=None, seconds=0.0, waited=0.0, rows=None):
        self.stage = stage
        self.rows = rows or []
        self.epoch = epoch
        # Of the epoch under way: updates made, sums of the losses {name: sum}, seconds, and seconds without a feed.
        self.update = update
        self.totals = totals or {}
        self.seconds = seconds
        self.waited = waited

    def enter(self, stage):
        """Begin a stage, unless the run is in it already."""
        if stage != self.stage:
            self.stage = stage
            self.begin_epoch(1)

    def begin_epoch(self, epoch):
        self.epoch = epoch
        self.update = 0
        self.totals = {}
        self.seconds = self.waited = 0.0

    def count(self, losses, seconds, waited):
        """One more update is made: its losses {name: value}, its seconds, and those in which it waited for its feed."""
        self.update += 1
        self.totals = {name: self.totals.get(name, 0.0) + value for name, value in losses.items()}
        self.seconds += seconds
        self.waited += waited

    def means(self):
        """{loss: its mean over the epoch so far}."""
        return {name: total / self.update for name, total in self.totals.items()}

    def next_epoch(self, row):
        """The epoch is over; `row` is its line in the log."""
        self.rows.append(row)
        self.begin_epoch(self.epoch + 1)

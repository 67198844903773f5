"""The two stages of a run, and the position of a run in them."""
import dataclasses

from training.schedule import learning_rate

STAGES = ('init', 'gan')
TITLES = {'init': 'pre-training', 'gan': 'training'}
# The programs that a stage runs, in order.
STEPS = {'init': ('init_g',), 'gan': ('d', 'g')}
# The beginnings of the names of an epoch's samples, as in the article.
SAMPLES = {'init': 'epoch_init_%d_', 'gan': 'epoch_%d_'}


class Stage:
    """The epochs and updates of a stage, 'init' or 'gan'; `pictures` is the number of training pictures."""

    def __init__(self, settings, name, pictures):
        self.settings = settings
        self.name = name
        self.number = STAGES.index(name)
        self.n_epoch = settings.n_epoch_init if name == 'init' else settings.n_epoch
        self.epoch_updates = settings.epoch_updates or max(1, pictures // settings.batch_size)
        self.updates = self.n_epoch * self.epoch_updates
        # Every update of D gets its own crops.
        self.feeds_an_update = settings.d_updates if name == 'gan' else 1

    def learning_rate(self, update):
        """The learning rate of an update, counted from 0."""
        return learning_rate(self.settings, self.name, update, self.updates)

    def updates_before(self, position):
        """The number of updates of this stage that are done at a Position."""
        if position.stage != self.name:
            return 0
        # With fewer pictures than before, an epoch has fewer updates, and the current one may be over.
        return (position.epoch - 1) * self.epoch_updates + min(position.update, self.epoch_updates)


@dataclasses.dataclass
class Position:
    """The position of a run: all values, except variables, that it needs to resume exactly. json can store them."""

    stage: str = STAGES[0]
    epoch: int = 1
    # In the current epoch: updates done, sums of the losses {name: sum}, seconds, and seconds of waiting for feeds.
    update: int = 0
    totals: dict = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    waited: float = 0.0
    rows: list = dataclasses.field(default_factory=list)
    # Which pictures --val has, see Validation.pictures, and the first of the rows whose PSNR is of these.
    val: str = None
    first_validated: int = 0

    def enter(self, stage):
        """Begin a stage, unless the run is already in it."""
        if stage != self.stage:
            self.stage = stage
            self.begin_epoch(1)

    def begin_epoch(self, epoch):
        self.epoch = epoch
        self.update = 0
        self.totals = {}
        self.seconds = self.waited = 0.0

    def count(self, losses, seconds, waited):
        """Count an update: its losses {name: value}, its seconds, and the seconds in which it waited for its feed."""
        self.update += 1
        self.totals = {name: self.totals.get(name, 0.0) + value for name, value in losses.items()}
        self.seconds += seconds
        self.waited += waited

    def means(self):
        """The means of the losses over the epoch so far, {name: mean}."""
        return {name: total / self.update for name, total in self.totals.items()}

    def validate_on(self, pictures):
        """Measure on these pictures from here on -> whether there were others, whose PSNRs cannot be compared."""
        changed = self.val not in (None, pictures)
        if changed:
            self.first_validated = len(self.rows)
        self.val = pictures
        return changed

    def validated(self):
        """The rows whose PSNR on --val is of the present pictures, so that it can be compared."""
        return self.rows[self.first_validated:]

    def next_epoch(self, row):
        """Begin the next epoch; `row` is the line of the finished epoch in the log."""
        self.rows.append(row)
        self.begin_epoch(self.epoch + 1)

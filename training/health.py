"""What the log shows about a run: whether a network is the best, whether the PSNR has stopped rising, and problems."""
from training.stages import STAGES

# A problem is reported after this number of epochs in a row.
LONG = 5
TROUBLES = (
    (lambda row: row['stage'] == STAGES[1] and row['d_real'] > 0.95 and row['d_fake'] < 0.05,
     'D is sure of all pictures (real {d_real:.2f}, generated {d_fake:.2f}, for {epochs} epochs), so G no longer gains '
     'on it; try --label-smoothing 0.1, a lower --learning-rate-d, or a larger --adversarial-weight'),
    (lambda row: row['stage'] == STAGES[1] and row.get('d_told', 1.0) < 0.52,
     'D does not tell real pictures from generated ones (it is right about {d_told:.0%} of the pairs, for {epochs} '
     'epochs), so G learns nothing from it; try --learning-rate-d with another rate, or in a new run --d-updates 2 or '
     '--discriminator features'),
    (lambda row: row.get('waited', 0) > 0.02,
     'the updates waited {waited:.0%} of the time for pictures, for {epochs} epochs; try more --readers, or a larger '
     '--cache-mb'),
)


def is_best(row, earlier):
    """Whether the epoch of `row` has a higher validation PSNR than all `earlier` rows."""
    return 'val_psnr_y' in row and all(row['val_psnr_y'] > other.get('val_psnr_y', 0) for other in earlier)


def has_stalled(rows, patience):
    """Whether the pre-training's validation PSNR has not risen for `patience` validations; None: never."""
    scores = [row['val_psnr_y'] for row in rows if row['stage'] == STAGES[0] and 'val_psnr_y' in row]
    return bool(patience and scores) and len(scores) - 1 - scores.index(max(scores)) >= patience


def warnings(rows):
    """Lines for the user on problems that have lasted exactly LONG epochs, so that each is reported once."""
    lines = []
    for is_wrong, text in TROUBLES:
        wrong = [is_wrong(row) for row in rows[-LONG - 1:]]
        if wrong[-LONG:] == [True] * LONG and wrong[:-LONG] != [True]:
            lines.append(text.format(epochs=LONG, **rows[-1]))
    return lines

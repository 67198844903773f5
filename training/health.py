"""What the rows of the log say of a run's course: its best network, whether it has come to a halt, what goes wrong."""
from training.stages import STAGES

# So many epochs in a row are no accident.
LONG = 5
TROUBLES = (
    (lambda row: row['stage'] == STAGES[1] and row['d_real'] > 0.95 and row['d_fake'] < 0.05,
     'D tells all pictures apart (real {d_real:.2f}, generated {d_fake:.2f}, for {epochs} epochs), so G learns little '
     'from it; try --label-smoothing 0.1, a lower --learning-rate, or a larger --adversarial-weight'),
    (lambda row: row['stage'] == STAGES[1] and abs(row['d_real'] - row['d_fake']) < 0.02,
     'D does not tell pictures apart (real {d_real:.2f}, generated {d_fake:.2f}, for {epochs} epochs), so G learns '
     'nothing from it; try --d-updates 2, or a smaller --adversarial-weight'),
    (lambda row: row.get('waited', 0) > 0.02,
     'the updates waited {waited:.0%} of the time for pictures, for {epochs} epochs; try more --readers, or a larger '
     '--cache-mb'),
)


def is_best(row, earlier):
    """Whether the validation of an epoch has the highest PSNR so far."""
    return 'val_psnr_y' in row and all(row['val_psnr_y'] > other.get('val_psnr_y', 0) for other in earlier)


def has_stalled(rows, patience):
    """Whether the best of the pre-training's validations lies `patience` of them back; None waits for ever."""
    scores = [row['val_psnr_y'] for row in rows if row['stage'] == STAGES[0] and 'val_psnr_y' in row]
    return bool(patience and scores) and len(scores) - 1 - scores.index(max(scores)) >= patience


def warnings(rows):
    """Lines for the user on what has been wrong for exactly the LONG last epochs, so that each is said once."""
    lines = []
    for is_wrong, text in TROUBLES:
        wrong = [is_wrong(row) for row in rows[-LONG - 1:]]
        if wrong[-LONG:] == [True] * LONG and wrong[:-LONG] != [True]:
            lines.append(text.format(epochs=LONG, **rows[-1]))
    return lines

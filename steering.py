"""What the rows of the log say of a run's course: its best network, whether it has come to a halt, what goes wrong."""
from plan import STAGES

# So many epochs in a row tell of a lost balance of D and G.
LONG = 5
TROUBLES = (
    (lambda row: row['d_real'] > 0.95 and row['d_fake'] < 0.05,
     'D tells all pictures apart (real %.2f, generated %.2f, for %d epochs), so G learns little from it; try '
     '--label-smoothing 0.1, a lower --learning-rate, or a larger --adversarial-weight'),
    (lambda row: abs(row['d_real'] - row['d_fake']) < 0.02,
     'D does not tell pictures apart (real %.2f, generated %.2f, for %d epochs), so G learns nothing from it; try '
     '--d-updates 2, or a smaller --adversarial-weight'),
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
    rows = [row for row in rows if row['stage'] == STAGES[1]]
    lines = []
    for is_wrong, text in TROUBLES:
        wrong = [is_wrong(row) for row in rows[-LONG - 1:]]
        if wrong[-LONG:] == [True] * LONG and wrong[:-LONG] != [True]:
            lines.append(text % (rows[-1]['d_real'], rows[-1]['d_fake'], LONG))
    return lines

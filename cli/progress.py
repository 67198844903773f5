"""How far a command is."""
import sys

import tqdm


class Bar(tqdm.tqdm):
    """A progress bar that leaves no trace; none where nobody sees the error output, on a terminal or in a notebook."""

    disable = True  # until it is made: a Ctrl-C within __init__ would make __del__ print an AttributeError

    def __init__(self, *args, **options):
        seen = sys.stderr.isatty() or 'ipykernel' in sys.modules
        super().__init__(*args, leave=False, dynamic_ncols=True, disable=not seen, **options)

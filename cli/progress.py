"""The progress bar of all commands."""
import sys

import tqdm


class Bar(tqdm.tqdm):
    """A progress bar that is erased when it ends. It is shown only on a terminal or in a notebook."""

    disable = True  # until __init__ is done: after a Ctrl-C inside it, __del__ would print an AttributeError

    def __init__(self, *args, **options):
        seen = sys.stderr.isatty() or 'ipykernel' in sys.modules
        super().__init__(*args, leave=False, dynamic_ncols=True, disable=not seen, **options)

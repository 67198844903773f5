"""Code that all commands share: errors and exit codes, types for options, and the orderly stop on a signal."""
import argparse
import contextlib
import io
import math
import os
import signal
import sys
import threading


class UsageError(ValueError):
    """A mistake of the user; exit code 2. The message is one line: what is wrong, which file or option, what to do."""


class RunError(Exception):
    """A failure that the user did not cause. The message is one line. Exit code 1."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are UsageErrors. It shows its description as it is, and wants options in full."""

    def __init__(self, formatter_class=argparse.RawDescriptionHelpFormatter, **arguments):
        super().__init__(formatter_class=formatter_class, allow_abbrev=False, **arguments)

    def error(self, message):
        raise UsageError('%s; `python %s --help` lists the options' % (message, self.prog))


def number(convert, least, words, below=math.inf):
    """A type for argparse: convert(text) in [least, below); the error calls such a number `words`."""
    def parse(text):
        try:
            value = convert(text)
        except ValueError:
            value = None
        if value is None or not least <= value < below:
            raise argparse.ArgumentTypeError('%s is not %s' % (text, words))
        return value
    return parse


natural = number(int, 0, 'a whole number of at least 0')
positive = number(int, 1, 'a whole number of at least 1')
# Far more threads than any machine has cores end in a crash.
threads = number(int, 1, 'a whole number from 1 to 256', below=257)
amount = number(float, 1e-12, 'a number above 0')
nonnegative = number(float, 0, 'a number of at least 0')


def switch(text):
    """A type for argparse: 'on' -> True, 'off' -> False."""
    if text not in ('on', 'off'):
        raise argparse.ArgumentTypeError('%s is not on or off' % text)
    return text == 'on'


def run(main, argv=None):
    """Call main(argv) as a command and return its exit code. Expected errors print one line instead of a traceback."""
    for stream in (sys.stdout, sys.stderr):
        # Names of files can have bytes that are no text, or that the terminal has no characters for: they are escaped.
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')
    try:
        return main(sys.argv[1:] if argv is None else argv) or 0
    except UsageError as error:
        return complain(error, 2)
    except RunError as error:
        return complain(error, 1)
    except OSError as error:
        where = ': %s' % error.filename if error.filename else ''
        return complain('%s%s' % (error.strerror or error, where), 1)
    except MemoryError:
        return complain('this machine has too little memory', 1)
    except KeyboardInterrupt:
        return complain('stopped', 130)


def complain(message, exit_code):
    """Print an error message, in which line breaks, such as in the name of a file, are escaped; return exit_code."""
    sys.stdout.flush()
    print('error: %s' % str(message).replace('\r', r'\r').replace('\n', r'\n'), file=sys.stderr)
    return exit_code


def end_without_opencv(error):
    """End the process with one line for the ImportError of an OpenCV that lacks a system library."""
    sys.exit(complain('OpenCV lacks a system library (%s); on Debian and Ubuntu: '
                      'apt-get install libsm6 libxext6 libxrender1 libglib2.0-0 libgomp1' % error, 2))


@contextlib.contextmanager
def silent_stderr():
    """Discard the standard error output of this process, including the output of C libraries."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class StopSignals:
    """A context in which Ctrl-C and SIGTERM ask for an orderly stop; `received` is the signal's number, or None.

    A second signal ends the process at once. Python runs its own handlers only after the Executor has returned, so a
    thread reads the pipe into which the interpreter writes each signal on arrival.
    """

    def __enter__(self):
        self.received = None
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        self.pipe = reader, writer
        self.earlier = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
        signal.set_wakeup_fd(writer)
        threading.Thread(target=self.listen, daemon=True).start()
        return self

    def listen(self):
        for number in iter(lambda: os.read(self.pipe[0], 1), b''):
            if self.received:
                os._exit(128 + self.received)
            self.received = number[0]
            print('\nstopping after this update; a second signal stops at once', file=sys.stderr)

    def __exit__(self, *_):
        signal.set_wakeup_fd(-1)
        for number, handler in self.earlier.items():
            signal.signal(number, handler)
        os.close(self.pipe[1])

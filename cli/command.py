"""What every command of this project shares: its errors, its exit codes, its options and its way of stopping."""
import argparse
import math
import os
import signal
import sys
import threading


class UsageError(ValueError):
    """The user's mistake: one line that says what, which file or option, and what to do. Exit code 2."""


class RunError(Exception):
    """The run failed through no mistake in what was asked: one line. Exit code 1."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are UsageErrors."""

    def error(self, message):
        raise UsageError('%s; `python %s --help` lists the options' % (message, self.prog))


def number(convert, least, words, below=math.inf):
    """A type for argparse: convert(text), at least `least` and below `below`, named `words` in its error."""
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
amount = number(float, 1e-12, 'a number above 0')
nonnegative = number(float, 0, 'a number of at least 0')


def switch(text):
    """A type for argparse: on or off."""
    if text not in ('on', 'off'):
        raise argparse.ArgumentTypeError('%s is not on or off' % text)
    return text == 'on'


def run(main, argv=None):
    """Call main(argv) as a command and return its exit code; people get one line in place of a traceback."""
    try:
        return main(sys.argv[1:] if argv is None else argv) or 0
    except UsageError as error:
        return complain(error, 2)
    except RunError as error:
        return complain(error, 1)
    except OSError as error:
        where = ' %s' % error.filename if error.filename else ''
        return complain('%s:%s' % (error.strerror or error, where), 1)
    except KeyboardInterrupt:
        return complain('stopped', 130)


def complain(message, exit_code):
    """Say what is wrong; -> exit_code."""
    sys.stdout.flush()
    print('error: %s' % message, file=sys.stderr)
    return exit_code


class StopSignals:
    """While it is entered, Ctrl-C and SIGTERM ask for an orderly stop: `received` is then the signal's number.

    A second one ends the process at once. Python's own handlers wait until the Executor returns, so a thread
    listens at the pipe into which the interpreter writes each signal as it comes.
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
            print('\nstopping after this update; once more stops at once', file=sys.stderr)

    def __exit__(self, *_):
        signal.set_wakeup_fd(-1)
        for number, handler in self.earlier.items():
            signal.signal(number, handler)
        os.close(self.pipe[1])

"""Which pictures to enlarge, and the names of the results."""
import collections
import functools
import os

from cli.command import UsageError
from data_utils import SCALE
from reading.folders import EXTENSIONS, OTHERS, walk

SUFFIX = '_x%d' % SCALE
READABLE = EXTENSIONS + ('.gif', '.ico', '.pcx')
# {ending of the file that -o names: the ending of its format}.
RESULTS = {'.png': '.png', '.jpg': '.jpg', '.jpeg': '.jpg', '.tif': '.tif', '.tiff': '.tif'}

# source: a path. result: the path of the result without its ending, or with it if `ending`, that of RESULTS, is given.
Job = collections.namedtuple('Job', 'source result ending')


def plan(paths, output, tell=print):
    """The pictures to enlarge -> [Job, ...].

    paths: pictures and folders. output: a folder for the results; for one picture also the name of its result, which
    has an ending of RESULTS; None: beside each picture. tell: is called with a line on files that are left out. Raises
    UsageError if a path does not exist, a folder has no picture, two pictures have one result, or the result would
    have the ending of another kind of picture.
    """
    for path in paths:
        if not os.path.lexists(path):
            raise UsageError('%s does not exist' % path)
    ending = os.path.splitext(output or '')[1].lower()
    if ending in READABLE + OTHERS and not os.path.isdir(output):
        if ending not in RESULTS:
            raise UsageError('-o %s: results are written as %s' % (output, ' '.join(RESULTS)))
        if len(paths) != 1 or os.path.isdir(paths[0]):
            raise UsageError('-o %s names one file; give one picture, or a folder for the results' % output)
        return [Job(paths[0], output, RESULTS[ending])]

    found = []
    for path in paths:
        if os.path.isdir(path):
            found += [(picture, os.path.join(output or path, os.path.relpath(picture, path)))
                      for picture in pictures_in(path, tell)]
        else:
            found.append((path, os.path.join(output, os.path.basename(path)) if output else path))
    # A picture that is named twice is enlarged once.
    once = {}
    for source, result in found:
        once.setdefault(os.path.abspath(source), (source, result))
    stems = collections.Counter(os.path.splitext(result)[0] for _, result in once.values())
    jobs = {}
    for source, result in once.values():
        stem = os.path.splitext(result)[0]
        job = Job(source, (result if stems[stem] > 1 or has_twin(source) else stem) + SUFFIX, None)
        if jobs.setdefault(job.result, job).source != source:
            raise UsageError('%s and %s would both become %s; give them different folders by -o' % (
                jobs[job.result].source, source, job.result))
    return list(jobs.values())


def pictures_in(folder, tell):
    """The pictures in a folder and its sub-folders, except results. Raises UsageError if it has none."""
    found, unnamed, results, unreadable = [], [], [], []
    for path in walk(folder, unreadable):
        stem, ending = os.path.splitext(path)
        if ending.lower() in OTHERS:
            unnamed.append(path)
        elif ending.lower() in READABLE and not stem.endswith(SUFFIX):
            found.append(path)
        elif ending.lower() in READABLE and not is_result(path):
            results.append(path)
    way_out = '; give its own path to enlarge it'
    for left_out, reason in ((unnamed, 'whose kind is not taken from a folder' + way_out),
                             (results, 'named as a result, NAME%s, but without the picture NAME' % SUFFIX + way_out),
                             (unreadable, 'which cannot be read')):
        if left_out:
            tell('left out: %s%s, %s' % (left_out[0], ' and %d more' % (len(left_out) - 1) if left_out[1:] else '',
                                         reason))
    if not found:
        raise UsageError('%s: no picture to enlarge in it (%s)' % (folder, ' '.join(READABLE)))
    return found


def is_result(path):
    """Whether a picture named NAME_x4 has the picture NAME beside it."""
    folder, name = os.path.split(path)
    source = os.path.splitext(name)[0][:-len(SUFFIX)]
    return source in pictures_of(folder) or os.path.splitext(source)[0] in pictures_of(folder)


def has_twin(path):
    """Whether the folder of a picture has another one of the same name, but for the ending.

    Then the names of both results keep it, in whatever order and with whatever other pictures they are enlarged.
    """
    folder, name = os.path.split(path)
    return bool(pictures_of(folder).get(os.path.splitext(name)[0], set()) - {name})


@functools.lru_cache(maxsize=16)
def pictures_of(folder):
    """The pictures in a folder, except results -> {name without ending: {name, ...}}."""
    names = collections.defaultdict(set)
    try:
        found = os.listdir(folder or '.')
    except PermissionError:
        # A folder that may be entered but not listed.
        found = []
    for name in found:
        stem, ending = os.path.splitext(name)
        if ending.lower() in READABLE and not stem.endswith(SUFFIX):
            names[stem].add(name)
    return names

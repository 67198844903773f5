"""The log of a run for VisualDL in output/visualdl: curves and samples."""
import logging
import os
import shutil

import numpy as np
from PIL import Image

from cli.command import UsageError
from training.stages import SAMPLES, STAGES

FOLDER = 'visualdl'


class VisualLog:
    """The rows and samples of a run, logged to `output`/visualdl. VisualDL shows each stage, init and gan, as a run.

    Earlier records are deleted and written again from `rows`, so a resumed run leaves the same records as an
    uninterrupted run. Raises UsageError if VisualDL is not installed.
    """

    def __init__(self, output, rows=()):
        try:
            from visualdl import LogWriter
        except ImportError as error:
            raise UsageError('--visualdl: VisualDL cannot be imported (%s); `pip install -r requirements-visualdl.txt` '
                             'installs it' % error)
        # VisualDL logs its output folder at every start.
        logging.getLogger('visualdl').setLevel(logging.WARNING)
        self.output = output
        self.new_writer = LogWriter
        self.writers = {}
        for stage in STAGES:
            shutil.rmtree(self.folder(stage), ignore_errors=True)
        for row in rows:
            self.add(row)

    def add(self, row):
        """Log an epoch, with its sample if one has been written."""
        stage, epoch = row['stage'], row['epoch']
        if stage not in self.writers:
            self.writers[stage] = self.new_writer(logdir=self.folder(stage))
        writer = self.writers[stage]
        for name in set(row) - {'stage', 'epoch', 'update'}:
            writer.add_scalar(tag=name, value=row[name], step=row['update'])
        sample = os.path.join(self.output, SAMPLES[stage] % epoch + 'G.jpg')
        if os.path.exists(sample):
            with Image.open(sample) as image:
                writer.add_image(tag='generated', img=np.asarray(image), step=row['update'])
        writer.flush()

    def folder(self, stage):
        return os.path.join(self.output, FOLDER, stage)

"""The log of a run for VisualDL: curves, samples and G's graph, in output/visualdl."""
import logging
import os
import shutil

import numpy as np
from PIL import Image

from cli.command import UsageError
from training.stages import SAMPLES, STAGES

FOLDER = 'visualdl'


class VisualLog:
    """A run's rows and samples, in a folder below `output`: VisualDL's run `init` is the pre-training, `gan` the rest.

    Records that are there are made again from `rows`, so that a resumed run leaves what an uninterrupted one does.
    Raises UsageError where VisualDL is not installed.
    """

    def __init__(self, output, rows=()):
        try:
            from visualdl import LogWriter
        except ImportError as error:
            raise UsageError('--visualdl: it is not there (%s); `pip install -r requirements-visualdl.txt`' % error)
        # It says at every start where it writes.
        logging.getLogger('visualdl').setLevel(logging.WARNING)
        self.output, self.new_writer, self.writers = output, LogWriter, {}
        for stage in STAGES:
            shutil.rmtree(self.folder(stage), ignore_errors=True)
        for row in rows:
            self.add(row)

    def add(self, row):
        """Log an epoch, with its sample where one has been written."""
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

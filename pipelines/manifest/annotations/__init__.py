"""Data sets' own annotation files and folders, each read to a `Manifest`.

Every function reads one split: its second argument says which. `classes` are those of the training split,
for formats whose files do not number them; None takes the sorted names that occur. With `keep_bad` rows
without a file stay in `videos`, so that a manifest can be written that has them; else they are reported in
`unusable`. All raise FileNotFoundError for a folder or file that is not there, and ValueError, with its
line, for one that is not as it should be, and for a split of which no video exists.

Folders are listed, files are not opened: time is in proportion to the rows, some seconds for 240,000.

A module has the readers of one family of data sets: `kinetics` (with Mini-Kinetics), `something_something`
(V1 and V2), `charades`, `ucf101`, `hmdb51`, `cub200`, `folders` (a folder for each class), `lists` (of TSN,
TSM and mmaction2). They share `tables`, which reads text, CSV and JSON, and `data_dir`, which finds files.
"""

from pipelines.manifest.annotations.charades import read_charades
from pipelines.manifest.annotations.cub200 import read_cub200
from pipelines.manifest.annotations.folders import read_folders
from pipelines.manifest.annotations.hmdb51 import read_hmdb51
from pipelines.manifest.annotations.kinetics import read_kinetics, read_mini_kinetics
from pipelines.manifest.annotations.lists import read_list
from pipelines.manifest.annotations.something_something import (
    mirrored_classes,
    read_something_something_v1,
    read_something_something_v2,
)
from pipelines.manifest.annotations.ucf101 import read_ucf101

__all__ = [
    "FORMATS",
    "mirrored_classes",
    "read_charades",
    "read_cub200",
    "read_folders",
    "read_hmdb51",
    "read_kinetics",
    "read_list",
    "read_mini_kinetics",
    "read_something_something_v1",
    "read_something_something_v2",
    "read_ucf101",
]

# Name of a format -> its reader; the command line's --format.
FORMATS = {
    "kinetics": read_kinetics,
    "mini_kinetics": read_mini_kinetics,
    "something_something_v1": read_something_something_v1,
    "something_something_v2": read_something_something_v2,
    "charades": read_charades,
    "ucf101": read_ucf101,
    "hmdb51": read_hmdb51,
    "cub200": read_cub200,
    "folders": read_folders,
    "list": read_list,
}

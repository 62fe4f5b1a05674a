"""Data sets' own annotation files and folders, each read to a `Manifest`.

Every reader reads one split, which its second argument chooses. `classes` are those of the training split,
for formats whose files do not number them; None takes the sorted names that occur. With `keep_bad`, rows
without a file stay in `videos`, so that a manifest can be written that has them; else they are reported in
`unusable`. All readers raise FileNotFoundError for a folder or file that is missing, and ValueError for one
that is malformed, with its line, and for a split of which no video exists.

Readers list folders and do not open videos. Their time is in proportion to the rows: some seconds for
240,000.

Each module has the readers of one family of data sets, and describes each of them as a `Format`: `kinetics`
(with Mini-Kinetics), `something_something` (V1 and V2), `charades`, `ucf101`, `hmdb51`, `cub200`, `folders`
(a folder for each class), `lists` (of TSN, TSM and mmaction2). They share `tables`, which reads text, CSV
and JSON, and `data_dir`, which finds files. A new data set is a module and a line of `FORMATS`.
"""

from pipelines.manifest.annotations.charades import CHARADES, read_charades
from pipelines.manifest.annotations.cub200 import CUB200, read_cub200
from pipelines.manifest.annotations.folders import FOLDERS, read_folders
from pipelines.manifest.annotations.hmdb51 import HMDB51, read_hmdb51
from pipelines.manifest.annotations.kinetics import (
    KINETICS,
    MINI_KINETICS,
    read_kinetics,
    read_mini_kinetics,
)
from pipelines.manifest.annotations.lists import LIST, read_list
from pipelines.manifest.annotations.something_something import (
    SOMETHING_SOMETHING_V1,
    SOMETHING_SOMETHING_V2,
    mirrored_classes,
    read_something_something_v1,
    read_something_something_v2,
)
from pipelines.manifest.annotations.ucf101 import UCF101, read_ucf101

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

# Name for the command line's --format -> `Format`.
FORMATS = {
    "kinetics": KINETICS,
    "mini_kinetics": MINI_KINETICS,
    "something_something_v1": SOMETHING_SOMETHING_V1,
    "something_something_v2": SOMETHING_SOMETHING_V2,
    "charades": CHARADES,
    "ucf101": UCF101,
    "hmdb51": HMDB51,
    "cub200": CUB200,
    "folders": FOLDERS,
    "list": LIST,
}

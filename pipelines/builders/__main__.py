"""Runs TFDS's command `tfds build --imports=pipelines.builders`.

The program `tfds` itself does not start without Apache Beam (tensorflow/datasets, issue 5463) and
mlcroissant, which building does not need.
"""

import sys

from tensorflow_datasets.scripts.cli import build, cli_utils


def main(arguments=None):
    """Parses the command line of `tfds build`, and builds; returns 1 for errors that a user can mend."""
    # With --imports, a folder that is named as the data set is not taken for the folder of a builder.
    arguments = ["--imports=pipelines.builders", *(sys.argv[1:] if arguments is None else arguments)]
    parse = cli_utils.make_flags_parser(build.Args, "Builds TFDS data sets, as `tfds build` does.")
    try:
        parse(["", *arguments]).execute()
    except (AssertionError, OSError, ValueError) as error:
        print(f"error: {error}", *getattr(error, "__notes__", ()), sep="\n\n", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What a person sees of a run: pages and pictures.

`report` writes the page of a run, which is made of `sections`, `charts` and `examples`; `python -m
train.reporting --workdir=RUN` writes it again. `shown_clips` are what `train.browse` and TensorBoard show of
the data, and `pictures` draws them. `elements` and `page` write HTML.
"""

from train.reporting.report import write_report

__all__ = ["write_report"]

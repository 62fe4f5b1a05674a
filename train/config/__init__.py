"""What a run is: one frozen dataclass, checked when it is made. Its fields are the flags of the programs."""

import dataclasses
import itertools

from train.config.data import ClipFields, DataFields, EvaluationFields
from train.config.fields import as_flags, check_fields
from train.config.network import NetworkFields
from train.config.relations import RELATIONS
from train.config.training import TrainingFields


@dataclasses.dataclass(frozen=True)
class Config(EvaluationFields, TrainingFields, ClipFields, NetworkFields, DataFields):  # The last come first.
    """A run. Each field is a flag of the same name; `--help` of a program shows them with their meaning.

    The defaults follow RNL's runs on Kinetics-400 (Huang and Bors 2020), except that weights start at
    random where the paper starts from ImageNet's, that the kernel is 3x7x7 throughout, as the text has it,
    and that the released code's learning rate multipliers are left out.

    Raises:
        ValueError: A field has a value that it may not have, alone or beside the others.
    """

    def __post_init__(self):
        check_fields(self, RELATIONS)

    @property
    def activation(self):
        """What makes probabilities of logits."""
        return "softmax"

    def to_flags(self):
        """Returns the text of a flag file that gives this configuration again."""
        lines = []
        headings = itertools.groupby(dataclasses.fields(self), lambda field: field.metadata["heading"])
        for heading, fields in headings:
            lines.append(f"# {heading}")
            for field in fields:
                lines += as_flags(field, getattr(self, field.name))
        return "\n".join(lines) + "\n"

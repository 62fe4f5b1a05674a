"""`python -m train`: which flags it needs, and what it refuses before any data is opened."""

import pytest
import small_run
from absl import flags

from train.__main__ import main
from train.command_line import define_flags

RUN = ["--data_dir=nowhere", "--workdir=run", "--train_annotations=t.jsonl", "--val_annotations=v.jsonl"]


def run(*arguments, **defaults):
    flag_values = flags.FlagValues()
    define_flags(flag_values, **defaults)
    main(flag_values(["train", *arguments]), flag_values)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (RUN[1:], "Expected --data_dir to be a directory. Received none. Try: --data_dir=DIR"),
        (
            [*RUN[:2], RUN[3]],
            "Expected --train_annotations to be a manifest.*none. Try: --train_ann",
        ),
        (RUN[:3], "Expected --val_annotations to be a manifest.*none. Try: --val_annotations="),
        ([*RUN, "demo.flags"], "Expected nothing but flags. Received 'demo.flags'. Try: "),
        ([*RUN, "--flip", "false", "--epochs=1"], "Expected nothing but flags. Received 'false'"),
        (
            [*RUN, "--epochs=3", "--warmup_epochs=3"],
            "Expected --warmup_epochs to be less than --epochs=3",
        ),
        ([*RUN, "--block=NonLocl"], "--block and --blocks: Expected a block .*NonLocl"),
        ([*RUN, "--block=BilinearAttentionTransform", "--crop=200"], "--block refuses the map of --crop=200"),
        (RUN, "Expected a directory of videos at 'nowhere'"),
    ],
)
def test_wrong_flags_end_the_program_before_the_data_is_opened(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=f"(?s)^error: .*{words}"):
        run(*arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_program_has_defaults_of_its_own():
    with pytest.raises(SystemExit, match="nowhere"):
        run(*RUN[:2], train_annotations="train.csv", val_annotations="val.csv")


def test_help_of_any_configuration_lists_the_flags():
    process = small_run.run_module("train", "--help")
    assert "Trains and evaluates any configuration" in process.stdout
    assert "--crop_scales" in process.stdout and "sizes of the multi_scale crop" in process.stdout

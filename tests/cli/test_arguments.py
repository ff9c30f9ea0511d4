import pytest

from convlens.cli.arguments import flags_first, help_asked, with_task
from convlens.errors import InputError


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["occlude", "run=DIR"], ["task=occlude", "run=DIR"]),
        (["run=DIR", "occlude"], ["run=DIR", "task=occlude"]),
        (["-m", "train", "seed=0,1"], ["-m", "task=train", "seed=0,1"]),
        (["--cfg", "job", "write_shards"], ["--cfg", "job", "task=write_shards"]),
        (["--config-dir", "mine", "task=train"], ["--config-dir", "mine", "task=train"]),
        (["pack"], ["task=pack"]),  # an old name, which is answered with the new one
        (["task=train", "~ablation", "+a=b"], ["task=train", "~ablation", "+a=b"]),
        ([], []),
    ],
)
def test_a_single_word_is_a_task(typed, meant):
    assert with_task(typed) == meant


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["train", "--cfg", "job", "seed=1"], ["--cfg", "job", "train", "seed=1"]),
        (["task=train", "-m", "seed=0,1"], ["-m", "task=train", "seed=0,1"]),
        (["a=1", "--cfg=job", "b=2", "--resolve"], ["--cfg", "job", "--resolve", "a=1", "b=2"]),
        (["--info", "task=train"], ["--info", "all", "task=train"]),
        (["task=train", "-i", "defaults", "seed=1"], ["-i", "defaults", "task=train", "seed=1"]),
        (["a=-1", "~b", "+c=3"], ["a=-1", "~b", "+c=3"]),
    ],
)
def test_flags_go_before_the_overrides(typed, meant):
    assert flags_first(typed) == meant


@pytest.mark.parametrize(("word", "near"), [("trian", "train"), ("oclude", "occlude"), ("studdy", "study")])
def test_another_word_is_answered_with_the_nearest_task(word, near):
    with pytest.raises(InputError, match=f"'{word}' is no task: did you mean {near}.*there is collect, compare, "):
        with_task([word, "run=DIR"])


@pytest.mark.parametrize(
    ("arguments", "task"),
    [
        (["task=occlude", "--help"], "occlude"),
        (["-h", "task=study"], "study"),
        (["--help"], ""),
        (["task=occlude"], ""),
        (["--help", "model=alexnet"], ""),
    ],
)
def test_help_is_asked_for_a_task(arguments, task):
    assert help_asked(arguments) == task

import dataclasses
import math
import os
from typing import Literal

import hypothesis
import hypothesis.strategies as st
import pytest

from jaxlth import settings
from jaxlth.studies.imp.config import ImpConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Milk:
    share: float = 0.25
    kind: Literal["oat", "cow"] = "cow"
    skimmed: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tea:
    minutes: int = 3
    name: str = "green"
    sugar: float | None = None
    steps: tuple[int, ...] = ()
    milk: Milk = Milk()
    cups: int = settings.not_hashed(1)

    def __post_init__(self):
        settings.require(self.minutes > 0, f"`minutes` must be positive; got {self.minutes}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeaWithOneMoreField(Tea):
    lemon: bool = False


TEAS = st.builds(
    Tea,
    minutes=st.integers(1, 9),
    name=st.sampled_from(["green", "black", 'a "quoted" name', "ü"]),
    sugar=st.none() | st.floats(0, 1),
    steps=st.lists(st.integers(-5, 5), max_size=3).map(tuple),
    milk=st.builds(Milk, share=st.floats(0, 1), kind=st.sampled_from(["oat", "cow"])),
    cups=st.integers(1, 9),
)


@hypothesis.given(TEAS)
def test_dictionaries_and_toml_give_settings_back(tmp_path_factory, tea):
    assert settings.from_dict(Tea, settings.to_dict(tea)) == tea
    path = tmp_path_factory.mktemp("tea") / "tea.toml"
    path.write_text(settings.to_toml(tea), encoding="utf-8")
    assert settings.read_toml(Tea, path) == tea


@hypothesis.given(TEAS, TEAS)
def test_digests_are_equal_exactly_where_the_settings_that_count_are(one, other):
    outside_aside = dataclasses.replace(other, cups=one.cups)
    assert (settings.digest(one) == settings.digest(other)) == (one == outside_aside)
    assert (settings.differences(settings.to_dict(one), other) == []) == (one == outside_aside)


def test_minus_zero_is_zero():
    milks = [Tea(milk=Milk(share=share)) for share in (0.0, -0.0)]
    assert settings.digest(milks[0]) == settings.digest(milks[1]) != settings.digest(Tea())


def test_the_digest_is_eight_digits_the_same_in_every_process():
    assert settings.digest(Tea()) == "44136fa3"
    assert settings.digest(Tea(minutes=4, milk=Milk(kind="oat"))) == "b98b426c"


def test_a_new_field_with_a_default_leaves_old_digests_alone():
    assert settings.digest(TeaWithOneMoreField(minutes=4)) == settings.digest(Tea(minutes=4))
    assert settings.digest(TeaWithOneMoreField(lemon=True)) != settings.digest(Tea())


def test_changed_lists_what_counts_and_differs_nested_as_it_is():
    tea = Tea(minutes=4, steps=(1, 2), milk=Milk(share=0.5), cups=7)
    assert settings.changed(tea) == {"minutes": 4, "steps": [1, 2], "milk": {"share": 0.5}}
    assert settings.changed(Tea(cups=7)) == {}


def test_differences_name_fields_with_both_values():
    stored = settings.to_dict(Tea(steps=(1,), milk=Milk(kind="oat"), cups=3))
    assert settings.differences(stored, Tea(steps=(1,))) == ["`milk.kind`: 'oat', not 'cow'"]


def test_a_whole_number_serves_as_a_float_and_gives_the_same_digest():
    tea = settings.from_dict(Tea, {"sugar": 1, "milk": {"share": 1}})
    assert tea == Tea(sugar=1.0, milk=Milk(share=1.0))
    assert settings.digest(tea) == settings.digest(Tea(sugar=1.0, milk=Milk(share=1.0)))


@pytest.mark.parametrize(
    ("mapping", "error", "message"),
    [
        ({"minuts": 4}, ValueError, r"no setting `minuts`\. Did you mean `minutes`\?"),
        ({"milk": {"knd": 1}}, ValueError, r"no setting `milk\.knd`\. Did you mean `kind`\?"),
        ({"zzz": 4}, ValueError, "no setting `zzz`. Known: minutes, name"),
        ({"minutes": -1}, ValueError, "`minutes` must be positive; got -1"),
        ({"minutes": 1.5}, TypeError, "`minutes` must be of kind int; got 1.5"),
        ({"minutes": True}, TypeError, "`minutes` must be of kind int; got True"),
        ({"minutes": "4"}, TypeError, "`minutes` must be of kind int; got '4'"),
        ({"minutes": None}, TypeError, "`minutes` must be of kind int; got None"),
        ({"sugar": "much"}, TypeError, "`sugar` must be of kind float or NoneType; got 'much'"),
        ({"steps": [1, 0.5]}, TypeError, "`steps` must be of kind int; got 0.5"),
        ({"steps": 1}, TypeError, "`steps` must be of kind list of int"),
        ({"milk": 1}, TypeError, "`milk` must be a table of settings; got 1"),
        ({"milk": {"kind": "coww"}}, ValueError, r"`milk\.kind` has no .* Did you mean 'cow'\?"),
        ({"milk": {"kind": 3}}, TypeError, r"`milk\.kind` must be of kind .*; got 3"),
        ({"milk": {"skimmed": 1}}, TypeError, r"`milk\.skimmed` must be of kind bool; got 1"),
    ],
)
def test_wrong_settings_are_refused_by_name(mapping, error, message):
    with pytest.raises(error, match=message):
        settings.from_dict(Tea, mapping)


def test_an_unknown_value_names_the_closest():
    assert settings.check_choice("tea", "green", ["green", "black"]) == "green"
    with pytest.raises(ValueError, match=r"`tea` has no value 'gren'\. Did you mean 'green'\?"):
        settings.check_choice("tea", "gren", ["green", "black"])
    with pytest.raises(ValueError, match=r"no value 'zzz'\. Known: green, black\."):
        settings.check_choice("tea", "zzz", iter(["green", "black"]))


def test_a_name_that_may_stand_behind_a_prefix_is_offered_with_it():
    with pytest.raises(ValueError, match=r"Did you mean 'shop:earl_grey'\?"):
        settings.check_choice("tea", "earl_grey", ["green", "shop:NAME"])
    with pytest.raises(ValueError, match=r"Did you mean 'green' or 'shop:gren'\?"):
        settings.check_choice("tea", "gren", ["green", "shop:NAME", "stall:NAME"])
    with pytest.raises(ValueError, match=r"no value 'zzz:zzz'\. Known"):
        settings.check_choice("tea", "zzz:zzz", ["green", "shop:NAME"])


@pytest.mark.parametrize("value", ["nets/mine.py", "nets/mine.py:"])
def test_a_file_without_a_name_is_told_to_have_one(value):
    with pytest.raises(ValueError, match=r"named FILE\.py:NAME, as in nets/mine\.py:NAME\. Known"):
        settings.check_choice("model", value, ["mlp"])


def test_a_long_list_of_values_is_cut():
    with pytest.raises(ValueError, match=r"Known: tea0, .*tea15 and 84 more\.") as caught:
        settings.check_choice("tea", "zzz", [f"tea{number}" for number in range(100)])
    assert len(str(caught.value)) < 200


def test_a_file_that_is_not_toml_is_refused_by_name(tmp_path):
    path = tmp_path / "tea.toml"
    path.write_text("minutes = = 3")
    with pytest.raises(ValueError, match=r"tea\.toml is not valid TOML"):
        settings.read_toml(Tea, path)
    path.write_bytes(b"name = '\xff'")
    with pytest.raises(ValueError, match=r"tea\.toml is not valid TOML"):
        settings.read_toml(Tea, path)
    path.write_text("minuts = 3")
    with pytest.raises(ValueError, match=r"tea\.toml: There is no setting `minuts`"):
        settings.read_toml(Tea, path)
    path.write_text("minutes = 1.5")
    with pytest.raises(TypeError, match=r"tea\.toml: `minutes` must be of kind int"):
        settings.read_toml(Tea, path)
    with pytest.raises(OSError, match="nothing"):
        settings.read_toml(Tea, tmp_path / "nothing.toml")


def test_a_float_that_is_not_a_number_does_not_break_the_text():
    assert math.isnan(settings.from_dict(Tea, settings.to_dict(Tea(sugar=math.nan))).sugar)


# The defaults that digests are taken against. Another default gives old folders another meaning: a
# line here changes only together with an entry under "Changes results" in CHANGELOG.md. A new
# setting gets a line here, with the default that does what was done before it was there.
DEFAULTS = {
    "after_pruning": "rewind",
    "alive": False,
    "choose_on": "validation",
    "compact": False,
    "data.augment": "none",
    "data.context": 64,
    "data.num_train_examples": None,
    "data.held_out_test": 0.0,
    "data.name": "digits",
    "data.normalize": "statistics",
    "data.stream.crop_area": [0.08, 1.0],
    "data.stream.crop_ratio": [3 / 4, 4 / 3],
    "data.stream.flip": True,
    "data.stream.image_size": 224,
    "data.stream.resize_to": 256,
    "data.stream.skip_broken": False,
    "data.stream.statistics_images": 1000,
    "data.validation": 0.1,
    "error": "",
    "exclude": [],
    "initial": "",
    "initial_mask": "",
    "loss": "cross-entropy",
    "model.dtype": "float32",
    "model.fc_layers": 1,
    "model.hidden": [],
    "model.initializer": "kaiming-normal",
    "model.name": "lenet-300-100",
    "model.norm_scale": "uniform",
    "name": "",
    "one_shot": False,
    "optimizer.cycles": 1,
    "optimizer.drop": 0.1,
    "optimizer.final_lr": 0.0,
    "optimizer.l1": 0.0,
    "optimizer.lr": 1.2e-3,
    "optimizer.milestones": [],
    "optimizer.momentum": 0.9,
    "optimizer.optimizer": "adam",
    "optimizer.rise": 0.3,
    "optimizer.rise_from": 0.04,
    "optimizer.schedule": "constant",
    "optimizer.warmup": 0.0,
    "optimizer.weight_decay": 0.0,
    "per_class": 10,
    "prune_fraction": 0.2,
    "restart_schedule": False,
    "rewind_optimizer": False,
    "rewind_step": 0,
    "scope": "global",
    "score": "magnitude",
    "seed": 0,
    "training.batch_size": 60,
    "training.epochs": 40.0,
    "training.evaluate_every": None,
    "training.matmul_precision": "default",
    "training.checkpoint": "last",
    "training.patience": None,
    "training.steps": None,
    "training.synchronized_statistics": True,
    "training.train_examples": 10_000,
}


def test_the_defaults_that_enter_digests_are_frozen():
    assert _in_digest(ImpConfig()) == DEFAULTS


def _in_digest(config, within=""):
    result = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            result |= _in_digest(value, f"{within}{field.name}.")
        elif not field.metadata.get("not_hashed"):
            result[f"{within}{field.name}"] = list(value) if isinstance(value, tuple) else value
    return result


def test_names_of_files_are_bounded_in_bytes_and_short_ones_stay():
    assert settings.bounded("size_300-100") == "size_300-100"
    assert settings.bounded(255 * "x") == 255 * "x"
    long = [settings.bounded("size_" + "-".join(200 * ["10"]) + end) for end in ("", "-10")]
    assert [len(name.encode()) for name in long] == [255, 255]
    assert long[0][:-8] == long[1][:-8]
    assert long[0] != long[1]
    assert settings.file_name(200 * "ä", "12") == 126 * "ä" + "-12"


# ---- files of settings as editors and accidents write them


def test_a_byte_order_mark_changes_nothing(tmp_path):
    path = tmp_path / "tea.toml"
    path.write_bytes(b"\xef\xbb\xbfminutes = 4\n")
    assert settings.read_toml(Tea, path) == Tea(minutes=4)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("minutes = 4".encode("utf-16"), "is written in UTF-16; save it as UTF-8."),
        (b"# caf\xe9\nminutes = 4", "is not valid TOML, whose text is UTF-8"),
        (b"a = " + b"[" * 500 + b"]" * 500, "is nested too deeply"),
        (b"a = " + b"{b = " * 500 + b"1" + b"}" * 500, "is nested too deeply"),
        (b"[" + b".".join([b"a"] * 500) + b"]", "There is no setting `a`"),
        (b"minutes = " + b"1" * 5000, "tea.toml: Exceeds the limit"),
        (b"sugar = " + b"1" * 400, "`sugar` must be at most 1.8e308; got 111"),
        (b"minutes = 1979-05-27", "`minutes` must be of kind int; got datetime.date"),
        (b"[milk]\nshare = 'x'", "`milk.share` must be of kind float; got 'x'"),
    ],
)
def test_a_file_that_holds_no_settings_says_why_with_its_name(tmp_path, content, words):
    path = tmp_path / "tea.toml"
    path.write_bytes(content)
    with pytest.raises((ValueError, TypeError), match=r"tea\.toml") as caught:
        settings.read_toml(Tea, path)
    assert words in str(caught.value)


def test_no_more_of_a_large_file_is_read_than_settings_take(tmp_path):
    path = tmp_path / "tea.toml"
    path.touch()
    os.truncate(path, 100_000_000_000)
    for large in (path, "/dev/zero"):
        with pytest.raises(ValueError, match=f"{large} .* has at most 1,000,000 bytes"):
            settings.read_toml(Tea, large)


def test_a_folder_is_no_file_of_settings(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path} is a folder; a run has its settings in sett"):
        settings.read_toml(Tea, tmp_path)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pot:
    tea: Tea = Tea()


def test_a_value_of_a_table_is_refused_under_its_whole_name():
    with pytest.raises(ValueError, match=r"^`tea\.minutes` must be positive; got -1\.$"):
        settings.from_dict(Pot, {"tea": {"minutes": -1}})


def test_another_name_is_given_in_backticks_only_and_by_the_same_kind_of_error():
    with (
        pytest.raises(TypeError, match=r"^`cups of tea` of `milk`, not tea$"),
        settings.renamed({"tea": "cups of tea"}),
    ):
        raise TypeError("`tea` of `milk`, not tea")


@pytest.mark.parametrize(("typed", "close"), [("GREEN", "green"), ("Green", "green"), ("x", None)])
def test_upper_case_is_close_to_lower_case(typed, close):
    assert settings.closest(typed, ["black", "green"]) == close


def test_a_setting_has_no_effect_only_where_it_differs_from_its_default():
    settings.effective(Tea(minutes=4), "minutes", True, "on iced tea")
    settings.effective(Tea(), "minutes", False, "on iced tea")
    with pytest.raises(ValueError, match=r"^`minutes` 4 has no effect on iced tea\.$"):
        settings.effective(Tea(minutes=4), "minutes", False, "on iced tea")
    with pytest.raises(ValueError, match=r"^`steps` 1 2 has no effect on iced tea\.$"):
        settings.effective(Tea(steps=(1, 2)), "steps", False, "on iced tea")
    with pytest.raises(ValueError, match=r"^`skimmed` has no effect on black tea\.$"):
        settings.effective(Milk(skimmed=True), "skimmed", False, "on black tea")

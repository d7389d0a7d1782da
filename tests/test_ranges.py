import dataclasses
import math
import re
import sys
from typing import Annotated, Literal

import pytest

from jaxlth import settings
from jaxlth.settings import ranges
from jaxlth.training import OptimizerConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tea:
    minutes: Annotated[int, ranges.at_least(1)] = 3
    cups: Annotated[int | None, ranges.at_least(0, most=9, why="the cups of a set")] = None
    sugar: Annotated[float, ranges.at_least(0, single=True)] = 0.5
    milk: Annotated[float, ranges.between(0, 1, ends="[)", single=True)] = 0.5
    breaks: Annotated[tuple[float, ...], ranges.above(0)] = ()
    seed: Annotated[int, ranges.between(0, 2**32 - 1, ends="[]")] = 0
    kind: Literal["green", "black"] = "green"
    iced: bool = False

    def __post_init__(self):
        ranges.check(self)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"minutes": 0}, "`minutes` must be at least 1; got 0."),
        (
            {"minutes": 2**31},
            "`minutes` must be at most 2147483647 (a whole number of 32 bits); got 2147483648.",
        ),
        ({"cups": -1}, "`cups` must be at least 0; got -1."),
        ({"cups": 10}, "`cups` must be at most 9 (the cups of a set); got 10."),
        ({"sugar": -0.5}, "`sugar` must be at least 0; got -0.5."),
        ({"sugar": math.nan}, "`sugar` must be at least 0; got nan."),
        ({"sugar": math.inf}, "`sugar` must be at least 0; got inf. It must be finite."),
        (
            {"sugar": 1e39},
            "`sugar` must be at most 3.4e+38, as training computes in 32 bits; got 1e+39.",
        ),
        (
            {"sugar": 1e-50},
            "`sugar` must be at least 1.2e-38 or 0, as training computes in 32 bits; got 1e-50.",
        ),
        ({"milk": 1}, "`milk` must lie in [0, 1); got 1."),
        (
            {"milk": 1 - 1e-12},
            "`milk` must be further from 1, as training computes in 32 bits; got 0.999999999999.",
        ),
        ({"breaks": (1.0, -2.0)}, "`breaks` must be above 0; got -2.0."),
        ({"seed": 2**32}, "`seed` must lie in 0..4294967295; got 4294967296."),
        ({"seed": -1}, "`seed` must lie in 0..4294967295; got -1."),
    ],
)
def test_a_number_outside_its_range_is_told_with_the_range(values, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Tea(**values)


def test_a_whole_number_of_any_length_is_refused_where_it_is_no_float():
    for value in (10**400, -(10**400)):
        with pytest.raises(ValueError, match=r"`sugar` must be .*\(40[12] characters\)\."):
            Tea(sugar=value)
    with pytest.raises(ValueError, match="got a number of more than 4300 digits"):
        Tea(minutes=10**5000)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"minutes": 1.5}, "`minutes` must be of kind int; got 1.5."),
        ({"minutes": True}, "`minutes` must be of kind int; got True."),
        ({"minutes": "3"}, "`minutes` must be of kind int; got '3'."),
        ({"minutes": None}, "`minutes` must be of kind int; got None."),
        ({"cups": 0.5}, "`cups` must be of kind int or NoneType; got 0.5."),
        ({"breaks": 1.0}, "`breaks` must be of kind tuple of float; got 1.0."),
        ({"breaks": (1.0, "2")}, "`breaks` must be of kind tuple of float; got (1.0, '2')."),
        ({"kind": 3}, "`kind` must be of kind str; got 3."),
        ({"iced": 1}, "`iced` must be of kind bool; got 1."),
    ],
)
def test_a_value_of_another_kind_is_told_with_the_kind(values, message):
    with pytest.raises(TypeError) as caught:
        Tea(**values)
    assert str(caught.value) == message


def test_numbers_at_the_ends_of_their_ranges_are_taken_as_they_are():
    values = {"minutes": 2**31 - 1, "cups": 9, "sugar": 0, "milk": 0.0, "breaks": [1, 0.5]}
    assert dataclasses.asdict(Tea(**values)).items() >= values.items()
    assert Tea(sugar=1.2e-38).sugar == 1.2e-38
    assert Tea(breaks=(sys.float_info.max,)).breaks == (sys.float_info.max,)


def test_a_long_value_is_cut_in_messages():
    with pytest.raises(TypeError) as caught:
        Tea(minutes="x" * 10**6)
    assert len(str(caught.value)) < 150


def test_rates_that_training_cannot_compute_with_are_refused():
    for name, values in {
        "lr": {"lr": 1e39},
        "momentum": {"optimizer": "momentum", "momentum": 0.9999999999},
        "weight_decay": {"weight_decay": 1e-60},
        "l1": {"l1": 1e39},
        "drop": {"schedule": "milestones", "milestones": (1.0,), "drop": 1e-60},
        "final_lr": {"schedule": "linear", "final_lr": 1e-60},
    }.items():
        with pytest.raises(ValueError, match=f"`{name}` must be .* 32 bits"):
            OptimizerConfig(**values)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Named:
    one: Annotated[str, ranges.OneOf(("a", "b"), others=lambda name: name.endswith(".py"))] = "a"
    some: Annotated[tuple[str, ...], ranges.OneOf(("a", "b"))] = ("a",)
    any_number: Annotated[tuple[str, ...], ranges.OneOf(("a", "b"), empty=True, once=False)] = ()
    literal: tuple[Literal["a", "b"], ...] = ()
    none: Annotated[str | None, ranges.OneOf(["a"])] = None

    def __post_init__(self):
        settings.check_fields(self)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"one": "c"}, "`one` has no value 'c'. Known: a, b."),
        ({"some": ("a", "c")}, "`some` has no value 'c'. Known: a, b."),
        ({"some": ("a", "a")}, "`some` must name something, each once; got a a."),
        ({"some": ()}, "`some` must name something, each once; got nothing."),
        ({"any_number": ("c",)}, "`any_number` has no value 'c'. Known: a, b."),
        ({"literal": ("a", "c")}, "`literal` has no value 'c'. Known: a, b."),
    ],
)
def test_a_name_that_is_unknown_or_given_twice_is_told(fields, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Named(**fields)


def test_names_that_a_setting_takes_are_let_through():
    Named(one="own.py", some=("b", "a"), any_number=("a", "a"), literal=("b", "b"))

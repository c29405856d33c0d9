"""Objects of classes: what is kept of them, by which names, and what a newer version of a class makes of it."""

from __future__ import annotations

import array
import dataclasses
import functools
import io
import operator
import random
import time
from collections.abc import Callable
from typing import Annotated, Any, Literal

import attrs
import numpy
import pytest
from pydantic import BaseModel, Field, PrivateAttr

from tests.execution.codec.roundtrip import assert_kept, read_back
from tests.values import classes as c
from workflow_server.execution.codec import Codec, Undecodable

Positive = c.Page[Annotated[int, Field(gt=0)]]


@pytest.mark.parametrize(
    "value",
    [
        c.Page[int | None](items=[None]),
        c.Page[tuple[int, ...]](items=[(1,)]),
        c.Page[Callable[[int], int]](items=[c.a_function]),
        c.Page[Literal[c.Color.RED]](items=[c.Color.RED]),
        c.Page[Any](items=[1]),
        Positive(items=[1]),
        c.Numbers([1]),
        c.Private(),
        c.Person.model_construct(_fields_set={"name"}, name=1, more=3),  # type: ignore[arg-type]
        c.Extras(**{"n": 1, "$": 2, "$$": 3}),
        c.Outer.Deeper.Model(),
        c.SlotsOnly([1]),
        c.NewArgs(1),
        c.NewArgsEx(n=1),
        c.NewWithArguments(1),
        c.Property(1),
        c.Guarded(1),
        c.OfMeta(1),
        c.Keyword(a=1),
        c.AttrsDict(1),
        c.AttrsFrozen(1),
        c.PydanticFrozen(n=1),
        numpy.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        numpy.array(["a", None], dtype=object),
        numpy.float64("nan"),
        io.BytesIO(b"ab"),
        operator.itemgetter(1, 2),
        random.Random(3),
        array.array("i", [1, 2]),
        time.gmtime(0),
        c.Typed[c.Page[int]](item=c.Page[int](items=[1])),
        numpy.str_("a"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_object_is_kept_whatever_its_class_does_with_it(value: Any) -> None:
    assert_kept(value)


def test_a_model_keeps_its_slots() -> None:
    model = c.SlottedModel(n=1)
    object.__setattr__(model, "beside", 5)
    assert read_back(model).beside == 5


def test_a_subclass_of_what_is_written_in_c_keeps_its_own_attributes() -> None:
    array: Any = numpy.arange(3).view(c.MyArray)
    array.unit = ("m", [1])
    again: Any = read_back(array)
    assert type(again) is c.MyArray
    assert again.tolist() == [0, 1, 2]
    assert vars(again)["unit"] == ("m", [1])


def test_a_class_that_says_what_of_it_is_kept_is_asked() -> None:
    again = read_back(c.WithState(3))
    assert again.__dict__ == {"n": 3}


def test_pandas_and_pyarrow_are_kept_where_they_are_installed() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", None], "c": pandas.Categorical(["u", "v"])}, index=[5, 6])
    for value in (frame, frame["a"], pandas.Timestamp("2026-01-01", tz="Europe/Berlin"), frame.set_index(["a", "b"])):
        assert_kept(value)
    assert read_back(pandas.NaT) is pandas.NaT
    pyarrow = pytest.importorskip("pyarrow")
    assert_kept(pyarrow.table({"a": [1, 2], "b": ["x", None]}))


# -- Newer versions of a class -------------------------------------------------------------------


class OldModel(BaseModel):
    n: int = 1
    gone: int = 2


class NewModel(BaseModel):
    n: int = 1
    more: list[int] = Field(default_factory=lambda: [1])
    _cache: dict[str, int] = PrivateAttr(default_factory=dict)


class Required(BaseModel):
    n: int = 1
    must: int


@dataclasses.dataclass(slots=True)
class OldData:
    n: int = 1
    gone: int = 2


@dataclasses.dataclass(slots=True)
class NewData:
    n: int = 1
    more: list[int] = dataclasses.field(default_factory=lambda: [1])


@attrs.define
class OldAttrs:
    n: int = 1
    gone: int = 2


@attrs.define
class NewAttrs:
    n: int = 1
    more: list[int] = attrs.field(factory=lambda: [1])


@dataclasses.dataclass
class RequiredData:
    must: int
    n: int = 1


def renamed(value: Any, kind: type) -> str:
    """Return the stored text of a value, as if its class had become this one."""
    return Codec().dumps(value).replace(f":{type(value).__name__}", f":{kind.__name__}")


@pytest.mark.parametrize(("old", "new"), [(OldModel, NewModel), (OldData, NewData), (OldAttrs, NewAttrs)])
def test_a_new_field_has_its_default_and_one_that_is_gone_is_gone(old: Any, new: Any) -> None:
    again = Codec().loads(renamed(old(n=5), new))
    assert type(again) is new
    assert (again.n, again.more) == (5, [1])
    assert not hasattr(again, "gone")


def test_a_new_private_attribute_has_its_default() -> None:
    assert Codec().loads(renamed(OldModel(), NewModel))._cache == {}


@pytest.mark.parametrize(("old", "new"), [(OldModel, Required), (OldData, RequiredData)])
def test_a_new_field_without_a_default_is_named(old: Any, new: Any) -> None:
    with pytest.raises(
        Undecodable, match=rf"^the field 'must' of '{new.__name__}' is new and has no default$"
    ) as unread:
        Codec().loads(renamed(old(), new))
    assert unread.value.remedy == "give it a default, or deploy code without it"


def test_a_partial_function_and_a_bound_method_are_kept() -> None:
    part = read_back(functools.partial(c.a_function, 3))
    assert part() == 3
    assert read_back(c.Component([1]).to_dict)() == {"store": {"items": [1]}}
    assert read_back(operator.methodcaller("upper"))("a") == "A"


def test_an_object_is_written_alike_before_and_after_a_look_at_it() -> None:
    """A partial's pickled state has its attributes as None, and as {} once anybody has asked for them."""
    part, codec = functools.partial(c.a_function, 3), Codec()
    assert codec.dumps(part) == codec.dumps(part)

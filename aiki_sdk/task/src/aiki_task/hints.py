"""Type hints of functions: resolve them, and know the usual ones without importing pydantic."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime as dt
import decimal
import enum
import types
import typing
import uuid
from collections.abc import Callable
from typing import Any, cast, get_args, get_origin, get_type_hints

from aiki_task.errors import UnsupportedTypeError

_LEAVES: frozenset[Any] = frozenset(
    {
        Any,
        None,
        bool,
        bytes,
        dt.date,
        dt.datetime,
        dt.time,
        dt.timedelta,
        decimal.Decimal,
        dict,
        float,
        frozenset,
        int,
        list,
        set,
        str,
        tuple,
        type(None),
        uuid.UUID,
    }
)
_CONTAINERS: frozenset[Any] = frozenset(
    {
        collections.abc.Mapping,
        collections.abc.Sequence,
        dict,
        frozenset,
        list,
        set,
        tuple,
        types.UnionType,
        typing.Union,
    }
)


def resolved_hints(function: Callable[..., Any], where: str) -> dict[str, Any]:
    """The type hints of *function*, forward references resolved.

    Raises:
        UnsupportedTypeError: a name in a hint is not known.
    """
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        reason = "its module does not define that name"
        raise UnsupportedTypeError(
            f"a parameter of {where}", str(error.name), reason, is_forward_reference=True
        ) from error


def hints_now(function: Callable[..., Any]) -> dict[str, Any] | None:
    """The type hints of *function*, or None while names in them are not defined yet."""
    try:
        return get_type_hints(function, include_extras=True)
    except NameError:
        return None


def is_plain(hint: Any) -> bool:
    """Whether *hint* is known to have an encoding; False means that pydantic has to be asked."""
    return _is_plain(hint, set())


def _is_plain(hint: Any, seen: set[Any]) -> bool:
    try:
        if hint in _LEAVES or hint in seen:
            return True
    except TypeError:  # not hashable
        return False
    if get_origin(hint) is typing.Literal:
        return True
    if get_origin(hint) in _CONTAINERS:
        return all(item is Ellipsis or _is_plain(item, seen) for item in get_args(hint))
    if not isinstance(hint, type):
        return False
    if issubclass(hint, enum.Enum):
        return True
    kind = cast("type[Any]", hint)
    if dataclasses.is_dataclass(kind) and not hasattr(kind, "__get_pydantic_core_schema__"):
        return _is_plain_dataclass(kind, seen)
    return False


def _is_plain_dataclass(hint: type[Any], seen: set[Any]) -> bool:
    try:
        hints = get_type_hints(hint, include_extras=True)
    except NameError:
        return False
    seen.add(hint)
    return all(_is_plain(hints[field.name], seen) for field in dataclasses.fields(hint))

"""JSON of one type hint, by pydantic; imported at first use, because pydantic is slow to import.

The same value gives the same bytes in every process: sets are written sorted, wherever they stand.
NaN and infinity, which JSON does not have, are refused. Models keep the configuration they were given.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set as AbstractSet
from types import GenericAlias
from typing import Any, cast

from pydantic import ConfigDict, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter
from pydantic_core import CoreConfig, SchemaSerializer, core_schema

_CONFIG = ConfigDict(
    ser_json_bytes="base64", val_json_bytes="base64", allow_inf_nan=False, ser_json_inf_nan="constants"
)
_CORE_CONFIG = CoreConfig(
    ser_json_bytes="base64", val_json_bytes="base64", allow_inf_nan=False, ser_json_inf_nan="constants"
)
_DATA_OF_AUTHORS = frozenset({"default", "expected", "members", "metadata", "serialization"})
"""Keys of a schema under which no schemas stand that are ours to change."""


class JsonOfHint:
    """JSON of one hint. Values stand in a list of one, because only then our settings reach dataclasses.

    Raises (when made):
        PydanticSchemaGenerationError, PydanticUserError: the hint has no encoding, or not yet.
    """

    def __init__(self, hint: Any) -> None:
        in_a_list: Any = GenericAlias(list, (hint,))
        adapter: TypeAdapter[list[Any]] = TypeAdapter(in_a_list, config=_CONFIG)
        schema = _stable(adapter.core_schema)
        self._validator = adapter.validator
        self._serializer = _serializer(schema)

    def dump(self, value: object) -> bytes:
        """Check that *value* is of the hint, and write it. ValueError: it is not."""
        checked = self._validator.validate_python([value], strict=True)
        data = self._serializer.to_json(checked, warnings="error")[1:-1]
        if b"NaN" in data or b"Infinity" in data:
            json.loads(data, parse_constant=refuse_constant)
        return data

    def load(self, data: bytes) -> Any:
        """Read a value of the hint. ValueError: it is none."""
        [value] = self._validator.validate_json(b"[" + data + b"]")
        return value


json_of_hint = functools.lru_cache(maxsize=4096)(JsonOfHint)


def jsonable(value: object) -> Any:
    """What stands for *value* in JSON where no hint says more than Any. ValueError: nothing does."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else refuse_constant(str(value))
    kind: Any = type(value)
    if kind is list or kind is tuple:
        return [jsonable(item) for item in cast("Sequence[object]", value)]
    if kind is dict:
        mapping = cast("Mapping[object, object]", value)
        return {_key(key): jsonable(item) for key, item in mapping.items()}
    if isinstance(value, set | frozenset):
        return _sorted(jsonable(item) for item in cast("AbstractSet[object]", value))
    if kind is object:
        raise ValueError("a plain object has no JSON")
    try:
        codec = json_of_hint(kind)
    except PydanticSchemaGenerationError as error:
        message = f"a {kind.__name__} has no JSON"
        raise ValueError(message) from error
    return json.loads(codec.dump(value))


def refuse_constant(constant: str) -> Any:
    """Raise ValueError; for NaN, Infinity and -Infinity."""
    message = f"{constant} is not a number that JSON has"
    raise ValueError(message)


def _key(key: object) -> str:
    if isinstance(key, str):
        return key
    written = jsonable(key)
    if isinstance(written, str):
        return written
    message = f"a key of type {type(key).__name__} would come back as text; give the value a type hint"
    raise ValueError(message)


def _sorted(items: Iterable[Any]) -> list[Any]:
    return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))


def _write_set(value: Any, handler: Callable[[Any], Any]) -> list[Any]:
    return _sorted(handler(value))


def _serializer(schema: Any) -> SchemaSerializer:
    made: Any = SchemaSerializer
    try:
        # Else a model inside is written by the serializer its class made for itself, sets in any order.
        return cast("SchemaSerializer", made(schema, _CORE_CONFIG, _use_prebuilt=False))
    except TypeError:  # pydantic before 2.13
        _refuse_prebuilt(schema)
        return cast("SchemaSerializer", made(schema, _CORE_CONFIG))


def _refuse_prebuilt(schema: Any) -> None:
    """Refuse classes that pydantic would write as they were prepared, whatever the schema says."""
    if isinstance(schema, list | tuple):
        for item in cast("Sequence[Any]", schema):
            _refuse_prebuilt(item)
    elif isinstance(schema, Mapping):
        node = cast("Mapping[str, Any]", schema)
        if hasattr(node.get("cls"), "__pydantic_serializer__"):
            message = (
                "this version of pydantic writes sets in models in any order; install pydantic 2.13 or later"
            )
            raise PydanticUserError(message, code=None)
        for key, item in node.items():
            if key not in _DATA_OF_AUTHORS:
                _refuse_prebuilt(item)


def _stable(schema: Any) -> Any:
    """The same schema, but sets are written sorted and what has no hint by `jsonable`."""
    if isinstance(schema, list | tuple):
        items = [_stable(item) for item in cast("Sequence[Any]", schema)]
        return items if isinstance(schema, list) else tuple(items)
    if not isinstance(schema, Mapping):
        return schema
    node = cast("Mapping[str, Any]", schema)
    changed = {key: item if key in _DATA_OF_AUTHORS else _stable(item) for key, item in node.items()}
    match node.get("type"):
        case "set" | "frozenset" if "serialization" not in node:
            changed["serialization"] = core_schema.wrap_serializer_function_ser_schema(
                _write_set, when_used="json"
            )
        case "any" if "serialization" not in node:
            changed["serialization"] = core_schema.plain_serializer_function_ser_schema(
                jsonable, when_used="json"
            )
        case "model" | "dataclass":
            # NaN becomes null otherwise, in silence.
            changed["config"] = {"ser_json_inf_nan": "constants", **(node.get("config") or {})}
        case _:
            pass
    return changed

"""Values as bytes and back: JSON made from type hints by pydantic, or raw bytes.

pydantic is imported at first use, so that authors' modules import fast. The same value always gives
the same bytes in every process: keys of sets are sorted, and names of calls are made of these bytes.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from collections.abc import Callable, Hashable, Mapping, Sequence, Set as AbstractSet
from dataclasses import dataclass
from types import GenericAlias
from typing import TYPE_CHECKING, Any, cast, get_type_hints

from aiki_task.errors import PayloadTooLargeError, PayloadTypeError, UnsupportedTypeError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

PAYLOAD_BYTES_MAX = 2 * 1024 * 1024
"""The most one encoded value may take."""

JSON = "json"
RAW = "raw"


@dataclass(frozen=True, slots=True)
class Payload:
    """An encoded value: `encoding` is "json" (UTF-8) or "raw"."""

    data: bytes
    encoding: str = JSON


class ValueCodec:
    """Encode and decode values of one type hint.

    Raises (when made, or at first use where the hint is a forward reference):
        UnsupportedTypeError: the hint has no encoding.
    """

    def __init__(self, hint: Any, where: str) -> None:
        self.hint = type(None) if hint is None else hint
        self.where = where

    @functools.cached_property
    def json(self) -> _Json:
        """How values of the hint are written."""
        return _json_of(self.hint, self.where)

    def check(self) -> None:
        """Raise UnsupportedTypeError now rather than at first use."""
        _ = self.json

    def encode(self, value: object) -> Payload:
        """Encode *value*; it must be of the hinted type already.

        Raises:
            PayloadTypeError: it is not.
            PayloadTooLargeError: it takes more than PAYLOAD_BYTES_MAX.
        """
        if self.hint is bytes and isinstance(value, bytes):
            return Payload(_limited(value, self.where), RAW)
        return Payload(_limited(_to_json(self.json, value, self.where), self.where))

    def decode(self, payload: Payload) -> Any:
        """Decode into a value of the hinted type.

        Raises:
            PayloadTypeError: the payload does not fit the hint.
        """
        if payload.encoding == RAW:
            if self.hint in {bytes, Any}:
                return payload.data
            raise PayloadTypeError(self.where, f"raw bytes are not {_name(self.hint)}")
        return _from_json(self.json, payload.data, self.where)


class ArgumentsCodec:
    """Encode and decode the arguments of one function, by its signature and hints."""

    def __init__(self, function: Callable[..., Any], where: str, *, skip: int = 0) -> None:
        self.where = where
        self._function = function
        parameters = list(inspect.signature(function).parameters.values())[skip:]
        self.signature = inspect.Signature(parameters)
        self._names = [item.name for item in parameters]
        kinds = {item.kind for item in parameters}
        self._plain = kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD}

    @functools.cached_property
    def _codecs(self) -> dict[str, ValueCodec]:
        hints = resolved_hints(self._function, self.where)
        return {
            name: ValueCodec(hints.get(name, Any), f"argument {name!r} of {self.where}")
            for name in self._names
        }

    def check(self) -> None:
        """Raise UnsupportedTypeError now rather than at first use."""
        for codec in self._codecs.values():
            codec.check()

    def encode(self, args: Sequence[object], kwargs: Mapping[str, object]) -> Payload:
        """A JSON object of "args" and "kwargs", as they were passed.

        Raises:
            PayloadTypeError: an argument does not fit, is missing or is too many.
            PayloadTooLargeError: together they take more than PAYLOAD_BYTES_MAX.
        """
        return self.encode_call(args, kwargs)[0]

    def encode_call(self, args: Sequence[object], kwargs: Mapping[str, object]) -> tuple[Payload, str]:
        """The payload, and a hash of the arguments: 12 hex digits, equal for equal arguments.

        Arguments are bound by the signature and defaults are left out, so that it does not matter
        whether one was passed by position or by name.
        """
        if self._plain and not kwargs and len(args) == len(self._names):
            encoded = [self._encode_one(name, value) for name, value in zip(self._names, args, strict=True)]
            data = b'{"args":[' + b",".join(encoded) + b'],"kwargs":{}}'
            named = list(zip(self._names, encoded, strict=True))
        else:
            data, named = self._encode_bound(args, kwargs)
        digest = hashlib.blake2b(digest_size=6)
        for name, value in sorted(named):
            digest.update(b"%d:%s%d:%s" % (len(name), name.encode(), len(value), value))
        return Payload(_limited(data, f"the arguments of {self.where}")), digest.hexdigest()

    def decode(self, payload: Payload) -> tuple[list[Any], dict[str, Any]]:
        """Positional and named arguments, each of the hinted type.

        Raises:
            PayloadTypeError: the payload does not fit the signature.
        """
        where = f"the arguments of {self.where}"
        try:
            parsed = json.loads(payload.data)
            args, kwargs = list(parsed["args"]), dict(parsed["kwargs"])
            bound = self.signature.bind(*args, **kwargs)
        except (ValueError, TypeError, KeyError) as error:
            raise PayloadTypeError(where, str(error)) from error
        for name, value in bound.arguments.items():
            kind = self.signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                bound.arguments[name] = tuple(self._decode_one(name, item) for item in value)
            elif kind is inspect.Parameter.VAR_KEYWORD:
                bound.arguments[name] = {key: self._decode_one(name, item) for key, item in value.items()}
            else:
                bound.arguments[name] = self._decode_one(name, value)
        return list(bound.args), bound.kwargs

    def _encode_bound(
        self, args: Sequence[object], kwargs: Mapping[str, object]
    ) -> tuple[bytes, list[tuple[str, bytes]]]:
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise PayloadTypeError(f"the arguments of {self.where}", str(error)) from error
        positional: list[bytes] = []
        keyword: dict[str, bytes] = {}
        named: list[tuple[str, bytes]] = []
        for name, value in bound.arguments.items():
            parameter = self.signature.parameters[name]
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                rest = [self._encode_one(name, item) for item in value]
                positional += rest
                named.append((name, b"[" + b",".join(rest) + b"]"))
            elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
                extra = {key: self._encode_one(name, item) for key, item in value.items()}
                keyword |= extra
                named += sorted((f"{name}.{key}", item) for key, item in extra.items())
            else:
                encoded = self._encode_one(name, value)
                # A skipped default before it would shift a positional argument.
                if parameter.kind is inspect.Parameter.KEYWORD_ONLY or name in kwargs:
                    keyword[name] = encoded
                else:
                    positional.append(encoded)
                if not self._is_default(parameter, value):
                    named.append((name, encoded))
        pairs = b",".join(json.dumps(key).encode() + b":" + item for key, item in keyword.items())
        return b'{"args":[' + b",".join(positional) + b'],"kwargs":{' + pairs + b"}}", named

    @staticmethod
    def _is_default(parameter: inspect.Parameter, value: object) -> bool:
        default = parameter.default
        return default is not inspect.Parameter.empty and (
            default is value or (type(default) is type(value) and bool(default == value))
        )

    def _encode_one(self, name: str, value: object) -> bytes:
        codec = self._codecs[name]
        return _to_json(codec.json, value, codec.where)

    def _decode_one(self, name: str, value: object) -> Any:
        codec = self._codecs[name]
        return _from_json(codec.json, json.dumps(value).encode(), codec.where)


def resolved_hints(function: Callable[..., Any], where: str) -> dict[str, Any]:
    """The type hints of *function*, forward references resolved.

    Raises:
        UnsupportedTypeError: a name in a hint is not known.
    """
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        raise UnsupportedTypeError(where, str(error.name), "the name is not defined in its module") from error


class _Json:
    """JSON of one hint. Values stand in a list of one, because only then do our settings reach dataclasses."""

    def __init__(self, hint: Any) -> None:
        from pydantic import ConfigDict, TypeAdapter

        config = ConfigDict(
            ser_json_bytes="base64",
            val_json_bytes="base64",
            allow_inf_nan=False,
            ser_json_inf_nan="constants",
        )
        in_a_list: Any = GenericAlias(list, (hint,))
        self._adapter: TypeAdapter[list[Any]] = TypeAdapter(in_a_list, config=config)
        schema = str(self._adapter.core_schema)
        self._may_hold_sets = any(f"'type': '{kind}'" in schema for kind in ("set", "frozenset", "any"))

    def dump(self, value: object) -> bytes:
        checked = self._adapter.validate_python([value], strict=True)
        if self._may_hold_sets:
            checked = _with_sorted_sets(checked)
            data = self._adapter.dump_json(checked, warnings=False)[1:-1]
        else:
            data = self._adapter.dump_json(checked, warnings="error")[1:-1]
        if b"NaN" in data or b"Infinity" in data:
            json.loads(data, parse_constant=_refuse_constant)
        return data

    def load(self, data: bytes) -> Any:
        return self._adapter.validate_json(b"[" + data + b"]")[0]


_cached_json = functools.lru_cache(maxsize=4096)(_Json)


def _json_of(hint: Any, where: str) -> _Json:
    from pydantic import PydanticSchemaGenerationError, PydanticUserError

    try:
        return _cached_json(hint) if isinstance(hint, Hashable) else _Json(hint)
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise UnsupportedTypeError(where, hint, str(error).split("\n", 1)[0]) from error


def _to_json(codec: _Json, value: object, where: str) -> bytes:
    try:
        return codec.dump(value)
    except ValueError as error:  # pydantic's errors are of this type
        raise PayloadTypeError(where, _first_line(error)) from error


def _from_json(codec: _Json, data: bytes, where: str) -> Any:
    try:
        return codec.load(data)
    except ValueError as error:
        raise PayloadTypeError(where, _first_line(error)) from error


def _first_line(error: Exception) -> str:
    """What pydantic says, on one line, without its link."""
    details = getattr(error, "errors", None)
    if details is None:
        return str(error)
    parts: list[str] = []
    for item in details(include_url=False):
        path = ".".join(str(part) for part in item["loc"][1:])
        got = f" (got {type(item['input']).__name__})"
        parts.append(f"{path + ': ' if path else ''}{item['msg']}{got}")
    return "; ".join(parts)


def _refuse_constant(constant: str) -> None:
    message = f"{constant} is not a number that JSON has"
    raise ValueError(message)


def _with_sorted_sets(value: Any) -> Any:
    """Sets iterate in the order of their hashes, which differ between processes; their JSON must not."""
    if isinstance(value, set | frozenset):
        members = cast("AbstractSet[Any]", value)
        return [_with_sorted_sets(member) for member in sorted(members, key=repr)]
    if isinstance(value, list | tuple):
        return [_with_sorted_sets(item) for item in cast("Sequence[Any]", value)]
    if isinstance(value, dict):
        mapping = cast("Mapping[Any, Any]", cast("object", value))
        return {key: _with_sorted_sets(item) for key, item in mapping.items()}
    return value


def _limited(data: bytes, where: str) -> bytes:
    if len(data) > PAYLOAD_BYTES_MAX:
        raise PayloadTooLargeError(where, len(data), PAYLOAD_BYTES_MAX)
    return data


def _name(hint: Any) -> str:
    return getattr(hint, "__name__", repr(hint))

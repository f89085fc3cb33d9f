"""Values as bytes and back: JSON made from type hints by pydantic, or raw bytes.

pydantic is imported at first use, so that authors' modules import fast. The same value always gives
the same bytes in every process, because calls are named by a hash of their arguments.
"""

from __future__ import annotations

import functools
import inspect
import json
import math
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, cast

from aiki_task.errors import PayloadTooLargeError, PayloadTypeError, UnsupportedTypeError
from aiki_task.hints import hints_now, is_plain, resolved_hints
from aiki_task.records import record

if TYPE_CHECKING:
    from aiki_task.json_values import JsonOfHint

PAYLOAD_BYTES_MAX = 2 * 1024 * 1024
"""The most one encoded value may take."""

JSON = "json"
RAW = "raw"

# What pydantic's serializer says of a value inside an object that was not checked when it was made.
_UNEXPECTED = re.compile(
    r"Expected `(?P<wanted>[^`]+)`[^\[]*\[(?:field_name='(?P<field>[^']+)', )?.*?input_type=(?P<got>\w+)"
)
_quoted = json.JSONEncoder(ensure_ascii=False).encode
_sorted = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_DIRECT = frozenset({bool, float, int, str, type(None)})
"""Types whose values are written and read here; pydantic judges only what is not exactly of them."""


@record
class Payload:
    """An encoded value: `encoding` is "json" (UTF-8) or "raw"."""

    data: bytes
    encoding: str = JSON


class ValueCodec:
    """Encode and decode values of one type hint.

    Raises (at `check`, or at first use):
        UnsupportedTypeError: the hint has no encoding.
    """

    def __init__(self, hint: Any, where: str) -> None:
        self.hint = type(None) if hint is None else hint
        self.where = where
        self._is_direct = isinstance(self.hint, type) and self.hint in _DIRECT

    @functools.cached_property
    def _json(self) -> JsonOfHint:
        return _json_of(self.hint, self.where)

    def check(self) -> None:
        """Raise UnsupportedTypeError now rather than at first use, unless a name is not defined yet."""
        if not is_plain(self.hint):
            try:
                _ = self._json
            except UnsupportedTypeError as error:
                if not error.is_forward_reference:
                    raise

    def encode(self, value: object) -> Payload:
        """Encode *value*; it must be of the hinted type already.

        Raises:
            PayloadTypeError: it is not.
            PayloadTooLargeError: it takes more than PAYLOAD_BYTES_MAX.
        """
        if self.hint is bytes and isinstance(value, bytes):
            return Payload(_limited(value, self.where), RAW)
        return Payload(_limited(self.to_json(value), self.where))

    def decode(self, payload: Payload) -> Any:
        """Decode into a value of the hinted type.

        Raises:
            PayloadTypeError: the payload does not fit the hint.
        """
        if payload.encoding == JSON:
            return self._from_json(payload.data)
        if payload.encoding == RAW and self.hint in {bytes, Any}:
            return payload.data
        raise PayloadTypeError(
            self.where, f"a payload encoded as {payload.encoding!r} is not {_name(self.hint)}"
        )

    def to_json(self, value: object) -> bytes:
        """Check *value* and write it as JSON, bytes as base64.

        Raises:
            PayloadTypeError: it is not of the hint.
        """
        if self._is_direct and type(value) is self.hint:
            try:
                return _direct(value)
            except ValueError as error:
                raise self._misfit(error) from error
        try:
            if self.hint is Any:
                from aiki_task.json_values import jsonable

                return json.dumps(jsonable(value), ensure_ascii=False, separators=(",", ":")).encode()
            return self._json.dump(value)
        except (ValueError, RecursionError) as error:
            raise self._misfit(error) from error

    def from_parsed(self, value: object) -> Any:
        """The value of the hinted type that stands for *value*, which was read from JSON.

        Raises:
            PayloadTypeError: it does not fit the hint.
        """
        if self.hint is Any or (self._is_direct and type(value) is self.hint):
            return value
        return self._from_json(json.dumps(value).encode())

    def _from_json(self, data: bytes) -> Any:
        try:
            if self._is_direct and type(value := _parsed(data)) is self.hint:
                return value
            return self._json.load(data)
        except (ValueError, RecursionError) as error:
            raise self._misfit(error) from error

    def _misfit(self, error: Exception) -> PayloadTypeError:
        return PayloadTypeError(self.where, f"{_name(self.hint)} is wanted; {_on_one_line(error)}")


class ArgumentsCodec:
    """Encode and decode the arguments of one function, by its signature and hints."""

    def __init__(self, function: Callable[..., Any], where: str, *, skip: int = 0) -> None:
        self.where = where
        self._arguments_where = f"the arguments of {where}"
        self._function = function
        parameters = list(inspect.signature(function).parameters.values())[skip:]
        self.signature = inspect.Signature(parameters)
        self._is_simple = all(item.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for item in parameters)
        self._required = sum(item.default is inspect.Parameter.empty for item in parameters)

    @functools.cached_property
    def _codecs(self) -> dict[str, ValueCodec]:
        return self._codecs_of(resolved_hints(self._function, self.where))

    @functools.cached_property
    def _defaults(self) -> dict[str, bytes]:
        """The JSON of each default that has one."""
        defaults: dict[str, bytes] = {}
        for name, parameter in self.signature.parameters.items():
            if parameter.default is not inspect.Parameter.empty:
                try:
                    defaults[name] = self._codecs[name].to_json(parameter.default)
                except PayloadTypeError:
                    continue  # such as None for an int: passing it is refused as well
        return defaults

    @functools.cached_property
    def _hashed(self) -> list[tuple[str, bytes, bytes | None]]:
        """In the order in which they are hashed: each parameter, its key in JSON, its default."""
        return [(name, b'"%b":' % name.encode(), self._defaults.get(name)) for name in sorted(self._codecs)]

    def check(self) -> None:
        """Raise UnsupportedTypeError now rather than at first use, unless a name is not defined yet."""
        hints = hints_now(self._function)
        if hints is not None:
            for codec in self._codecs_of(hints).values():
                codec.check()

    def encode(self, args: Sequence[object], kwargs: Mapping[str, object]) -> Payload:
        """A JSON object of "args" and "kwargs", as they were passed.

        Raises:
            PayloadTypeError: an argument does not fit, is missing or is too many.
            PayloadTooLargeError: together they take more than PAYLOAD_BYTES_MAX.
        """
        return self.encode_call(args, kwargs)[0]

    def address_hash(self, args: Sequence[object], kwargs: Mapping[str, object]) -> str:
        """The hash of `encode_call` alone."""
        return self.encode_call(args, kwargs)[1]

    def encode_call(self, args: Sequence[object], kwargs: Mapping[str, object]) -> tuple[Payload, str]:
        """The payload, and a hash of the arguments: 12 hex digits, equal for equal arguments.

        Arguments are bound by the signature and those equal to their defaults are left out, so that it
        does not matter whether one was passed by position, by name or not at all.
        """
        codecs = self._codecs
        if self._is_simple and not kwargs and self._required <= len(args) <= len(codecs):
            named = {
                name: codec.to_json(value) for (name, codec), value in zip(codecs.items(), args, strict=False)
            }
            data = b'{"args":[' + b",".join(named.values()) + b'],"kwargs":{}}'
        else:
            data, named = self._encode_bound(args, kwargs)
        return Payload(_limited(data, self._arguments_where)), self._hash(named)

    def decode(self, payload: Payload) -> tuple[list[Any], dict[str, Any]]:
        """Positional and named arguments, each of the hinted type.

        Raises:
            PayloadTypeError: the payload does not fit the signature.
        """
        args, kwargs = self._parsed(payload)
        codecs = self._codecs
        if self._is_simple and not kwargs and self._required <= len(args) <= len(codecs):
            return [codec.from_parsed(item) for codec, item in zip(codecs.values(), args, strict=False)], {}
        bound = self._bind(args, kwargs)
        for name, value in bound.arguments.items():
            codec = codecs[name]
            match self.signature.parameters[name].kind:
                case inspect.Parameter.VAR_POSITIONAL:
                    bound.arguments[name] = tuple(codec.from_parsed(item) for item in value)
                case inspect.Parameter.VAR_KEYWORD:
                    bound.arguments[name] = {key: codec.from_parsed(item) for key, item in value.items()}
                case _:
                    bound.arguments[name] = codec.from_parsed(value)
        return list(bound.args), bound.kwargs

    def _codecs_of(self, hints: Mapping[str, Any]) -> dict[str, ValueCodec]:
        return {
            name: ValueCodec(hints.get(name, Any), f"argument {name!r} of {self.where}")
            for name in self.signature.parameters
        }

    def _hash(self, named: Mapping[str, bytes]) -> str:
        parts = [
            prefix + _canonical(named[name])
            for name, prefix, default in self._hashed
            if name in named and named[name] != default
        ]
        return blake2b(b"{%b}" % b",".join(parts), digest_size=6).hexdigest()

    def _bind(self, args: Sequence[object], kwargs: Mapping[str, object]) -> inspect.BoundArguments:
        try:
            return self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise PayloadTypeError(f"what was passed to {self.where}", str(error)) from error

    def _encode_bound(
        self, args: Sequence[object], kwargs: Mapping[str, object]
    ) -> tuple[bytes, dict[str, bytes]]:
        positional: list[bytes] = []
        keyword: dict[str, bytes] = {}
        named: dict[str, bytes] = {}
        for name, value in self._bind(args, kwargs).arguments.items():
            codec = self._codecs[name]
            match self.signature.parameters[name].kind:
                case inspect.Parameter.VAR_POSITIONAL:
                    rest = [codec.to_json(item) for item in value]
                    positional += rest
                    named[name] = b"[" + b",".join(rest) + b"]"
                case inspect.Parameter.VAR_KEYWORD:
                    extra = {key: codec.to_json(item) for key, item in value.items()}
                    keyword |= extra
                    named[name] = _object(extra)
                case inspect.Parameter.POSITIONAL_ONLY:
                    named[name] = codec.to_json(value)
                    positional.append(named[name])
                case _:
                    named[name] = codec.to_json(value)
                    if name in kwargs:
                        keyword[name] = named[name]
                    else:
                        positional.append(named[name])
        return b'{"args":[' + b",".join(positional) + b'],"kwargs":' + _object(keyword) + b"}", named

    def _parsed(self, payload: Payload) -> tuple[list[object], dict[str, object]]:
        where = self._arguments_where
        try:
            parsed = _parsed(payload.data)
        except (ValueError, RecursionError) as error:
            raise PayloadTypeError(where, str(error)) from error
        both = cast("dict[str, object]", parsed) if isinstance(parsed, dict) else {}
        args, kwargs = both.get("args"), both.get("kwargs")
        if not isinstance(args, list) or not isinstance(kwargs, dict):
            raise PayloadTypeError(where, 'the payload is no JSON object of "args" and "kwargs"')
        return cast("list[object]", args), cast("dict[str, object]", kwargs)


def _json_of(hint: Any, where: str) -> JsonOfHint:
    from pydantic import PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError

    from aiki_task.json_values import JsonOfHint, json_of_hint

    try:
        return json_of_hint(hint) if isinstance(hint, Hashable) else JsonOfHint(hint)
    except PydanticUndefinedAnnotation as error:
        raise UnsupportedTypeError(where, hint, _on_one_line(error), is_forward_reference=True) from error
    except PydanticSchemaGenerationError as error:
        raise UnsupportedTypeError(where, hint, _on_one_line(error)) from error
    except PydanticUserError as error:
        is_forward_reference = error.code == "class-not-fully-defined"
        raise UnsupportedTypeError(
            where, hint, _on_one_line(error), is_forward_reference=is_forward_reference
        ) from error


def _on_one_line(error: Exception) -> str:
    """What pydantic says, on one line, without its link and without the values."""
    details = getattr(error, "errors", None)
    if details is None:
        unexpected = _UNEXPECTED.search(str(error))
        if unexpected is not None:
            field, wanted, got = unexpected["field"], unexpected["wanted"], unexpected["got"]
            return f"{field + ': ' if field else ''}Input should be {wanted} (got {got})"
        text = str(error).split("\n", 1)[0].rstrip(".")
        for wrapping in ("Error serializing to JSON: ", "Error: "):
            text = text.rpartition(wrapping)[2]
        return text
    parts: list[str] = []
    for item in details(include_url=False):
        path = ".".join(str(part) for part in item["loc"][1:])
        got = f" (got {type(item['input']).__name__})"
        parts.append(f"{path + ': ' if path else ''}{item['msg']}{got}")
    return "; ".join(parts)


def _direct(value: object) -> bytes:
    """The JSON of a value whose type is one of `_DIRECT`."""
    if isinstance(value, str):
        return _quoted(value).encode()
    if value is None:
        return b"null"
    if value is True or value is False:
        return b"true" if value else b"false"
    if isinstance(value, float) and not math.isfinite(value):
        _refuse_constant(str(value))
    return repr(value).encode()


def _refuse_constant(constant: str) -> None:
    message = f"{constant} is not a number that JSON has"
    raise ValueError(message)


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)


def _parsed(data: bytes) -> object:
    """What JSON stands for; faster than `json.loads` for the short texts that most payloads are."""
    text = data.decode().strip(" \t\r\n")
    value, end = _decoder.raw_decode(text)
    if end != len(text):
        message = f"extra data after character {end}"
        raise ValueError(message)
    return value


def _canonical(data: bytes) -> bytes:
    """JSON with the keys of its objects sorted."""
    return _sorted(json.loads(data)).encode() if b"{" in data else data


def _object(items: Mapping[str, bytes]) -> bytes:
    return b"{" + b",".join(_quoted(key).encode() + b":" + items[key] for key in items) + b"}"


def _limited(data: bytes, where: str) -> bytes:
    if len(data) > PAYLOAD_BYTES_MAX:
        raise PayloadTooLargeError(where, len(data), PAYLOAD_BYTES_MAX)
    return data


def _name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).removeprefix("typing.")

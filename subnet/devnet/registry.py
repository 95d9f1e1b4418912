"""The portable type registry of the metadata, built from type names such as `Vec<(u16,u16)>`.

Ids are handed out in order of first use, so a fixed schema always yields the same bytes. A named
type's path matters: the codec recognises accounts, eras, calls and events by it.
"""

from dataclasses import dataclass, field

from subnet.devnet import scale

_PRIMITIVE_NAMES = (
    *("bool", "char", "str"),
    *("u8", "u16", "u32", "u64", "u128", "u256"),
    *("i8", "i16", "i32", "i64", "i128", "i256"),
)
PRIMITIVES = {name: index for index, name in enumerate(_PRIMITIVE_NAMES)}


@dataclass(frozen=True)
class Struct:
    """A named record; with `fields` as a tuple it is a tuple struct."""

    fields: dict[str, str] | tuple[str, ...]
    path: str = ""


@dataclass(frozen=True)
class Variant:
    """One case of an enum; no fields make it a unit."""

    index: int
    fields: dict[str, str] | tuple[str, ...] = ()
    docs: str = ""


@dataclass(frozen=True)
class Enum:
    """A tagged union: case name -> variant."""

    variants: dict[str, Variant]
    path: str = ""


Named = Struct | Enum


def split_top(source: str) -> list[str]:
    """Parts of a comma list, ignoring commas inside brackets."""
    parts: list[str] = []
    depth, start = 0, 0
    for position, char in enumerate(source):
        if char in "<([":
            depth += 1
        elif char in ">)]":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(source[start:position].strip())
            start = position + 1
    last = source[start:].strip()
    return [*parts, last] if last else parts


@dataclass
class Registry:
    """Type names to ids, and the encoded types in id order."""

    named: dict[str, Named]
    ids: dict[str, int] = field(default_factory=dict)
    encoded: list[bytes] = field(default_factory=list)

    def id(self, name: str) -> int:
        """The id of a type, adding it and all it refers to on first use.

        Raises KeyError for an unknown name.
        """
        name = name.replace(" ", "")
        known = self.ids.get(name)
        if known is not None:
            return known
        type_id = len(self.encoded)
        self.ids[name] = type_id
        self.encoded.append(b"")
        self.encoded[type_id] = self._encode(name)
        return type_id

    def ref(self, name: str) -> bytes:
        """The compact id of a type."""
        return scale.compact(self.id(name))

    def blob(self) -> bytes:
        """The whole registry, as the metadata carries it."""
        return scale.vector(
            scale.compact(type_id) + encoded for type_id, encoded in enumerate(self.encoded)
        )

    def _encode(self, name: str) -> bytes:
        if name in PRIMITIVES:
            return self._type("", b"\x05" + bytes([PRIMITIVES[name]]))
        if name.startswith("("):
            parts = split_top(name[1:-1])
            return self._type("", b"\x04" + scale.vector(self.ref(part) for part in parts))
        if name.startswith("["):
            inner, size = name[1:-1].rsplit(";", 1)
            return self._type("", b"\x03" + int(size).to_bytes(4, "little") + self.ref(inner))
        if name.endswith(">"):
            return self._generic(name)
        definition = self.named[name]
        path = definition.path or f"assay_devnet::{name}"
        if isinstance(definition, Struct):
            return self._type(path, b"\x00" + self._fields(definition.fields))
        return self._type(path, b"\x01" + self._variants(definition.variants))

    def _generic(self, name: str) -> bytes:
        outer, inner = name[:-1].split("<", 1)
        arguments = split_top(inner)
        if outer == "Vec":
            return self._type("", b"\x02" + self.ref(arguments[0]))
        if outer == "Compact":
            return self._type("", b"\x06" + self.ref(arguments[0]))
        if outer == "BTreeMap":
            pairs = self._fields((f"Vec<({inner})>",))
            return self._type(outer, b"\x00" + pairs, list(zip("KV", arguments, strict=True)))
        cases = {
            "Option": {"None": Variant(0), "Some": Variant(1, tuple(arguments))},
            "Result": {"Ok": Variant(0, (arguments[0],)), "Err": Variant(1, (arguments[-1],))},
        }[outer]
        parameters = [
            (letter, argument) for letter, argument in zip(("T", "E"), arguments, strict=False)
        ]
        return self._type(outer, b"\x01" + self._variants(cases), parameters)

    def _type(
        self, path: str, definition: bytes, parameters: list[tuple[str, str]] | None = None
    ) -> bytes:
        segments = path.split("::") if path else []
        return (
            scale.vector(scale.text(segment) for segment in segments)
            + scale.vector(
                scale.text(letter) + scale.option(self.ref(argument))
                for letter, argument in parameters or []
            )
            + definition
            + scale.vector([])
        )

    def _variants(self, variants: dict[str, Variant]) -> bytes:
        return scale.vector(
            scale.text(name)
            + self._fields(variant.fields)
            + bytes([variant.index])
            + scale.vector([scale.text(variant.docs)] if variant.docs else [])
            for name, variant in variants.items()
        )

    def _fields(self, fields: dict[str, str] | tuple[str, ...]) -> bytes:
        pairs: list[tuple[str | None, str]] = (
            list(fields.items()) if isinstance(fields, dict) else [(None, kind) for kind in fields]
        )
        return scale.vector(
            scale.option(None if name is None else scale.text(name))
            + self.ref(kind)
            + scale.option(scale.text(kind))
            + scale.vector([])
            for name, kind in pairs
        )

"""Random specs of both kinds, made from the CRDs' own schemas: valid ones, and hostile ones bent from those.

One `random.Random` decides everything, so that a seed says it all. Knows the strings that CEL rules govern by
their place; a new pattern in a CRD has to be added here, or the generator fails.
(Over 300 lines: one grammar.)
"""

import copy
import functools
import random
import string
from collections.abc import Callable, Sequence
from typing import Any

import yaml

from dtool_operator.names import BUCKET_PLURAL, DATASET_PLURAL
from tests.support.crd import CRDS

Spec = dict[str, Any]

LETTERS = string.ascii_lowercase + string.digits
STRANGE = "äß例😀\u202e\u200b\u00a0\u2028\ufeff'\"<>&%#`$;|\\*[]()!~^=+,:@ "
CONTROLS = "\x00\x01\x07\x1b\n\r\t\x7f\x85"
HOSTILE_TEXTS = (
    "",
    " ",
    "\x00",
    "\ud800",
    "../../../etc/passwd",
    "/etc/passwd",
    "file:///etc/passwd",
    "http://169.254.169.254/latest/meta-data/",
    "https://user:secret@host/",
    "{namespace}/",
    "u/{namespace}{namespace}/",
    "dtool/",
    "%s%n{0}{__class__}",
    "\x1b[2J\r\nreconcile_crashed",
    "${jndi:ldap://host/a}",
    "💣" * 300,
    "a" * 300_000,
    "\u202e" * 5000,
    "-1h",
    "99999999999999h",
    "NaN",
)
WRONG_HOSTS = ("[", "]", "[::1", "[v1.x]x", "host:port", "host:99999", ":80", "a[b]c", "\u2100.example")
"""Hosts that the CRDs' rules take, and that are none."""

HOSTILE_NUMBERS = (
    0,
    -1,
    2**31,
    2**63,
    2**64,
    -(2**63) - 1,
    10**400,
    1.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
)


@functools.cache
def load_spec_schema(plural: str) -> Spec:
    """Read the schema of `spec` as it stands in the CRD."""
    document = yaml.safe_load((CRDS / f"{plural}.yaml").read_text())
    (version,) = document["spec"]["versions"]
    schema: Spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return schema


class SpecMaker:
    """Makes specs; `known` are values that mean something on the stage, by field, used half of the time."""

    def __init__(self, rng: random.Random, known: dict[str, Sequence[str]] | None = None) -> None:
        self._rng = rng
        self._known = known or {}

    def make_valid(self, plural: str) -> Spec:
        """Make a spec that the API server takes: by schema and by CEL."""
        spec: Spec = self._make(load_spec_schema(plural), ())
        return self._mend_bucket(spec) if plural == BUCKET_PLURAL else self._mend_dataset(spec)

    def make_hostile(self, plural: str) -> Any:
        """Bend a valid spec in one to four places; it may still be valid."""
        spec: Any = self.make_valid(plural)
        for _ in range(self._rng.randint(1, 4)):
            spec = self._bend(spec)
        return spec

    # ---- by schema -------------------------------------------------------------------------------------

    def _make(self, schema: Spec, path: tuple[str, ...]) -> Any:
        if "enum" in schema:
            return self._rng.choice(schema["enum"])
        match schema.get("type"):
            case "object":
                return self._make_object(schema, path)
            case "array":
                return self._make_list(schema, path)
            case "string":
                return self._make_string(schema, path)
            case "integer":
                return self._rng.choice(
                    [
                        schema["minimum"],
                        schema["maximum"],
                        self._rng.randint(schema["minimum"], schema["maximum"]),
                    ]
                )
            case "boolean":
                return self._rng.random() < 0.2
            case None:
                return self.make_json(4)
        raise AssertionError(f"{'.'.join(path)}: a type that the generator does not know")

    def _make_object(self, schema: Spec, path: tuple[str, ...]) -> Spec:
        extra = schema.get("additionalProperties")
        if extra is not None:
            key = path[-1]
            names = [
                self._label(40) if key == "matchLabels" else self._dtool_name() for _ in range(self._few())
            ]
            few = names[: schema.get("maxProperties")]
            return {name: self._make(extra, (*path, "*")) for name in few}
        required = schema.get("required", ())
        return {
            name: self._make(child, (*path, name))
            for name, child in schema.get("properties", {}).items()
            if name in required or self._rng.random() < 0.4
        }

    def _make_list(self, schema: Spec, path: tuple[str, ...]) -> list[Any]:
        items = [self._make(schema["items"], (*path, "*")) for _ in range(self._few())]
        match schema.get("x-kubernetes-list-type"):
            case "set":
                return list(dict.fromkeys(items))
            case "map":
                (key,) = schema["x-kubernetes-list-map-keys"]
                return list({item[key]: item for item in items}.values())
        return items

    def _make_string(self, schema: Spec, path: tuple[str, ...]) -> str:
        known = self._known.get(".".join(path[-2:])) or self._known.get(path[-1])
        if known and self._rng.random() < 0.6:
            return self._rng.choice(known)
        if path[-1] in self._governed():
            return self._governed()[path[-1]]()
        pattern = schema.get("pattern")
        if pattern is None:
            return self._text(schema.get("minLength", 0), schema["maxLength"])
        maker = self._by_pattern().get(pattern)
        assert maker is not None, f"{'.'.join(path)}: a pattern that the generator does not know: {pattern}"
        return maker(schema["maxLength"])

    def _by_pattern(self) -> dict[str, Callable[[int], str]]:
        label = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
        uuid = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
        return {
            r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$": lambda limit: self._framed(LETTERS + "-.", LETTERS, limit),
            label: lambda limit: self._framed(LETTERS + "-", LETTERS, limit),
            uuid: lambda _: self.make_uuid(),
            "^[0-9a-f]{64}$": lambda _: f"{self._rng.getrandbits(256):064x}",
            "^[0-9a-zA-Z_.-]+$": lambda _: self._dtool_name(),
            "^[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]$": self._bucket_name,
            "^[A-Za-z0-9_-]+$": lambda limit: self._word(LETTERS + "_-", 1, limit),
            "^[-._a-zA-Z0-9]+$": lambda limit: self._word(LETTERS + "-._", 1, limit),
            r"^[0-9]+(\.[0-9]+)?([EPTGMk]i?|m)?$": lambda _: self._quantity(),
            "^[!-~]+$": lambda limit: self._word(LETTERS + ":/-_!~", 1, limit),
            r"^[^/\s]+/[^/\s]+$": lambda _: f"{self.make_uuid()}/{self._word(LETTERS + '😀:', 1, 90)}",
        }

    def _governed(self) -> dict[str, Callable[[], str]]:
        """Strings whose form a CEL rule gives, by the name of their field."""
        return {
            "endpoint": lambda: (
                self._rng.choice(["https://", "http://"]) + self._word(LETTERS + ".:-[]ä", 1, 60)
            ),
            "prefixTemplate": self._template,
            "prefix": lambda: self._prefix() or "p/",
            "uri": self._uri,
            "interval": lambda: self._rng.choice(
                ["1m", "60s", "24h", "8760h", "1h30m", "168h", "0h1m", "100000s"]
            ),
            "path": lambda: "/".join(self._segment() for _ in range(self._few())),
        }

    # ---- by CEL ----------------------------------------------------------------------------------------

    def _mend_bucket(self, spec: Spec) -> Spec:
        allowed = spec.get("allowedNamespaces", {"from": "Same"})
        origin = allowed.get("from", "Same")
        if origin == "Selector":
            for need in allowed.setdefault("selector", {}).get("matchExpressions", []):
                need.pop("values", None)
                if need["operator"] in {"In", "NotIn"}:
                    need["values"] = [self._label(20)]
        else:
            allowed.pop("selector", None)
        if origin != "Same" and "{namespace}" not in spec.get("prefixTemplate", "{namespace}"):
            spec["prefixTemplate"] = "u/{namespace}/"
        if "acknowledgedPrefixes" in spec:
            spec["acknowledgedPrefixes"] = sorted({self._prefix() for _ in spec["acknowledgedPrefixes"]})
        encryption = spec.get("encryption", {})
        if encryption.get("mode") == "SSE-S3":
            encryption.pop("kmsKeyId", None)
        return spec

    def _mend_dataset(self, spec: Spec) -> Spec:
        if ("bucketRef" in spec) == ("volume" in spec):
            spec.pop("volume", None)
            spec.setdefault(
                "bucketRef",
                self._make(load_spec_schema(DATASET_PLURAL)["properties"]["bucketRef"], ("bucketRef",)),
            )
        source = spec.get("source")
        if source is not None:
            spec.pop("uuid", None)
            spec["source"] = self._mend_source(source)
        else:
            spec.pop("identity", None)
        verify = spec.get("verify", {})
        if verify.get("method") == "Content":
            verify["interval"] = "24h"
        return spec

    def _mend_source(self, source: Spec) -> Spec:
        kinds = [kind for kind in ("uri", "stored", "dataset", "objects", "volume") if kind in source]
        kept = self._rng.choice(kinds or ["uri"])
        mended = {kept: source.get(kept, f"s3://instrument-data/{self.make_uuid()}")}
        has_manifest = kept in {"uri", "stored", "dataset"} or mended[kept].get("layout") == "Dataset"
        if kept != "objects" and has_manifest and "manifestSHA256" in source:
            mended["manifestSHA256"] = source["manifestSHA256"]
        return mended

    # ---- bending ---------------------------------------------------------------------------------------

    def _bend(self, spec: Any) -> Any:
        places = list(_walk(spec, ()))
        path = self._rng.choice(places)
        if not path:
            return self._rng.choice([spec, spec, spec, None, [], "spec", 7, {}, {"": {}}])
        bent = copy.deepcopy(spec)
        parent = functools.reduce(lambda value, step: value[step], path[:-1], bent)
        last = path[-1]
        match self._rng.randrange(5):
            case 0:
                del parent[last]
            case 1 if isinstance(parent, dict):
                parent[self.make_hostile_text()[:200]] = self.make_hostile_value()
            case 2 if isinstance(parent, list):
                parent.extend(copy.deepcopy(parent[:3]) * self._rng.choice([1, 200]))
            case 3:
                parent[last] = [parent[last]] if self._rng.random() < 0.5 else {"value": parent[last]}
            case _:
                parent[last] = self.make_hostile_value()
        return bent

    def make_hostile_value(self) -> Any:
        """Make a value of any type, of any size."""
        return self._rng.choice(
            [
                lambda: None,
                self.make_hostile_text,
                lambda: self._rng.choice(HOSTILE_NUMBERS),
                lambda: self._rng.random() < 0.5,
                list,
                dict,
                lambda: _nest(self._rng.choice([10, 100, 400]), as_list=self._rng.random() < 0.5),
                lambda: _bomb(2),
                lambda: [self.make_hostile_text() for _ in range(3)],
                lambda: {self.make_hostile_text()[:100]: self._rng.choice(HOSTILE_NUMBERS)},
            ]
        )()

    def make_hostile_text(self) -> str:
        """Make a text that somebody might try."""
        if self._rng.random() < 0.6:
            return self._rng.choice(HOSTILE_TEXTS)
        return self._word(LETTERS + STRANGE + CONTROLS, 0, 80)

    # ---- words -----------------------------------------------------------------------------------------

    def make_uuid(self) -> str:
        """Make a UUID in dtool's form."""
        text = f"{self._rng.getrandbits(128):032x}"
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))

    def make_json(self, depth: int) -> Any:
        """Make any JSON that an annotation may hold."""
        if depth and self._rng.random() < 0.3:
            return [self.make_json(depth - 1) for _ in range(self._few())]
        if depth and self._rng.random() < 0.3:
            return {self._text(0, 20): self.make_json(depth - 1) for _ in range(self._few())}
        return self._rng.choice([None, True, 0, -1, 2**53, 0.5, 1e300, self._text(0, 60), ""])

    def _few(self) -> int:
        return self._rng.choice([0, 1, 1, 2, 3, 8])

    def _word(self, characters: str, least: int, most: int) -> str:
        return "".join(self._rng.choices(characters, k=self._rng.randint(least, min(most, max(least, 90)))))

    def _framed(self, middle: str, ends: str, limit: int) -> str:
        if self._rng.random() < 0.1:
            return self._rng.choice(ends)
        length = limit if self._rng.random() < 0.05 else self._rng.randint(2, min(limit, 40))
        return "".join(
            [self._rng.choice(ends), *self._rng.choices(middle, k=length - 2), self._rng.choice(ends)]
        )

    def _text(self, least: int, most: int) -> str:
        if most > 1000 and self._rng.random() < 0.02:
            return "x" * most
        return self._word(LETTERS + STRANGE + "\n\t", least, most)

    def _label(self, limit: int) -> str:
        return self._framed(LETTERS + "-", LETTERS, limit)

    def _quantity(self) -> str:
        return f"{self._rng.randrange(1, 10**6)}{self._rng.choice(['', 'm', 'k', 'Mi', 'Gi', 'T'])}"

    def _dtool_name(self) -> str:
        return self._word(LETTERS + "ABC_.-", 1, 80)

    def _bucket_name(self, limit: int) -> str:
        return (
            self._word(LETTERS, 1, 1) + self._word(LETTERS + "._-", 1, limit - 2) + self._word(LETTERS, 1, 1)
        )

    def _segment(self) -> str:
        return "s" + self._word(LETTERS + "ä例 .*?$'\"\\", 0, 12)

    def _prefix(self) -> str:
        return "".join(f"{self._segment()}/" for _ in range(self._few()))

    def _template(self) -> str:
        before = self._prefix()
        if not before or self._rng.random() < 0.2:
            return before
        return f"{before}{{namespace}}/{self._prefix() if self._rng.random() < 0.3 else ''}"

    def _endpoint(self) -> str:
        """Make an endpoint that the CRD takes; some have a host or port that only the model refuses."""
        scheme = self._rng.choice(["https://", "http://", "https://"])
        if self._rng.random() < 0.1:
            return scheme + self._rng.choice(WRONG_HOSTS)
        return scheme + self._host() + self._rng.choice(["", "/", ":9000", ":443/"])

    def _host(self) -> str:
        return self._word(LETTERS, 1, 1) + self._word(LETTERS + ".-ä_", 0, 50)

    def _uri(self) -> str:
        if self._rng.random() < 0.7:
            return f"s3://{self._bucket_name(63)}/{self.make_uuid()}"
        host = self._rng.choice(WRONG_HOSTS) if self._rng.random() < 0.1 else self._host()
        return f"https://{host}/{self._word(LETTERS + '/?&=%#ä', 0, 60)}{self.make_uuid()}"


def _walk(value: Any, path: tuple[Any, ...]) -> Any:
    yield path
    if len(path) > 8:
        return
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _walk(child, (*path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value[:20]):
            yield from _walk(child, (*path, index))


def _nest(depth: int, *, as_list: bool) -> Any:
    value: Any = "deep"
    for _ in range(depth):
        value = [value] if as_list else {"a": value}
    return value


def _bomb(levels: int) -> Any:
    """Make what a YAML bomb expands to: one list, named nine times, at each level."""
    value: Any = ["lol"] * 9
    for _ in range(levels):
        value = [value] * 9
    return value

"""What `/admin/keys` takes and answers. Strict: no unknown field, no conversion of types, every size bounded."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from gateway.core.limits import Limits
from gateway.core.pace import LANGUAGES, RATE, TTFT_S, WORDS_PER_MINUTE, PaceSpec
from gateway.stores import key_rules
from gateway.stores.base import MAX_GRACE_S, ApiKey, IssuedKey, KeyChanges, NewKey
from gateway.stores.key_records import KEY_ID_PATTERN

_LANGUAGE_PATTERN: Final = f"^({'|'.join(LANGUAGES)})([-_][A-Za-z0-9_-]{{1,30}})?$"


def _whole(value: object) -> object:
    """JSON has one kind of number: 60.0 is the integer 60, which pydantic's strict mode would refuse."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Name = Annotated[str, StringConstraints(min_length=1, max_length=key_rules.MAX_NAME, pattern=key_rules.TEXT_PATTERN)]
ModelName = Annotated[
    str, StringConstraints(min_length=1, max_length=key_rules.MAX_MODEL_NAME, pattern=key_rules.TEXT_PATTERN)
]
Models = Annotated[list[ModelName], Field(min_length=1, max_length=key_rules.MAX_MODELS)]
KeyId = Annotated[str, StringConstraints(pattern=KEY_ID_PATTERN)]
Weight = Annotated[float, Field(ge=key_rules.MIN_WEIGHT, le=key_rules.MAX_WEIGHT)]
UnixTime = Annotated[float, Field(ge=0, le=key_rules.MAX_TIME, description="Unix time in seconds")]
Limit = Annotated[int, Field(ge=1, le=key_rules.MAX_LIMIT), BeforeValidator(_whole)]
TimeToFirstToken = Annotated[float, Field(ge=TTFT_S[0], le=TTFT_S[1], description="seconds")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class ReaderPace(_Strict):
    """A reader or a listener, by language or in words per minute (characters, for Chinese and Japanese)."""

    kind: Literal["reading", "listening"]
    language: Annotated[str, StringConstraints(pattern=_LANGUAGE_PATTERN)] = "en"
    words_per_minute: Annotated[float, Field(ge=WORDS_PER_MINUTE[0], le=WORDS_PER_MINUTE[1])] | None = None
    ttft: TimeToFirstToken = 1.0


class MachinePace(_Strict):
    """A program: every token at once."""

    kind: Literal["machine"]


class CustomPace(_Strict):
    """A rate in tokens per second."""

    kind: Literal["custom"] = "custom"
    ttft: TimeToFirstToken = 1.0
    rate: Annotated[float, Field(ge=RATE[0], le=RATE[1], description="tokens per second")]


KeyPace = Literal["reading", "listening", "machine", "off"] | ReaderPace | MachinePace | CustomPace


class KeyLimits(_Strict):
    """Limits of a key; null is no limit."""

    requests_per_minute: Limit | None = None
    tokens_per_minute: Limit | None = None
    concurrent_streams: Limit | None = None


class KeyCreate(_Strict):
    """A new key. Without a tenant it is its own; null allows every model, never expires, has no pace of its own."""

    name: Name
    tenant: Name | None = None
    weight: Weight = 1.0
    models: Models | None = None
    expires_at: UnixTime | None = None
    pace: KeyPace | None = None
    limits: KeyLimits = KeyLimits()

    def to_new_key(self) -> NewKey:
        """The same for the store."""
        return NewKey(
            name=self.name,
            tenant=self.tenant,
            weight=self.weight,
            models=None if self.models is None else tuple(self.models),
            expires_at=self.expires_at,
            pace=_pace_spec(self.pace),
            limits=Limits(**self.limits.model_dump()),
        )


def _nothing() -> None:
    return None


class KeyPatch(_Strict):
    """Changes to a key. What is absent stays; null takes a restriction away; limits change one by one."""

    # Factories, because the description would show plain defaults, and absent does not mean any value.
    name: Name = Field(default_factory=str)
    weight: Weight = Field(default_factory=float)
    models: Models | None = Field(default_factory=_nothing)
    expires_at: UnixTime | None = Field(default_factory=_nothing)
    pace: KeyPace | None = Field(default_factory=_nothing)
    limits: KeyLimits = Field(default_factory=KeyLimits)

    def to_changes(self, current: Limits) -> KeyChanges:
        """The same for the store, on top of the key's present limits."""
        changes = KeyChanges()
        given = self.model_fields_set
        if "name" in given:
            changes["name"] = self.name
        if "weight" in given:
            changes["weight"] = self.weight
        if "models" in given:
            changes["models"] = None if self.models is None else tuple(self.models)
        if "expires_at" in given:
            changes["expires_at"] = self.expires_at
        if "pace" in given:
            changes["pace"] = _pace_spec(self.pace)
        if "limits" in given:
            present = KeyLimits.model_validate(current, from_attributes=True)
            changes["limits"] = Limits(**{**present.model_dump(), **self.limits.model_dump(exclude_unset=True)})
        return changes


class KeyRotate(_Strict):
    """How long the present secret stays good, in seconds."""

    grace_s: Annotated[float, Field(ge=0, le=MAX_GRACE_S)] = 0.0


class KeyPage(_Strict):
    """Which part of the list."""

    model_config = ConfigDict(extra="forbid", strict=False)  # a query holds only text

    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    after: KeyId | None = None


class KeyView(BaseModel):
    """A key as administrators see it: never its secret. Times are Unix seconds."""

    object: Literal["key"] = "key"
    id: str
    prefix: str
    name: str
    tenant: str
    weight: float
    models: list[str] | None
    expires_at: float | None
    pace: str | dict[str, str | float] | None
    limits: KeyLimits
    created_at: float
    rotated_at: float | None
    previous_until: float | None
    revoked_at: float | None

    @classmethod
    def of(cls, key: ApiKey) -> "KeyView":
        """The view of a key."""
        return cls.model_validate(key, from_attributes=True)


class IssuedKeyView(KeyView):
    """A key with its secret, which is shown this once."""

    secret: Annotated[str, Field(repr=False)]

    @classmethod
    def with_secret(cls, issued: IssuedKey) -> "IssuedKeyView":
        """The view of a key that was just made or rotated."""
        return cls(**KeyView.of(issued.key).model_dump(), secret=issued.secret)


class KeyList(BaseModel):
    """One page of keys, oldest first."""

    object: Literal["list"] = "list"
    data: list[KeyView]
    has_more: bool


def _pace_spec(pace: str | BaseModel | None) -> PaceSpec | None:
    if pace is None or isinstance(pace, str):
        return pace
    return pace.model_dump(exclude_unset=True, exclude_none=True)

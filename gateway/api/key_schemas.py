"""What `/admin/keys` takes and answers. Strict: no unknown field, no conversion of types, every size bounded."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.api.fields import WHOLE, Strict
from gateway.api.pace_schema import Pace, pace_spec
from gateway.core.limits import Limits
from gateway.stores import key_rules
from gateway.stores.base import MAX_GRACE_S, ApiKey, IssuedKey, KeyChanges, NewKey
from gateway.stores.key_records import KEY_ID_PATTERN

Name = Annotated[str, StringConstraints(min_length=1, max_length=key_rules.MAX_NAME, pattern=key_rules.TEXT_PATTERN)]
ModelName = Annotated[
    str, StringConstraints(min_length=1, max_length=key_rules.MAX_MODEL_NAME, pattern=key_rules.TEXT_PATTERN)
]
Models = Annotated[list[ModelName], Field(min_length=1, max_length=key_rules.MAX_MODELS)]
KeyId = Annotated[str, StringConstraints(pattern=KEY_ID_PATTERN)]
Weight = Annotated[float, Field(ge=key_rules.MIN_WEIGHT, le=key_rules.MAX_WEIGHT)]
UnixTime = Annotated[float, Field(ge=0, le=key_rules.MAX_TIME, description="Unix time in seconds")]
Limit = Annotated[int, Field(ge=1, le=key_rules.MAX_LIMIT), WHOLE]


class KeyLimits(Strict):
    """Limits of a key; null is no limit."""

    requests_per_minute: Limit | None = None
    tokens_per_minute: Limit | None = None
    concurrent_streams: Limit | None = None


class KeyCreate(Strict):
    """A new key. Without a tenant it is its own; null allows every model, never expires, has no pace of its own."""

    name: Name
    tenant: Name | None = None
    weight: Weight = 1.0
    models: Models | None = None
    expires_at: UnixTime | None = None
    pace: Pace | None = None
    limits: KeyLimits = KeyLimits()

    def to_new_key(self) -> NewKey:
        """The same for the store."""
        return NewKey(
            name=self.name,
            tenant=self.tenant,
            weight=self.weight,
            models=None if self.models is None else tuple(self.models),
            expires_at=self.expires_at,
            pace=pace_spec(self.pace),
            limits=Limits(**self.limits.model_dump()),
        )


def _nothing() -> None:
    return None


class KeyPatch(Strict):
    """Changes to a key. What is absent stays; null takes a restriction away; limits change one by one."""

    # Factories, because the description would show plain defaults, and absent does not mean any value.
    name: Name = Field(default_factory=str)
    weight: Weight = Field(default_factory=float)
    models: Models | None = Field(default_factory=_nothing)
    expires_at: UnixTime | None = Field(default_factory=_nothing)
    pace: Pace | None = Field(default_factory=_nothing)
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
            changes["pace"] = pace_spec(self.pace)
        if "limits" in given:
            present = KeyLimits.model_validate(current, from_attributes=True)
            changes["limits"] = Limits(**{**present.model_dump(), **self.limits.model_dump(exclude_unset=True)})
        return changes


class KeyRotate(Strict):
    """How long the present secret stays good, in seconds."""

    grace_s: Annotated[float, Field(ge=0, le=MAX_GRACE_S)] = 0.0


class KeyPage(Strict):
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

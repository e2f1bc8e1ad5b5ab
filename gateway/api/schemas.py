"""What the OpenAI-compatible calls take and answer, as far as the gateway itself looks.

Fields that are not named here pass through to the engine untouched: tools, response_format, logprobs, seeds, guided
decoding, whatever an engine invents next. Source: OpenAI API reference, "Chat" and "Completions".
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.api.fields import WHOLE
from gateway.api.pace_schema import Pace

MAX_TOKENS: Final = 2**31 - 1
MAX_CHOICES: Final = 128

Model = Annotated[str, StringConstraints(min_length=1, max_length=256)]
TokenCount = Annotated[int, Field(ge=1, le=MAX_TOKENS), WHOLE]
TokenId = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Open(BaseModel):
    """A model that keeps unknown fields; types are taken strictly, as an engine would."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class StreamOptions(Open):
    include_usage: bool | None = None


class ContentPart(Open):
    type: Annotated[str, StringConstraints(min_length=1, max_length=64)]


class Message(Open):
    role: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    content: str | list[ContentPart] | None = None


class GenerationRequest(Open):
    """What both calls share."""

    model: Model
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: TokenCount | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES), WHOLE] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    stop: str | list[str] | None = None
    pace: Annotated[
        Pace | None,
        Field(
            description="How fast the answer is read; text ahead of a reader is sent in groups.", examples=["reading"]
        ),
    ] = None

    @property
    def token_limit(self) -> int | None:
        """Tokens that the client allows for one answer."""
        return self.max_tokens

    @property
    def prompts(self) -> int:
        """How many prompts there are."""
        return 1


class ChatCompletionRequest(GenerationRequest):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: TokenCount | None = None

    @property
    def token_limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens


class CompletionRequest(GenerationRequest):
    """`POST /v1/completions`."""

    prompt: Annotated[
        str
        | Annotated[list[TokenId], Field(min_length=1)]
        | Annotated[list[str], Field(min_length=1)]
        | Annotated[list[Annotated[list[TokenId], Field(min_length=1)]], Field(min_length=1)],
        WHOLE,
    ]

    @property
    def prompts(self) -> int:
        """How many prompts there are."""
        return len(self.prompt) if isinstance(self.prompt, list) and not isinstance(self.prompt[0], int) else 1


class Answer(BaseModel):
    """An engine's whole answer, passed on as it is."""

    model_config = ConfigDict(extra="allow")

    id: str
    object: str
    model: str
    choices: list[dict[str, Any]]


class ModelCard(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "andante"
    max_model_len: int | None = None


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelCard]


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """OpenAI's error object."""

    error: ErrorDetail


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals of a call, for its description."""
    return {status: {"model": ErrorBody} for status in statuses}


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """`engines` is the state of every engine by model; `keys`: all keys are known that other gateways have made."""

    ready: bool
    draining: bool
    keys: bool
    engines: dict[str, dict[str, str]]

"""The request bodies that the emulator reads, after vLLM's. Unknown fields are accepted and ignored, as vLLM does."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from gateway.emulator.faults import Faults

Body = TypeVar("Body", bound=BaseModel)

TokenIds = list[Annotated[int, Field(ge=0, strict=True)]]


def _listed(prompt: object) -> object:
    """One prompt, text or ids, as a list of one."""
    single = isinstance(prompt, str) or (isinstance(prompt, list) and prompt and isinstance(prompt[0], int))
    return [prompt] if single else prompt


class Refused(Exception):
    """The request is answered with an error object; `kind` is vLLM's name of it."""

    def __init__(self, status: int, message: str, kind: str = "BadRequestError", param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": status}}


class NullIsAbsent(BaseModel):
    """OpenAI's clients may send null for what they leave to the server, and vLLM takes it."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        return {name: value for name, value in data.items() if value is not None} if isinstance(data, dict) else data


class StreamOptions(NullIsAbsent):
    """What a stream shows besides text."""

    include_usage: bool = False
    continuous_usage_stats: bool = False


class Generate(NullIsAbsent):
    """What both endpoints share."""

    model_config = ConfigDict(extra="allow")

    model: str | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    min_tokens: Annotated[int, Field(ge=0)] = 0
    temperature: Annotated[float, Field(ge=0)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] = 1
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: TokenIds | None = None
    ignore_eos: bool = False
    include_stop_str_in_output: bool = False
    stream: bool = False
    stream_options: StreamOptions | None = None
    return_token_ids: bool = False
    cache_salt: str | None = None
    priority: int = 0
    emulator_faults: Faults | None = None

    def stops(self) -> tuple[str, ...]:
        """The stop strings; Refused for an empty one."""
        stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        if "" in stops:
            raise Refused(400, "stop cannot contain an empty string.", param="stop")
        return stops


class Conversation(BaseModel):
    """Messages and how they are rendered."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False


class ChatBody(Generate, Conversation):
    """`POST /v1/chat/completions`."""

    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None


class CompletionBody(Generate):
    """`POST /v1/completions`."""

    prompt: Annotated[list[str | TokenIds], BeforeValidator(_listed), Field(min_length=1)]
    echo: bool = False
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: dict[str, Any] | None = None


class TokenizeBody(BaseModel):
    """`POST /tokenize`: a prompt or messages."""

    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    add_special_tokens: bool = True


class DetokenizeBody(BaseModel):
    """`POST /detokenize`."""

    tokens: TokenIds


def parse(kind: type[Body], raw: bytes) -> Body:
    """A body from JSON; Refused (400) names the fields that are wrong."""
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)
        where = [".".join(str(part) for part in item["loc"]) for item in first]
        told = "; ".join(f"{place or 'body'}: {item['msg']}" for place, item in zip(where, first, strict=True))
        raise Refused(400, told, param=where[0] or None) from error

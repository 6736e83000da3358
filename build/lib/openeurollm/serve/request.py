"""What a client may ask: the part of OpenAI's chat completions that is answered here, checked before it is used."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from openeurollm.serve.model import Sampling

_MOST_MESSAGES = 1_000


class ApiError(Exception):
    """A refusal in OpenAI's form: a status, a message, a type and a code."""

    def __init__(self, status: int, message: str, code: str, kind: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.kind = status, message, code, kind

    def body(self) -> dict[str, Any]:
        """The JSON that a client gets."""
        return {"error": {"message": self.message, "type": self.kind, "param": None, "code": self.code}}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


class TextPart(_Part):
    """A part of a message; only text is understood."""

    type: Literal["text"]
    text: str


class Message(_Part):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(max_length=100)]

    def plain(self) -> dict[str, str]:
        """The turn as chat templates know it; OpenAI's `developer` is their `system`."""
        content = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": content}


class StreamOptions(_Part):
    """Whether the last chunk of a stream counts the tokens."""

    include_usage: bool = False


class TextFormat(_Part):
    """The only form of an answer."""

    type: Literal["text"]


Stop = Annotated[str, Field(min_length=1, max_length=1_000)]
Nothing = Annotated[list[Any], Field(max_length=0)] | None


class ChatRequest(_Part):
    """A request for an answer. What would change the answer and is not done here is refused, not passed over."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=_MOST_MESSAGES)]
    model: str | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: int | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None
    logprobs: Literal[False] | None = None
    tools: Nothing = None
    functions: Nothing = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    logit_bias: Annotated[dict[str, Any], Field(max_length=0)] | None = None
    response_format: TextFormat | None = None

    def sampling(self, room: int) -> Sampling:
        """How to draw the answer, where `room` tokens of the context are left; what is left out is as OpenAI has it."""
        most = self.max_completion_tokens or self.max_tokens or room
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        temperature = 1.0 if self.temperature is None else self.temperature
        return Sampling(min(most, room), temperature, self.top_p or 1.0, self.seed, stop)


def parse(body: bytes) -> ChatRequest:
    """The request in `body`; raises `ApiError` that says what is wrong with it and where."""
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "json_invalid":
            raise ApiError(400, f"the body is not JSON: {first['msg']}", "invalid_json") from None
        raise ApiError(400, f"{where or 'body'}: {first['msg']}", "invalid_value") from None

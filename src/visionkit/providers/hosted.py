"""A hosted model: what is alike for all vendors. What is a vendor's own is a `Wire`, mostly two pure functions."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Final, Literal

from pydantic import BaseModel, SecretStr, ValidationError

from ..errors import AnswerError, InputError, ProviderError, UnavailableError
from ..extras import require
from ..images import Picture, Upload, encode_upload
from ..models.protocols import Description
from . import quiet
from .faults import Fault, clean, fault_of
from .keys import NO_KEY, check_base_url, find_key, is_loopback
from .limits import PictureLimits, upload_rules
from .retry import with_retries

TIMEOUT_SECONDS: Final = 300.0
MAX_ATTEMPTS: Final = 3
CONCURRENCY: Final = 4
MAX_ANSWER_BYTES: Final = 64 * 2**20
"""A longer reply than this is not read on: no answer in words is so long."""

_CONNECT_SECONDS: Final = 10.0
_MOST_SECONDS: Final = 86_400.0  # the operating system's calls refuse numbers that are far too large
BoxConvention = Literal["pixels", "0-1000"]


@dataclass(frozen=True)
class Question:
    """What is asked, before it takes a vendor's form.

    Attributes:
        name: the model's, at the vendor.
        uploads: the pictures.
        prompt: the user's words.
        system: what holds for the whole conversation.
        schema: the form of the answer; None: words.
        max_tokens: the longest answer; None: the vendor's limit.
    """

    name: str
    uploads: tuple[Upload, ...]
    prompt: str
    system: str | None = None
    schema: type[BaseModel] | None = None
    max_tokens: int | None = None


@dataclass(frozen=True)
class Wire:
    """How one vendor is spoken to.

    Attributes:
        prefix: of the model's name.
        package: the SDK's import name.
        client: the SDK's client class.
        resource: the client's attribute whose `create` sends a request.
        variable: the environment variable with the key.
        address: the environment variable with another server's address, which the SDK heeds.
        limits: of the pictures.
        request: a question → the keywords of `create`.
        parse: the bytes of a reply → what it says, without `parsed` and `fits`. It raises a `ProviderError` with the
            vendor's words where the reply says that it failed, and a `ValidationError` where it is no reply.
        keyless_on_this_machine: a server on a loopback address gets no key unless one is given.
    """

    prefix: str
    package: str
    client: str
    resource: str
    variable: str
    address: str
    limits: PictureLimits
    request: Callable[[Question], dict[str, Any]]
    parse: Callable[[bytes], Description]
    keyless_on_this_machine: bool = False


@dataclass(frozen=True)
class Connection:
    """How a hosted model is reached: the options of `load_model`.

    Attributes:
        api_key: the key; None: it is in the vendor's environment variable.
        base_url: another server than the vendor's; None: the vendor's.
        timeout_seconds: of one attempt: how long to wait for the reply to begin, and for each piece of it; one that is
            still coming after that time is left. With a slow server an attempt can so take up to twice as long.
        max_attempts: how often to try in all.
        concurrency: how many questions may be under way at once.
    """

    api_key: str | SecretStr | None = None
    base_url: str | None = None
    timeout_seconds: float = TIMEOUT_SECONDS
    max_attempts: int = MAX_ATTEMPTS
    concurrency: int = CONCURRENCY

    def __post_init__(self) -> None:
        if isinstance(self.api_key, str):  # masked from here on, in a repr or a traceback with local variables
            object.__setattr__(self, "api_key", SecretStr(self.api_key))
        seconds: object = self.timeout_seconds
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds <= _MOST_SECONDS:
            raise InputError(f"timeout_seconds={seconds!r} must be above 0 and at most {_MOST_SECONDS:.0f}")
        for name in ("max_attempts", "concurrency"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name}={value!r} must be a whole number, at least 1")


class HostedModel:
    """A model at a vendor's, or on a server that speaks a vendor's language: a `Describer`.

    Attributes:
        name: what results call it.
        box_convention: how it says boxes.
        concurrency: how many questions may be under way at once.
    """

    box_convention: BoxConvention = "pixels"

    def __init__(self, wire: Wire, model: str, connection: Connection) -> None:
        self.name = f"{wire.prefix}:{model}"
        self.concurrency = connection.concurrency
        self._wire = wire
        self._model = model
        self._connection = connection
        self._stopped = threading.Event()
        if connection.base_url is not None:
            check_base_url(connection.base_url, self.name)
        keyless = wire.keyless_on_this_machine and connection.api_key is None and is_loopback(connection.base_url or "")
        self._key = NO_KEY if keyless else find_key(connection.api_key, wire.variable, self.name)
        self._keyless = keyless
        self._lock = threading.Lock()
        self._client = self._connect()

    def __repr__(self) -> str:
        return f"<hosted model {self.name}>"

    def __reduce__(self) -> tuple[Callable[..., HostedModel], tuple[Any, ...]]:
        if self._connection.api_key is not None:
            raise InputError(
                f"{self.name} was given its key as api_key=, and a key is never written into a pickle: set the "
                f"environment variable {self._wire.variable} here and where it is unpickled, or load the model there"
            )
        return HostedModel, (self._wire, self._model, self._connection)

    def close(self) -> None:
        """Ends waits between attempts and closes the connections; the model is of no use afterwards."""
        self._stopped.set()
        self._client.close()

    def describe(
        self,
        pictures: Sequence[Picture],
        prompt: str,
        *,
        system: str | None = None,
        schema: type[BaseModel] | None = None,
        max_tokens: int | None = None,
    ) -> Description:
        """Answers one prompt about one or several upright RGB pictures: see `Describer`."""
        outcome, attempts = self._ask(pictures, (prompt, system, schema, max_tokens))
        if isinstance(outcome, Fault):
            # Raised here, where no exception of the SDK is being handled and no local variable holds request or reply.
            raise outcome.error(self.name, attempts)
        return outcome

    def _ask(self, pictures: Sequence[Picture], words: tuple[Any, ...]) -> tuple[Description | Fault, int]:
        """The answer or what went wrong, and how many attempts it took."""
        if self._stopped.is_set():
            return self._closed(), 0
        uploads = tuple(encode_upload(p, upload_rules(self._wire.limits, p.size)) for p in pictures)
        question = Question(self._model, uploads, *words)
        payload = self._payload(question)
        client, key = self._with_todays_key()
        reply, attempts = with_retries(
            lambda: self._attempt(client, key, payload), self._connection.max_attempts, self._stopped.wait
        )
        said = reply if isinstance(reply, Fault) else self._understand(reply, key)
        if question.schema is not None and not isinstance(said, Fault):
            said = self._fit_schema(said, question.schema, key)
        return said if isinstance(said, Fault) else replace(said, fits=tuple(u.fit for u in uploads)), attempts

    def _payload(self, question: Question) -> dict[str, Any]:
        """The question in the vendor's language, which cannot say every schema."""
        try:
            return self._wire.request(question)
        except (TypeError, ValueError) as err:
            if question.schema is None or isinstance(err, InputError):
                raise
            why = f"{type(err).__name__}: {err}"[:300]
        raise InputError(
            f"{self.name} does not take the schema {question.schema.__name__}: {why}; give each field a type that JSON "
            "has"
        )

    def _with_todays_key(self) -> tuple[Any, SecretStr]:
        """The client and its key: that of the environment as it is now, since a wrong one may have been put right."""
        with self._lock:
            if self._connection.api_key is None and not self._keyless:
                key = find_key(None, self._wire.variable, self.name)
                if key != self._key:
                    # Over the same connections, which questions under way go on using.
                    self._client = self._client.with_options(api_key=key.get_secret_value())
                    self._key = key
            return self._client, self._key

    def _connect(self) -> Any:
        """The SDK's client: it imports no sooner than here, does not retry, and follows no redirect with our key."""
        sdk = require(self._wire.package)
        quiet.install(self._wire.package)
        seconds = self._connection.timeout_seconds
        url = self._connection.base_url or os.environ.get(self._wire.address) or None
        client = getattr(sdk, self._wire.client)(
            api_key=self._key.get_secret_value(),
            base_url=url,
            timeout=sdk.Timeout(seconds, connect=min(_CONNECT_SECONDS, seconds)),
            max_retries=0,
            http_client=sdk.DefaultHttpxClient(
                follow_redirects=False,
                # What is for this machine goes through no proxy of the environment: it would get the key, unencrypted.
                mounts=dict.fromkeys(("all://", "http://", "https://")) if is_loopback(url or "") else {},
            ),
        )
        check_base_url(str(client.base_url), self.name)  # the SDK may have taken it from the environment
        return client

    def _attempt(self, client: Any, key: SecretStr, payload: dict[str, Any]) -> bytes | Fault:
        """Sends one request: the reply's body, or what went wrong."""
        try:
            with quiet.quietly():
                return self._exchange(client, payload)
        except Exception as err:
            fault = fault_of(err, key)
            if fault is None and self._stopped.is_set():  # the SDK has only a RuntimeError for it
                return self._closed()
            if fault is None:
                raise
            return fault

    @staticmethod
    def _closed() -> Fault:
        return Fault(UnavailableError, "the model was closed; load it again")

    def _exchange(self, client: Any, payload: dict[str, Any]) -> bytes | Fault:
        deadline = time.monotonic() + self._connection.timeout_seconds
        body = bytearray()
        send = attrgetter(self._wire.resource)(client).with_streaming_response.create
        with send(**payload) as response:
            for piece in response.iter_bytes():
                body += piece
                if len(body) > MAX_ANSWER_BYTES:
                    return Fault(AnswerError, f"the reply is longer than {MAX_ANSWER_BYTES} bytes")
                if time.monotonic() > deadline:
                    return Fault(UnavailableError, "the reply came too slowly; a larger timeout_seconds= waits longer")
        return bytes(body)

    def _understand(self, body: bytes, key: SecretStr) -> Description | Fault:
        """What a reply says."""
        try:
            return self._wire.parse(body)
        except ProviderError as err:
            return Fault(type(err), "the server failed at the answer", clean(str(err), key))
        except ValidationError:
            return Fault(AnswerError, "the reply is none", clean(body[:2000].decode("utf-8", "replace"), key))

    def _fit_schema(self, said: Description, schema: type[BaseModel], key: SecretStr) -> Description | Fault:
        """The answer with the object that it describes."""
        if said.refused:
            why = "the model declined to answer"
        elif said.finish_reason == "length":
            why = f"the answer for {schema.__name__} was cut off; a larger max_tokens= leaves room for it"
        else:
            try:
                return replace(said, parsed=schema.model_validate_json(said.text))
            except ValidationError as err:
                first = err.errors(include_url=False, include_input=False, include_context=False)[0]
            place = ".".join(map(str, first["loc"])) or "the whole"
            # The place may be a name that the server chose, of a field too many.
            where = clean(f"{place}: {first['msg']}", key)
            why = f"the answer does not fit {schema.__name__}, {where}"
        return Fault(AnswerError, f"{why}; it said", clean(said.text, key) or "nothing")

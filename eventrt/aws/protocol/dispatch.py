"""The AWS door: from an HTTP request to a service's handler and back, for every service and protocol.

It finds out which operation is meant, who asks, whether the signature is right (`auth="sigv4"`), parses and checks
the request, refuses members the ledger refuses, calls the handler, and writes its answer or error in the caller's
protocol. `AwsDoor.handle` is total: whatever comes in, an AWS-shaped answer goes out.
"""

import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import anyio.lowlevel
import structlog

from eventrt.aws import ledger
from eventrt.aws.call import Call, OperationHandler, Service
from eventrt.aws.protocol import models, overlays, sigv2, sigv4
from eventrt.aws.protocol.bodies import inflate, payload_stream
from eventrt.aws.protocol.codecs import (
    AwsCborCodec,
    Bound,
    CborCodec,
    Codec,
    Incoming,
    JsonCodec,
    QueryCodec,
    raw_bound,
)
from eventrt.aws.protocol.constraints import PATTERNS_IN_WORDS, Problem, describe
from eventrt.aws.protocol.faults import ErrorTable, Fault, auth_error, plain_fault
from eventrt.aws.protocol.models import ServiceModel
from eventrt.aws.protocol.overlays import DEFAULT_POLICY, Policy, policy_of
from eventrt.aws.protocol.parse import WrongBody, WrongType
from eventrt.aws.protocol.query import pairs_of
from eventrt.aws.protocol.rest import RestJsonCodec, RestXmlCodec
from eventrt.aws.protocol.routes import RouteTable
from eventrt.aws.protocol.s3_routes import (
    S3Routes,
    bucket_below_localhost,
    check_presigned,
    is_form,
    looks_like_s3,
    not_allowed,
    read_host,
    read_path,
)
from eventrt.errors import ApiError, CommitLost, StoreClosed, StoreFull
from eventrt.http import BodyBroken, BodyTooLarge, Request, Response

log = structlog.get_logger(__name__)

DEFAULT_ACCOUNT = "000000000000"
DEFAULT_REGION = "us-east-1"
_REGION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HOST_REGION = re.compile(r"(?:[a-z0-9-]+\.)?([a-z]{2}(?:-[a-z]+)+-\d)\.")
"""`sqs.eu-west-1.localhost`, `eu-west-1.queue.localhost`: the region of a request without a signature."""

_FORM = "application/x-www-form-urlencoded"
_FORM_LIMIT_BYTES = 8 * 1024 * 1024
"""The longest form that is read before its service is known."""

Finish = Callable[[Request, str, Response], Awaitable[Response]]
"""A service's last word on an answer to a web page: (request, bucket, response) -> response."""

LetsPageIn = Callable[[Request, str], Awaitable[bool]]
"""Do the CORS rules of a bucket let a page ask what it asks?"""

AccountOf = Callable[[str], str | None]
"""Return the account an access key belongs to, None when the key does not tell."""


class _Operation:
    """One served operation in one protocol, compiled at its first request."""

    __slots__ = ("bound", "codec", "handler", "name", "refused", "served")

    def __init__(self, served: "_Served", name: str, codec: Codec, handler: OperationHandler) -> None:
        self.served = served
        self.name = name
        self.codec = codec
        self.handler = handler
        is_raw = name in served.raw_handlers
        self.bound: Bound = raw_bound() if is_raw else codec.bind(served.model, served.policy, name)
        self.refused = None if is_raw else ledger.refusal_check(served.id, name)


class _Served:
    """One service: its handlers, and what is read of its model when it is first asked."""

    def __init__(self, service_id: str) -> None:
        self.id = service_id
        self.policy: Policy = policy_of(service_id)
        self.handlers: dict[str, OperationHandler] = {}
        self.raw_handlers: dict[str, OperationHandler] = {}
        self.finish: Finish | None = None
        self.lets_page_in: LetsPageIn | None = None
        self.check_body: Callable[[str, Mapping[str, str], bytes], None] | None = None
        self.operations: dict[tuple[str, str], _Operation] = {}
        self._model: ServiceModel | None = None
        self._errors: ErrorTable | None = None
        self._routes: RouteTable | None = None

    @property
    def model(self) -> ServiceModel:
        """The service's model, loaded at first use."""
        if self._model is None:
            self._model = models.load(self.id)
        return self._model

    @property
    def errors(self) -> ErrorTable:
        """What the model says of the service's errors."""
        if self._errors is None:
            self._errors = ErrorTable(self.model)
        return self._errors

    @property
    def routes(self) -> RouteTable:
        """The REST routes of the service."""
        if self._routes is None:
            self._routes = RouteTable(self.model)
        return self._routes


def _speaks_cbor(request: Request) -> bool:
    """Is this request in one of the CBOR protocols?"""
    return "smithy-protocol" in request.headers or _speaks_aws_cbor(request)


def _speaks_aws_cbor(request: Request) -> bool:
    return request.headers.get("content-type", "").startswith("application/x-amz-cbor")


def handlers_of(service: Service, mark: str = "__aws_operation__") -> dict[str, OperationHandler]:
    """Return a service's handlers by operation: its methods that carry `@operation` (or another mark)."""
    found: dict[str, OperationHandler] = {}
    for name in dir(type(service)):
        marked = getattr(getattr(type(service), name), mark, None)
        if marked is not None:
            found[marked] = getattr(service, name)
    return found


@dataclass(slots=True)
class _Asked:
    """What a request asks for, as far as it could be found out."""

    codec: Codec
    served: _Served | None
    operation: str
    service_name: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    pairs: list[tuple[str, str]] | None = None
    form: bytes | None = None
    error: ApiError | None = None


class AwsDoor:
    """Answers AWS API requests with the services it is given.

    Args:
        services: what is served; several objects may share one service id, each with operations of its own.
        auth: `none` accepts any credentials; `sigv4` verifies every signature.
        secret_of: in `sigv4`, return the secret of (access key, session token), None when the key is unknown.
        account_of: return the account that a temporary access key belongs to; 12-digit keys name theirs themselves.
    """

    def __init__(
        self,
        services: Sequence[Service],
        *,
        auth: Literal["none", "sigv4"] = "none",
        secret_of: Callable[[str, str], str | None] | None = None,
        account_of: AccountOf | None = None,
    ) -> None:
        self._services: dict[str, _Served] = {}
        for service in services:
            served = self._services.setdefault(service.service_id, _Served(service.service_id))
            more = handlers_of(service)
            if twice := served.handlers.keys() & more.keys():
                raise ValueError(f"{service.service_id}: two handlers for {', '.join(sorted(twice))}")
            served.handlers |= more
            served.raw_handlers |= handlers_of(service, "__aws_raw_operation__")
            served.finish = getattr(service, "finish", None) or served.finish
            served.check_body = getattr(service, "check_body", None) or served.check_body
            served.lets_page_in = getattr(service, "lets_page_in", None) or served.lets_page_in
        self._by_scope: dict[str, _Served] = {}
        for served in self._services.values():
            for scope in (served.id, *served.policy.signing_names):
                self._by_scope[scope] = served
        self._secret_of = secret_of or (lambda key, token: None)
        self._verifier = sigv4.Verifier(secret_of or (lambda key, token: None)) if auth == "sigv4" else None
        self._account_of = account_of or (lambda key: None)
        self._json, self._query, self._cbor = JsonCodec(), QueryCodec(), CborCodec()
        self._aws_cbor = AwsCborCodec()
        self._rest_json, self._rest_xml = RestJsonCodec(), RestXmlCodec()
        self._s3 = self._services.get("s3")
        self._s3_routes: S3Routes | None = None
        self._targets: dict[str, _Operation] = {}
        self._accounts: dict[str, str] = {}
        self._regions: set[str] = set()
        self._not_served: set[str] = set()
        self._random = random.Random()  # noqa: S311 - request ids are names, not secrets

    @property
    def operations(self) -> dict[str, list[str]]:
        """The operations served, by service."""
        return {served.id: sorted(served.handlers) for served in self._services.values()}

    async def warm_up(self) -> None:
        """Load the models and compile the operations of every service, so that no first request waits for it.

        About 40 ms for the four services of a plain daemon, in pieces of a few: requests pass in between.
        """
        for served in self._services.values():
            codecs = [codec for name in served.model.protocols if (codec := self._codec_named(name)) is not None]
            if codecs and codecs[0] in (self._rest_json, self._rest_xml):
                _ = served.routes
            for name in served.handlers:
                if name in served.model.operations and codecs and codecs[0] is not self._cbor:
                    self._operation(served, name, codecs[0])
                    await anyio.lowlevel.checkpoint()
            _ = served.errors

    async def handle(self, request: Request) -> Response:
        """Answer one request; raises only when cancelled."""
        request_id = self._request_id()
        asked: _Asked | None = None
        operation: _Operation | None = None
        try:
            operation = self._targets.get(request.headers.get("x-amz-target", ""))
            if operation is not None and not _speaks_cbor(request):
                asked = None
                return await self._serve(operation, request, request_id, None)
            asked = await self._find(request)
            if asked.served is not None and asked.served is self._s3:
                request_id = f"{self._random.getrandbits(64):016X}"  # S3's ids have sixteen characters
            operation = self._resolve(asked)
            response = await self._serve(operation, request, request_id, asked)
        except Exception as error:  # the border of one request
            if asked is None and operation is not None:
                asked = _Asked(operation.codec, operation.served, operation.name)
            response = self._failed(error, request, request_id, asked)
        if "origin" in request.headers and asked is not None and asked.served is not None and asked.served.finish:
            return await asked.served.finish(request, asked.labels.get("Bucket", ""), response)
        return response

    async def lets_page_in(self, request: Request) -> bool:
        """Is this page of another site let in by the CORS rules of the bucket it asks for?

        Only what can be nothing but S3's: a form or a header might make it another service's request.
        """
        s3, headers = self._s3, request.headers
        content_type = headers.get("content-type", "")
        if s3 is None or s3.lets_page_in is None or "origin" not in headers or "Action=" in request.query:
            return False
        if "x-amz-target" in headers or "smithy-protocol" in headers or content_type.startswith(_FORM):
            return False
        asked = self._find_route(request)
        return asked.served is s3 and await s3.lets_page_in(request, asked.labels.get("Bucket", ""))

    # -- serving --------------------------------------------------------------------------------------------

    async def _serve(self, operation: _Operation, request: Request, request_id: str, asked: _Asked | None) -> Response:
        served, bound = operation.served, operation.bound
        if asked is not None and asked.form is not None:
            body: Any = asked.form
        elif bound.streams_body:
            body = None
        else:
            body = await request.read_body(served.policy.body_limit_bytes)
        credential = sigv4.credential_of(request.headers, request.query)
        access_key, region = "", DEFAULT_REGION
        if credential is not None:
            access_key, region = credential.access_key, credential.region or DEFAULT_REGION
            if region == "aws-global":
                region = DEFAULT_REGION
            if region not in self._regions:
                self._check_region(region)
        elif (named := _HOST_REGION.match(request.headers.get("host", ""))) is not None:
            region = named[1]
        if self._verifier is not None and not bound.is_open:
            verified = self._verify(served, request, body, asked)
            if bound.streams_body:
                body = payload_stream(request, verified)
        elif bound.streams_body:
            body = payload_stream(request, None)
        if body and not bound.streams_body and request.headers.get("content-encoding", "") == "gzip":
            body = inflate(body, served.policy.body_limit_bytes)
        if body and served.check_body is not None and not bound.streams_body:
            served.check_body(operation.name, request.headers, body)
        problems: list[Problem] = []
        if asked is None:
            incoming = Incoming(body, request.headers, [], cast(dict[str, str], overlays.NOTHING))
        else:
            pairs = asked.pairs if asked.pairs is not None else pairs_of(request.query)
            incoming = Incoming(body, request.headers, pairs, asked.labels)
        try:
            parsed = bound.parse(incoming, problems)
        except WrongType as error:
            code = served.policy.serialization_code
            if isinstance(error, WrongBody):
                code = served.policy.body_code or code
            if operation.codec is self._query:
                code = served.policy.query_type_code
            raise ApiError(code, str(error), members=error.members) from error
        except RecursionError as error:
            raise ApiError(served.policy.serialization_code, "The request nests too deeply") from error
        if problems:
            text = describe(problems, PATTERNS_IN_WORDS.get(served.id, overlays.NOTHING))
            raise ApiError(served.policy.validation_code, text, status=400)
        if operation.refused is not None:
            refusal = operation.refused(parsed)
            if refusal is not None:
                code = refusal.entry.code or served.policy.refusal_code
                raise ApiError(code, refusal.message, status=501 if code == "NotImplemented" else None)
        call = Call(
            service=served.id,
            operation=operation.name,
            protocol=operation.codec.name,
            account_id=self._account(access_key),
            region=region,
            access_key=access_key,
            request_id=request_id,
            host=request.headers.get("host", ""),
            http=request,
        )
        answer = await operation.handler(call, parsed)
        return answer if isinstance(answer, Response) else bound.write(answer, request_id)

    def _verify(
        self, served: _Served, request: Request, body: bytes | None, asked: _Asked | None
    ) -> sigv4.Verified | None:
        """Let a request pass whose signature is right; return what its chunks are verified by, where there is any.

        Raises: Unauthentic: it is not.
        """
        assert self._verifier is not None
        if served is self._s3 and asked is not None and asked.pairs is not None:
            query = dict(asked.pairs)
            if sigv2.is_signed(request, query):
                host = request.headers.get("host", "")
                bucket = read_host(host).bucket or bucket_below_localhost(host)
                sigv2.verify(request, query, bucket, self._secret_of, now=time.time())
                return None
        named = _HOST_REGION.match(request.headers.get("host", ""))
        return self._verifier.verify(
            request,
            body,
            is_s3=served is self._s3,
            services=(served.model.signing_name, *served.policy.signing_names),
            region=named[1] if named is not None else "",
        )

    def _account(self, access_key: str) -> str:
        """Return the account a key stands for: itself when it is 12 digits, else what the key tells, else zeros."""
        known = self._accounts.get(access_key)
        if known is None:
            if len(access_key) == 12 and access_key.isascii() and access_key.isdecimal():
                known = access_key
            else:
                known = self._account_of(access_key) or DEFAULT_ACCOUNT
            if len(self._accounts) > 4096:  # access keys are the caller's words: do not keep them all
                self._accounts.clear()
            self._accounts[access_key] = known
        return known

    def _check_region(self, region: str) -> None:
        """Let a region pass that an ARN can carry, whether AWS has it or not.

        Raises: Unauthentic: it cannot be one.
        """
        if _REGION.fullmatch(region) is None:
            raise sigv4.Unauthentic("mismatch", "Credential should be scoped to a valid region. ")
        if len(self._regions) > 4096:  # as with access keys
            self._regions.clear()
        self._regions.add(region)

    def _request_id(self) -> str:
        text = f"{self._random.getrandbits(128):032x}"
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{'89ab'[int(text[16], 16) & 3]}{text[17:20]}-{text[20:]}"

    # -- finding out ----------------------------------------------------------------------------------------

    async def _find(self, request: Request) -> _Asked:
        """Return what a request asks for.

        Raises: ApiError: it asks for nothing that AWS knows. BodyTooLarge: a form is too long.
        """
        headers = request.headers
        if headers.get("smithy-protocol") == "rpc-v2-cbor":
            return self._find_cbor(request)
        target = headers.get("x-amz-target")
        if target is not None:
            return self._find_target(target, request)
        content_type = headers.get("content-type", "")
        if request.method == "POST" and content_type.startswith("application/x-www-form-urlencoded"):
            form = await request.read_body(_FORM_LIMIT_BYTES)
            if (b"Action=" in form or "Action=" in request.query) and self._may_be_query(request):
                return self._find_query(request, form)
            found = self._find_route(request)
            found.form = form
            return found
        if "Action=" in request.query and request.method in ("GET", "POST") and self._may_be_query(request):
            form = await request.read_body(_FORM_LIMIT_BYTES) if request.method == "POST" else b""
            return self._find_query(request, form)
        return self._find_route(request)

    def _may_be_query(self, request: Request) -> bool:
        """Is this perhaps a Query request? Not one that is signed for a service which does not speak Query."""
        hint = self._scope_of(request)
        return hint is None or "query" in hint.model.protocols

    def _find_cbor(self, request: Request) -> _Asked:
        parts = request.path.split("/")
        if len(parts) != 5 or parts[1] != "service" or parts[3] != "operation":
            return _Asked(self._cbor, None, "", "")
        served = self._with_prefix(parts[2], request)
        if served is not None and "smithy-rpc-v2-cbor" not in served.model.protocols:
            return _Asked(self._cbor, None, parts[4], served.id)
        return _Asked(self._cbor, served, parts[4], parts[2])

    def _find_target(self, target: str, request: Request) -> _Asked:
        prefix, _, name = target.rpartition(".")
        served = self._with_prefix(prefix, request)
        if _speaks_aws_cbor(request) and (served is None or self._aws_cbor.name in served.model.protocols):
            return _Asked(self._aws_cbor, served, name, prefix)
        return _Asked(self._json, served, name, prefix)

    def _with_prefix(self, prefix: str, request: Request) -> _Served | None:
        hint = self._scope_of(request)
        if hint is not None and prefix and hint.model.target_prefix == prefix:
            return hint
        for served in self._services.values():
            if prefix and served.model.target_prefix == prefix:
                return served
        return None

    def _scope_of(self, request: Request) -> _Served | None:
        """Return the service a signature is for, else the one the Host header names."""
        credential = sigv4.credential_of(request.headers, request.query)
        if credential is not None and credential.service:
            return self._by_scope.get(credential.service)
        return self._by_scope.get(request.headers.get("host", "").partition(".")[0])

    def _find_query(self, request: Request, form: bytes) -> _Asked:
        try:
            pairs = pairs_of(request.query) + pairs_of(form.decode("latin-1").strip())
        except WrongType as error:
            raise ApiError("MalformedQueryString", str(error)) from error
        asked = _Asked(self._query, None, "", "", pairs=pairs, form=form)
        values = dict(pairs)
        asked.operation = values.get("Action", "")
        asked.served = self._query_service(request, asked.operation, values.get("Version", ""))
        served = asked.served
        if served is not None and served.id == "sqs" and "QueueUrl" not in values and request.path.count("/") >= 2:
            pairs.append(("QueueUrl", f"http://{request.headers.get('host', 'localhost')}{request.path}"))
        if asked.served is None:
            credential = sigv4.credential_of(request.headers, request.query)
            asked.service_name = credential.service if credential else ""
        return asked

    def _query_service(self, request: Request, action: str, version: str) -> _Served | None:
        hint = self._scope_of(request)
        if hint is not None and "query" in hint.model.protocols:
            return hint
        candidates = [served for served in self._services.values() if "query" in served.model.protocols]
        fitting = [served for served in candidates if action in served.model.operations]
        for served in fitting:
            if served.model.api_version == version:
                return served
        if fitting and not version:
            return fitting[0]
        return next((served for served in candidates if version and served.model.api_version == version), None)

    def _find_route(self, request: Request) -> _Asked:
        hint = self._scope_of(request)
        if self._s3 is not None and (hint is self._s3 or (hint is None and looks_like_s3(request))):
            return self._find_s3(self._s3, request)
        served_first = [hint] if hint is not None else list(self._services.values())
        try:
            query = dict(pairs_of(request.query))
            for served in served_first:
                codec = self._rest_codec(served)
                if codec is None or served is self._s3:
                    continue
                found = served.routes.find(request.method, request.path, query, request.headers)
                if found is not None:
                    return _Asked(codec, served, found[0], served.id, labels=found[1])
        except WrongType as error:
            raise ApiError("SerializationException", str(error)) from error
        credential = sigv4.credential_of(request.headers, request.query)
        if hint is not None:
            codec = self._rest_codec(hint) or self._codec_named(hint.model.protocols[0]) or self._json
            return _Asked(codec, hint, "", hint.id)
        if self._s3 is not None and credential is None and request.path != "/":
            return self._find_s3(self._s3, request)  # an unsigned request in path style: nobody else knows the path
        name = credential.service if credential is not None else ""
        return _Asked(self._rest_xml if name == "s3" else self._rest_json, None, "", name)

    def _find_s3(self, served: _Served, request: Request) -> _Asked:
        """Return what a request to S3 asks for; what is wrong with its address is told in S3's protocol."""
        asked = _Asked(self._rest_xml, served, "", served.id)
        host = request.headers.get("host", "")
        named = read_host(host)
        try:
            bucket, key = read_path(request.path, named.bucket if named.is_s3 else bucket_below_localhost(host))
            asked.pairs = pairs_of(request.query)
        except WrongType:
            asked.error = ApiError("InvalidURI", "Couldn't parse the specified URI.", status=400)
            return asked
        asked.labels = {"Bucket": bucket, "Key": key}
        if self._s3_routes is None:
            self._s3_routes = S3Routes(served.model)
        query = dict(asked.pairs)
        try:
            check_presigned(query, now=time.time())
        except ApiError as error:
            asked.error = error
        found = self._s3_routes.find(request, bucket, key, query)
        if request.method == "OPTIONS":
            found = "OptionsObject"
        elif found is None and request.method == "POST" and bucket and is_form(request):
            found = "PostObject"
        if found is None:
            asked.error = asked.error or not_allowed(request.method, bucket, key)
        else:
            asked.operation = found
        return asked

    def _rest_codec(self, served: _Served) -> Codec | None:
        if "rest-json" in served.model.protocols:
            return self._rest_json
        return self._rest_xml if "rest-xml" in served.model.protocols else None

    def _codec_named(self, name: str) -> Codec | None:
        codecs: list[Codec] = [
            self._json,
            self._query,
            self._cbor,
            self._aws_cbor,
            self._rest_json,
            self._rest_xml,
        ]
        return next((codec for codec in codecs if codec.name == name), None)

    def _resolve(self, asked: _Asked) -> _Operation:
        """Return the compiled operation.

        Raises: ApiError: AWS has no such operation, or eventrt does not serve it.
        """
        served, name = asked.served, asked.operation
        if asked.error is not None:
            raise asked.error
        if served is None:
            if not asked.service_name and not name:
                raise ApiError(
                    "UnknownOperationException", "No AWS operation was recognised in this request", status=404
                )
            raise self._unserved(f"{asked.service_name or 'unknown'}.{name}" if name else asked.service_name)
        if name in served.raw_handlers:
            return self._operation(served, name, asked.codec)
        if name not in served.handlers:
            if name in served.model.operations:
                raise self._unserved(f"{served.id}.{name}")
            if asked.codec is self._query:
                if not name:
                    raise ApiError("MissingAction", "The request must contain the parameter Action.")
                raise ApiError("InvalidAction", f"The action {name[:100]} is not valid for this endpoint.")
            status = 404 if asked.codec in (self._rest_json, self._rest_xml) else 400
            raise ApiError("UnknownOperationException", f"Unknown operation {name[:100]}".rstrip(), status=status)
        return self._operation(served, name, asked.codec)

    def _operation(self, served: _Served, name: str, codec: Codec) -> _Operation:
        known = served.operations.get((codec.name, name))
        if known is None:
            known = _Operation(served, name, codec, served.handlers.get(name) or served.raw_handlers[name])
            served.operations[codec.name, name] = known
            if codec is self._json:
                self._targets[f"{served.model.target_prefix}.{name}"] = known
        return known

    def _unserved(self, what: str) -> ApiError:
        if what not in self._not_served and len(self._not_served) < 4096:
            self._not_served.add(what)
            log.warning("operation.not_served", operation=what)
        return ApiError("NotImplemented", f"eventrt does not serve {what} yet.", status=501)

    # -- failing --------------------------------------------------------------------------------------------

    def _failed(self, error: Exception, request: Request, request_id: str, asked: _Asked | None) -> Response:
        """Return the answer to a request that failed, in its protocol; log what is not the caller's doing."""
        served = asked.served if asked is not None else None
        codec: Codec = asked.codec if asked is not None else self._guess_codec(request)
        policy = served.policy if served is not None else DEFAULT_POLICY
        refused = self._as_api_error(error, request_id, asked, policy, codec)
        try:
            fault: Fault = served.errors.fault(refused) if served is not None else plain_fault(refused)
            return codec.fault(fault, served.model if served is not None else None, policy, request_id)
        except Exception:
            log.exception("request.failed", request_id=request_id)
            return Response(500, {"x-amzn-RequestId": request_id, "Content-Type": "application/json"}, b"{}")

    def _as_api_error(
        self, error: Exception, request_id: str, asked: _Asked | None, policy: Policy, codec: Codec
    ) -> ApiError:
        if isinstance(error, ApiError):
            return error
        if isinstance(error, sigv4.Unauthentic):
            return auth_error(error, asked.served.id if asked and asked.served else "", codec.name)
        if isinstance(error, BodyTooLarge):
            where = f" for the {asked.operation} operation" if asked is not None and asked.operation else ""
            text = f"Request must be smaller than {error.limit_bytes} bytes{where}"
            return ApiError(policy.too_large_code, text, status=413)
        if isinstance(error, BodyBroken):
            if error.status == 503:
                return ApiError(policy.unavailable_code, str(error), status=503)
            if error.status == 408:
                status, message = policy.stalled or (408, str(error))
                return ApiError("RequestTimeout", message, status=status)
            return ApiError("IncompleteBody", policy.cut_off or str(error), status=error.status)
        if isinstance(error, CommitLost):
            return ApiError(policy.internal_code, "Nothing was kept; ask again.", status=500)
        if isinstance(error, StoreFull):
            log.error("store.full", request_id=request_id)
            return ApiError(policy.internal_code, "The disk has no room for this; nothing was kept.", status=500)
        if isinstance(error, StoreClosed):
            return ApiError(policy.unavailable_code, "eventrt is stopping.", status=503)
        log.error(
            "request.failed",
            request_id=request_id,
            service=asked.served.id if asked and asked.served else None,
            operation=asked.operation if asked else None,
            exc_info=error,
        )
        return ApiError(policy.internal_code, "An internal error occurred; the log has the details.", status=500)

    def _guess_codec(self, request: Request) -> Codec:
        if request.headers.get("smithy-protocol") == "rpc-v2-cbor":
            return self._cbor
        if "x-amz-target" in request.headers:
            return self._aws_cbor if _speaks_aws_cbor(request) else self._json
        if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            return self._query
        return self._query if "Action=" in request.query else self._rest_json

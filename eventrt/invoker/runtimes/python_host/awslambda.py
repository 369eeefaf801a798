"""What a handler sees of AWS's Python runtime: context, logging, error documents, encoding of results.

Shapes and texts follow the AWS Lambda runtime interface client for Python.
"""

import decimal
import importlib
import json
import logging
import math
import os
import sys
import time
import traceback

RESPONSE_LIMIT_BYTES = 6291556
NBSP = "\u00a0"


class Fault(Exception):
    """An error of the platform's own kind: a handler that cannot be found, a result that cannot be encoded."""

    def __init__(self, kind, message, trace=None):
        Exception.__init__(self, message)
        self.kind = kind
        self.message = message
        self.trace = trace or []


class CognitoIdentity:
    """Who called through Cognito: nobody."""

    __slots__ = ["cognito_identity_id", "cognito_identity_pool_id"]

    def __init__(self):
        self.cognito_identity_id = None
        self.cognito_identity_pool_id = None

    def __repr__(self):
        return "CognitoIdentity([cognito_identity_id=None,cognito_identity_pool_id=None])"


class Client:
    """The `client` part of a client context."""

    __slots__ = ["installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name"]

    def __repr__(self):
        return "Client([%s])" % ",".join("%s=%s" % (name, getattr(self, name, None)) for name in self.__slots__)


class ClientContext:
    """What a mobile SDK says of itself."""

    __slots__ = ["custom", "env", "client"]

    def __repr__(self):
        return "ClientContext([custom=%s,env=%s,client=%s])" % (self.custom, self.env, self.client)


class LambdaContext:
    """The second argument of a handler."""

    def __init__(self, request_id, arn, deadline_ms, client_context, function):
        self.aws_request_id = request_id
        self.log_group_name = function["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = function["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.function_name = function["AWS_LAMBDA_FUNCTION_NAME"]
        self.memory_limit_in_mb = function["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.function_version = function["AWS_LAMBDA_FUNCTION_VERSION"]
        self.invoked_function_arn = arn
        self.tenant_id = None
        self.client_context = _client_context(client_context) if client_context else None
        self.identity = CognitoIdentity()
        self._epoch_deadline_time_in_ms = deadline_ms

    def get_remaining_time_in_millis(self):
        """Return how long this invocation may still run."""
        return max(int(self._epoch_deadline_time_in_ms - time.time() * 1000), 0)

    def log(self, msg):
        """Write to the function's log, without a newline of its own."""
        sys.stdout.write(str(msg))
        sys.stdout.flush()

    def __repr__(self):
        return (
            "LambdaContext([aws_request_id=%s,log_group_name=%s,log_stream_name=%s,function_name=%s,"
            "memory_limit_in_mb=%s,function_version=%s,invoked_function_arn=%s,client_context=%s,identity=%s,"
            "tenant_id=%s])"
            % (
                self.aws_request_id,
                self.log_group_name,
                self.log_stream_name,
                self.function_name,
                self.memory_limit_in_mb,
                self.function_version,
                self.invoked_function_arn,
                self.client_context,
                self.identity,
                self.tenant_id,
            )
        )


def _client_context(text):
    try:
        given = json.loads(text)
        context = ClientContext()
        for name in ("custom", "env"):
            setattr(context, name, given.get(name))
        client = given.get("client")
        context.client = None
        if client is not None:
            context.client = Client()
            for name in Client.__slots__:
                setattr(context.client, name, client.get(name))
        return context
    except Exception as error:
        raise Fault(
            "Runtime.LambdaContextUnmarshalError", "Unable to parse Client Context JSON: %s" % (error,)
        ) from None


class Encoder:
    """Results to JSON as AWS does: Decimal is a number, from Python 3.12 on non-ASCII stays as it is."""

    def __init__(self, ensure_ascii):
        self._decimals = {}
        self._encode = json.JSONEncoder(ensure_ascii=ensure_ascii, default=self._default).encode
        self._encode_escaped = json.JSONEncoder(ensure_ascii=True, default=self._default).encode

    def __call__(self, value):
        """Return the JSON text's bytes.

        Raises: whatever the encoder says of what it cannot encode.
        """
        try:
            return self._with_decimals(self._encode(value)).encode()
        except UnicodeEncodeError:
            # Half a surrogate pair: only its escape can be written.
            return self._with_decimals(self._encode_escaped(value)).encode()

    def _with_decimals(self, text):
        if self._decimals:
            for mark, number in self._decimals.items():
                text = text.replace('"%s"' % mark, number)
            self._decimals = {}
        return text

    def _default(self, value):
        if isinstance(value, decimal.Decimal):
            if value.is_nan():
                return math.nan
            if value.is_infinite() or value == value.to_integral_value():
                return float(value) if value.is_infinite() else int(value)
            number = float(value)
            if decimal.Decimal(repr(number)) == value:
                return number
            # More digits than a float holds: put in by text, under a mark that no string of the result can be.
            mark = "decimal-%d-%s" % (len(self._decimals), os.urandom(16).hex())
            self._decimals[mark] = str(value)
            return mark
        if isinstance(value, (bytes, bytearray)):
            return bytes(value).decode("utf-8")
        raise TypeError("Object of type %s is not JSON serializable" % type(value).__name__)


def error_document(message, kind, trace, request_id):
    """Return an error as AWS's runtime reports it."""
    return {
        "errorMessage": message or "",
        "errorType": kind or "",
        "requestId": request_id or "",
        "stackTrace": trace or [],
    }


class Frames:
    """Stack traces as AWS prints them: ours left out, file names where AWS has them.

    Args: host: the folder of these files. renames: [(real prefix, prefix on AWS)].
    """

    def __init__(self, host, renames):
        self._host = host
        self._renames = [(old.rstrip("/") + "/", new.rstrip("/") + "/") for old, new in renames if old]

    def name(self, path):
        """Return a file name as it would be on AWS."""
        for old, new in self._renames:
            if path.startswith(old):
                return new + path[len(old) :]
        return path

    def format(self, trace):
        """Return the formatted frames of a traceback, beginning with the first that is not ours."""
        frames = [
            (frame.filename, frame.lineno, frame.name, frame.line) for frame in traceback.extract_tb(trace)
        ]
        while frames and frames[0][0].startswith(self._host):
            frames.pop(0)
        return traceback.format_list([(self.name(f), line, function, text) for f, line, function, text in frames])


def describe(error, trace, request_id, frames):
    """Return the error document of an exception that user code raised."""
    try:
        message = str(error)
    except Exception:
        message = "<unprintable %s object>" % type(error).__name__
    return error_document(message, type(error).__name__, frames.format(trace), request_id)


def log_error(document, as_json):
    """Write an error to the function's log in the runtime's format."""
    if as_json:
        record = {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "log_level": "ERROR",
        }
        record.update((key, value) for key, value in document.items() if value)
        sys.stdout.write(json.dumps(record) + "\n")
        return
    head = "[ERROR]"
    if document["errorType"]:
        head += " " + document["errorType"]
    if document["errorMessage"]:
        head += (": " if document["errorType"] else " ") + document["errorMessage"]
    lines = [head, "Traceback (most recent call last):"]
    for element in document["stackTrace"]:
        for line in element.splitlines() or [""]:
            bare = line.lstrip(" ")
            lines.append(NBSP * (len(line) - len(bare)) + bare)
    sys.stdout.write("\n".join(lines) + "\n")


def find_handler(name, frames):
    """Import the module of `module.function` and return the function.

    Raises: Fault: as AWS names it. Whatever the module raises while it is imported.
    """
    module_name, dot, function_name = name.rpartition(".")
    if not dot:
        raise Fault(
            "Runtime.MalformedHandlerName",
            "Bad handler '%s': not enough values to unpack (expected 2, got 1)" % name,
        )
    if module_name.split(".")[0] in sys.builtin_module_names:
        raise Fault(
            "Runtime.BuiltInModuleConflict", "Cannot use built-in module %s as a handler module" % module_name
        )
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        raise Fault(
            "Runtime.ImportModuleError", "Unable to import module '%s': %s" % (module_name, error)
        ) from None
    except SyntaxError as error:
        shown = frames.name(error.filename or "")
        trace = ['  File "%s" Line %s\n    %s' % (shown, error.lineno, error.text)]
        raise Fault(
            "Runtime.UserCodeSyntaxError", "Syntax error in module '%s': %s" % (module_name, error), trace
        ) from None
    try:
        return getattr(module, function_name)
    except AttributeError:
        raise Fault(
            "Runtime.HandlerNotFound", "Handler '%s' missing on module '%s'" % (function_name, module_name)
        ) from None


class _Request(logging.Filter):
    """Puts the running invocation's id on every log record."""

    def __init__(self):
        logging.Filter.__init__(self)
        self.request_id = ""

    def filter(self, record):
        record.aws_request_id = self.request_id
        record.tenant_id = None
        return True


class _Handler(logging.Handler):
    """Writes records to whatever sys.stdout is now."""

    def emit(self, record):
        sys.stdout.write(self.format(record))


_JSON_LEVELS = {"TRACE": 5, "DEBUG": 10, "INFO": 20, "WARN": 30, "ERROR": 40, "FATAL": 50}
_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"aws_request_id", "tenant_id", "message", "asctime"}


class _JsonFormatter(logging.Formatter):
    def format(self, record):
        """Return one JSON line of the record, without what is null."""
        line = {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname,
            "message": record.getMessage(),
            "logger": record.name,
            "requestId": record.aws_request_id,
        }
        if record.exc_info:
            line["stackTrace"] = traceback.format_tb(record.exc_info[2])
            line["errorType"] = record.exc_info[0].__name__
            line["errorMessage"] = str(record.exc_info[1])
            last = traceback.extract_tb(record.exc_info[2])[-1:]
            if last:
                line["location"] = "%s:%s:%s" % (last[0].filename, last[0].name, last[0].lineno)
        line.update((key, value) for key, value in vars(record).items() if key not in _OWN_FIELDS)
        return json.dumps({key: value for key, value in line.items() if value is not None}, default=str) + "\n"


def set_up_logging(environment):
    """Give the root logger AWS's handler; return the filter that holds the running request's id."""
    request = _Request()
    handler = _Handler()
    logging.Formatter.converter = time.gmtime
    if environment.get("AWS_LAMBDA_LOG_FORMAT") == "JSON":
        handler.setFormatter(_JsonFormatter())
        level = _JSON_LEVELS.get(environment.get("AWS_LAMBDA_LOG_LEVEL", ""))
        if level is not None:
            logging.getLogger().setLevel(level)
    else:
        handler.setFormatter(
            logging.Formatter(
                "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n", "%Y-%m-%dT%H:%M:%S"
            )
        )
    handler.addFilter(request)
    logging.getLogger().addHandler(handler)
    return request

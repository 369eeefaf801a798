"""What AWS's services do on the wire and botocore's models no longer say, or never said.

Mostly the old Query protocol of SQS, which current models describe as JSON only; and per service the small
differences in how a wrong request is answered. A new service works without a line here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

NOTHING: Mapping[str, Any] = MappingProxyType({})
"""An empty mapping that nobody can fill."""

MORE_PROTOCOLS: dict[str, tuple[str, ...]] = {"sqs": ("query",), "kinesis": ("aws-cbor",)}
"""Protocols a service still speaks though its model does not list them."""


def _list(name: str) -> dict[str, Any]:
    return {"flattened": True, "queryName": name}


def _map(name: str, key: str, value: str) -> dict[str, Any]:
    return {"flattened": True, "queryName": name, "queryKey": key, "queryValue": value}


def _error(code: str, status: int = 400) -> dict[str, Any]:
    return {"exception": True, "error": {"code": code, "httpStatusCode": status, "senderFault": True}}


_SQS = "AWS.SimpleQueueService."

SHAPES: dict[str, dict[str, dict[str, Any]]] = {
    "lambda": {
        # AWS's own pattern, and beside it the ARNs of what poller plugins read (docs/plugins.md).
        "Arn": {
            "pattern": (
                r"arn:(aws[a-zA-Z0-9-]*|eventrt):([a-zA-Z0-9\-])+:"
                r"((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1})?:(\d{12})?:(.*)"
            )
        },
    },
    "sqs": {
        # `queryName` is the element's (or parameter's) name wherever the shape appears.
        "ActionNameList": _list("ActionName"),
        "AWSAccountIdList": _list("AWSAccountId"),
        "AttributeNameList": _list("AttributeName"),
        "MessageAttributeNameList": _list("MessageAttributeName"),
        "MessageSystemAttributeList": _list("MessageSystemAttributeName"),
        "MessageList": _list("Message"),
        "QueueUrlList": _list("QueueUrl"),
        "TagKeyList": _list("TagKey"),
        "StringList": _list("StringListValue"),
        "BinaryList": _list("BinaryListValue"),
        "BatchResultErrorEntryList": _list("BatchResultErrorEntry"),
        "SendMessageBatchRequestEntryList": _list("SendMessageBatchRequestEntry"),
        "SendMessageBatchResultEntryList": _list("SendMessageBatchResultEntry"),
        "DeleteMessageBatchRequestEntryList": _list("DeleteMessageBatchRequestEntry"),
        "DeleteMessageBatchResultEntryList": _list("DeleteMessageBatchResultEntry"),
        "ChangeMessageVisibilityBatchRequestEntryList": _list("ChangeMessageVisibilityBatchRequestEntry"),
        "ChangeMessageVisibilityBatchResultEntryList": _list("ChangeMessageVisibilityBatchResultEntry"),
        "ListMessageMoveTasksResultEntryList": _list("ListMessageMoveTasksResultEntry"),
        "QueueAttributeMap": _map("Attribute", "Name", "Value"),
        "MessageSystemAttributeMap": _map("Attribute", "Name", "Value"),
        "MessageBodyAttributeMap": _map("MessageAttribute", "Name", "Value"),
        "MessageBodySystemAttributeMap": _map("MessageSystemAttribute", "Name", "Value"),
        "TagMap": _map("Tag", "Key", "Value"),
        "QueueDoesNotExist": _error(_SQS + "NonExistentQueue"),
        "QueueNameExists": _error("QueueAlreadyExists"),
        "QueueDeletedRecently": _error(_SQS + "QueueDeletedRecently"),
        "MessageNotInflight": _error(_SQS + "MessageNotInflight"),
        "EmptyBatchRequest": _error(_SQS + "EmptyBatchRequest"),
        "TooManyEntriesInBatchRequest": _error(_SQS + "TooManyEntriesInBatchRequest"),
        "BatchEntryIdsNotDistinct": _error(_SQS + "BatchEntryIdsNotDistinct"),
        "InvalidBatchEntryId": _error(_SQS + "InvalidBatchEntryId"),
        "BatchRequestTooLong": _error(_SQS + "BatchRequestTooLong"),
        "PurgeQueueInProgress": _error(_SQS + "PurgeQueueInProgress", 403),
        "UnsupportedOperation": _error(_SQS + "UnsupportedOperation"),
        "ResourceNotFoundException": _error("ResourceNotFoundException", 404),
    },
}
"""Additions to shapes: names of the Query protocol, and the `error` trait of error shapes."""

ERRORS: dict[str, dict[str, dict[str, Any]]] = {
    "sqs": {
        "InvalidParameterValueException": _error("InvalidParameterValue"),
        "MissingRequiredParameterException": _error("MissingParameter"),
        # Every service's refusals of a signature, with the codes that code for the old protocol looks for.
        "InvalidSignatureException": _error("SignatureDoesNotMatch", 403),
        "UnrecognizedClientException": _error("InvalidClientTokenId", 403),
        "MissingAuthenticationTokenException": _error("MissingAuthenticationToken", 403),
        "IncompleteSignatureException": _error("IncompleteSignature", 403),
    },
}
"""Error shapes a service answers with that its model does not have."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How one service answers wrong requests, and how much it reads.

    Attributes:
        checks: does the model's min, max, pattern, enum and required apply? SQS words such refusals itself.
        unchecked: input shapes whose constraints the service's own handler words.
        validation_code: the error code of a request that breaks the model's constraints.
        serialization_code: the error code of a request that is not of the model's types.
        query_type_code: the same in the Query protocol.
        type_prefix: what stands before the shape's name in a JSON body's `__type`.
        common_prefix: the same, for errors every AWS service shares and no model names.
        refusal_code: the error code for a member that eventrt refuses.
        internal_code / unavailable_code: what the service calls a failure that is not the caller's.
        too_large_code: what it calls a body that is too long.
        stalled: what it answers to a body that stands still: status and sentence; None for 408 and what is known.
        cut_off: what it says of a body that ends too early; "" for what is known.
        omits_empty: does the service leave out empty lists and maps from its answers?
        body_limit_bytes: the longest body that is read; whatever is longer gets 413.
        signing_names: names in a credential scope that mean this service, beside the model's.
        read_at_once: operations whose JSON requests are large, and go through `typed`.
        written_at_once: operations whose JSON answers are large, and go to the encoder as they are: their handlers
            give members by their names on the wire, moments in whole milliseconds, no None, and nothing empty where
            the service leaves that out.
        raw: shapes whose values pass as the JSON they are, both ways: the service reads, checks and writes them.
        prefixes: what stands before the shape's name in `__type` for these errors.
        has_crc32: does every answer carry the CRC-32 of its body in `x-amz-crc32`?
        body_code: the error code of a body that cannot be read, where it differs from `serialization_code`.
        id_header: the header that carries the request's id.
        more_headers: headers of every answer.
    """

    checks: bool = True
    unchecked: frozenset[str] = frozenset()
    validation_code: str = "ValidationException"
    serialization_code: str = "SerializationException"
    query_type_code: str = "MalformedInput"
    type_prefix: str = ""
    common_prefix: str = ""
    refusal_code: str = "ValidationException"
    internal_code: str = "InternalFailure"
    unavailable_code: str = "ServiceUnavailable"
    too_large_code: str = "RequestEntityTooLargeException"
    stalled: tuple[int, str] | None = None
    cut_off: str = ""
    omits_empty: bool = False
    body_limit_bytes: int = 16 * 1024 * 1024
    signing_names: tuple[str, ...] = field(default=())
    read_at_once: frozenset[str] = frozenset()
    written_at_once: frozenset[str] = frozenset()
    raw: frozenset[str] = frozenset()
    prefixes: Mapping[str, str] = field(default_factory=dict)
    has_crc32: bool = False
    body_code: str = ""
    id_header: str = "x-amzn-RequestId"
    more_headers: Mapping[str, str] = field(default_factory=dict)


WRONG_INTEGERS: dict[str, dict[str, str]] = {
    "s3": {"partNumber": "Part number must be an integer between 1 and 10000, inclusive"}
}
"""Services that name the parameter of the query string which is no integer, and how where not in the common words."""

NEEDS_BODY: dict[str, frozenset[str]] = {
    "s3": frozenset({"PutBucketLifecycleConfiguration", "PutObjectLegalHold", "PutObjectRetention"})
}
"""Operations whose body must come though the model does not require it."""

ALWAYS_MILLISECONDS = frozenset({"s3"})
"""Services whose XML writes moments with their milliseconds, also when these are none."""

HOST_ID = "eventrtEventrtEventrtEventrtEventrtEventrtEventrtEventrtEventrtEventrt0="
"""What S3 calls the host that answered (`x-amz-id-2`)."""

XML_NAMESPACES: dict[str, str] = {"s3": "http://s3.amazonaws.com/doc/2006-03-01/"}
"""Namespaces of rest-xml answers that the model leaves out."""

ROOTS: dict[str, dict[str, str]] = {
    "s3": {
        "CompleteMultipartUploadOutput": "CompleteMultipartUploadResult",
        "CreateMultipartUploadOutput": "InitiateMultipartUploadResult",
        "DeleteObjectsOutput": "DeleteResult",
        "GetBucketAccelerateConfigurationOutput": "AccelerateConfiguration",
        "GetBucketAclOutput": "AccessControlPolicy",
        "GetBucketCorsOutput": "CORSConfiguration",
        "GetBucketLifecycleConfigurationOutput": "LifecycleConfiguration",
        "GetBucketLoggingOutput": "BucketLoggingStatus",
        "GetBucketRequestPaymentOutput": "RequestPaymentConfiguration",
        "GetBucketTaggingOutput": "Tagging",
        "GetBucketVersioningOutput": "VersioningConfiguration",
        "GetBucketWebsiteOutput": "WebsiteConfiguration",
        "GetObjectAclOutput": "AccessControlPolicy",
        "GetObjectAttributesOutput": "GetObjectAttributesResponse",
        "GetObjectTaggingOutput": "Tagging",
        "ListBucketsOutput": "ListAllMyBucketsResult",
        "ListMultipartUploadsOutput": "ListMultipartUploadsResult",
        "ListObjectVersionsOutput": "ListVersionsResult",
        "ListObjectsOutput": "ListBucketResult",
        "ListObjectsV2Output": "ListBucketResult",
        "ListPartsOutput": "ListPartsResult",
    },
}
"""Root elements of rest-xml answers that are not called like their shape."""

_QUERY = Policy(
    validation_code="ValidationError",
    refusal_code="ValidationError",
    too_large_code="RequestEntityTooLarge",
    body_limit_bytes=2 * 1024 * 1024,
)

POLICIES: dict[str, Policy] = {
    "sqs": Policy(
        checks=False,
        query_type_code="InvalidParameterValue",
        type_prefix="com.amazonaws.sqs#",
        common_prefix="com.amazon.coral.service#",
        refusal_code="InvalidParameterValue",
        omits_empty=True,
        read_at_once=frozenset({"DeleteMessageBatch"}),
        # ListDeadLetterSourceQueues besides: the one list that is shown without elements, as the model requires it.
        written_at_once=frozenset(
            {"SendMessage", "SendMessageBatch", "ReceiveMessage", "DeleteMessageBatch", "ListDeadLetterSourceQueues"}
        ),
        # A batch carries 1 MiB of text. JSON writes a control character in six bytes (\u0001), a form in three
        # (%00) or nine for one of three bytes in UTF-8; binary values grow by a third. Room for the worst case.
        body_limit_bytes=8 * 1024 * 1024,
    ),
    "lambda": Policy(
        unchecked=frozenset({"Runtime"}),
        refusal_code="InvalidParameterValueException",
        internal_code="ServiceException",
        unavailable_code="ServiceException",
        body_limit_bytes=70_167_211,
    ),
    "s3": Policy(
        checks=False,
        validation_code="InvalidArgument",
        serialization_code="InvalidArgument",
        body_code="MalformedXML",
        refusal_code="NotImplemented",
        internal_code="InternalError",
        unavailable_code="ServiceUnavailable",
        too_large_code="MaxMessageLengthExceeded",
        stalled=(
            400,
            (
                "Your socket connection to the server was not read from or written to within the timeout period. Idle "
                "connections will be closed."
            ),
        ),
        cut_off="You did not provide the number of bytes specified by the Content-Length HTTP header",
        # DeleteObjects names a thousand keys of a kilobyte, CompleteMultipartUpload ten thousand parts.
        body_limit_bytes=8 * 1024 * 1024,
        id_header="x-amz-request-id",
        more_headers={"x-amz-id-2": HOST_ID},
    ),
    "iam": _QUERY,
    "sts": _QUERY,
    "kinesis": Policy(
        refusal_code="InvalidArgumentException",
        read_at_once=frozenset({"PutRecord", "PutRecords"}),
        written_at_once=frozenset({"PutRecords", "GetRecords"}),
    ),
    "dynamodb": Policy(
        type_prefix="com.amazonaws.dynamodb.v20120810#",
        common_prefix="com.amazon.coral.service#",
        prefixes={"ValidationException": "com.amazon.coral.validate#"},
        internal_code="InternalServerError",
        # Items are nearly all of what goes to and fro: the service reads and writes them itself, once.
        raw=frozenset(
            {
                "AttributeMap",
                "AttributeValue",
                "ExpressionAttributeValueMap",
                "ItemCollectionKeyAttributeMap",
                "ItemList",
                "Key",
                "PutItemInputAttributeMap",
            }
        ),
        has_crc32=True,
    ),
    "dynamodbstreams": Policy(
        type_prefix="com.amazonaws.dynamodb.v20120810#",
        common_prefix="com.amazon.coral.service#",
        prefixes={"ValidationException": "com.amazon.coral.validate#"},
        internal_code="InternalServerError",
        raw=frozenset({"RecordList"}),
        has_crc32=True,
    ),
}

DEFAULT_POLICY = Policy()


def policy_of(service_id: str) -> Policy:
    """Return how a service answers wrong requests."""
    return POLICIES.get(service_id, DEFAULT_POLICY)

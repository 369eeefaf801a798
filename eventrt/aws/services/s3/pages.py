"""Web pages that ask: CORS preflights and headers, and HTML forms that upload a file (POST with a policy)."""

import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit, urlunsplit

import orjson

from eventrt.aws.call import Answer, Call, raw_operation
from eventrt.aws.protocol.bodies import Payload
from eventrt.aws.protocol.parse import WrongType, parse_timestamp
from eventrt.aws.protocol.serialise import escape
from eventrt.aws.protocol.sigv4 import parse_credential, signing_key
from eventrt.aws.protocol.xml_parse import local, parse_document
from eventrt.aws.services.s3.claims import Claims
from eventrt.aws.services.s3.formdata import FormReader
from eventrt.aws.services.s3.objects import Objects, new_draft
from eventrt.aws.services.s3.receiving import receiving
from eventrt.aws.services.s3.room import Request, as_api_error, empty, find_bucket, location_of
from eventrt.core.object_rules import (
    PUT_LIMIT_BYTES,
    S3Refused,
    access_denied,
    check_key,
    invalid_argument,
    malformed_xml,
    matching_cors_rule,
    read_tag_set,
)
from eventrt.core.refused import Refused
from eventrt.http import Request as HttpRequest
from eventrt.http import Response

_MEMBERS = {
    "acl": "ACL",
    "x-amz-storage-class": "StorageClass",
    "x-amz-server-side-encryption": "ServerSideEncryption",
    "x-amz-server-side-encryption-aws-kms-key-id": "SSEKMSKeyId",
    "x-amz-object-lock-mode": "ObjectLockMode",
    "x-amz-object-lock-legal-hold": "ObjectLockLegalHoldStatus",
}
_SIZE = re.compile(r"\d{1,20}", re.ASCII)
_FREE = ("x-amz-signature", "file", "policy", "awsaccesskeyid", "signature", "x-amz-security-token")
"""Fields that a policy need not mention."""


_METHODS = ("GET", "PUT", "HEAD", "POST", "DELETE")


class Pages(Objects):
    """What browsers ask on behalf of a page."""

    # -- CORS

    @raw_operation("OptionsObject")
    async def preflight(self, call: Call, request: Request) -> Answer:
        """Tell a browser whether a page may ask what it wants to ask."""
        headers = call.http.headers
        origin, method = headers.get("origin"), headers.get("access-control-request-method")
        if origin is None:
            raise as_api_error(
                S3Refused("BadRequest", "Insufficient information. Origin request header needed.", status=400)
            )
        if method is None:
            raise as_api_error(S3Refused("BadRequest", "Invalid Access-Control-Request-Method: null", status=400))
        if method not in _METHODS:
            raise as_api_error(S3Refused("BadRequest", f"Invalid Access-Control-Request-Method: {method}", status=400))
        level = "OBJECT" if request["Key"] else "BUCKET"
        bucket = await self._store.read(lambda tx: tx.buckets.find(request["Bucket"]))
        if bucket is None:
            raise as_api_error(_cors_refused("CORSResponse: Bucket not found", method, level))
        rules = bucket.settings.get("cors", {}).get("CORSRules", ())
        if not rules:
            raise as_api_error(_cors_refused("CORSResponse: CORS is not enabled for this bucket.", method, level))
        asked = [one.strip() for one in headers.get("access-control-request-headers", "").split(",") if one.strip()]
        rule = matching_cors_rule(rules, origin, method, asked)
        if rule is None:
            raise as_api_error(
                _cors_refused(
                    "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, "
                    "request method / Access-Control-Request-Method or Access-Control-Request-Headers are not "
                    "whitelisted by the resource's CORS spec.",
                    method,
                    level,
                )
            )
        answer = _cors_headers(rule, origin)
        if asked:
            answer["Access-Control-Allow-Headers"] = ", ".join(one.lower() for one in asked)
        return empty(call, answer)

    async def finish(self, request: HttpRequest, bucket_name: str, response: Response) -> Response:
        """Let a page read an answer, where a rule of the bucket allows it."""
        origin = request.headers.get("origin", "")
        bucket = await self._store.read(lambda tx: tx.buckets.find(bucket_name))
        if bucket is None or request.method == "OPTIONS" or "cors" not in bucket.settings:
            return response
        rule = matching_cors_rule(bucket.settings["cors"]["CORSRules"], origin, request.method)
        if rule is not None:
            response.headers |= _cors_headers(rule, origin)
        return response

    async def lets_page_in(self, request: HttpRequest, bucket_name: str) -> bool:
        """Does a rule of the bucket let a page of this origin ask? The guard refuses the pages of other sites else."""
        headers = request.headers
        if request.method == "OPTIONS":
            return True  # it changes nothing, and S3 refuses it in its own words
        bucket = await self._store.read(lambda tx: tx.buckets.find(bucket_name))
        if bucket is None:
            return False
        method = headers.get("access-control-request-method", request.method)
        rules = bucket.settings.get("cors", {}).get("CORSRules", ())
        return matching_cors_rule(rules, headers.get("origin", ""), method) is not None

    # -- forms

    @raw_operation("PostObject")
    async def post_object(self, call: Call, request: Request) -> Answer:
        """Store the file of an HTML form."""
        try:
            return await self._post(call, request)
        except Refused as refused:
            raise as_api_error(refused) from refused

    async def _post(self, call: Call, request: Request) -> Response:
        payload: Payload = request["Body"]
        form = FormReader(payload, call.http.headers.get("content-type", ""))
        fields = await form.fields()
        key = fields.get("key")
        if not key:
            raise invalid_argument(
                "Bucket POST must contain a field named 'key'.  If it is specified, please check "
                "the order of the fields.",
                "key",
                "",
            )
        if form.file_name is None:
            raise invalid_argument("POST requires exactly one file upload per request.", "file", "0")
        key = key.replace("${filename}", form.file_name)
        check_key(key)
        self._check_signature(fields)
        policy = self._check_policy(fields, request["Bucket"], key)
        asked: dict[str, Any] = {"Bucket": request["Bucket"], "Key": key}
        asked |= {member: fields[name] for name, member in _MEMBERS.items() if name in fields}
        if "x-amz-object-lock-retain-until-date" in fields:
            asked["ObjectLockRetainUntilDate"] = parse_timestamp(fields["x-amz-object-lock-retain-until-date"])
        asked["Metadata"] = {name[11:]: value for name, value in fields.items() if name.startswith("x-amz-meta-")}
        bucket = await self._store.read(lambda tx: find_bucket(tx, call, asked))
        draft = new_draft(asked, fields, bucket)
        if "tagging" in fields:
            draft["tags"] = _read_tagging(fields["tagging"])
        low, high = policy or (0, PUT_LIMIT_BYTES)
        staged_in = self._folders.staged_path(bucket, key) if bucket.folder else None
        source = form.file(max_bytes=min(high, PUT_LIMIT_BYTES), min_bytes=low)
        async with receiving(
            self, source, Claims(), limit_bytes=PUT_LIMIT_BYTES, wants=self.default_checksum, staged_in=staged_in
        ) as received:
            headers = await self.store_object(call, asked, draft, received, event="s3:ObjectCreated:Post")
        return _form_answer(call, fields, bucket.name, key, headers)

    def _check_signature(self, fields: Mapping[str, str]) -> None:
        """Let a form pass whose policy is signed by a key that is known; any form where nobody must sign.

        Raises: S3Refused: AccessDenied, InvalidAccessKeyId, SignatureDoesNotMatch.
        """
        if self._secret_of is None:
            return
        if "policy" not in fields:
            raise access_denied()
        token = fields.get("x-amz-security-token", "")
        if "x-amz-signature" in fields:
            credential = parse_credential(fields.get("x-amz-credential", ""))
            if credential.service != "s3":
                raise S3Refused(
                    "AuthorizationQueryParametersError",
                    f'Error parsing the X-Amz-Credential parameter; incorrect service "{credential.service}". This '
                    f'endpoint belongs to "s3".',
                    status=400,
                )
            secret = self._secret_of(credential.access_key, token)
            if secret is None:
                raise _unknown_key(credential.access_key)
            key = signing_key(secret, credential.date, credential.region, credential.service)
            expected = hmac.new(key, fields["policy"].encode(), hashlib.sha256).hexdigest()
            given = fields["x-amz-signature"]
        elif "signature" in fields and "awsaccesskeyid" in fields:  # signature version 2
            secret = self._secret_of(fields["awsaccesskeyid"], token)
            if secret is None:
                raise _unknown_key(fields["awsaccesskeyid"])
            digest = hmac.new(secret.encode(), fields["policy"].encode(), hashlib.sha1).digest()
            expected, given = base64.b64encode(digest).decode(), fields["signature"]
        else:
            raise access_denied()
        if not hmac.compare_digest(expected.encode(), given.encode()):
            raise S3Refused(
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided. Check your key and "
                "signing method.",
                status=403,
            )

    def _check_policy(self, fields: Mapping[str, str], bucket: str, key: str) -> tuple[int, int] | None:
        """Let a form pass that keeps its policy; return the range of sizes the policy allows.

        Raises: S3Refused: AccessDenied, InvalidPolicyDocument.
        """
        text = fields.get("policy")
        if text is None:
            return None
        try:
            policy = orjson.loads(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError) as error:
            raise _wrong_policy("Invalid JSON.") from error
        if not isinstance(policy, dict):
            raise _wrong_policy("Invalid JSON.")
        if "expiration" not in policy:
            raise _wrong_policy("Policy missing expiration.")
        if not isinstance(policy.get("conditions"), list):
            raise _wrong_policy("Policy missing conditions.")
        conditions = policy["conditions"]
        try:
            expires_at = parse_timestamp(str(policy["expiration"]))
        except WrongType as error:
            raise _wrong_policy(f"Invalid 'expiration' value: '{policy['expiration']}'") from error
        if expires_at < time.time():  # signatures speak of real time
            raise access_denied("Invalid according to Policy: Policy expired.")
        values = {**fields, "bucket": bucket, "key": key}
        sizes: tuple[int, int] | None = None
        mentioned: set[str] = set()
        for condition in conditions:
            kind, name, expected = _read_condition(condition)
            if kind == "content-length-range":
                sizes = (int(name), int(expected))
                continue
            mentioned.add(name)
            actual = values.get(name, "")
            if name == "content-type" and kind == "starts-with":
                is_kept = all(one.strip().startswith(expected) for one in actual.split(","))
            else:
                is_kept = actual.startswith(expected) if kind == "starts-with" else actual == expected
            if not is_kept:
                raise access_denied(f"Invalid according to Policy: Policy Condition failed: {_told(condition)}")
        for name in fields:
            if name not in mentioned and name not in _FREE and not name.startswith("x-ignore-"):
                raise access_denied(f"Invalid according to Policy: Extra input fields: {name}")
        return sizes


def _unknown_key(access_key: str) -> S3Refused:
    return S3Refused(
        "InvalidAccessKeyId",
        "The AWS Access Key Id you provided does not exist in our records.",
        status=403,
        members={"AWSAccessKeyId": access_key},
    )


def _cors_refused(message: str, method: str, level: str) -> S3Refused:
    return S3Refused("AccessForbidden", message, status=403, members={"Method": method, "ResourceType": level})


def _cors_headers(rule: Mapping[str, Any], origin: str) -> dict[str, str]:
    is_open = "*" in rule["AllowedOrigins"]
    headers = {
        "Access-Control-Allow-Origin": "*" if is_open else origin,
        "Access-Control-Allow-Methods": ", ".join(rule["AllowedMethods"]),
        "Vary": "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
    }
    if not is_open:
        headers["Access-Control-Allow-Credentials"] = "true"
    if rule.get("ExposeHeaders"):
        headers["Access-Control-Expose-Headers"] = ", ".join(rule["ExposeHeaders"])
    if rule.get("MaxAgeSeconds") is not None:
        headers["Access-Control-Max-Age"] = str(rule["MaxAgeSeconds"])
    return headers


def _read_condition(condition: Any) -> tuple[str, str, str]:
    """Return (kind, field or lower bound, value or upper bound) of a policy's condition, fields in lower case."""
    if isinstance(condition, dict) and len(condition) == 1:
        [(name, value)] = condition.items()
        return "eq", name.lower(), str(value)
    if isinstance(condition, list) and len(condition) == 3:
        kind, name, value = str(condition[0]).lower(), str(condition[1]), str(condition[2])
        if kind == "content-length-range" and _SIZE.fullmatch(name) and _SIZE.fullmatch(value):
            return kind, name, value
        if kind in ("eq", "starts-with") and name.startswith("$"):
            return kind, name[1:].lower(), value
    raise _wrong_policy("Invalid Conditions.")


def _wrong_policy(why: str) -> S3Refused:
    return S3Refused("InvalidPolicyDocument", f"Invalid Policy: {why}")


def _told(condition: Any) -> str:
    if isinstance(condition, dict):
        [(name, value)] = condition.items()
        condition = ["eq", f"${name}", str(value)]
    return orjson.dumps(condition).decode().replace('","', '", "')


def _read_tagging(text: str) -> dict[str, str]:
    try:
        root = parse_document(text.encode())
    except WrongType as error:
        raise malformed_xml() from error
    tags = [
        {local(part.tag): part.text or "" for part in tag}
        for tags in root
        if local(tags.tag) == "TagSet"
        for tag in tags
    ]
    return read_tag_set(tags)


def _read_redirect(text: str) -> SplitResult | None:
    """Return where a form wants its browser to go; what is no address is as if it were not there, as on AWS."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    return parts if parts.scheme in ("http", "https") and parts.netloc else None


def _form_answer(call: Call, fields: Mapping[str, str], bucket: str, key: str, headers: Mapping[str, str]) -> Response:
    location = location_of(call, bucket, key)
    redirect = fields.get("success_action_redirect") or fields.get("redirect") or ""
    answer = empty(call, {**headers, "Location": location}, status=204)
    parts = _read_redirect(redirect)
    if parts is not None:
        told = urlencode({"bucket": bucket, "key": key, "etag": headers["ETag"]})
        query = f"{parts.query}&{told}" if parts.query else told
        answer.status = 303
        answer.headers["Location"] = urlunsplit(parts._replace(query=query))
    elif fields.get("success_action_status") == "200":
        answer.status = 200
    elif fields.get("success_action_status") == "201":
        answer.status = 201
        answer.headers["Content-Type"] = "application/xml"
        answer.body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<PostResponse>'
            f"<Location>{escape(location)}</Location><Bucket>{escape(bucket)}</Bucket><Key>{escape(key)}</Key>"
            f"<ETag>{escape(headers['ETag'])}</ETag></PostResponse>"
        ).encode()
    return answer

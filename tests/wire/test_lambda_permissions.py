"""Resource policies, reserved concurrency and tags of functions, over the wire."""

import json
from typing import Any

import pytest
from botocore.client import BaseClient

from tests.running import RunningDaemon
from tests.wire.lambda_speaking import create, error_of, members_of, new_name

INVALID = "InvalidParameterValueException"
MISSING = "ResourceNotFoundException"


@pytest.fixture
def lambda_(daemon: RunningDaemon) -> BaseClient:
    return daemon.client("lambda")


def arn_of(name: str) -> str:
    return f"arn:aws:lambda:us-east-1:000000000000:function:{name}"


def permission(name: str, **members: Any) -> dict[str, Any]:
    return {
        "FunctionName": name,
        "StatementId": "s3",
        "Action": "lambda:InvokeFunction",
        "Principal": "s3.amazonaws.com",
        **members,
    }


# -- permissions


def test_a_permission_is_answered_as_a_statement_and_shown_in_the_policy(lambda_: Any) -> None:
    name = create(lambda_)
    revision = lambda_.get_function_configuration(FunctionName=name)["RevisionId"]
    request = permission(name, SourceArn="arn:aws:s3:::bucket", SourceAccount="000000000000")
    answer = lambda_.add_permission(**request)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert set(members_of(answer)) == {"Statement"}
    statement = {
        "Sid": "s3",
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "lambda:InvokeFunction",
        "Resource": arn_of(name),
        "Condition": {
            "StringEquals": {"AWS:SourceAccount": "000000000000"},
            "ArnLike": {"AWS:SourceArn": "arn:aws:s3:::bucket"},
        },
    }
    assert json.loads(answer["Statement"]) == statement
    policy = members_of(lambda_.get_policy(FunctionName=name))
    assert set(policy) == {"Policy", "RevisionId"}
    assert json.loads(policy["Policy"]) == {"Version": "2012-10-17", "Id": "default", "Statement": [statement]}
    assert policy["RevisionId"] != revision


def test_a_removed_permission_is_gone_and_so_is_the_last_policy(lambda_: Any) -> None:
    name = create(lambda_)
    lambda_.add_permission(**permission(name))
    lambda_.add_permission(**permission(name, StatementId="all", Principal="*"))
    answer = lambda_.remove_permission(FunctionName=name, StatementId="s3")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    left = json.loads(lambda_.get_policy(FunctionName=name)["Policy"])["Statement"]
    assert [(statement["Sid"], statement["Principal"]) for statement in left] == [("all", "*")]
    lambda_.remove_permission(FunctionName=name, StatementId="all")
    assert error_of(lambda_.get_policy, FunctionName=name) == (
        404,
        MISSING,
        "The resource you requested does not exist.",
    )


def test_wrong_permissions_are_refused_in_awss_words(lambda_: Any) -> None:
    name = create(lambda_)
    add, remove = lambda_.add_permission, lambda_.remove_permission
    assert error_of(add, **permission(name, Principal="nobody")) == (
        400,
        INVALID,
        "The provided principal was invalid. Please check the principal and try again.",
    )
    assert error_of(add, **permission(name, Qualifier="$LATEST")) == (
        400,
        INVALID,
        "We currently do not support adding policies for $LATEST.",
    )
    assert error_of(remove, FunctionName=name, StatementId="s3") == (
        404,
        MISSING,
        "No policy is associated with the given resource.",
    )
    lambda_.add_permission(**permission(name))
    assert error_of(add, **permission(name)) == (
        409,
        "ResourceConflictException",
        (
            "The statement id (s3) provided already exists. Please provide a new statement id, or remove the existing "
            "statement."
        ),
    )
    assert error_of(remove, FunctionName=name, StatementId="x") == (
        404,
        MISSING,
        "Statement x is not found in resource policy.",
    )
    assert error_of(add, **permission(name, StatementId="a b"))[1] == "ValidationException"
    assert error_of(add, **permission(name, Action="sqs:Send"))[1] == "ValidationException"
    nobody = new_name()
    assert error_of(add, **permission(nobody)) == (404, MISSING, f"Function not found: {arn_of(nobody)}")
    assert error_of(remove, FunctionName=nobody, StatementId="x") == (
        404,
        MISSING,
        f"No policy found for: {arn_of(nobody)}",
    )
    live = (404, MISSING, f"Function not found: {arn_of(name)}:live")
    assert error_of(add, **permission(name, Qualifier="live")) == live


def test_policies_are_guarded_by_the_revision(lambda_: Any) -> None:
    name = create(lambda_)
    stale = lambda_.get_function_configuration(FunctionName=name)["RevisionId"]
    lambda_.add_permission(**permission(name, RevisionId=stale))
    status, code, message = error_of(lambda_.add_permission, **permission(name, StatementId="two", RevisionId=stale))
    assert (status, code) == (412, "PreconditionFailedException")
    assert "Call the GetPolicy API" in message
    current = lambda_.get_policy(FunctionName=name)["RevisionId"]
    lambda_.remove_permission(FunctionName=name, StatementId="s3", RevisionId=current)


def test_a_policy_grows_to_twenty_kilobytes(lambda_: Any) -> None:
    name = create(lambda_)
    requests = [permission(name, StatementId=f"{number}" + "s" * 90) for number in range(100)]

    def fill() -> None:
        for request in requests:
            lambda_.add_permission(**request)

    status, code, message = error_of(fill)
    assert (status, code) == (400, "PolicyLengthExceededException")
    assert "is bigger than the limit (20480)" in message
    assert len(lambda_.get_policy(FunctionName=name)["Policy"]) <= 20480


# -- reserved concurrency


def test_concurrency_is_reserved_shown_and_given_back(lambda_: Any) -> None:
    name = create(lambda_)
    assert members_of(lambda_.get_function_concurrency(FunctionName=name)) == {}
    put = lambda_.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=5)
    assert members_of(put) == {"ReservedConcurrentExecutions": 5}
    assert members_of(lambda_.get_function_concurrency(FunctionName=name)) == {"ReservedConcurrentExecutions": 5}
    shown = lambda_.get_function(FunctionName=name)["Concurrency"]
    assert shown == {"ReservedConcurrentExecutions": 5}
    for _ in range(2):
        answer = lambda_.delete_function_concurrency(FunctionName=name)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert "Concurrency" not in lambda_.get_function(FunctionName=name)


def test_a_hundred_of_a_thousand_executions_cannot_be_reserved(daemon: RunningDaemon) -> None:
    client = daemon.client("lambda", account="555555555555")
    one, two = create(client), create(client)
    client.put_function_concurrency(FunctionName=one, ReservedConcurrentExecutions=600)
    client.put_function_concurrency(FunctionName=two, ReservedConcurrentExecutions=300)
    refused = (
        400,
        INVALID,
        (
            "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution "
            "below its minimum value of [100]."
        ),
    )
    put = client.put_function_concurrency
    assert error_of(put, FunctionName=two, ReservedConcurrentExecutions=301) == refused
    put(FunctionName=one, ReservedConcurrentExecutions=0)
    put(FunctionName=two, ReservedConcurrentExecutions=900)


def test_concurrency_belongs_to_whole_functions(lambda_: Any) -> None:
    name, nobody = create(lambda_), new_name()
    for qualified in (f"{name}:$LATEST", f"{name}:1"):
        assert error_of(lambda_.put_function_concurrency, FunctionName=qualified, ReservedConcurrentExecutions=1) == (
            400,
            INVALID,
            (
                "This operation is permitted on Lambda functions only. Aliases and versions do not support this "
                "operation. Please specify either a function name or an unqualified function ARN."
            ),
        )
    missing = (404, MISSING, f"Function not found: {arn_of(nobody)}:$LATEST")
    assert error_of(lambda_.get_function_concurrency, FunctionName=nobody) == missing
    assert error_of(lambda_.delete_function_concurrency, FunctionName=nobody) == missing
    put = lambda_.put_function_concurrency
    assert error_of(put, FunctionName=nobody, ReservedConcurrentExecutions=1) == missing


# -- tags


def test_tags_are_added_replaced_and_taken_away(lambda_: Any) -> None:
    name = create(lambda_, Tags={"a": "1"})
    revision = lambda_.get_function_configuration(FunctionName=name)["RevisionId"]
    answer = lambda_.tag_resource(Resource=arn_of(name), Tags={"a": "2", "ö": ""})
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert members_of(lambda_.list_tags(Resource=arn_of(name))) == {"Tags": {"a": "2", "ö": ""}}
    assert (
        lambda_.untag_resource(Resource=arn_of(name), TagKeys=["a", "x"])["ResponseMetadata"]["HTTPStatusCode"] == 204
    )
    assert lambda_.list_tags(Resource=arn_of(name))["Tags"] == {"ö": ""}
    assert lambda_.get_function(FunctionName=name)["Tags"] == {"ö": ""}
    assert lambda_.get_function_configuration(FunctionName=name)["RevisionId"] == revision


def test_wrong_tags_are_refused_in_awss_words(lambda_: Any) -> None:
    name, nobody = create(lambda_), new_name()
    tag = lambda_.tag_resource
    many = {f"t{number}": "" for number in range(51)}
    assert error_of(tag, Resource=arn_of(name), Tags=many) == (
        400,
        INVALID,
        "Number of tags exceeds resource tag limit.",
    )
    assert error_of(tag, Resource=arn_of(name), Tags={"aws:mine": "x"})[:2] == (400, INVALID)
    assert error_of(tag, Resource=arn_of(name), Tags={}) == (
        400,
        INVALID,
        "An error occurred and the request cannot be processed.",
    )
    assert error_of(tag, Resource=f"{arn_of(name)}:1", Tags={"a": "b"}) == (
        400,
        INVALID,
        "Tags on function aliases and versions are not supported. Please specify a function ARN.",
    )
    assert error_of(lambda_.list_tags, Resource=arn_of(nobody)) == (
        404,
        MISSING,
        f"Function not found: {arn_of(nobody)}",
    )
    mapping = "arn:aws:lambda:us-east-1:000000000000:event-source-mapping:01234567-89ab-cdef-0123-456789abcdef"
    assert error_of(lambda_.list_tags, Resource=mapping) == (
        404,
        MISSING,
        f"Event source mapping not found: {mapping}",
    )


def test_mappings_carry_tags_as_well(daemon: RunningDaemon, lambda_: Any) -> None:
    sqs = daemon.client("sqs")
    url = sqs.create_queue(QueueName=new_name("q"))["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    mapping = lambda_.create_event_source_mapping(
        EventSourceArn=queue_arn, FunctionName=create(lambda_), Enabled=False, Tags={"a": "1"}
    )
    arn = mapping["EventSourceMappingArn"]
    assert lambda_.list_tags(Resource=arn)["Tags"] == {"a": "1"}
    lambda_.tag_resource(Resource=arn, Tags={"b": "2"})
    lambda_.untag_resource(Resource=arn, TagKeys=["a"])
    assert lambda_.list_tags(Resource=arn)["Tags"] == {"b": "2"}
    assert error_of(daemon.client("lambda", account="999999999999").list_tags, Resource=arn)[0] == 404

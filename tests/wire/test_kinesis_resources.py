"""Tags and policies of streams and consumers over the wire."""

import json
from typing import Any

import pytest

from tests.running import RunningDaemon
from tests.wire.kinesis_speaking import ACCOUNT, Kinesis, refused


@pytest.fixture
def kinesis(daemon: RunningDaemon) -> Kinesis:
    return Kinesis(daemon)


@pytest.fixture(params=["stream", "consumer"])
def resource(kinesis: Kinesis, request: Any) -> str:
    """The ARN of a stream, or of a consumer."""
    arn = kinesis.arn(kinesis.stream())
    if request.param == "stream":
        return arn
    return str(kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="c")["Consumer"]["ConsumerARN"])


def listed(tags: list[dict[str, str]]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}


def test_the_tags_of_a_stream_are_added_listed_and_removed(kinesis: Kinesis) -> None:
    name = kinesis.stream(Tags={"a": "1"})
    kinesis.add_tags_to_stream(StreamName=name, Tags={"b": "2", "c": ""})
    kinesis.add_tags_to_stream(StreamARN=kinesis.arn(name), Tags={"b": "3"})
    answer = kinesis.list_tags_for_stream(StreamName=name)
    assert (listed(answer["Tags"]), answer["HasMoreTags"]) == ({"a": "1", "b": "3", "c": ""}, False)
    page = kinesis.list_tags_for_stream(StreamName=name, Limit=2)
    assert ([tag["Key"] for tag in page["Tags"]], page["HasMoreTags"]) == (["a", "b"], True)
    page = kinesis.list_tags_for_stream(StreamName=name, ExclusiveStartTagKey="b")
    assert ([tag["Key"] for tag in page["Tags"]], page["HasMoreTags"]) == (["c"], False)
    kinesis.remove_tags_from_stream(StreamName=name, TagKeys=["a", "c", "never"])
    assert listed(kinesis.list_tags_for_resource(ResourceARN=kinesis.arn(name))["Tags"]) == {"b": "3"}


def test_any_resource_is_tagged_by_its_arn(kinesis: Kinesis, resource: str) -> None:
    assert kinesis.list_tags_for_resource(ResourceARN=resource)["Tags"] == []
    kinesis.tag_resource(ResourceARN=resource, Tags={"a": "1", "Größe": "5 + 3 = 8 @ x:y/z_-."})
    kinesis.tag_resource(ResourceARN=resource, Tags={"a": "2"})
    kinesis.untag_resource(ResourceARN=resource, TagKeys=["never"])
    tags = {"a": "2", "Größe": "5 + 3 = 8 @ x:y/z_-."}
    assert listed(kinesis.list_tags_for_resource(ResourceARN=resource)["Tags"]) == tags
    kinesis.untag_resource(ResourceARN=resource, TagKeys=["a", "Größe"])
    assert kinesis.list_tags_for_resource(ResourceARN=resource)["Tags"] == []


def test_tags_have_their_limits(kinesis: Kinesis, resource: str) -> None:
    fifty = {f"key-{number}": "value" for number in range(50)}
    kinesis.tag_resource(ResourceARN=resource, Tags=fifty)
    kinesis.tag_resource(ResourceARN=resource, Tags={"key-0": "changed"})
    code, text = refused(kinesis.tag_resource, ResourceARN=resource, Tags={"one more": ""})
    assert code == "InvalidArgumentException"
    assert text.endswith("cannot have more than 50 tags associated with it.")
    for tags in ({"a*b": "c"}, {"a": "<b>"}, {"aws:mine": "b"}, {"AWS:mine": "b"}):
        assert refused(kinesis.tag_resource, ResourceARN=resource, Tags=tags)[0] == "InvalidArgumentException"
    code, _ = refused(kinesis.create_stream, StreamName="never-made", ShardCount=1, Tags={**fifty, "more": ""})
    assert code == "InvalidArgumentException"
    code, _ = refused(kinesis.tag_resource, ResourceARN=resource, Tags={"x" * 129: "y"})
    assert code == "ValidationException"


def test_policies_are_kept_and_given_back(kinesis: Kinesis, resource: str) -> None:
    missing = refused(kinesis.get_resource_policy, ResourceARN=resource)
    assert missing[0] == "ResourceNotFoundException"
    statement = {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "kinesis:PutRecord", "Resource": resource}
    for more in ([statement], [statement, {**statement, "Effect": "Deny"}], statement):
        policy = json.dumps({"Version": "2012-10-17", "Statement": more})
        kinesis.put_resource_policy(ResourceARN=resource, Policy=policy)
        assert kinesis.get_resource_policy(ResourceARN=resource)["Policy"] == policy
    kinesis.delete_resource_policy(ResourceARN=resource)
    assert refused(kinesis.get_resource_policy, ResourceARN=resource) == missing
    assert refused(kinesis.delete_resource_policy, ResourceARN=resource)[0] == "ResourceNotFoundException"


@pytest.mark.parametrize(
    "policy",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        '{"Statement": []}',
        '{"Statement": [{"Effect": "Maybe", "Principal": "*", "Action": "*"}]}',
        '{"Statement": [{"Effect": "Allow", "Action": "*"}]}',
        json.dumps({"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*", "Sid": "x" * 21_000}]}),
    ],
)
def test_what_is_no_policy_is_refused(kinesis: Kinesis, policy: str) -> None:
    arn = kinesis.arn(kinesis.stream())
    assert refused(kinesis.put_resource_policy, ResourceARN=arn, Policy=policy)[0] == "InvalidArgumentException"


def test_resources_that_are_not_there(kinesis: Kinesis) -> None:
    arn = kinesis.arn(kinesis.stream())
    for missing in (f"{arn}x", f"{arn}/consumer/c:1", arn.replace("us-east-1", "eu-west-1")):
        for call, request in (
            (kinesis.list_tags_for_resource, {}),
            (kinesis.tag_resource, {"Tags": {"a": "b"}}),
            (kinesis.untag_resource, {"TagKeys": ["a"]}),
            (kinesis.get_resource_policy, {}),
        ):
            assert refused(call, ResourceARN=missing, **request)[0] == "ResourceNotFoundException"

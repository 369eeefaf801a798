"""Queues over the wire: create, find, list, attributes, tags, permissions, purge, delete."""

import json
from typing import Any

import pytest

from tests.running import RunningDaemon
from tests.wire.sqs_speaking import check_members, error_of, fresh, plain, status_of

NO_QUEUE = "AWS.SimpleQueueService.NonExistentQueue"


@pytest.fixture
def sqs(daemon: RunningDaemon) -> Any:
    client = daemon.client("sqs")
    check_members(client)
    return client


def attributes(sqs: Any, url: str, *names: str) -> dict[str, str]:
    return dict(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(names or ["All"])).get("Attributes", {}))


def test_a_queue_is_created_found_listed_and_deleted(sqs: Any, daemon: RunningDaemon) -> None:
    name = fresh()
    answer = plain(sqs.create_queue(QueueName=name))
    url = f"{daemon.url}/000000000000/{name}"
    assert answer == {"QueueUrl": url}
    assert plain(sqs.get_queue_url(QueueName=name)) == {"QueueUrl": url}
    assert plain(sqs.list_queues(QueueNamePrefix=name)) == {"QueueUrls": [url]}
    assert plain(sqs.delete_queue(QueueUrl=url)) == {}
    assert plain(sqs.list_queues(QueueNamePrefix=name)) == {}
    assert error_of(sqs.get_queue_url, QueueName=name) == (NO_QUEUE, "The specified queue does not exist.")
    assert error_of(sqs.delete_queue, QueueUrl=url) == (NO_QUEUE, "The specified queue does not exist.")


def test_the_urls_host_is_the_one_the_caller_used(daemon: RunningDaemon) -> None:
    import boto3

    endpoint = daemon.url.replace("127.0.0.1", "localhost")
    client = boto3.client(
        "sqs",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="000000000000",
        aws_secret_access_key="x",
    )
    name = fresh()
    assert client.create_queue(QueueName=name)["QueueUrl"] == f"{endpoint}/000000000000/{name}"
    client.close()


@pytest.mark.parametrize(
    "form",
    [
        "http://localhost:4566/000000000000/{}",
        "https://sqs.us-east-1.amazonaws.com/000000000000/{}",
        "http://sqs.us-east-1.localhost.localstack.cloud:4566/000000000000/{}",
        "http://any.thing/prefix/000000000000/{}/",
    ],
)
def test_a_queue_url_counts_by_its_path_whatever_its_host(sqs: Any, form: str) -> None:
    name = fresh()
    sqs.create_queue(QueueName=name)
    assert attributes(sqs, form.format(name), "QueueArn") == {"QueueArn": f"arn:aws:sqs:us-east-1:000000000000:{name}"}


@pytest.mark.parametrize("url", ["just-a-name", "http://localhost:4566/", "http://localhost:4566/0000/q"])
def test_a_url_that_is_no_queues_address_is_refused(sqs: Any, url: str) -> None:
    assert error_of(sqs.get_queue_attributes, QueueUrl=url) == (
        "InvalidAddress",
        f"The address {url} is not valid for this endpoint.",
    )


def test_creating_again_with_the_same_attributes_finds_the_queue(sqs: Any) -> None:
    name = fresh()
    first = sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "5"})["QueueUrl"]
    assert sqs.create_queue(QueueName=name)["QueueUrl"] == first
    assert sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "5", "DelaySeconds": "0"})
    assert error_of(sqs.create_queue, QueueName=name, Attributes={"VisibilityTimeout": "6"}) == (
        "QueueAlreadyExists",
        "A queue already exists with the same name and a different value for attribute VisibilityTimeout",
    )


def test_errors_carry_both_codes_for_old_and_new_clients(sqs: Any) -> None:
    name = fresh()
    sqs.create_queue(QueueName=name)
    with pytest.raises(sqs.exceptions.QueueNameExists) as taken:
        sqs.create_queue(QueueName=name, Attributes={"DelaySeconds": "6"})
    assert taken.value.response["Error"]["QueryErrorCode"] == "QueueNameExists"
    with pytest.raises(sqs.exceptions.QueueDoesNotExist):
        sqs.get_queue_url(QueueName=fresh("nowhere"))


@pytest.mark.parametrize(
    ("name", "given"),
    [("a.b", {}), ("x" * 81, {}), ("q.fifo", {}), ("q", {"FifoQueue": "true"}), ("ä", {})],
)
def test_a_wrong_name_is_refused(sqs: Any, name: str, given: dict[str, str]) -> None:
    assert error_of(sqs.create_queue, QueueName=name, Attributes=given)[0] == "InvalidParameterValue"


def test_a_standard_queue_shows_its_attributes(sqs: Any, daemon: RunningDaemon) -> None:
    name = fresh()
    url = sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "7"})["QueueUrl"]
    shown = attributes(sqs, url)
    assert shown.pop("CreatedTimestamp").isdecimal()
    assert shown.pop("LastModifiedTimestamp").isdecimal()
    assert shown == {
        "QueueArn": f"arn:aws:sqs:us-east-1:000000000000:{name}",
        "ApproximateNumberOfMessages": "0",
        "ApproximateNumberOfMessagesNotVisible": "0",
        "ApproximateNumberOfMessagesDelayed": "0",
        "VisibilityTimeout": "7",
        "MaximumMessageSize": "1048576",
        "MessageRetentionPeriod": "345600",
        "DelaySeconds": "0",
        "ReceiveMessageWaitTimeSeconds": "0",
        "SqsManagedSseEnabled": "true",
    }
    assert plain(sqs.get_queue_attributes(QueueUrl=url)) == {}
    assert plain(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy", "RedrivePolicy"])) == {}
    assert error_of(sqs.get_queue_attributes, QueueUrl=url, AttributeNames=["Nonsense"]) == (
        "InvalidAttributeName",
        "Unknown Attribute Nonsense.",
    )


def test_a_fifo_queue_shows_its_settings(sqs: Any) -> None:
    url = sqs.create_queue(QueueName=fresh(fifo=True), Attributes={"FifoQueue": "true"})["QueueUrl"]
    names = ["FifoQueue", "ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit"]
    assert attributes(sqs, url, *names) == dict(zip(names, ["true", "false", "queue", "perQueue"], strict=True))
    sqs.set_queue_attributes(
        QueueUrl=url,
        Attributes={"DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"},
    )
    assert attributes(sqs, url, "FifoThroughputLimit") == {"FifoThroughputLimit": "perMessageGroupId"}
    assert error_of(sqs.set_queue_attributes, QueueUrl=url, Attributes={"DeduplicationScope": "queue"})[0] == (
        "InvalidAttributeValue"
    )


def test_attributes_change_and_are_checked(sqs: Any, daemon: RunningDaemon) -> None:
    url = sqs.create_queue(QueueName=fresh())["QueueUrl"]
    before = attributes(sqs, url, "LastModifiedTimestamp", "CreatedTimestamp")
    daemon.advance(5)
    assert plain(sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "3"})) == {}
    after = attributes(sqs, url, "LastModifiedTimestamp", "CreatedTimestamp", "DelaySeconds")
    assert after["DelaySeconds"] == "3"
    assert after["CreatedTimestamp"] == before["CreatedTimestamp"]
    assert int(after["LastModifiedTimestamp"]) >= int(before["LastModifiedTimestamp"]) + 5
    for given, code, message in (
        ({"DelaySeconds": "901"}, "InvalidAttributeValue", "Invalid value for the parameter DelaySeconds."),
        ({"QueueArn": "x"}, "InvalidAttributeName", "Unknown Attribute QueueArn."),
        ({"Nonsense": "x"}, "InvalidAttributeName", "Unknown Attribute Nonsense."),
        ({"FifoQueue": "true"}, "InvalidAttributeName", "Unknown Attribute FifoQueue."),
    ):
        assert error_of(sqs.set_queue_attributes, QueueUrl=url, Attributes=given) == (code, message)
    assert attributes(sqs, url, "DelaySeconds") == {"DelaySeconds": "3"}


def test_a_policy_is_kept_and_cleared(sqs: Any) -> None:
    policy = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*"}]})
    url = sqs.create_queue(QueueName=fresh(), Attributes={"Policy": policy})["QueueUrl"]
    assert attributes(sqs, url, "Policy") == {"Policy": policy}
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": ""})
    assert attributes(sqs, url, "Policy") == {}
    assert error_of(sqs.set_queue_attributes, QueueUrl=url, Attributes={"Policy": "x"})[0] == ("InvalidAttributeValue")


def test_a_redrive_policy_needs_a_queue_that_agrees_and_is_listed_at_its_target(sqs: Any) -> None:
    source_name, target_name = fresh("source"), fresh("dead")
    target = sqs.create_queue(QueueName=target_name)["QueueUrl"]
    target_arn = attributes(sqs, target, "QueueArn")["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": target_arn, "maxReceiveCount": "2"})
    source = sqs.create_queue(QueueName=source_name, Attributes={"RedrivePolicy": policy})["QueueUrl"]
    assert json.loads(attributes(sqs, source, "RedrivePolicy")["RedrivePolicy"]) == {
        "deadLetterTargetArn": target_arn,
        "maxReceiveCount": 2,
    }
    assert plain(sqs.list_dead_letter_source_queues(QueueUrl=target)) == {"queueUrls": [source]}
    assert plain(sqs.list_dead_letter_source_queues(QueueUrl=source)) == {"queueUrls": []}
    sqs.set_queue_attributes(QueueUrl=source, Attributes={"RedrivePolicy": ""})
    assert attributes(sqs, source, "RedrivePolicy") == {}

    sqs.set_queue_attributes(
        QueueUrl=target, Attributes={"RedriveAllowPolicy": json.dumps({"redrivePermission": "denyAll"})}
    )
    code, message = error_of(sqs.set_queue_attributes, QueueUrl=source, Attributes={"RedrivePolicy": policy})
    assert (code, "RedrivePolicy is invalid" in message) == ("InvalidParameterValue", True)
    missing = json.dumps({"deadLetterTargetArn": target_arn + "-not", "maxReceiveCount": 2})
    code, message = error_of(sqs.create_queue, QueueName=fresh(), Attributes={"RedrivePolicy": missing})
    assert code == "InvalidParameterValue"
    assert message == (
        f"Value {missing} for parameter RedrivePolicy is invalid. Reason: Dead letter target does not exist."
    )


def test_queues_are_listed_by_prefix_in_pages(sqs: Any) -> None:
    prefix = fresh("page")
    urls = [sqs.create_queue(QueueName=f"{prefix}-{letter}")["QueueUrl"] for letter in "abcde"]
    first = plain(sqs.list_queues(QueueNamePrefix=prefix, MaxResults=2))
    assert first["QueueUrls"] == urls[:2]
    pages = sqs.get_paginator("list_queues").paginate(QueueNamePrefix=prefix, PaginationConfig={"PageSize": 2})
    assert [url for page in pages for url in page["QueueUrls"]] == urls
    assert "NextToken" not in sqs.list_queues(QueueNamePrefix=prefix)
    assert "NextToken" not in sqs.list_queues(QueueNamePrefix=prefix, MaxResults=5)
    assert error_of(sqs.list_queues, MaxResults=1001)[0] == "InvalidParameterValue"
    assert error_of(sqs.list_queues, MaxResults=1, NextToken="nonsense")[0] == "InvalidParameterValue"


def test_dead_letter_sources_are_listed_in_pages(sqs: Any) -> None:
    prefix = fresh("sources")
    target = sqs.create_queue(QueueName=f"{prefix}-dead")["QueueUrl"]
    policy = json.dumps({"deadLetterTargetArn": attributes(sqs, target, "QueueArn")["QueueArn"], "maxReceiveCount": 1})
    urls = [
        sqs.create_queue(QueueName=f"{prefix}-{n}", Attributes={"RedrivePolicy": policy})["QueueUrl"] for n in range(3)
    ]
    paginator = sqs.get_paginator("list_dead_letter_source_queues")
    pages = paginator.paginate(QueueUrl=target, PaginationConfig={"PageSize": 2})
    assert [url for page in pages for url in page["queueUrls"]] == urls


def test_a_queue_without_sources_has_an_empty_list_of_them(sqs: Any) -> None:
    url = sqs.create_queue(QueueName=fresh())["QueueUrl"]
    assert plain(sqs.list_dead_letter_source_queues(QueueUrl=url)) == {"queueUrls": []}


def test_tags_are_added_shown_and_taken_off(sqs: Any) -> None:
    url = sqs.create_queue(QueueName=fresh(), tags={"a": "1"})["QueueUrl"]
    assert plain(sqs.list_queue_tags(QueueUrl=url)) == {"Tags": {"a": "1"}}
    assert plain(sqs.tag_queue(QueueUrl=url, Tags={"a": "2", "b": ""})) == {}
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"a": "2", "b": ""}
    assert plain(sqs.untag_queue(QueueUrl=url, TagKeys=["a", "b", "c"])) == {}
    assert plain(sqs.list_queue_tags(QueueUrl=url)) == {}
    too_many = {f"k{n}": "v" for n in range(51)}
    assert error_of(sqs.tag_queue, QueueUrl=url, Tags=too_many)[0] == "InvalidParameterValue"
    assert error_of(sqs.tag_queue, QueueUrl=url, Tags={})[0] == "MissingParameter"
    assert error_of(sqs.untag_queue, QueueUrl=url, TagKeys=[])[0] == "MissingParameter"


def test_permissions_write_the_policy(sqs: Any) -> None:
    url = sqs.create_queue(QueueName=fresh())["QueueUrl"]
    grant = {"QueueUrl": url, "Label": "l", "AWSAccountIds": ["111111111111"], "Actions": ["SendMessage"]}
    assert plain(sqs.add_permission(**grant)) == {}
    [statement] = json.loads(attributes(sqs, url, "Policy")["Policy"])["Statement"]
    assert (statement["Sid"], statement["Action"]) == ("l", "SQS:SendMessage")
    assert error_of(sqs.add_permission, **grant) == (
        "InvalidParameterValue",
        "Value l for parameter Label is invalid. Reason: Already exists.",
    )
    assert plain(sqs.remove_permission(QueueUrl=url, Label="l")) == {}
    assert attributes(sqs, url, "Policy") == {}
    assert error_of(sqs.remove_permission, QueueUrl=url, Label="l") == (
        "InvalidParameterValue",
        "Value l for parameter Label is invalid. Reason: can't find label.",
    )


def test_a_purge_empties_the_queue_once_a_minute(sqs: Any, daemon: RunningDaemon) -> None:
    name = fresh()
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    for body in "abc":
        sqs.send_message(QueueUrl=url, MessageBody=body)
    [flying] = sqs.receive_message(QueueUrl=url)["Messages"]
    assert plain(sqs.purge_queue(QueueUrl=url)) == {}
    counts = attributes(sqs, url, "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    assert set(counts.values()) == {"0"}
    sqs.delete_message(QueueUrl=url, ReceiptHandle=flying["ReceiptHandle"])
    assert error_of(sqs.purge_queue, QueueUrl=url) == (
        "AWS.SimpleQueueService.PurgeQueueInProgress",
        f"Only one PurgeQueue operation on {name} is allowed every 60 seconds.",
    )
    assert status_of(sqs.purge_queue, QueueUrl=url) == 403
    daemon.advance(61)
    sqs.send_message(QueueUrl=url, MessageBody="later")
    sqs.purge_queue(QueueUrl=url)
    assert plain(sqs.receive_message(QueueUrl=url)) == {}


def test_a_deleted_queues_messages_do_not_come_back_with_its_name(sqs: Any) -> None:
    name = fresh()
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="gone")
    sqs.delete_queue(QueueUrl=url)
    assert sqs.create_queue(QueueName=name)["QueueUrl"] == url
    assert plain(sqs.receive_message(QueueUrl=url)) == {}


def test_accounts_and_regions_are_separate_worlds(daemon: RunningDaemon, sqs: Any) -> None:
    name = fresh()
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    elsewhere = daemon.client("sqs", region="eu-west-1")
    stranger = daemon.client("sqs", account="111111111111")
    assert error_of(elsewhere.get_queue_attributes, QueueUrl=url)[0] == NO_QUEUE
    assert error_of(stranger.get_queue_url, QueueName=name)[0] == NO_QUEUE
    assert error_of(stranger.send_message, QueueUrl=url, MessageBody="x")[0] == "AccessDenied"
    assert status_of(stranger.send_message, QueueUrl=url, MessageBody="x") == 403
    assert error_of(stranger.get_queue_url, QueueName=name, QueueOwnerAWSAccountId="000000000000")[0] == (
        "AccessDenied"
    )
    own = stranger.create_queue(QueueName=name)["QueueUrl"]
    assert own.endswith(f"/111111111111/{name}")
    assert elsewhere.create_queue(QueueName=name)["QueueUrl"] == url
    sqs.send_message(QueueUrl=url, MessageBody="mine")
    assert plain(elsewhere.receive_message(QueueUrl=url)) == {}
    assert plain(stranger.receive_message(QueueUrl=own)) == {}


@pytest.mark.parametrize(
    ("operation", "given", "missing"),
    [
        ("CreateQueue", {}, "QueueName"),
        ("GetQueueUrl", {}, "QueueName"),
        ("DeleteQueue", {}, "QueueUrl"),
        ("SetQueueAttributes", {"QueueUrl": "{url}"}, "Attributes"),
        ("SendMessage", {"QueueUrl": "{url}"}, "MessageBody"),
        ("DeleteMessage", {"QueueUrl": "{url}"}, "ReceiptHandle"),
        ("ChangeMessageVisibility", {"QueueUrl": "{url}", "ReceiptHandle": "x"}, "VisibilityTimeout"),
        ("AddPermission", {"QueueUrl": "{url}"}, "Label"),
        ("RemovePermission", {"QueueUrl": "{url}"}, "Label"),
        ("StartMessageMoveTask", {}, "SourceArn"),
        ("ListMessageMoveTasks", {}, "SourceArn"),
        ("CancelMessageMoveTask", {}, "TaskHandle"),
    ],
)
def test_a_missing_parameter_is_named(
    daemon: RunningDaemon, sqs: Any, operation: str, given: dict[str, str], missing: str
) -> None:
    import urllib.error
    import urllib.request

    url = sqs.create_queue(QueueName=fresh())["QueueUrl"]
    request = urllib.request.Request(
        daemon.url,
        json.dumps({name: value.format(url=url) for name, value in given.items()}).encode(),
        {"content-type": "application/x-amz-json-1.0", "x-amz-target": f"AmazonSQS.{operation}"},
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    with caught.value as error:
        assert error.code == 400
        assert error.headers["x-amzn-query-error"] == "MissingParameter;Sender"
        assert json.loads(error.read())["message"] == f"The request must contain the parameter {missing}."

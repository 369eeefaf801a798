"""The rules of queue attributes, names, tags and policies."""

import json
from typing import Any

import pytest

from eventrt.core import queue_attributes as rules
from eventrt.core.messages import Queue, QueueDepth, acting_fields
from eventrt.core.queue_policy import with_permission, without_permission
from eventrt.core.refused import Refused

ARN = "arn:aws:sqs:us-east-1:000000000000:"


def refusal(function: Any, *args: Any, **kwargs: Any) -> tuple[str, str]:
    with pytest.raises(Refused) as caught:
        function(*args, **kwargs)
    return caught.value.code, caught.value.message


def queue(name: str = "q", **attributes: str) -> Queue:
    return Queue(1, "000000000000", "us-east-1", name, 10.9, 11.9, attributes, **acting_fields(attributes))


# -- names and tags


@pytest.mark.parametrize("name", ["a", "A_b-9", "x" * 80])
def test_standard_names_that_pass(name: str) -> None:
    rules.check_name(name, is_fifo=False)


@pytest.mark.parametrize("name", ["", "x" * 81, "a.b", "a b", "q.fifo", "ä", "a\n"])
def test_standard_names_that_do_not(name: str) -> None:
    assert refusal(rules.check_name, name, is_fifo=False) == (
        "InvalidParameterValueException",
        "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
    )


def test_a_fifo_name_ends_with_its_suffix_which_counts() -> None:
    rules.check_name("x" * 75 + ".fifo", is_fifo=True)
    for name in ("q", ".fifo", "x" * 76 + ".fifo", "a.b.fifo", "q.fifo\n"):
        assert "must end with .fifo suffix" in refusal(rules.check_name, name, is_fifo=True)[1]


def test_tags_have_their_limits() -> None:
    rules.check_tags({f"k{n}": "v" * 256 for n in range(50)}, queue_name="q")
    assert "Too many tags" in refusal(rules.check_tags, {f"k{n}": "" for n in range(51)}, queue_name="q")[1]
    for tags in ({"": "v"}, {"k" * 129: "v"}, {"k": "v" * 257}, {"aws:x": "v"}):
        assert refusal(rules.check_tags, tags, queue_name="q")[0] == "InvalidParameterValueException"


# -- values


@pytest.mark.parametrize("name", sorted(rules.RANGES))
def test_a_number_is_taken_at_both_ends_of_its_range_and_not_beyond(name: str) -> None:
    least, greatest = rules.RANGES[name]
    for value in (least, greatest):
        assert rules.normalise({name: str(value)}, is_fifo=False)[name] == str(value)
    for wrong in (str(least - 1), str(greatest + 1), "", "x", "1.5", " 60", "6e1", "٦٠"):
        assert refusal(rules.normalise, {name: wrong}, is_fifo=False) == (
            "InvalidAttributeValue",
            f"Invalid value for the parameter {name}.",
        )


@pytest.mark.parametrize("name", [*sorted(rules.READ_ONLY), "All", "Nonsense"])
def test_what_cannot_be_set_is_unknown(name: str) -> None:
    assert refusal(rules.normalise, {name: "1"}, is_fifo=False) == (
        "InvalidAttributeName",
        f"Unknown Attribute {name}.",
    )


def test_fifo_settings_on_a_standard_queue_are_refused_each_in_its_words() -> None:
    assert refusal(rules.normalise, {"ContentBasedDeduplication": "true"}, is_fifo=False) == (
        "InvalidAttributeName",
        "Unknown Attribute ContentBasedDeduplication.",
    )
    for name in ("DeduplicationScope", "FifoThroughputLimit"):
        assert refusal(rules.normalise, {name: "queue"}, is_fifo=False) == (
            "InvalidAttributeName",
            f"You can specify the {name} only when FifoQueue is set to true.",
        )
    assert refusal(rules.normalise, {"FifoQueue": "true"}, is_fifo=False, present={})[1] == (
        "Unknown Attribute FifoQueue."
    )


def test_the_kind_of_a_queue_is_asked_for_with_true_only_and_never_changes() -> None:
    assert rules.is_fifo_requested({"FifoQueue": "true"})
    assert not rules.is_fifo_requested({})
    assert refusal(rules.is_fifo_requested, {"FifoQueue": "false"})[1] == "Unknown Attribute FifoQueue."
    assert refusal(rules.normalise, {"FifoQueue": "false"}, is_fifo=True, present={"FifoQueue": "true"}) == (
        "InvalidAttributeValue",
        "Invalid value for the parameter FifoQueue. Reason: Modifying queue type is not supported.",
    )


def test_the_throughput_limit_per_group_needs_the_scope_of_a_group() -> None:
    both = {"DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
    assert rules.normalise(both, is_fifo=True) == both
    assert rules.normalise(
        {"FifoThroughputLimit": "perMessageGroupId"}, is_fifo=True, present={"DeduplicationScope": "messageGroup"}
    )
    for asked, present in (
        ({"FifoThroughputLimit": "perMessageGroupId"}, None),
        ({"DeduplicationScope": "queue"}, both),
    ):
        code, _ = refusal(rules.normalise, asked, is_fifo=True, present=present)
        assert code == "InvalidAttributeValue"


def test_one_kind_of_encryption_at_a_time() -> None:
    asked = {"KmsMasterKeyId": "alias/aws/sqs", "SqsManagedSseEnabled": "true"}
    assert "one type of server-side encryption" in refusal(rules.normalise, asked, is_fifo=False)[1]
    assert rules.normalise({"KmsMasterKeyId": "k"}, is_fifo=False)["SqsManagedSseEnabled"] == "false"
    changes = rules.normalise({"SqsManagedSseEnabled": "true"}, is_fifo=False, present={"KmsMasterKeyId": "k"})
    assert rules.merged({"KmsMasterKeyId": "k"}, changes) == {"SqsManagedSseEnabled": "true"}


def test_an_empty_policy_clears_it() -> None:
    present = {"Policy": "{}", "RedrivePolicy": "{}", "DelaySeconds": "1"}
    changes = rules.normalise({"Policy": "", "RedrivePolicy": ""}, is_fifo=False, present=present)
    assert rules.merged(present, changes) == {"DelaySeconds": "1"}
    assert rules.normalise({"Policy": ""}, is_fifo=False) == {}


@pytest.mark.parametrize("policy", ["x", "[]", "{}", '{"Statement":[]}', '{"Statement":[{"Effect":"Maybe"}]}'])
def test_a_policy_must_be_a_policy_document(policy: str) -> None:
    assert refusal(rules.normalise, {"Policy": policy}, is_fifo=False) == (
        "InvalidAttributeValue",
        "Invalid value for the parameter Policy.",
    )


# -- redrive


@pytest.mark.parametrize("count", [3, "3"])
def test_a_redrive_policy_is_kept_with_a_number_whatever_came(count: object) -> None:
    text = json.dumps({"maxReceiveCount": count, "deadLetterTargetArn": ARN + "d"})
    kept = rules.normalise({"RedrivePolicy": text}, is_fifo=False)["RedrivePolicy"]
    assert kept == f'{{"deadLetterTargetArn":"{ARN}d","maxReceiveCount":3}}'


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ("x", "Redrive policy is not a valid JSON map."),
        ("[]", "Redrive policy is not a valid JSON map."),
        ("{}", "Redrive policy does not contain mandatory attribute: deadLetterTargetArn."),
        (
            json.dumps({"deadLetterTargetArn": ARN + "d"}),
            "Redrive policy does not contain mandatory attribute: maxReceiveCount.",
        ),
        (
            json.dumps({"deadLetterTargetArn": ARN + "d", "maxReceiveCount": 0}),
            "Invalid value for maxReceiveCount: 0, valid values are from 1 to 1000 both inclusive.",
        ),
        (
            json.dumps({"deadLetterTargetArn": ARN + "d", "maxReceiveCount": 1001}),
            "Invalid value for maxReceiveCount: 1001, valid values are from 1 to 1000 both inclusive.",
        ),
        (
            json.dumps({"deadLetterTargetArn": "d", "maxReceiveCount": 1}),
            "Invalid value for deadLetterTargetArn.",
        ),
        (
            json.dumps({"deadLetterTargetArn": ["d"], "maxReceiveCount": 1}),
            "Invalid value for deadLetterTargetArn.",
        ),
    ],
)
def test_a_redrive_policy_that_is_refused(policy: str, reason: str) -> None:
    assert refusal(rules.normalise, {"RedrivePolicy": policy}, is_fifo=False) == (
        "InvalidParameterValueException",
        f"Value {policy} for parameter RedrivePolicy is invalid. Reason: {reason}",
    )


def redrive_to(name: str) -> str:
    return json.dumps({"deadLetterTargetArn": name, "maxReceiveCount": 1})


def test_a_dead_letter_queue_must_be_there_be_of_the_same_kind_and_agree() -> None:
    source = queue("source")
    rules.check_dead_letter_queue(source, queue("d"), redrive_to(ARN + "d"))
    fifo = queue("d.fifo", FifoQueue="true")
    deaf = queue("d", RedriveAllowPolicy='{"redrivePermission":"denyAll"}')
    choosy = queue("d", RedriveAllowPolicy=f'{{"redrivePermission":"byQueue","sourceQueueArns":["{ARN}other"]}}')
    for target, arn, reason in (
        (None, ARN + "d", "Dead letter target does not exist."),
        (fifo, ARN + "d.fifo", "Dead-letter queue must be same type of queue as the source."),
        (deaf, ARN + "d", "does not allow"),
        (choosy, ARN + "d", "does not allow"),
        (None, "arn:aws:sqs:us-east-1:111111111111:d", "Dead letter target owner should be same as the source."),
        (None, "arn:aws:sqs:eu-west-1:000000000000:d", "same region"),
    ):
        assert reason in refusal(rules.check_dead_letter_queue, source, target, redrive_to(arn))[1]


def test_a_redrive_allow_policy_is_one_of_three() -> None:
    for text in (
        '{"redrivePermission":"allowAll"}',
        '{"redrivePermission":"denyAll"}',
        f'{{"redrivePermission":"byQueue","sourceQueueArns":["{ARN}a"]}}',
    ):
        assert rules.normalise({"RedriveAllowPolicy": text}, is_fifo=False) == {"RedriveAllowPolicy": text}
    for wrong in (
        "x",
        "{}",
        '{"redrivePermission":"some"}',
        '{"redrivePermission":"byQueue"}',
        '{"redrivePermission":"byQueue","sourceQueueArns":[]}',
        '{"redrivePermission":"allowAll","sourceQueueArns":[]}',
        '{"redrivePermission":"byQueue","sourceQueueArns":["x"]}',
        json.dumps({"redrivePermission": "byQueue", "sourceQueueArns": [f"{ARN}{n}" for n in range(11)]}),
    ):
        assert (
            "not in the supported format" in refusal(rules.normalise, {"RedriveAllowPolicy": wrong}, is_fifo=False)[1]
        )


# -- the same queue again, and reading


def test_create_again_compares_only_what_is_mentioned_with_what_the_queue_has() -> None:
    present = {"VisibilityTimeout": "5"}
    assert rules.first_difference(present, {}, is_fifo=False) is None
    assert rules.first_difference(present, {"VisibilityTimeout": "5", "DelaySeconds": "0"}, is_fifo=False) is None
    assert rules.first_difference(present, {"VisibilityTimeout": "6"}, is_fifo=False) == "VisibilityTimeout"
    assert rules.first_difference(present, {"DelaySeconds": "1"}, is_fifo=False) == "DelaySeconds"
    policy = '{"Version":"2012-10-17","Statement":[]}'
    again, other = '{ "Statement": [], "Version": "2012-10-17" }', '{"Statement":[]}'
    assert rules.first_difference({"Policy": policy}, {"Policy": again}, is_fifo=False) is None
    assert rules.first_difference({"Policy": policy}, {"Policy": other}, is_fifo=False) == "Policy"
    assert rules.first_difference({}, {"Policy": policy}, is_fifo=False) == "Policy"


def test_all_shows_defaults_counts_and_what_was_set_but_nothing_unset() -> None:
    shown = rules.described(queue(VisibilityTimeout="5"), QueueDepth(1, 2, 3), ["All"])
    assert shown == {
        "QueueArn": ARN + "q",
        "ApproximateNumberOfMessages": "1",
        "ApproximateNumberOfMessagesNotVisible": "2",
        "ApproximateNumberOfMessagesDelayed": "3",
        "CreatedTimestamp": "10",
        "LastModifiedTimestamp": "11",
        "VisibilityTimeout": "5",
        "MaximumMessageSize": "1048576",
        "MessageRetentionPeriod": "345600",
        "DelaySeconds": "0",
        "ReceiveMessageWaitTimeSeconds": "0",
        "SqsManagedSseEnabled": "true",
    }


def test_a_fifo_queue_shows_its_settings_and_a_kms_key_its_reuse_period() -> None:
    fifo = queue("q.fifo", FifoQueue="true")
    assert rules.described(fifo, QueueDepth(), ["DeduplicationScope", "FifoQueue", "Policy"]) == {
        "FifoQueue": "true",
        "DeduplicationScope": "queue",
    }
    encrypted = queue(KmsMasterKeyId="k", SqsManagedSseEnabled="false")
    assert rules.described(encrypted, QueueDepth(), ["KmsDataKeyReusePeriodSeconds", "SqsManagedSseEnabled"]) == {
        "SqsManagedSseEnabled": "false",
        "KmsDataKeyReusePeriodSeconds": "300",
    }


def test_an_unknown_name_cannot_be_read() -> None:
    rules.check_readable(["All", "QueueArn"])
    assert refusal(rules.check_readable, ["Nonsense"]) == ("InvalidAttributeName", "Unknown Attribute Nonsense.")


# -- permissions


def grant(policy: str | None = None, label: str = "l", **more: Any) -> str:
    given: dict[str, Any] = {"account_ids": ["111111111111"], "actions": ["SendMessage"], **more}
    return with_permission(policy, queue_arn=ARN + "q", label=label, **given)


def test_a_permission_is_a_statement_and_the_last_one_takes_the_policy_along() -> None:
    first = grant()
    assert json.loads(first) == {
        "Version": "2008-10-17",
        "Id": f"{ARN}q/SQSDefaultPolicy",
        "Statement": [
            {
                "Sid": "l",
                "Effect": "Allow",
                "Principal": {"AWS": "arn:aws:iam::111111111111:root"},
                "Action": "SQS:SendMessage",
                "Resource": ARN + "q",
            }
        ],
    }
    both = grant(first, "m", account_ids=["1" * 12, "2" * 12], actions=["*", "GetQueueUrl"])
    statement = json.loads(both)["Statement"][1]
    assert statement["Action"] == ["SQS:*", "SQS:GetQueueUrl"]
    assert statement["Principal"]["AWS"] == [f"arn:aws:iam::{n * 12}:root" for n in "12"]
    assert without_permission(both, queue_arn=ARN + "q", label="m") == first
    assert without_permission(first, queue_arn=ARN + "q", label="l") is None


def test_a_users_own_statements_stay() -> None:
    own = json.dumps({"Version": "2012-10-17", "Statement": {"Sid": "mine", "Effect": "Deny"}})
    document = json.loads(grant(own))
    assert document["Version"] == "2012-10-17"
    assert [statement["Sid"] for statement in document["Statement"]] == ["mine", "l"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"label": "a b"}, "Value a b for parameter Label is invalid. Reason: Can only include"),
        ({"label": ""}, "The request must contain the parameter Label."),
        ({"label": "taken"}, "Value taken for parameter Label is invalid. Reason: Already exists."),
        ({"actions": []}, "The request must contain the parameter Actions."),
        ({"account_ids": []}, "The request must contain the parameter AWSAccountIds."),
        ({"account_ids": ["x"]}, "Value [x] for parameter PrincipalId is invalid. Reason: Unable to verify."),
        ({"actions": ["DeleteQueue"]}, "Only the queue owner is allowed to invoke this action."),
        ({"actions": ["Dance"]}, "Value SQS:Dance for parameter ActionName is invalid. Reason: Please refer"),
        ({"actions": ["SendMessage"] * 8}, "maximum allowed is 7"),
    ],
)
def test_a_permission_that_is_refused(more: dict[str, Any], message: str) -> None:
    assert message in refusal(grant, grant(None, "taken"), **more)[1]


def test_twenty_statements_are_the_most() -> None:
    policy = None
    for number in range(20):
        policy = grant(policy, f"l{number}")
    assert refusal(grant, policy, "one-more")[0] == "OverLimit"


def test_a_label_that_is_not_there_cannot_be_removed() -> None:
    assert refusal(without_permission, None, queue_arn=ARN + "q", label="x")[1] == (
        "Value x for parameter Label is invalid. Reason: can't find label."
    )

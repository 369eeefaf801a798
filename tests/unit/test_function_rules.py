"""Names, ARNs, runtimes, environments, limits: what AWS takes and in which words it refuses."""

import pytest

from eventrt.core import function_rules as rules
from eventrt.core.refused import Refused

ACCOUNT, REGION = "123456789012", "eu-west-1"


def parse(text: str, qualifier: str | None = None) -> rules.FunctionRef:
    return rules.parse_function_name(text, account_id=ACCOUNT, region=REGION, qualifier=qualifier)


@pytest.mark.parametrize(
    "text",
    [
        "fn",
        "123456789012:function:fn",
        "eu-west-1:123456789012:function:fn",
        "arn:aws:lambda:eu-west-1:123456789012:function:fn",
    ],
)
def test_a_function_is_named_by_name_partial_arn_or_arn_with_or_without_a_qualifier(text: str) -> None:
    assert parse(text) == rules.FunctionRef(ACCOUNT, REGION, "fn")
    assert parse(f"{text}:$LATEST") == rules.FunctionRef(ACCOUNT, REGION, "fn", "$LATEST")
    assert parse(text, "live") == rules.FunctionRef(ACCOUNT, REGION, "fn", "live")
    assert parse(f"{text}:7", "7").qualified_arn == "arn:aws:lambda:eu-west-1:123456789012:function:fn:7"


@pytest.mark.parametrize(
    ("text", "qualifier", "code", "message"),
    [
        (
            "fn:1",
            "2",
            "InvalidParameterValueException",
            "The derived qualifier from the function name does not match the specified qualifier.",
        ),
        (
            "arn:aws:lambda:us-east-1:123456789012:function:fn",
            None,
            "ResourceNotFoundException",
            "Functions from 'us-east-1' are not reachable in this region ('eu-west-1')",
        ),
        (
            "n" * 65,
            None,
            "InvalidParameterValueException",
            (
                f"1 validation error detected: Value '{'n' * 65}' at 'functionName' failed to satisfy "
                "constraint: Member must have length less than or equal to 64"
            ),
        ),
    ],
)
def test_names_that_contradict_lie_elsewhere_or_are_too_long_are_refused(
    text: str, qualifier: str | None, code: str, message: str
) -> None:
    with pytest.raises(Refused) as raised:
        parse(text, qualifier)
    assert (raised.value.code, raised.value.message) == (code, message)


def test_a_function_of_another_account_is_out_of_reach() -> None:
    with pytest.raises(Refused) as raised:
        parse("arn:aws:lambda:eu-west-1:999999999999:function:fn")
    assert raised.value.code == "AccessDeniedException"


@pytest.mark.parametrize("text", ["a b", "fn:$OTHER", "a.b", "ä", "fn:1:2", "arn:aws:sqs:eu-west-1:1:q"])
def test_what_is_no_name_is_a_validation_error(text: str) -> None:
    with pytest.raises(Refused) as raised:
        parse(text)
    assert raised.value.code == "ValidationException"


@pytest.mark.parametrize("runtime", rules.SERVED_RUNTIMES)
def test_python_runtimes_are_served(runtime: str) -> None:
    rules.check_runtime(runtime)


@pytest.mark.parametrize(
    ("runtime", "text"),
    [
        ("nodejs22.x", "The runtime nodejs22.x is not served by eventrt yet"),
        (
            "python3.8",
            (
                "The runtime parameter of python3.8 is no longer supported for creating or updating AWS "
                "Lambda functions. We recommend you use a supported runtime while creating or updating "
                "functions."
            ),
        ),
        ("perl5", "Value perl5 at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: ["),
    ],
)
def test_other_runtimes_are_refused_each_in_its_words(runtime: str, text: str) -> None:
    with pytest.raises(Refused) as raised:
        rules.check_runtime(runtime)
    assert raised.value.code == "InvalidParameterValueException"
    assert raised.value.message.startswith(text)


def test_reserved_environment_names_are_listed_in_the_refusal() -> None:
    variables = {"AWS_REGION": "x", "LANG": "C", "_HANDLER": "y"}
    with pytest.raises(Refused) as raised:
        rules.check_environment(variables, compact_json="{}")
    assert raised.value.message == (
        "Lambda was unable to configure your environment variables because the environment variables you have "
        "provided contains reserved keys that are currently not supported for modification. Reserved keys used "
        "in this request: AWS_REGION, _HANDLER"
    )


def test_the_environment_may_be_4096_bytes_of_json_and_no_more() -> None:
    exact = '{"KEY":"' + "v" * (4096 - 10) + '"}'
    rules.check_environment({}, compact_json=exact)
    with pytest.raises(Refused) as raised:
        rules.check_environment({}, compact_json=exact + " ")
    assert raised.value.message.endswith(f"provided exceeded the 4KB limit. String measured: {exact} ")


def test_limits_of_managed_instances_are_not_those_of_functions() -> None:
    rules.check_limits(timeout_s=900, memory_mb=10_240, ephemeral_storage_mb=10_240)
    with pytest.raises(Refused) as raised:
        rules.check_limits(timeout_s=901, memory_mb=10_241, ephemeral_storage_mb=512)
    assert raised.value.message == (
        "2 validation errors detected: Value '901' at 'timeout' failed to satisfy constraint: Member must have "
        "value less than or equal to 900; Value '10241' at 'memorySize' failed to satisfy constraint: Member "
        "must have value less than or equal to 10240"
    )


def test_a_hundred_executions_stay_unreserved() -> None:
    rules.check_reserved_concurrency(900, reserved_by_others=0)
    with pytest.raises(Refused, match="below its minimum value of \\[100\\]"):
        rules.check_reserved_concurrency(401, reserved_by_others=500)


def test_a_resource_has_at_most_fifty_tags() -> None:
    fifty = {f"t{number}": "" for number in range(50)}
    assert len(rules.merge_tags(fifty, {"t1": "x"})) == 50
    with pytest.raises(Refused, match="Number of tags exceeds resource tag limit"):
        rules.merge_tags(fifty, {"one more": ""})


@pytest.mark.parametrize("text", ["semi;colon", "new\nline", "smile\N{GRINNING FACE}"])
def test_tags_have_letters_digits_blanks_and_few_signs(text: str) -> None:
    assert rules.merge_tags({}, {"ä b": "_.:/=+-@ ٣"}) == {"ä b": "_.:/=+-@ ٣"}
    for tags in ({text: ""}, {"k": text}):
        with pytest.raises(Refused) as raised:
            rules.merge_tags({}, tags)
        assert raised.value.code == "ValidationException"


def test_all_code_of_an_account_is_at_most_75_gibibytes() -> None:
    rules.check_code_storage(1, used_bytes=rules.TOTAL_CODE_LIMIT_BYTES - 1)
    with pytest.raises(Refused) as raised:
        rules.check_code_storage(2, used_bytes=rules.TOTAL_CODE_LIMIT_BYTES - 1)
    assert raised.value.code == "CodeStorageExceededException"

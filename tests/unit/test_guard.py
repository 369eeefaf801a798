"""Web pages and foreign names have no effect; this machine and AWS's names pass."""

import pytest

from eventrt.frontdoors.guard import Guard
from tests.unit.aws.asking import request_of


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "localhost:4566",
        "LOCALHOST:4566",
        "sqs.us-east-1.localhost:4566",
        "127.0.0.1:4566",
        "127.9.8.7",
        "[::1]:4566",
        "sqs.us-east-1.amazonaws.com",
        "bucket.s3.amazonaws.com:443",
        "abc.lambda-url.us-east-1.on.aws",
        "my.host:4566",
        "a.team.test",
    ],
)
def test_own_names_pass(host: str) -> None:
    guard = Guard(["my.host", ".team.test"])
    assert guard.refusal(request_of("GET", "/", headers={"host": host})) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:4566",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "amazonaws.com.evil.example",
        "evilamazonaws.com",
        "10.0.0.1",
        "[2001:db8::1]:4566",
        "0x7f.1",
        "a" * 5000,
    ],
)
def test_foreign_names_are_refused(host: str) -> None:
    refusal = Guard().refusal(request_of("GET", "/", headers={"host": host}))
    assert refusal is not None
    assert refusal.status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://[::bad"},
        {"origin": "https://pages.s3.amazonaws.com"},
        {"origin": "http://localhost.evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_pages_of_other_sites_are_refused(headers: dict[str, str]) -> None:
    refusal = Guard().refusal(request_of("POST", "/", headers=headers))
    assert refusal is not None
    assert refusal.status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://localhost:3000", "sec-fetch-site": "same-site"},
        {"origin": "http://127.0.0.1:4566", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "same-origin"},
    ],
)
def test_pages_of_this_machine_pass(headers: dict[str, str]) -> None:
    assert Guard().refusal(request_of("GET", "/", headers=headers)) is None


def test_many_strange_hosts_do_not_fill_the_memory() -> None:
    guard = Guard()
    for number in range(10_000):
        guard.refusal(request_of("GET", "/", headers={"host": f"h{number}.localhost"}))
    assert len(guard._known_hosts) <= 4096

"""Recursive loops are found by the lineage in the trace header."""

from urllib.parse import quote

import pytest

from eventrt.core.recursion import MOST_PASSES, decoded, deepest, entered, mark_of

F, G = mark_of("arn:aws:lambda:us-east-1:000000000000:function:f"), mark_of("arn:g")
ROOT = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0"


def test_a_function_is_eight_hex_digits():
    assert len(F) == 8
    assert F != G
    assert int(F, 16) >= 0


def test_each_pass_is_counted_once_per_function():
    header = ROOT
    for passes in range(1, 20):
        header, counted = entered(header, F)
        assert counted == passes
        header, counted = entered(header, G)
        assert counted == passes
    assert header == f"{ROOT};Lineage=19:{F}:0|19:{G}:0"


def test_the_rest_of_the_header_stays_in_place():
    header, passes = entered(f"Root=1-a-b;Lineage=3:{F}:0;Sampled=1;Self=x", F)
    assert (header, passes) == (f"Root=1-a-b;Lineage=4:{F}:0;Sampled=1;Self=x", 4)


def test_what_an_sdk_sends_is_read_as_it_was_meant():
    header, _ = entered(entered(ROOT, F)[0], G)
    sent = quote(header, safe="-=;:+&[]{}\"',")  # as botocore does in a handler
    assert "%7C" in sent
    assert decoded(sent) == header
    assert decoded(None) is None


@pytest.mark.parametrize("lineage", ["", "x", "::", "abc:def", f"-1:{F}:0", f"99999999999:{F}:0", f"٣:{F}:0", "|||"])
def test_a_lineage_that_is_none_counts_from_one(lineage):
    header, passes = entered(f"Root=1-a-b;Lineage={lineage}", F)
    assert passes == 1
    assert header.endswith(f"1:{F}:0")


def test_a_long_chain_keeps_the_functions_passed_last():
    header = ROOT
    for number in range(100):
        header, _ = entered(header, f"{number:08x}")
    assert header.count("|") == 31
    assert f"1:{99:08x}:0" in header
    assert f"1:{0:08x}:0" not in header


def test_of_a_batch_the_deepest_chain_counts():
    deep = f"Root=1-d;Lineage={MOST_PASSES}:{F}:0"
    assert deepest(["Root=1-a", deep, "Root=1-b"], F) == deep
    assert deepest(["Root=1-a", deep], G) == "Root=1-a"
    assert deepest([], F) is None

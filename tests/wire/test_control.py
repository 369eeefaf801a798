"""The control paths on the real port: health, clock, peek, mappings, who is let in."""

from tests.running import RunningDaemon


def test_sqs_answers(daemon: RunningDaemon) -> None:
    sqs = daemon.client("sqs")
    url = sqs.create_queue(QueueName="control-smoke")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="hi", DelaySeconds=60)
    assert "Messages" not in sqs.receive_message(QueueUrl=url)
    daemon.advance(61)
    assert sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "hi"

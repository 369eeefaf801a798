"""The desk: the one place that hands a message to an ARN."""

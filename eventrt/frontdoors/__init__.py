"""The HTTP doors: the one port, and the control paths beside the AWS API."""

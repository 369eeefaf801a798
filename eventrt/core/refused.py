"""How a pure rule says no: an AWS error code and AWS's sentence, as an exception of the core.

The core knows nothing of HTTP; the door turns a `Refused` into an answer of the caller's protocol, or into one
failed entry of a batch.
"""

from eventrt.core.messages import Refusal


class Refused(ValueError):  # noqa: N818 - the rule's word for it
    """A rule was broken. `code` is the error's shape name of the JSON protocol, `message` AWS's sentence."""

    def __init__(self, code: str, message: str) -> None:
        # A caller's text may hold half a surrogate pair, which no answer could carry back.
        message = message.encode("utf-8", "replace").decode()
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    @property
    def refusal(self) -> Refusal:
        """The same as a value, for one entry of a batch."""
        return Refusal(self.code, self.message)


def invalid_parameter(message: str) -> Refused:
    """Return the refusal of a parameter's value (Query code `InvalidParameterValue`)."""
    return Refused("InvalidParameterValueException", message)


def invalid_value(value: object, parameter: str, reason: str) -> Refused:
    """Return AWS's usual sentence: `Value <v> for parameter <P> is invalid. Reason: <reason>`."""
    return invalid_parameter(f"Value {value} for parameter {parameter} is invalid. Reason: {reason}")


def missing_parameter(name: str) -> Refused:
    """Return the refusal of a request without a parameter it needs (Query code `MissingParameter`)."""
    return Refused("MissingRequiredParameterException", f"The request must contain the parameter {name}.")

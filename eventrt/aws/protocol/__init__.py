"""The generic codec of AWS's protocols, driven by botocore's service models."""

"""The AWS door: requests in AWS's wire protocols become calls on the rooms behind it."""

"""The workshop: functions, their warm environments, and the one way to invoke them."""

"""One module per AWS service: plain handlers behind the codec."""

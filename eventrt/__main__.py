"""`python -m eventrt` is `eventrt`."""

from eventrt.console.cli import main

if __name__ == "__main__":
    main()

"""``python -m musetalk_cli``: the same as the ``musetalk`` command."""

from musetalk_cli.cli import main

if __name__ == "__main__":
    main()

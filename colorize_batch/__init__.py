"""Colors a folder of drawings with one workflow, on every GPU at hand: `python -m colorize_batch --help`."""

"""What every checkpoint file has, whichever version it is of: keys, metadata, shapes, and how one is written."""

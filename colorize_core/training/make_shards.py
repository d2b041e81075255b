"""Makes tar shards, which webdataset reads too, of a folder of pictures: a million files become some hundred.

`python -m colorize_core.training.make_shards pictures shards`
"""

import argparse
import shutil
import sys
from pathlib import Path

from .listing import listed_stores, with_sketch
from .pictures import Store
from .shards import shard_files

SHARD_BYTES = 1 << 30  # of a shard, about


def write_shards(root: Path, folder: Path, shard_bytes: int = SHARD_BYTES) -> int:
    """The pictures of `root` as shards in a new `folder`, by name; gives how many there are.

    Raises ValueError as PictureFolder does, and where `folder` is there already or webdataset is missing.
    """
    try:
        from webdataset import ShardWriter
    except ImportError as error:
        raise ValueError(f"Making shards needs webdataset ({error}): pip install webdataset.") from error
    if folder.exists():
        raise ValueError(f"{folder}: is there already; name another folder.")
    stores = listed_stores(root)
    names = sorted(with_sketch(root, stores["color"], stores["sketch"]))
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    pattern, options = str(unfinished / "pictures-%05d.tar"), {"maxcount": sys.maxsize, "maxsize": shard_bytes}
    try:
        with ShardWriter(pattern, **options, verbose=0) as writer:
            for name in names:
                writer.write(_sample(stores, name))
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return len(names)


def _sample(stores: dict[str, Store], name: str) -> dict[str, str | bytes]:
    sample = {"__key__": name.replace(".", "%2E")}  # what follows a dot is the kind
    for kind, store in stores.items():
        if name in store:
            with store.open(name) as file:
                sample[f"{kind}{Path(store.label(name)).suffix.lower()}"] = file.read()
    return sample


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m colorize_core.training.make_shards", description=__doc__.splitlines()[0]
    )
    parser.add_argument("pictures", type=Path, help="the folder with color/, sketch/ and, if there is one, reference/")
    parser.add_argument("shards", type=Path, help="a new folder for the shards")
    options = parser.parse_args()
    try:
        count = write_shards(options.pictures, options.shards)
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    print(f"{count} pictures in {len(shard_files(options.shards))} shards: {options.shards}")  # noqa: T201


if __name__ == "__main__":
    main()

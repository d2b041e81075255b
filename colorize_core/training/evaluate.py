"""Measures results against the truth, their references and their sketches: folders (or .zip) of the same names."""

import argparse
import sys
from pathlib import Path

import torch

from ..host import standalone
from .compare import open_pictures
from .features import load_clip_encoder, load_inception
from .pictures import UnreadablePicture
from .report import measure_pictures, report_json, report_table


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m colorize_core.training.evaluate",
        description=__doc__,
        epilog="Pictures belong together by their names; endings may differ. PSNR and MS-SSIM need --truth, line "
        "fidelity --sketches, region color errors --masks. In the JSON, null is an infinite PSNR (equal pictures) "
        "or a color error without a region.",
    )
    add = parser.add_argument
    add("results", type=Path, help="the colored pictures")
    add("--truth", type=Path, metavar="T", help="what they should be, in the same sizes")
    add("--references", type=Path, metavar="R", help="the references, any sizes (with --clip or --reference-masks)")
    add("--sketches", type=Path, metavar="S", help="the drawings, in the results' sizes, lines dark or light")
    add("--masks", type=Path, metavar="M", help="region maps of the results: 8-bit PNG, each number a region")
    add("--reference-masks", type=Path, metavar="M", help="region maps of the references, in the same numbers")
    add("--fid", action="store_true", help="Frechet Inception distance to the truth (needs torch-fidelity)")
    add("--kid", action="store_true", help="kernel Inception distance, better for few pictures (needs torch-fidelity)")
    add("--inception", type=Path, metavar="FILE", help="Inception's weights (otherwise downloaded once, 96 MB)")
    add(
        "--clip",
        type=Path,
        metavar="FILE",
        help="CLIP file for the similarity to the references (ComfyUI reads it)",
    )
    add("--json", type=Path, metavar="OUT", help="also write all numbers, of each picture too, to this file")
    options = parser.parse_args(arguments)

    if not (options.truth or options.references or options.sketches):
        parser.error("nothing to compare with: give --truth, --references or --sketches")
    if (options.fid or options.kid) and not options.truth:
        parser.error("--fid and --kid compare with the truth: give --truth")
    if options.clip and not options.references:
        parser.error("--clip compares with the references: give --references")
    if options.references and not (options.clip or options.reference_masks):
        parser.error("--references: give --clip, or --masks and --reference-masks, to compare with them")
    if options.reference_masks and not (options.references and options.masks):
        parser.error("--reference-masks: needs --references and --masks")
    if options.masks and not (options.truth or options.reference_masks):
        parser.error("--masks: give --truth, or --references and --reference-masks, to compare colors with")
    return options


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    if options.clip:
        standalone.find_comfyui()
        standalone.prepare("cuda" if torch.cuda.is_available() else "cpu")
    if options.truth:
        standalone.require("torchmetrics")
    kinds = ("truth", "references", "sketches", "masks", "reference_masks")
    try:
        pictures = open_pictures(options.results, **{kind: getattr(options, kind) for kind in kinds})
        if (options.fid or options.kid) and len(pictures.results.files) < 2:
            raise ValueError(f"{options.results}: FID and KID need two pictures or more.")
        report = measure_pictures(
            pictures,
            load_inception(options.inception) if options.fid or options.kid else None,
            load_clip_encoder(options.clip) if options.clip else None,
            options.fid,
            options.kid,
        )
        print(report_table(report))  # noqa: T201
        if options.json:
            options.json.write_text(report_json(report) + "\n")
    except (ValueError, UnreadablePicture, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

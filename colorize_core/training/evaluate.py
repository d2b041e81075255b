"""Measures results against the truth, their references and their sketches: folders (or .zip) of the same names."""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from ..host import standalone
from ..images import rgb_on
from ..sketch import white_on_black
from . import metrics
from .data import Store, UnreadablePicture

Encode = Callable[[torch.Tensor], torch.Tensor]  # pictures [B,3,H,W] in 0..1 to what a network makes of them [B,D]

FEATURES = 2048  # of Inception's last layer
SOME = 3  # how many names a message gives


@dataclass(frozen=True)
class Measure:
    """How a measure is printed: its title, and whether more of it is better."""

    title: str
    more_is_better: bool


MEASURES = {
    "psnr": Measure("PSNR to the truth (dB)", True),
    "ms_ssim": Measure("MS-SSIM to the truth (0..1)", True),
    "region_color_error": Measure("Region color error to the truth (/255)", False),
    "reference_color_error": Measure("Region color error to the reference (/255)", False),
    "line_fidelity": Measure("Line fidelity to the sketch (0 chance, 1 all)", True),
    "clip_similarity": Measure("CLIP similarity to the reference (cosine)", True),
    "fid": Measure("FID to the truth", False),
    "kid": Measure("KID to the truth", False),
}


@dataclass(frozen=True)
class Pictures:
    """The pictures to compare, each kind by the results' names; None where it was not given."""

    results: Store
    truth: Store | None = None
    references: Store | None = None
    sketches: Store | None = None
    masks: Store | None = None
    reference_masks: Store | None = None


@dataclass(frozen=True)
class Report:
    """`each` picture's measures by its name, those of the whole `sets`, and `notes` on how to read them.

    A measure that a picture has not (no region in it is large enough) is NaN.
    """

    each: dict[str, dict[str, float]]
    sets: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def measured(self, measure: str) -> dict[str, float]:
        """The pictures that have a measure, by name."""
        values = {name: values[measure] for name, values in self.each.items() if measure in values}
        return {name: value for name, value in values.items() if not math.isnan(value)}

    def means(self) -> dict[str, float]:
        """The mean of every measure over the pictures that have it, NaN if none has; the sets' own as they are."""
        taken = [measure for measure in MEASURES if any(measure in values for values in self.each.values())]
        columns = {measure: self.measured(measure).values() for measure in taken}
        return {measure: sum(c) / len(c) if c else math.nan for measure, c in columns.items()} | self.sets


# --- reading ------------------------------------------------------------------------------------------------------


def open_pictures(results: Path, **others: Path | None) -> Pictures:
    """Finds the pictures of all kinds and makes sure that they fit together, before anything is measured.

    Raises ValueError for a folder without pictures, a result without its partner, and sizes that differ.
    """
    pictures = Pictures(_store(results), **{kind: path and _store(path) for kind, path in others.items()})
    for store in (pictures.truth, pictures.references, pictures.sketches, pictures.masks, pictures.reference_masks):
        if store and (missing := [name for name in pictures.results.files if name not in store]):
            raise ValueError(
                f"{store.path}: has no picture for {len(missing)} of the {len(pictures.results.files)} results: "
                f"{', '.join(missing[:SOME])}{' ...' if len(missing) > SOME else ''}. "
                "Give it the result's name (the ending may differ), or take the result away."
            )
    same_size = [(pictures.results, other) for other in (pictures.truth, pictures.sketches, pictures.masks) if other]
    if pictures.reference_masks:
        same_size.append((pictures.references, pictures.reference_masks))
    for first, second in same_size:
        for name in pictures.results.files:
            _check_sizes(first, second, name)
    return pictures


def _store(path: Path) -> Store:
    store = Store.find(path.parent, path.name)
    if store is None:
        raise ValueError(f"{path}: there is no such folder, and no .zip of that name. Look at how it is spelled.")
    if not store.files:
        raise ValueError(f"{path}: there is no picture in it. Give a folder or .zip of .png, .jpg or .webp files.")
    return store


def _check_sizes(first: Store, second: Store, name: str) -> None:
    (height, width), (other_height, other_width) = first.size(name), second.size(name)
    if (height, width) != (other_height, other_width):
        raise ValueError(
            f"{first.label(name)}: is {width}x{height} pixels, {second.label(name)} is {other_width}x{other_height}. "
            "Bring them to one size (for results, the node Crop to Sketch with resize_to_sketch does)."
        )


def read_picture(store: Store, name: str) -> torch.Tensor:
    """[1,3,H,W] in 0..1; where it is transparent, white. Raises UnreadablePicture."""
    image = torch.from_numpy(np.array(store.read(name)))[None] / 255
    return rgb_on(image, paper=1.0, name=name).movedim(-1, 1)


def read_sketch(store: Store, name: str) -> torch.Tensor:
    """Lines 1 on paper 0, [1,H,W], of a drawing of either polarity. Raises ValueError if that cannot be told."""
    with _naming(store.label(name)):
        return white_on_black(torch.from_numpy(np.array(store.read(name)))[None] / 255)


def read_regions(store: Store, name: str) -> torch.Tensor:
    """The labels 0..255 of a region map [1,H,W]. Raises ValueError for a picture that is no map of 8 bits."""
    with _naming(store.label(name)), store.open(name) as file, Image.open(file) as image:
        if image.mode not in ("L", "P", "1"):
            raise ValueError(
                f"is a picture of mode {image.mode}, no region map. "
                "Save it as PNG with 8 bits a pixel (gray or palette) that are the number of its region."
            )
        return torch.from_numpy(np.array(image).astype(np.int64))[None]


@contextmanager
def _naming(label: str) -> Iterator[None]:
    """Puts the file's name before what is wrong with its content."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise ValueError(f"{label}: {error}") from error


# --- networks -----------------------------------------------------------------------------------------------------


def load_inception(weights: Path | None = None) -> Encode:
    """Inception v3 as FID and KID take it: pictures to features [B,2048].

    Its weights come from a file, or are downloaded by torch-fidelity and kept in PyTorch's cache. Raises ValueError if
    the package, the file or the connection is missing.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
        from torchmetrics.image.fid import NoTrainInceptionV3
    except ImportError as error:
        raise ValueError(f"--fid, --kid: {error}: pip install torch-fidelity torchmetrics") from error
    get_it = f"Download {URL_INCEPTION_V3} and give it with --inception FILE."
    if weights and not weights.is_file():
        raise ValueError(f"--inception: there is no file {weights}. {get_it}")
    try:
        if weights:
            torch.load(weights, weights_only=True)  # torch-fidelity would run whatever a pickle says
        network = NoTrainInceptionV3("inception-v3-compat", [str(FEATURES)], weights and str(weights))
    except URLError as error:
        raise ValueError(
            f"--fid, --kid: Inception's weights cannot be downloaded ({error.reason}). {get_it}"
        ) from error
    except Exception as error:  # PyTorch raises whatever comes
        if not weights:
            raise ValueError(
                f"--fid, --kid: Inception's weights did not arrive whole ({error}). Delete what there is of them in "
                f"{torch.hub.get_dir()} and try again. Or: {get_it}"
            ) from error
        raise ValueError(f"--inception: {weights} does not hold torch-fidelity's Inception v3. {get_it}") from error
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    network.to(device)
    return lambda picture: network((picture * 255).round().byte().to(device)).cpu()


def load_clip_encoder(file: Path) -> Encode:
    """The image encoder of a CLIP file: pictures to CLS tokens [B,D], as the nodes encode a reference.

    Raises ValueError if the file is no CLIP with an image encoder.
    """
    from ..host.clip import MissingTower, encode_reference, load_clip

    if not file.is_file():
        raise ValueError(f"--clip: there is no file {file}.")
    clip_vision, _ = load_clip(str(file))
    if isinstance(clip_vision, MissingTower):
        raise ValueError(f"--clip: {file.name} has no image encoder. Give a whole CLIP file.")
    return lambda picture: encode_reference(clip_vision, picture.movedim(1, -1)).cls[:, 0]


# --- measuring ----------------------------------------------------------------------------------------------------


@torch.inference_mode()
def evaluate(
    pictures: Pictures,
    inception: Encode | None = None,
    clip: Encode | None = None,
    fid: bool = False,
    kid: bool = False,
) -> Report:
    """All measures that the given pictures allow, one picture after another, so that their sizes may differ.

    FID and KID need the truth and `inception`, the CLIP similarity references and `clip`.
    Raises ValueError or UnreadablePicture, naming the file.
    """
    each, features = {}, {"truth": [], "results": []}
    for name in tqdm(pictures.results.files, desc="measuring", unit="picture", disable=None):
        result = read_picture(pictures.results, name)
        values = each[name] = {}
        values |= _against_truth(pictures, name, result)
        values |= _against_reference(pictures, name, result, clip)
        if pictures.sketches:
            sketch = read_sketch(pictures.sketches, name)
            with _naming(pictures.sketches.label(name)):
                values["line_fidelity"] = metrics.line_fidelity(result, sketch).item()
        if inception:
            for kind, picture in (("truth", read_picture(pictures.truth, name)), ("results", result)):
                features[kind].append(inception(picture))

    sets = {}
    if fid:
        sets["fid"] = metrics.fid(torch.cat(features["truth"]), torch.cat(features["results"]))
    if kid:
        sets["kid"] = metrics.kid(torch.cat(features["truth"]), torch.cat(features["results"]))
    return Report(each, sets, _notes(pictures, fid))


def _against_truth(pictures: Pictures, name: str, result: torch.Tensor) -> dict[str, float]:
    if not pictures.truth:
        return {}
    truth = read_picture(pictures.truth, name)
    values = {"psnr": metrics.psnr(result, truth).item()}
    with _naming(pictures.results.label(name)):
        values["ms_ssim"] = metrics.ms_ssim(result, truth).item()
    if pictures.masks:
        regions = read_regions(pictures.masks, name)
        values["region_color_error"] = metrics.region_color_error(result, truth, regions).item()
    return values


def _against_reference(pictures: Pictures, name: str, result: torch.Tensor, clip: Encode | None) -> dict[str, float]:
    if not pictures.references:
        return {}
    values, reference = {}, read_picture(pictures.references, name)
    if clip:
        values["clip_similarity"] = torch.cosine_similarity(clip(result), clip(reference)).item()
    if pictures.reference_masks:
        regions = read_regions(pictures.masks, name), read_regions(pictures.reference_masks, name)
        values["reference_color_error"] = metrics.region_color_error(result, reference, *regions).item()
    return values


def _notes(pictures: Pictures, fid: bool) -> list[str]:
    notes, count = [], len(pictures.results.files)
    if pictures.truth and (unused := len(pictures.truth.files) - count):
        notes.append(f"{unused} pictures of the truth have no result and are left out.")
    if pictures.truth:
        scales = len(metrics.MS_SSIM_WEIGHTS)
        small = sum(metrics.ms_ssim_scales(*pictures.results.size(name)) < scales for name in pictures.results.files)
        if small:
            notes.append(
                f"MS-SSIM of {small} pictures, with a side below 176 pixels, is on fewer than {scales} scales."
            )
    if fid and count < FEATURES:
        notes.append(f"FID of {count} pictures is biased upwards: compare it only with that of as many (or take KID).")
    return notes


# --- showing ------------------------------------------------------------------------------------------------------


def table(report: Report) -> str:
    """A line for each measure: its mean, which way is better, over how many pictures, and the worst of them."""
    rows = [("", "mean", "better", "pictures", "worst")]
    for measure, mean in report.means().items():
        title, more_is_better = MEASURES[measure].title, MEASURES[measure].more_is_better
        values = report.measured(measure)
        worst = (min if more_is_better else max)(values, key=values.get, default="")
        rows.append(
            (
                title,
                f"{mean:.4g}",
                "more" if more_is_better else "less",
                str(len(report.each) if measure in report.sets else len(values)),
                f"{values[worst]:.4g} ({worst})" if values else "",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = []
    for title, mean, better, count, worst in rows:
        cells = [
            title.ljust(widths[0]),
            mean.rjust(widths[1]),
            better.ljust(widths[2]),
            count.rjust(widths[3]),
            worst,
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join([*lines, *(f"Note: {note}" for note in report.notes)])


def as_json(report: Report) -> str:
    """`mean` by measure, `pictures` by name and measure, `notes`; what is infinite or missing is null."""
    content = {
        "mean": _finite(report.means()),
        "pictures": {name: _finite(values) for name, values in report.each.items()},
        "notes": report.notes,
    }
    return json.dumps(content, indent=2, allow_nan=False)


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    return {measure: value if math.isfinite(value) else None for measure, value in values.items()}


# --- the command --------------------------------------------------------------------------------------------------


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
        report = evaluate(
            pictures,
            load_inception(options.inception) if options.fid or options.kid else None,
            load_clip_encoder(options.clip) if options.clip else None,
            options.fid,
            options.kid,
        )
        print(table(report))  # noqa: T201
        if options.json:
            options.json.write_text(as_json(report) + "\n")
    except (ValueError, UnreadablePicture, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

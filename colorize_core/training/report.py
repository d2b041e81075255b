"""All measures of a set of results, and how they are shown."""

import json
import math
from dataclasses import dataclass, field

import torch
from tqdm import tqdm

from . import metrics
from .compare import ComparedPictures, naming, read_picture, read_regions, read_sketch
from .features import INCEPTION_WIDTH, Encode


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


@torch.inference_mode()
def measure_pictures(
    pictures: ComparedPictures,
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
            with naming(pictures.sketches.label(name)):
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


def _against_truth(pictures: ComparedPictures, name: str, result: torch.Tensor) -> dict[str, float]:
    if not pictures.truth:
        return {}
    truth = read_picture(pictures.truth, name)
    values = {"psnr": metrics.psnr(result, truth).item()}
    with naming(pictures.results.label(name)):
        values["ms_ssim"] = metrics.ms_ssim(result, truth).item()
    if pictures.masks:
        regions = read_regions(pictures.masks, name)
        values["region_color_error"] = metrics.region_color_error(result, truth, regions).item()
    return values


def _against_reference(
    pictures: ComparedPictures, name: str, result: torch.Tensor, clip: Encode | None
) -> dict[str, float]:
    if not pictures.references:
        return {}
    values, reference = {}, read_picture(pictures.references, name)
    if clip:
        values["clip_similarity"] = torch.cosine_similarity(clip(result), clip(reference)).item()
    if pictures.reference_masks:
        regions = read_regions(pictures.masks, name), read_regions(pictures.reference_masks, name)
        values["reference_color_error"] = metrics.region_color_error(result, reference, *regions).item()
    return values


def _notes(pictures: ComparedPictures, fid: bool) -> list[str]:
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
    if fid and count < INCEPTION_WIDTH:
        notes.append(f"FID of {count} pictures is biased upwards: compare it only with that of as many (or take KID).")
    return notes


def report_table(report: Report) -> str:
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


def report_json(report: Report) -> str:
    """`mean` by measure, `pictures` by name and measure, `notes`; what is infinite or missing is null."""
    content = {
        "mean": _finite(report.means()),
        "pictures": {name: _finite(values) for name, values in report.each.items()},
        "notes": report.notes,
    }
    return json.dumps(content, indent=2, allow_nan=False)


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    return {measure: value if math.isfinite(value) else None for measure, value in values.items()}
